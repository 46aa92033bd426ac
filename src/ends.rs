//! The calls that take records away at either end of a log: trim, truncation, reset. Each is made in the leader's
//! office, so that nobody else takes records away meanwhile; what is done there stands in `upkeep`.

use crate::commit::Mark;
use crate::config::flags;
use crate::error::Result;
use crate::log::{Inner, Log};
use crate::position;
use crate::retain::Retention;
use crate::sys;
use crate::upkeep::{Beginning, Cut};
use crate::view::View;
use crate::work::Work;

impl Log {
    /// Makes the log begin at `before`, exactly and durably; whole segments before it are deleted. Below the first
    /// offset it does nothing.
    pub fn trim(&self, before: u64) -> Result<()> {
        let inner = self.writing()?;
        let is_needed = || {
            let next = inner.published_now();
            if before > next { Err(inner.beyond(before, next)) } else { Ok(before > inner.first_offset()) }
        };
        if !is_needed()? {
            return Ok(());
        }
        inner.keep_cuts()?;
        inner.commit.in_office(&inner.control, || {
            if !is_needed()? {
                return Ok(());
            }
            let before = inner.held_back(before)?;
            if before <= inner.first_offset() {
                return Ok(());
            }
            inner.begin_at(before)
        })
    }

    /// Deletes now what `retain_bytes` and `retain_ms` leave no room for, as the log does by itself when it rolls, and
    /// says what keeps it from that, if anything does.
    pub fn retain(&self) -> Result<()> {
        self.writing()?.retain(0)
    }

    /// Drops the records from `from` on, durably. What is before it is durable then, too.
    pub fn truncate(&self, from: u64) -> Result<()> {
        let inner = self.writing()?;
        let is_needed = || inner.check_cursor_offset(from).map(|()| from < inner.published_now());
        let was_cut = inner.cut_unreserved(|| {
            if !is_needed()? {
                return Ok(Some(false));
            }
            inner.lead(&inner.mark())?;
            Ok(inner.cut(&Cut::at(&inner.parts(), from)?)?.then_some(true))
        })?;
        if was_cut {
            // It goes on in a new segment, which takes room as one that was rolled to does. A reset leaves one in all.
            inner.ring_bells(Work::ROLLED);
        }
        Ok(())
    }

    /// Drops all records and goes on at `next_offset`, durably.
    pub fn reset(&self, next_offset: u64) -> Result<()> {
        let inner = self.writing()?;
        let cut = Cut::all(next_offset)?;
        inner.keep_cuts()?;
        inner.cut_unreserved(|| {
            inner.lead(&inner.mark())?;
            Ok(inner.cut(&cut)?.then_some(()))
        })
    }
}

impl Inner {
    /// Makes the log begin at `before`, by whoever is in office.
    fn begin_at(&self, before: u64) -> Result<()> {
        let mark = self.mark();
        self.lead(&mark)?;
        let beginning = Beginning::make_durable(&self.parts(), &mark, before)?;
        beginning.take_place(&self.parts(), &self.writer);
        Ok(())
    }

    /// Brings positions back to where the log was cut since they were saved, before the segments that tell of that cut
    /// go. Not in office, since whoever saves one of them may be waited for: should a cut come in between, then what it
    /// brings back lies no further than what goes with it.
    fn keep_cuts(&self) -> Result<()> {
        let row = self.rows().newest();
        // In the first epoch nothing was ever cut.
        if row.segments.last().is_none_or(|last| last.id.epoch == 0) {
            return Ok(());
        }
        position::bring_back(self.dir(), self.log_id(), &row.segments, self.published_now())
    }

    /// What the log keeps.
    pub(crate) fn retention(&self) -> Retention {
        let parts = self.parts();
        Retention { bytes: parts.limits.retain_bytes, ms: parts.limits.retain_ms }
    }

    /// Deletes the segments that the log's limits leave no room for, as a trim does, so that `room` bytes of them are
    /// left free. A failure behind the moment poisons; what fails before is tried again with the next roll.
    pub(crate) fn retain(&self, room: u64) -> Result<()> {
        let due = || -> Result<Option<u64>> {
            let due = self.retention().due(self.dir(), self.rows(), room, sys::clock_coarse_ns())?;
            let Some(due) = due else { return Ok(None) };
            let before = Retention::whole(self.rows(), self.held_back(due)?);
            Ok(Some(before).filter(|before| *before > self.first_offset()))
        };
        if !self.retention().is_asked() || due()?.is_none() {
            return Ok(());
        }
        self.keep_cuts()?;
        self.commit.in_office(&self.control, || {
            // Others may have taken records away meanwhile.
            due()?.map_or(Ok(()), |before| self.begin_at(before))
        })
    }

    /// The thread's part: it leaves room for one segment, so that who rolls next finds nothing to do.
    pub(crate) fn retain_ahead(&self) -> Result<()> {
        let limits = self.parts().limits;
        self.retain(limits.segment_bytes.saturating_add(4 * u64::from(limits.index_records)))
    }

    /// What retention asks of the append that rolled, of a truncation, or of an open without a thread: all of it where
    /// there is no thread, or where that does not keep up, since it waits for the disk.
    pub(crate) fn retain_in_passing(&self) {
        // That was made. What failed is tried again with the next append that rolls, or has poisoned the handle;
        // `Log::retain` tells it.
        let _ = self.retain(0);
    }

    /// The same offset, or what a consumer has not passed before it, where those hold back what is removed.
    fn held_back(&self, before: u64) -> Result<u64> {
        if !self.parts().limits.has(flags::KEEP_UNCONSUMED) {
            return Ok(before);
        }
        Ok(position::lowest(self)?.map_or(before, |lowest| lowest.min(before)))
    }

    /// Does `work` in office, when nothing is reserved, until that says what came of it. What is reserved is not waited
    /// for in office: whoever reserved may need a sync.
    fn cut_unreserved<R>(&self, work: impl Fn() -> Result<Option<R>>) -> Result<R> {
        loop {
            drop(self.write()?);
            if let Some(done) = self.commit.in_office(&self.control, &work)? {
                return Ok(done);
            }
        }
    }

    /// A round of syncs, by whoever is in office.
    fn lead(&self, mark: &Mark) -> Result<()> {
        self.commit.lead(self.dir(), self.tail(), &self.control, Some(mark))
    }

    /// Makes a cut, by whoever is in office. Most is synced already, so that appends wait for little. `false` if a
    /// record is reserved.
    fn cut(&self, cut: &Cut) -> Result<bool> {
        let mut writer = self.write_reserved()?;
        if writer.reservation.is_some() {
            return Ok(false);
        }
        self.lead(&writer.mark())?;
        let cut = writer.cut(&self.parts(), cut);
        drop(writer);
        // What was waited for may be gone.
        self.control.alarm().ring_all();
        self.event.ring();
        cut.map(|()| true)
    }
}
