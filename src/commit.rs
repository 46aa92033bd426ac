//! Group commit: who writes the tail out and syncs, who rides along, what is durable, and poison. One thread at a time
//! leads; its sync covers all who wait. Nobody waits for the leader while holding the writer's mutex, since the leader
//! takes it for a moment.

use crate::control::Control;
use crate::error::{Error, Result, Status};
use crate::id::Id;
use crate::record::Slot;
use crate::segment::Segment;
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use crate::sys::{self, Dir};
use crate::tail::{RING_BYTES, Tail};
use std::time::{Duration, Instant};

/// A durable slot is due after so many bytes, or so long.
const SLOT_BYTES: u64 = RING_BYTES / 16;
const SLOT_TIME: Duration = if cfg!(feature = "model") { Duration::MAX } else { Duration::from_millis(100) };
/// So many full segments, or bytes of them, may wait for their sync before who rolls waits too.
const BACKLOG_SEGMENTS: usize = 16;
const BACKLOG_BYTES: u64 = 256 << 20;

/// Where the log stood at one moment: what a sync will have covered.
pub(crate) struct Mark {
    pub segment: Arc<Segment>,
    /// What the slot is to say.
    pub slot: Slot,
}

/// A full segment that waits for its sync.
struct Full {
    segment: Arc<Segment>,
    slot: Slot,
}

#[derive(Default)]
struct State {
    leading: bool,
    full: Vec<Full>,
}

/// What only the leader looks at.
struct Leader {
    /// The active segment and up to where it is synced, and where its last slot stands.
    active: Id,
    synced: u64,
    slot_position: u64,
    slot_time: Instant,
}

/// The commit state of a log.
pub(crate) struct Commit {
    state: Mutex<State>,
    done: Condvar,
    leader: Mutex<Leader>,
    /// Held while the tail is written out. Taken behind the writer's mutex, never the other way round.
    writing_out: Mutex<()>,
    durable: AtomicU64,
    dir_is_dirty: AtomicBool,
    poisoned: AtomicBool,
    cause: OnceLock<Error>,
    syncs: AtomicU64,
    syncs_shared: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the leader's time in office, however it ends.
struct Office<'a> {
    commit: &'a Commit,
    control: &'a Control,
}

impl Drop for Office<'_> {
    fn drop(&mut self) {
        if sys::is_panicking() {
            // Nobody knows what of the round was done.
            let defect = Error::new(Status::Bug, "a sync met a defect of the library");
            self.commit.poison(self.control, defect);
        }
        lock(&self.commit.state).leading = false;
        self.commit.done.notify_all();
    }
}

impl Commit {
    /// The state of a log whose records below `durable` survive power loss, the active segment being synced up to
    /// `synced`.
    pub(crate) fn new(durable: u64, active: Id, synced: u64) -> Self {
        let leader = Leader { active, synced, slot_position: synced, slot_time: Instant::now() };
        Self {
            state: Mutex::default(),
            done: Condvar::new(),
            leader: Mutex::new(leader),
            writing_out: Mutex::new(()),
            durable: AtomicU64::new(durable),
            dir_is_dirty: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            cause: OnceLock::new(),
            syncs: AtomicU64::new(0),
            syncs_shared: AtomicU64::new(0),
        }
    }

    /// Every record below it survives power loss.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// How many syncs there were, and how many calls rode along with another's.
    pub(crate) fn syncs(&self) -> (u64, u64) {
        (self.syncs.load(Ordering::Relaxed), self.syncs_shared.load(Ordering::Relaxed))
    }

    /// Whether a write or sync has failed.
    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// What a write on a poisoned handle gets.
    pub(crate) fn poisoned(&self) -> Error {
        let (cause, os_error) = match self.cause.get() {
            Some(cause) => (cause.to_string(), cause.detail().os_error),
            None => ("a defect of the library".to_owned(), 0),
        };
        let message =
            format!("this handle writes no more; reads go on; close it and open the log again. Cause: {cause}");
        Error::new(Status::Poisoned, message).with_os_error(os_error)
    }

    /// Takes no more writes from now on. The first cause is kept.
    pub(crate) fn poison(&self, control: &Control, cause: Error) -> Error {
        control.set_poison(cause.detail().os_error);
        let _ = self.cause.set(cause.clone());
        self.poisoned.store(true, Ordering::SeqCst);
        drop(lock(&self.state));
        self.done.notify_all();
        cause
    }

    /// A file was made or renamed: the directory is synced before anything more counts as durable.
    pub(crate) fn note_new_file(&self) {
        self.dir_is_dirty.store(true, Ordering::Release);
    }

    /// A segment is full; `slot` says how it ends. `true` if too many wait for their sync.
    pub(crate) fn add_full(&self, segment: Arc<Segment>, slot: Slot) -> bool {
        let mut state = lock(&self.state);
        state.full.push(Full { segment, slot });
        let bytes: u64 = state.full.iter().map(|full| full.slot.position).sum();
        state.full.len() > BACKLOG_SEGMENTS || bytes > BACKLOG_BYTES
    }

    /// Where the full segments end that wait for their sync.
    pub(crate) fn full_up_to(&self) -> Option<u64> {
        lock(&self.state).full.last().map(|full| full.slot.next_offset)
    }

    /// Writes the frames of the active segment up to `end` from the ring to its store. What a failure means is the
    /// caller's to say.
    pub(crate) fn write_out(&self, tail: &Tail, control: &Control, segment: &Segment, end: u64) -> Result<()> {
        let _writing = lock(&self.writing_out);
        let stored = segment.stored();
        if stored < end {
            tail.write_out(&*segment.store()?.file()?, stored, end)?;
            // The page first: when the segment says so, the ring is used again.
            control.set_stored(end);
            segment.set_stored(end);
        }
        Ok(())
    }

    /// Returns when every record below `target` is durable: at once, with another's sync, or after leading one.
    /// `false` if the deadline passed while another led; a sync that was begun here is waited for.
    /// `mark` says where the log stands; `None` leaves the active segment out (only full ones are synced).
    pub(crate) fn sync_to(
        &self,
        target: u64,
        deadline: Option<Instant>,
        dir: &Dir,
        tail: &Tail,
        control: &Control,
        mark: impl Fn() -> Option<Mark>,
    ) -> Result<bool> {
        let mut waited = false;
        let mut state = lock(&self.state);
        loop {
            if self.durable() >= target {
                self.syncs_shared.fetch_add(u64::from(waited), Ordering::Relaxed);
                return Ok(true);
            }
            if self.is_poisoned() {
                return Err(self.poisoned());
            }
            if state.leading {
                waited = true;
                state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    None => self.done.wait(state).unwrap_or_else(PoisonError::into_inner),
                    Some(Duration::ZERO) => return Ok(false),
                    Some(left) => self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                };
                continue;
            }
            state.leading = true;
            drop(state);
            let office = Office { commit: self, control };
            self.lead(dir, tail, control, mark().as_ref())?;
            drop(office);
            // Whatever there was is durable now. It is not asked again whether the target was passed: a truncation may
            // have taken the target away.
            return Ok(true);
        }
    }

    /// Waits until nobody leads, and lets nobody lead while `work` runs, which may then call [`Commit::lead`].
    pub(crate) fn in_office<R>(&self, control: &Control, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let mut state = lock(&self.state);
        while state.leading {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if self.is_poisoned() {
            return Err(self.poisoned());
        }
        state.leading = true;
        drop(state);
        let _office = Office { commit: self, control };
        work()
    }

    /// Records from `offset` on were dropped, and all before it is durable.
    pub(crate) fn cut_at(&self, control: &Control, offset: u64) {
        self.durable.store(offset, Ordering::Release);
        control.set_durable(offset);
    }

    /// One round, by whoever leads: the full segments in their order, the tail, the directory, the active segment.
    pub(crate) fn lead(&self, dir: &Dir, tail: &Tail, control: &Control, mark: Option<&Mark>) -> Result<()> {
        let mut leader = lock(&self.leader);
        // Segments that become full from now on stand behind the mark.
        let full: Vec<_> = lock(&self.state).full.iter().map(|full| (Arc::clone(&full.segment), full.slot)).collect();
        for (segment, slot) in &full {
            let written = segment.store().and_then(|store| store.file()?.write_back(slot.position));
            written.map_err(|error| self.fail(control, &error))?;
            self.sync_file(control, segment)?;
        }
        if self.dir_is_dirty.swap(false, Ordering::AcqRel) {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            dir.sync().map_err(|error| self.fail(control, &error))?;
        }
        // A slot says that all before it is durable, names in the directory included.
        for (segment, slot) in &full {
            segment.write_slot(*slot).map_err(|error| self.fail(control, &error))?;
            segment.set_synced();
            segment.store().map_err(|error| self.fail(control, &error))?.release_file();
        }
        let mut state = lock(&self.state);
        state.full.retain(|full| !full.segment.is_synced());
        drop(state);
        if let Some((_, slot)) = full.last() {
            self.advance(control, slot.next_offset);
        }
        let Some(mark) = mark else { return Ok(()) };
        let (segment, slot) = (&mark.segment, mark.slot);
        if leader.active != segment.id {
            leader.active = segment.id;
            leader.synced = 0;
            leader.slot_position = 0;
        }
        if segment.is_synced() {
            // It became full after the mark was taken, and has been synced as such by the loop above.
            return Ok(());
        }
        self.write_out(tail, control, segment, slot.position).map_err(|error| self.fail(control, &error))?;
        if leader.synced < slot.position {
            self.sync_file(control, segment)?;
            leader.synced = slot.position;
        }
        self.advance(control, slot.next_offset);
        let due = slot.position - leader.slot_position.min(slot.position) >= SLOT_BYTES
            || leader.slot_time.elapsed() >= SLOT_TIME;
        if due && slot.position > leader.slot_position {
            segment.write_slot(slot).map_err(|error| self.fail(control, &error))?;
            leader.slot_position = slot.position;
            leader.slot_time = Instant::now();
        }
        Ok(())
    }

    /// A write or sync behind an append that has been published failed: it is an I/O error even where the disk is full,
    /// since the call must not be made again.
    pub(crate) fn fail(&self, control: &Control, error: &Error) -> Error {
        let (message, os_error) = (error.to_string(), error.detail().os_error);
        self.poison(control, Error::new(Status::Io, message).with_os_error(os_error))
    }

    fn sync_file(&self, control: &Control, segment: &Segment) -> Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let synced = segment.store().and_then(|store| store.file()?.sync());
        synced.map_err(|error| self.fail(control, &error))
    }

    fn advance(&self, control: &Control, offset: u64) {
        if self.durable.fetch_max(offset, Ordering::AcqRel) < offset {
            control.set_durable(offset);
        }
    }

    /// The last act of a clean close: both slots say exactly where the log ends, and the first one is synced.
    pub(crate) fn seal_durable(&self, control: &Control, mark: &Mark) -> Result<()> {
        let mut leader = lock(&self.leader);
        let segment = &mark.segment;
        segment.write_slot(mark.slot).map_err(|error| self.fail(control, &error))?;
        self.sync_file(control, segment)?;
        segment.write_slot(mark.slot).map_err(|error| self.fail(control, &error))?;
        leader.slot_position = mark.slot.position;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_of_poison_is_kept() {
        let dir = crate::testing::TempDir::new();
        let file = dir.open().open_or_create_file("LIVE").unwrap();
        let control = Control::create(&file, &[0; 16], 64 << 10, 0).unwrap();
        let commit = Commit::new(0, Id { base_offset: 0, epoch: 0 }, 0);
        commit.poison(&control, Error::new(Status::Io, "first").with_os_error(5));
        commit.poison(&control, Error::new(Status::Io, "second"));
        assert!(commit.is_poisoned());
        let error = commit.poisoned();
        assert_eq!((error.status(), error.detail().os_error), (Status::Poisoned, 5));
        assert!(error.to_string().contains("first"));
    }
}
