//! The log: the handle that threads share. It puts the parts together: append under the writer's mutex, commit outside
//! of it, reads beside both. What each part does stands in the part.

use crate::ahead::Ahead;
use crate::checksum::crc32c;
use crate::commit::{Commit, Mark};
use crate::config::{BATCH_LIMIT_BYTES, Config, Limits, Sync, flags};
use crate::control::{Control, LIVE, Lock, Standing};
use crate::error::{Error, Result, Status};
use crate::files;
use crate::follow::Follower;
use crate::keeper::{Bell, Keeper};
use crate::record::{Check, Record};
use crate::recovery;
use crate::row::Rows;
use crate::stat::{self, SegmentStat, Stat};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};
use crate::sys::{self, Dir};
use crate::tail::{RING_AT, RING_BYTES, Tail};
use crate::upkeep::{Beginning, Cut};
use crate::view::{self, View};
use crate::writer::{self, Appended, Item, Parts, Work, Writer};
use std::path::Path;
use std::time::{Duration, Instant};

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
    control: Control,
    commit: Commit,
    rows: Rows,
    ahead: Ahead,
    /// By which the keeper is called.
    bell: Arc<Bell>,
    /// By which the syncer is called.
    sync_bell: Arc<Bell>,
    writer: Mutex<Writer>,
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
        let dir = Arc::new(files::open_dir(path, !limits.has(flags::NO_CREATE))?);
        let lock = Lock::take(&dir, true)?;
        let recovered = recovery::recover(&dir, &limits, &lock)?;
        let (header, found) = (recovered.header, recovered.found);
        let control = Control::create(lock.file(), &header.log_id, RING_AT, RING_BYTES)?;
        // A mapping keeps its open file, and with it the lock, until the last cursor goes: so it has an open file of
        // its own.
        let tail = Tail::map(&dir.open_write(LIVE)?)?;
        let mut segments = recovered.segments;
        let Some(active) = segments.pop() else { return Err(Error::new(Status::Bug, "recovery found no segment")) };
        let first = recovered.first_offset;
        let active_id = active.id;
        segments.push(Arc::clone(&active));
        let commit = Commit::new(recovered.durable, active.id, found.end);
        // Whoever made the last file may have been killed before the directory was synced.
        commit.note_new_file();
        let inner = Arc::new(Inner {
            dir,
            limits,
            tail,
            control,
            commit,
            rows: Rows::new(segments),
            ahead: Ahead::default(),
            bell: Arc::default(),
            sync_bell: Arc::default(),
            writer: Mutex::new(Writer::new(active, header.seed, found)),
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
        if !inner.limits.has(flags::NO_THREAD) {
            log.start_keepers(&inner)?;
        }
        Ok(log)
    }

    fn start_keepers(&mut self, inner: &Arc<Inner>) -> Result<()> {
        let (keeping, syncing) = (Arc::clone(inner), Arc::clone(inner));
        self.keepers.push(Keeper::start(&inner.bell, None, move || keeping.keep())?);
        let interval = (syncing.limits.sync == Sync::Interval).then_some(syncing.limits.sync_interval);
        self.keepers.push(Keeper::start(&inner.sync_bell, interval, move || {
            // A failure poisons; the next append says so.
            let _ = match interval {
                Some(_) => syncing.sync_to(syncing.published_now()),
                None => syncing.sync_full_segments(),
            };
        })?);
        Ok(())
    }

    pub(crate) fn side(&self) -> &Side {
        &self.side
    }

    /// What a write goes to.
    #[inline(always)]
    fn writing(&self) -> Result<&Inner> {
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
        writer::check_offsets(records)?;
        inner.append_items(records, |writer| writer.check_goes_on(records)).map(|_| ())
    }

    /// Makes every record that has been appended durable.
    pub fn sync(&self) -> Result<()> {
        let inner = self.writing()?;
        inner.sync_to(inner.published_now())
    }

    /// Returns `true` when the record of `offset` is durable; a sync is begun if need be. `false` if it is not and the
    /// time is up. `None` waits for ever, a zero duration looks once.
    pub fn wait_durable(&self, offset: u64, timeout: Option<Duration>) -> Result<bool> {
        let inner = match &self.side {
            Side::Writer(inner) => inner,
            Side::Follower(follower) => return follower.wait_durable(offset, timeout),
        };
        let next = inner.published_now();
        if offset >= next {
            return Err(inner.beyond(offset, next));
        }
        if inner.commit.durable() > offset {
            return Ok(true);
        }
        if inner.commit.is_poisoned() {
            return Err(inner.commit.poisoned());
        }
        if timeout == Some(Duration::ZERO) {
            return Ok(false);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let done = inner.sync_until(offset + 1, deadline)?;
        // It may have been dropped while this call waited.
        let next = inner.published_now();
        if offset >= next { Err(inner.beyond(offset, next)) } else { Ok(done) }
    }

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
        inner.commit.in_office(&inner.control, || {
            if !is_needed()? {
                return Ok(());
            }
            let mark = inner.mark();
            inner.lead(&mark)?;
            let beginning = Beginning::make_durable(&inner.parts(), &mark, before)?;
            beginning.take_place(&inner.parts(), &inner.writer);
            Ok(())
        })
    }

    /// Drops the records from `from` on, durably. What is before it is durable then, too.
    pub fn truncate(&self, from: u64) -> Result<()> {
        let inner = self.writing()?;
        let is_needed = || inner.check_cursor_offset(from).map(|()| from < inner.published_now());
        if !is_needed()? {
            return Ok(());
        }
        inner.commit.in_office(&inner.control, || {
            if !is_needed()? {
                return Ok(());
            }
            inner.lead(&inner.mark())?;
            inner.cut(&Cut::at(&inner.parts(), from)?)
        })
    }

    /// Drops all records and goes on at `next_offset`, durably.
    pub fn reset(&self, next_offset: u64) -> Result<()> {
        let inner = self.writing()?;
        let cut = Cut::all(next_offset)?;
        inner.commit.in_office(&inner.control, || {
            inner.lead(&inner.mark())?;
            inner.cut(&cut)
        })
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
                follower.rows().forget();
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
    fn parts(&self) -> Parts<'_> {
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
        if payload.len() as u64 <= self.limits.record_bytes {
            return Ok(());
        }
        let (len, limit) = (payload.len(), self.limits.record_bytes);
        Err(Error::new(
            Status::TooLarge,
            format!("the record has {len} bytes; record_max_bytes is {limit}: raise it or split the record"),
        ))
    }

    /// The writer's mutex, if the handle takes writes.
    #[inline(always)]
    fn write(&self) -> Result<MutexGuard<'_, Writer>> {
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
        for item in items {
            self.check_record(item.payload())?;
        }
        let bytes = writer::batch_bytes(items).filter(|bytes| *bytes <= BATCH_LIMIT_BYTES);
        let Some(bytes) = bytes else {
            return Err(Error::new(Status::TooLarge, "the batch takes more than 1 GiB; append it in parts"));
        };
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

    fn mark(&self) -> Mark {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).mark()
    }

    #[inline(always)]
    fn after_append(&self, appended: &Appended) -> Result<()> {
        if appended.work.has(Work::CALL) {
            self.bell.ring();
        }
        if appended.work.has(Work::ROLLED) {
            self.sync_bell.ring();
        }
        let synced = match self.limits.sync {
            Sync::Always => self.sync_to(appended.next_offset),
            _ if appended.work.has(Work::MUST_WAIT) => self.sync_full_segments(),
            _ => Ok(()),
        };
        synced.map_err(|error| error.published_at(appended.first_offset))
    }

    fn sync_to(&self, target: u64) -> Result<()> {
        self.sync_until(target, None).map(|_| ())
    }

    /// A round of syncs, by whoever is in office.
    fn lead(&self, mark: &Mark) -> Result<()> {
        self.commit.lead(&self.dir, &self.tail, &self.control, Some(mark))
    }

    /// Makes a cut, by whoever is in office. Most is synced already, so that appends wait for little.
    fn cut(&self, cut: &Cut) -> Result<()> {
        let mut writer = self.write()?;
        self.lead(&writer.mark())?;
        writer.cut(&self.parts(), cut)
    }

    fn sync_until(&self, target: u64, deadline: Option<Instant>) -> Result<bool> {
        self.commit.sync_to(target, deadline, &self.dir, &self.tail, &self.control, || Some(self.mark()))
    }

    /// The keeper's round: what waits in the ring goes to the store, and the next segment is made before it is needed.
    fn keep(&self) {
        let row = self.rows.newest();
        let Some(active) = row.segments.last().filter(|_| !self.commit.is_poisoned()) else { return };
        let parts = self.parts();
        // A failure poisons; a full disk is met again, and told, by who appends.
        let _ = writer::write_out(&parts, active, active.end());
        writer::make_ahead(&parts, active, self.published_now());
    }

    fn sync_full_segments(&self) -> Result<()> {
        let Some(target) = self.commit.full_up_to() else { return Ok(()) };
        self.commit.sync_to(target, None, &self.dir, &self.tail, &self.control, || None).map(|_| ())
    }

    #[inline]
    fn published_now(&self) -> u64 {
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
        (stat.writer_pid, stat.log_id) = (sys::process_id(), self.log_id);
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
        self.ahead.give_back(&self.dir);
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result
    }

    fn close_durably(&self) -> Result<()> {
        if self.commit.is_poisoned() {
            return Err(self.commit.poisoned());
        }
        self.sync_to(self.published_now())?;
        let mark = self.mark();
        self.commit.seal_durable(&self.control, &mark)?;
        mark.segment.punch_behind(mark.slot.position, mark.slot.next_offset - mark.segment.id.base_offset);
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
}
