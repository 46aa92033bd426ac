//! A log of 1,000 segments: it opens at once, what an open takes of memory does not grow with the bytes stored, and
//! reading all of it holds a bounded number of files open.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Io, Log, Sync, flags};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use support::Scratch;

const SEGMENTS: u64 = 1_000;
/// So many sealed segments may stay mapped.
const MAPPED: u64 = 1024;
/// So many files may stay open where nothing is mapped.
const OPEN: u64 = 256;
/// Names the directory that a child process opens, and tells it that it is one.
const CHILD: &str = "SEGLOG_SCALE_CHILD";
/// Set, it maps nothing.
const UNMAPPED: &str = "SEGLOG_SCALE_UNMAPPED";

fn config(segment_bytes: u64) -> Config {
    Config { segment_max_bytes: segment_bytes, index_max_bytes: 64, sync: Sync::Never, ..Config::default() }
}

/// A closed log of 1,000 sealed segments and one more, each with one record that fills it.
fn thousand(segment_bytes: u64) -> Scratch {
    many(SEGMENTS, segment_bytes)
}

/// The same of so many.
fn many(segments: u64, segment_bytes: u64) -> Scratch {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config(segment_bytes)).unwrap();
    let record = vec![0x5A; usize::try_from(segment_bytes - 100).unwrap()];
    for _ in 0..=segments {
        log.append(&record).unwrap();
    }
    assert_eq!(u64::from(log.stat().unwrap().segment_count), segments + 1);
    log.close().unwrap();
    dir
}

/// One at a time, so that none disturbs the other's measurement.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_log_of_1000_segments_opens_in_under_50_ms_warm() {
    let _alone = alone();
    let dir = thousand(4096);
    let nine = || {
        let mut times = [Duration::ZERO; 9];
        for time in &mut times {
            let start = Instant::now();
            let log = Log::open(dir.path(), &config(4096)).unwrap();
            *time = start.elapsed();
            assert_eq!(log.next_offset(), SEGMENTS + 1);
            log.close().unwrap();
        }
        times.sort();
        println!("{times:?}");
        times[4]
    };
    // What others on the machine take makes it longer, never shorter.
    assert!((0..12).any(|_| nine() < Duration::from_millis(50)), "the median of nine, twelve times");
}

/// A number of kilobytes, or of whatever it counts, of /proc/self/status.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open_files() -> u64 {
    fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

fn mappings(of: &Path) -> u64 {
    let of = of.to_str().unwrap();
    fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| line.contains(of)).count() as u64
}

/// What a process of its own says of a log: memory that an open takes, anonymous and in all, in KiB; then the most
/// files and mappings that are there while all of it is read.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    let files = open_files();
    let before = [status("VmData:"), status("VmRSS:")];
    let io = if std::env::var_os(UNMAPPED).is_some() { Io::File } else { Io::Auto };
    let log = Log::open(dir, &Config { io, ..config(4096) }).unwrap();
    let opened = [status("VmData:"), status("VmRSS:")];
    assert!(log.next_offset() > SEGMENTS);
    let (mut most, mut mapped) = ((0, 0), 0);
    for offset in 0..log.next_offset() {
        log.read(offset, |bytes, _| assert_eq!(bytes[0], 0x5A)).unwrap();
        if offset % 20 == 0 {
            most = (most.0.max(open_files() - files), most.1.max(mappings(dir)));
        }
    }
    let mut cursor = Cursor::open(&log, 0).unwrap();
    while let Some(record) = cursor.next().unwrap() {
        if record.offset % 20 == 0 {
            most.0 = most.0.max(open_files() - files);
            mapped = mappings(dir).max(mapped);
        }
    }
    let (data, resident) = (opened[0].saturating_sub(before[0]), opened[1].saturating_sub(before[1]));
    println!("scale: {data} {resident} {} {} {mapped}", most.0, most.1);
}

/// Data and resident KiB that an open takes; files, and mappings by offset and by cursor, that reading takes.
fn measured(dir: &Path) -> [u64; 5] {
    measured_by(Command::new(std::env::current_exe().unwrap()).env(CHILD, dir))
}

fn measured_by(program: &mut Command) -> [u64; 5] {
    let done = program.args(["--exact", "child", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    let line = text.lines().find_map(|line| line.split_once("scale: ")).unwrap_or_else(|| panic!("{text}")).1;
    let numbers: Vec<_> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_bytes_stored_and_files_stay_bounded() {
    let _alone = alone();
    let (small, large) = (thousand(4096), thousand(64 << 10));
    let (small, large) = (measured(small.path()), measured(large.path()));
    // KiB: what is sixteen times as many bytes, 60 MiB more, may not even take half a MiB more, and an open takes
    // little. (Whether the library's two threads, with stacks of 256 KiB, have begun by then is chance.)
    for n in [0, 1] {
        assert!(large[n] <= small[n] + 512, "data, resident: {small:?}, {large:?}");
        assert!(large[n] < 8 << 10, "data, resident: {large:?}");
    }
    for measured in [small, large] {
        let [_, _, files, mapped, _] = measured;
        assert!(files <= 8, "{measured:?}");
        assert!(mapped > SEGMENTS, "a thousand are read without opening one twice: {measured:?}");
    }
}

/// The index of each segment that was read would be in memory, if none were let go.
#[test]
fn memory_does_not_grow_with_the_segments_that_are_written_and_read_without_mappings() {
    let _alone = alone();
    let small = thousand(4096);
    let mut child = Command::new(std::env::current_exe().unwrap());
    let [data, _, files, by_offset, by_cursor] = measured_by(child.env(CHILD, small.path()).env(UNMAPPED, "1"));
    assert!(data < 8 << 10, "{data} KiB");
    assert!(files <= OPEN + 8, "{files} open files");
    assert_eq!((by_offset, by_cursor), (0, 0), "nothing is mapped");
    // A writer over 2,000 segments, all of which it read.
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { io: Io::File, flags: flags::NO_THREAD, ..config(4096) }).unwrap();
    let mut at = Vec::new();
    for n in 0..2000_u64 {
        for _ in 0..3 {
            log.append(&[7; 1300]).unwrap();
        }
        log.read(log.next_offset() - 1, |_, _| ()).unwrap();
        log.read(log.next_offset() / 2, |_, _| ()).unwrap();
        if n % 500 == 499 {
            at.push(status("VmRSS:"));
        }
    }
    assert!(log.stat().unwrap().segment_count >= 2000);
    // 1,500 segments more. What each is in the row takes some 300 bytes.
    assert!(at[3] <= at[0] + 1500, "KiB after each 500 segments: {at:?}");
    let fds = open_files();
    assert!(fds <= OPEN + 40, "{fds} open files");
}

#[test]
fn mappings_stay_bounded_whoever_reads() {
    let _alone = alone();
    let large = many(4 * MAPPED, 4096);
    let [_, _, files, by_offset, by_cursor] = measured(large.path());
    assert!(files <= 8, "{files}");
    assert!(by_offset > MAPPED && by_offset <= 3 * MAPPED, "by offset: {by_offset}");
    assert!(by_cursor <= 6 * MAPPED, "by cursor, after reads by offset: {by_cursor}");
}

/// Linux lets a process have 65,530 mappings. Each of two dozen handles would take two thousand of them.
#[test]
fn logs_beside_each_other_leave_mappings_to_the_rest_of_the_process() {
    let _alone = alone();
    let dir = thousand(4096);
    let read_only = Config { flags: flags::READ_ONLY, ..Config::default() };
    let logs: Vec<_> = (0..24).map(|_| Log::open(dir.path(), &read_only).unwrap()).collect();
    for log in &logs {
        (0..=SEGMENTS).for_each(|offset| log.read(offset, |_, _| ()).unwrap());
    }
    let taken = mappings(dir.path());
    assert!(taken > 30_000, "{taken}: as many as that are used");
    assert!(taken < 2 * (16 << 10) + 24 * 2 * 70, "{taken}");
    // Whoever comes last reads as well as the others.
    let last = logs.last().unwrap();
    (0..=SEGMENTS).rev().for_each(|offset| last.read(offset, |bytes, _| assert_eq!(bytes[0], 0x5A)).unwrap());
}

/// What was filled a while ago is mapped only for who reads it.
#[test]
fn a_writer_keeps_few_of_the_segments_mapped_that_it_filled() {
    let _alone = alone();
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { flags: flags::NO_THREAD, ..config(4096) }).unwrap();
    for n in 0..200 {
        log.append(&[0x5A; 4000]).unwrap();
        if n % 10 == 0 {
            log.sync().unwrap();
        }
    }
    assert!(log.stat().unwrap().segment_count >= 200);
    let taken = mappings(dir.path());
    assert!(taken <= 2 * 30 + 4, "{taken}");
}

#[test]
fn what_is_trimmed_or_cut_is_not_kept_mapped_by_who_has_read_it() {
    let _alone = alone();
    let dir = Scratch::new();
    let config = Config { flags: flags::NO_THREAD, ..config(4096) };
    let log = Log::open(dir.path(), &config).unwrap();
    let following = Log::open(dir.path(), &Config { flags: flags::READ_ONLY, ..Config::default() }).unwrap();
    let record = [0x5A; 3000];
    (0..20).for_each(|_| assert!(log.append(&record).is_ok()));
    let read_all = || {
        for log in [&log, &following] {
            (log.first_offset()..log.next_offset()).for_each(|offset| log.read(offset, |_, _| ()).unwrap());
        }
    };
    let deleted = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let here = |line: &&str| line.contains(dir.path().to_str().unwrap());
        maps.lines().filter(here).filter(|line| line.ends_with(".store (deleted)")).count()
    };
    let ((has_read, go), (done, over)) = (mpsc::channel(), mpsc::channel::<()>());
    std::thread::scope(|scope| {
        // A thread that has read, and lives on without reading again, until `done` is dropped, by a failure too.
        let _done = done;
        scope.spawn(move || {
            read_all();
            has_read.send(()).unwrap();
            over.recv().unwrap_err();
        });
        go.recv().unwrap();
        assert!(mappings(dir.path()) > 20);
        log.trim(10).unwrap();
        log.truncate(15).unwrap();
        // The follower lets go when it looks again.
        following.read(12, |_, _| ()).unwrap();
        assert_eq!(deleted(), 0);
    });
}

#[test]
fn the_largest_segments_take_no_more_than_what_is_in_them() {
    let dir = Scratch::new();
    let config =
        Config { segment_max_bytes: 16 << 30, index_max_bytes: 1 << 20, sync: Sync::Never, ..Config::default() };
    let record = |offset: u64| vec![offset as u8; 100_000];
    let mut next = 0;
    for _ in 0..3 {
        let log = Log::open(dir.path(), &config).unwrap();
        for _ in 0..300 {
            assert_eq!(log.append(&record(next)).unwrap(), next);
            next += 1;
        }
        // What is appended, what is allocated ahead of it, once by the appends and once by the keeper, and the small files.
        let most = 100_016 * next + (34 << 20);
        assert!(log.stat().unwrap().disk_bytes < most, "{:?}", log.stat().unwrap());
        assert_eq!(log.stat().unwrap().segment_count, 1);
        log.close().unwrap();
        let log = Log::open(dir.path(), &config).unwrap();
        assert!(log.stat().unwrap().disk_bytes < 100_016 * next + (4 << 20), "{:?}", log.stat().unwrap());
        for offset in 0..next {
            log.read(offset, |payload, _| assert!(payload == record(offset), "record {offset}")).unwrap();
        }
    }
}

#[test]
fn disk_bytes_counts_every_file_of_the_log() {
    use std::os::unix::fs::MetadataExt;
    let temp = Scratch::new();
    let dir = temp.join("log");
    let config = Config { segment_max_bytes: 1 << 20, sync: Sync::Never, ..Config::default() };
    let log = Log::open(&dir, &config).unwrap();
    for _ in 0..1900 {
        log.append(&[5; 1000]).unwrap();
    }
    log.trim(3).unwrap();
    assert!(dir.join("START").exists());
    // The library's own thread makes the next segment, whose turn does not come.
    let bytes =
        || fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum::<u64>();
    let start = Instant::now();
    loop {
        let (before, stat) = (bytes(), log.stat().unwrap());
        if dir.join("next-index.tmp").exists() && before == stat.disk_bytes && before == bytes() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{before} bytes are there: {stat:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
