//! An open file: reading and writing at a position, space, syncing, the lock.

use super::fault::{self, Kind, Op, Tag, Verdict};
use super::history::Event;
use crate::error::{Error, Result, Status};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

/// An open regular file and the names that messages call it by.
pub(crate) struct File {
    inner: std::fs::File,
    /// Its name within its directory, for the hook.
    name: String,
    /// Its path, for messages.
    path: String,
    tag: Tag,
    /// Whether it may be mapped.
    maps: bool,
}

/// What tells one file from another, and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub device: u64,
    pub inode: u64,
    pub bytes: u64,
    pub disk_bytes: u64,
    pub regular: bool,
    /// How many names it has in directories.
    pub names: u64,
    /// When it was last written, ns since 1970 UTC.
    pub modified_ns: u64,
}

/// Seconds and nanoseconds as one number; what lies before 1970 is 0.
pub(super) fn time_ns(seconds: i64, ns: i64) -> u64 {
    let (seconds, ns) = (u64::try_from(seconds).unwrap_or(0), u64::try_from(ns).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(ns)
}

impl Stat {
    /// Whether both are of one file.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<&std::fs::Metadata> for Stat {
    fn from(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            disk_bytes: meta.blocks().saturating_mul(512),
            regular: meta.is_file(),
            names: meta.nlink(),
            modified_ns: time_ns(meta.mtime(), meta.mtime_nsec()),
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
    pub(super) fn new(fd: OwnedFd, name: &str, path: String, maps: bool) -> Self {
        let tag = Tag::of(&fd);
        Self { inner: fd.into(), name: name.to_owned(), path, tag, maps }
    }

    /// Whether it may be mapped; else it is read and written by calls only.
    pub(crate) fn maps(&self) -> bool {
        self.maps
    }

    /// The file was renamed.
    pub(crate) fn set_name(&mut self, name: &str, path: String) {
        (self.name, self.path) = (name.to_owned(), path);
    }

    /// Another descriptor of the same open file: a lock on one is one on both, and so is giving it up.
    pub(crate) fn another(&self) -> Result<Self> {
        let inner = fault::guard(self.op(Kind::Open, 0, 0), || self.inner.try_clone())
            .map_err(|error| self.failed("open once more", &error))?;
        Ok(Self { inner, name: self.name.clone(), path: self.path.clone(), tag: self.tag, maps: self.maps })
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tag(&self) -> Tag {
        self.tag
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
        match self.read_some(bytes, at) {
            (got, None) => Ok(got),
            (_, Some(error)) => Err(error),
        }
    }

    /// As `read_at`; what was read before an error counts too.
    pub(crate) fn read_some(&self, bytes: &mut [u8], at: u64) -> (usize, Option<Error>) {
        let mut got = 0;
        while got < bytes.len() {
            let (place, rest) = (at.saturating_add(got as u64), &mut bytes[got..]);
            let op = self.op(Kind::Read, place, rest.len() as u64);
            match fault::guard(op, || self.inner.read_at(rest, place)) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (got, Some(self.failed(format_args!("read at byte {place} of"), &error))),
            }
        }
        (got, None)
    }

    /// Writes all of `bytes` at `at`.
    pub(crate) fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        let write = |from, len, place| self.inner.write_at(&bytes[from..from + len], place);
        self.write_loop(bytes.len(), at, write, |from, len| bytes[from..from + len].to_vec())
    }

    /// Writes `len` bytes at `at` by as many calls of `write` (from, length, position) as it takes. `bytes` (from,
    /// length) tells the hook what was written.
    pub(super) fn write_loop(
        &self,
        len: usize,
        at: u64,
        write: impl Fn(usize, usize, u64) -> io::Result<usize>,
        bytes: impl Fn(usize, usize) -> Vec<u8>,
    ) -> Result<()> {
        let file = self.tag.id();
        let mut done = 0;
        while done < len {
            let (place, rest) = (at.saturating_add(done as u64), len - done);
            let result = fault::ask(self.op(Kind::Write, place, rest as u64)).and_then(|verdict| {
                match verdict {
                    Verdict::Proceed => write(done, rest, place),
                    Verdict::Short(0) => Err(io::Error::from_raw_os_error(libc::EIO)),
                    Verdict::Short(keep) => write(done, keep, place),
                    Verdict::Drop => return Ok((rest, false)),
                }
                .map(|n| (n, true))
            });
            match result {
                Ok((0, _)) => {
                    let error = io::Error::from_raw_os_error(libc::EIO);
                    return Err(self.failed(format_args!("write at byte {place} of"), &error));
                }
                Ok((n, written)) => {
                    if written {
                        fault::note(|| Event::Write { file, at: place, bytes: bytes(done, n) });
                    }
                    done += n;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(format_args!("write at byte {place} of"), &error)),
            }
        }
        Ok(())
    }

    /// Copies a range of this file to the same place of another one, by the kernel where it can (which then may share
    /// the blocks). A file that ends early is an error. To be used for what is durable: after a failed sync the blocks
    /// need not be what a read shows.
    pub(crate) fn copy_to(&self, to: &Self, at: u64, len: u64) -> Result<()> {
        let (mut at, end) = (at, at.saturating_add(len));
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
            let real = || {
                let (mut from_at, mut to_at) = (offset(at)?, offset(at)?);
                let (from, to) = (self.inner.as_raw_fd(), to.inner.as_raw_fd());
                // SAFETY: two open descriptors, and two positions that live through the call.
                let got = unsafe { libc::copy_file_range(from, &raw mut from_at, to, &raw mut to_at, want, 0) };
                usize::try_from(got).map_err(|_| io::Error::last_os_error())
            };
            match fault::guard(to.op(Kind::Copy, at, want as u64), real) {
                Ok(0) => return Err(self.ends_early(at)),
                Ok(got) => {
                    fault::note(|| Event::Write { file: to.tag.id(), at, bytes: to.written(at, got) });
                    at += got as u64;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // Between two file systems, or on one that has no such call.
                    Some(libc::EXDEV | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM) => {
                        return self.copy_as_read(to, at, end - at);
                    }
                    _ => return Err(to.failed(format_args!("copy '{}' at byte {at} to", self.path), &error)),
                },
            }
        }
        Ok(())
    }

    /// What was just written, for who writes it down.
    fn written(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let got = self.inner.read_at(&mut bytes, at).unwrap_or(0);
        bytes.truncate(got);
        bytes
    }

    /// The same by reads and writes.
    pub(crate) fn copy_as_read(&self, to: &Self, at: u64, len: u64) -> Result<()> {
        let (mut at, end) = (at, at.saturating_add(len));
        let mut buffer = Vec::new();
        let no_memory = |_| Error::new(Status::Memory, "out of memory: 256 KiB are needed to copy a file");
        buffer.try_reserve_exact(256 << 10).map_err(no_memory)?;
        while at < end {
            buffer.resize(usize::try_from(end - at).unwrap_or(usize::MAX).min(256 << 10), 0);
            let got = self.read_at(&mut buffer, at)?;
            if got == 0 {
                return Err(self.ends_early(at));
            }
            to.write_at(&buffer[..got], at)?;
            at += got as u64;
        }
        Ok(())
    }

    fn ends_early(&self, at: u64) -> Error {
        Error::new(Status::Corrupt, format!("'{}' ends at byte {at}, before what it should hold", self.path))
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
        let file = self.tag.id();
        match self.retry(Kind::Allocate, at, len, || Event::Allocate { file, at, len }, real) {
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
        let file = self.tag.id();
        if len > 0 {
            let _ = fault::change(self.op(Kind::Punch, at, len), || Event::Punch { file, at, len }, real);
        }
    }

    fn retry(
        &self,
        kind: Kind,
        at: u64,
        len: u64,
        event: impl Fn() -> Event,
        real: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match fault::change(self.op(kind, at, len), &event, &real) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Makes the file longer, with a hole. It is never called with less than the file's size.
    pub(crate) fn grow_to(&self, bytes: u64) -> Result<()> {
        let file = self.tag.id();
        self.retry(Kind::SetLen, bytes, 0, || Event::SetLen { file, bytes }, || self.inner.set_len(bytes))
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
        let file = self.tag.id();
        let event = |began, ok| Event::SyncFile { file, began, ok };
        fault::sync(self.op(Kind::SyncFile, 0, 0), event, || self.inner.sync_data())
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
            let file = self.tag.id();
            let event = |began, ok| Event::WriteBack { file, began, ok };
            match fault::sync(self.op(Kind::WriteBack, at, STEP), event, real) {
                // Not every file system has it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::ESPIPE)) => break,
                result => result.map_err(|error| self.failed("write back", &error))?,
            }
            at += STEP;
        }
        Ok(())
    }

    /// Asks btrfs to write this file, which is empty, in place. Else each store into a page that was written back, and
    /// each write over a page that has been on the disk, takes new space: on a full disk the one is SIGBUS, the other
    /// poison. (Its own checksums go with that; every record has one.) Other file systems write in place, or say no.
    pub(super) fn ask_for_writes_in_place(&self) {
        const NOCOW: libc::c_int = 0x0080_0000;
        let (fd, mut flags): (_, libc::c_int) = (self.inner.as_raw_fd(), 0);
        // SAFETY: the call writes one int, which lives through it.
        if unsafe { libc::ioctl(fd, libc::FS_IOC_GETFLAGS, &raw mut flags) } == 0 && flags & NOCOW == 0 {
            flags |= NOCOW;
            // SAFETY: the call reads one int, which lives through it.
            unsafe { libc::ioctl(fd, libc::FS_IOC_SETFLAGS, &raw const flags) };
        }
    }

    /// Whether the file has lost its name. Where that cannot be told, it has not. The hook is not asked: it is looked
    /// at before each write, and is no part of it.
    pub(crate) fn has_no_name(&self) -> bool {
        self.inner.metadata().is_ok_and(|about| about.nlink() == 0)
    }
}

/// What can be locked: an open file, or an open directory.
pub(crate) trait Lockable {
    /// Takes its exclusive lock, without waiting. `false` if another one holds it.
    fn try_lock(&self) -> Result<bool>;
    /// Gives the lock up, even where a forked child still holds a copy of the descriptor.
    fn unlock(&self);
    fn fd(&self) -> RawFd;
    /// For messages.
    fn path(&self) -> String;
}

impl Lockable for File {
    fn try_lock(&self) -> Result<bool> {
        let real = || {
            // SAFETY: a plain call on an open descriptor.
            check(unsafe { libc::flock(self.inner.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
        };
        let locked = loop {
            match fault::guard(self.op(Kind::Lock, 0, 0), real) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match locked {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
            Err(error) => Err(self.failed("lock", &error)),
        }
    }

    fn unlock(&self) {
        // SAFETY: a plain call on an open descriptor.
        unsafe { libc::flock(self.inner.as_raw_fd(), libc::LOCK_UN) };
    }

    fn fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }

    fn path(&self) -> String {
        File::path(self).to_owned()
    }
}
