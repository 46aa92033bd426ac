//! What a backup promises: a consistent copy while appends, rolls, trims, truncations and resets go on, from a writer
//! and from a follower; links where they can be; nothing that a failing call or a kill leaves is taken for a log.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Log, Status, Sync, flags};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::{Image, Scratch};

fn config() -> Config {
    Config { segment_max_bytes: 4096, sync: Sync::Never, ..Config::default() }
}

fn reading() -> Config {
    Config { flags: flags::READ_ONLY, ..Config::default() }
}

/// Of differing lengths; it tells its offset.
fn record(offset: u64) -> Vec<u8> {
    let mut bytes = vec![offset as u8; (offset * 37 % 290) as usize + 8];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    bytes
}

fn append(log: &Log, count: u64) {
    for _ in 0..count {
        let offset = log.next_offset();
        assert_eq!(log.append(&record(offset)).unwrap(), offset);
    }
}

/// The copy opens clean, first read-only and then for writing, and its records are those of `log`; first and next.
fn check_copy(dir: &Path) -> (u64, u64) {
    let held = |log: &Log| {
        let stat = log.stat().unwrap();
        let mut cursor = Cursor::open(log, stat.first_offset).unwrap();
        let mut payload_bytes = 0;
        for offset in stat.first_offset..stat.next_offset {
            let record_there = cursor.next().unwrap().unwrap();
            assert_eq!((record_there.offset, record_there.payload), (offset, &record(offset)[..]), "{}", dir.display());
            payload_bytes += record_there.payload.len() as u64;
        }
        assert!(cursor.next().unwrap().is_none());
        assert_eq!(stat.payload_bytes, payload_bytes, "{stat:?}");
        assert_eq!(stat.durable_offset, stat.next_offset);
        (stat.first_offset, stat.next_offset)
    };
    let follower = Log::open(dir, &reading()).unwrap();
    let ends = held(&follower);
    drop(follower);
    let log = Log::open(dir, &config()).unwrap();
    let stat = log.stat().unwrap();
    assert_eq!((stat.recovered_records, stat.dropped_bytes), (0, 0), "it is not clean: {stat:?}");
    assert_eq!(held(&log), ends);
    append(&log, 30);
    log.close().unwrap();
    ends
}

#[test]
fn a_backup_is_the_log_and_each_goes_its_own_way() {
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 500);
    log.trim(33).unwrap();
    log.backup(to.join("first")).unwrap();
    let log_id = log.stat().unwrap().log_id;
    assert_eq!(Log::open(to.join("first"), &reading()).unwrap().stat().unwrap().log_id, log_id);
    // The copy is cut, the log goes on; and the other way round.
    let copy = Log::open(to.join("first"), &config()).unwrap();
    assert_eq!((copy.first_offset(), copy.next_offset()), (33, 500));
    copy.truncate(100).unwrap();
    append(&log, 100);
    log.truncate(450).unwrap();
    append(&log, 50);
    log.trim(200).unwrap();
    append(&copy, 400);
    copy.close().unwrap();
    assert_eq!(check_copy(&to.join("first")), (33, 500));
    log.backup(to.join("second")).unwrap();
    assert_eq!(check_copy(&to.join("second")), (200, 500));
    log.close().unwrap();
    assert_eq!(check_copy(dir.path()), (200, 500));
}

#[test]
fn an_empty_log_and_one_that_was_reset_are_copied() {
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &config()).unwrap();
    log.backup(to.join("empty")).unwrap();
    assert_eq!(check_copy(&to.join("empty")), (0, 0));
    append(&log, 100);
    log.trim(100).unwrap();
    log.backup(to.join("trimmed")).unwrap();
    assert_eq!(check_copy(&to.join("trimmed")), (100, 100));
    log.reset(7).unwrap();
    append(&log, 1);
    log.backup(to.join("reset")).unwrap();
    assert_eq!(check_copy(&to.join("reset")), (7, 8));
}

/// Full segments take no space of their own on the same file system; on another one they are copied.
#[test]
fn full_segments_are_linked_where_they_can_be() {
    let (dir, near, far) = (Scratch::on_disk(), Scratch::on_disk(), Scratch::new());
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 500);
    let segments = log.stat().unwrap().segment_count as usize;
    let follower = Log::open(dir.path(), &reading()).unwrap();
    for (to, linked) in [(&near, segments - 1), (&far, 0)] {
        if fs::metadata(to.path()).unwrap().dev() != fs::metadata(dir.path()).unwrap().dev() && linked > 0 {
            continue;
        }
        let same_system = fs::metadata(to.path()).unwrap().dev() == fs::metadata(dir.path()).unwrap().dev();
        // The writer's made all of them durable, so the follower need copy none.
        for (from, name) in [(&log, "copy"), (&follower, "follower's")] {
            from.backup(to.join(name)).unwrap();
            assert_eq!(shared(dir.path(), &to.join(name)), if same_system { segments - 1 } else { 0 });
            assert_eq!(check_copy(&to.join(name)), (0, 500));
        }
    }
}

/// How many stores of a copy are the log's own files.
fn shared(dir: &Path, copy: &Path) -> usize {
    let names = Image::without_live(copy).stores();
    let same = |name: &&String| {
        let inode = |dir: &Path| fs::metadata(dir.join(name)).unwrap();
        let (here, there) = (inode(dir), inode(copy));
        (here.dev(), here.ino()) == (there.dev(), there.ino())
    };
    names.iter().filter(same).count()
}

/// A full segment whose sync had failed was linked, and synced once more: that sync says that all is well, and the disk
/// holds none of it. What is not durable is copied, so that it is written once more, by the handle and by who follows it.
#[cfg(feature = "faults")]
#[test]
fn a_backup_of_a_log_whose_sync_failed_shares_no_file_that_is_not_durable() {
    use seglog::faults::{Hook, Kind};
    let (dir, to) = (Scratch::new(), Scratch::new());
    let hook = Hook::new();
    let log = hook.run(|| Log::open(dir.path(), &Config { flags: flags::NO_THREAD, ..config() })).unwrap();
    let follower = Log::open(dir.path(), &reading()).unwrap();
    // Without threads, and with `Sync::Never`, it is rolls that sync.
    while log.stat().unwrap().segment_count < 4 {
        hook.run(|| append(&log, 1));
    }
    let durable = log.stat().unwrap().durable_offset;
    // (The first sync of a roll is that of the next segment's header.)
    hook.fail_next(Kind::WriteBack, 5);
    let next = loop {
        let offset = log.next_offset();
        if let Err(error) = hook.run(|| log.append(&record(offset))) {
            assert_eq!(error.status(), Status::Io, "{error}");
            break log.next_offset();
        }
    };
    let stat = log.stat().unwrap();
    assert_eq!((stat.durable_offset, stat.segment_count), (durable, 5), "no roll has failed: {stat:?}");
    for (from, name) in [(&log, "copy"), (&follower, "follower's")] {
        from.backup(to.join(name)).unwrap();
        assert_eq!(shared(dir.path(), &to.join(name)), 3, "{name}");
        assert_eq!(check_copy(&to.join(name)), (0, next));
    }
}

#[test]
fn a_backup_needs_an_empty_place() {
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 10);
    let refused = |path: &Path| log.backup(path).unwrap_err().status();
    assert_eq!(refused(dir.path()), Status::Exists, "onto itself");
    fs::create_dir(to.join("full")).unwrap();
    fs::write(to.join("full").join("notes"), "mine").unwrap();
    assert_eq!(refused(&to.join("full")), Status::Exists);
    assert_eq!(fs::read(to.join("full").join("notes")).unwrap(), b"mine");
    assert_eq!(refused(&to.join("missing").join("deeper")), Status::NotFound);
    assert_eq!(refused(Path::new("")), Status::Argument);
    fs::write(to.join("file"), "mine").unwrap();
    assert!(log.backup(to.join("file")).is_err());
    fs::create_dir(to.join("empty")).unwrap();
    log.backup(to.join("empty")).unwrap();
    assert_eq!(refused(&to.join("empty")), Status::Exists, "onto a log");
    assert_eq!(check_copy(&to.join("empty")), (0, 10));
}

/// A follower copies what is only in the ring as well, beside its writer and after that was killed.
#[test]
fn a_follower_copies_what_it_sees() {
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &Config { segment_max_bytes: 1 << 20, ..config() }).unwrap();
    append(&log, 300);
    let follower = Log::open(dir.path(), &reading()).unwrap();
    follower.backup(to.join("beside")).unwrap();
    assert_eq!(check_copy(&to.join("beside")), (0, 300));
    let killed = Image::of(dir.path()).place();
    let after = Log::open(killed.path(), &reading()).unwrap();
    let seen = after.next_offset();
    after.backup(to.join("after")).unwrap();
    assert_eq!(check_copy(&to.join("after")), (0, seen));
    log.close().unwrap();
    let closed = Log::open(dir.path(), &reading()).unwrap();
    closed.backup(to.join("closed")).unwrap();
    assert_eq!(check_copy(&to.join("closed")), (0, 300));
}

/// A writer that appends, rolls, trims, truncates and resets at full speed; every backup meanwhile is a log of one
/// moment.
#[test]
fn backups_beside_a_busy_writer_are_of_one_moment() {
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 100);
    let follower = Log::open(dir.path(), &reading()).unwrap();
    let stop = AtomicBool::new(false);
    let stop_writer = StopAtEnd(&stop);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                append(&log, 40);
                let (first, next) = (log.first_offset(), log.next_offset());
                match round % 7 {
                    0 => log.trim(next - (next - first).min(200)).unwrap(),
                    3 => log.truncate(next - 20).unwrap(),
                    5 if round % 5 == 0 => log.reset(next + 10).unwrap(),
                    _ => thread::yield_now(),
                }
            }
        });
        let stop_writer = stop_writer;
        let mut last = 0;
        for n in 0..40 {
            let path = to.join(&n.to_string());
            let from = if n % 2 == 0 { &log } else { &follower };
            from.backup(&path).unwrap_or_else(|error| panic!("backup {n}: {error}"));
            let (first, next) = check_copy(&path);
            assert!(first <= next && next + 400 >= last, "backup {n} of {first} to {next} is of the past");
            last = next;
            fs::remove_dir_all(&path).unwrap();
        }
        drop(stop_writer);
    });
}

/// The control page's words of where the log begins are stored one by one: a copy that a reader makes in between does not
/// believe that they belong together.
#[test]
fn a_copy_by_a_reader_counts_the_bytes_before_its_first_record_itself() {
    const FIRST_PAYLOAD: u64 = 240;
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 200);
    for first in [0, 1, 77, 199, 200] {
        log.trim(first).unwrap();
        let live = std::fs::OpenOptions::new().write(true).open(dir.join("LIVE")).unwrap();
        live.write_all_at(&12_u64.to_le_bytes(), FIRST_PAYLOAD).unwrap();
        let path = to.join(&first.to_string());
        Log::open(dir.path(), &reading()).unwrap().backup(&path).unwrap();
        assert_eq!(check_copy(&path), (first, 200));
    }
}

/// Lets a thread end, even where the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a killed backup leaves is no log: it opens for nobody, and `log_remove` deletes it.
#[test]
fn a_backup_that_was_broken_off_is_no_log() {
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &config()).unwrap();
    append(&log, 100);
    let copy = to.join("copy");
    log.backup(&copy).unwrap();
    fs::write(copy.join("BACKUP"), "").unwrap();
    for config in [config(), reading()] {
        let error = Log::open(&copy, &config).err().unwrap();
        assert_eq!(error.status(), Status::NotFound, "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
    }
    assert_eq!(log.backup(&copy).unwrap_err().status(), Status::Exists);
    seglog::remove(&copy).unwrap();
    assert!(!copy.exists());
    // Before its first file, too.
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("BACKUP"), "").unwrap();
    assert_eq!(Log::open(&copy, &config()).err().unwrap().status(), Status::NotFound);
    seglog::remove(&copy).unwrap();
}

/// Each call fails once: the copy is whole or nothing is left of it, and the log goes on.
#[cfg(feature = "faults")]
#[test]
fn a_backup_whose_calls_fail_leaves_nothing() {
    use seglog::faults::{Fault, Hook};
    let (dir, to) = (Scratch::new(), Scratch::new());
    let log = Log::open(dir.path(), &Config { flags: flags::NO_THREAD, ..config() }).unwrap();
    append(&log, 60);
    log.trim(5).unwrap();
    let follower = Log::open(dir.path(), &reading()).unwrap();
    for from in [&log, &follower] {
        let all = Hook::new();
        all.run(|| from.backup(to.join("counted"))).unwrap();
        for os_error in [5, 28, 18] {
            for nth in 0..all.calls() {
                let path = to.join("copy");
                let result = Hook::new().with(Fault::Fail { nth, os_error }).run(|| from.backup(&path));
                match result {
                    Ok(()) => {
                        assert_eq!(check_copy(&path), (5, 60), "call {nth}");
                        fs::remove_dir_all(&path).unwrap();
                    }
                    Err(error) => {
                        assert!(!path.join("BACKUP").exists(), "call {nth}: {error}");
                        let _ = fs::remove_dir(&path);
                        assert!(!path.exists(), "call {nth} left files: {error}");
                    }
                }
            }
            // From one call on all fail: the machine is gone.
            for nth in 0..all.calls() {
                let path = to.join("copy");
                let result = Hook::new().with(Fault::FailFrom { nth, os_error: 5 }).run(|| from.backup(&path));
                if result.is_err() && path.exists() {
                    let opened = Log::open(&path, &reading());
                    let is_nothing = opened.as_ref().is_err_and(|error| error.status() == Status::NotFound);
                    assert!(is_nothing || opened.is_ok_and(|copy| copy.next_offset() == 60), "call {nth}");
                }
                let _ = fs::remove_dir_all(&path);
            }
        }
        fs::remove_dir_all(to.join("counted")).unwrap();
    }
    append(&log, 10);
    log.close().unwrap();
    assert_eq!(check_copy(dir.path()), (5, 70));
}
