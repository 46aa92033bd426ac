//! The tail: the last megabyte of the log, a ring in the file LIVE. An append copies its frame in; runs of frames go
//! out to the store by one pwrite; readers copy out and then ask whether they were too late. It knows frames' places,
//! not their owners.

use crate::checksum::crc32c;
use crate::error::{Error, Result, Status};
use crate::record::{self, Frame};
use crate::sync::{Arc, Ordering, fence};
use crate::sys::{DoubleMap, File, Window};
use std::ptr::NonNull;

/// Bytes of the ring.
pub(crate) const RING_BYTES: u64 = if cfg!(feature = "model") {
    4 << 10
} else if cfg!(feature = "small") {
    16 << 10
} else {
    1 << 20
};
/// Where the ring begins in LIVE: behind the control page, at a page on every processor.
pub(crate) const RING_AT: u64 = if cfg!(any(feature = "model", feature = "small")) { 4 << 10 } else { 64 << 10 };
/// Frames and batches that are longer go to the store directly.
pub(crate) const THROUGH_RING_BYTES: u64 = RING_BYTES / 4;

/// The ring. The frame of position P of the active segment lies at P modulo its size.
pub(crate) struct Tail {
    ring: DoubleMap,
    /// Where nothing is mapped: through which another process's ring is read.
    window: Option<Arc<Window>>,
}

fn place(position: u64) -> usize {
    usize::try_from(position % RING_BYTES).unwrap_or(0)
}

impl Tail {
    /// Maps the ring of an open LIVE file that is written full.
    pub(crate) fn map(live: &File) -> Result<Self> {
        Ok(Self { ring: DoubleMap::new(live, RING_AT, RING_BYTES as usize)?, window: None })
    }

    /// No ring: all frames go to the store directly.
    pub(crate) fn none() -> Self {
        Self { ring: DoubleMap::none(), window: None }
    }

    /// The ring of the LIVE that this window shows.
    pub(crate) fn in_window(window: &Arc<Window>) -> Self {
        Self { ring: DoubleMap::none(), window: Some(Arc::clone(window)) }
    }

    /// A ring of another process's, which shows zeros until it is shown a file.
    pub(crate) fn empty() -> Result<Self> {
        Ok(Self { ring: DoubleMap::zeros(RING_BYTES as usize)?, window: None })
    }

    /// The ring of this file, which is long enough, from now on; without one, zeros. A window is shown it by who has
    /// that.
    pub(crate) fn show(&self, live: Option<&File>) -> Result<()> {
        if self.window.is_some() { Ok(()) } else { self.ring.replace(live.map(|live| (live, RING_AT))) }
    }

    /// Sees to it that frames can be put in without a page fault; the kernel takes that away when it writes LIVE back.
    pub(crate) fn populate(&self) {
        self.ring.populate();
    }

    /// Copies a frame in. What stood there has been stored before, and the caller said so in `stored`.
    #[inline]
    pub(crate) fn put(&self, position: u64, head: [u8; 16], payload: &[u8]) {
        // Pairs with the fence in `copy_out`: a reader that sees a word of this frame also sees that what stood there
        // before had been stored, and looks in the store.
        fence(Ordering::Release);
        let (words, _) = head.as_chunks();
        self.ring.copy_in(
            place(position),
            [0, 1].map(|n| words.get(n).copied().map_or(0, u64::from_le_bytes)),
            payload,
        );
    }

    /// Where `len` bytes that begin at `position` stand, for the caller to build a record there.
    pub(crate) fn reserve(&self, position: u64, len: usize) -> Option<NonNull<u8>> {
        // As in `put`.
        fence(Ordering::Release);
        self.ring.pointer(place(position), len)
    }

    /// The CRC-32C of `len` bytes that were built at `position`; what they leave of their last word becomes zeros.
    pub(crate) fn finish(&self, position: u64, len: usize) -> u32 {
        const PIECE: usize = 512;
        let (at, mut crc) = (place(position), 0);
        let mut piece = [0; PIECE];
        for from in (0..len).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(len - from)];
            self.ring.copy_out(at + from, piece);
            crc = crc32c(crc, piece);
            // Test builds write down what the caller has stored.
            if cfg!(any(test, feature = "faults")) || from + piece.len() == len {
                let last = if cfg!(any(test, feature = "faults")) { 0 } else { piece.len() / 8 * 8 };
                self.ring.copy_in(at + from + last, [], &piece[last..]);
            }
        }
        crc
    }

    /// Copies `bytes.len()` bytes out from `position` on. The caller must then look at the segment's stored position:
    /// if it has passed `position`, the copy may be of a later lap and is void.
    #[inline]
    pub(crate) fn copy_out(&self, position: u64, bytes: &mut [u8]) {
        if !self.ring.copy_out(place(position), bytes) {
            self.read_out(position, bytes);
        }
        fence(Ordering::Acquire);
    }

    /// The same by calls.
    #[cold]
    fn read_out(&self, position: u64, bytes: &mut [u8]) {
        let Some(window) = &self.window else { return bytes.fill(0) };
        let at = place(position);
        let (first, rest) = bytes.split_at_mut(bytes.len().min(RING_BYTES as usize - at));
        window.read(RING_AT + at as u64, first);
        window.read(RING_AT, rest);
    }

    /// Writes the frames from `from` to `to`, at most a ring of them, to the same positions of a store.
    pub(crate) fn write_out(&self, store: &File, from: u64, to: u64) -> Result<()> {
        let len = to.saturating_sub(from).min(RING_BYTES);
        self.ring.write_to(store, place(from), len as usize, from)
    }
}

/// What the ring held when the log was opened, copied from the file before anything writes there.
pub(crate) struct OldTail {
    /// The ring twice in a row, so that a frame is one slice.
    bytes: Vec<u8>,
}

impl OldTail {
    /// Reads it; a LIVE that is short or new holds nothing.
    pub(crate) fn read(live: &File) -> Result<Self> {
        let len = RING_BYTES as usize;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(2 * len)
            .map_err(|_| Error::new(Status::Memory, "out of memory: 2 MiB are needed to open a log"))?;
        bytes.resize(len, 0);
        live.read_at(&mut bytes, RING_AT)?;
        bytes.extend_from_within(..len);
        Ok(Self { bytes })
    }

    /// The frame at this position, if it is exactly the one of `offset` in the segment of `seed`.
    pub(crate) fn frame(&self, position: u64, seed: u32, offset: u64) -> Option<Frame<'_>> {
        let at = place(position);
        record::decode_frame(&self.bytes[at..at + RING_BYTES as usize], seed, offset)
    }

    /// The bytes from `from` to `to`, at most a ring of them.
    pub(crate) fn run(&self, from: u64, to: u64) -> &[u8] {
        let at = place(from);
        &self.bytes[at..at + to.saturating_sub(from).min(RING_BYTES) as usize]
    }
}
