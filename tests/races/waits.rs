//! Waiting: in the model a sleep has no end of its own, so a wake-up that is lost is a thread that never goes on, which
//! shuttle reports.

use super::schedule::{explore, pick};
use crate::support::Scratch;
use crate::{append_many, open, proved, record};
use seglog::{Config, Cursor, Log, Status, Sync, Waited, flags};
use shuttle::thread;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

fn reading(dir: &Path) -> Log {
    Log::open(dir, &Config { flags: flags::READ_ONLY, ..Config::default() }).unwrap()
}

/// One by one, in small records.
fn append_some(log: &Log, count: u64) {
    for _ in 0..count {
        let offset = log.next_offset();
        assert_eq!(log.append(&record(offset, 1, pick(60))).unwrap(), offset);
    }
}

/// Each of them, in its order, waiting for it.
fn follow_all(log: &Log, from: u64, count: u64) {
    let mut cursor = Cursor::open(log, from).unwrap();
    for offset in from..from + count {
        assert_eq!(cursor.wait(None).unwrap(), Waited::There);
        let record = cursor.next().unwrap().unwrap();
        assert_eq!(record.offset, offset);
        proved(offset, record.payload);
    }
}

#[test]
fn whoever_waits_for_a_record_is_woken_by_its_append() {
    explore(2000, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 16 << 10, Sync::Never, flags::NO_THREAD);
        let other = reading(dir.path());
        thread::scope(|scope| {
            scope.spawn(|| append_some(&log, 4));
            for reader in [&log, &other] {
                scope.spawn(move || {
                    let offset = pick(4);
                    assert!(reader.wait(offset, None).unwrap());
                    reader.read(offset, |payload, _| proved(offset, payload)).unwrap();
                });
            }
            scope.spawn(|| follow_all(&other, 0, 4));
        });
        assert!(!other.wait(4, Some(Duration::ZERO)).unwrap());
        log.close().unwrap();
    });
}

/// By the control page: publication, rolls, sleeping and waking, with a ring that comes round meanwhile.
#[test]
fn who_follows_by_the_page_sees_every_record_over_rolls() {
    explore(600, || {
        let dir = Scratch::new();
        let flags = if pick(3) == 0 { flags::NO_THREAD } else { 0 };
        let log = open(dir.path(), 4096, Sync::Never, flags);
        append_many(&log, 1, pick(6));
        let before = log.next_offset();
        let other = reading(dir.path());
        thread::scope(|scope| {
            scope.spawn(|| append_many(&log, 1, 8));
            scope.spawn(|| follow_all(&other, pick(before + 1), 8));
            scope.spawn(|| follow_all(if pick(2) == 0 { &log } else { &other }, before, 8));
        });
        log.close().unwrap();
    });
}

/// What was waited for is cut away and comes back, or is left out for good.
#[test]
fn cuts_leave_nobody_asleep() {
    explore(600, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 16 << 10, Sync::Never, flags::NO_THREAD);
        append_some(&log, 4);
        let other = reading(dir.path());
        let resets = pick(2) == 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                log.truncate(pick(4)).unwrap();
                append_some(&log, 1);
                if resets {
                    log.reset(20).unwrap();
                } else {
                    append_some(&log, 6);
                }
            });
            for reader in [&log, &other] {
                scope.spawn(move || match reader.wait(4 + pick(2), None) {
                    Ok(there) => assert!(there),
                    Err(error) => assert!(resets && error.status() == Status::Trimmed, "{error}"),
                });
            }
        });
        log.close().unwrap();
    });
}

#[test]
fn a_sync_wakes_whoever_waits_for_durability() {
    explore(600, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 16 << 10, Sync::Never, flags::NO_THREAD);
        append_some(&log, 2);
        let other = reading(dir.path());
        thread::scope(|scope| {
            scope.spawn(|| {
                append_some(&log, 1);
                log.sync().unwrap();
            });
            scope.spawn(|| {
                let offset = pick(2);
                assert!(other.wait_durable(offset, None).unwrap());
                assert!(log.stat().unwrap().durable_offset > offset);
            });
            scope.spawn(|| assert!(other.wait(2, None).unwrap()));
        });
        log.close().unwrap();
    });
}

#[test]
fn a_close_wakes_the_cursors_that_stay() {
    explore(600, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 16 << 10, Sync::Never, flags::NO_THREAD);
        append_some(&log, 1);
        let cursors = [Cursor::open(&log, 1).unwrap(), Cursor::open(&log, 1).unwrap()];
        thread::scope(|scope| {
            for mut cursor in cursors {
                scope.spawn(move || assert_eq!(cursor.wait(None).unwrap(), Waited::Closed));
            }
            scope.spawn(move || log.close().unwrap());
        });
    });
}

/// Whoever takes the 8 bytes and then reads the log to its end has seen all, unless there are 8 bytes again.
#[test]
fn the_event_fd_tells_of_every_append() {
    explore(600, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 16 << 10, Sync::Never, flags::NO_THREAD);
        let mut cursor = Cursor::open(&log, 0).unwrap();
        #[expect(unsafe_code, reason = "a descriptor by its number")]
        // SAFETY: it is open as long as the log is.
        let fd = unsafe { BorrowedFd::borrow_raw(log.event_fd().unwrap()) };
        let mut event = File::from(fd.try_clone_to_owned().unwrap());
        let mut seen = 0;
        let mut hear = || {
            if event.read(&mut [0; 8]).is_ok() {
                while cursor.next().unwrap().is_some() {
                    seen += 1;
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| append_some(&log, 4));
            (0..5).for_each(|_| hear());
        });
        hear();
        assert_eq!(seen, 4, "nobody tells of a record");
        log.close().unwrap();
    });
}
