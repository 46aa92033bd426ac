//! The log: the handle that threads share. It puts the parts together: append under the writer's mutex, commit outside
//! of it, reads beside both. What each part does stands in the part.

use crate::ahead::Ahead;
use crate::checksum::crc32c;
use crate::commit::{Commit, Mark};
use crate::config::{BATCH_LIMIT_BYTES, Config, Limits, Sync};
use crate::control::{Control, LIVE, Lock};
use crate::error::{Error, Result, Status};
use crate::keeper::{Bell, Keeper};
use crate::record::Frame;
use crate::recovery;
use crate::row::{Reader, Rows};
use crate::sys::{self, Dir};
use crate::tail::{RING_AT, RING_BYTES, Tail};
use crate::writer::{self, Appended, Parts, Work, Writer};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log, open for writing. Shared between threads by reference; it closes when dropped, but [`Log::close`] says if
/// that failed.
pub struct Log {
    inner: Arc<Inner>,
    /// The keeper and the syncer.
    keepers: Vec<Keeper>,
    open: bool,
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
    /// The next offset: a record exists when this has passed it.
    published: AtomicU64,
    log_id: [u8; 16],
    recovered_records: u64,
    dropped_bytes: u64,
}

/// What [`Log::stat`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// How many segments there are.
    pub segment_count: u32,
    /// Offset of the first record.
    pub first_offset: u64,
    /// Offset that the next record will get.
    pub next_offset: u64,
    /// Every record below it survives power loss.
    pub durable_offset: u64,
    /// Bytes that the log's files take on the disk.
    pub disk_bytes: u64,
    /// Payload bytes of all records.
    pub payload_bytes: u64,
    /// Records that the open found behind the last durable mark.
    pub recovered_records: u64,
    /// Bytes that the open found behind the last whole record and left out.
    pub dropped_bytes: u64,
    /// Records appended since the open.
    pub appends: u64,
    /// Syncs since the open.
    pub syncs: u64,
    /// Appends and syncs that were served by another's sync.
    pub syncs_shared: u64,
    /// The writing process.
    pub writer_pid: i32,
    /// Made with the log.
    pub log_id: [u8; 16],
}

impl Log {
    /// Opens the log in a directory for writing, and makes both where they are missing.
    pub fn open(dir: impl AsRef<Path>, config: &Config) -> Result<Self> {
        let path = dir.as_ref();
        let limits = config.limits()?;
        if path.as_os_str().is_empty() {
            return Err(Error::new(Status::Argument, "the directory's path is empty"));
        }
        let dir = Arc::new(Dir::open_or_create(path)?);
        let lock = Lock::take(&dir, true)?;
        let recovered = recovery::recover(&dir, &limits, &lock)?;
        let (header, found) = (recovered.header, recovered.found);
        let control = Control::create(lock.file(), &header.log_id, RING_AT, RING_BYTES)?;
        // A mapping keeps its open file, and with it the lock, until the last cursor goes: so it has an open file of
        // its own.
        let tail = Tail::map(&dir.open_write(LIVE)?)?;
        let mut segments = recovered.segments;
        let Some(active) = segments.pop() else { return Err(Error::new(Status::Bug, "recovery found no segment")) };
        let first = segments.first().map_or(active.id.base_offset, |segment| segment.id.base_offset);
        segments.push(Arc::clone(&active));
        control.set_layout(0, active.id.base_offset, active.id.epoch);
        control.set_stored(found.end);
        control.set_first(first);
        control.set_durable(recovered.durable);
        control.publish(found.next_offset, found.end);
        let commit = Commit::new(recovered.durable, active.id.base_offset, found.end);
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
            published: AtomicU64::new(found.next_offset),
            log_id: header.log_id,
            recovered_records: recovered.records_behind_mark,
            dropped_bytes: recovered.dropped_bytes,
        });
        let mut log = Self { inner: Arc::clone(&inner), keepers: Vec::new(), open: true };
        let keeping = Arc::clone(&inner);
        log.keepers.push(Keeper::start(&inner.bell, move || keeping.keep())?);
        let syncing = Arc::clone(&inner);
        log.keepers.push(Keeper::start(&inner.sync_bell, move || {
            // A failure poisons; the next append says so.
            let _ = syncing.sync_full_segments();
        })?);
        Ok(log)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Appends a record; returns its offset. Under [`Sync::Always`] it is durable on return.
    #[inline]
    pub fn append(&self, payload: &[u8]) -> Result<u64> {
        let inner = &*self.inner;
        inner.check_record(payload)?;
        let (payload_crc, now_ns) = (crc32c(0, payload), sys::clock_coarse_ns());
        let appended = inner.write()?.append(&inner.parts(), payload, payload_crc, now_ns)?;
        inner.after_append(&appended)?;
        Ok(appended.first_offset)
    }

    /// Appends records as one batch: all of them or none, whatever happens. Returns the first one's offset.
    pub fn append_batch(&self, payloads: &[&[u8]]) -> Result<u64> {
        let inner = &*self.inner;
        for payload in payloads {
            inner.check_record(payload)?;
        }
        let bytes = writer::batch_bytes(payloads).filter(|bytes| *bytes <= BATCH_LIMIT_BYTES);
        let Some(bytes) = bytes else {
            return Err(Error::new(Status::TooLarge, "the batch takes more than 1 GiB; append it in parts"));
        };
        if payloads.is_empty() {
            return Ok(self.next_offset());
        }
        let appended = inner.write()?.append_batch(&inner.parts(), payloads, bytes)?;
        inner.after_append(&appended)?;
        Ok(appended.first_offset)
    }

    /// Makes every record that has been appended durable.
    pub fn sync(&self) -> Result<()> {
        let inner = &*self.inner;
        inner.sync_to(inner.published())
    }

    /// Hands the record of this offset to `take`: payload and timestamp.
    #[inline(always)]
    pub fn read<R>(&self, offset: u64, take: impl FnOnce(&[u8], u64) -> R) -> Result<R> {
        let inner = &*self.inner;
        inner.rows.lend(|reader| inner.read(reader, offset, |frame| take(frame.payload, frame.head.timestamp_ns)))
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> u64 {
        self.inner.first_offset()
    }

    /// Offset that the next record will get.
    pub fn next_offset(&self) -> u64 {
        self.inner.published()
    }

    /// Tells how the log stands.
    pub fn stat(&self) -> Result<Stat> {
        self.inner.stat()
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
        let result = self.inner.close();
        if kept {
            result
        } else {
            result.and(Err(Error::new(Status::Bug, "the log's thread met a defect of the library")))
        }
    }

    /// Takes no more writes after a defect of the library.
    pub(crate) fn poison_for_defect(&self, what: &str) {
        let inner = &self.inner;
        inner.commit.poison(&inner.control, Error::new(Status::Bug, what));
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
            Sync::Never if appended.work.has(Work::MUST_WAIT) => self.sync_full_segments(),
            Sync::Never => Ok(()),
        };
        synced.map_err(|error| error.published_at(appended.first_offset))
    }

    fn sync_to(&self, target: u64) -> Result<()> {
        self.commit.sync_to(target, &self.dir, &self.tail, &self.control, || Some(self.mark()))
    }

    /// The keeper's round: what waits in the ring goes to the store, and the next segment is made before it is needed.
    fn keep(&self) {
        let row = self.rows.newest();
        let Some(active) = row.segments.last().filter(|_| !self.commit.is_poisoned()) else { return };
        let parts = self.parts();
        // A failure poisons; a full disk is met again, and told, by who appends.
        let _ = writer::write_out(&parts, active, active.end());
        writer::make_ahead(&parts, active, self.published());
    }

    fn sync_full_segments(&self) -> Result<()> {
        let Some(target) = self.commit.full_up_to() else { return Ok(()) };
        self.commit.sync_to(target, &self.dir, &self.tail, &self.control, || None)
    }

    pub(crate) fn first_offset(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Whether a record stands at this offset; the error says why not.
    #[inline]
    pub(crate) fn check_offset(&self, offset: u64) -> Result<()> {
        let next = self.published();
        if offset >= next {
            return Err(self.beyond(offset, next));
        }
        let first = self.first_offset();
        if offset < first { Err(trimmed(offset, first)) } else { Ok(()) }
    }

    #[cold]
    pub(crate) fn beyond(&self, offset: u64, next: u64) -> Error {
        let path = self.dir.path().display();
        Error::new(Status::Beyond, format!("there is no record {offset} in '{path}' yet; the next one will be {next}"))
            .at(offset)
    }

    #[inline(always)]
    fn read<R>(&self, reader: &mut Reader, offset: u64, take: impl FnOnce(&Frame<'_>) -> R) -> Result<R> {
        self.check_offset(offset)?;
        match reader.read(&self.rows, &self.tail, offset, take)? {
            Some(result) => Ok(result),
            None => Err(trimmed(offset, self.first_offset())),
        }
    }

    fn stat(&self) -> Result<Stat> {
        let row = self.rows.newest();
        // Read first: it may only lag behind the next offset, never pass it.
        let durable_offset = self.commit.durable();
        let (payload_bytes, next_offset, appends) = {
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            // Not the writer's own next offset, which a defect in an append may leave ahead of what was published.
            (writer.prior_payload_bytes.saturating_add(writer.payload_bytes), self.published(), writer.appends)
        };
        let mut disk_bytes = self.dir.stat(LIVE)?.map_or(0, |stat| stat.disk_bytes);
        for segment in &row.segments {
            for name in [segment.id.store_name(), segment.id.index_name()] {
                disk_bytes += self.dir.stat(&name)?.map_or(0, |stat| stat.disk_bytes);
            }
        }
        let (syncs, syncs_shared) = self.commit.syncs();
        Ok(Stat {
            segment_count: u32::try_from(row.segments.len()).unwrap_or(u32::MAX),
            first_offset: self.first_offset(),
            next_offset,
            durable_offset,
            disk_bytes,
            payload_bytes,
            recovered_records: self.recovered_records,
            dropped_bytes: self.dropped_bytes,
            appends,
            syncs,
            syncs_shared,
            writer_pid: sys::process_id(),
            log_id: self.log_id,
        })
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
        self.ahead.give_back(&self.dir);
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result
    }

    fn close_durably(&self) -> Result<()> {
        if self.commit.is_poisoned() {
            return Err(self.commit.poisoned());
        }
        self.sync_to(self.published())?;
        let mark = self.mark();
        self.commit.seal_durable(&self.control, &mark)?;
        mark.segment.punch_behind(mark.slot.position, mark.slot.next_offset - mark.segment.id.base_offset);
        Ok(())
    }
}

fn trimmed(offset: u64, first: u64) -> Error {
    Error::new(Status::Trimmed, format!("record {offset} was removed; the first one is {first}")).at(offset)
}

/// Deletes the log in a directory, and the directory if it is then empty.
pub fn remove(dir: impl AsRef<Path>) -> Result<()> {
    let path = dir.as_ref();
    if path.as_os_str().is_empty() {
        return Err(Error::new(Status::Argument, "the directory's path is empty"));
    }
    let dir = Dir::open(path)?;
    let none = || Error::new(Status::NotFound, format!("there is no log in '{}'", path.display()));
    if recovery::Files::list(&dir)?.live.is_empty() {
        return Err(none());
    }
    let lock = Lock::take(&dir, true)?;
    let removed = recovery::remove_files(&dir)?;
    drop(lock);
    if !removed {
        return Err(none());
    }
    dir.remove_itself()?;
    Ok(())
}
