//! Records that are built in place, where C cannot look: a kill between reserve and commit, disks that are full or
//! fail, truncations and syncs beside a reservation, readers while the ring comes round.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "a caller writes where a reservation said")]

mod support;

use seglog::{Config, Cursor, Log, Sync, flags};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::{Image, Scratch};

fn config() -> Config {
    Config { sync: Sync::Never, ..Config::default() }
}

/// Writes where a reservation said, as a C program would.
fn fill(data: NonNull<u8>, bytes: &[u8]) {
    // SAFETY: each caller has reserved at least so many bytes, and the reservation has not ended.
    unsafe { data.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
}

fn append_in_place(log: &Log, bytes: &[u8], more: usize) -> u64 {
    fill(log.reserve(bytes.len() + more).unwrap(), bytes);
    log.commit(bytes.len()).unwrap()
}

/// What is built and not committed is no record, whatever it looks like, and leaves no torn tail.
#[test]
fn a_kill_between_reserve_and_commit_leaves_nothing() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    for n in 0..10_u8 {
        append_in_place(&log, &[n; 100], 0);
    }
    fill(log.reserve(1000).unwrap(), &[7; 1000]);
    let killed = Image::of(dir.path()).place();
    log.abort().unwrap();
    let aborted = Image::of(dir.path()).place();
    for image in [&killed, &aborted] {
        let after = Log::open(image.path(), &config()).unwrap();
        let stat = after.stat().unwrap();
        assert_eq!((stat.next_offset, stat.recovered_records, stat.dropped_bytes), (10, 10, 0));
        for n in 0..10_u8 {
            assert!(after.read(u64::from(n), |payload, _| payload == [n; 100]).unwrap());
        }
        assert_eq!(append_in_place(&after, b"on", 5), 10);
        after.close().unwrap();
    }
}

/// A truncation waits for the reservation of another thread and holds no sync up meanwhile, not even that of the thread
/// that reserved.
#[test]
fn a_truncation_waits_and_lets_the_reserving_thread_sync() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    for _ in 0..5 {
        log.append(b"record").unwrap();
    }
    let data = log.reserve(3).unwrap();
    thread::scope(|scope| {
        let truncation = scope.spawn(|| log.truncate(2));
        let reset = scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            log.append(b"behind")
        });
        thread::sleep(Duration::from_millis(50));
        log.sync().unwrap();
        assert!(log.wait_durable(4, Some(Duration::from_secs(10))).unwrap());
        assert_eq!(log.next_offset(), 5);
        fill(data, b"new");
        assert_eq!(log.commit(3).unwrap(), 5);
        truncation.join().unwrap().unwrap();
        let behind = reset.join().unwrap().unwrap();
        assert!([2, 6].contains(&behind), "{behind}");
    });
    log.close().unwrap();
}

/// Lets readers end where the writer failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(thread::panicking(), Ordering::Relaxed);
    }
}

/// Readers by offset, cursors and followers beside a writer that builds every record in place, through laps of the ring.
#[test]
fn readers_see_whole_records_while_the_ring_comes_round() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { segment_max_bytes: 3 << 20, ..config() }).unwrap();
    let follower = Log::open(dir.path(), &Config { flags: flags::READ_ONLY, ..config() }).unwrap();
    let record = |offset: u64| vec![offset as u8; (offset % 700) as usize + 1];
    let stop = AtomicBool::new(false);
    let count = 20_000;
    thread::scope(|scope| {
        for log in [&log, &follower] {
            scope.spawn(|| {
                let mut cursor = Cursor::open(log, 0).unwrap();
                let mut seen = 0;
                while seen < count && !stop.load(Ordering::Relaxed) {
                    while let Some(found) = cursor.next().unwrap() {
                        assert_eq!((found.offset, found.payload), (seen, &record(seen)[..]));
                        seen += 1;
                    }
                    if seen > 0 {
                        assert!(log.read(seen - 1, |payload, _| payload == record(seen - 1)).unwrap());
                    }
                }
            });
        }
        let _stop = Stop(&stop);
        for offset in 0..count {
            assert_eq!(append_in_place(&log, &record(offset), 900), offset);
        }
    });
    log.close().unwrap();
}

/// A full disk is told by the reservation; the log goes on when there is room.
#[cfg(feature = "faults")]
#[test]
fn a_full_disk_is_told_before_the_record_is_built() {
    use seglog::faults::{Fault, Hook};
    let dir = Scratch::new();
    let config = Config { segment_max_bytes: 4096, flags: flags::NO_THREAD, ..config() };
    let log = Log::open(dir.path(), &config).unwrap();
    let mut refused = 0;
    for offset in 0..60_u64 {
        let record = [offset as u8; 300];
        let full = Hook::new().with(Fault::FailFrom { nth: 0, os_error: 28 }).run(|| log.reserve(300));
        let data = match full {
            Ok(data) => data,
            Err(error) => {
                assert_eq!(error.status(), seglog::Status::NoSpace, "{error}");
                refused += 1;
                log.reserve(300).unwrap()
            }
        };
        fill(data, &record);
        assert_eq!(log.commit(300).unwrap(), offset);
    }
    assert!(refused > 3, "{refused}");
    log.close().unwrap();
    let log = Log::open(dir.path(), &config).unwrap();
    for offset in 0..60_u64 {
        assert!(log.read(offset, |payload, _| payload == [offset as u8; 300]).unwrap());
    }
}

/// A commit whose sync fails is told once, with the record's offset; who waits for the reservation hears of the poison.
#[cfg(feature = "faults")]
#[test]
fn a_failed_sync_of_a_commit_poisons_and_wakes_who_waits() {
    use seglog::faults::{Fault, Hook};
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { flags: flags::NO_THREAD, ..Config::default() }).unwrap();
    fill(log.reserve(5).unwrap(), b"built");
    thread::scope(|scope| {
        let log = &log;
        // No call of either succeeds: the commit wakes the other one before it syncs, and that may lead the sync of both.
        let failing = || Hook::new().with(Fault::FailFrom { nth: 0, os_error: 5 });
        let waiting = scope.spawn(move || failing().run(|| log.append(b"waits")));
        thread::sleep(Duration::from_millis(20));
        let failed = failing().run(|| log.commit(5));
        let both = [failed, waiting.join().unwrap()].map(|result| result.map(|_| ()).unwrap_err().status());
        assert!(both.contains(&seglog::Status::Io), "who led says why: {both:?}");
        assert!(both.iter().all(|status| matches!(status, seglog::Status::Poisoned | seglog::Status::Io)), "{both:?}");
    });
    assert!(log.read(0, |payload, _| payload == b"built").unwrap());
    assert_eq!(log.reserve(5).unwrap_err().status(), seglog::Status::Poisoned);
}
