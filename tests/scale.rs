//! A log of 1,000 segments: it opens at once, what an open takes of memory does not grow with the bytes stored, and
//! reading all of it holds a bounded number of files open.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Log, Sync};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::Scratch;

const SEGMENTS: u64 = 1_000;
/// So many sealed segments may stay open.
const OPEN: u64 = 256;
/// Names the directory that a child process opens, and tells it that it is one.
const CHILD: &str = "SEGLOG_SCALE_CHILD";

fn config(segment_bytes: u64) -> Config {
    Config { segment_max_bytes: segment_bytes, index_max_bytes: 64, sync: Sync::Never, ..Config::default() }
}

/// A closed log of 1,000 sealed segments and one more, each with one record that fills it.
fn thousand(segment_bytes: u64) -> Scratch {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config(segment_bytes)).unwrap();
    let record = vec![0x5A; usize::try_from(segment_bytes - 100).unwrap()];
    for _ in 0..=SEGMENTS {
        log.append(&record).unwrap();
    }
    assert_eq!(u64::from(log.stat().unwrap().segment_count), SEGMENTS + 1);
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
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let start = Instant::now();
            let log = Log::open(dir.path(), &config(4096)).unwrap();
            let time = start.elapsed();
            assert_eq!(log.next_offset(), SEGMENTS + 1);
            log.close().unwrap();
            time
        })
        .collect();
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_millis(50), "{times:?}");
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
    let log = Log::open(dir, &config(4096)).unwrap();
    let opened = [status("VmData:"), status("VmRSS:")];
    assert_eq!(log.next_offset(), SEGMENTS + 1);
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
    let program = std::env::current_exe().unwrap();
    let done = Command::new(program).args(["--exact", "child", "--nocapture"]).env(CHILD, dir).output().unwrap();
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
        assert!(mapped <= 4 * OPEN, "by offset: {measured:?}");
    }
}

#[test]
fn mappings_stay_bounded_whoever_reads() {
    let _alone = alone();
    let small = thousand(4096);
    let measured = measured(small.path());
    assert!(measured[4] <= 6 * OPEN, "by cursor, after reads by offset: {measured:?}");
}
