//! A disk that fails, on real ext4, XFS and btrfs (qemu's driver blkdebug, served by FUSE, a loop device on it). The kernel tells of
//! a failed write once, shows the new bytes from its page cache all the same, and says that the next sync is fine. So a handle is
//! poisoned, and the next writer of the same boot writes what is doubtful anew. Then the cache is dropped and the file system
//! mounted again: every record that was said to be durable is there. That a writer who does not know of the failure loses the
//! record is shown too, else the test would show nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod disks;

use disks::daemon::Daemon;
use disks::{Fs, Loop, Mount, Workshop, sh};
use seglog::{Config, Cursor, Error, Log, Status, Sync};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Frames of 512 bytes, so that eight fill a page of the store.
const RECORD_BYTES: usize = 496;
const A_PAGE: u64 = 8;

fn record(offset: u64) -> Vec<u8> {
    (0..RECORD_BYTES).map(|n| (offset as usize * 31 + n * 7 + 1) as u8).collect()
}

fn append(log: &Log, count: u64) -> seglog::Result<()> {
    (0..count).try_for_each(|_| log.append(&record(log.next_offset())).map(drop))
}

/// Every record is there, by offset and by cursor, byte for byte.
fn check_whole(log: &Log, next: u64) {
    assert_eq!((log.first_offset(), log.next_offset()), (0, next));
    let mut cursor = Cursor::open(log, 0).unwrap();
    for offset in 0..next {
        log.read(offset, |bytes, _| assert!(bytes == record(offset), "record {offset} is another")).unwrap();
        assert!(cursor.next().unwrap().unwrap().payload == record(offset), "a cursor gives another record {offset}");
    }
}

/// A file system on a disk that can fail. What stands first goes first.
struct Bench {
    fs: Fs,
    mount: Option<Mount>,
    device: Loop,
    daemon: Daemon,
    shop: Workshop,
}

impl Bench {
    fn new(fs: Fs) -> Self {
        let shop = Workshop::new("failing");
        let image = shop.image("disk", fs.image_bytes());
        let daemon = Daemon::that_can_fail(&shop, &image);
        let device = Loop::new(daemon.served());
        fs.make(device.path());
        let mount = Some(Mount::new(fs, device.path(), &shop.join("mnt")));
        Self { fs, mount, device, daemon, shop }
    }

    fn log(&self) -> PathBuf {
        self.shop.join("mnt").join("log")
    }

    fn open(&self, sync: Sync) -> seglog::Result<Log> {
        Log::open(self.log(), &Config { sync, segment_max_bytes: 1 << 20, ..Config::default() })
    }

    fn settle(&self) {
        sh("sync", &["--file-system".as_ref(), self.shop.join("mnt").as_os_str()]);
    }

    /// What the kernel has only in its memory goes: the cache is dropped, and the file system mounted anew.
    fn forget(&mut self) {
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        self.mount_anew();
    }

    fn mount_anew(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.unmount();
        }
        self.mount = Some(Mount::new(self.fs, self.device.path(), &self.shop.join("mnt")));
    }

    /// The disk's sector of 512 bytes where this position of the log's only store lies.
    fn sector_of(&self, position: u64) -> u64 {
        self.settle();
        let is_store = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "store");
        let store = fs::read_dir(self.log()).unwrap().map(|entry| entry.unwrap().path()).find(is_store).unwrap();
        let listed = sh("filefrag", &["-v".as_ref(), "-b512".as_ref(), store.as_os_str()]);
        let want = position / 512;
        // "  0:        0..     127:     266240..    266367:    128: ...": the extent, in the file and on the disk.
        let numbers = |text: &str| -> Option<Vec<u64>> {
            let parts: Vec<_> = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
            parts.iter().map(|part| part.parse().ok()).collect()
        };
        let extents = listed.lines().filter(|line| line.contains("..")).filter_map(numbers);
        let found = extents.filter(|extent| extent.len() > 4).find(|extent| (extent[1]..=extent[2]).contains(&want));
        let extent = found.unwrap_or_else(|| panic!("position {position} is nowhere:\n{listed}"));
        let sector = extent[3] + want - extent[1];
        if self.fs == Fs::Btrfs { self.below_btrfs(sector) } else { sector }
    }

    /// btrfs tells where something lies in a space of its own.
    fn below_btrfs(&self, sector: u64) -> u64 {
        let logical = (sector * 512).to_string();
        let said = sh("btrfs-map-logical", &["-l".as_ref(), logical.as_ref(), self.device.path().as_os_str()]);
        let physical = said.split_whitespace().skip_while(|word| *word != "physical").nth(1);
        physical.unwrap_or_else(|| panic!("{said}")).parse::<u64>().unwrap() / 512
    }

    /// Fills a page of the store with durable records; the next one stands in a page that was never written, where every file system
    /// writes in place. Gives the log, the next offset, and the sector where the record will stand.
    fn durable_page(&self, sync: Sync) -> (Log, u64, u64) {
        let log = self.open(sync).unwrap();
        append(&log, 3 * A_PAGE).unwrap();
        log.sync().unwrap();
        let sector = self.sector_of(4096 + 3 * 4096);
        (log, 3 * A_PAGE, sector)
    }
}

/// The handle is poisoned, says exactly what is durable, and reads go on.
fn check_poisoned(log: Log, error: &Error, os_error: i32, durable: u64, next: u64) {
    assert_eq!((error.status(), error.detail().os_error), (Status::Io, os_error), "{error}");
    assert_eq!(log.stat().unwrap().durable_offset, durable, "durable_offset is exact");
    check_whole(&log, next);
    for error in [log.append(b"x").unwrap_err(), log.sync().unwrap_err()] {
        assert_eq!((error.status(), error.detail().os_error), (Status::Poisoned, os_error), "{error}");
    }
    check_whole(&log, next);
    assert_eq!(log.close().unwrap_err().status(), Status::Poisoned);
}

/// One test at a time: where one drops the page cache, another's doubtful records would be gone before they are written
/// anew.
static CACHE: Mutex<()> = Mutex::new(());

fn each_file_system(check: impl Fn(Bench)) {
    let _alone = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if disks::can_serve() {
        for fs in Fs::ALL {
            check(Bench::new(fs));
        }
    }
}

/// One durable append fails, then the log is opened again in this boot.
fn a_doubtful_record(bench: &mut Bench, os_error: i32) -> u64 {
    let (log, durable, sector) = bench.durable_page(Sync::Always);
    bench.daemon.fail("write", os_error, Some(sector));
    let error = append(&log, 1).unwrap_err();
    assert_eq!(error.detail().published, Some(durable), "the record exists");
    check_poisoned(log, &error, os_error, durable, durable + 1);
    bench.daemon.heal();
    durable
}

#[test]
fn what_is_doubtful_after_a_failed_write_is_written_anew_and_outlives_the_cache() {
    each_file_system(|mut bench| {
        for os_error in [EIO, ENOSPC] {
            let durable = a_doubtful_record(&mut bench, os_error);
            let log = bench.open(Sync::Always).unwrap();
            assert_eq!(log.stat().unwrap().durable_offset, durable + 1, "what an open found is durable");
            append(&log, 20).unwrap();
            log.close().unwrap();
            bench.forget();
            let log = bench.open(Sync::Always).unwrap();
            assert_eq!(log.stat().unwrap().dropped_bytes, 0);
            check_whole(&log, durable + 21);
            log.close().unwrap();
            fs::remove_dir_all(bench.log()).unwrap();
        }
    });
}

/// The same, but that the next writer is not told: the poison is taken out of LIVE. Then the page cache fools it.
#[test]
fn a_writer_that_is_not_told_of_the_failure_loses_the_record_with_the_cache() {
    each_file_system(|mut bench| {
        let durable = a_doubtful_record(&mut bench, EIO);
        let live = fs::OpenOptions::new().write(true).open(bench.log().join("LIVE")).unwrap();
        live.write_all_at(&[0; 8], 232).unwrap();
        drop(live);
        let log = bench.open(Sync::Always).unwrap();
        assert_eq!(log.stat().unwrap().durable_offset, durable + 1, "it believes what it sees");
        check_whole(&log, durable + 1);
        log.close().unwrap();
        bench.forget();
        let lost = match bench.open(Sync::Always) {
            Ok(log) => log.next_offset() == durable || log.read(durable, |_, _| ()).is_err(),
            Err(error) => error.status() == Status::Corrupt,
        };
        assert!(lost, "{:?}: the record outlived the cache, so nothing is shown by these tests", bench.fs);
    });
}

#[test]
fn a_hundred_unsynced_records_of_several_segments_are_written_anew() {
    each_file_system(|mut bench| {
        let dir = bench.log();
        let open = |dir: &Path| {
            let config = Config { sync: Sync::Never, segment_max_bytes: 32 << 10, flags: 4, ..Config::default() };
            Log::open(dir, &config).unwrap()
        };
        let log = open(&dir);
        append(&log, 3 * A_PAGE).unwrap();
        log.sync().unwrap();
        let sector = bench.sector_of(4096 + 3 * 4096);
        bench.daemon.fail("write", EIO, Some(sector));
        let mut error = append(&log, 100).err();
        if error.is_none() {
            error = log.sync().err();
        }
        let next = log.next_offset();
        assert!(next > 4 * A_PAGE);
        check_poisoned(log, &error.unwrap(), EIO, 3 * A_PAGE, next);
        bench.daemon.heal();
        let log = open(&dir);
        assert_eq!(log.stat().unwrap().durable_offset, next);
        append(&log, 10).unwrap();
        log.close().unwrap();
        bench.forget();
        let log = open(&dir);
        check_whole(&log, next + 10);
        log.close().unwrap();
    });
}

/// A disk that takes no flush any more: the file system may give up altogether. What was acknowledged is there when it is mounted again.
#[test]
fn a_disk_that_takes_no_flush_or_no_write_loses_nothing_that_was_acknowledged() {
    each_file_system(|mut bench| {
        for (kind, os_error) in [("flush", EIO), ("write", EIO), ("write", ENOSPC)] {
            let (log, durable, _) = bench.durable_page(Sync::Always);
            bench.daemon.fail(kind, os_error, None);
            let error = append(&log, 1).unwrap_err();
            assert_eq!(error.status(), Status::Io, "{error}");
            // A file system that has shut itself down does not even tell a file's size; this needs none.
            assert!(log.stat().map_or(true, |stat| stat.durable_offset == durable));
            assert!(log.wait_durable(durable - 1, Some(Duration::ZERO)).unwrap());
            assert_eq!(log.wait_durable(durable, Some(Duration::ZERO)).unwrap_err().status(), Status::Poisoned);
            check_whole(&log, durable + 1);
            assert_eq!(log.append(b"x").unwrap_err().status(), Status::Poisoned);
            assert_eq!(log.close().unwrap_err().status(), Status::Poisoned);
            // While the disk is ill, an open says so, or finds all.
            match bench.open(Sync::Always) {
                Ok(log) => {
                    assert!(log.next_offset() >= durable);
                    drop(log);
                }
                Err(error) => assert!(matches!(error.status(), Status::Io | Status::NoSpace), "{error}"),
            }
            bench.daemon.heal();
            bench.forget();
            let log = bench.open(Sync::Always).unwrap();
            assert!(
                (durable..=durable + 1).contains(&log.next_offset()),
                "{:?}, {kind}: {}",
                bench.fs,
                log.next_offset()
            );
            check_whole(&log, log.next_offset());
            append(&log, 1).unwrap();
            log.close().unwrap();
            fs::remove_dir_all(bench.log()).unwrap();
        }
    });
}

/// Reads of a sector fail that is in no cache: a record that cannot be read is an error of its own, and the others are read.
#[test]
fn a_bad_sector_under_the_durable_mark_is_told_when_the_log_is_opened() {
    each_file_system(|mut bench| {
        let (log, durable, _) = bench.durable_page(Sync::Always);
        log.close().unwrap();
        let sector = bench.sector_of(0);
        bench.forget();
        bench.daemon.fail("read", EIO, Some(sector));
        let error = bench.open(Sync::Always).err().unwrap();
        assert_eq!((error.status(), error.detail().os_error), (Status::Io, EIO), "{error}");
        bench.daemon.heal();
        bench.mount_anew();
        let log = bench.open(Sync::Always).unwrap();
        check_whole(&log, durable);
        log.close().unwrap();
    });
}
