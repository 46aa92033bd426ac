//! Threads on one log, for `ThreadSanitizer` (`make tsan`): writers, readers, cursors, syncs, rolls, trims, truncations
//! and resets, and cursors that outlive the handle. It is a program of its own and joins each thread that it starts,
//! since std's scopes and its test harness are not compiled for `ThreadSanitizer`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use seglog::{Config, Cursor, Error, Io, Log, Status, Sync, Waited, flags};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// The record of an offset: it tells it, and is as long as it says.
fn record(offset: u64) -> Vec<u8> {
    let mut bytes = offset.to_le_bytes().to_vec();
    let len = 8 + offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 1500;
    bytes.resize(usize::try_from(len).unwrap(), bytes[0]);
    bytes
}

fn check(offset: u64, payload: &[u8]) {
    assert!(payload == record(offset), "record {offset} is not as it was appended");
}

fn answers_only(error: &Error) {
    assert!(matches!(error.status(), Status::Trimmed | Status::Beyond | Status::Conflict), "{error}");
}

fn append(log: &Log, count: u64) {
    let mut done = 0;
    while done < count {
        let offset = log.next_offset();
        match log.append_at(offset, &record(offset)) {
            Ok(()) => done += 1,
            Err(error) => answers_only(&error),
        }
    }
}

fn read(log: &Log, count: u64) {
    let mut state = count;
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (first, next) = (log.first_offset(), log.next_offset());
        let back = (state >> 33) % if state & 1 == 0 { 40 } else { next.saturating_sub(first) + 2 };
        let offset = next.saturating_sub(back);
        let _ = log.read(offset, |payload, _| check(offset, payload)).map_err(|error| answers_only(&error));
        if state.is_multiple_of(64) {
            log.stat().unwrap();
            log.segment_at(0).unwrap();
        }
    }
}

fn follow(mut cursor: Cursor, steps: u64) {
    for n in 0..steps {
        let stepped = match n % 7 {
            0 => cursor.next_batch(16, |record| check(record.offset, record.payload)).map(|count| count > 0),
            1 => cursor.prev().map(|record| record.is_some_and(|record| record.offset < u64::MAX)),
            _ => cursor.next().map(|record| record.inspect(|record| check(record.offset, record.payload)).is_some()),
        };
        match stepped {
            Ok(true) => {}
            Ok(false) => thread::yield_now(),
            Err(error) => answers_only(&error),
        }
    }
}

/// Waits for each of so many records, by a cursor of whichever handle.
fn wait_for_all(mut cursor: Cursor, count: u64) {
    let mut seen = 0;
    while seen < count {
        assert_eq!(cursor.wait(None).unwrap(), Waited::There);
        while let Some(record) = cursor.next().unwrap() {
            check(record.offset, record.payload);
            seen += 1;
        }
    }
}

/// Readers that sleep, by the writer's handle and by one that follows it, whose event fd a thread of the library rings.
fn waits() {
    let dir = directory("waits");
    let log = Arc::new(Log::open(&dir, &Config { sync: Sync::Never, ..Config::default() }).unwrap());
    let follower = Log::open(&dir, &Config { flags: flags::READ_ONLY, ..Config::default() }).unwrap();
    follower.event_fd().unwrap();
    log.event_fd().unwrap();
    let mut threads = Vec::new();
    for handle in [&*log, &follower] {
        for _ in 0..2 {
            let cursor = Cursor::open(handle, 0).unwrap();
            threads.push(thread::spawn(move || wait_for_all(cursor, 4000)));
        }
    }
    for _ in 0..2 {
        let log = Arc::clone(&log);
        threads.push(thread::spawn(move || append(&log, 2000)));
    }
    assert!(follower.wait(3999, None).unwrap());
    log.sync().unwrap();
    assert!(follower.wait_durable(3999, None).unwrap());
    for thread in threads {
        thread.join().unwrap();
    }
    follower.close().unwrap();
    Arc::into_inner(log).unwrap().close().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    println!("waits: done");
}

/// Where a log is for one scenario.
fn directory(name: &str) -> PathBuf {
    let parent = if PathBuf::from("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let dir = parent.join(format!("seglog-tsan-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// A cursor behind the last record; that may be trimmed, or the log cut before it, while this looks.
fn at_the_end(log: &Log) -> Cursor {
    loop {
        if let Ok(cursor) = Cursor::open(log, log.next_offset()) {
            return cursor;
        }
    }
}

type Work = Box<dyn FnOnce(&Log) + Send>;

/// Runs each work in a thread of its own, beside readers and cursors, then closes while a cursor goes on.
fn scenario(name: &str, segment_max_bytes: u64, sync: Sync, works: Vec<Work>) {
    scenario_by(Io::Auto, name, segment_max_bytes, sync, works);
}

fn scenario_by(io: Io, name: &str, segment_max_bytes: u64, sync: Sync, works: Vec<Work>) {
    let dir = directory(name);
    let log = Arc::new(Log::open(&dir, &Config { segment_max_bytes, sync, io, ..Config::default() }).unwrap());
    append(&log, 50);
    let spawn = |work: Work| {
        let log = Arc::clone(&log);
        thread::spawn(move || work(&log))
    };
    let mut threads: Vec<_> = works.into_iter().map(spawn).collect();
    for _ in 0..2 {
        threads.push(spawn(Box::new(|log| read(log, 3000))));
        threads.push(spawn(Box::new(|log| follow(at_the_end(log), 3000))));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let cursor = Cursor::open(&log, log.first_offset()).unwrap();
    let late = thread::spawn(move || follow(cursor, 500));
    Arc::into_inner(log).unwrap().close().unwrap();
    late.join().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    println!("{name}: done");
}

fn appends(count: u64) -> Work {
    Box::new(move |log| append(log, count))
}

fn main() {
    waits();
    let many = || vec![appends(2000), appends(2000)];
    scenario("laps of the ring", 4 << 20, Sync::Never, many());
    scenario("rolls", 16 << 10, Sync::Never, many());
    scenario_by(Io::File, "rolls without mappings", 16 << 10, Sync::Never, many());
    scenario("group commit", 64 << 10, Sync::Always, vec![appends(500), appends(500), appends(500)]);
    scenario("an interval", 64 << 10, Sync::Interval, many());
    scenario(
        "batches",
        64 << 10,
        Sync::Never,
        vec![Box::new(|log| {
            for _ in 0..300 {
                // Larger than a quarter of the ring now and then: it goes to the store directly.
                let first = log.next_offset();
                let records: Vec<_> = (first..first + 1 + first % 500).map(record).collect();
                log.append_batch(&records.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            }
        })],
    );
    scenario(
        "trims",
        16 << 10,
        Sync::Never,
        vec![
            appends(2000),
            Box::new(|log| {
                for _ in 0..40 {
                    let before = log.first_offset() + 30;
                    let _ = log.trim(before).map_err(|error| answers_only(&error));
                }
            }),
        ],
    );
    scenario(
        "truncations",
        16 << 10,
        Sync::Never,
        vec![
            appends(2000),
            Box::new(|log| {
                for n in 0..40 {
                    let from = log.next_offset().saturating_sub(n);
                    let _ = log.truncate(from).map_err(|error| answers_only(&error));
                    log.sync().unwrap();
                }
            }),
        ],
    );
    scenario(
        "resets",
        16 << 10,
        Sync::Never,
        vec![
            appends(2000),
            Box::new(|log| {
                for n in 0..20 {
                    log.reset(n * 7).unwrap();
                    thread::yield_now();
                }
            }),
        ],
    );
}
