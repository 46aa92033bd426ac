//! A writer is killed at system calls that change files while retention deletes what it leaves no room for, behind rolls
//! and truncations (this very test, started again under strace). When its log is opened again, all that was appended is
//! there from some first record on, that is not before the one that the log had begun at, and no more is gone than
//! retention may take.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod support;

use seglog::{Config, Log, Sync, flags};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use support::Scratch;

const CHILD: &str = "SEGLOG_KILL_RETAIN";
const TEST: &str = "killed_at_any_call_of_retention_nothing_that_is_kept_is_lost";
const RECORDS: u64 = 100;
/// Segments take eight records, and with their first page and their index four of them may stay.
const SEGMENT: u64 = 8 << 10;
const RETAIN: u64 = 8 * SEGMENT;
/// By which retention makes its beginning durable and deletes files, and by which the log rolls and is cut meanwhile.
const CALLS: &[&str] = &["unlinkat", "fdatasync", "fsync", "pwrite64", "rename", "renameat", "renameat2"];
const POINTS_MAX: usize = 500;

fn config(retain_bytes: u64) -> Config {
    let (sync, flags) = (Sync::Never, flags::NO_THREAD);
    Config { segment_max_bytes: SEGMENT, index_max_bytes: 64, retain_bytes, sync, flags, ..Config::default() }
}

fn record(offset: u64) -> Vec<u8> {
    [&offset.to_le_bytes()[..], &[offset as u8; 992]].concat()
}

/// Appends, now and then truncates, and notes where the log begins and ends: behind each record, and before what takes
/// one away.
fn append_all(place: &Path) {
    let log = Log::open(place.join("log"), &config(RETAIN)).unwrap();
    let noted = File::create(place.join("noted")).unwrap();
    let note = |next: u64| {
        noted.write_all_at([log.first_offset().to_le_bytes(), next.to_le_bytes()].as_flattened(), 0).unwrap();
    };
    for offset in 0..RECORDS {
        log.append(&record(offset)).unwrap();
        note(offset + 1);
        // So seldom that of the four segments that stay no two were cut short.
        if offset % 40 == 39 {
            note(offset);
            log.truncate(offset).unwrap();
            note(offset);
            log.append(&record(offset)).unwrap();
            note(offset + 1);
        }
    }
    // As the others, so that a kill in here is one of retention too.
    log.retain().unwrap();
}

fn check(place: &Path, what: &str) -> u64 {
    let noted = fs::read(place.join("noted")).unwrap_or_default();
    let word = |at: usize| noted.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    let log = Log::open(place.join("log"), &config(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (first, next) = (log.first_offset(), log.next_offset());
    assert!(next >= word(8) && first >= word(0), "{what}: {first}..{next} of {}..{}", word(0), word(8));
    assert!(first <= next.saturating_sub(2 * 8), "{what}: too much is gone: {first}..{next}");
    for offset in first..next {
        assert!(log.read(offset, |payload, _| payload == record(offset)).unwrap(), "{what}: record {offset}");
    }
    let stores = fs::read_dir(place.join("log")).unwrap().filter_map(Result::ok);
    let stores = stores.filter(|entry| entry.path().extension().is_some_and(|end| end == "store")).count();
    assert_eq!(stores, log.stat().unwrap().segment_count as usize, "{what}: a file was left");
    assert_eq!(log.append(&record(next)).unwrap(), next, "{what}");
    log.close().unwrap();
    first
}

#[test]
fn killed_at_any_call_of_retention_nothing_that_is_kept_is_lost() {
    if let Some(place) = std::env::var_os(CHILD) {
        return append_all(Path::new(&place));
    }
    if !common::have("strace") {
        return;
    }
    let (mut points, mut begun) = (0, 0);
    for call in CALLS {
        // Of those that each roll makes many of, not every one.
        for when in (1..POINTS_MAX).step_by(if call.starts_with("unlink") { 1 } else { 6 }) {
            let place = Scratch::new();
            fs::create_dir_all(place.path()).unwrap();
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            strace.arg("-e").arg(format!("inject={call}:signal=KILL:when={when}"));
            strace.arg(std::env::current_exe().unwrap()).args([TEST, "--exact", "--test-threads=1"]);
            let ended = strace.env(CHILD, place.path()).stdout(Stdio::null()).status().unwrap();
            assert!(ended.code().is_none_or(|code| code == 0), "{call} {when}: {ended}");
            if ended.success() {
                break;
            }
            points += 1;
            if place.path().join("log").join("LIVE").exists() && place.path().join("noted").exists() {
                begun += u64::from(check(place.path(), &format!("killed at {call} number {when}")) > 0);
            }
        }
    }
    println!("{points} points, {begun} of them in a log that had been trimmed");
    assert!(points > 40 && begun > 20, "only {points} points, {begun} in retention: does strace inject?");
}
