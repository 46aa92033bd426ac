//! A log as those see it who read it, be it the handle that writes it or one that follows it: where it begins and ends
//! now, the row, the ring, and reading a record by its offset from these. It knows nothing of how they came to be.

use crate::config::{Limits, flags};
use crate::error::{Error, Result, Status};
use crate::record::{Check, Frame, Slot};
use crate::row::{Reader, Rows};
use crate::segment::Segment;
use crate::stat::{self, SegmentStat};
use crate::sync::Arc;
use crate::sys::Dir;
use crate::tail::Tail;
use crate::waiting::{self, Awaited, Bed};
use std::time::Duration;

/// How a wait for a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The record is there.
    There,
    /// The time is up.
    TimeUp,
    /// The log was closed: no record will come by this way any more.
    Closed,
}

/// A record that is not where it should be is looked for in so many rows, each newer than the one before.
pub(crate) const LOOKS: u32 = 1000;

/// Up to where a cursor saw records, so that it need not ask for each of them: whoever appends stores the next offset
/// with each record, and loses the line that it stands on to each who looks.
#[derive(Default)]
pub(crate) struct Horizon {
    /// The layout for which it holds; 0 is none.
    pub layout: u64,
    pub next: u64,
}

/// How a log stood at one moment.
pub(crate) struct Moment {
    /// The row; the last one is the active one.
    pub segments: Vec<Arc<Segment>>,
    /// Where its last record ends: what a durable slot would say.
    pub end: Slot,
    pub first_offset: u64,
    /// Payload bytes of all records before the first.
    pub first_payload_bytes: u64,
}

/// What can be read.
pub(crate) trait View: Bed {
    fn dir(&self) -> &Dir;
    fn rows(&self) -> &Rows;
    fn tail(&self) -> &Tail;
    /// Of the log.
    fn log_id(&self) -> [u8; 16];
    /// Whether reads verify checksums.
    fn check(&self) -> Check;
    /// The next offset: a record exists when this has passed it. Asked before anything else is.
    fn published(&self) -> Result<u64>;
    /// The same, of which more care is taken where there is no record at `offset` yet.
    fn published_past(&self, offset: u64) -> Result<u64>;
    /// The first offset.
    fn first_offset(&self) -> u64;
    /// Every record below it survives power loss.
    fn durable(&self) -> u64;
    /// How the log stands, for one who copies it.
    fn moment(&self) -> Result<Moment>;
    /// The row is to be made anew if this segment of it has gone, though nothing told of that.
    fn look_if_gone(&self, _segment: &Segment) -> Result<()> {
        Ok(())
    }
    /// Makes full segments durable, where that can be done here; a failure is seen by what is durable then.
    fn sync_full(&self) {}
    /// Whether records may still come; the error says why none will.
    fn may_grow(&self) -> Result<bool>;

    /// First and next offset, the latter with more care where there is no record at `offset` yet.
    #[inline(always)]
    fn bounds(&self, offset: u64) -> Result<(u64, u64)> {
        let next = self.published_past(offset)?;
        Ok((self.first_offset(), next))
    }

    /// The same for one who asks for record after record: a next offset that was seen counts until it is reached, or
    /// records may have been taken away.
    #[inline(always)]
    fn bounds_within(&self, offset: u64, _seen: &mut Horizon) -> Result<(u64, u64)> {
        self.bounds(offset)
    }

    /// Whether a record stands at this offset; the error says why not.
    #[inline]
    fn check_offset(&self, offset: u64) -> Result<()> {
        let (first, next) = self.bounds(offset)?;
        if offset >= next {
            return Err(self.beyond(offset, next));
        }
        if offset < first { Err(trimmed(offset, first)) } else { Ok(()) }
    }

    /// Whether a cursor may stand at this offset: before a record, or where the next one will be.
    fn check_cursor_offset(&self, offset: u64) -> Result<()> {
        let next = self.published_past(offset)?;
        if offset > next {
            return Err(self.beyond(offset, next));
        }
        let first = self.first_offset();
        if offset < first { Err(trimmed(offset, first)) } else { Ok(()) }
    }

    /// Waits until there is a record at this offset, as long as records may come to who waits.
    fn wait_for(
        &self,
        offset: u64,
        timeout: Option<Duration>,
        nap: Option<Duration>,
        may_come: impl Fn(&Self) -> Result<bool>,
    ) -> Result<Waited> {
        let look = || {
            if offset < self.published_past(offset)? {
                return self.check_offset(offset).map(|()| Some(Waited::There));
            }
            let first = self.first_offset();
            if offset < first {
                return Err(trimmed(offset, first));
            }
            Ok((!may_come(self)?).then_some(Waited::Closed))
        };
        waiting::wait(self, Awaited::Records, offset, timeout, nap, look).map(|waited| waited.unwrap_or(Waited::TimeUp))
    }

    #[cold]
    fn beyond(&self, offset: u64, next: u64) -> Error {
        let path = self.dir().shown();
        Error::new(Status::Beyond, format!("there is no record {offset} in '{path}' yet; the next one will be {next}"))
            .at(offset)
    }

    /// What is said of a record that there is, and that no segment holds: its files were taken away.
    #[cold]
    fn missing(&self, offset: u64) -> Error {
        let path = self.dir().shown();
        let text = format!("the store that holds record {offset} is missing in '{path}'; put the log's files back");
        Error::new(Status::Corrupt, text).at(offset)
    }

    /// Hands the record of this offset to `take`: payload and timestamp.
    #[inline(always)]
    fn read_record<R>(&self, offset: u64, take: impl FnOnce(&[u8], u64) -> R) -> Result<R> {
        self.rows().lend(
            #[inline(always)]
            |reader| self.read(reader, offset, |frame| take(frame.payload, frame.head.timestamp_ns)),
        )
    }

    #[inline(always)]
    fn read<R>(&self, reader: &mut Reader, offset: u64, take: impl FnOnce(&Frame<'_>) -> R) -> Result<R> {
        self.check_offset(offset)?;
        match reader.read_at_once(self.rows(), offset, self.check()) {
            Some(frame) => Ok(take(&frame)),
            None => self.read_with_care(reader, offset, take),
        }
    }

    /// The same where the record is in the ring still, or not where it should be, or not mapped.
    #[inline(never)]
    fn read_with_care<R>(&self, reader: &mut Reader, offset: u64, take: impl FnOnce(&Frame<'_>) -> R) -> Result<R> {
        let mut take = Some(take);
        let mut once = |frame: &Frame<'_>| take.take().map(|take| take(frame));
        match reader.read(self.rows(), self.tail(), offset, self.check(), &mut once).map(Option::flatten) {
            Ok(Some(result)) => Ok(result),
            failed => self.read_again(reader, offset, once, failed),
        }
    }

    /// What is not found, or in a file that is gone, may have been trimmed, truncated or reset away meanwhile; then the
    /// newest row has it, or no row.
    #[cold]
    fn read_again<R>(
        &self,
        reader: &mut Reader,
        offset: u64,
        mut take: impl FnMut(&Frame<'_>) -> Option<R>,
        mut failed: Result<Option<R>>,
    ) -> Result<R> {
        // Of the read that failed it is not known.
        let mut seen = None;
        for _ in 0..LOOKS {
            // First, since it may make the row a newer one.
            self.check_offset(offset)?;
            let generation = self.rows().generation();
            if seen == Some(generation) {
                if self.may_be_newer(generation, offset)? {
                    continue;
                }
                return failed.and_then(|_| Err(self.missing(offset)));
            }
            seen = Some(generation);
            failed = match reader.read(self.rows(), self.tail(), offset, self.check(), &mut take).map(Option::flatten) {
                Ok(Some(result)) => return Ok(result),
                failed => failed,
            };
        }
        failed.and_then(|_| Err(trimmed(offset, self.first_offset())))
    }

    /// Whether there is a newer row than this one, in which the record of `offset` was not found.
    #[cold]
    fn may_be_newer(&self, generation: u64, offset: u64) -> Result<bool> {
        if let Some(segment) = self.rows().newest().segment_of(offset) {
            self.look_if_gone(segment)?;
        }
        Ok(self.rows().generation() != generation)
    }

    /// Tells of the segment of this number in the row; `None` behind the last.
    fn segment_at(&self, index: usize) -> Result<Option<SegmentStat>> {
        loop {
            let published = self.published()?;
            let generation = self.rows().generation();
            let row = self.rows().newest();
            let Some(segment) = row.segments.get(index) else { return Ok(None) };
            if !segment.is_open() {
                self.rows().note_open();
            }
            let time_of = |offset| {
                self.rows().lend(|reader| {
                    reader.read(self.rows(), self.tail(), offset, self.check(), |frame| frame.head.timestamp_ns)
                })
            };
            match stat::of_segment(self.dir(), segment, published, time_of) {
                Ok(Some(stat)) => return Ok(Some(stat)),
                // Its files may have been deleted meanwhile; then the row is another one.
                failed => {
                    self.published()?;
                    self.look_if_gone(segment)?;
                    if self.rows().generation() == generation {
                        return failed.and_then(|_| Err(segment.corrupt(0, segment.id.base_offset)));
                    }
                }
            }
        }
    }
}

/// Whether a handle of this configuration verifies checksums.
#[inline]
pub(crate) fn check_of(limits: &Limits) -> Check {
    if limits.has(flags::NO_VERIFY) { Check::Trust } else { Check::Verify }
}

/// What a call says that waited while the log was closed.
pub(crate) fn closed_meanwhile(dir: &Dir) -> Error {
    let path = dir.shown();
    Error::new(Status::Argument, format!("the log '{path}' was closed while this call waited; end the waits first"))
}

fn trimmed(offset: u64, first: u64) -> Error {
    Error::new(Status::Trimmed, format!("record {offset} was removed; the first one is {first}: go on there"))
        .at(offset)
}
