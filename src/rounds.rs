//! The keeper's rounds: what it does when it is called, and when it comes by without being called. It follows how fast
//! the log grows, so that an append finds room in the ring, on the disk and in memory, and has nobody to wake.

use crate::fresh::{Unused, fresh_header};
use crate::id::Id;
use crate::record::FRAMES_START;
use crate::segment::Segment;
use crate::tail::RING_BYTES;
use crate::writer::{self, ALLOCATE_STEP, Parts};
use std::time::{Duration, Instant};

/// It does not come by itself sooner than this: a timer is late by a good part of that, and whoever appends so fast,
/// above some 600 MB a second, fills the ring meanwhile. It is called then.
const SOON: Duration = Duration::from_micros(200);

/// So much of the ring should wait when the keeper comes by.
const AIM_BYTES: u64 = RING_BYTES / 8;
/// So much is worth being written out.
const WORTH_BYTES: u64 = RING_BYTES / 16;
/// Having been called, it comes by again after this time, to see how fast the log grows.
const FIRST: Duration = Duration::from_millis(1);
/// At least so often it comes by while the log grows; when nothing was appended for so long, it waits to be called.
const LONGEST: Duration = Duration::from_millis(100);
/// So many records ahead the index is there to be stored into: 128 KiB of it, and of a small one a part that takes no
/// space to speak of.
const INDEX_AHEAD: u64 = 32 << 10;
const INDEX_PART: u64 = 32;
/// When the kernel has written a page of a mapping back, the next store into it is a page fault, which may wait for the
/// file system: so often the keeper takes those that the appends would.
const POPULATE_TIME: Duration = Duration::from_millis(100);

/// How long a full disk, or whatever keeps a segment from being made, is left alone.
const RETRY_TIME: Duration = Duration::from_millis(100);

/// What the keeper remembers from one round to the next.
#[derive(Default)]
pub(crate) struct Rounds {
    last: Option<Last>,
    /// When pages were last seen to.
    populated: Option<Instant>,
    /// Up to which record the index of this segment has been.
    index: Option<(Id, u64)>,
    /// A full disk was met with so much allocated: not tried again until who appends has got further.
    full_at: Option<u64>,
    /// When the next segment could not be made: tried again a while later.
    failed: Option<Instant>,
}

struct Last {
    ended: Instant,
    /// Where the log ended then.
    active: Id,
    end: u64,
    /// How long the keeper was to wait, or thought before it was called.
    wait: Duration,
}

impl Rounds {
    /// A round; returns when to come by without being called.
    pub(crate) fn go(&mut self, parts: &Parts<'_>) -> Option<Duration> {
        let row = parts.rows.newest();
        let active = row.segments.last().filter(|_| !parts.commit.is_poisoned())?;
        let (end, came) = (active.end(), Instant::now());
        let waiting = end.saturating_sub(active.stored());
        // A failure poisons; a full disk is met again, and told, by who appends, who calls again then.
        let fails = waiting >= WORTH_BYTES && writer::write_out(parts, active, active.end()).is_err();
        if !parts.commit.is_poisoned() {
            self.prepare(parts, active);
            if self.failed.is_none_or(|at| at.elapsed() >= RETRY_TIME) {
                self.failed = (!make_ahead(parts, active)).then(Instant::now);
            }
        }
        // In the model nothing takes time: it is called.
        let follows = !fails && parts.control.has_ring() && !cfg!(feature = "model");
        let (end, ended, before) = (active.end(), Instant::now(), end);
        let last = self.last.replace(Last { ended, active: active.id, end, wait: FIRST / 2 });
        let left = end.saturating_sub(active.stored());
        let wait = if follows { wait(last.as_ref(), active.id, before, came, left) } else { None };
        if let (Some(last), Some(wait)) = (&mut self.last, wait) {
            last.wait = wait.max(SOON);
        }
        wait
    }

    /// What the next appends need.
    fn prepare(&mut self, parts: &Parts<'_>, active: &Segment) {
        let Ok(store) = active.store() else { return };
        if !parts.control.has_ring() || cfg!(feature = "model") {
            return;
        }
        if self.full_at != Some(store.allocated()) {
            self.full_at = (!allocate_ahead(active)).then(|| store.allocated());
        }
        if self.populated.is_none_or(|at| at.elapsed() >= POPULATE_TIME) {
            self.populated = Some(Instant::now());
            parts.tail.populate();
            parts.control.populate();
            self.index = None;
        }
        let next = parts.next_offset();
        let upto = self.index.filter(|(id, _)| *id == active.id).map_or(next, |(_, upto)| upto.max(next));
        let ahead = active.index_capacity().map_or(0, |records| INDEX_AHEAD.min(u64::from(records) / INDEX_PART));
        if upto < next.saturating_add(ahead) {
            active.populate_index(upto, 2 * ahead);
            self.index = Some((active.id, upto.saturating_add(2 * ahead)));
        }
        // Who rolls reads the first frame there, and readers need it soon. Should it fail, they say so.
        let _ = store.map();
    }
}

/// How long to wait, when the log has grown to `end` by the time the keeper came, and so much is left in the ring.
fn wait(last: Option<&Last>, active: Id, end: u64, came: Instant, left: u64) -> Option<Duration> {
    let Some(last) = last else { return Some(FIRST) };
    if left >= AIM_BYTES {
        return Some(Duration::ZERO);
    }
    let longer = 2 * last.wait;
    let new = if last.active == active { end.saturating_sub(last.end) } else { end };
    if new == 0 {
        return Some(longer).filter(|longer| *longer <= LONGEST);
    }
    let ns = came.saturating_duration_since(last.ended).as_nanos() * u128::from(AIM_BYTES - left);
    let wait = Duration::from_nanos(u64::try_from(ns / u128::from(new)).unwrap_or(u64::MAX));
    Some(wait.min(longer).min(LONGEST)).filter(|wait| *wait >= SOON)
}

/// Makes the segment that comes behind the active one, before it is needed. `false` if that failed.
fn make_ahead(parts: &Parts<'_>, active: &Segment) -> bool {
    let make = || {
        let header = fresh_header(active.store()?.header())?;
        let store_bytes = FRAMES_START + parts.limits.segment_bytes.next_multiple_of(8);
        let allocated = store_bytes.min(ALLOCATE_STEP);
        Unused::make(parts.dir, &header, store_bytes, allocated, parts.limits.index_records)
    };
    !active.is_half_full(parts.next_offset()) || parts.ahead.make(make)
}

/// Allocates the active segment's space before it is needed, where the keeper comes by before that. A full disk is met
/// again, and told, by who appends. `false` if it was met.
fn allocate_ahead(active: &Segment) -> bool {
    let Ok(store) = active.store() else { return true };
    let allocated = store.allocated();
    let is_due = allocated < store.bytes() && active.end() + ALLOCATE_STEP / 2 > allocated;
    !is_due || store.allocate((allocated + ALLOCATE_STEP).min(store.bytes())).is_ok()
}
