//! Readers beside what takes records away: whatever a trim, a truncation or a reset deletes under their hands, they get
//! the record that there is now, or hear that there is none; never damage, never what was dropped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Log, Status, Sync};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use support::Scratch;

/// Of these, a segment takes a dozen.
const RECORD_BYTES: usize = 300;

fn open(dir: &Path) -> Log {
    let config = Config { segment_max_bytes: 4096, sync: Sync::Never, ..Config::default() };
    Log::open(dir, &config).unwrap()
}

/// Appends records that tell their offset and who wrote them.
fn append(log: &Log, writer: u64, count: u64) {
    for _ in 0..count {
        let mut record = [0; RECORD_BYTES];
        record[..8].copy_from_slice(&log.next_offset().to_le_bytes());
        record[8..16].copy_from_slice(&writer.to_le_bytes());
        log.append(&record).unwrap();
    }
}

/// A log of which no segment has been opened yet.
fn reopened(dir: &Path, records: u64) -> Log {
    let log = open(dir);
    append(&log, 0, records);
    log.close().unwrap();
    open(dir)
}

fn writer_of(payload: &[u8], offset: u64) -> u64 {
    let word = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    assert_eq!((word(0), payload.len()), (offset, RECORD_BYTES), "the record of another offset");
    word(8)
}

/// A number that looks random.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Since when, from which offset on, all records are of this writer or a later one.
#[derive(Default)]
struct Known(Mutex<(u64, u64)>);

impl Known {
    /// What must hold of a record that is looked for from now on.
    fn oldest_writer(&self, offset: u64) -> u64 {
        let (from, writer) = *self.0.lock().unwrap();
        if offset >= from { writer } else { 0 }
    }
}

fn answers_only(error: &seglog::Error) {
    assert!(matches!(error.status(), Status::Trimmed | Status::Beyond), "{:?}: {error}", error.status());
}

fn read_beside(log: &Log, known: &Known, stop: &AtomicBool, by_cursor: bool, mut state: u64) {
    let mut cursor = loop {
        if let Ok(cursor) = Cursor::open(log, log.first_offset()) {
            break cursor;
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let first = log.first_offset();
        let offset = first + random(&mut state) % (log.next_offset().saturating_sub(first) + 3);
        let oldest = known.oldest_writer(offset);
        // Some rounds are a cursor's alone, so that it is the first in a segment.
        let read = if by_cursor { Ok(oldest) } else { log.read(offset, |payload, _| writer_of(payload, offset)) };
        match read {
            Ok(writer) => assert!(writer >= oldest, "record {offset} of writer {writer}, dropped for {oldest}"),
            Err(error) => answers_only(&error),
        }
        let _ = cursor.seek(offset).map_err(|error| answers_only(&error));
        for _ in 0..=random(&mut state) % 30 {
            let oldest = known.oldest_writer(cursor.offset());
            match cursor.next() {
                Ok(Some(record)) => {
                    let writer = writer_of(record.payload, record.offset);
                    assert!(writer >= oldest, "the cursor's record {} of writer {writer}", record.offset);
                }
                Ok(None) => break,
                Err(error) => {
                    answers_only(&error);
                    break;
                }
            }
        }
        for _ in 0..random(&mut state) % 15 {
            if let Err(error) = cursor.prev() {
                answers_only(&error);
            }
        }
        if by_cursor {
            continue;
        }
        let segment = log.segment_at(random(&mut state) as usize % 20).unwrap();
        assert!(segment.is_none_or(|segment| segment.base_offset <= segment.next_offset && segment.file_bytes > 0));
        let stat = log.stat().unwrap();
        assert!(stat.first_offset <= stat.next_offset && stat.durable_offset <= stat.next_offset, "{stat:?}");
        let bytes = (stat.next_offset - stat.first_offset) * RECORD_BYTES as u64;
        assert_eq!(stat.payload_bytes, bytes, "{stat:?}");
    }
}

/// Runs `work` beside three readers.
fn beside_readers(log: &Log, by_cursor: bool, work: impl FnOnce(&Known)) {
    let (known, stop) = (Known::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn({
                    let (known, stop) = (&known, &stop);
                    move || read_beside(log, known, stop, by_cursor, n)
                })
            })
            .collect();
        work(&known);
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_reader_beside_trims_never_meets_damage() {
    for round in 0..16 {
        let dir = Scratch::new();
        let log = reopened(dir.path(), 2000);
        beside_readers(&log, round % 2 == 0, |_| (0..2000).step_by(7).for_each(|before| log.trim(before).unwrap()));
        log.close().unwrap();
    }
}

#[test]
fn a_reader_beside_truncations_never_sees_what_was_dropped() {
    for round in 0..4 {
        let dir = Scratch::new();
        let log = reopened(dir.path(), 1500);
        beside_readers(&log, round % 2 == 0, |known| {
            let mut state = round;
            for writer in 1..150 {
                let next = log.next_offset();
                let from = next - random(&mut state) % 60.min(next - log.first_offset());
                log.truncate(from).unwrap();
                *known.0.lock().unwrap() = (from, writer);
                append(&log, writer, random(&mut state) % 50);
            }
        });
        log.close().unwrap();
    }
}

#[test]
fn a_reader_beside_resets_never_sees_what_was_dropped() {
    for round in 0..4 {
        let dir = Scratch::new();
        let log = reopened(dir.path(), 500);
        beside_readers(&log, round % 2 == 0, |known| {
            let mut state = round;
            for writer in 1..100 {
                log.reset(random(&mut state) % 1000).unwrap();
                *known.0.lock().unwrap() = (0, writer);
                append(&log, writer, random(&mut state) % 100);
            }
        });
        log.close().unwrap();
    }
}

/// When many segments are open, all are closed and opened anew: a cursor may hold one that is not in the row any more.
#[test]
fn a_cursor_in_a_segment_of_an_older_row_hears_of_a_truncation() {
    let dir = Scratch::new();
    let log = reopened(dir.path(), 4000);
    let mut cursor = Cursor::open(&log, 30).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().offset, 30);
    for offset in 0..4000 {
        log.read(offset, |payload, _| writer_of(payload, offset)).unwrap();
    }
    log.truncate(28).unwrap();
    append(&log, 1, 10);
    for offset in 31..38 {
        let record = cursor.next().unwrap().unwrap();
        assert_eq!((record.offset, writer_of(record.payload, offset)), (offset, 1));
    }
    assert!(cursor.next().unwrap().is_none());
}

/// As above; what the cursor hears of a reset must not make it believe that it knows the newest row.
#[test]
fn a_cursor_that_heard_of_a_reset_sees_nothing_of_before() {
    let dir = Scratch::new();
    let log = reopened(dir.path(), 4000);
    let mut cursor = Cursor::open(&log, 1).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().offset, 1);
    for offset in 0..4000 {
        log.read(offset, |payload, _| writer_of(payload, offset)).unwrap();
    }
    log.reset(5).unwrap();
    append(&log, 1, 3);
    answers_only(&cursor.next().unwrap_err());
    cursor.seek(5).unwrap();
    let record = cursor.next().unwrap().unwrap();
    assert_eq!((record.offset, writer_of(record.payload, 5)), (5, 1));
}

/// A cursor keeps how far it saw records and asks again only there. What lies between is not taken for granted: whoever
/// follows hears at once of each cut below that.
#[test]
fn a_cursor_that_saw_records_behind_a_cut_does_not_count_on_them() {
    let dir = Scratch::new();
    let log = open(dir.path());
    let follower = Log::open(dir.path(), &Config { flags: seglog::flags::READ_ONLY, ..Config::default() }).unwrap();
    append(&log, 0, 100);
    let mut cursors = [Cursor::open(&log, 0).unwrap(), Cursor::open(&follower, 0).unwrap()];
    let next = |cursor: &mut Cursor| {
        let record = cursor.next()?;
        Ok::<_, seglog::Error>(record.map(|record| (record.offset, writer_of(record.payload, record.offset))))
    };
    for cursor in &mut cursors {
        assert_eq!(next(cursor).unwrap(), Some((0, 0)));
    }
    log.truncate(50).unwrap();
    for cursor in &mut cursors {
        cursor.seek(49).unwrap();
        assert_eq!(next(cursor).unwrap(), Some((49, 0)));
        assert_eq!(next(cursor).unwrap(), None);
    }
    append(&log, 1, 30);
    for cursor in &mut cursors {
        assert_eq!(next(cursor).unwrap(), Some((50, 1)));
    }
    log.trim(60).unwrap();
    for cursor in &mut cursors {
        assert_eq!(next(cursor).unwrap_err().status(), Status::Trimmed);
        cursor.seek(60).unwrap();
        assert_eq!(next(cursor).unwrap(), Some((60, 1)));
    }
    log.reset(62).unwrap();
    for cursor in &mut cursors {
        assert_eq!(next(cursor).unwrap_err().status(), Status::Trimmed);
        cursor.seek(62).unwrap();
        assert_eq!(next(cursor).unwrap(), None);
    }
    append(&log, 2, 1);
    for cursor in &mut cursors {
        assert_eq!(next(cursor).unwrap(), Some((62, 2)));
    }
}
