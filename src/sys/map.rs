//! Mappings. Those that are written are seen only as atomic words, since other threads and processes read them
//! meanwhile, and every store into one goes through [`stored`], so that tests can write it down as the write that it
//! is.

use super::fault::{self, Kind, Op, Tag};
use super::file::File;
use super::futex::{self, Slept};
use super::history::Event;
use crate::error::{Error, Result, Status};
use crate::sync::{Ordering, step};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;
// In the model, too: words of a mapping are no objects of shuttle's, each is a step of its own instead.
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

fn map_failed(file: &File, error: &io::Error) -> Error {
    Error::from_io(format!("cannot map '{}'", file.path()), error)
}

/// The one way to a mapping of a file: nothing is mapped of a log that is opened to be read and written by calls.
fn may_map(file: &File) -> Result<()> {
    if file.maps() { Ok(()) } else { Err(Error::new(Status::Bug, format!("'{}' was to be mapped", file.path()))) }
}

/// No processor's pages are larger.
const PAGE_LIMIT: usize = 64 << 10;

/// Which file a mapping shows, and from which byte on.
struct Place {
    name: String,
    tag: Tag,
    at: u64,
}

impl Place {
    fn of(file: &File, at: u64) -> Self {
        Self { name: file.name().to_owned(), tag: file.tag(), at }
    }

    fn nowhere() -> Self {
        Self { name: String::new(), tag: Tag::none(), at: 0 }
    }

    /// The one way into a mapping: asks the hook, stores, and writes down for the tests which bytes stand where now.
    #[inline(always)]
    fn stored<const N: usize>(
        &self,
        at: usize,
        len: usize,
        bytes: impl FnOnce() -> [(usize, Vec<u8>); N],
        store: impl FnOnce(),
    ) {
        let file = self.tag.id();
        let op = || Op::new(Kind::Store, &self.name, at as u64, len as u64);
        let event = |(at, bytes)| Event::Store { file, at: self.at + at as u64, bytes };
        fault::store(op, || bytes().map(event), store);
    }
}

/// Maps `len` bytes of the file from `at` on for reading in the place of what stands at `start`; without a file, zeros.
///
/// # Safety
/// The caller owns the pages at `start`, and they are touched as atomic words only.
unsafe fn replace(start: *mut libc::c_void, len: usize, file: Option<(&File, u64)>) -> io::Result<()> {
    let (fd, at, kind) = match file {
        Some((file, at)) => (file.as_std().as_raw_fd(), at, libc::MAP_SHARED),
        None => (-1, 0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
    };
    let at = libc::off_t::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: MAP_FIXED replaces only pages that the caller owns; to who reads them meanwhile they are as words that
    // another process changes.
    let got = unsafe { libc::mmap(start, len, libc::PROT_READ, kind | libc::MAP_FIXED, fd, at) };
    if got == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks for `len` bytes of a mapping from `start` on to be there for writing, so that a store into them is no page
/// fault: whoever has the time takes the faults. What keeps a page away (an old kernel, a file that was cut) is left
/// for who stores there: it is an error number here, never a signal.
///
/// # Safety
/// The range lies within one mapping that lives through the call, `start` at a page.
unsafe fn populate(name: &str, start: *mut libc::c_void, at: u64, len: usize) {
    let real = || {
        // SAFETY: the caller's range; the call changes no byte.
        match unsafe { libc::madvise(start, len, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let _ = fault::guard(|| Op::new(Kind::Populate, name, at, len as u64), real);
}

/// Whether a file could not be mapped because its file system takes no mapping now, be the file as it may: ext4 when it
/// has made itself read-only (`EROFS`) or was shut down (`EIO`), others that know of none. It may be read by calls all
/// the same.
pub(crate) fn takes_no_mapping(error: &Error) -> bool {
    matches!(error.detail().os_error, libc::EROFS | libc::EIO | libc::ENODEV)
}

/// A file mapped for reading.
pub(crate) struct ReadMap(memmap2::Mmap);

static READ_MAPS: AtomicUsize = AtomicUsize::new(0);

/// How many of them there are in the process.
pub(crate) fn read_maps() -> usize {
    READ_MAPS.load(Ordering::Relaxed)
}

impl Drop for ReadMap {
    fn drop(&mut self) {
        READ_MAPS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadMap {
    /// Maps the first `len` bytes, which the file must have.
    pub(crate) fn new(file: &File, len: usize) -> Result<Self> {
        may_map(file)?;
        let real = || {
            let mut options = memmap2::MmapOptions::new();
            options.len(len);
            // SAFETY: the library writes a store only behind the positions that it reads through this slice, and never
            // shrinks it. A foreign process that changes or cuts the file breaks that; every frame is checked after it
            // is read, and docs/GUARANTEES.md says what cannot be caught (SIGBUS behind a foreign cut).
            unsafe { options.map(file.as_std()) }
        };
        let map = fault::guard(|| Op::new(Kind::Map, file.name(), 0, len as u64), real);
        let map = map.map_err(|error| map_failed(file, &error))?;
        READ_MAPS.fetch_add(1, Ordering::Relaxed);
        Ok(Self(map))
    }

    /// The bytes. Only those that a pwrite has returned for may be looked at.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Asks the processor to fetch what stands at `at`: a hint, of no effect where that is no part of the mapping.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(byte) = self.0.get(at) {
            // SAFETY: SSE is part of x86-64; a prefetch reads nothing that a program could see and never faults.
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(byte).cast());
            }
        }
    }
}

/// A file, or a part of one, mapped for reading and writing as atomic words.
pub(crate) struct WordMap {
    map: memmap2::MmapRaw,
    place: Place,
    writable: bool,
}

impl WordMap {
    /// Maps the first `len` bytes, which the file must have; written full if they are to be written.
    pub(crate) fn new(file: &File, len: usize, writable: bool) -> Result<Self> {
        may_map(file)?;
        let real = || {
            let mut options = memmap2::MmapOptions::new();
            options.len(len);
            if writable { options.map_raw(file.as_std()) } else { options.map_raw_read_only(file.as_std()) }
        };
        let map = fault::guard(|| Op::new(Kind::Map, file.name(), 0, len as u64), real)
            .map_err(|error| map_failed(file, &error))?;
        Ok(Self { map, place: Place::of(file, 0), writable })
    }

    /// A map of nothing: nothing can be stored there or loaded from there.
    pub(crate) fn none() -> Result<Self> {
        Self::zeros(0)
    }

    /// So many zeros, for reading: a place for a file's bytes.
    pub(crate) fn zeros(len: usize) -> Result<Self> {
        let real = || memmap2::MmapOptions::new().len(len).map_anon();
        let map = fault::guard(|| Op::new(Kind::Map, "", 0, len as u64), real)
            .map_err(|error| Error::from_io("cannot map memory", &error))?;
        Ok(Self { map: map.into(), place: Place::nowhere(), writable: false })
    }

    /// So many zeros of this process's own, for reading and writing.
    pub(crate) fn private(len: usize) -> Result<Self> {
        Ok(Self { writable: true, ..Self::zeros(len)? })
    }

    /// Shows the first bytes of this file from now on, of which it must have as many as the map; without one, zeros.
    pub(crate) fn replace(&self, file: Option<&File>) -> Result<()> {
        let (start, len) = (self.map.as_mut_ptr().cast(), self.map.len());
        // SAFETY: these are the map's own pages, and `self` touches them as atomics only.
        let real = || unsafe { replace(start, len, file.map(|file| (file, 0))) };
        let name = file.map_or("", File::name);
        file.map_or(Ok(()), may_map)?;
        fault::guard(|| Op::new(Kind::Map, name, 0, len as u64), real)
            .map_err(|error| Error::from_io(format!("cannot map '{}'", file.map_or("", File::path)), &error))
    }

    /// Sees to it that the pages of these bytes, as far as there are such, can be stored into without a page fault.
    pub(crate) fn populate(&self, at: usize, len: usize) {
        // Pages have at most 64 KiB.
        let (from, end) = (at / PAGE_LIMIT * PAGE_LIMIT, at.saturating_add(len).min(self.map.len()));
        if self.writable && from < end {
            // SAFETY: `from` lies within the mapping.
            let start = unsafe { self.map.as_mut_ptr().byte_add(from) };
            // SAFETY: so does the whole range, and it begins at a page.
            unsafe { populate(&self.place.name, start.cast(), from as u64, end - from) };
        }
    }

    /// Whether stores reach the file; in a map for reading they are not made.
    pub(crate) fn writable(&self) -> bool {
        self.writable
    }

    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
    #[inline]
    fn halves(&self) -> &[AtomicU32] {
        let len = self.map.len() / 4;
        // SAFETY: the mapping has these bytes, is page-aligned and lives as long as `self`; this process touches it as
        // atomics only, and an `AtomicU32` may have any bits.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU32>(), len) }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        let len = self.map.len() / 8;
        // SAFETY: as in `halves`; one map is used through one of the two only.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), len) }
    }

    /// The little-endian number of 4 bytes at `at`, a multiple of 4; `None` behind the end.
    #[inline]
    pub(crate) fn load_u32(&self, at: usize) -> Option<u32> {
        step();
        Some(u32::from_le(self.halves().get(at / 4)?.load(Ordering::Relaxed)))
    }

    /// Stores a number of 4 bytes at `at`, a multiple of 4; nothing behind the end.
    #[inline]
    pub(crate) fn store_u32(&self, at: usize, value: u32) {
        if let Some(half) = self.halves().get(at / 4).filter(|_| self.writable) {
            let bytes = || [(at, value.to_le_bytes().to_vec())];
            self.place.stored(at, 4, bytes, || half.store(value.to_le(), Ordering::Relaxed));
        }
    }

    /// Stores numbers of 4 bytes from `at` on, a multiple of 4; nothing if they do not all fit.
    #[inline]
    pub(crate) fn store_u32s(&self, at: usize, values: impl ExactSizeIterator<Item = u32>) {
        let halves = self.halves().get(at / 4..at / 4 + values.len()).filter(|_| self.writable);
        let Some(halves) = halves else { return };
        // The hook is told what stands there then.
        let bytes = || {
            [(at, halves.iter().flat_map(|half| u32::from_le(half.load(Ordering::Relaxed)).to_le_bytes()).collect())]
        };
        self.place.stored(at, 4 * halves.len(), bytes, || {
            for (half, value) in halves.iter().zip(values) {
                step();
                half.store(value.to_le(), Ordering::Relaxed);
            }
        });
    }

    /// The little-endian number of 8 bytes at `at`, a multiple of 8; `None` behind the end.
    #[inline]
    pub(crate) fn get_u64(&self, at: usize, order: Ordering) -> Option<u64> {
        step();
        Some(u64::from_le(self.words().get(at / 8)?.load(order)))
    }

    /// The same; 0 behind the end.
    #[inline]
    pub(crate) fn load_u64(&self, at: usize, order: Ordering) -> u64 {
        self.get_u64(at, order).unwrap_or(0)
    }

    /// Stores a number of 8 bytes at `at`, a multiple of 8. `false` behind the end.
    #[inline]
    pub(crate) fn store_u64(&self, at: usize, value: u64, order: Ordering) -> bool {
        let Some(word) = self.words().get(at / 8).filter(|_| self.writable) else { return false };
        let bytes = || [(at, value.to_le_bytes().to_vec())];
        self.place.stored(at, 8, bytes, || word.store(value.to_le(), order));
        true
    }

    /// Changes a number of 8 bytes at `at`, a multiple of 8, at once for all who do the same, to what `to` says, if it
    /// says anything. No disk needs to know of it.
    pub(crate) fn change_u64(&self, at: usize, to: impl Fn(u64) -> Option<u64>) {
        let Some(word) = self.words().get(at / 8).filter(|_| self.writable) else { return };
        let to = |word| to(u64::from_le(word)).map(u64::to_le);
        self.place.stored(at, 8, || [], || _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, to));
    }

    /// Sleeps on the number of 8 bytes at `at` while its lower half is that of `value`, for so long at most, until
    /// somebody wakes one of these bits.
    pub(crate) fn sleep_at(&self, at: usize, value: u64, bits: u32, time: Duration) -> io::Result<Slept> {
        let word = self.words().get(at / 8).ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))?;
        futex::sleep(word, value, bits, time)
    }

    /// Wakes all who sleep there for one of these bits, in every process that maps the file.
    pub(crate) fn wake_at(&self, at: usize, bits: u32) -> io::Result<()> {
        self.words().get(at / 8).map_or(Ok(()), |word| futex::wake(word, bits))
    }

    /// Stores a number of 8 bytes at `at`, a multiple of 8, with release order, after those that stand behind it, each
    /// of which is stored after the one before it. They are bounded once, since each append does this. `false` behind
    /// the end.
    #[inline]
    pub(crate) fn store_behind_first(&self, at: usize, first: u64, behind: [u64; 2]) -> bool {
        let words = self.words().get(at / 8..at / 8 + 3).filter(|_| self.writable);
        let Some([word, rest @ ..]) = words else { return false };
        let bytes = || [(at, [first, behind[0], behind[1]].map(u64::to_le_bytes).concat())];
        self.place.stored(at, 24, bytes, || {
            for (word, value) in rest.iter().zip(behind) {
                word.store(value.to_le(), Ordering::Release);
            }
            word.store(first.to_le(), Ordering::Release);
        });
        true
    }
}

/// A part of a file mapped twice in a row, so that what runs over the end of the first goes on in the second.
pub(crate) struct DoubleMap {
    start: NonNull<libc::c_void>,
    len: usize,
    /// Of both halves.
    words: usize,
    place: Place,
}

// SAFETY: the mapping is process-wide memory that is touched as atomic words only, and unmapped once, by its owner.
unsafe impl Send for DoubleMap {}
// SAFETY: as for Send: shared access is by atomic words, or by the kernel.
unsafe impl Sync for DoubleMap {}

impl DoubleMap {
    /// Maps `len` bytes of the file from `at` on; both must be multiples of the page size.
    pub(crate) fn new(file: &File, at: u64, len: usize) -> Result<Self> {
        may_map(file)?;
        let real = || Self::map(file, at, len);
        fault::guard(|| Op::new(Kind::Map, file.name(), at, len as u64), real).map_err(|error| map_failed(file, &error))
    }

    /// A map of nothing: nothing can be copied in there or out.
    pub(crate) fn none() -> Self {
        Self { start: NonNull::<AtomicU64>::dangling().cast(), len: 0, words: 0, place: Place::nowhere() }
    }

    /// As many bytes of zeros, for reading: a place for a part of a file.
    pub(crate) fn zeros(len: usize) -> Result<Self> {
        let map = Self::reserve(Place::nowhere(), len).map_err(|error| Error::from_io("cannot map memory", &error))?;
        map.replace(None)?;
        Ok(map)
    }

    /// Shows this part of a file from now on, which it must have; without one, zeros. In a map for reading only.
    pub(crate) fn replace(&self, file: Option<(&File, u64)>) -> Result<()> {
        let real = || {
            for half in [0, self.len] {
                // SAFETY: `half` lies within the 2 * len bytes that this object owns.
                let place = unsafe { self.start.as_ptr().byte_add(half) };
                // SAFETY: these are this object's own pages, and it touches them as atomics only.
                unsafe { replace(place, self.len, file) }?;
            }
            Ok(())
        };
        let (name, path) = file.map_or(("", ""), |(file, _)| (file.name(), file.path()));
        file.map_or(Ok(()), |(file, _)| may_map(file))?;
        fault::guard(|| Op::new(Kind::Map, name, 0, self.len as u64), real)
            .map_err(|error| Error::from_io(format!("cannot map '{path}'"), &error))
    }

    fn reserve(place: Place, len: usize) -> io::Result<Self> {
        let (none, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that is there.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), 2 * len, none, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, len, words: 2 * len / 8, place })
    }

    fn map(file: &File, at: u64, len: usize) -> io::Result<Self> {
        let map = Self::reserve(Place::of(file, at), len)?;
        let at = libc::off_t::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        let start = map.start;
        for half in [0, len] {
            // SAFETY: `half` lies within the reservation of 2 * len bytes that this object owns.
            let place = unsafe { start.as_ptr().byte_add(half) };
            let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
            // SAFETY: MAP_FIXED replaces only pages of the reservation above, which nothing else uses.
            let got = unsafe { libc::mmap(place, len, access, flags, file.as_std().as_raw_fd(), at) };
            if got == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(map)
    }

    /// Sees to it that all of it can be copied into without a page fault.
    pub(crate) fn populate(&self) {
        if self.len > 0 {
            // SAFETY: both halves are mapped, one behind the other, and live as long as `self`.
            unsafe { populate(&self.place.name, self.start.as_ptr(), self.place.at, 2 * self.len) };
        }
    }

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: both halves are mapped, page-aligned and live as long as `self` (of `none`, they have no bytes, and
        // the pointer is aligned); this process touches them as atomics only, and an `AtomicU64` may have any bits.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<AtomicU64>(), self.words) }
    }

    /// Copies `head`, whole words, to `at`, a multiple of 8 within the first half, and `bytes` behind it, and fills the
    /// last word up with zeros.
    #[inline]
    pub(crate) fn copy_in<const N: usize>(&self, at: usize, head: [u64; N], bytes: &[u8]) {
        let words = self.words().get(at / 8..at / 8 + N + bytes.len().div_ceil(8));
        let Some((first, words)) = words.and_then(|words| words.split_first_chunk::<N>()) else { return };
        let pieces = || {
            let mut all = head.map(u64::to_le_bytes).concat();
            all.extend_from_slice(bytes);
            all.resize(8 * (N + words.len()), 0);
            // What runs over the end stands at the start of the file's part.
            let second = all.split_off(all.len().min(self.len.saturating_sub(at)));
            [(at, all), (0, second)]
        };
        self.place.stored(at, 8 * N + bytes.len(), pieces, || {
            for (word, value) in first.iter().zip(head) {
                step();
                word.store(value.to_le(), Ordering::Relaxed);
            }
            let (whole, rest) = bytes.as_chunks::<8>();
            for (word, bytes) in words.iter().zip(whole) {
                step();
                word.store(u64::from_le_bytes(*bytes).to_le(), Ordering::Relaxed);
            }
            if let (false, Some(word)) = (rest.is_empty(), words.last()) {
                step();
                let mut last = [0; 8];
                last[..rest.len()].copy_from_slice(rest);
                word.store(u64::from_le_bytes(last).to_le(), Ordering::Relaxed);
            }
        });
    }

    /// Where `len` bytes at `at` stand; `None` if they are not all there.
    pub(crate) fn pointer(&self, at: usize, len: usize) -> Option<NonNull<u8>> {
        let there = self.len > 0 && at.checked_add(len).is_some_and(|end| end <= 2 * self.len);
        // SAFETY: `at` lies within the mapping, as was just asked.
        there.then(|| unsafe { self.start.byte_add(at) }.cast())
    }

    /// Copies out what stands at `at`, a multiple of 8 within the first half, until `bytes` is full. `false` if there
    /// is not so much.
    #[inline]
    pub(crate) fn copy_out(&self, at: usize, bytes: &mut [u8]) -> bool {
        let words = self.words().get(at / 8..at / 8 + bytes.len().div_ceil(8));
        let Some(words) = words else { return false };
        for (word, bytes) in words.iter().zip(bytes.chunks_mut(8)) {
            step();
            let value = u64::from_le(word.load(Ordering::Relaxed)).to_le_bytes();
            bytes.copy_from_slice(&value[..bytes.len()]);
        }
        true
    }

    /// Writes `len` bytes that stand at `from` to position `at` of a file.
    pub(crate) fn write_to(&self, file: &File, from: usize, len: usize, at: u64) -> Result<()> {
        let fd = file.as_std().as_raw_fd();
        let write = |done, len, place| self.pwrite(fd, from + done, len, place);
        file.write_loop(len, at, write, |done, len| self.bytes(from + done, len))
    }

    /// What stands at `at`, which need be no multiple of 8, in the mapping.
    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let words = self.words().get(at / 8..(at + len).div_ceil(8)).unwrap_or_default();
        let bytes = words.iter().flat_map(|word| u64::from_le(word.load(Ordering::Relaxed)).to_le_bytes());
        bytes.skip(at % 8).take(len).collect()
    }

    /// One pwrite of `len` bytes that stand at `at` in the mapping.
    fn pwrite(&self, fd: RawFd, at: usize, len: usize, place: u64) -> io::Result<usize> {
        if at.checked_add(len).is_none_or(|end| end > 2 * self.len) {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        let place = libc::off_t::try_from(place).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        // In the model it goes out in pieces, so that who reads may come between.
        let len = if cfg!(feature = "model") { len.min(512) } else { len };
        // SAFETY: `at` lies within the mapping, as was just checked.
        let from = unsafe { self.start.as_ptr().byte_add(at) };
        // SAFETY: the kernel reads `len` mapped bytes from `from`; no Rust reference to them is made.
        let wrote = unsafe { libc::pwrite(fd, from, len, place) };
        usize::try_from(wrote).map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for DoubleMap {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: this object owns the whole range, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr(), 2 * self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_over_the_end_goes_on_at_the_start() {
        let dir = crate::testing::TempDir::new();
        let file = dir.open().open_or_create_file("ring").unwrap();
        file.write_zeros(0, 128 << 10).unwrap();
        let ring = DoubleMap::new(&file, 64 << 10, 64 << 10).unwrap();
        let text = b"runs over the end";
        ring.copy_in((64 << 10) - 8, [], text);
        let mut back = [1; 9];
        ring.copy_out(0, &mut back);
        assert_eq!(&back, &text[8..]);
        ring.write_to(&file, (64 << 10) - 8, 17, 0).unwrap();
        let mut stored = [0; 17];
        assert_eq!(file.read_at(&mut stored, 0).unwrap(), 17);
        assert_eq!(&stored, text);
    }
}
