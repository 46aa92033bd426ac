//! A log as those see it who read it, be it the handle that writes it or one that follows it: where it begins and ends
//! now, the row, the ring, and reading a record by its offset from these. It knows nothing of how they came to be.

use crate::config::{Limits, flags};
use crate::error::{Error, Result, Status};
use crate::record::{Check, Frame};
use crate::row::{Reader, Rows};
use crate::stat::{self, SegmentStat};
use crate::sys::Dir;
use crate::tail::Tail;

/// A record that is not where it should be is looked for in so many rows, each newer than the one before.
pub(crate) const LOOKS: u32 = 1000;

/// What can be read.
pub(crate) trait View {
    fn dir(&self) -> &Dir;
    fn rows(&self) -> &Rows;
    fn tail(&self) -> &Tail;
    /// Whether reads verify checksums.
    fn check(&self) -> Check;
    /// The next offset: a record exists when this has passed it. Asked before anything else is.
    fn published(&self) -> Result<u64>;
    /// The same, of which more care is taken where there is no record at `offset` yet.
    fn published_past(&self, offset: u64) -> Result<u64>;
    /// The first offset.
    fn first_offset(&self) -> u64;

    /// Whether a record stands at this offset; the error says why not.
    #[inline]
    fn check_offset(&self, offset: u64) -> Result<()> {
        let next = self.published_past(offset)?;
        if offset >= next {
            return Err(self.beyond(offset, next));
        }
        let first = self.first_offset();
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

    #[cold]
    fn beyond(&self, offset: u64, next: u64) -> Error {
        let path = self.dir().path().display();
        Error::new(Status::Beyond, format!("there is no record {offset} in '{path}' yet; the next one will be {next}"))
            .at(offset)
    }

    /// Hands the record of this offset to `take`: payload and timestamp.
    #[inline(always)]
    fn read_record<R>(&self, offset: u64, take: impl FnOnce(&[u8], u64) -> R) -> Result<R> {
        self.rows().lend(|reader| self.read(reader, offset, |frame| take(frame.payload, frame.head.timestamp_ns)))
    }

    #[inline(always)]
    fn read<R>(&self, reader: &mut Reader, offset: u64, take: impl FnOnce(&Frame<'_>) -> R) -> Result<R> {
        self.check_offset(offset)?;
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
                break;
            }
            seen = Some(generation);
            failed = match reader.read(self.rows(), self.tail(), offset, self.check(), &mut take).map(Option::flatten) {
                Ok(Some(result)) => return Ok(result),
                failed => failed,
            };
        }
        failed.and_then(|_| Err(trimmed(offset, self.first_offset())))
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

fn trimmed(offset: u64, first: u64) -> Error {
    Error::new(Status::Trimmed, format!("record {offset} was removed; the first one is {first}")).at(offset)
}
