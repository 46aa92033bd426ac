//! Defects: a panic planted in any system call of any call of the C ABI. It becomes `LOG_E_BUG`, never an abort; the
//! handle writes no more, reads go on, and the next open finds what was acknowledged.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "the exported symbols are declared as a C program sees them")]

mod support;

use seglog::faults::{Fault, Hook, Kind};
use seglog::{Config, Log, Status, Sync};
use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use std::sync::Once;
use support::{Image, Scratch, payload, small, until_poisoned};

const LOG_OK: i32 = 0;
const LOG_E_POISONED: i32 = 50;
const LOG_E_BUG: i32 = 90;

#[repr(C)]
struct Failure {
    status: i32,
    os_error: i32,
    offset: u64,
    message: [c_char; 240],
}

impl Failure {
    fn new() -> Self {
        Self { status: -1, os_error: 0, offset: 0, message: [0; 240] }
    }

    fn message(&self) -> String {
        self.message.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned() as char).collect()
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Bytes {
    data: *const c_void,
    len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Record {
    offset: u64,
    timestamp_ns: u64,
    payload: Bytes,
}

/// `log_config_t` and `log_stat_t`: 18 words or fewer, the first of which begins with the struct's size.
type Words = [u64; 18];

const CONFIG_BYTES: u64 = 72;
const STAT_BYTES: u64 = 112;

// SAFETY: these are the functions of include/seglog.h; each is given what its comment there asks for.
unsafe extern "C" {
    safe fn log_open(dir: *const c_char, config: *const Words, log: *mut *mut c_void, error: *mut Failure) -> i32;
    safe fn log_close(log: *mut c_void, error: *mut Failure) -> i32;
    safe fn log_remove(dir: *const c_char, error: *mut Failure) -> i32;
    safe fn log_append(log: *mut c_void, data: *const u8, len: usize, at: *mut u64, error: *mut Failure) -> i32;
    safe fn log_append_batch(
        log: *mut c_void,
        records: *const Bytes,
        count: usize,
        at: *mut u64,
        error: *mut Failure,
    ) -> i32;
    safe fn log_sync(log: *mut c_void, error: *mut Failure) -> i32;
    safe fn log_read(
        log: *mut c_void,
        offset: u64,
        buf: *mut u8,
        capacity: usize,
        len: *mut usize,
        error: *mut Failure,
    ) -> i32;
    safe fn log_stat(log: *mut c_void, stat: *mut Words, error: *mut Failure) -> i32;
    safe fn log_cursor_open(log: *mut c_void, offset: u64, cursor: *mut *mut c_void, error: *mut Failure) -> i32;
    safe fn log_cursor_next(cursor: *mut c_void, record: *mut Record, error: *mut Failure) -> i32;
    safe fn log_cursor_next_batch(
        cursor: *mut c_void,
        records: *mut Record,
        capacity: usize,
        count: *mut usize,
        error: *mut Failure,
    ) -> i32;
    safe fn log_cursor_close(cursor: *mut c_void);
}

/// A planted panic prints nothing.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>().is_none_or(|text| *text != "a planted defect") {
                usual(info);
            }
        }));
    });
}

/// A log of the records that `payload` gives, in a few segments, and its path for C.
fn sample(count: u64) -> (Image, u64) {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    support::append(&log, count, 1);
    log.close().unwrap();
    (Image::without_live(dir.path()), count)
}

fn c_path(dir: &Scratch) -> CString {
    CString::new(dir.path().to_str().unwrap()).unwrap()
}

/// Opens with small segments; durable appends, or not.
fn open(dir: &Scratch, sync: Sync, error: &mut Failure) -> (i32, *mut c_void) {
    let mut config = Words::default();
    (config[0], config[1]) = (CONFIG_BYTES, 4096);
    config[5] = if sync == Sync::Always { 0 } else { 2 };
    let mut log = null_mut();
    let status = log_open(c_path(dir).as_ptr(), &raw const config, &raw mut log, error);
    (status, log)
}

fn read(log: *mut c_void, offset: u64, error: &mut Failure) -> (i32, Vec<u8>) {
    let (mut bytes, mut len) = (vec![0; 400_000], 0);
    let status = log_read(log, offset, bytes.as_mut_ptr(), bytes.len(), &raw mut len, error);
    bytes.truncate(len);
    (status, bytes)
}

/// Everything that was acknowledged is there at the next open, and at most `more` records that were not.
fn check_reopened(dir: &Scratch, acknowledged: u64, more: u64, expect: impl Fn(u64) -> Vec<u8>) {
    let log = Log::open(dir.path(), &small()).unwrap();
    let next = log.next_offset();
    assert!((acknowledged..=acknowledged + more).contains(&next), "{next} records of {acknowledged}");
    assert_eq!(support::lost(&log, expect), [0; 0]);
    log.append(b"it takes more").unwrap();
    log.close().unwrap();
}

/// Makes one call on an open log after the other with a panic in each of its system calls, until one ends without.
/// `call` makes it and returns its status.
fn each_panic_in(what: &str, sync: Sync, expect: fn(u64) -> Vec<u8>, call: impl Fn(*mut c_void, &mut Failure) -> i32) {
    quiet();
    let (start, count) = sample(60);
    for nth in 0.. {
        let (dir, mut error) = (start.place(), Failure::new());
        let (status, log) = open(&dir, sync, &mut error);
        assert_eq!(status, LOG_OK, "{}", error.message());
        let hook = Hook::new().with(Fault::Panic { nth });
        let status = hook.run(|| call(log, &mut error));
        if hook.failed() == 0 {
            assert_eq!(status, LOG_OK, "{what}: {}", error.message());
            assert!(nth > 0, "{what} makes no system call");
            assert_eq!(log_close(log, &raw mut error), LOG_OK);
            return;
        }
        let what = format!("{what}, {sync:?}, call {nth}");
        assert_eq!((status, error.status), (LOG_E_BUG, LOG_E_BUG), "{what}");
        assert!(error.message().contains("a planted defect"), "{what}: {}", error.message());
        // It writes no more.
        let mut at = 77;
        assert_eq!(log_append(log, b"x".as_ptr(), 1, &raw mut at, &raw mut error), LOG_E_POISONED, "{what}");
        assert!(at == 77 && error.message().contains("defect"), "{what}: {}", error.message());
        // It need not fail where all is durable.
        assert!([LOG_OK, LOG_E_POISONED].contains(&log_sync(log, &raw mut error)), "{what}");
        // Reads go on.
        for offset in 0..count {
            assert_eq!(read(log, offset, &mut error), (LOG_OK, payload(offset)), "{what}: {}", error.message());
        }
        let mut stat = Words::default();
        stat[0] = STAT_BYTES;
        assert_eq!(log_stat(log, &raw mut stat, &raw mut error), LOG_OK, "{what}");
        let mut cursor = null_mut();
        assert_eq!(log_cursor_open(log, 0, &raw mut cursor, &raw mut error), LOG_OK, "{what}");
        check_cursor(cursor, 0, count);
        log_cursor_close(cursor);
        assert_eq!(log_close(log, &raw mut error), LOG_E_POISONED, "{what}");
        check_reopened(&dir, count, 3, expect);
    }
}

/// The cursor gives the records from `first` to `next`.
fn check_cursor(cursor: *mut c_void, first: u64, next: u64) {
    let mut record = Record { offset: 0, timestamp_ns: 0, payload: Bytes { data: null(), len: 0 } };
    for offset in first..next {
        let mut error = Failure::new();
        let status = log_cursor_next(cursor, &raw mut record, &raw mut error);
        assert_eq!((status, record.offset), (LOG_OK, offset), "{}", error.message());
        assert_eq!(record.payload.len, payload(offset).len());
    }
}

fn long(offset: u64) -> Vec<u8> {
    if offset < 60 { payload(offset) } else { vec![9; 300_000] }
}

#[test]
fn a_panic_in_an_append_is_a_status_and_poisons() {
    fn rolls(offset: u64) -> Vec<u8> {
        if offset < 60 { payload(offset) } else { vec![8; 4000] }
    }
    let append = |bytes: Vec<u8>| {
        move |log, error: &mut Failure| log_append(log, bytes.as_ptr(), bytes.len(), null_mut(), error)
    };
    each_panic_in("a short record", Sync::Always, payload, append(payload(60)));
    each_panic_in("a record that rolls", Sync::Always, rolls, append(rolls(60)));
    each_panic_in("a record that rolls", Sync::Never, rolls, append(rolls(60)));
    each_panic_in("a record that is too long for the ring", Sync::Never, long, append(long(60)));
    each_panic_in("a batch", Sync::Always, payload, |log, error| {
        let records = [payload(60), payload(61), payload(62)];
        let records = records.each_ref().map(|bytes| Bytes { data: bytes.as_ptr().cast(), len: bytes.len() });
        log_append_batch(log, records.as_ptr(), records.len(), null_mut(), error)
    });
}

#[test]
fn a_panic_in_a_sync_a_read_or_a_stat_is_a_status_and_poisons() {
    each_panic_in("a sync", Sync::Never, payload, |log, error| {
        let bytes = payload(60);
        match log_append(log, bytes.as_ptr(), bytes.len(), null_mut(), error) {
            LOG_OK => log_sync(log, error),
            status => status,
        }
    });
    each_panic_in("a read", Sync::Always, payload, |log, error| read(log, 0, error).0);
    each_panic_in("a stat", Sync::Always, payload, |log, error| {
        let mut stat = Words::default();
        stat[0] = STAT_BYTES;
        log_stat(log, &raw mut stat, error)
    });
}

#[test]
fn a_panic_in_a_cursor_is_a_status_and_the_cursor_goes_on() {
    quiet();
    let (start, count) = sample(60);
    let dir = start.place();
    for by_batch in [false, true] {
        for nth in 0.. {
            // Opened anew, so that the cursor has a segment to open.
            let mut error = Failure::new();
            let log = open(&dir, Sync::Always, &mut error).1;
            let mut cursor = null_mut();
            assert_eq!(log_cursor_open(log, 0, &raw mut cursor, &raw mut error), LOG_OK);
            let record = Record { offset: 0, timestamp_ns: 0, payload: Bytes { data: null(), len: 0 } };
            let (mut records, mut given) = ([record; 4], 0);
            let hook = Hook::new().with(Fault::Panic { nth });
            let status = hook.run(|| {
                if by_batch {
                    log_cursor_next_batch(cursor, records.as_mut_ptr(), 4, &raw mut given, &raw mut error)
                } else {
                    log_cursor_next(cursor, records.as_mut_ptr(), &raw mut error)
                }
            });
            if hook.failed() > 0 {
                assert_eq!(status, LOG_E_BUG, "call {nth}");
                assert!(error.message().contains("a planted defect"), "{}", error.message());
                check_cursor(cursor, 0, count);
            }
            log_cursor_close(cursor);
            assert_eq!(log_close(log, &raw mut error), LOG_OK);
            if hook.failed() == 0 {
                assert_eq!(status, LOG_OK, "{}", error.message());
                assert!(nth > 0, "a cursor makes no system call");
                break;
            }
        }
    }
}

#[test]
fn a_panic_in_an_open_is_a_status_and_the_next_open_is_as_ever() {
    quiet();
    let (closed, count) = sample(60);
    let mut killed = closed.clone();
    for store in killed.stores() {
        killed.file(&store)[2048..support::format::FRAMES].fill(0);
    }
    for (start, count) in [(Image::default(), 0), (closed, count), (killed, count)] {
        for nth in 0.. {
            let (dir, mut error) = (start.place(), Failure::new());
            let hook = Hook::new().with(Fault::Panic { nth });
            let (status, log) = hook.run(|| open(&dir, Sync::Always, &mut error));
            if hook.failed() == 0 {
                assert_eq!((status, log_close(log, null_mut())), (LOG_OK, LOG_OK));
                break;
            }
            assert_eq!((status, log.is_null()), (LOG_E_BUG, true), "call {nth}: {}", error.message());
            // No lock stays, and nothing is lost.
            check_reopened(&dir, count, 0, payload);
        }
    }
}

#[test]
fn a_panic_in_a_close_or_a_remove_is_a_status_and_frees_the_log() {
    quiet();
    let (start, count) = sample(60);
    for nth in 0.. {
        let (dir, mut error) = (start.place(), Failure::new());
        let log = open(&dir, Sync::Never, &mut error).1;
        let bytes = payload(count);
        assert_eq!(log_append(log, bytes.as_ptr(), bytes.len(), null_mut(), &raw mut error), LOG_OK);
        let hook = Hook::new().with(Fault::Panic { nth });
        let status = hook.run(|| log_close(log, &raw mut error));
        if hook.failed() == 0 {
            assert_eq!(status, LOG_OK);
            break;
        }
        assert_eq!(status, LOG_E_BUG, "call {nth}");
        check_reopened(&dir, count + 1, 0, payload);
    }
    for nth in 0.. {
        let (dir, mut error) = (start.place(), Failure::new());
        let hook = Hook::new().with(Fault::Panic { nth });
        let status = hook.run(|| log_remove(c_path(&dir).as_ptr(), &raw mut error));
        if hook.failed() == 0 {
            assert_eq!(status, LOG_OK);
            break;
        }
        assert_eq!(status, LOG_E_BUG, "call {nth}");
        // What is left is a shorter log, or none.
        let next = Log::open(dir.path(), &small()).unwrap().next_offset();
        assert!(next <= count);
        assert_eq!(log_remove(c_path(&dir).as_ptr(), &raw mut error), LOG_OK, "{}", error.message());
    }
}

/// Of the calls of an append of many records, those of these kinds.
fn calls_of(sync: Sync, kinds: &[Kind]) -> Vec<u64> {
    let (dir, hook) = (Scratch::new(), Hook::new().recording());
    let log = hook.run(|| Log::open(dir.path(), &Config { sync, ..small() })).unwrap();
    hook.run(|| support::append(&log, 200, 1));
    hook.run(|| log.sync()).unwrap();
    let ops = hook.ops().into_iter().filter(|op| op.kind != Kind::Store);
    (0..).zip(ops).filter(|(_, op)| kinds.contains(&op.kind)).map(|(nth, _)| nth).collect()
}

#[test]
fn a_panic_in_the_librarys_own_thread_poisons() {
    quiet();
    let mut met = 0;
    for nth in 0..40 {
        let (dir, hook) = (Scratch::new(), Hook::new());
        let log = hook.run(|| Log::open(dir.path(), &small())).unwrap();
        // From now on only the library's own threads are under the hook.
        let hook = hook.clone().with(Fault::Panic { nth: hook.calls() + nth });
        let mut next = 0;
        while next < 200 && log.append(&payload(next)).is_ok() {
            next += 1;
        }
        // The thread has done its work when all full segments are durable.
        let stat = log.stat().unwrap();
        let full = log.segment_at(stat.segment_count as usize - 1).unwrap().unwrap().base_offset;
        let is_done = || hook.failed() > 0 || log.stat().unwrap().durable_offset >= full;
        for _ in 0..60_000 {
            if is_done() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if hook.failed() == 0 {
            continue;
        }
        met += 1;
        let error = until_poisoned(&log);
        assert!(matches!(error.status(), Status::Poisoned | Status::Bug), "call {nth}: {error}");
        assert!(log.close().is_err());
        check_reopened(&dir, next, 1, payload);
    }
    assert!(met > 10, "the library's threads panicked {met} times");
}

#[test]
fn a_panic_in_a_sync_poisons_whoever_called() {
    quiet();
    let mut met = 0;
    for nth in calls_of(Sync::Always, &[Kind::SyncFile, Kind::SyncDir, Kind::Write]) {
        let dir = Scratch::new();
        let Ok(log) = Log::open(dir.path(), &Config { sync: Sync::Always, ..small() }) else { continue };
        let hook = Hook::new().with(Fault::Panic { nth });
        let appends = || (0..200).for_each(|n| assert_eq!(log.append(&payload(n)).unwrap(), n));
        if hook.run(|| catch_unwind(AssertUnwindSafe(appends))).is_ok() {
            continue;
        }
        met += 1;
        // As another thread sees it that had nothing to do with the panic.
        let error = log.append(b"x").expect_err("a defect in a sync, and the handle goes on");
        assert!(matches!(error.status(), Status::Poisoned | Status::Bug), "{error}");
    }
    assert!(met > 0, "no append panicked");
}

#[test]
fn after_a_panic_stat_counts_what_can_be_read() {
    quiet();
    for nth in 0.. {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &small()).unwrap();
        let hook = Hook::new().with(Fault::Panic { nth });
        let _ = hook.run(|| catch_unwind(AssertUnwindSafe(|| log.append(&long(60)))));
        assert_eq!(log.stat().unwrap().next_offset, log.next_offset(), "call {nth}");
        if hook.failed() == 0 {
            break;
        }
    }
}

#[test]
fn a_panic_amid_a_batch_passes_over_no_record() {
    quiet();
    let (mut start, _) = sample(60);
    // The second record's frame is damaged, so that the step onto it makes system calls.
    let name = start.stores()[0].clone();
    let at = support::format::frames(&start.0[&name])[2].start;
    start.file(&name)[at + 16] ^= 1;
    let dir = start.place();
    let mut panics = 0;
    for nth in 0.. {
        // Opened anew, since a log knows where it has walked.
        let log = Log::open(dir.path(), &small()).unwrap();
        let mut cursor = seglog::Cursor::open(&log, 0).unwrap();
        let hook = Hook::new().with(Fault::Panic { nth });
        let batch = |cursor: &mut seglog::Cursor| {
            let mut offsets = Vec::new();
            let done = cursor.next_batch(8, |record| offsets.push(record.offset));
            done.map(|_| offsets)
        };
        let result = catch_unwind(AssertUnwindSafe(|| hook.run(|| batch(&mut cursor))));
        if hook.failed() == 0 {
            break;
        }
        panics += u64::from(result.is_err());
        assert_eq!((cursor.offset(), batch(&mut cursor).unwrap()), (0, vec![0, 1]), "call {nth}");
    }
    assert!(panics > 0, "no call was made amid a batch");
}
