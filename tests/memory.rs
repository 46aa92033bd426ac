//! Memory that is not to be had: each allocation of 4 KiB or more in a log's life fails once, in turn. What asked for
//! it says `LOG_E_MEMORY`, the process lives (Rust's own collections would end it), and the log is whole.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(unsafe_code, reason = "a global allocator, which hands on to the system's")]

use seglog::{Config, Cursor, Log, Result, Status, Sync, flags};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is not smaller depends on a caller or a file, or could be had in pieces.
const SMALL: usize = 4096;

struct Failing;

static ARMED: AtomicBool = AtomicBool::new(false);
static LARGE: AtomicU64 = AtomicU64::new(0);
static FAILS: AtomicU64 = AtomicU64::new(u64::MAX);

impl Failing {
    fn fails(bytes: usize) -> bool {
        bytes >= SMALL
            && ARMED.load(Ordering::Relaxed)
            && LARGE.fetch_add(1, Ordering::Relaxed) == FAILS.load(Ordering::Relaxed)
    }
}

// SAFETY: all is the system's allocator's, but that some calls fail, which each caller must expect.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::fails(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if Self::fails(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if bytes > layout.size() && Self::fails(bytes) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(place, layout, bytes) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Does `work` with large allocation `nth` failing; says how many there were.
fn failing(nth: u64, work: impl FnOnce()) -> u64 {
    LARGE.store(0, Ordering::Relaxed);
    FAILS.store(nth, Ordering::Relaxed);
    ARMED.store(true, Ordering::Relaxed);
    work();
    ARMED.store(false, Ordering::Relaxed);
    LARGE.load(Ordering::Relaxed)
}

fn unarmed<R>(work: impl FnOnce() -> R) -> R {
    let armed = ARMED.swap(false, Ordering::Relaxed);
    let result = work();
    ARMED.store(armed, Ordering::Relaxed);
    result
}

/// What came of a call: out of memory, or what it would give otherwise, of which damage is a part here.
fn fine<T>(result: Result<T>, what: &str) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.status() == Status::Memory => {
            unarmed(|| assert!(error.to_string().contains("memory"), "{what}: {error}"));
            None
        }
        Err(error) => unarmed(|| panic!("{what}: {:?}: {error}", error.status())),
    }
}

fn config() -> Config {
    Config { segment_max_bytes: 64 << 10, sync: Sync::Never, ..Config::default() }
}

fn record(offset: u64) -> Vec<u8> {
    let len = if offset.is_multiple_of(97) { 300_000 } else { 40 + offset as usize % 500 };
    vec![u8::try_from(offset % 251).unwrap(); len]
}

const RECORDS: u64 = 400;
const MANY: u64 = 550;

fn append_all(log: &Log) -> u64 {
    for offset in log.next_offset()..RECORDS {
        let payload = unarmed(|| record(offset));
        if offset % 50 == 7 {
            let batch = unarmed(|| vec![payload.as_slice(); 3000]);
            if fine(log.append_batch(&batch), "append_batch").is_some() {
                unarmed(|| log.truncate(offset + 1)).unwrap();
            }
        } else {
            fine(log.append(&payload), "append");
        }
        if log.next_offset() != offset + 1 {
            // It failed, and changed nothing: the same call works again.
            assert_eq!(log.next_offset(), offset);
            assert_eq!(unarmed(|| log.append(&payload)).unwrap(), offset);
        }
    }
    log.next_offset()
}

fn read_all(log: &Log) {
    let (first, next) = (log.first_offset(), log.next_offset());
    for offset in first..next {
        let same = log.read(offset, |payload, _| unarmed(|| payload == record(offset)));
        assert!(fine(same, "read").unwrap_or(true), "record {offset}");
    }
    let Some(mut cursor) = fine(Cursor::open(log, first), "cursor") else { return };
    let mut offset = first;
    while offset < next {
        let mut count = 0;
        let step = cursor.next_batch(500, |record| {
            assert_eq!(record.offset, offset + count);
            count += 1;
        });
        let Some(_) = fine(step, "next_batch") else { break };
        offset += count;
        if offset > first && fine(cursor.prev(), "prev").flatten().is_some() {
            assert_eq!(fine(cursor.next(), "next").flatten().map_or(offset - 1, |record| record.offset), offset - 1);
        }
    }
}

fn whole(dir: &Path) {
    let log = Log::open(dir, &config()).unwrap();
    assert_eq!((log.first_offset(), log.next_offset()), (0, RECORDS));
    for offset in 0..RECORDS {
        assert!(log.read(offset, |payload, _| payload == record(offset)).unwrap(), "record {offset}");
    }
    log.close().unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Each large allocation of `work` on a copy of this directory fails in turn, of which there are `least`; then `check`
/// looks at what is left.
fn each_fails(name: &str, from: &Path, least: u64, work: impl Fn(&Path), check: impl Fn(&Path)) {
    let dir = from.with_extension("copy");
    copy(from, &dir);
    let (mut nth, mut seen) = (0, failing(u64::MAX, || work(&dir)));
    while nth < seen {
        copy(from, &dir);
        let made = failing(nth, || work(&dir));
        // Some depend on how far the threads have come.
        seen = seen.max(made);
        assert!(seen < 5000, "{name}");
        check(&dir);
        nth += 1 + seen / 300;
    }
    assert!(seen >= least, "{name}: only {seen} large pieces of memory were asked for");
    std::fs::remove_dir_all(&dir).unwrap();
}

fn write(dir: &Path) {
    let log = loop {
        if let Some(log) = fine(Log::open(dir, &config()), "open") {
            break log;
        }
    };
    append_all(&log);
    read_all(&log);
    let follower = fine(Log::open(dir, &Config { flags: flags::READ_ONLY, ..Config::default() }), "follow");
    if let Some(follower) = follower {
        read_all(&follower);
        fine(follower.stat(), "stat");
    }
    fine(log.stat(), "stat");
    for index in 0..3 {
        fine(log.segment_at(index), "segment_at");
    }
    fine(log.sync(), "sync");
    fine(log.close(), "close");
}

/// One test, since the allocator is the process's.
#[test]
fn each_large_allocation_may_fail() {
    let base = std::env::temp_dir().join(format!("seglog-memory-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&base);
    let (empty, killed, bare) = (base.join("empty"), base.join("killed"), base.join("bare"));
    std::fs::create_dir_all(&empty).unwrap();
    each_fails("a life", &empty, 4, write, whole);

    // What a killed process leaves: records in the ring, segments that were never synced; and no index at all.
    let open = base.join("open");
    let log = Log::open(&open, &Config { flags: flags::NO_THREAD, ..config() }).unwrap();
    append_all(&log);
    copy(&open, &killed);
    copy(&open, &bare);
    drop(log);
    each_fails("recovery", &killed, 4, write, whole);
    let remove = |dir: &Path, ending: &str| {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|found| found == ending) {
                std::fs::remove_file(path).unwrap();
            }
        }
    };
    remove(&bare, "index");
    each_fails("recovery without an index", &bare, 4, write, whole);

    // A row that is more than a small piece itself: rolls, cuts at both ends, a follower.
    let many = base.join("many");
    let small = |flags| Config { segment_max_bytes: 4096, flags, ..config() };
    let log = Log::open(&many, &small(flags::NO_THREAD)).unwrap();
    for _ in 0..MANY {
        log.append(&[7; 4000]).unwrap();
    }
    log.close().unwrap();
    let cut = |dir: &Path| {
        let Some(log) = fine(Log::open(dir, &small(flags::NO_THREAD)), "open") else { return };
        for _ in 0..3 {
            let next = log.next_offset();
            let appended = fine(log.append(&[7; 4000]), "append");
            assert_eq!(log.next_offset(), next + u64::from(appended.is_some()));
        }
        if let Some(follower) = fine(Log::open(dir, &small(flags::READ_ONLY)), "follow") {
            assert!(fine(follower.read(MANY - 1, |payload, _| payload == [7; 4000]), "read").unwrap_or(true));
            let trimmed = fine(log.trim(3), "trim").is_some();
            assert_eq!(log.first_offset(), if trimmed { 3 } else { 0 });
            let truncated = fine(log.truncate(MANY - 10), "truncate").is_some();
            assert!((log.next_offset() == MANY - 10) == truncated);
            assert!(fine(follower.read(MANY - 11, |payload, _| payload == [7; 4000]), "read").unwrap_or(true));
        }
        assert!(fine(log.read(MANY - 11, |payload, _| payload == [7; 4000]), "read").unwrap_or(true));
        if fine(log.reset(5), "reset").is_some() {
            assert_eq!((log.first_offset(), log.next_offset()), (5, 5));
        }
        fine(log.append(b"goes on"), "append");
        fine(log.close(), "close");
    };
    each_fails("cuts", &many, 5, cut, |dir| drop(Log::open(dir, &config()).unwrap()));

    // Retention over such a row, at an open and when it is asked.
    let kept = |dir: &Path| {
        let config = Config { retain_bytes: 520 * 12288, ..small(flags::NO_THREAD) };
        let Some(log) = fine(Log::open(dir, &config), "open") else { return };
        if fine(log.retain(), "retain").is_some() {
            assert!((1..MANY - 500).contains(&log.first_offset()), "it begins at {}", log.first_offset());
        }
        fine(log.close(), "close");
    };
    each_fails("retention", &many, 3, kept, |dir| {
        let log = Log::open(dir, &config()).unwrap();
        assert!(log.first_offset() < MANY - 500);
        assert!(log.read(MANY - 1, |payload, _| payload == [7; 4000]).unwrap());
    });

    // Thousands of names: of segments of two epochs, of indexes without a store, of files that were being made.
    let names = base.join("names");
    std::fs::create_dir(&names).unwrap();
    for n in 0..1000_u64 {
        for name in ["00000000.store", "00000001.store", "00000002.index", "00000000.store.tmp"] {
            std::fs::write(names.join(format!("{n:020}-{name}")), b"").unwrap();
        }
    }
    let list = |dir: &Path| {
        for flags in [0, flags::READ_ONLY] {
            match Log::open(dir, &Config { flags, ..config() }) {
                Ok(_) => panic!("empty files were taken for a log"),
                Err(error) if matches!(error.status(), Status::Memory | Status::Corrupt) => {}
                Err(error) => panic!("{:?}: {error}", error.status()),
            }
        }
    };
    let seen = failing(u64::MAX, || list(&names));
    assert!(seen >= 10, "only {seen} large pieces of memory were asked for");
    for nth in 0..seen {
        failing(nth, || list(&names));
    }
    assert_eq!(std::fs::read_dir(&names).unwrap().count(), 4001);
    std::fs::remove_dir_all(&base).unwrap();
}
