//! A cursor: a place in a log that keeps alive what it reads from. Views are zero-copy where the record is in a store
//! that is mapped; what is in the ring still, or in a file that is not mapped, is copied out in runs, so that a view
//! never changes under the caller.

use crate::error::{Error, Result, Status};
use crate::follow::Follower;
use crate::log::{Inner, Log, Side};
use crate::record::{self, FRAME_HEADER, Frame, Record};
use crate::row::copy_run;
use crate::run::Run;
use crate::segment::{Found, Segment};
use crate::sync::{Arc, reached};
use crate::tail::{RING_BYTES, THROUGH_RING_BYTES};
use crate::view::{Horizon, LOOKS, View, Waited};
use crate::waiting::Flood;
use std::time::{Duration, Instant};

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
    /// Up to where it saw records.
    seen: Horizon,
    /// Where in that segment the record of `offset` stands; 0 if that is not known.
    position: u64,
    /// Frames of that segment that were copied out.
    run: Run,
    /// The last step went back.
    back: bool,
    /// What the last batch gave.
    stood: Vec<Stood>,
    /// Where it stood when a wait last ended, and when that was.
    waited: Option<(u64, Instant)>,
    flood: Flood,
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

    /// Waits until there is a record to step over. `None` waits for ever, a zero duration looks once.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Waited> {
        walk!(&mut self.0, walker => walker.wait(timeout))
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
            seen: Horizon::default(),
            position: 0,
            run: Run::default(),
            back: false,
            stood: Vec::new(),
            waited: None,
            flood: Flood::default(),
        })
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Waited> {
        let since = |(offset, time): (u64, Instant)| (self.offset.saturating_sub(offset), time.elapsed());
        let (records, time) = self.waited.map(since).unwrap_or_default();
        self.flood.count(records, time);
        let waited = self.inner.wait_for(self.offset, timeout, self.flood.nap(), View::may_grow);
        self.waited = Some((self.offset, Instant::now()));
        waited
    }

    fn next(&mut self) -> Result<Option<Record<'_>>> {
        self.back = false;
        if let Some(stood) = self.find_at_once() {
            self.step_over(&stood);
            return Ok(Some(self.view(&stood)));
        }
        self.next_with_care()
    }

    #[inline(never)]
    fn next_with_care(&mut self) -> Result<Option<Record<'_>>> {
        match self.find_here() {
            Ok(None) => Ok(None),
            Ok(Some(stood)) => {
                self.step_over(&stood);
                Ok(Some(self.view(&stood)))
            }
            Err(error) => Err(self.step_over_damage(error)),
        }
    }

    /// The next offset, if the cursor's record exists, and stands in its segment if anywhere, which is mapped. (Where
    /// it is not, the bounds may take a call, and are asked for once, by who needs them.)
    #[inline(always)]
    fn goes_on_here(&mut self) -> Option<u64> {
        self.segment.as_ref()?.mapped()?;
        let (first, next) = self.inner.bounds_within(self.offset, &mut self.seen).ok()?;
        let here = self.offset < next
            && self.offset >= first
            && self.generation == self.inner.rows().generation()
            && self.segment.as_ref().is_some_and(|segment| segment.covers(self.offset));
        here.then_some(next)
    }

    /// As `find_here`, if the record is found where it mostly is: behind the one before, in the same mapping.
    #[inline(always)]
    fn find_at_once(&mut self) -> Option<Stood> {
        self.goes_on_here()?;
        let segment = self.segment.as_deref()?;
        let frame = segment.find_there_at_once(self.position, self.offset, self.inner.check())?;
        Some(stood(self.offset, &frame, (self.position + FRAME_HEADER) as usize, false))
    }

    /// Makes as many steps as can be made so, until there are `capacity`. They are as of one moment, at the beginning
    /// of this.
    #[inline(always)]
    fn gather_at_once(&mut self, capacity: usize, gathered: &mut Vec<Stood>) {
        let Some(next) = self.goes_on_here() else { return };
        if gathered.try_reserve(capacity).is_err() {
            return;
        }
        let Some(stretch) = self.segment.as_deref().and_then(Segment::stretch) else { return };
        let check = self.inner.check();
        let (mut offset, mut position) = (self.offset, self.position);
        while gathered.len() < capacity && offset < next.min(stretch.limit) {
            let Some(frame) = stretch.record_at(position, offset, check) else { break };
            let found = stood(offset, &frame, (position + FRAME_HEADER) as usize, false);
            offset += 1;
            position += found.frame_bytes;
            gathered.push(found);
        }
        (self.offset, self.position) = (offset, position);
    }

    fn next_batch<'a>(&'a mut self, capacity: usize, mut take: impl FnMut(Record<'a>)) -> Result<usize> {
        let mut stood = std::mem::take(&mut self.stood);
        stood.clear();
        self.back = false;
        let (start, steps) = (self.offset, Steps::of(self));
        steps.walker.gather_at_once(capacity.min(BATCH_RECORDS), &mut stood);
        while stood.len() < capacity.min(BATCH_RECORDS) {
            let found = match stood.last() {
                None => steps.walker.find_here(),
                like => steps.walker.find(like),
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
                    steps.walker.step_over(&found);
                    stood.push(found);
                }
                Ok(None) => break,
                Err(_) if steps.walker.offset > start => break,
                Err(error) => {
                    steps.count();
                    return Err(self.step_over_damage(error));
                }
            }
        }
        steps.count();
        self.stood = stood;
        let this: &'a Self = self;
        // All of them lie in the same mapping or run: `find` saw to that.
        if let Some(first) = this.stood.first() {
            let bytes = this.bytes_of(first);
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
        self.back = true;
        let found = self.find_here().and_then(|stood| match stood {
            Some(stood) => Ok(stood),
            // The log was cut below the cursor: there is no record before it any more.
            None => Err(self.inner.beyond(offset - 1, self.inner.published()?)),
        });
        match found {
            Ok(stood) => Ok(Some(self.view(&stood))),
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

    #[inline(always)]
    fn view(&self, stood: &Stood) -> Record<'_> {
        stood.view(self.bytes_of(stood))
    }

    #[inline(always)]
    fn bytes_of(&self, stood: &Stood) -> &[u8] {
        match &self.segment {
            Some(segment) if !stood.in_run => segment.mapped().unwrap_or_default(),
            _ => self.run.bytes(),
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
            if self.offset < self.inner.first_offset() {
                break;
            }
            if seen == Some(generation) {
                if self.inner.may_be_newer(generation, self.offset)? {
                    continue;
                }
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
        let (first, next) = self.inner.bounds_within(self.offset, &mut self.seen)?;
        if self.offset >= next {
            return Ok(None);
        }
        // A newer row may have other records at this offset.
        if self.generation != self.inner.rows().generation()
            || self.segment.as_ref().is_none_or(|segment| !segment.covers(self.offset))
            || self.offset < first
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
            return Err(self.inner.missing(self.offset));
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
            _ if like.is_some() => Ok(None),
            Found::InRing(position) => self.copy_run(position),
            Found::InFile(position) => self.copy_from_file(position),
        }
    }

    /// The record, if it lies in the run that was copied before.
    #[inline]
    fn in_run(&self) -> Option<Stood> {
        let segment = self.segment.as_ref()?;
        if self.run.bytes().is_empty() {
            return None;
        }
        let seed = segment.store().ok()?.header().seed;
        let (frame, at) = self.run.frame(self.position, seed, self.offset, self.inner.check())?;
        Some(stood(self.offset, &frame, at + FRAME_HEADER as usize, true))
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
            let run = self.run.take_from_ring(position);
            if !copy_run(&segment, self.inner.tail(), position, there, run)? {
                reached("cursor: stored before the run was copied");
                too_late = true;
                break;
            }
            self.position = position;
            if let Some(stood) = self.in_run() {
                reached("cursor: whole in the ring");
                return Ok(Some(stood));
            }
            let needed = record::decode_head(self.run.bytes()).map_or(0, |head| head.frame_bytes());
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
            Found::InFile(position) => self.copy_from_file(position),
            Found::InRing(position) => Err(segment.corrupt(position, self.offset)),
        }
    }

    /// Copies a run of frames out of a file, with the cursor's record, which is expected at `position`.
    fn copy_from_file(&mut self, mut position: u64) -> Result<Option<Stood>> {
        let Some(segment) = self.segment.clone() else { return Ok(None) };
        for tries in 0.. {
            self.position = position;
            if let Some(stood) = self.in_run() {
                return Ok(Some(stood));
            }
            let check = self.inner.check();
            if self.run.take_from_file(&segment, position, self.offset, check, self.back)? {
                return Ok(self.in_run());
            }
            // Where the record before ends it does not stand: the index may know better, then the walk.
            let found = match tries {
                0 => segment.find(self.offset, check)?,
                1 => segment.find_astray(self.offset)?,
                _ => break,
            };
            match found {
                Found::InFile(found) => position = found,
                Found::InRing(found) => return self.copy_run(found),
                Found::Stored(..) => break,
            }
        }
        self.run.clear();
        Err(segment.corrupt(position, self.offset))
    }
}

/// Steps of a batch that has not been given yet: should a defect end it, they were not made, and no record is passed
/// over.
struct Steps<'a, V: View> {
    walker: &'a mut Walker<V>,
    from: Option<(u64, u64)>,
}

impl<'a, V: View> Steps<'a, V> {
    fn of(walker: &'a mut Walker<V>) -> Self {
        let from = Some((walker.offset, walker.position));
        Self { walker, from }
    }

    fn count(mut self) {
        self.from = None;
    }
}

impl<V: View> Drop for Steps<'_, V> {
    fn drop(&mut self) {
        if let Some(from) = self.from {
            (self.walker.offset, self.walker.position) = from;
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
