//! Where a record of a segment will stand, guessed before its index has answered, so that the two misses of the cache
//! overlap. It knows no files.

use crate::record::FRAMES_START;
use crate::sync::{AtomicU64, Ordering};

/// Where a record will be, before the index has said so: records are often of one size. A wrong guess costs nothing.
#[derive(Default)]
pub(crate) struct Guess {
    /// Bytes of a record's frame on average, times 2^16, as learned from record base + `of`.
    stride: AtomicU64,
    of: AtomicU64,
}

impl Guess {
    /// Where record base + `n` will be.
    #[inline(always)]
    pub(crate) fn position(&self, n: u64) -> u64 {
        FRAMES_START + (n.wrapping_mul(self.stride.load(Ordering::Relaxed)) >> 16)
    }

    /// Learns from a record's place, but seldom, so that readers do not write what others read.
    #[inline(always)]
    pub(crate) fn learn(&self, n: u64, position: u64) {
        if n > 2 * self.of.load(Ordering::Relaxed) && position > FRAMES_START {
            self.of.store(n, Ordering::Relaxed);
            self.stride.store(((position - FRAMES_START) << 16) / n, Ordering::Relaxed);
        }
    }
}
