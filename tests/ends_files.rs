//! The files behind trim, truncate and reset: calls that fail in them, deleted files that a power loss brings back, and
//! files that are missing or belong to another log.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Log, Status, Sync, flags};
use std::fs;
use std::path::Path;
use support::{Image, Scratch};

/// Segments take a dozen records.
fn config() -> Config {
    Config { segment_max_bytes: 4096, sync: Sync::Never, flags: flags::NO_THREAD, ..Config::default() }
}

fn open(dir: &Path) -> Log {
    Log::open(dir, &config()).unwrap()
}

/// Records that tell their offset and who wrote them.
fn record(writer: u8, offset: u64) -> Vec<u8> {
    let mut bytes = vec![writer; 300];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    bytes
}

fn append(log: &Log, writer: u8, count: u64) {
    for offset in log.next_offset()..log.next_offset() + count {
        assert_eq!(log.append(&record(writer, offset)).unwrap(), offset);
    }
}

/// What a log holds: its first offset, and who wrote each record from there on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    first: u64,
    writers: Vec<u8>,
}

impl Held {
    fn of(log: &Log) -> Self {
        let stat = log.stat().unwrap();
        let writer_of = |offset| {
            let writer = log.read(offset, |payload, _| payload[8]).unwrap_or_else(|error| panic!("{offset}: {error}"));
            assert!(log.read(offset, |payload, _| payload == record(writer, offset)).unwrap(), "record {offset}");
            writer
        };
        let writers: Vec<_> = (stat.first_offset..stat.next_offset).map(writer_of).collect();
        assert_eq!(stat.payload_bytes, 300 * writers.len() as u64, "{stat:?}");
        Self { first: stat.first_offset, writers }
    }

    #[cfg(feature = "faults")]
    fn next(&self) -> u64 {
        self.first + self.writers.len() as u64
    }

    #[cfg(feature = "faults")]
    fn after(&self, step: Step) -> Self {
        let mut held = self.clone();
        match step {
            Step::Trim(before) => {
                held.writers.drain(..(before - held.first) as usize);
                held.first = before;
            }
            Step::Truncate(from) => held.writers.truncate((from - held.first) as usize),
            Step::Reset(next) => held = Self { first: next, writers: Vec::new() },
        }
        held
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Trim(u64),
    Truncate(u64),
    Reset(u64),
}

impl Step {
    fn run(self, log: &Log) -> seglog::Result<()> {
        match self {
            Self::Trim(before) => log.trim(before),
            Self::Truncate(from) => log.truncate(from),
            Self::Reset(next) => log.reset(next),
        }
    }
}

/// Whether the directory has a `lost/`.
fn has_lost(dir: &Scratch) -> bool {
    dir.join("lost").exists()
}

/// A log with a trim, a truncation and fifty records behind them; closed.
fn worn(dir: &Path) -> Held {
    let log = open(dir);
    append(&log, 1, 60);
    log.trim(7).unwrap();
    log.truncate(40).unwrap();
    append(&log, 2, 17);
    let held = Held::of(&log);
    log.close().unwrap();
    held
}

/// Each call fails once. What failed changed nothing, or the handle takes no writes and the next open finds it done or
/// not done.
#[cfg(feature = "faults")]
#[test]
fn a_call_that_fails_in_a_trim_a_truncation_or_a_reset_leaves_it_done_or_not_done() {
    use seglog::faults::{Fault, Hook};
    const ENOSPC: i32 = 28;
    let steps = [
        Step::Trim(8),
        Step::Trim(30),
        Step::Trim(57),
        Step::Truncate(41),
        Step::Truncate(9),
        Step::Reset(2),
        Step::Reset(500),
    ];
    for (step, os_error) in steps.into_iter().flat_map(|step| [(step, 5), (step, ENOSPC)]) {
        // Who hears of a failure tries again, or goes on without.
        for (nth, again) in (0..).flat_map(|nth| [(nth, false), (nth, true)]) {
            let dir = Scratch::new();
            let before = worn(dir.path());
            let log = open(dir.path());
            append(&log, 3, 2);
            let before = Held { writers: [&before.writers[..], &[3, 3]].concat(), ..before };
            let after = before.after(step);
            let hook = Hook::new().with(Fault::Fail { nth, os_error });
            let result = hook.run(|| step.run(&log));
            let what = format!("{step:?}, error {os_error} at call {nth}: {result:?}");
            let mut possible = vec![after.clone()];
            if let Err(error) = &result {
                assert_eq!(Held::of(&log), before, "{what}");
                if log.append(&record(4, before.next())).is_err() {
                    assert_ne!(error.status(), Status::NoSpace, "{what}: it takes no writes any more");
                    possible.push(before.clone());
                } else if !again {
                    possible = vec![Held { writers: [&before.writers[..], &[4]].concat(), ..before }];
                } else {
                    log.truncate(before.next()).unwrap();
                    step.run(&log).unwrap_or_else(|error| panic!("{what}, then {error}"));
                }
            }
            if possible.len() == 1 {
                assert_eq!(Held::of(&log), possible[0], "{what}");
            }
            drop(log);
            let log = open(dir.path());
            let found = Held::of(&log);
            assert!(possible.contains(&found), "{what}: reopened as {found:?}");
            append(&log, 5, 30);
            log.close().unwrap();
            let expected = Held { writers: [&found.writers[..], &[5; 30]].concat(), ..found };
            assert_eq!(Held::of(&open(dir.path())), expected, "{what}");
            assert!(!has_lost(&dir), "{what}: something was kept aside");
            if hook.calls() <= nth {
                assert!(result.is_ok(), "{what}");
                break;
            }
        }
    }
}

/// A deletion is not durable by itself: after a power loss the files may stand there again, whatever the log did since.
#[test]
fn deleted_segments_that_come_back_stay_dropped_and_are_deleted_again() {
    let more: [&[Step]; 6] = [
        &[],
        &[Step::Truncate(13)],
        &[Step::Trim(41)],
        &[Step::Trim(41), Step::Truncate(45)],
        &[Step::Reset(20)],
        &[Step::Trim(45), Step::Reset(3)],
    ];
    let firsts = [Step::Truncate(14), Step::Truncate(8), Step::Trim(30), Step::Reset(9), Step::Reset(70)];
    for (first, more) in firsts.iter().flat_map(|first| more.iter().map(move |more| (*first, *more))) {
        let dir = Scratch::new();
        worn(dir.path());
        let old = Image::of(dir.path());
        let log = open(dir.path());
        first.run(&log).unwrap();
        for step in more {
            // Far enough that the segments roll, and that there is what the step takes away.
            append(&log, 6, 80_u64.saturating_sub(log.next_offset()).max(40));
            if matches!(step, Step::Reset(_)) || log.first_offset() <= step.offset() {
                step.run(&log).unwrap();
            }
        }
        append(&log, 7, 30);
        let held = Held::of(&log);
        log.close().unwrap();
        let files = Image::of(dir.path());
        for (name, bytes) in old.0.iter().filter(|(name, _)| name.contains('-') && !files.0.contains_key(*name)) {
            fs::write(dir.join(name), bytes).unwrap();
        }
        for _ in 0..2 {
            let log = open(dir.path());
            assert_eq!(Held::of(&log), held, "{first:?}, {more:?}");
            log.close().unwrap();
        }
        let names: Vec<_> = Image::of(dir.path()).0.into_keys().collect();
        let kept: Vec<_> = files.0.into_keys().collect();
        assert_eq!(names, kept, "{first:?}, {more:?}: what came back was not deleted again");
        assert!(!has_lost(&dir), "{first:?}, {more:?}: what came back was kept aside");
    }
}

#[test]
fn of_what_a_trim_deleted_any_file_may_come_back() {
    let dir = Scratch::new();
    let log = open(dir.path());
    append(&log, 1, 100);
    let old = Image::of(dir.path());
    log.trim(70).unwrap();
    let held = Held::of(&log);
    let mut files = Image::without_live(dir.path());
    drop(log);
    // No sync has covered the slots that were written behind the last one.
    for store in files.stores() {
        files.file(&store)[2048..4096].fill(0);
    }
    let gone: Vec<_> = old.stores().into_iter().filter(|name| !files.0.contains_key(name)).collect();
    assert!(gone.len() >= 4);
    for back in 0..1_u32 << gone.len() {
        let mut image = files.clone();
        for name in gone.iter().enumerate().filter(|(n, _)| back >> n & 1 == 1).map(|(_, name)| name) {
            image.0.insert(name.clone(), old.0[name].clone());
        }
        let dir = image.place();
        let reader = Log::open(dir.path(), &Config { flags: flags::READ_ONLY, ..config() }).unwrap();
        assert_eq!(Held::of(&reader), held, "{back:b} came back, read-only");
        drop(reader);
        for _ in 0..2 {
            let log = open(dir.path());
            assert_eq!(Held::of(&log), held, "{back:b} came back");
            log.close().unwrap();
        }
        let there = Image::of(dir.path()).stores();
        assert!(gone.iter().all(|name| !there.contains(name)), "{back:b}: what came back was not deleted again");
        assert!(!has_lost(&dir), "{back:b}: what came back was kept aside");
    }
}

impl Step {
    fn offset(self) -> u64 {
        match self {
            Self::Trim(offset) | Self::Truncate(offset) | Self::Reset(offset) => offset,
        }
    }
}

#[test]
fn a_trimmed_log_that_lacks_its_first_segment_is_damaged() {
    let dir = Scratch::new();
    let held = worn(dir.path());
    let whole = Image::of(dir.path());
    let mut image = whole.clone();
    let name = image.stores().first().unwrap().clone();
    image.0.remove(&name);
    image.put(dir.path());
    let error = Log::open(dir.path(), &config()).err().unwrap();
    assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, 7), "{error}");
    assert_eq!(Image::of(dir.path()).difference(&image), "", "a damaged log was changed");
    whole.put(dir.path());
    assert_eq!(Held::of(&open(dir.path())), held);
}

#[test]
fn a_damaged_start_or_one_of_another_log_is_told() {
    let (dir, other) = (Scratch::new(), Scratch::new());
    worn(dir.path());
    worn(other.path());
    let whole = Image::of(dir.path());
    for start in [Image::of(other.path()).0["START"].clone(), vec![0; 1024], Vec::new()] {
        let mut image = whole.clone();
        *image.file("START") = start;
        image.put(dir.path());
        let error = Log::open(dir.path(), &config()).err().unwrap();
        assert_eq!(error.status(), Status::Corrupt, "{error}");
        assert!(error.to_string().contains("START"), "{error}");
        assert_eq!(Image::of(dir.path()).difference(&image), "", "a damaged log was changed");
    }
}

/// A removal that was broken off leaves START; a log that is made there later does not begin where the old one did.
#[test]
fn a_new_log_does_not_begin_where_a_removed_one_did() {
    let dir = Scratch::new();
    worn(dir.path());
    for name in Image::of(dir.path()).0.keys().filter(|name| name.contains('-')) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    let log = open(dir.path());
    append(&log, 9, 3);
    log.close().unwrap();
    assert_eq!(Held::of(&open(dir.path())), Held { first: 0, writers: vec![9; 3] });
}

/// Should records that were trimmed be all that is left, they do not come back: the log goes on where it began.
#[test]
fn records_that_were_trimmed_do_not_come_back_where_all_others_are_lost() {
    let dir = Scratch::new();
    let log = open(dir.path());
    append(&log, 1, 60);
    log.sync().unwrap();
    let old = Image::of(dir.path());
    log.trim(20).unwrap();
    log.close().unwrap();
    let mut image = Image::of(dir.path());
    let name = old.stores().first().unwrap().clone();
    image.0.retain(|name, _| name == "START");
    image.0.insert(name.clone(), old.0[&name].clone());
    image.put(dir.path());
    for _ in 0..2 {
        let log = open(dir.path());
        assert_eq!(Held::of(&log), Held { first: 20, writers: Vec::new() });
        log.close().unwrap();
    }
    let log = open(dir.path());
    append(&log, 2, 30);
    log.close().unwrap();
    let held = Held::of(&open(dir.path()));
    assert_eq!(held.writers, [2; 30]);
    assert_eq!(held.first, 20, "{held:?}");
}
