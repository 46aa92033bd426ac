//! How far the active store has been written with zeros ahead of its frames. A sync of frames in space that was only
//! allocated commits the file system's journal, one in space that was written before writes the frames and no more. It
//! knows positions, no frames, and nothing that it does has to succeed.

use crate::id::Id;
use crate::seeded::{Bug, seeded};
use crate::sys::File;

/// Everything in tests of all that can happen in a segment that is as small as it can be.
const SMALL: bool = cfg!(any(feature = "model", feature = "small"));
/// Zeros begin at a place where a block of a file system may.
const BLOCK: u64 = if SMALL { 512 } else { 4096 };
/// So much is written the first time, twice as much each time after that, up to the most.
const LEAST: u64 = if SMALL { 512 } else { 64 << 10 };
const MOST: u64 = if SMALL { 2048 } else { 1 << 20 };
/// Who writes more than this at once would wait longer for zeros than for the journal.
const LONG: u64 = if SMALL { 1024 } else { 128 << 10 };

/// What was written ahead, in which store.
pub(crate) struct Zeroed {
    /// Whether this log's syncs are so many that it is worth it.
    wanted: bool,
    of: Option<Id>,
    /// No sync up to here needs the journal.
    up_to: u64,
    step: u64,
}

impl Zeroed {
    /// Nothing yet; and nothing ever, where it is not wanted.
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, of: None, up_to: 0, step: LEAST }
    }

    /// Writes zeros behind `end`, if the frames that are to be written from `from` up to there, and synced, leave what
    /// was written ahead. Nothing stands behind `end`, and nothing is written there meanwhile; up to `allocated` the
    /// store has its space. What fails was not needed.
    pub(crate) fn write_ahead(&mut self, store: &File, of: Id, from: u64, end: u64, allocated: u64) {
        if !self.wanted {
            return;
        }
        if self.of != Some(of) {
            // The first sync of a store needs the journal in any case, and may be the only one.
            (self.of, self.up_to) = (Some(of), from);
        } else if end > self.up_to && end - from <= LONG {
            let at = if seeded(Bug::ZerosOverFrames) { from / BLOCK * BLOCK } else { end.next_multiple_of(BLOCK) };
            self.up_to = allocated.min(at + self.step);
            self.step = MOST.min(2 * self.step);
            let _ = store.write_zeros(at, self.up_to.saturating_sub(at));
        }
    }
}
