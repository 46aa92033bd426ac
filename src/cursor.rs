//! A cursor: a place in a log that keeps alive what it reads from. Views are zero-copy where the record is in a store;
//! what is in the ring still is copied out in runs, so that a view never changes under the caller.

use crate::error::{Error, Result, Status};
use crate::follow::Follower;
use crate::log::{Inner, Log, Side};
use crate::record::{self, FRAME_HEADER, Frame, Kind, Record};
use crate::row::copy_run;
use crate::segment::{Found, Segment};
use crate::sync::{Arc, reached};
use crate::tail::{RING_BYTES, THROUGH_RING_BYTES};
use crate::view::{LOOKS, View};

/// A batch has at most so many records, whatever room there is.
const BATCH_RECORDS: usize = 4096;
/// So much of the ring is copied out at once, if there is so much.
const RUN_BYTES: u64 = RING_BYTES / 16;

/// A place in a log. It goes on working after the log was closed, and sees what was there then; that of a log that is
/// followed goes on following it.
pub struct Cursor(Place);

enum Place {
    Writer(Walker<Inner>),
    Follower(Walker<Follower>),
}

/// A cursor in what is to be read.
struct Walker<V> {
    inner: Arc<V>,
    /// Of the record that the next step gives.
    offset: u64,
    /// The segment that it stands in, once it has looked, and the count of the row in which it found that.
    segment: Option<Arc<Segment>>,
    generation: u64,
    /// Where in that segment the record of `offset` stands; 0 if that is not known.
    position: u64,
    /// Frames copied out of the ring, from `run_position` of that segment on.
    run: Vec<u8>,
    run_position: u64,
    /// What the last batch gave.
    stood: Vec<Stood>,
}

/// A record whose bytes lie at `at` in the segment's mapping or in the run.
#[derive(Clone, Copy)]
struct Stood {
    offset: u64,
    timestamp_ns: u64,
    in_run: bool,
    at: usize,
    len: usize,
    frame_bytes: u64,
}

impl Stood {
    #[inline]
    fn view<'a>(&self, bytes: &'a [u8]) -> Record<'a> {
        let payload = bytes.get(self.at..self.at + self.len).unwrap_or_default();
        Record { offset: self.offset, timestamp_ns: self.timestamp_ns, payload }
    }
}

/// The same call on the walker, whichever it is.
macro_rules! walk {
    ($cursor:expr, $walker:ident => $call:expr) => {
        match $cursor {
            Place::Writer($walker) => $call,
            Place::Follower($walker) => $call,
        }
    };
}

impl Cursor {
    /// A cursor that stands before the record of `offset`: from the log's first to its next one.
    pub fn open(log: &Log, offset: u64) -> Result<Self> {
        Ok(Self(match log.side() {
            Side::Writer(inner) => Place::Writer(Walker::open(inner, offset)?),
            Side::Follower(follower) => Place::Follower(Walker::open(follower, offset)?),
        }))
    }

    /// Offset of the record that the next step gives.
    pub fn offset(&self) -> u64 {
        walk!(&self.0, walker => walker.offset)
    }

    /// Steps over the next record; `None` if there is none yet. A damaged record is an error with its offset, and the
    /// following step goes on behind it.
    #[expect(
        clippy::should_implement_trait,
        reason = "the record borrows from the cursor, which an Iterator's item cannot"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        walk!(&mut self.0, walker => walker.next())
    }

    /// Steps over up to `capacity` records and hands each to `take`; returns how many. All of them live until the next
    /// call. There may be more behind them. A damaged record ends the batch before it, or is the error if it comes
    /// first.
    #[inline]
    pub fn next_batch<'a>(&'a mut self, capacity: usize, take: impl FnMut(Record<'a>)) -> Result<usize> {
        walk!(&mut self.0, walker => walker.next_batch(capacity, take))
    }

    /// Steps back over the record before; `None` at the first one. After it, `next` gives the same record again. A
    /// damaged record is an error with its offset, and the following step goes on before it.
    pub fn prev(&mut self) -> Result<Option<Record<'_>>> {
        walk!(&mut self.0, walker => walker.prev())
    }

    /// Moves before the record of `offset`: from the log's first to its next one.
    pub fn seek(&mut self, offset: u64) -> Result<()> {
        walk!(&mut self.0, walker => walker.seek(offset))
    }
}

impl<V: View> Walker<V> {
    fn open(inner: &Arc<V>, offset: u64) -> Result<Self> {
        inner.check_cursor_offset(offset)?;
        Ok(Self {
            inner: Arc::clone(inner),
            offset,
            segment: None,
            generation: 0,
            position: 0,
            run: Vec::new(),
            run_position: 0,
            stood: Vec::new(),
        })
    }

    fn next(&mut self) -> Result<Option<Record<'_>>> {
        match self.find_here() {
            Ok(None) => Ok(None),
            Ok(Some(stood)) => {
                self.step_over(&stood);
                self.view(&stood).map(Some)
            }
            Err(error) => Err(self.step_over_damage(error)),
        }
    }

    fn next_batch<'a>(&'a mut self, capacity: usize, mut take: impl FnMut(Record<'a>)) -> Result<usize> {
        let mut stood = std::mem::take(&mut self.stood);
        stood.clear();
        let start = self.offset;
        while stood.len() < capacity.min(BATCH_RECORDS) {
            let found = match stood.last() {
                None => self.find_here(),
                like => self.find(like),
            };
            match found {
                Ok(Some(found)) => {
                    if stood.len() == stood.capacity() && stood.try_reserve(capacity.min(BATCH_RECORDS)).is_err() {
                        if stood.is_empty() {
                            return Err(Error::new(
                                Status::Memory,
                                "out of memory for a batch of records; ask for fewer",
                            ));
                        }
                        break;
                    }
                    self.step_over(&found);
                    stood.push(found);
                }
                Ok(None) => break,
                Err(_) if self.offset > start => break,
                Err(error) => return Err(self.step_over_damage(error)),
            }
        }
        self.stood = stood;
        let this: &'a Self = self;
        // All of them lie in the same mapping or run: `find` saw to that.
        if let Some(first) = this.stood.first() {
            let bytes = this.bytes_of(first)?;
            for found in &this.stood {
                take(found.view(bytes));
            }
        }
        Ok(this.stood.len())
    }

    fn prev(&mut self) -> Result<Option<Record<'_>>> {
        self.inner.published()?;
        let first = self.inner.first_offset();
        if self.offset < first {
            self.inner.check_offset(self.offset)?;
        }
        if self.offset <= first {
            return Ok(None);
        }
        let (offset, position) = (self.offset, self.position);
        (self.offset, self.position) = (offset - 1, 0);
        let found = self.find_here().and_then(|stood| match stood {
            Some(stood) => Ok(stood),
            // The log was cut below the cursor: there is no record before it any more.
            None => Err(self.inner.beyond(offset - 1, self.inner.published()?)),
        });
        match found {
            Ok(stood) => self.view(&stood).map(Some),
            Err(error) => {
                if !(matches!(error.status(), Status::Corrupt | Status::Lost) && error.detail().offset == self.offset) {
                    (self.offset, self.position) = (offset, position);
                }
                Err(error)
            }
        }
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.inner.check_cursor_offset(offset)?;
        (self.offset, self.position) = (offset, 0);
        Ok(())
    }

    fn step_over(&mut self, stood: &Stood) {
        self.offset += 1;
        self.position += stood.frame_bytes;
    }

    #[cold]
    fn step_over_damage(&mut self, error: crate::Error) -> crate::Error {
        if matches!(error.status(), Status::Corrupt | Status::Lost) && error.detail().offset == self.offset {
            self.offset += 1;
            self.position = 0;
        }
        error
    }

    fn view(&self, stood: &Stood) -> Result<Record<'_>> {
        Ok(stood.view(self.bytes_of(stood)?))
    }

    fn bytes_of(&self, stood: &Stood) -> Result<&[u8]> {
        match &self.segment {
            Some(segment) if !stood.in_run => segment.store()?.map(),
            _ => Ok(&self.run),
        }
    }

    /// Finds the record that the cursor stands before.
    #[inline]
    fn find_here(&mut self) -> Result<Option<Stood>> {
        match self.find(None) {
            Err(error) => self.find_again(error),
            found => found,
        }
    }

    /// What is damaged, or in a file that is gone, may have been trimmed, truncated or reset away meanwhile; then the
    /// newest row has it, or no row.
    #[cold]
    fn find_again(&mut self, mut error: Error) -> Result<Option<Stood>> {
        let mut seen = None;
        for _ in 0..LOOKS {
            // First, since it may make the row a newer one.
            if self.offset >= self.inner.published_past(self.offset)? {
                return Ok(None);
            }
            let generation = self.inner.rows().generation();
            if seen == Some(generation) || self.offset < self.inner.first_offset() {
                break;
            }
            seen = Some(generation);
            error = match self.find(None) {
                Err(error) => error,
                found => return found,
            };
        }
        self.inner.check_offset(self.offset).and(Err(error))
    }

    /// As [`Walker::find_here`]. With `like`, only where that needs neither another segment nor another run, so that
    /// what was found before stays where it is.
    #[inline]
    fn find(&mut self, like: Option<&Stood>) -> Result<Option<Stood>> {
        // Asked first: a run may hold frames that were copied before they were published.
        if self.offset >= self.inner.published_past(self.offset)? {
            return Ok(None);
        }
        // A newer row may have other records at this offset.
        if self.generation != self.inner.rows().generation()
            || self.segment.as_ref().is_none_or(|segment| !segment.covers(self.offset))
            || self.offset < self.inner.first_offset()
        {
            if like.is_some() {
                return Ok(None);
            }
            self.enter_segment()?;
        }
        if let Some(stood) = self.in_run() {
            return Ok(Some(stood).filter(|_| like.is_none_or(|like| like.in_run)));
        }
        if like.is_some_and(|like| like.in_run) {
            return Ok(None);
        }
        let Some(segment) = &self.segment else {
            return Err(Error::new(Status::Bug, "no segment holds a record that there is").at(self.offset));
        };
        let found = match self.position {
            0 => segment.find(self.offset, self.inner.check())?,
            position => segment.find_at(position, self.offset, self.inner.check())?,
        };
        match found {
            Found::Stored(frame, position) => {
                let at = (position + FRAME_HEADER) as usize;
                let stood = stood(self.offset, &frame, at, false);
                self.position = position;
                Ok(Some(stood))
            }
            Found::InRing(_) if like.is_some() => Ok(None),
            Found::InRing(position) => self.copy_run(position),
        }
    }

    /// The record, if it lies in the run that was copied before.
    #[inline]
    fn in_run(&self) -> Option<Stood> {
        let start = usize::try_from(self.position.checked_sub(self.run_position)?).ok()?;
        let bytes = self.run.get(start..).filter(|bytes| !bytes.is_empty())?;
        let segment = self.segment.as_ref()?;
        let frame = record::decode_frame(bytes, segment.store().ok()?.header().seed, self.offset)?;
        Some(stood(self.offset, &frame, start + FRAME_HEADER as usize, true)).filter(|_| frame.head.kind != Kind::Seal)
    }

    #[cold]
    fn enter_segment(&mut self) -> Result<()> {
        // Asked before the row is, so that a row that comes meanwhile is looked at with the next step.
        let generation = self.inner.rows().generation();
        let row = self.inner.rows().newest();
        // Where this fails, the segment stays the one of the older row, and so must the count.
        self.inner.check_offset(self.offset)?;
        self.generation = generation;
        let segment = row.segment_of(self.offset);
        if segment.map(|segment| segment.id) != self.segment.as_ref().map(|segment| segment.id) {
            self.position = 0;
        }
        self.run.clear();
        self.segment = segment.map(Arc::clone);
        if self.segment.as_ref().is_some_and(|segment| !segment.is_open()) {
            self.inner.rows().note_open();
        }
        Ok(())
    }

    /// Copies a run of frames out of the ring, from the cursor's record on.
    fn copy_run(&mut self, position: u64) -> Result<Option<Stood>> {
        let Some(segment) = self.segment.clone() else { return Ok(None) };
        let mut bytes = RUN_BYTES;
        let mut too_late = false;
        loop {
            let there = segment.end().saturating_sub(position).min(bytes);
            if !copy_run(&segment, self.inner.tail(), position, there, &mut self.run)? {
                reached("cursor: stored before the run was copied");
                too_late = true;
                break;
            }
            (self.position, self.run_position) = (position, position);
            if let Some(stood) = self.in_run() {
                reached("cursor: whole in the ring");
                return Ok(Some(stood));
            }
            let needed = record::decode_head(&self.run).map_or(0, |head| head.frame_bytes());
            if needed <= there || needed > THROUGH_RING_BYTES {
                reached("cursor: no frame in the ring");
                break;
            }
            reached("cursor: longer than a run");
            bytes = needed;
        }
        self.run.clear();
        // It has been stored meanwhile, or the index led astray.
        let found =
            if too_late { segment.find(self.offset, self.inner.check()) } else { segment.find_astray(self.offset) };
        match found? {
            Found::Stored(frame, position) => {
                self.position = position;
                Ok(Some(stood(self.offset, &frame, (position + FRAME_HEADER) as usize, false)))
            }
            Found::InRing(position) => Err(segment.corrupt(position, self.offset)),
        }
    }
}

fn stood(offset: u64, frame: &Frame<'_>, at: usize, in_run: bool) -> Stood {
    Stood {
        offset,
        timestamp_ns: frame.head.timestamp_ns,
        in_run,
        at,
        len: frame.payload.len(),
        frame_bytes: frame.head.frame_bytes(),
    }
}
