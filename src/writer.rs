//! The writer's side of a log, under the writer's mutex: frames into the tail, room for the next one, rolling.
//! The common append touches memory only; all that needs a system call is in `make_room` and behind it.

use crate::ahead::Ahead;
use crate::batch::Item;
use crate::checksum::{crc32c, taking_checksums};
use crate::commit::{Commit, Mark};
use crate::config::{Limits, flags};
use crate::control::{Change, Control};
use crate::direct::Direct;
use crate::error::{Error, Result, Status};
use crate::fresh::{Plan, Prepared, fresh_seed};
use crate::id::OFFSET_END;
use crate::record::{self, FRAMES_START, Header, Kind, Record, SEAL_BYTES, Seal, Slot};
use crate::reservation::Reservation;
use crate::row::Rows;
use crate::segment::Segment;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::sys::{self, Dir};
use crate::tail::{RING_BYTES, THROUGH_RING_BYTES, Tail};
use crate::work::Work;

/// The store's space is allocated in steps of this size, ahead of what is appended.
pub(crate) const ALLOCATE_STEP: u64 = 16 << 20;
/// The same where nothing is mapped: there are file systems on which that takes as long as writing.
const ALLOCATE_STEP_UNMAPPED: u64 = 1 << 20;
/// When so much of the ring waits to be written out, the keeper is called; while it is at that, appends go on in the
/// rest.
const CALL_BYTES: u64 = RING_BYTES / 4;
/// So many full segments keep their files mapped behind the active one. What was filled before is let go at a roll, so
/// that a writer does not hold the pages of all indexes that it wrote; who reads there opens it again.
const KEPT_SEGMENTS: usize = if cfg!(feature = "model") { 1 } else { 16 };
/// How often that is looked at.
const LOOK_BYTES: u64 = RING_BYTES / 8;

/// What the writer needs of the log's other parts.
pub(crate) struct Parts<'a> {
    pub dir: &'a Arc<Dir>,
    pub limits: &'a Limits,
    pub tail: &'a Tail,
    pub control: &'a Control,
    pub commit: &'a Commit,
    pub rows: &'a Rows,
    pub ahead: &'a Ahead,
    /// The next offset, for readers.
    pub published: &'a AtomicU64,
    /// The first offset, and payload bytes of all records before it.
    pub first: &'a AtomicU64,
    pub first_payload_bytes: &'a AtomicU64,
}

impl Parts<'_> {
    /// Lets the log begin at `offset`, under the writer's mutex, so that all that is told of one moment fits.
    pub(crate) fn begin_at(&self, _writer: &Writer, offset: u64, payload_bytes: u64) {
        self.first_payload_bytes.store(payload_bytes, Ordering::Release);
        self.first.store(offset, Ordering::Release);
        self.control.set_first(offset, payload_bytes);
    }

    /// Offset that the next record will get.
    pub(crate) fn next_offset(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// A failed write of the tail or of a SEAL poisons, but for a full disk: the same place is written again.
    fn poison_unless_full(&self, error: Error) -> Error {
        if error.status() == Status::NoSpace { error } else { self.commit.poison(self.control, error) }
    }
}

/// Where the log goes on.
pub(crate) struct Writer {
    pub active: Arc<Segment>,
    /// Its position behind the last frame.
    pub end: u64,
    pub next_offset: u64,
    pub last_timestamp_ns: u64,
    /// Of the active segment's records.
    pub payload_bytes: u64,
    /// Of all records before the active segment.
    pub prior_payload_bytes: u64,
    /// Up to here the store's space is allocated.
    pub allocated: u64,
    /// Records appended since the open.
    pub appends: u64,
    /// The active segment has its SEAL: the next append needs a new one.
    pub sealed: bool,
    /// What the caller builds in place: until it is committed or given up, nobody else writes.
    pub reservation: Option<Reservation>,
    /// An append that ends at or below this position needs no room made.
    room: u64,
    /// What each append leaves to be done.
    always: Work,
    pub(crate) seed: u32,
    /// The highest offset + 1 that the active segment's index takes.
    offset_room: u64,
    /// Frames and batches that are longer go to the store directly: where there is no ring, all.
    through_ring: u64,
    /// For those.
    buffer: Vec<u8>,
}

/// What an append came to.
pub(crate) struct Appended {
    /// Of the first record.
    pub first_offset: u64,
    /// Behind the last record.
    pub next_offset: u64,
    pub work: Work,
}

impl Writer {
    /// A writer that goes on behind what recovery found.
    pub(crate) fn new(active: Arc<Segment>, seed: u32, found: Found, has_ring: bool) -> Self {
        Self {
            active,
            seed,
            end: found.end,
            next_offset: found.next_offset,
            last_timestamp_ns: found.last_timestamp_ns,
            payload_bytes: found.payload_bytes,
            prior_payload_bytes: found.prior_payload_bytes,
            allocated: found.end,
            appends: 0,
            sealed: found.sealed,
            reservation: None,
            room: 0,
            always: Work::default(),
            offset_room: 0,
            through_ring: if has_ring { THROUGH_RING_BYTES } else { 0 },
            buffer: Vec::new(),
        }
    }

    /// From now on each append leaves this to be done.
    pub(crate) fn leave_always(&mut self, work: Work) {
        self.always.add_if(work, true);
    }

    /// The first offset whose frame ends behind `stored`: from there on records are in the ring only.
    pub(crate) fn first_offset_from(&self, stored: u64) -> u64 {
        let in_ring = |offset: &u64| self.active.position_of(*offset) >= stored;
        let range = self.active.id.base_offset..self.next_offset;
        range.rev().take_while(in_ring).last().unwrap_or(self.next_offset)
    }

    /// What a durable slot says of this moment.
    pub(crate) fn mark(&self) -> Mark {
        Mark { segment: Arc::clone(&self.active), slot: self.slot(), allocated: self.allocated }
    }

    fn slot(&self) -> Slot {
        Slot {
            count: 0,
            position: self.end,
            next_offset: self.next_offset,
            last_timestamp_ns: self.last_timestamp_ns,
            payload_bytes: self.payload_bytes,
            sealed: self.sealed,
        }
    }

    /// Refuses to go on anywhere but at this offset.
    pub(crate) fn expect(&self, offset: u64) -> Result<()> {
        let next = self.next_offset;
        if offset == next {
            return Ok(());
        }
        let text = format!("the log's next offset is {next}, not {offset}; nothing was appended");
        Err(Error::new(Status::Conflict, text).at(next))
    }

    /// Refuses records that do not begin at the next offset, or whose times run back.
    pub(crate) fn check_goes_on(&self, records: &[Record<'_>]) -> Result<()> {
        let mut last = self.last_timestamp_ns;
        for (n, record) in records.iter().enumerate() {
            if n == 0 {
                self.expect(record.offset)?;
            }
            let (offset, time) = (record.offset, record.timestamp_ns);
            if time < last {
                let text = format!("record {offset} has time {time} ns, before {last} ns of the record before it");
                return Err(Error::new(Status::Argument, text).at(offset));
            }
            last = time;
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        sys::clock_coarse_ns().max(self.last_timestamp_ns)
    }

    /// Appends one record. Its payload's CRC-32C and the time have been taken outside the mutex.
    #[inline(always)]
    pub(crate) fn append(
        &mut self,
        parts: &Parts<'_>,
        payload: &[u8],
        payload_crc: u32,
        now_ns: u64,
    ) -> Result<Appended> {
        let bytes = record::frame_bytes(payload.len());
        let mut work = Work::default();
        if bytes > self.through_ring {
            return self.append_directly(parts, &[payload], bytes);
        }
        if self.end + bytes > self.room || self.next_offset >= self.offset_room {
            work = self.make_room(parts, bytes, 1)?;
        }
        let first_offset = self.next_offset;
        let timestamp_ns = now_ns.max(self.last_timestamp_ns);
        self.put(parts, Kind::Record { more: false }, timestamp_ns, payload, payload_crc);
        self.publish(parts);
        Ok(self.appended(first_offset, work))
    }

    /// Appends a batch, all of it or nothing. `bytes` is what its frames take.
    pub(crate) fn append_batch(&mut self, parts: &Parts<'_>, items: &[impl Item], bytes: u64) -> Result<Appended> {
        if bytes > self.through_ring {
            return self.append_directly(parts, items, bytes);
        }
        let mut work = Work::default();
        let count = items.len() as u64;
        if self.end + bytes > self.room || self.next_offset.saturating_add(count) > self.offset_room {
            work = self.make_room(parts, bytes, count)?;
        }
        let (first_offset, now) = (self.next_offset, self.now());
        taking_checksums(
            #[inline(always)]
            || self.put_all(parts, items, now),
        );
        self.publish(parts);
        Ok(self.appended(first_offset, work))
    }

    /// The frames of a batch into the ring and their places into the index, as `put` does for one.
    #[inline(always)]
    fn put_all(&mut self, parts: &Parts<'_>, items: &[impl Item], now: u64) {
        let (mut offset, mut end, mut timestamp_ns) = (self.next_offset, self.end, self.last_timestamp_ns);
        for (n, item) in items.iter().enumerate() {
            let (kind, payload) = (Kind::Record { more: n + 1 < items.len() }, item.payload());
            timestamp_ns = item.timestamp_ns().unwrap_or(now);
            let crc = crc32c(0, payload);
            let head = record::encode_head(kind, self.seed, offset, timestamp_ns, payload.len(), crc);
            parts.tail.put(end, head, payload);
            (offset, end) = (offset + 1, end + record::frame_bytes(payload.len()));
        }
        let mut next = self.end;
        let positions = items.iter().map(|item| {
            let position = next;
            next += record::frame_bytes(item.payload().len());
            position
        });
        self.active.set_positions(self.next_offset, positions);
        let payloads: u64 = items.iter().map(|item| item.payload().len() as u64).sum();
        self.payload_bytes = self.payload_bytes.wrapping_add(payloads);
        self.appends += items.len() as u64;
        (self.next_offset, self.end, self.last_timestamp_ns) = (offset, end, timestamp_ns);
    }

    /// A frame into the ring and its place into the index. Nobody sees it before `publish`.
    #[inline(always)]
    fn put(&mut self, parts: &Parts<'_>, kind: Kind, timestamp_ns: u64, payload: &[u8], payload_crc: u32) {
        let head = record::encode_head(kind, self.seed, self.next_offset, timestamp_ns, payload.len(), payload_crc);
        parts.tail.put(self.end, head, payload);
        self.count_in(timestamp_ns, payload.len());
    }

    #[inline]
    pub(crate) fn count_in(&mut self, timestamp_ns: u64, payload_len: usize) {
        self.active.set_position(self.next_offset, self.end);
        self.end += record::frame_bytes(payload_len);
        self.next_offset += 1;
        self.appends += 1;
        self.last_timestamp_ns = timestamp_ns;
        self.payload_bytes = self.payload_bytes.wrapping_add(payload_len as u64);
    }

    #[inline(always)]
    pub(crate) fn appended(&self, first_offset: u64, work: Work) -> Appended {
        Appended { first_offset, next_offset: self.next_offset, work: work.and(self.always) }
    }

    /// Makes what was put visible: the published offset is stored last.
    #[inline]
    pub(crate) fn publish(&self, parts: &Parts<'_>) {
        self.active.set_end(self.end);
        parts.published.store(self.next_offset, Ordering::Release);
        parts.control.publish(self.next_offset, self.end, self.prior_payload_bytes.wrapping_add(self.payload_bytes));
    }

    /// Frames that do not go through the ring, since they are too large or since there is none: it is written out, then
    /// they are, then they are published.
    fn append_directly(&mut self, parts: &Parts<'_>, items: &[impl Item], bytes: u64) -> Result<Appended> {
        if let Some(error) = parts.control.failure() {
            return Err(parts.commit.fail(parts.control, error));
        }
        let work = self.make_room(parts, bytes, items.len() as u64)?;
        self.write_out(parts)?;
        let before = (self.end, self.next_offset, self.last_timestamp_ns, self.payload_bytes, self.appends);
        let file = self.active.store()?.file()?;
        let mut direct = Direct::new(file, self.end, bytes, std::mem::take(&mut self.buffer))?;
        let written = self.write_frames(items, &mut direct);
        if let Err(error) = written {
            (self.end, self.next_offset, self.last_timestamp_ns, self.payload_bytes, self.appends) = before;
            // What was written lies behind the end, and frames of it could fit what comes next.
            let is_as_before = error.status() == Status::NoSpace && direct.take_back().is_ok();
            return Err(if is_as_before { error } else { parts.commit.fail(parts.control, &error) });
        }
        self.buffer = direct.into_buffer();
        parts.control.set_stored(self.end);
        self.active.set_stored(self.end);
        self.publish(parts);
        match parts.control.failure() {
            None => Ok(self.appended(before.1, work)),
            // It is there for who reads here, and for the next one who opens the log.
            Some(error) => Err(parts.commit.fail(parts.control, error).published_at(before.1)),
        }
    }

    fn write_frames(&mut self, items: &[impl Item], direct: &mut Direct) -> Result<()> {
        let now = self.now();
        for (n, item) in items.iter().enumerate() {
            let (payload, timestamp_ns) = (item.payload(), item.timestamp_ns().unwrap_or(now));
            let kind = Kind::Record { more: n + 1 < items.len() };
            let crc = crc32c(0, payload);
            let head = record::encode_head(kind, self.seed, self.next_offset, timestamp_ns, payload.len(), crc);
            direct.put(head, payload)?;
            self.count_in(timestamp_ns, payload.len());
        }
        direct.finish()
    }

    /// Makes room for frames of `bytes` bytes and `count` records: in the segment (else it rolls), on the disk, in the
    /// ring. On failure nothing has changed, but that the segment may have been sealed.
    #[cold]
    pub(crate) fn make_room(&mut self, parts: &Parts<'_>, bytes: u64, count: u64) -> Result<Work> {
        if parts.commit.is_poisoned() {
            return Err(parts.commit.poisoned());
        }
        if self.next_offset.saturating_add(count) > OFFSET_END {
            return Err(Error::new(
                Status::Argument,
                "the offsets are used up: the next one would be past 2^64 - 2^31",
            )
            .at(self.next_offset));
        }
        let need = bytes + SEAL_BYTES;
        let mut work = Work::default();
        if !self.fits(need, count)? {
            if self.is_empty() {
                self.enlarge(parts, need, count)?;
            } else {
                let must_wait = self.roll(parts, need, count)?;
                work.add_if(Work::ROLLED, true);
                work.add_if(Work::MUST_WAIT, must_wait);
            }
        }
        let allocated = self.allocated;
        self.allocate(parts, self.end + need)?;
        // Where nothing goes through the ring, the keeper is called for the next segment's sake alone.
        work.add_if(Work::CALL, !parts.control.has_ring() && self.allocated != allocated);
        let waiting = self.end - self.active.stored();
        work.add_if(Work::CALL, waiting >= CALL_BYTES);
        work.add_if(Work::HURRY, waiting >= RING_BYTES / 2 || !parts.control.has_ring());
        if waiting + bytes > RING_BYTES {
            // The keeper does not keep up, or there is none.
            self.write_out(parts)?;
        }
        let ring_room = (self.active.stored() + RING_BYTES).min(self.end + bytes.max(LOOK_BYTES));
        self.room = (self.allocated - SEAL_BYTES).min(ring_room);
        self.offset_room =
            self.active.id.base_offset.saturating_add(u64::from(self.active.index_capacity()?)).min(OFFSET_END);
        Ok(work)
    }

    fn write_out(&self, parts: &Parts<'_>) -> Result<()> {
        write_out(parts, &self.active, self.end)
    }

    fn fits(&self, need: u64, count: u64) -> Result<bool> {
        let used = self.next_offset - self.active.id.base_offset;
        Ok(!self.sealed
            && self.end + need <= self.active.store()?.bytes()
            && used.saturating_add(count) <= u64::from(self.active.index_capacity()?))
    }

    fn is_empty(&self) -> bool {
        self.end == FRAMES_START && !self.sealed
    }

    fn sizes(parts: &Parts<'_>, need: u64, count: u64) -> (u64, u32) {
        let frames = parts.limits.segment_bytes.max(need).next_multiple_of(8);
        let records = u64::from(parts.limits.index_records).max(count);
        (FRAMES_START + frames, u32::try_from(records).unwrap_or(u32::MAX))
    }

    /// Allocates the store's space up to `position` and somewhat ahead.
    fn allocate(&mut self, parts: &Parts<'_>, position: u64) -> Result<()> {
        let store = self.active.store()?;
        // The keeper has seen to it, where there is one that keeps up.
        self.allocated = store.allocated();
        if position <= self.allocated {
            return Ok(());
        }
        let step = if parts.control.has_ring() { ALLOCATE_STEP } else { ALLOCATE_STEP_UNMAPPED };
        let ahead = (self.allocated + step).min(store.bytes()).max(position);
        let allocate = |upto: u64| store.allocate(upto).map(|()| upto);
        self.allocated = allocate(ahead).or_else(|error| match error.status() {
            // What is left of the disk may still do for this one; and what waits for its turn is of no use then.
            Status::NoSpace if parts.ahead.give_back(parts.dir) || position < ahead => allocate(position),
            _ => Err(error),
        })?;
        Ok(())
    }

    /// An empty segment that is too small for the first record or batch becomes larger.
    fn enlarge(&mut self, parts: &Parts<'_>, need: u64, count: u64) -> Result<()> {
        let (store_bytes, index_records) = Self::sizes(parts, need, count);
        let room = parts.rows.room()?;
        let larger = Arc::new(self.active.enlarge(store_bytes, index_records)?);
        parts.commit.note_new_file();
        parts.rows.replace(room, |segments| {
            segments.pop();
            segments.push(Arc::clone(&larger));
        });
        parts.control.note_change();
        self.active = larger;
        Ok(())
    }

    /// Seals the active segment and goes on in a new one. `true` if too many full segments wait for their sync.
    fn roll(&mut self, parts: &Parts<'_>, need: u64, count: u64) -> Result<bool> {
        let mut plan = self.plan(parts, need, count)?;
        if let Some(unused) = parts.ahead.take(&plan) {
            let allocated = unused.allocated();
            let prepared = unused.settle(&plan);
            let rolled = prepared.and_then(|prepared| self.roll_to(parts, prepared, allocated));
            parts.ahead.done();
            rolled
        } else {
            plan.header.seed = fresh_seed()?;
            self.roll_to(parts, Prepared::make(parts.dir, &plan)?, plan.allocated)
        }
    }

    fn roll_to(&mut self, parts: &Parts<'_>, prepared: Prepared, allocated: u64) -> Result<bool> {
        self.write_out(parts)?;
        if !self.sealed {
            // Space for the SEAL was kept, but in a file that was cut and recovered.
            self.allocate(parts, self.end + SEAL_BYTES)?;
            self.seal(parts)?;
        }
        let room = parts.rows.room()?;
        let fresh = Segment::publish(parts.dir, prepared)?;
        parts.commit.note_new_file();
        let fresh = Arc::new(fresh);
        let full = Arc::clone(&self.active);
        let slot = Slot { position: full.end(), ..self.slot() };
        full.set_limit(self.next_offset);
        let records = self.next_offset - full.id.base_offset;
        full.keep_index(records, false);
        if parts.limits.has(flags::NO_THREAD) || parts.limits.retain_bytes > 0 {
            // Else the syncer does it. Retention counts what segments take from this moment on.
            full.punch_behind(full.end(), records);
        }
        parts.rows.replace(room, |segments| {
            // Where nothing is mapped, so that its index is in memory no longer than somebody looks at it.
            let behind = if parts.dir.maps() { KEPT_SEGMENTS } else { 0 };
            let old = segments.iter_mut().rev().nth(behind).filter(|old| old.is_open());
            if let Some(old) = old.filter(|old| behind == 0 || old.is_synced()) {
                *old = Arc::new(old.closed_twin());
            }
            segments.push(Arc::clone(&fresh));
        });
        parts.rows.note_open();
        let must_wait = parts.commit.add_full(full, slot);
        let prior_payload_bytes = self.prior_payload_bytes.saturating_add(self.payload_bytes);
        // All of the full one is in its store.
        let change = parts.control.change();
        self.go_on_in(&change, &fresh, prior_payload_bytes, allocated)?;
        Ok(must_wait)
    }

    /// Makes a new, empty segment the active one.
    pub(crate) fn go_on_in(
        &mut self,
        change: &Change<'_>,
        fresh: &Arc<Segment>,
        prior_payload_bytes: u64,
        allocated: u64,
    ) -> Result<()> {
        self.active = Arc::clone(fresh);
        self.prior_payload_bytes = prior_payload_bytes;
        self.payload_bytes = 0;
        self.end = FRAMES_START;
        self.allocated = allocated;
        self.seed = fresh.store()?.header().seed;
        self.sealed = false;
        (self.room, self.offset_room) = (0, 0);
        change.set_active(fresh.id, FRAMES_START);
        Ok(())
    }

    /// What makes the next segment, but for its seed.
    fn plan(&self, parts: &Parts<'_>, need: u64, count: u64) -> Result<Plan> {
        let (store_bytes, index_records) = Self::sizes(parts, need, count);
        let old = *self.active.store()?.header();
        let header = Header {
            base_offset: self.next_offset,
            timestamp_floor_ns: self.last_timestamp_ns,
            prior_payload_bytes: self.prior_payload_bytes.saturating_add(self.payload_bytes),
            created_ns: sys::clock_coarse_ns(),
            ..old
        };
        let all_before_is_durable = parts.commit.durable() == self.next_offset;
        Ok(Plan { header, store_bytes, allocated: FRAMES_START + need, index_records, all_before_is_durable })
    }

    /// Writes the SEAL, for which space was kept. Nobody sees it before `end` moves, so on a full disk it is tried
    /// again.
    fn seal(&mut self, parts: &Parts<'_>) -> Result<()> {
        let (store, base_offset) = (self.active.store()?, self.active.id.base_offset);
        let first = store.head(FRAMES_START, self.end, base_offset)?;
        let seal = Seal {
            records: self.next_offset - base_offset,
            payload_bytes: self.payload_bytes,
            first_timestamp_ns: first.map_or(store.header().timestamp_floor_ns, |head| head.timestamp_ns),
            last_timestamp_ns: self.last_timestamp_ns,
        };
        store
            .file()?
            .write_at(&seal.encode(store.header().seed, self.next_offset), self.end)
            .map_err(|error| parts.poison_unless_full(error))?;
        self.end += SEAL_BYTES;
        self.active.set_stored(self.end);
        self.active.set_end(self.end);
        self.sealed = true;
        // Should the next segment not come to be, nothing must be appended behind the SEAL.
        self.room = 0;
        Ok(())
    }
}

/// Writes the frames of a segment up to `end` from the ring to its store.
pub(crate) fn write_out(parts: &Parts<'_>, segment: &Segment, end: u64) -> Result<()> {
    let written = parts.commit.write_out(parts.tail, parts.control, segment, end);
    written.map_err(|error| parts.poison_unless_full(error))
}

/// What recovery found of the segment that the log goes on in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    pub end: u64,
    pub next_offset: u64,
    pub last_timestamp_ns: u64,
    pub payload_bytes: u64,
    pub prior_payload_bytes: u64,
    pub sealed: bool,
}
