//! An open file: reading and writing at a position, space, syncing, the lock.

use super::fault::{self, Kind, Op, Verdict};
use crate::error::{Error, Result};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

/// An open regular file and the names that messages call it by.
pub(crate) struct File {
    inner: std::fs::File,
    /// Its name within its directory, for the hook.
    name: String,
    /// Its path, for messages.
    path: String,
}

/// What tells one file from another, and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub device: u64,
    pub inode: u64,
    pub bytes: u64,
    pub disk_bytes: u64,
    pub regular: bool,
}

impl From<&std::fs::Metadata> for Stat {
    fn from(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            disk_bytes: meta.blocks().saturating_mul(512),
            regular: meta.is_file(),
        }
    }
}

/// Turns -1 into the thread's `errno`.
fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn offset(at: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}

impl File {
    pub(super) fn new(fd: OwnedFd, name: &str, path: String) -> Self {
        Self { inner: fd.into(), name: name.to_owned(), path }
    }

    /// The file was renamed.
    pub(crate) fn set_name(&mut self, name: &str, path: String) {
        (self.name, self.path) = (name.to_owned(), path);
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn as_std(&self) -> &std::fs::File {
        &self.inner
    }

    fn op(&self, kind: Kind, at: u64, len: u64) -> impl FnOnce() -> Op {
        move || Op::new(kind, &self.name, at, len)
    }

    fn failed(&self, verb: impl fmt::Display, error: &io::Error) -> Error {
        Error::from_io(format!("cannot {verb} '{}'", self.path), error)
    }

    /// Its size and identity.
    pub(crate) fn stat(&self) -> Result<Stat> {
        fault::guard(self.op(Kind::Stat, 0, 0), || self.inner.metadata())
            .map(|meta| Stat::from(&meta))
            .map_err(|error| self.failed("look at", &error))
    }

    /// Reads at `at` until `bytes` is full or the file ends; returns how many bytes it got.
    pub(crate) fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<usize> {
        let mut got = 0;
        while got < bytes.len() {
            let (place, rest) = (at.saturating_add(got as u64), &mut bytes[got..]);
            let op = self.op(Kind::Read, place, rest.len() as u64);
            match fault::guard(op, || self.inner.read_at(rest, place)) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(format_args!("read at byte {place} of"), &error)),
            }
        }
        Ok(got)
    }

    /// Writes all of `bytes` at `at`.
    pub(crate) fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.write_loop(bytes.len(), at, |from, len, place| self.inner.write_at(&bytes[from..from + len], place))
    }

    /// Writes `len` bytes at `at` by as many calls of `write` (from, length, position) as it takes.
    pub(super) fn write_loop(
        &self,
        len: usize,
        at: u64,
        write: impl Fn(usize, usize, u64) -> io::Result<usize>,
    ) -> Result<()> {
        let mut done = 0;
        while done < len {
            let (place, rest) = (at.saturating_add(done as u64), len - done);
            let result = fault::ask(self.op(Kind::Write, place, rest as u64)).and_then(|verdict| match verdict {
                Verdict::Proceed => write(done, rest, place),
                Verdict::Short(0) => Err(io::Error::from_raw_os_error(libc::EIO)),
                Verdict::Short(keep) => write(done, keep, place),
            });
            match result {
                Ok(0) => {
                    let error = io::Error::from_raw_os_error(libc::EIO);
                    return Err(self.failed(format_args!("write at byte {place} of"), &error));
                }
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(format_args!("write at byte {place} of"), &error)),
            }
        }
        Ok(())
    }

    /// Writes zeros over a range, in pieces of 64 KiB.
    pub(crate) fn write_zeros(&self, at: u64, len: u64) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let end = at.saturating_add(len);
        let mut place = at;
        while place < end {
            let piece = usize::try_from(end - place).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.write_at(&ZEROS[..piece], place)?;
            place += piece as u64;
        }
        Ok(())
    }

    /// Allocates the range on the disk, so that writing it cannot meet a full disk. Bytes that are there stay.
    /// Where the file system cannot allocate, zeros are written behind the file's end instead.
    pub(crate) fn allocate(&self, at: u64, len: u64) -> Result<()> {
        let real = || {
            let (at, len) = (offset(at)?, offset(len)?);
            // SAFETY: a plain call on an open descriptor.
            check(unsafe { libc::fallocate(self.inner.as_raw_fd(), 0, at, len) })
        };
        match self.retry(Kind::Allocate, at, len, real) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.allocate_by_writing(at, len),
            result => result.map_err(|error| self.failed(format_args!("allocate {len} bytes for"), &error)),
        }
    }

    /// For file systems without fallocate: zeros are written where nothing has been written yet.
    fn allocate_by_writing(&self, at: u64, len: u64) -> Result<()> {
        const STEP: u64 = 4096;
        let end = at.saturating_add(len);
        let mut page = [0_u8; STEP as usize];
        let mut place = at;
        while place < end {
            let piece = STEP.min(end - place) as usize;
            let got = self.read_at(&mut page[..piece], place)?;
            page[got..piece].fill(0);
            self.write_at(&page[..piece], place)?;
            place += piece as u64;
        }
        Ok(())
    }

    /// Gives a range back to the file system; it reads as zeros, and the size stays. Best effort: what fails is only
    /// space.
    pub(crate) fn punch(&self, at: u64, len: u64) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let real = || {
            let (at, len) = (offset(at)?, offset(len)?);
            // SAFETY: a plain call on an open descriptor.
            check(unsafe { libc::fallocate(self.inner.as_raw_fd(), mode, at, len) })
        };
        if len > 0 {
            let _ = fault::guard(self.op(Kind::Punch, at, len), real);
        }
    }

    fn retry(&self, kind: Kind, at: u64, len: u64, real: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match fault::guard(self.op(kind, at, len), &real) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Makes the file longer, with a hole. It is never called with less than the file's size.
    pub(crate) fn grow_to(&self, bytes: u64) -> Result<()> {
        self.retry(Kind::SetLen, bytes, 0, || self.inner.set_len(bytes))
            .map_err(|error| self.failed(format_args!("grow to {bytes} bytes"), &error))
    }

    /// Where the next written range begins at or after `at`, or `None` if there is none. Unwritten space is no data.
    pub(crate) fn seek_data(&self, at: u64) -> Result<Option<u64>> {
        let real = || {
            let at = offset(at)?;
            // SAFETY: a plain call on an open descriptor, whose file position nothing else uses.
            match unsafe { libc::lseek(self.inner.as_raw_fd(), at, libc::SEEK_DATA) } {
                -1 => Err(io::Error::last_os_error()),
                place => Ok(u64::try_from(place).unwrap_or(0)),
            }
        };
        match fault::guard(self.op(Kind::SeekData, at, 0), real) {
            Ok(place) => Ok(Some(place)),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Some(at)),
            Err(error) => Err(self.failed(format_args!("look for data from byte {at} on in"), &error)),
        }
    }

    /// Makes what was written durable (fdatasync: the data, and the metadata that is needed to find it).
    /// It is never tried again after a failure: the kernel may have dropped the pages and cleared the error.
    pub(crate) fn sync(&self) -> Result<()> {
        fault::guard(self.op(Kind::SyncFile, 0, 0), || self.inner.sync_data())
            .map_err(|error| self.failed("sync", &error))
    }

    /// Writes the first `len` bytes back to the disk, a megabyte at a time and waiting for each, so that another file's
    /// sync meanwhile waits for no more than that. It makes nothing durable: a `sync` must follow. Its failure counts
    /// as that sync's, since the kernel may not tell it again.
    pub(crate) fn write_back(&self, len: u64) -> Result<()> {
        const STEP: u64 = 1 << 20;
        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        let mut at = 0;
        while at < len {
            let real = || {
                let (at, step) = (offset(at)?, offset(STEP.min(len - at))?);
                // SAFETY: a plain call on an open descriptor.
                check(unsafe { libc::sync_file_range(self.inner.as_raw_fd(), at, step, flags) })
            };
            match fault::guard(self.op(Kind::WriteBack, at, STEP), real) {
                // Not every file system has it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::ESPIPE)) => break,
                result => result.map_err(|error| self.failed("write back", &error))?,
            }
            at += STEP;
        }
        Ok(())
    }

    /// Takes the exclusive lock of this open file, without waiting. `false` if another one holds it.
    pub(crate) fn try_lock(&self) -> Result<bool> {
        let real = || {
            // SAFETY: a plain call on an open descriptor.
            check(unsafe { libc::flock(self.inner.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
        };
        match self.retry(Kind::Lock, 0, 0, real) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
            Err(error) => Err(self.failed("lock", &error)),
        }
    }

    /// Gives the lock up, even where a forked child still holds a copy of the descriptor.
    pub(crate) fn unlock(&self) {
        // SAFETY: a plain call on an open descriptor.
        unsafe { libc::flock(self.inner.as_raw_fd(), libc::LOCK_UN) };
    }
}
