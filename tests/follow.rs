//! `LOG_READ_ONLY` beside a writer in another process: this test binary starts itself again as that writer, which
//! appends, batches, syncs, rolls, comes round in the ring, trims, truncates, resets, closes, and is killed. Whoever
//! follows sees every record in its order and byte for byte, never one of before, and is never told of damage.
//!
//! `SEGLOG_FOLLOW_SECONDS` sets how long the stress takes (10).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what the other process says")]

mod common;
mod others;

use common::TempDir;
use others::{Other, Random, quick, reading};
use seglog::{Cursor, Error, Log, Status, flags};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

// --- records ---------------------------------------------------------------------------------------------------------

fn record(offset: u64, version: u64) -> Vec<u8> {
    others::record(
        offset,
        version,
        |random| if random.below(500) == 0 { 300_000 } else { 16 + random.below(800) as usize },
    )
}

/// The version of a record that must be the one of this offset, with its exact bytes.
fn version_of(payload: &[u8], offset: u64) -> u64 {
    others::version_of(payload, offset, record)
}

fn follow(dir: &Path) -> Log {
    Log::open(dir, &reading()).unwrap()
}

/// Copies a log's files but for LIVE as they are now, over those that are there: what a power loss would leave, of what has
/// been written.
fn copy_without_live(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names_in(from).into_iter().filter(|name| name != "LIVE") {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

/// A log of so many records of version 0, all of them durable.
fn filled(dir: &Path, records: u64) -> Log {
    let log = Log::open(dir, &quick(4096)).unwrap();
    for offset in 0..records {
        log.append(&record(offset, 0)).unwrap();
    }
    log.sync().unwrap();
    log
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// --- the other process -----------------------------------------------------------------------------------------------

/// What the other process runs; no test of its own.
#[test]
#[ignore = "started by the tests"]
fn the_other_process() {
    let Some((verb, dir, seed)) = others::asked() else { return };
    match verb.as_str() {
        "append" => append_all(&dir, seed),
        "anything" => do_anything(&dir, seed),
        "hold" => hold(&dir, seed, false),
        "hold synced" => hold(&dir, seed, true),
        "read" => read_until_killed(&dir),
        other => panic!("no verb {other}"),
    }
}

/// Appends so many records, one by one and in batches, and syncs now and then; half way it waits for its input's end.
fn append_all(dir: &Path, records: u64) {
    let log = Log::open(dir, &quick(1 << 20)).unwrap();
    println!("begun .");
    let mut random = Random::new(records);
    let mut next = log.next_offset();
    while next < records {
        if next >= records / 2 {
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        let count = if random.below(4) == 0 { 1 + random.below(20) } else { 1 };
        let batch: Vec<_> = (next..next + count).map(|offset| record(offset, 0)).collect();
        let payloads: Vec<_> = batch.iter().map(Vec::as_slice).collect();
        assert_eq!(log.append_batch(&payloads).unwrap(), next);
        next += count;
        if random.below(300) == 0 {
            log.sync().unwrap();
        }
    }
    println!("ended {next}");
    log.close().unwrap();
}

/// Appends so many records, and waits to be killed.
fn hold(dir: &Path, records: u64, synced: bool) {
    let log = Log::open(dir, &quick(8 << 20)).unwrap();
    for offset in log.next_offset()..records {
        log.append(&record(offset, 0)).unwrap();
    }
    if synced {
        log.sync().unwrap();
    }
    println!("begun .");
    std::thread::sleep(Duration::from_secs(600));
}

fn read_until_killed(dir: &Path) {
    let log = follow(dir);
    let mut cursor = Cursor::open(&log, log.first_offset()).unwrap();
    println!("begun .");
    loop {
        if cursor.next().unwrap().is_none() {
            std::thread::yield_now();
        }
    }
}

/// All that a writer can do, in a random order, until it is killed. The version is kept beside the log.
fn do_anything(dir: &Path, seed: u64) {
    let versions = fs::OpenOptions::new().read(true).write(true).open(dir.with_extension("version")).unwrap();
    let next_version = || {
        let mut word = [0; 8];
        versions.read_exact_at(&mut word, 0).unwrap();
        let version = u64::from_le_bytes(word) + 1;
        versions.write_all_at(&version.to_le_bytes(), 0).unwrap();
        version
    };
    // Whether records are being taken away.
    let in_cut = |is: bool| versions.write_all_at(&u64::from(is).to_le_bytes(), 8).unwrap();
    let mut random = Random::new(seed);
    let segments = [4096, 64 << 10, 1 << 20, 16 << 20];
    let mut version = next_version();
    loop {
        let mut config = quick(segments[random.below(4) as usize]);
        if random.below(3) == 0 {
            config.flags = flags::NO_THREAD;
        }
        let log = Log::open(dir, &config).unwrap();
        in_cut(false);
        println!("begun .");
        for _ in 0..random.below(5000) {
            let (first, next) = (log.first_offset(), log.next_offset());
            let there = next - first;
            match random.below(1500) {
                0 => log.sync().unwrap(),
                cut @ 1..17 => {
                    in_cut(true);
                    if cut >= 10 {
                        // Before the cut: what comes behind it must differ from all that was there.
                        version = next_version();
                    }
                    match cut {
                        1..10 => log.trim(next - random.below(there.min(2000) + 1)).unwrap(),
                        10..16 => log.truncate(next - random.below(there.min(300) + 1)).unwrap(),
                        _ => log.reset((next + 50).saturating_sub(random.below(100))).unwrap(),
                    }
                    in_cut(false);
                }
                17..200 => {
                    let count = 1 + random.below(30);
                    let batch: Vec<_> = (next..next + count).map(|offset| record(offset, version)).collect();
                    let payloads: Vec<_> = batch.iter().map(Vec::as_slice).collect();
                    log.append_batch(&payloads).unwrap();
                }
                _ => {
                    log.append(&record(next, version)).unwrap();
                }
            }
        }
        if random.below(4) > 0 {
            log.close().unwrap();
        } else {
            drop(log);
        }
    }
}

// --- tests -----------------------------------------------------------------------------------------------------------

#[test]
fn every_record_of_another_process_is_seen_in_order_as_it_is_appended() {
    let dir = TempDir::new("follow");
    let dir = dir.join("log");
    let records = 60_000;
    let mut writer = Other::start("append", &dir, records);
    writer.wait_for("begun");
    let log = follow(&dir);
    let mut cursor = Cursor::open(&log, 0).unwrap();
    let mut next = 0;
    let started = Instant::now();
    let mut random = Random::new(7);
    while next < records {
        assert!(started.elapsed() < common::TIME_OUT, "only {next} records came");
        if random.below(10) == 0 {
            // By offset too, of which the index or a walk tells the place.
            let known = log.next_offset();
            if known > 0 {
                let offset = random.below(known);
                log.read(offset, |payload, _| version_of(payload, offset)).unwrap();
            }
        }
        let mut expected = next;
        let got = cursor.next_batch(1 + random.below(40) as usize, |record| {
            assert_eq!(record.offset, expected);
            assert_eq!(version_of(record.payload, expected), 0);
            expected += 1;
        });
        assert_eq!(got.unwrap() as u64, expected - next);
        if expected == next && next >= records / 2 {
            // It has caught up with a log that is being written.
            drop(writer.child.stdin.take());
        }
        next = expected;
    }
    let ended: u64 = writer.wait_for("ended").parse().unwrap();
    writer.end();
    while next < ended {
        assert_eq!(cursor.next().unwrap().map(|record| version_of(record.payload, record.offset)), Some(0));
        next += 1;
    }
    assert!(cursor.next().unwrap().is_none());
    // Backwards as well, over every segment.
    for offset in (0..next).rev().take(20_000) {
        let record = cursor.prev().unwrap().unwrap();
        assert_eq!((record.offset, version_of(record.payload, offset)), (offset, 0));
    }
    let stat = log.stat().unwrap();
    let whole = Log::open(&dir, &quick(1 << 20)).unwrap();
    let written = whole.stat().unwrap();
    assert_eq!((stat.first_offset, stat.next_offset), (0, next));
    assert_eq!(
        (stat.segment_count, stat.payload_bytes, stat.log_id, stat.durable_offset),
        (written.segment_count, written.payload_bytes, written.log_id, next)
    );
    for n in 0..written.segment_count as usize {
        let (mine, other) = (log.segment_at(n).unwrap().unwrap(), whole.segment_at(n).unwrap().unwrap());
        assert_eq!(
            (mine.epoch, mine.base_offset, mine.next_offset),
            (other.epoch, other.base_offset, other.next_offset)
        );
        assert_eq!(mine.first_timestamp_ns, other.first_timestamp_ns);
        assert_eq!(mine.last_timestamp_ns, other.last_timestamp_ns);
    }
    assert!(log.segment_at(written.segment_count as usize).unwrap().is_none());
}

#[test]
fn what_a_killed_writer_left_is_seen_and_a_new_writer_is_followed() {
    let dir = TempDir::new("follow");
    let dir = dir.join("log");
    let mut writer = Other::start("hold", &dir, 3000);
    writer.wait_for("begun");
    let early = follow(&dir);
    assert_eq!(early.stat().unwrap().writer_pid, i32::try_from(writer.child.id()).unwrap());
    writer.kill();
    // One that was there, and one that comes when nobody writes: most records are in the ring only.
    let late = follow(&dir);
    for log in [&early, &late] {
        let stat = log.stat().unwrap();
        assert_eq!((stat.next_offset, stat.writer_pid), (3000, 0));
        for offset in 0..3000 {
            log.read(offset, |payload, _| version_of(payload, offset)).unwrap();
        }
        assert_eq!(log.read(3000, |_, _| ()).unwrap_err().status(), Status::Beyond);
    }
    let mut cursor = Cursor::open(&early, 2990).unwrap();
    let mut writer = Other::start("hold", &dir, 3500);
    writer.wait_for("begun");
    for offset in 2990..3500 {
        assert_eq!(cursor.next().unwrap().map(|record| version_of(record.payload, offset)), Some(0));
    }
    assert!(cursor.next().unwrap().is_none());
    assert_eq!(late.next_offset(), 3500);
    writer.kill();
}

/// A writer that was killed while another segment became the active one leaves the layout odd, one that was killed in
/// its open 0; all that was published is in the stores then.
#[test]
fn a_page_that_was_left_in_a_change_is_not_waited_for_for_ever() {
    const LAYOUT: u64 = 256;
    let layout_of = |live: &fs::File| {
        let mut word = [0; 8];
        live.read_exact_at(&mut word, LAYOUT).unwrap();
        u64::from_le_bytes(word)
    };
    for odd in [true, false] {
        let dir = TempDir::new("follow");
        let dir = dir.join("log");
        let mut writer = Other::start("hold synced", &dir, 3000);
        writer.wait_for("begun");
        let early = follow(&dir);
        assert_eq!(early.next_offset(), 3000);
        writer.kill();
        let live = fs::OpenOptions::new().read(true).write(true).open(dir.join("LIVE")).unwrap();
        let left = if odd { layout_of(&live) | 1 } else { 0 };
        live.write_all_at(&left.to_le_bytes(), LAYOUT).unwrap();
        let started = Instant::now();
        let late = follow(&dir);
        for log in [&early, &late] {
            for offset in 0..3000 {
                log.read(offset, |payload, _| version_of(payload, offset)).unwrap();
            }
            assert_eq!(log.read(3000, |_, _| ()).unwrap_err().status(), Status::Beyond);
            assert_eq!(log.stat().unwrap().durable_offset, 3000);
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
        let log = Log::open(&dir, &quick(8 << 20)).unwrap();
        assert!(layout_of(&live) % 2 == 0 && layout_of(&live) != left);
        log.append(&record(3000, 0)).unwrap();
        for reader in [&early, &late] {
            assert_eq!(reader.read(3000, |payload, _| version_of(payload, 3000)).unwrap(), 0);
        }
    }
}

#[test]
fn without_live_the_files_tell_and_a_writer_that_comes_is_noticed() {
    let dir = TempDir::new("follow");
    let dir = dir.join("log");
    let log = Log::open(&dir, &quick(64 << 10)).unwrap();
    for offset in 0..1000 {
        log.append(&record(offset, 0)).unwrap();
    }
    log.trim(100).unwrap();
    let payload_bytes = log.stat().unwrap().payload_bytes;
    log.close().unwrap();
    fs::remove_file(dir.join("LIVE")).unwrap();
    let before = names_in(&dir);
    let reader = follow(&dir);
    let mut cursor = Cursor::open(&reader, 100).unwrap();
    for offset in 100..1000 {
        assert_eq!(cursor.next().unwrap().map(|record| version_of(record.payload, offset)), Some(0));
    }
    assert!(cursor.next().unwrap().is_none());
    assert_eq!(reader.read(99, |_, _| ()).unwrap_err().status(), Status::Trimmed);
    let stat = reader.stat().unwrap();
    assert_eq!((stat.first_offset, stat.next_offset, stat.durable_offset), (100, 1000, 1000));
    assert_eq!((stat.payload_bytes, stat.writer_pid), (payload_bytes, 0));
    assert_eq!(names_in(&dir), before, "a reader makes nothing");
    let log = Log::open(&dir, &quick(64 << 10)).unwrap();
    log.append(&record(1000, 0)).unwrap();
    assert_eq!(cursor.next().unwrap().map(|record| version_of(record.payload, 1000)), Some(0));
    log.truncate(500).unwrap();
    assert!(cursor.next().unwrap().is_none());
    assert_eq!(reader.next_offset(), 500);
    log.append(&record(500, 1)).unwrap();
    assert_eq!(reader.read(500, |payload, _| version_of(payload, 500)).unwrap(), 1);
}

#[test]
fn a_torn_tail_is_not_seen_and_not_touched() {
    let dir = TempDir::new("follow");
    let dir = dir.join("log");
    let log = Log::open(&dir, &quick(64 << 10)).unwrap();
    for offset in 0..20 {
        log.append(&record(offset, 0)).unwrap();
    }
    log.close().unwrap();
    let log = Log::open(&dir, &quick(64 << 10)).unwrap();
    let batch: Vec<_> = (20..23).map(|offset| record(offset, 0)).collect();
    log.append_batch(&batch.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    log.append(&record(23, 0)).unwrap();
    log.sync().unwrap();
    // As a power loss would: without the ring, and with the last record of the batch cut off, behind the last slot.
    let torn = dir.with_extension("torn");
    copy_without_live(&dir, &torn);
    let store = torn.join("00000000000000000000-00000000.store");
    let mut bytes = fs::read(&store).unwrap();
    // Behind the header, whose random bytes may look like it.
    let at = 4096 + bytes[4096..].windows(16).position(|bytes| bytes == &record(22, 0)[..16]).unwrap();
    bytes[at..].fill(0);
    fs::write(&store, &bytes).unwrap();
    let reader = follow(&torn);
    assert_eq!(reader.next_offset(), 20);
    assert_eq!(reader.read(20, |_, _| ()).unwrap_err().status(), Status::Beyond);
    reader.read(19, |payload, _| version_of(payload, 19)).unwrap();
    assert!(fs::read(&store).unwrap() == bytes);
    reader.close().unwrap();
}

/// A trim names where the log begins before it deletes what lies before; whoever is killed in between leaves that, and
/// the next open deletes it.
#[test]
fn what_a_trim_left_is_no_segment_by_the_files_either() {
    let temp = TempDir::new("follow");
    let (dir, left) = (temp.join("log"), temp.join("left"));
    let log = filled(&dir, 1000);
    let base = |log: &Log, n| log.segment_at(n).unwrap().unwrap().base_offset;
    let first = base(&log, 5) + 1;
    copy_without_live(&dir, &left);
    log.trim(first).unwrap();
    let (segments, begins) = (log.stat().unwrap().segment_count, base(&log, 0));
    log.close().unwrap();
    copy_without_live(&dir, &left);
    let reader = follow(&left);
    let stat = reader.stat().unwrap();
    assert_eq!((stat.first_offset, stat.next_offset, stat.segment_count), (first, 1000, segments));
    assert_eq!(base(&reader, 0), begins);
    assert!(left.join("00000000000000000000-00000000.store").exists());
    let names = names_in(&left).len();
    let log = Log::open(&left, &quick(4096)).unwrap();
    assert!(names_in(&left).len() < names, "the open deletes what was left");
    for n in 0..segments as usize {
        assert_eq!(reader.segment_at(n).unwrap().unwrap().base_offset, base(&log, n));
    }
    assert_eq!(reader.read(first, |payload, _| version_of(payload, first)).unwrap(), 0);
}

/// An open takes a segment that holds nothing but a torn tail out of the directory, and tells of itself afterwards.
#[test]
fn what_an_open_has_taken_away_is_no_damage_to_who_goes_by_the_files() {
    let temp = TempDir::new("follow");
    let (dir, torn) = (temp.join("log"), temp.join("torn"));
    let log = Log::open(&dir, &quick(4096)).unwrap();
    let mut next = 0;
    while log.stat().unwrap().segment_count < 2 {
        log.append(&record(next, 0)).unwrap();
        next += 1;
    }
    // As a power loss would, which took the ring, and of the second segment all but a piece of its first record.
    let base = log.segment_at(1).unwrap().unwrap().base_offset;
    copy_without_live(&dir, &torn);
    let store = torn.join(format!("{base:020}-00000000.store"));
    let store = fs::OpenOptions::new().write(true).open(store).unwrap();
    store.write_all_at(&[0; 4096], 4096).unwrap();
    store.write_all_at(b"torn", 4096 + 100).unwrap();
    let reader = follow(&torn);
    assert_eq!((reader.next_offset(), reader.stat().unwrap().segment_count), (base, 2));
    let log = Log::open(&torn, &quick(4096)).unwrap();
    assert!(torn.join(format!("lost/{base:020}-00000000.store")).exists());
    let segment = reader.segment_at(1).unwrap().unwrap();
    assert_eq!((segment.base_offset, segment.epoch), (base, 1));
    assert_eq!(log.append(&record(base, 1)).unwrap(), base);
    assert_eq!(reader.read(base, |payload, _| version_of(payload, base)).unwrap(), 1);
}

/// Where a sync had failed, an open writes records anew, in a segment of a higher epoch, and takes the old one away.
#[test]
fn records_that_an_open_wrote_anew_are_found_by_who_goes_by_the_files() {
    let temp = TempDir::new("follow");
    let (dir, left) = (temp.join("log"), temp.join("left"));
    let log = filled(&dir, 40);
    copy_without_live(&dir, &left);
    let (one, other) = (follow(&left), follow(&left));
    let base = log.segment_at(2).unwrap().unwrap().base_offset;
    let mut cursor = Cursor::open(&one, base).unwrap();
    log.truncate(base).unwrap();
    for offset in base..40 {
        log.append(&record(offset, 1)).unwrap();
    }
    log.close().unwrap();
    copy_without_live(&dir, &left);
    for name in names_in(&left).into_iter().filter(|name| !dir.join(name).exists()) {
        fs::remove_file(left.join(name)).unwrap();
    }
    for offset in base..40 {
        assert_eq!(cursor.next().unwrap().map(|record| version_of(record.payload, offset)), Some(1));
        assert_eq!(other.read(offset, |payload, _| version_of(payload, offset)).unwrap(), 1);
    }
}

#[test]
fn a_killed_reader_leaves_nothing() {
    let dir = TempDir::new("follow");
    let dir = dir.join("log");
    let log = Log::open(&dir, &quick(64 << 10)).unwrap();
    for offset in 0..1000 {
        log.append(&record(offset, 0)).unwrap();
    }
    let before = names_in(&dir);
    for _ in 0..5 {
        let mut reader = Other::start("read", &dir, 0);
        reader.wait_for("begun");
        reader.kill();
    }
    assert_eq!(names_in(&dir), before);
    log.close().unwrap();
    Log::open(&dir, &quick(64 << 10)).unwrap().close().unwrap();
}

#[test]
fn every_index_can_be_gone_while_a_log_is_followed() {
    let dir = TempDir::new("follow");
    let dir = dir.join("log");
    let log = Log::open(&dir, &quick(4 << 20)).unwrap();
    let mut next = 0;
    let mut append = |count: u64| {
        for offset in next..next + count {
            log.append(&record(offset, 0)).unwrap();
        }
        next += count;
        next
    };
    append(5000);
    for name in names_in(&dir).into_iter().filter(|name| name.ends_with(".index")) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    let reader = follow(&dir);
    for _ in 0..20 {
        let end = append(397);
        for offset in [0, 1, 17, end / 2, end - 500, end - 2, end - 1] {
            reader.read(offset, |payload, _| version_of(payload, offset)).unwrap();
        }
    }
    let mut cursor = Cursor::open(&reader, 0).unwrap();
    let end = append(10);
    for offset in 0..end {
        assert_eq!(cursor.next().unwrap().map(|record| version_of(record.payload, offset)), Some(0));
    }
}

/// Each system call asks the hook first; reading from memory asks nobody.
#[cfg(feature = "faults")]
#[test]
fn what_is_there_is_read_without_a_system_call() {
    let dir = TempDir::new("follow");
    let dir = dir.join("log");
    let log = Log::open(&dir, &seglog::Config { flags: flags::NO_THREAD, ..quick(8 << 20) }).unwrap();
    let append = |first: u64| (first..first + 2000).all(|n| log.append(&record(n, 0)).unwrap() == n);
    assert!(append(0));
    let reader = follow(&dir);
    let mut cursor = Cursor::open(&reader, 0).unwrap();
    reader.read(0, |_, _| ()).unwrap();
    cursor.next().unwrap();
    assert!(append(2000));
    let hook = seglog::faults::Hook::new().recording();
    hook.run(|| {
        for offset in 1..4000 {
            assert_eq!(cursor.next().unwrap().map(|record| version_of(record.payload, offset)), Some(0));
            reader.read(3999 - offset, |payload, _| version_of(payload, 3999 - offset)).unwrap();
        }
    });
    assert_eq!(hook.ops(), []);
    assert!(cursor.next().unwrap().is_none());
}

// --- stress ----------------------------------------------------------------------------------------------------------

/// Fails but for what a cut or a trim explains.
fn explained(error: &Error) {
    assert!(matches!(error.status(), Status::Trimmed | Status::Beyond), "{error}");
}

/// Reads as it likes until told to stop; counts how many records it has read.
fn read_on(dir: &Path, stop: &AtomicBool, seed: u64, version: &AtomicU64, read: &AtomicU64) {
    let mut random = Random::new(seed);
    let mut newest: HashMap<u64, u64> = HashMap::new();
    let mut check = |payload: &[u8], offset: u64| {
        let version = version_of(payload, offset);
        let newest = newest.entry(offset).or_default();
        assert!(version >= *newest, "record {offset} came back: version {version} behind {newest}");
        *newest = version;
        read.fetch_add(1, Ordering::Relaxed);
        version
    };
    while !stop.load(Ordering::Relaxed) {
        let log = follow(dir);
        let mut cursor = Cursor::open(&log, log.next_offset()).or_else(|_| Cursor::open(&log, log.next_offset()));
        let Ok(cursor) = &mut cursor else { continue };
        let mut last = 0;
        for _ in 0..random.below(200_000) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match random.below(2000) {
                0 => {
                    let (first, next) = (log.first_offset(), log.next_offset());
                    let _ = cursor.seek(first + random.below(next.saturating_sub(first) + 1)).inspect_err(explained);
                    last = 0;
                }
                1..50 => {
                    let (first, next) = (log.first_offset(), log.next_offset());
                    let offset = first + random.below(next.saturating_sub(first) + 1);
                    let _ = log.read(offset, |payload, _| check(payload, offset)).inspect_err(explained);
                }
                50 => {
                    for _ in 0..random.below(50) {
                        match cursor.prev() {
                            Ok(Some(record)) => _ = check(record.payload, record.offset),
                            Ok(None) => break,
                            Err(error) => {
                                explained(&error);
                                break;
                            }
                        }
                    }
                    last = 0;
                }
                51 => {
                    let stat = log.stat().unwrap();
                    assert!(stat.first_offset <= stat.next_offset, "{stat:?}");
                    assert!(stat.durable_offset <= stat.next_offset, "{stat:?}");
                    let n = random.below(u64::from(stat.segment_count) + 1) as usize;
                    let _ = log.segment_at(n).unwrap();
                }
                _ => match cursor.next() {
                    Ok(Some(record)) => {
                        let offset = record.offset;
                        let version = check(record.payload, offset);
                        assert!(version >= last, "record {offset} has version {version}, one before it had {last}");
                        last = version;
                    }
                    Ok(None) => {
                        let next = log.next_offset();
                        if cursor.offset() > next {
                            let _ = cursor.seek(next).inspect_err(explained);
                        }
                        std::thread::yield_now();
                    }
                    Err(error) => {
                        explained(&error);
                        let _ = cursor.seek(log.first_offset()).inspect_err(explained);
                    }
                },
            }
        }
        version.fetch_max(last, Ordering::Relaxed);
        log.close().unwrap();
    }
}

#[test]
fn whatever_a_writer_does_who_follows_sees_no_wrong_record() {
    let seconds = std::env::var("SEGLOG_FOLLOW_SECONDS").map_or(10, |number| number.parse().unwrap());
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let temp = TempDir::new("follow-stress");
    let dir = temp.join("log");
    fs::write(dir.with_extension("version"), [0; 16]).unwrap();
    let mut random = Random::new(seed);
    let mut writer = Other::start("anything", &dir, random.next());
    writer.wait_for("begun");
    let (stop, versions) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = [AtomicU64::new(0), AtomicU64::new(0)];
    let (begun, mut kills) = (Instant::now(), 0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..)
            .zip(&read)
            .map(|(n, read)| {
                let (dir, stop, versions) = (&dir, &stop, &versions);
                scope.spawn(move || {
                    // However it ends, the others end as well.
                    let ended = std::panic::catch_unwind(|| read_on(dir, stop, seed ^ n, versions, read));
                    stop.store(true, Ordering::Relaxed);
                    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                })
            })
            .collect();
        let is_something = || read.iter().all(|read| read.load(Ordering::Relaxed) > 1000);
        // On a busy machine until it has come to something.
        let time = || if is_something() { Duration::from_secs(seconds) } else { common::TIME_OUT };
        while begun.elapsed() < time() && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20 + random.below(500)));
            writer.kill();
            kills += 1;
            if random.below(3) == 0 {
                std::thread::sleep(Duration::from_millis(random.below(50)));
            }
            writer = Other::start("anything", &dir, random.next());
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("a reader failed");
        }
        println!("seed {seed}: {kills} kills, {read:?} records read, versions to {versions:?}");
        assert!(is_something(), "the readers came to nothing: {read:?}");
    });
    writer.kill();
    // What is left is the same for who follows and for who writes. Only a cut that the kill met may be done for one and
    // not for the other.
    let reader = follow(&dir);
    let (first, next) = (reader.first_offset(), reader.next_offset());
    let seen: Vec<_> = (first..next).map(|n| reader.read(n, |payload, _| version_of(payload, n)).unwrap()).collect();
    let log = Log::open(&dir, &quick(1 << 20)).unwrap();
    let left = log.first_offset()..log.next_offset();
    if fs::read(dir.with_extension("version")).unwrap()[8..16] == [0; 8] {
        assert_eq!(left.start, first);
        assert!(left.end >= next, "what was seen is lost");
    }
    for (offset, version) in (first..).zip(&seen).filter(|(offset, _)| left.contains(offset)) {
        assert_eq!(log.read(offset, |payload, _| version_of(payload, offset)).unwrap(), *version);
    }
}
