//! Retention: by bytes and by age, whole segments and never the active one; under load; beside cursors, followers and
//! consumers; with calls that fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Log, Record, Status, Sync, flags};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use support::Scratch;

const SEGMENT: u64 = 64 << 10;
const INDEX: u64 = 4096;

fn config(flags: u32) -> Config {
    Config { segment_max_bytes: SEGMENT, index_max_bytes: INDEX, sync: Sync::Never, flags, ..Config::default() }
}

fn by_bytes(flags: u32) -> Config {
    Config { retain_bytes: 4 * SEGMENT, ..config(flags) }
}

/// What a log may take by `by_bytes`: two segments more, each a store with its first page, and an index.
const MOST: u64 = 4 * SEGMENT + 2 * (SEGMENT + 4096 + 8192);

fn append(log: &Log, count: u64) {
    for _ in 0..count {
        let offset = log.next_offset();
        log.append(&[&offset.to_le_bytes()[..], &[3; 992]].concat()).unwrap();
    }
}

fn is_right(offset: u64, payload: &[u8]) -> bool {
    payload.len() == 1000 && payload[..8] == offset.to_le_bytes()
}

/// What the segments take on the disk; `None` where files came, went or were renamed meanwhile, since some of them were
/// seen before that and some behind it.
fn segment_bytes(dir: &Path) -> Option<u64> {
    let names = || {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter(|name| name != "LIVE" && name != "START").collect::<BTreeSet<_>>()
    };
    let before = names();
    let blocks = |name| fs::metadata(dir.join(name)).map(|meta| meta.blocks() * 512);
    let bytes = before.iter().map(blocks).sum::<std::io::Result<u64>>().ok()?;
    (before == names()).then_some(bytes)
}

/// Makes these segments old by their files.
fn grow_old(stores: &[PathBuf]) {
    for store in stores {
        let long_ago = SystemTime::now() - Duration::from_secs(7200);
        fs::File::options().write(true).open(store).unwrap().set_modified(long_ago).unwrap();
    }
}

fn stores(dir: &Path) -> Vec<PathBuf> {
    let mut stores: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    stores.retain(|path| path.extension().is_some_and(|end| end == "store"));
    stores.sort();
    stores
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_oldest_segments_go_when_there_are_too_many_bytes() {
    for with_flags in [flags::NO_THREAD, 0] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &by_bytes(with_flags)).unwrap();
        append(&log, 1000);
        // The thread leaves room for one segment.
        let room = if with_flags == 0 { SEGMENT + INDEX } else { 0 };
        let most = by_bytes(0).retain_bytes - room;
        let row = || {
            let segments = (0..).map_while(|n| log.segment_at(n).unwrap());
            segments.map(|segment| (segment.base_offset, segment.disk_bytes, segment.file_bytes)).collect::<Vec<_>>()
        };
        wait_until("old segments stay", || {
            let row_before = row();
            let (active, full) = row_before.split_last().unwrap();
            // The active one, and its index with a header of 64 bytes, as they will be when it is full.
            let bytes = full.iter().map(|(_, bytes, _)| bytes).sum::<u64>() + active.2 + 64 + INDEX;
            // What was looked at while some went says nothing. When nothing more is due, nothing more goes.
            bytes <= most && row_before == row()
        });
        let stat = log.stat().unwrap();
        assert!(stat.segment_count >= 2, "{} segments are left", stat.segment_count);
        let first = log.segment_at(0).unwrap().unwrap();
        assert_eq!(first.base_offset, stat.first_offset, "whole segments go");
        for offset in stat.first_offset..1000 {
            assert!(log.read(offset, |payload, _| is_right(offset, payload)).unwrap());
        }
        assert_eq!(log.read(stat.first_offset - 1, |_, _| ()).unwrap_err().status(), Status::Trimmed);
        log.close().unwrap();
        let log = Log::open(dir.path(), &config(with_flags)).unwrap();
        assert_eq!(log.first_offset(), stat.first_offset, "it is durable");
    }
}

/// Without a thread nobody but the open can see to it, and a program that is killed again and again before it fills a
/// segment never rolls.
#[test]
fn without_a_thread_an_open_deletes_what_is_too_much() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config(flags::NO_THREAD)).unwrap();
    append(&log, 1000);
    assert!(segment_bytes(dir.path()).unwrap() > 2 * MOST);
    log.close().unwrap();
    let log = Log::open(dir.path(), &by_bytes(flags::NO_THREAD)).unwrap();
    assert!(segment_bytes(dir.path()).unwrap() <= MOST);
    let first = log.first_offset();
    assert!(first > 0 && log.segment_at(0).unwrap().unwrap().base_offset == first, "whole segments go");
    for offset in first..1000 {
        assert!(log.read(offset, |payload, _| is_right(offset, payload)).unwrap());
    }
    log.close().unwrap();
}

#[test]
fn the_active_segment_stays_however_little_is_to_be_kept() {
    let dir = Scratch::new();
    let config = Config { retain_bytes: 1, retain_ms: 1, ..config(0) };
    let log = Log::open(dir.path(), &config).unwrap();
    append(&log, 400);
    wait_until("full segments stay", || log.stat().unwrap().segment_count == 1);
    let (first, next) = (log.first_offset(), log.next_offset());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!((log.first_offset(), log.next_offset()), (first, 400));
    assert!(first < next, "the active segment has records");
}

/// The older of a segment's last time and its file's.
#[test]
fn segments_go_that_are_old_by_their_records_or_by_their_files() {
    let hour_ms = 3_600_000;
    // Records of the past, appended now.
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { retain_ms: hour_ms, ..config(flags::NO_THREAD) }).unwrap();
    let record = |offset| Record { offset, timestamp_ns: 1_000_000_000, payload: &[1; 1000] };
    for offset in 0..200 {
        log.append_records(&[record(offset)]).unwrap();
    }
    let first = log.first_offset();
    assert!(first > 100, "old records stay: {first}");
    append(&log, 200);
    assert!(log.first_offset() >= 190 && log.first_offset() < 290, "records of now went: {}", log.first_offset());
    log.close().unwrap();
    // Files of the past, with records of the future.
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config(flags::NO_THREAD)).unwrap();
    for offset in 0..300 {
        log.append_records(&[Record { timestamp_ns: 1 << 62, ..record(offset) }]).unwrap();
    }
    log.close().unwrap();
    let stores = stores(dir.path());
    grow_old(&stores[..2]);
    let log = Log::open(dir.path(), &Config { retain_ms: hour_ms, ..config(0) }).unwrap();
    // Behind the first offset its segments go.
    wait_until("old files stay", || log.first_offset() > 0 && log.stat().unwrap().segment_count < stores.len() as u32);
    assert_eq!(log.stat().unwrap().segment_count as usize, stores.len() - 2);
}

#[test]
fn a_thread_deletes_what_grows_old_while_nobody_appends() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { retain_ms: 200, ..config(flags::KEEP_UNCONSUMED) }).unwrap();
    // However long it takes until the cursors are there.
    log.position_save("holds", 0).unwrap();
    append(&log, 300);
    let follower = Log::open(dir.path(), &config(flags::READ_ONLY)).unwrap();
    let mut cursors =
        [Cursor::open(&log, log.first_offset()).unwrap(), Cursor::open(&follower, log.first_offset()).unwrap()];
    for cursor in &mut cursors {
        assert!(cursor.next().unwrap().is_some());
    }
    log.position_remove("holds").unwrap();
    wait_until("they stay", || log.stat().unwrap().segment_count == 1);
    for (log, cursor) in [&log, &follower].into_iter().zip(&mut cursors) {
        let error = cursor.next().unwrap_err();
        assert_eq!(error.status(), Status::Trimmed);
        let first = log.first_offset();
        assert!(error.to_string().contains(&format!("the first one is {first}")), "{error}");
        cursor.seek(first).unwrap();
        assert_eq!(cursor.next().unwrap().unwrap().offset, first);
    }
}

#[test]
fn what_a_consumer_has_not_passed_stays() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &by_bytes(flags::NO_THREAD | flags::KEEP_UNCONSUMED)).unwrap();
    append(&log, 10);
    log.position_save("slow", 5).unwrap();
    append(&log, 990);
    assert_eq!(log.first_offset(), 0);
    log.position_save("slow", 500).unwrap();
    append(&log, 100);
    let first = log.first_offset();
    assert!(first > 400 && first <= 500, "{first}");
    log.position_remove("slow").unwrap();
    append(&log, 100);
    assert!(log.first_offset() > 800);
}

/// A position of which both slots had rotted kept retention from ever deleting a segment, and nothing said so: the disk
/// filled up. It may be the lowest, so nothing goes still; but whoever asks is told which one it is, and when that is
/// mended all goes on.
#[test]
fn a_damaged_position_holds_everything_back_and_is_named() {
    for with_flags in [flags::NO_THREAD, 0] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &by_bytes(with_flags | flags::KEEP_UNCONSUMED)).unwrap();
        append(&log, 500);
        log.retain().unwrap();
        assert!(log.first_offset() > 0, "nothing was deleted");
        log.position_save("rotten", 480).unwrap();
        log.position_save("fine", 490).unwrap();
        let path = dir.path().join("positions/rotten");
        fs::write(&path, vec![0x5A; fs::metadata(&path).unwrap().len() as usize]).unwrap();
        // The thread trims further than `retain`, for the segment to come; what it had begun before is done with this.
        assert_eq!(log.trim(480).unwrap_err().status(), Status::Corrupt);
        let first = log.first_offset();
        append(&log, 500);
        assert_eq!(log.first_offset(), first, "it may be the lowest");
        for told in [log.retain(), log.trim(900)] {
            let error = told.unwrap_err();
            assert_eq!(error.status(), Status::Corrupt);
            let text = error.to_string();
            assert!(text.contains("positions/rotten") && text.contains("log_position_remove"), "{text}");
        }
        assert_eq!(log.first_offset(), first);
        append(&log, 1);
        log.position_remove("rotten").unwrap();
        log.retain().unwrap();
        let first = log.first_offset();
        assert!(first > 400 && first <= 490, "{first}");
    }
}

#[test]
fn without_a_thread_what_has_grown_old_goes_when_it_is_asked() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { retain_ms: 3_600_000, ..config(flags::NO_THREAD) }).unwrap();
    append(&log, 300);
    grow_old(&stores(dir.path()));
    assert!(log.stat().unwrap().segment_count > 1);
    log.retain().unwrap();
    assert_eq!(log.stat().unwrap().segment_count, 1);
    log.close().unwrap();
    let log = Log::open(dir.path(), &config(0)).unwrap();
    let first = log.first_offset();
    log.retain().unwrap();
    assert_eq!(log.first_offset(), first, "without limits nothing goes");
}

/// As fast as it goes, with and without threads: what segments take on the disk is measured all the time.
#[test]
fn under_load_the_log_takes_no_more_than_its_bytes_and_two_segments() {
    for with_flags in [0, flags::NO_THREAD] {
        let dir = Scratch::on_disk();
        let config = by_bytes(with_flags);
        let log = Log::open(dir.path(), &config).unwrap();
        let (done, seen) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let last = done.load(Ordering::Acquire);
                    seen.fetch_max(segment_bytes(dir.path()).unwrap_or(0), Ordering::Relaxed);
                    if last {
                        break;
                    }
                }
            });
            append(&log, 40_000);
            done.store(true, Ordering::Release);
        });
        let (seen, most) = (seen.into_inner(), MOST);
        println!("flags {with_flags}: {seen} of {most} bytes");
        assert!(seen <= most, "flags {with_flags}: {seen} bytes on the disk; {most} are allowed");
        assert!(seen > config.retain_bytes / 2, "it was not measured: {seen}");
    }
}

/// Story: a truncation goes on in a new segment, and only rolls asked what there is room for: a log that was truncated again
/// and again, before its segments were full, took more and more. tests/readers.rs met it by chance.
#[test]
fn truncations_leave_no_more_than_its_bytes_and_two_segments() {
    for with_flags in [flags::NO_THREAD, 0] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &by_bytes(with_flags)).unwrap();
        append(&log, 1000);
        for round in 0..20 {
            append(&log, 30);
            let next = log.next_offset() - 1;
            log.truncate(next).unwrap();
            let bytes = std::iter::repeat_with(|| segment_bytes(dir.path())).find_map(|bytes| bytes).unwrap();
            assert!(bytes <= MOST, "flags {with_flags}, round {round}: {bytes} bytes on the disk; {MOST} are allowed");
            assert_eq!(log.next_offset(), next);
            assert!(log.read(next - 1, |payload, _| is_right(next - 1, payload)).unwrap());
        }
    }
}

/// What keeps retention from its work keeps no truncation from being made.
#[test]
fn a_truncation_is_made_whatever_holds_old_segments_back() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &by_bytes(flags::NO_THREAD | flags::KEEP_UNCONSUMED)).unwrap();
    append(&log, 10);
    log.position_save("slow", 5).unwrap();
    append(&log, 500);
    log.truncate(500).unwrap();
    assert_eq!((log.first_offset(), log.next_offset()), (0, 500), "it was not consumed");
    log.position_save("slow", 400).unwrap();
    let path = dir.path().join("positions/slow");
    let position = fs::read(&path).unwrap();
    fs::write(&path, vec![0x5A; position.len()]).unwrap();
    append(&log, 10);
    log.truncate(505).unwrap();
    assert_eq!((log.first_offset(), log.next_offset()), (0, 505), "it may be the lowest");
    fs::write(&path, position).unwrap();
    log.truncate(505).unwrap();
    assert_eq!(log.first_offset(), 0, "at the next offset a truncation does nothing");
    log.truncate(504).unwrap();
    let first = log.first_offset();
    assert!(first > 300 && first <= 400, "{first}");
}

/// Each call fails once: the append is made or poisoned, and what is left opens as a log with a later beginning, whole.
#[cfg(feature = "faults")]
#[test]
fn a_call_that_fails_in_retention_loses_nothing_that_is_kept() {
    use seglog::faults::{Fault, Hook};
    for nth in 0.. {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &by_bytes(flags::NO_THREAD)).unwrap();
        append(&log, 500);
        let first = log.first_offset();
        let hook = Hook::new().with(Fault::Fail { nth, os_error: 5 });
        let mut kept = 500;
        hook.run(|| {
            for offset in 500..570 {
                if log.append(&[&u64::to_le_bytes(offset)[..], &[3; 992]].concat()).is_err() {
                    break;
                }
                kept = offset + 1;
            }
        });
        drop(log);
        let log = Log::open(dir.path(), &config(flags::NO_THREAD)).unwrap();
        assert!(log.first_offset() >= first && log.next_offset() >= kept, "call {nth}");
        for offset in log.first_offset()..kept {
            assert!(log.read(offset, |payload, _| is_right(offset, payload)).unwrap(), "call {nth}: record {offset}");
        }
        if hook.calls() <= nth {
            assert!(log.first_offset() > first);
            break;
        }
    }
}

/// Each call of a truncation that makes old segments go fails once: it is made or not, and nothing else goes than what
/// there was no room for.
#[cfg(feature = "faults")]
#[test]
fn a_call_that_fails_in_a_truncation_or_behind_it_loses_nothing_that_is_kept() {
    use seglog::faults::{Fault, Hook};
    let mut gone = 0;
    for nth in 0.. {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &by_bytes(flags::NO_THREAD | flags::KEEP_UNCONSUMED)).unwrap();
        append(&log, 1);
        log.position_save("slow", 0).unwrap();
        append(&log, 499);
        log.position_remove("slow").unwrap();
        assert_eq!(log.first_offset(), 0, "nothing went before the truncation");
        let hook = Hook::new().with(Fault::Fail { nth, os_error: 5 });
        let truncated = hook.run(|| log.truncate(490));
        let poisoned = log.append(b"").is_err();
        drop(log);
        let log = Log::open(dir.path(), &config(flags::NO_THREAD)).unwrap();
        let (first, next) = (log.first_offset(), log.next_offset() - u64::from(!poisoned));
        assert!(next == 490 || next == 500 && truncated.is_err(), "call {nth}: {truncated:?}, it ends at {next}");
        // There is room for the active segment, the one that was cut, and the whole one before.
        assert!(first <= 490 - 100, "call {nth}: too much went: {first}");
        for offset in first..next {
            assert!(log.read(offset, |payload, _| is_right(offset, payload)).unwrap(), "call {nth}: record {offset}");
        }
        gone += u64::from(first > 0);
        if hook.calls() <= nth {
            assert!(truncated.is_ok() && !poisoned && first > 0);
            break;
        }
    }
    assert!(gone > 1, "no call failed behind the moment at which old segments went");
}
