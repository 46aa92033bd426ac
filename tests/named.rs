//! Positions and metas where things go wrong: calls that fail, a power loss that takes records, and many processes that
//! set, read and remove the same names at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Log, Status, Sync, flags};
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use support::{Image, Random, Scratch};

fn config() -> Config {
    Config { segment_max_bytes: 4096, sync: Sync::Never, flags: flags::NO_THREAD, ..Config::default() }
}

fn read_only() -> Config {
    Config { flags: flags::READ_ONLY, ..Config::default() }
}

fn append(log: &Log, count: u64) {
    for _ in 0..count {
        log.append(&[7; 100]).unwrap();
    }
}

#[cfg(feature = "faults")]
/// What is there: a position, a meta; `None` where there is none.
fn found(log: &Log) -> (Option<u64>, Option<Vec<u8>>) {
    let there = |error: &seglog::Error| assert_eq!(error.status(), Status::NotFound, "{error}");
    (log.position_load("a").inspect_err(there).ok(), log.meta_get("a").inspect_err(there).ok())
}

#[cfg(feature = "faults")]
#[derive(Debug, Clone, Copy)]
enum Step {
    Save,
    Set,
    RemovePosition,
    RemoveMeta,
}

#[cfg(feature = "faults")]
impl Step {
    fn run(self, log: &Log) -> seglog::Result<()> {
        match self {
            Self::Save => log.position_save("a", 9),
            Self::Set => log.meta_set("a", &[9; 3000]),
            Self::RemovePosition => log.position_remove("a"),
            Self::RemoveMeta => log.meta_remove("a"),
        }
    }

    fn after(self, mut held: (Option<u64>, Option<Vec<u8>>)) -> (Option<u64>, Option<Vec<u8>>) {
        match self {
            Self::Save => held.0 = Some(9),
            Self::Set => held.1 = Some(vec![9; 3000]),
            Self::RemovePosition => held.0 = None,
            Self::RemoveMeta => held.1 = None,
        }
        held
    }
}

/// Each call of each step fails once, for the first value of a name and for later ones: what was there is there still,
/// nothing is poisoned, no litter stays, and the same call works again.
#[cfg(feature = "faults")]
#[test]
fn a_call_that_fails_leaves_the_value_before_and_works_again() {
    use seglog::faults::{Fault, Hook};
    let steps = [Step::Save, Step::Set, Step::RemovePosition, Step::RemoveMeta];
    for (step, saves) in steps.into_iter().flat_map(|step| (0..4).map(move |saves| (step, saves))) {
        if saves == 0 && matches!(step, Step::RemovePosition | Step::RemoveMeta) {
            continue;
        }
        for os_error in [5, 28, 24, 12] {
            for nth in 0.. {
                let dir = Scratch::new();
                let log = Log::open(dir.path(), &config()).unwrap();
                append(&log, 20);
                for n in 0..saves {
                    log.position_save("a", n).unwrap();
                    log.meta_set("a", &vec![1; 1000 * n as usize]).unwrap();
                }
                let before = found(&log);
                let hook = Hook::new().with(Fault::Fail { nth, os_error });
                let result = hook.run(|| step.run(&log));
                let what = format!("{step:?} after {saves}, error {os_error} at call {nth}: {result:?}");
                let after = step.after(before.clone());
                match &result {
                    Ok(()) => assert_eq!(found(&log), after, "{what}"),
                    // A name that is gone may be gone for good.
                    Err(_) if matches!(step, Step::RemovePosition | Step::RemoveMeta) => {
                        assert!(found(&log) == before || found(&log) == after, "{what}: {:?}", found(&log));
                    }
                    Err(error) => {
                        assert_eq!(found(&log), before, "{what}");
                        let told = match os_error {
                            28 => Status::NoSpace,
                            24 | 12 => Status::Memory,
                            _ => Status::Io,
                        };
                        assert_eq!((error.status(), error.detail().os_error), (told, os_error), "{what}");
                        step.run(&log).unwrap_or_else(|error| panic!("{what}, then {error}"));
                        assert_eq!(found(&log), after, "{what}");
                    }
                }
                append(&log, 1);
                for folder in ["positions", "meta"] {
                    assert!(!dir.join(folder).join("~new").exists(), "{what}: litter");
                }
                drop(log);
                let log = Log::open(dir.path(), &config()).unwrap();
                assert!(found(&log) == after || (result.is_err() && found(&log) == before), "{what}");
                if hook.calls() <= nth {
                    assert!(result.is_ok(), "{what}");
                    break;
                }
            }
        }
    }
}

/// The page cache shows what a failed sync did not write. It must not be taken for what the disk has: the slot that the
/// disk surely has is not the next one to be written over.
#[cfg(feature = "faults")]
#[test]
fn a_save_behind_a_failed_sync_goes_over_the_same_slot() {
    use seglog::faults::{Fault, Hook, Kind};
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 20);
    for n in 0..5 {
        log.position_save("a", n).unwrap();
    }
    let file = dir.join("positions/a");
    let durable = fs::read(&file).unwrap();
    let hook = Hook::new().recording();
    hook.run(|| log.position_save("a", 5)).unwrap();
    let sync = hook.ops().iter().position(|op| op.kind == Kind::SyncFile).unwrap() as u64;
    fs::write(&file, &durable).unwrap();
    let written = |hook: &Hook| hook.ops().iter().find(|op| op.kind == Kind::Write).map(|op| op.at).unwrap();
    let failed = Hook::new().recording().with(Fault::Fail { nth: sync, os_error: 5 });
    assert_eq!(failed.run(|| log.position_save("a", 5)).unwrap_err().status(), Status::Io);
    assert_eq!(log.position_load("a").unwrap(), 4);
    let again = Hook::new().recording();
    again.run(|| log.position_save("a", 6)).unwrap();
    assert_eq!(written(&again), written(&failed));
    assert_eq!(log.position_load("a").unwrap(), 6);
    // And a poisoned log does not keep its consumers from saving.
    assert!(Hook::new().with(Fault::Fail { nth: 0, os_error: 5 }).run(|| log.sync()).is_err());
    assert_eq!(log.append(b"x").unwrap_err().status(), Status::Poisoned);
    log.position_save("a", 7).unwrap();
    assert_eq!(log.position_load("a").unwrap(), 7);
}

/// A power loss takes records that had been appended and consumed, but not been synced. Others get their offsets, and
/// the consumer is to see those.
#[test]
fn a_power_loss_brings_positions_back_to_where_the_log_ends() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 60);
    log.close().unwrap();
    let image = Image::without_live(dir.path());
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 40);
    for (name, offset) in [("consumed", 100), ("exact", 60), ("behind", 20)] {
        log.position_save(name, offset).unwrap();
    }
    drop(log);
    let names = ["behind", "consumed", "exact"];
    let saved = names.map(|name| fs::read(dir.join("positions").join(name)).unwrap());
    image.put(dir.path());
    fs::create_dir(dir.join("positions")).unwrap();
    for (name, bytes) in names.iter().zip(&saved) {
        fs::write(dir.join("positions").join(name), bytes).unwrap();
    }
    let expected = |log: &Log| assert_eq!(names.map(|name| log.position_load(name).unwrap()), [20, 60, 60]);
    let log = Log::open(dir.path(), &config()).unwrap();
    assert_eq!(log.next_offset(), 60);
    append(&log, 200);
    expected(&log);
    log.close().unwrap();
    expected(&Log::open(dir.path(), &config()).unwrap());
}

/// Found by `make fuzz`, in a sequence of calls: a reset, and then another one that left no segment of the first, made of a
/// position what the second one's offset allows. So did a trim, or retention, of the segments that told of a truncation:
/// a consumer that was to see what took the place of the dropped records began behind it.
#[test]
fn where_the_log_was_cut_is_known_when_the_segments_that_told_of_it_are_gone() {
    let cut_log = |retain_bytes: u64| {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &Config { retain_bytes, ..config() }).unwrap();
        append(&log, 100);
        log.position_save("beyond", 90).unwrap();
        log.position_save("exact", 50).unwrap();
        log.position_save("before", 20).unwrap();
        log.truncate(50).unwrap();
        (dir, log)
    };
    let expected = |dir: &Scratch, log: Log| {
        let check = |log: &Log| {
            assert_eq!(["beyond", "exact", "before"].map(|name| log.position_load(name).unwrap()), [50, 50, 20]);
        };
        check(&log);
        check(&Log::open(dir.path(), &read_only()).unwrap());
        log.close().unwrap();
        check(&Log::open(dir.path(), &config()).unwrap());
    };
    let (dir, log) = cut_log(0);
    append(&log, 200);
    log.trim(200).unwrap();
    assert!(log.segment_at(0).unwrap().unwrap().base_offset > 90, "no segment tells of the cut any more");
    expected(&dir, log);

    let (dir, log) = cut_log(100_000);
    append(&log, 1000);
    assert!(log.segment_at(0).unwrap().unwrap().base_offset > 90, "no segment tells of the cut any more");
    expected(&dir, log);

    let (dir, log) = cut_log(0);
    log.reset(1 << 40).unwrap();
    append(&log, 1);
    expected(&dir, log);

    // One reset behind another, and a position that was saved long before both.
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 100);
    log.position_save("beyond", 90).unwrap();
    log.position_save("exact", 50).unwrap();
    log.position_save("before", 20).unwrap();
    log.reset(50).unwrap();
    append(&log, 200);
    log.trim(200).unwrap();
    log.reset(1 << 40).unwrap();
    expected(&dir, log);
}

// --- many processes --------------------------------------------------------------------------------------------------

const CHILD: &str = "SEGLOG_NAMED_CHILD";
const SAVES: u64 = 400;

/// Starts this test again in a process of its own, as the one that does the work.
fn start(test: &str, what: &str, dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, format!("{what} {}", dir.display()));
    child.spawn().unwrap()
}

/// What this process was started for, if it was.
fn started_for() -> Option<(String, Log)> {
    let text = std::env::var(CHILD).ok()?;
    let (what, dir) = text.split_once(' ').unwrap();
    Some((what.to_owned(), Log::open(dir, &read_only()).unwrap()))
}

/// Bytes that tell their length, and are all alike.
fn meta_of(n: u64) -> Vec<u8> {
    vec![n as u8; (n % 256 * 16) as usize]
}

/// What is read is whole: one of the values that somebody sets.
fn check_whole(log: &Log, may_be_missing: bool) {
    match log.meta_get("shared") {
        Ok(data) => {
            let n = data.first().copied().unwrap_or(0);
            assert_eq!(data, meta_of(u64::from(n)), "torn");
        }
        Err(error) => assert!(may_be_missing && error.status() == Status::NotFound, "{error}"),
    }
    match log.position_load("shared") {
        Ok(offset) => assert!(offset <= 1000),
        Err(error) => assert!(may_be_missing && error.status() == Status::NotFound, "{error}"),
    }
}

fn all_end_well(children: Vec<Child>) {
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

fn count_of(file: &Path, second_at: usize) -> u64 {
    let bytes = fs::read(file).unwrap();
    let count = |at: usize| u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
    count(0).max(count(second_at))
}

/// Four processes set the same names at once, and two read them: nobody sees half a value, and no set is lost, which
/// the count in the file tells.
#[test]
fn processes_that_set_one_name_at_once_neither_tear_it_nor_lose_a_set() {
    if let Some((what, log)) = started_for() {
        if what == "read" {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(60) && log.meta_get("done").is_err() {
                check_whole(&log, false);
            }
            return;
        }
        let mut random = Random(u64::from(std::process::id()));
        for _ in 0..SAVES {
            log.position_save("shared", random.next() % 1001).unwrap();
            log.meta_set("shared", &meta_of(random.next())).unwrap();
            check_whole(&log, false);
        }
        return;
    }
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 1000);
    log.position_save("shared", 0).unwrap();
    log.meta_set("shared", &[]).unwrap();
    let test = "processes_that_set_one_name_at_once_neither_tear_it_nor_lose_a_set";
    let readers: Vec<_> = (0..2).map(|_| start(test, "read", dir.path())).collect();
    let setters: Vec<_> = (0..4).map(|_| start(test, "set", dir.path())).collect();
    append(&log, 1000);
    all_end_well(setters);
    log.meta_set("done", b"").unwrap();
    all_end_well(readers);
    assert_eq!(count_of(&dir.join("positions/shared"), 512), 1 + 4 * SAVES);
    assert_eq!(count_of(&dir.join("meta/shared"), 8192), 1 + 4 * SAVES);
}

/// Some set names and some remove them, all the time; what was set last is there at the end.
#[test]
fn processes_that_set_and_remove_one_name_at_once_leave_it_whole() {
    if let Some((what, log)) = started_for() {
        let mut random = Random(u64::from(std::process::id()));
        for _ in 0..SAVES {
            if what == "remove" {
                let gone = |error: seglog::Error| assert_eq!(error.status(), Status::NotFound, "{error}");
                log.position_remove("shared").unwrap_or_else(gone);
                log.meta_remove("shared").unwrap_or_else(gone);
            } else {
                log.position_save("shared", random.next() % 1001).unwrap();
                log.meta_set("shared", &meta_of(random.next())).unwrap();
            }
            check_whole(&log, true);
        }
        return;
    }
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 1000);
    let test = "processes_that_set_and_remove_one_name_at_once_leave_it_whole";
    let children: Vec<_> = ["set", "remove", "set", "remove"].map(|what| start(test, what, dir.path())).into();
    all_end_well(children);
    log.position_save("shared", 77).unwrap();
    assert_eq!(log.position_load("shared").unwrap(), 77);
    assert!(!dir.join("positions/~new").exists() && !dir.join("meta/~new").exists());
}
