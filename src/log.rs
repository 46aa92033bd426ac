//! The log: the handle that threads share. It puts the parts together: append under the writer's mutex, commit outside
//! of it, reads beside both. What each part does stands in the part.

use crate::ahead::Ahead;
use crate::batch::{self, Item};
use crate::checksum::crc32c;
use crate::commit::{Commit, Mark};
use crate::config::{BATCH_LIMIT_BYTES, Config, Limits, Sync, flags};
use crate::control::{Control, LIVE, Lock, OldPage, Standing};
use crate::error::{Error, Result, Status};
use crate::event::Event;
use crate::files;
use crate::follow::Follower;
use crate::keeper::{Bell, Keeper};
use crate::position;
use crate::record::{Check, Record};
use crate::recovery;
use crate::rounds::Rounds;
use crate::row::Rows;
use crate::stat::{self, SegmentStat, Stat};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoisonError};
use crate::sys::{self, Dir};
use crate::tail::{RING_AT, RING_BYTES, Tail};
use crate::view::{self, Moment, View};
use crate::waiting::Awaited;
use crate::work::Work;
use crate::writer::{Appended, Parts, Writer};
use crate::zeroed::Zeroed;
use std::path::Path;
use std::time::Instant;

/// An open log. Shared between threads by reference; it closes when dropped, but [`Log::close`] says if that failed.
pub struct Log {
    side: Side,
    /// The keeper and the syncer.
    keepers: Vec<Keeper>,
    open: bool,
}

/// What a handle is.
pub(crate) enum Side {
    /// It writes the log.
    Writer(Arc<Inner>),
    /// It reads what another one writes.
    Follower(Arc<Follower>),
}

/// What handle, cursors and keeper share. It outlives the handle as long as a cursor needs it.
pub(crate) struct Inner {
    dir: Arc<Dir>,
    limits: Limits,
    tail: Tail,
    pub(crate) control: Control,
    pub(crate) commit: Commit,
    rows: Rows,
    ahead: Ahead,
    /// By which the keeper is called.
    bell: Arc<Bell>,
    /// By which the syncer is called.
    sync_bell: Arc<Bell>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) event: Event,
    /// Rings when a reservation has ended.
    pub(crate) unreserved: Condvar,
    /// Held while the log is open; `None` once it is closed.
    lock: Mutex<Option<Lock>>,
    first: AtomicU64,
    /// Payload bytes of all records before the first.
    first_payload_bytes: AtomicU64,
    /// The next offset: a record exists when this has passed it.
    published: AtomicU64,
    log_id: [u8; 16],
    recovered_records: u64,
    dropped_bytes: u64,
}

impl Log {
    /// Opens the log in a directory for writing, and makes both where they are missing; or, with
    /// [`flags::READ_ONLY`], to read what this or another process writes.
    pub fn open(dir: impl AsRef<Path>, config: &Config) -> Result<Self> {
        let path = dir.as_ref();
        let limits = config.limits()?;
        if path.as_os_str().is_empty() {
            return Err(Error::new(Status::Argument, "the directory's path is empty"));
        }
        if limits.has(flags::READ_ONLY) {
            let side = Side::Follower(Arc::new(Follower::open(path, &limits)?));
            return Ok(Self { side, keepers: Vec::new(), open: true });
        }
        let dir = Arc::new(files::open_dir(path, !limits.has(flags::NO_CREATE), limits.io)?);
        let lock = Lock::take(&dir, true)?;
        let old = OldPage::read(lock.file(), RING_AT, RING_BYTES)?;
        let recovered = recovery::recover(&dir, &limits, &lock, &old)?;
        let (header, found) = (recovered.header, recovered.found);
        let live = lock.open_again(&dir)?;
        let control = Control::create(&live, &header.log_id, RING_AT, RING_BYTES, old.was_closed())?;
        let mapped = dir.maps();
        let tail = if mapped { Tail::map(&live)? } else { Tail::none() };
        let mut segments = recovered.segments;
        let Some(active) = segments.pop() else { return Err(Error::new(Status::Bug, "recovery found no segment")) };
        let first = recovered.first_offset;
        let active_id = active.id;
        segments.push(Arc::clone(&active));
        position::bring_back(&dir, header.log_id, &segments, found.next_offset)?;
        let rows = Rows::new(segments, mapped)?;
        // Where nothing is mapped, the file system is remote or copies on write: space written before is worth nothing.
        let zeroed = Zeroed::new(mapped && limits.sync == Sync::Always);
        let commit = Commit::new(live, recovered.durable, active.id, found.end, zeroed, !limits.has(flags::NO_THREAD));
        // Whoever made the last file may have been killed before the directory was synced.
        commit.note_new_file();
        let inner = Arc::new(Inner {
            dir,
            limits,
            tail,
            control,
            commit,
            rows,
            ahead: Ahead::default(),
            bell: Arc::default(),
            sync_bell: Arc::default(),
            writer: Mutex::new(Writer::new(active, header.seed, found, mapped)),
            event: Event::default(),
            unreserved: Condvar::new(),
            lock: Mutex::new(Some(lock)),
            first: AtomicU64::new(first),
            first_payload_bytes: AtomicU64::new(recovered.first_payload_bytes),
            published: AtomicU64::new(found.next_offset),
            log_id: header.log_id,
            recovered_records: recovered.records_behind_mark,
            dropped_bytes: recovered.dropped_bytes,
        });
        inner.control.begin(&Standing {
            active: active_id,
            end: found.end,
            next_offset: found.next_offset,
            payload_bytes: found.prior_payload_bytes.saturating_add(found.payload_bytes),
            durable: recovered.durable,
            first_offset: first,
            first_payload_bytes: recovered.first_payload_bytes,
            recovered_records: recovered.records_behind_mark,
            dropped_bytes: recovered.dropped_bytes,
        })?;
        let mut log = Self { side: Side::Writer(Arc::clone(&inner)), keepers: Vec::new(), open: true };
        if inner.limits.has(flags::NO_THREAD) {
            // What became too old, or too much, while nobody had the log open, as the syncer does where there is one.
            inner.retain_in_passing();
        } else {
            log.start_keepers(&inner)?;
        }
        Ok(log)
    }

    fn start_keepers(&mut self, inner: &Arc<Inner>) -> Result<()> {
        let (keeping, syncing) = (Arc::clone(inner), Arc::clone(inner));
        let mut rounds = Rounds::default();
        self.keepers.push(Keeper::start(&inner.bell, None, move || rounds.go(&keeping.parts()))?);
        let by_time = syncing.limits.sync == Sync::Interval;
        let ages = syncing.retention().interval();
        let interval = by_time.then_some(syncing.limits.sync_interval).into_iter().chain(ages).min();
        if syncing.retention().is_asked() {
            // What became too old, or too much, while nobody had the log open.
            inner.sync_bell.ring();
        }
        self.keepers.push(Keeper::start(&inner.sync_bell, interval, move || {
            // A failure poisons; the next append says so.
            let _ = if by_time { syncing.sync_to(syncing.published_now()) } else { syncing.sync_full_segments() };
            let _ = syncing.retain_ahead();
            interval
        })?);
        Ok(())
    }

    pub(crate) fn side(&self) -> &Side {
        &self.side
    }

    /// What a write goes to.
    #[inline(always)]
    pub(crate) fn writing(&self) -> Result<&Inner> {
        match &self.side {
            Side::Writer(inner) => Ok(inner),
            Side::Follower(follower) => Err(follower.read_only()),
        }
    }

    /// Appends a record; returns its offset. Under [`Sync::Always`] it is durable on return.
    #[inline]
    pub fn append(&self, payload: &[u8]) -> Result<u64> {
        let inner = self.writing()?;
        inner.check_record(payload)?;
        let (payload_crc, now_ns) = (crc32c(0, payload), sys::clock_coarse_ns());
        let appended = inner.write()?.append(&inner.parts(), payload, payload_crc, now_ns)?;
        inner.after_append(&appended)?;
        Ok(appended.first_offset)
    }

    /// Appends a record only if it gets this offset; else [`Error::Conflict`], with the log's next offset in it.
    pub fn append_at(&self, expected_offset: u64, payload: &[u8]) -> Result<()> {
        let inner = self.writing()?;
        inner.check_record(payload)?;
        let (payload_crc, now_ns) = (crc32c(0, payload), sys::clock_coarse_ns());
        let mut writer = inner.write()?;
        writer.expect(expected_offset)?;
        let appended = writer.append(&inner.parts(), payload, payload_crc, now_ns)?;
        drop(writer);
        inner.after_append(&appended)
    }

    /// Appends records as one batch: all of them or none, whatever happens. Returns the first one's offset.
    pub fn append_batch(&self, payloads: &[&[u8]]) -> Result<u64> {
        self.writing()?.append_items(payloads, |_| Ok(()))
    }

    /// Appends records with offsets and times of their own, as one batch: they must continue the log, and no time may
    /// be earlier than the one before it.
    pub fn append_records(&self, records: &[Record<'_>]) -> Result<()> {
        let inner = self.writing()?;
        batch::check_offsets(records)?;
        inner.append_items(records, |writer| writer.check_goes_on(records)).map(|_| ())
    }

    /// Makes every record that has been appended durable.
    pub fn sync(&self) -> Result<()> {
        let inner = self.writing()?;
        inner.sync_to(inner.published_now())
    }

    /// Hands the record of this offset to `take`: payload and timestamp.
    #[inline(always)]
    pub fn read<R>(&self, offset: u64, take: impl FnOnce(&[u8], u64) -> R) -> Result<R> {
        match &self.side {
            Side::Writer(inner) => inner.read_record(offset, take),
            Side::Follower(follower) => follower.read_record(offset, take),
        }
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> u64 {
        match &self.side {
            Side::Writer(inner) => inner.first_offset(),
            Side::Follower(follower) => follower.last_known().0,
        }
    }

    /// Offset that the next record will get. Of a log that is followed and cannot be read, the last that was known.
    pub fn next_offset(&self) -> u64 {
        match &self.side {
            Side::Writer(inner) => inner.published_now(),
            Side::Follower(follower) => follower.last_known().1,
        }
    }

    /// Tells how the log stands.
    pub fn stat(&self) -> Result<Stat> {
        match &self.side {
            Side::Writer(inner) => inner.stat(),
            Side::Follower(follower) => follower.stat(),
        }
    }

    /// Tells of the segment of this number in the row, 0 being the first; `None` behind the last.
    pub fn segment_at(&self, index: usize) -> Result<Option<SegmentStat>> {
        match &self.side {
            Side::Writer(inner) => inner.segment_at(index),
            Side::Follower(follower) => follower.segment_at(index),
        }
    }

    /// Closes: syncs all, whatever the policy, and says if that failed.
    pub fn close(mut self) -> Result<()> {
        self.shut()
    }

    fn shut(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let mut kept = true;
        for keeper in self.keepers.drain(..) {
            kept &= keeper.stop();
        }
        let result = match &self.side {
            Side::Writer(inner) => inner.close(),
            Side::Follower(follower) => {
                kept &= follower.close();
                Ok(())
            }
        };
        if kept {
            result
        } else {
            result.and(Err(Error::new(Status::Bug, "the log's thread met a defect of the library")))
        }
    }

    /// Takes no more writes after a defect of the library.
    pub(crate) fn poison_for_defect(&self, what: &str) {
        if let Side::Writer(inner) = &self.side {
            inner.commit.poison(&inner.control, Error::new(Status::Bug, what));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Whoever wants to know whether the last sync failed calls `close`.
        let _ = self.shut();
    }
}

impl Inner {
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            dir: &self.dir,
            limits: &self.limits,
            tail: &self.tail,
            control: &self.control,
            commit: &self.commit,
            rows: &self.rows,
            ahead: &self.ahead,
            published: &self.published,
            first: &self.first,
            first_payload_bytes: &self.first_payload_bytes,
        }
    }

    #[inline(always)]
    fn check_record(&self, payload: &[u8]) -> Result<()> {
        self.check_len(payload.len())
    }

    #[inline(always)]
    pub(crate) fn check_len(&self, len: usize) -> Result<()> {
        let limit = self.limits.record_bytes;
        if len as u64 <= limit {
            return Ok(());
        }
        Err(Error::new(
            Status::TooLarge,
            format!("the record has {len} bytes; record_max_bytes is {limit}: raise it or split the record"),
        ))
    }

    /// The writer's mutex, if the handle takes writes, and when nothing is reserved.
    #[inline(always)]
    pub(crate) fn write(&self) -> Result<MutexGuard<'_, Writer>> {
        let writer = self.write_reserved()?;
        if writer.reservation.is_none() { Ok(writer) } else { self.write_unreserved(writer) }
    }

    /// The same, whatever is reserved.
    #[inline(always)]
    pub(crate) fn write_reserved(&self) -> Result<MutexGuard<'_, Writer>> {
        if self.commit.is_poisoned() {
            return Err(self.commit.poisoned());
        }
        match self.writer.lock() {
            Ok(writer) => Ok(writer),
            Err(_) => {
                Err(self.commit.poison(&self.control, Error::new(Status::Bug, "an append met a defect of the library")))
            }
        }
    }

    /// Appends a batch, if it fits where the log goes on.
    fn append_items(&self, items: &[impl Item], fits: impl FnOnce(&Writer) -> Result<()>) -> Result<u64> {
        let (longest, bytes) = batch::sizes(items);
        self.check_len(longest)?;
        if bytes > BATCH_LIMIT_BYTES {
            return Err(Error::new(Status::TooLarge, "the batch takes more than 1 GiB; append it in parts"));
        }
        if items.is_empty() {
            return Ok(self.published_now());
        }
        let mut writer = self.write()?;
        fits(&writer)?;
        let appended = writer.append_batch(&self.parts(), items, bytes)?;
        drop(writer);
        self.after_append(&appended)?;
        Ok(appended.first_offset)
    }

    pub(crate) fn mark(&self) -> Mark {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).mark()
    }

    #[inline(always)]
    pub(crate) fn ring_bells(&self, work: Work) {
        if work.has(Work::CALL) {
            self.call_keeper(work);
        }
        if work.has(Work::ROLLED) {
            self.sync_bell.ring();
            self.retain_in_passing();
        }
    }

    #[inline(always)]
    pub(crate) fn after_append(&self, appended: &Appended) -> Result<()> {
        // The mutex was given up behind the publication, by a locked instruction.
        self.control.alarm().ring_if_passed(Awaited::Records, appended.next_offset);
        if appended.work.has(Work::EVENT) {
            self.event.ring();
        }
        self.ring_bells(appended.work);
        let synced = match self.limits.sync {
            // It was not durable when it was published: if it is by now, that was another's sync.
            Sync::Always => self.commit_to(appended.next_offset, None).map(|_| ()),
            _ if appended.work.has(Work::MUST_WAIT) => self.sync_backlog(),
            _ => Ok(()),
        };
        synced.map_err(|error| error.published_at(appended.first_offset))
    }

    fn sync_to(&self, target: u64) -> Result<()> {
        self.sync_until(target, None).map(|_| ())
    }

    pub(crate) fn sync_until(&self, target: u64, deadline: Option<Instant>) -> Result<bool> {
        if self.commit.durable() >= target { Ok(true) } else { self.commit_to(target, deadline) }
    }

    fn commit_to(&self, target: u64, deadline: Option<Instant>) -> Result<bool> {
        self.commit.sync_to(target, deadline, &self.dir, &self.tail, &self.control, || Some(self.mark()))
    }

    #[cold]
    fn call_keeper(&self, work: Work) {
        if work.has(Work::HURRY) { self.bell.ring() } else { self.bell.ring_unless_it_comes() }
    }

    pub(crate) fn sync_full_segments(&self) -> Result<()> {
        self.sync_full_up_to(self.commit.full_up_to())
    }

    /// Waits until no more full segments wait for their sync than may. Not for all of them: whoever appends faster than
    /// the disk writes goes on at its pace, and does not stand still for what may wait.
    pub(crate) fn sync_backlog(&self) -> Result<()> {
        self.sync_full_up_to(self.commit.backlog_up_to())
    }

    fn sync_full_up_to(&self, target: Option<u64>) -> Result<()> {
        let Some(target) = target.filter(|target| self.commit.durable() < *target) else { return Ok(()) };
        self.commit.sync_to(target, None, &self.dir, &self.tail, &self.control, || None).map(|_| ())
    }

    #[inline]
    pub(crate) fn published_now(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    fn stat(&self) -> Result<Stat> {
        let row = self.rows.newest();
        let mut stat = {
            // Under the mutex no record is dropped, so what is read first is not more than what is read last.
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let payload_bytes = writer.prior_payload_bytes.saturating_add(writer.payload_bytes);
            Stat {
                first_offset: self.first_offset(),
                durable_offset: self.commit.durable(),
                // Not the writer's own, which a defect in an append may leave ahead of what was published.
                next_offset: self.published_now(),
                payload_bytes: payload_bytes.saturating_sub(self.first_payload_bytes.load(Ordering::Acquire)),
                appends: writer.appends,
                ..Stat::default()
            }
        };
        stat.segment_count = u32::try_from(row.segments.len()).unwrap_or(u32::MAX);
        stat.disk_bytes = stat::disk_bytes_of(&self.dir, LIVE, &row.segments)?;
        (stat.recovered_records, stat.dropped_bytes) = (self.recovered_records, self.dropped_bytes);
        (stat.syncs, stat.syncs_shared) = self.commit.syncs();
        (stat.writer_pid, stat.log_id, stat.io) = (sys::process_id(), self.log_id, files::io_of(&self.dir));
        Ok(stat)
    }

    /// Syncs what was appended, says in the store that it ends here, gives space back and the lock up.
    fn close(&self) -> Result<()> {
        let result = self.close_durably();
        if self.commit.is_poisoned() {
            // What is only in the ring goes with the lock: cursors that are open still see what the store has.
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let stored = writer.active.stored();
            self.published.fetch_min(writer.first_offset_from(stored), Ordering::AcqRel);
        }
        self.rows.forget();
        self.control.end();
        // Where another handle may write the log, that name may be its own.
        if self.commit.check_alone().is_ok() {
            self.ahead.give_back(&self.dir);
        }
        *self.lock_of() = None;
        // Whoever waits for records of this handle waits in vain.
        self.control.alarm().ring_all();
        self.event.close();
        result
    }

    fn lock_of(&self) -> MutexGuard<'_, Option<Lock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_durably(&self) -> Result<()> {
        if self.commit.is_poisoned() {
            return Err(self.commit.poisoned());
        }
        self.sync_to(self.published_now())?;
        let mark = self.mark();
        self.commit.seal_durable(&self.control, &mark)?;
        let records = mark.slot.next_offset - mark.segment.id.base_offset;
        mark.segment.keep_index(records, true);
        mark.segment.punch_behind(mark.slot.position, records);
        Ok(())
    }
}

impl View for Inner {
    fn dir(&self) -> &Dir {
        &self.dir
    }

    #[inline(always)]
    fn rows(&self) -> &Rows {
        &self.rows
    }

    #[inline(always)]
    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn log_id(&self) -> [u8; 16] {
        self.log_id
    }

    #[inline(always)]
    fn check(&self) -> Check {
        view::check_of(&self.limits)
    }

    #[inline(always)]
    fn published(&self) -> Result<u64> {
        Ok(self.published_now())
    }

    #[inline(always)]
    fn published_past(&self, _offset: u64) -> Result<u64> {
        Ok(self.published_now())
    }

    #[inline(always)]
    fn first_offset(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }

    fn durable(&self) -> u64 {
        self.commit.durable()
    }

    fn sync_full(&self) {
        // A failure has poisoned the handle: the next write tells.
        let _ = self.sync_full_segments();
    }

    fn moment(&self) -> Result<Moment> {
        // Under the mutex nothing rolls, is cut, or begins elsewhere.
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Moment {
            end: writer.mark().slot,
            segments: self.rows.newest().segments.clone(),
            first_offset: self.first_offset(),
            first_payload_bytes: self.first_payload_bytes.load(Ordering::Acquire),
        })
    }

    fn may_grow(&self) -> Result<bool> {
        if self.commit.is_poisoned() { Err(self.commit.poisoned()) } else { Ok(self.lock_of().is_some()) }
    }
}
