//! What threads share, under many orders of their steps: the whole library runs under shuttle (feature `model`), on
//! real files, with a ring of one page, so that it comes round in a few records. `make races` runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod races {
    mod places;
    mod planted;
    pub(crate) mod schedule;
    mod waits;
}

use races::schedule::{explore, pick};
use seglog::faults::{Fault, Hook, Kind};
use seglog::{Config, Cursor, Log, Status, Sync, flags};
use shuttle::thread;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use support::Scratch;

/// The record of an offset, as a writer of this number makes it: it tells both, and every byte of it must fit.
fn record(offset: u64, writer: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![(offset * 31 + writer * 7 + len) as u8; 24 + len as usize];
    for (n, word) in [offset, writer, len].into_iter().enumerate() {
        bytes[n * 8..n * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Proves a record; returns its writer.
#[track_caller]
fn proved(offset: u64, payload: &[u8]) -> u64 {
    let word = |n: usize| u64::from_le_bytes(payload[n * 8..n * 8 + 8].try_into().unwrap());
    assert!(payload.len() >= 24, "record {offset} has {} bytes", payload.len());
    assert_eq!(word(0), offset, "the record of another offset");
    assert!(payload == record(offset, word(1), word(2)), "record {offset} is not as it was appended");
    word(1)
}

/// Appends a record of a length that differs between offsets.
fn append(log: &Log, writer: u64, most: u64) {
    let offset = log.next_offset();
    log.append_at(offset, &record(offset, writer, pick(most + 1))).unwrap();
}

fn append_many(log: &Log, writer: u64, count: u64) {
    (0..count).for_each(|_| append(log, writer, 900));
}

fn open(dir: &Path, segment_max_bytes: u64, sync: Sync, flags: u32) -> Log {
    let config = Config { segment_max_bytes, index_max_bytes: 1024, sync, flags, ..Config::default() };
    Log::open(dir, &config).unwrap()
}

/// With the keepers, or without them.
fn any_flags() -> u32 {
    if pick(3) == 0 { flags::NO_THREAD } else { 0 }
}

/// Reads records at random, the last one more often than others.
fn read_some(log: &Log, times: u64) {
    for _ in 0..times {
        let next = log.next_offset();
        if next > 0 {
            let offset = if pick(2) == 0 { next - 1 } else { pick(next) };
            let read = log.read(offset, |payload, _| proved(offset, payload));
            read.unwrap_or_else(|error| panic!("record {offset} of {next}: {error}"));
        }
    }
}

/// Follows the log by a cursor from `from` on, one by one and in batches.
fn follow(mut cursor: Cursor, times: u64) {
    for _ in 0..times {
        let expected = cursor.offset();
        if pick(3) == 0 {
            let mut offset = expected;
            let count = cursor.next_batch(4, |record| {
                assert_eq!(record.offset, offset);
                proved(offset, record.payload);
                offset += 1;
            });
            assert_eq!(expected + count.unwrap() as u64, offset);
        } else if let Some(record) = cursor.next().unwrap() {
            assert_eq!(record.offset, expected);
            proved(expected, record.payload);
        }
    }
}

/// All records, in their order.
fn check_all(log: &Log, next: u64) {
    assert_eq!(log.next_offset(), next);
    let mut cursor = Cursor::open(log, log.first_offset()).unwrap();
    for offset in log.first_offset()..next {
        let record = cursor.next().unwrap().unwrap();
        assert_eq!(record.offset, offset);
        proved(offset, record.payload);
    }
    assert!(cursor.next().unwrap().is_none());
}

#[test]
fn what_is_published_reads_back() {
    explore(1500, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 16 << 10, Sync::Never, any_flags());
        thread::scope(|scope| {
            scope.spawn(|| (0..6).for_each(|_| append(&log, 1, 60)));
            scope.spawn(|| read_some(&log, 6));
            scope.spawn(|| follow(Cursor::open(&log, 0).unwrap(), 6));
        });
        check_all(&log, 6);
        log.close().unwrap();
    });
}

#[test]
fn batches_are_published_whole_and_appenders_get_each_offset_once() {
    explore(500, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 16 << 10, Sync::Never, any_flags());
        let offsets = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..2 {
                        let payloads = [[b'a'; 40], [b'b'; 40], [b'c'; 40]];
                        let first = log.append_batch(&payloads.each_ref().map(<[u8; 40]>::as_slice)).unwrap();
                        offsets.lock().unwrap().push(first);
                        assert!(log.next_offset() >= first + 3, "batch {n} is not there");
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..4 {
                    let next = log.next_offset();
                    assert!(next.is_multiple_of(3), "half a batch is published: {next}");
                    for offset in next.saturating_sub(3)..next {
                        let letter = b'a' + (offset % 3) as u8;
                        log.read(offset, |payload, _| assert_eq!(payload, [letter; 40])).unwrap();
                    }
                }
            });
        });
        let mut offsets = offsets.into_inner().unwrap();
        offsets.sort_unstable();
        assert_eq!(offsets, [0, 3, 6, 9]);
        log.close().unwrap();
    });
}

/// Works on a log whose ring comes round under a reader and a cursor.
fn come_round(work: fn(&Log, &Path)) {
    let dir = Scratch::new();
    let log = open(dir.path(), 32 << 10, Sync::Never, any_flags());
    append_many(&log, 1, pick(8));
    let before = log.next_offset();
    thread::scope(|scope| {
        scope.spawn(|| append_many(&log, 1, 10));
        scope.spawn(|| read_some(&log, 5));
        scope.spawn(|| follow(Cursor::open(&log, pick(before + 1)).unwrap(), 5));
    });
    check_all(&log, before + 10);
    work(&log, dir.path());
    log.close().unwrap();
}

/// Each place in the source that says `reached` must have been; those that only an index leads to that is wrong, by
/// nothing else: no reader relies on a frame's checksum to see that the ring has come round.
#[test]
fn the_ring_comes_round_under_its_readers() {
    let astray = ["read: no head in the ring", "read: no frame in the ring", "cursor: no frame in the ring"];
    explore(3000, || come_round(|_, _| ()));
    let reached = seglog::model::branches();
    assert!(astray.iter().all(|name| !reached.contains_key(name)), "only a checksum told: {reached:#?}");
    explore(500, || come_round(led_astray));
    let reached = seglog::model::branches();
    let sources = [include_str!("../src/row.rs"), include_str!("../src/cursor.rs")];
    let named: Vec<_> = sources.iter().flat_map(|text| text.split("reached(\"").skip(1)).collect();
    assert!(named.len() >= 9, "only {} branches are named", named.len());
    for name in named {
        let name = name.split('"').next().unwrap();
        assert!(reached.contains_key(name), "no schedule came to '{name}': {reached:#?}");
    }
    println!("{reached:#?}");
}

/// An index that points at wrong places in the ring: a reader may hear of damage as long as the record is nowhere else,
/// but gets no wrong record; once it is stored it is found.
fn led_astray(log: &Log, dir: &Path) {
    use std::os::unix::fs::FileExt;
    let index = dir.join("00000000000000000000-00000000.index");
    let file = std::fs::OpenOptions::new().write(true).read(true).open(index).unwrap();
    let last = log.next_offset() - 1;
    let mut entries = [[0; 4]; 2];
    for (n, entry) in entries.iter_mut().enumerate() {
        file.read_exact_at(entry, 64 + 4 * (last - 1 + n as u64)).unwrap();
    }
    let [before, at] = entries.map(u32::from_le_bytes);
    let wrong = [before, at - 1, at + 1][pick(3) as usize];
    file.write_all_at(&wrong.to_le_bytes(), 64 + 4 * last).unwrap();
    let damage = |error: &seglog::Error| assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, last));
    thread::scope(|scope| {
        scope.spawn(|| log.sync().unwrap());
        scope.spawn(|| {
            let _ = log.read(last, |payload, _| proved(last, payload)).map_err(|error| damage(&error));
        });
        scope.spawn(|| {
            let mut cursor = Cursor::open(log, last).unwrap();
            match cursor.next() {
                Ok(record) => {
                    proved(last, record.unwrap().payload);
                }
                Err(error) => damage(&error),
            }
        });
    });
    check_all(log, last + 1);
}

/// That the record of this offset was in its store, and the store synced afterwards.
fn check_durable(dir: &Path, hook: &Hook, offset: u64) {
    let ops = hook.ops();
    let key = [offset.to_le_bytes(), 1_u64.to_le_bytes()].concat();
    let covered = std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|entry| {
        let name = entry.file_name().into_string().unwrap();
        let bytes = if support::is_store(&name) { std::fs::read(entry.path()).unwrap() } else { Vec::new() };
        let is_it = |at: &usize| bytes[*at..].starts_with(&key);
        let Some(at) = (4096..bytes.len()).step_by(8).find(is_it) else { return false };
        let of_it = |op: &seglog::faults::Op, kind| op.file == name && op.kind == kind;
        let holds = |op: &seglog::faults::Op| (op.at..op.at + op.len).contains(&(at as u64));
        let written = ops.iter().rposition(|op| of_it(op, Kind::Write) && holds(op)).unwrap();
        ops[written..].iter().any(|op| of_it(op, Kind::SyncFile))
    });
    assert!(covered, "record {offset} was acknowledged before a sync covered it");
}

#[test]
fn no_append_is_acknowledged_before_the_sync_that_covers_it() {
    explore(1500, || {
        let dir = Scratch::new();
        let hook = Hook::new().recording();
        hook.run(|| {
            let log = open(dir.path(), 4096, Sync::Always, any_flags());
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..3 {
                            let offset = loop {
                                let offset = log.next_offset();
                                match log.append_at(offset, &record(offset, 1, 500 + pick(500))) {
                                    Ok(()) => break offset,
                                    Err(error) => assert_eq!(error.status(), Status::Conflict),
                                }
                            };
                            assert!(log.wait_durable(offset, Some(Duration::ZERO)).unwrap());
                            check_durable(dir.path(), &hook, offset);
                        }
                    });
                }
            });
            check_all(&log, 9);
            log.close().unwrap();
        });
    });
}

#[test]
fn waiting_for_durability_ends_for_all_who_wait() {
    explore(500, || {
        let dir = Scratch::new();
        let hook = Hook::new().recording();
        hook.run(|| {
            let log = open(dir.path(), 4096, Sync::Never, any_flags());
            thread::scope(|scope| {
                for n in 0..3 {
                    let (log, dir, hook) = (&log, &dir, &hook);
                    scope.spawn(move || {
                        (0..2).for_each(|_| while_conflict(log, 500));
                        let last = log.next_offset() - 1;
                        match n {
                            0 => log.sync().unwrap(),
                            _ => assert!(log.wait_durable(last, None).unwrap()),
                        }
                        check_durable(dir.path(), hook, last);
                    });
                }
            });
            log.close().unwrap();
        });
    });
}

/// Appends where others do, too.
fn while_conflict(log: &Log, len: u64) {
    loop {
        let offset = log.next_offset();
        match log.append_at(offset, &record(offset, 1, len)) {
            Ok(()) => return,
            Err(error) => assert_eq!(error.status(), Status::Conflict),
        }
    }
}

#[test]
fn a_failed_call_poisons_for_all_and_what_was_acknowledged_stays() {
    explore(1500, || {
        let dir = Scratch::new();
        let acknowledged = Mutex::new(Vec::new());
        let hook = Hook::new().recording();
        let (poisoned, close) = hook.run(|| {
            let log = open(dir.path(), 4096, Sync::Always, any_flags());
            let _ = hook.clone().with(Fault::Fail { nth: hook.calls() + pick(24), os_error: 5 });
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut refused = false;
                        for _ in 0..2 {
                            let offset = log.next_offset();
                            match log.append_at(offset, &record(offset, 1, 700)) {
                                Ok(()) => {
                                    assert!(!refused, "an append succeeds on a poisoned handle");
                                    check_durable(dir.path(), &hook, offset);
                                    acknowledged.lock().unwrap().push(offset);
                                }
                                Err(error) => {
                                    refused |= error.status() == Status::Poisoned;
                                    let expected = [Status::Io, Status::Poisoned, Status::Conflict];
                                    assert!(expected.contains(&error.status()), "{error}");
                                }
                            }
                        }
                        read_some(&log, 2);
                    });
                }
            });
            let refused = log.append(b"").is_err_and(|error| error.status() == Status::Poisoned);
            (refused, log.close())
        });
        if poisoned {
            assert_eq!(close.unwrap_err().status(), Status::Poisoned);
        }
        let log = open(dir.path(), 4096, Sync::Always, flags::NO_THREAD);
        for offset in acknowledged.into_inner().unwrap() {
            log.read(offset, |payload, _| proved(offset, payload)).unwrap();
        }
        log.close().unwrap();
    });
}

#[test]
fn readers_beside_rolls_get_every_record() {
    explore(1500, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 4096, Sync::Never, any_flags());
        append_many(&log, 1, pick(20));
        let before = log.next_offset();
        thread::scope(|scope| {
            scope.spawn(|| append_many(&log, 1, 16));
            scope.spawn(|| read_some(&log, 8));
            scope.spawn(|| follow(Cursor::open(&log, pick(before + 1)).unwrap(), 8));
            scope.spawn(|| {
                let mut number = 0;
                while let Some(segment) = log.segment_at(number).unwrap() {
                    assert!(segment.base_offset <= segment.next_offset);
                    number += 1;
                }
            });
        });
        check_all(&log, before + 16);
        log.close().unwrap();
        check_all(&open(dir.path(), 4096, Sync::Never, flags::NO_THREAD), before + 16);
    });
}

/// Since when, from which offset on, all records are of this writer or a later one.
#[derive(Default)]
struct Known(Mutex<(u64, u64)>);

impl Known {
    fn set(&self, from: u64, writer: u64) {
        *self.0.lock().unwrap() = (from, writer);
    }

    /// What must hold of a record that is looked for from now on.
    fn oldest_writer(&self, offset: u64) -> u64 {
        let (from, writer) = *self.0.lock().unwrap();
        if offset >= from { writer } else { 0 }
    }
}

fn answers_only(error: &seglog::Error) {
    assert!(matches!(error.status(), Status::Trimmed | Status::Beyond), "{:?}: {error}", error.status());
}

fn read_beside_cuts(log: &Log, known: &Known) {
    for _ in 0..6 {
        let (first, next) = (log.first_offset(), log.next_offset());
        let offset = first + pick(next.saturating_sub(first) + 2);
        let oldest = known.oldest_writer(offset);
        match log.read(offset, |payload, _| proved(offset, payload)) {
            Ok(writer) => assert!(writer >= oldest, "record {offset} of writer {writer}, dropped for {oldest}"),
            Err(error) => answers_only(&error),
        }
    }
}

fn follow_beside_cuts(log: &Log, known: &Known) {
    let from = pick(log.next_offset() + 1);
    let mut cursor = match Cursor::open(log, from) {
        Ok(cursor) => cursor,
        Err(error) => return answers_only(&error),
    };
    for _ in 0..8 {
        let oldest = known.oldest_writer(cursor.offset());
        let way = pick(6);
        let stepped = match way {
            0 => {
                let mut offset = cursor.offset();
                let given = cursor.next_batch(3, |record| {
                    assert_eq!(record.offset, offset);
                    proved(offset, record.payload);
                    offset += 1;
                });
                let _ = given.map_err(|error| answers_only(&error));
                continue;
            }
            1 => {
                let first = log.first_offset();
                let _ = cursor.seek(first).map_err(|error| answers_only(&error));
                continue;
            }
            2 => cursor.prev(),
            _ => cursor.next(),
        };
        match stepped {
            Ok(Some(record)) => {
                let writer = proved(record.offset, record.payload);
                assert!(way == 2 || writer >= oldest, "the cursor's record {} of writer {writer}", record.offset);
            }
            Ok(None) => {}
            Err(error) => answers_only(&error),
        }
    }
}

/// Runs `cut` beside readers; `cut` gets a log of a few segments.
fn beside_cuts(cut: fn(&Log, &Known)) {
    let dir = Scratch::new();
    let any = any_flags();
    let mut log = open(dir.path(), 4096, Sync::Never, any);
    (0..10 + pick(8)).for_each(|_| log.append(&record(log.next_offset(), 0, 400 + pick(500))).map(drop).unwrap());
    if pick(2) == 0 {
        // So that no segment has been opened yet.
        log.close().unwrap();
        log = open(dir.path(), 4096, Sync::Never, any);
    }
    let known = Known::default();
    thread::scope(|scope| {
        scope.spawn(|| cut(&log, &known));
        scope.spawn(|| read_beside_cuts(&log, &known));
        scope.spawn(|| follow_beside_cuts(&log, &known));
    });
    let stat = log.stat().unwrap();
    let next = log.next_offset();
    assert_eq!((stat.first_offset, stat.next_offset), (log.first_offset(), next));
    check_all(&log, next);
    log.close().unwrap();
    check_all(&open(dir.path(), 4096, Sync::Never, flags::NO_THREAD), next);
}

fn cut_at_the_end(log: &Log, known: &Known) {
    for writer in 1..3 {
        let from = log.next_offset() - pick(log.next_offset() - log.first_offset()).min(9);
        log.truncate(from).unwrap();
        known.set(from, writer);
        append_many(log, writer, pick(6));
    }
}

fn trim_and_append(log: &Log, _known: &Known) {
    for _ in 0..3 {
        log.trim(log.first_offset() + pick(10).min(log.next_offset() - log.first_offset())).unwrap();
        append(log, 0, 900);
    }
}

fn reset_and_append(log: &Log, known: &Known) {
    for writer in 1..3 {
        log.reset(pick(20)).unwrap();
        known.set(0, writer);
        append_many(log, writer, pick(6));
    }
}

#[test]
fn readers_beside_truncations_never_see_what_was_dropped() {
    explore(1500, || beside_cuts(cut_at_the_end));
}

#[test]
fn readers_beside_trims_never_meet_damage() {
    explore(1500, || beside_cuts(trim_and_append));
}

#[test]
fn readers_beside_resets_never_see_what_was_dropped() {
    explore(1500, || beside_cuts(reset_and_append));
}

/// Appends, syncs and what takes records away, by many at once.
#[test]
fn appenders_beside_trims_and_truncations_keep_the_log_whole() {
    explore(1000, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 4096, Sync::Never, any_flags());
        append_many(&log, 0, 8);
        thread::scope(|scope| {
            scope.spawn(|| (0..4).for_each(|_| while_conflict(&log, 600)));
            scope.spawn(|| {
                let from = log.first_offset() + pick(8);
                let _ = log.truncate(from).map_err(|error| answers_only(&error));
                while_conflict(&log, 300);
                log.sync().unwrap();
            });
            scope.spawn(|| {
                let before = log.first_offset() + pick(8);
                let _ = log.trim(before).map_err(|error| answers_only(&error));
            });
        });
        let next = log.next_offset();
        check_all(&log, next);
        log.close().unwrap();
        check_all(&open(dir.path(), 4096, Sync::Never, flags::NO_THREAD), next);
    });
}

#[test]
fn a_cursor_goes_on_while_the_log_closes_and_after() {
    explore(1000, || {
        let dir = Scratch::new();
        let log = open(dir.path(), 4096, Sync::Never, any_flags());
        let before = 1 + pick(10);
        append_many(&log, 1, before);
        let cursors: Vec<_> = (0..2)
            .map(|_| {
                let mut cursor = Cursor::open(&log, pick(before + 1)).unwrap();
                thread::spawn(move || {
                    let mut last = cursor.offset();
                    while let Some(record) = cursor.next().unwrap() {
                        assert_eq!(record.offset, last);
                        proved(last, record.payload);
                        last += 1;
                    }
                    last
                })
            })
            .collect();
        append(&log, 1, 900);
        log.close().unwrap();
        // The lock was given up, whatever cursors there are.
        let log = open(dir.path(), 4096, Sync::Never, any_flags());
        append(&log, 2, 900);
        for cursor in cursors {
            let seen = cursor.join().unwrap();
            assert!((before..=before + 1).contains(&seen), "a cursor saw {seen} of {before} records");
        }
        check_all(&log, before + 2);
        log.close().unwrap();
    });
}
