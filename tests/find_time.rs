//! Finding a record by its time: beside damage and gone files, after trims, cuts and a clock that went back, by those who
//! write and those who follow, and in how much time.
//!
//! `SEGLOG_FIND_TIME_RECORDS` sets the size of the largest log, in thousand segments: 1,000,000; a release build with
//! 100000000 (2 GB of disk) prints the figures of the issue and holds them to 100 microseconds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Log, Record, Status, Sync, flags};
use std::fs;
use std::path::Path;
use std::time::Instant;
use support::{Image, Random, Scratch};

fn config() -> Config {
    Config { segment_max_bytes: 4096, sync: Sync::Never, flags: flags::NO_THREAD, ..Config::default() }
}

fn read_only() -> Config {
    Config { flags: flags::READ_ONLY, ..Config::default() }
}

/// Appends records with these times, a few at once, so that segments roll.
fn import(log: &Log, times: impl IntoIterator<Item = u64>) {
    let offset = log.next_offset();
    let records: Vec<_> = (offset..)
        .zip(times)
        .map(|(offset, timestamp_ns)| Record { offset, timestamp_ns, payload: &[9; 50] })
        .collect();
    for batch in records.chunks(7) {
        log.append_records(batch).unwrap();
    }
}

fn times(log: &Log) -> Vec<(u64, u64)> {
    let mut cursor = Cursor::open(log, log.first_offset()).unwrap();
    let mut times = Vec::new();
    loop {
        match cursor.next() {
            Ok(Some(record)) => times.push((record.offset, record.timestamp_ns)),
            Ok(None) => return times,
            Err(error) => assert_eq!(error.status(), Status::Corrupt, "{error}"),
        }
    }
}

/// For every time at which something changes, and those beside it: what a plain walk finds.
fn check_all(log: &Log, what: &str) {
    let times = times(log);
    let mut asked: Vec<u64> =
        times.iter().flat_map(|(_, time)| [time.saturating_sub(1), *time, time.saturating_add(1)]).collect();
    asked.extend([0, 1, u64::MAX]);
    asked.sort_unstable();
    asked.dedup();
    for time_ns in asked {
        let walked = times.iter().find(|(_, time)| *time >= time_ns).map(|(offset, _)| *offset);
        match log.find_time(time_ns) {
            Ok(offset) => assert_eq!(Some(offset), walked, "{what}: time {time_ns}"),
            Err(error) => {
                assert_eq!((error.status(), walked), (Status::Beyond, None), "{what}: time {time_ns}: {error}");
                assert_eq!(error.detail().offset, log.next_offset(), "{what}");
            }
        }
    }
}

/// Many records of one time, gaps, and times alike on both sides of a segment's end.
fn steps(count: u64) -> impl Iterator<Item = u64> {
    let mut random = Random(3);
    let mut time = 1000;
    (0..count).map(move |_| {
        time += [0, 0, 0, 0, 1, 2, 500][(random.next() % 7) as usize];
        time
    })
}

#[test]
fn every_time_is_found_where_a_walk_finds_it() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    check_all(&log, "empty");
    import(&log, steps(1));
    check_all(&log, "one record");
    import(&log, steps(600).map(|time| time + 10_000).collect::<Vec<_>>());
    let follower = Log::open(dir.path(), &read_only()).unwrap();
    for (log, what) in [(&log, "writer"), (&follower, "follower")] {
        check_all(log, what);
    }
    log.trim(77).unwrap();
    for (log, what) in [(&log, "writer, trimmed"), (&follower, "follower, trimmed")] {
        check_all(log, what);
    }
    log.close().unwrap();
    for config in [config(), read_only()] {
        check_all(&Log::open(dir.path(), &config).unwrap(), "reopened");
    }
    check_all(&follower, "follower without a writer");
}

/// A cut takes the latest times away; what comes behind it has none before theirs, whatever the clock says. The first
/// records of a segment may be later than all that the log still has before it.
#[test]
fn time_does_not_run_back_over_cuts_and_reopens_and_is_found() {
    let future = 1 << 62;
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    import(&log, steps(300));
    import(&log, [future; 3]);
    log.truncate(200).unwrap();
    let next = log.append(b"by the clock").unwrap();
    assert_eq!(log.read(next, |_, time| time).unwrap(), future, "time ran back over a truncation");
    check_all(&log, "after a truncation");
    log.append(b"again").unwrap();
    log.close().unwrap();
    // Any real clock is far back now.
    let log = Log::open(dir.path(), &config()).unwrap();
    let next = log.append(b"reopened").unwrap();
    assert_eq!(log.read(next, |_, time| time).unwrap(), future, "time ran back over a reopen");
    import(&log, [future + 5]);
    check_all(&log, "after a reopen");
    log.trim(log.next_offset()).unwrap();
    let next = log.append(b"trimmed").unwrap();
    assert_eq!(log.read(next, |_, time| time).unwrap(), future + 5, "time ran back over a trim");
    log.reset(3).unwrap();
    check_all(&log, "after a reset");
    log.append(b"reset").unwrap();
    assert_eq!(log.read(3, |_, time| time).unwrap(), future + 5, "time ran back over a reset");
    check_all(&log, "after a reset and an append");
    log.close().unwrap();
    let log = Log::open(dir.path(), &config()).unwrap();
    assert!(log.append_records(&[Record { offset: 4, timestamp_ns: future, payload: b"" }]).is_err());
    check_all(&log, "at last");
}

/// Damaged records, a segment without its header, one that is gone: what is left is found.
#[test]
fn damaged_records_are_passed_over() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    import(&log, steps(400));
    log.close().unwrap();
    let whole = Image::of(dir.path());
    let stores = whole.stores();
    assert!(stores.len() > 6);
    let mut random = Random(17);
    for round in 0..40 {
        let mut image = whole.clone();
        for name in &stores[..stores.len() - 1] {
            match random.next() % 6 {
                0 => drop(image.0.remove(name)),
                // Both headers, but for magic and version: those would tell a file of another format.
                1 => {
                    image.file(name)[12..1024].fill(0xEE);
                    image.file(name)[1036..2048].fill(0xEE);
                }
                2 => image.file(name)[4096..].fill(0),
                _ => {
                    for _ in 0..random.next() % 20 {
                        let at = 4096 + random.next() % 3000;
                        image.file(name)[usize::try_from(at).unwrap()] ^= 0x10;
                    }
                }
            }
        }
        image.put(dir.path());
        for config in [config(), read_only()] {
            check_all(&Log::open(dir.path(), &config).unwrap(), &format!("round {round}"));
        }
    }
}

/// Appends, rolls, trims and cuts go on while it is looked for.
#[test]
fn it_is_found_beside_a_writer() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    import(&log, [5; 10]);
    let follower = Log::open(dir.path(), &read_only()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in [&log, &follower] {
            let done = &done;
            scope.spawn(move || {
                let mut random = Random(1);
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    let time_ns = random.next() % 20_000;
                    match reader.find_time(time_ns) {
                        Ok(offset) => match reader.read(offset, |_, time| time) {
                            Ok(time) => assert!(time >= time_ns, "record {offset} is of {time}, not of {time_ns}"),
                            Err(error) => {
                                assert!(matches!(error.status(), Status::Trimmed | Status::Beyond), "{error}");
                            }
                        },
                        Err(error) => assert_eq!(error.status(), Status::Beyond, "{error}"),
                    }
                }
            });
        }
        for n in 0..400_u64 {
            import(&log, (0..30).map(|m| 10 + n * 50 + m));
            match n % 8 {
                3 => log.trim(log.next_offset() - 25).unwrap(),
                6 => log.truncate(log.next_offset() - 5).unwrap(),
                _ => {}
            }
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
}

/// A log of `records` empty records in a thousand segments. Record n has the time 1000 n.
fn sparse_log(dir: &Path, records: u64) {
    const BATCH: u64 = 10_000;
    let in_segment = records / 1000;
    let config = Config {
        segment_max_bytes: (in_segment * 16 + 64).max(4096),
        index_max_bytes: in_segment * 4,
        sync: Sync::Never,
        ..Config::default()
    };
    let log = Log::open(dir, &config).unwrap();
    for first in (0..records).step_by(BATCH.min(in_segment) as usize) {
        let next = (first + BATCH.min(in_segment)).min(records);
        let batch: Vec<_> = (first..next).map(|n| Record { offset: n, timestamp_ns: 1000 * n, payload: b"" }).collect();
        log.append_records(&batch).unwrap();
    }
    log.close().unwrap();
}

#[test]
fn a_time_in_a_thousand_segments_is_found_in_few_calls_and_little_time() {
    let asked = std::env::var("SEGLOG_FIND_TIME_RECORDS").ok().and_then(|text| text.parse().ok());
    let records = asked.unwrap_or(1_000_000_u64);
    let dir = if asked.is_some() { Scratch::on_disk() } else { Scratch::new() };
    sparse_log(dir.path(), records);
    for config in [Config::default(), read_only()] {
        let log = Log::open(dir.path(), &config).unwrap();
        let segments = log.stat().unwrap().segment_count;
        assert!((1000..1003).contains(&segments), "{segments} segments");
        let mut random = Random(5);
        let mut find = || {
            let offset = random.next() % records;
            let began = Instant::now();
            let found = log.find_time(1000 * offset - offset.min(999)).unwrap();
            let took = began.elapsed();
            assert_eq!(found, offset);
            took
        };
        let cold = find();
        calls_are_few(&log, records);
        for _ in 0..5000 {
            find();
        }
        let mut took: Vec<_> = (0..10_000).map(|_| find()).collect();
        took.sort_unstable();
        let at = |part: usize| took[(took.len() - 1) * part / 1000];
        println!("{records} records: cold {cold:?}, p50 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999));
        assert!(asked.is_none() || at(500).as_micros() < 100, "the median is {:?}", at(500));
    }
    drop(fs::remove_dir_all(dir.path()));
}

/// The first time some ten headers are read; then they are known, and one segment at most is opened.
#[cfg(feature = "faults")]
fn calls_are_few(log: &Log, records: u64) {
    use seglog::faults::{Hook, Kind};
    let opens = |time_ns: u64| {
        let hook = Hook::new().recording();
        hook.run(|| log.find_time(time_ns)).unwrap();
        hook.ops().iter().filter(|op| op.kind == Kind::Open).count()
    };
    let cold = opens(1000 * (records / 3));
    assert!(cold <= 2 + 11, "{cold} files were opened");
    for n in 0..1000 {
        opens(1000 * records / 1000 * n);
    }
    for n in 0..1000 {
        let warm = opens(1000 * records / 1000 * n + 500);
        assert!(warm <= 2, "{warm} files were opened, though all headers had been read");
    }
}

#[cfg(not(feature = "faults"))]
fn calls_are_few(_: &Log, _: u64) {}
