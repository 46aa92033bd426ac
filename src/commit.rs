//! Group commit: who writes the tail out and syncs, who rides along, what is durable, and poison. One thread at a time
//! leads; its sync covers all who wait. Nobody waits for the leader while holding the writer's mutex, since the leader
//! takes it for a moment.

use crate::control::Control;
use crate::error::{Error, OPEN_AGAIN, Result, Status};
use crate::id::Id;
use crate::record::{FRAMES_START, Slot};
use crate::seeded::{Bug, seeded};
use crate::segment::Segment;
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, fence};
use crate::sys::{self, Dir, File};
use crate::tail::{RING_BYTES, Tail};
use crate::waiting::Awaited;
use crate::zeroed::Zeroed;
use std::time::{Duration, Instant};

/// A durable slot is due after so many bytes, or so long.
const SLOT_BYTES: u64 = RING_BYTES / 16;
const SLOT_TIME: Duration = if cfg!(feature = "model") { Duration::MAX } else { Duration::from_millis(100) };
/// So many full segments, or bytes of their frames (those of four of the default size), may wait for their sync before
/// who rolls waits too. Where no thread syncs them, none may.
const BACKLOG_SEGMENTS: usize = 16;
const BACKLOG_BYTES: u64 = 256 << 20;

/// Where the log stood at one moment: what a sync will have covered.
pub(crate) struct Mark {
    pub segment: Arc<Segment>,
    /// What the slot is to say.
    pub slot: Slot,
    /// Up to here the segment's store has its space.
    pub allocated: u64,
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
    /// How many rounds have ended.
    rounds: u64,
    /// What the round that runs makes durable; `u64::MAX` until that is known.
    covers: u64,
    /// How many wait for the end of an even round, and of an odd one.
    waiting: [u32; 2],
    /// Somebody waited when the last round ended.
    are_many: bool,
}

impl State {
    /// For the end of which round it has to be waited, even or odd: of the one that runs, or that runs next; or of the
    /// one behind it, which is the first to cover this target.
    fn round_for(&self, target: u64) -> usize {
        usize::from(!self.rounds.is_multiple_of(2)) ^ usize::from(target > self.covers)
    }

    fn begin_round(&mut self) {
        (self.leading, self.covers) = (true, u64::MAX);
    }
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
    /// An even round has ended, and an odd one.
    done: [Condvar; 2],
    leader: Mutex<Leader>,
    /// So many full segments may wait for their sync.
    backlog_segments: usize,
    /// LIVE, which the writer's lock is on.
    live: File,
    /// Held while the tail is written out, with zeros ahead of it. Taken behind the writer's mutex, never the other way
    /// round.
    writing_out: Mutex<Zeroed>,
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
        let mut state = lock(&self.commit.state);
        let ended = state.round_for(0);
        state.leading = false;
        state.rounds += 1;
        let waited = state.waiting[ended] > 0;
        state.are_many = state.waiting != [0, 0];
        // First who goes on, while the disk has nothing to do.
        self.commit.hand_on(&state);
        drop(state);
        if waited {
            self.commit.done[ended].notify_all();
        }
    }
}

impl Commit {
    /// The state of a log whose records below `durable` survive power loss, the active segment being synced up to
    /// `synced`. `live` is LIVE, once more; `zeroed`, whether zeros are written ahead.
    pub(crate) fn new(live: File, durable: u64, active: Id, synced: u64, zeroed: Zeroed, has_thread: bool) -> Self {
        let leader = Leader { active, synced, slot_position: synced, slot_time: Instant::now() };
        Self {
            state: Mutex::default(),
            done: [Condvar::new(), Condvar::new()],
            leader: Mutex::new(leader),
            backlog_segments: if has_thread { BACKLOG_SEGMENTS } else { 0 },
            live,
            writing_out: Mutex::new(zeroed),
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

    /// Takes no more writes from now on. The first cause is kept. What is returned tells the caller of both.
    pub(crate) fn poison(&self, control: &Control, cause: Error) -> Error {
        if !seeded(Bug::PoisonNotNoted) {
            control.set_poison(cause.detail().os_error);
        }
        let _ = self.cause.set(cause.clone());
        self.poisoned.store(true, Ordering::SeqCst);
        drop(lock(&self.state));
        self.done.iter().for_each(Condvar::notify_all);
        control.alarm().ring_all();
        let text = cause.to_string();
        if cause.status() == Status::Bug || text.ends_with(OPEN_AGAIN) {
            return cause;
        }
        Error::new(cause.status(), format!("{text}; this handle writes no more: {OPEN_AGAIN}"))
            .with_os_error(cause.detail().os_error)
            .at(cause.detail().offset)
    }

    /// A file was made or renamed: the directory is synced before anything more counts as durable.
    pub(crate) fn note_new_file(&self) {
        self.dir_is_dirty.store(true, Ordering::Release);
    }

    /// A segment is full; `slot` says how it ends. `true` if too many wait for their sync.
    pub(crate) fn add_full(&self, segment: Arc<Segment>, slot: Slot) -> bool {
        let mut state = lock(&self.state);
        state.full.push(Full { segment, slot });
        self.are_too_many(&state.full)
    }

    /// Whether who rolls must wait until some of these full segments are synced.
    fn are_too_many(&self, full: &[Full]) -> bool {
        let bytes: u64 = full.iter().map(|full| full.slot.position.saturating_sub(FRAMES_START)).sum();
        full.len() > self.backlog_segments || bytes > BACKLOG_BYTES
    }

    /// Where the full segments end that wait for their sync.
    pub(crate) fn full_up_to(&self) -> Option<u64> {
        lock(&self.state).full.last().map(|full| full.slot.next_offset)
    }

    /// Up to where they must be durable, so that what waits behind that is no longer too much.
    pub(crate) fn backlog_up_to(&self) -> Option<u64> {
        let full = &lock(&self.state).full;
        let is_enough = |synced: &usize| !self.are_too_many(&full[*synced..]);
        let synced = (0..full.len()).find(is_enough).unwrap_or(full.len());
        full[..synced].last().map(|full| full.slot.next_offset)
    }

    /// Fails when LIVE was removed or replaced while the log is open: the lock is one on a file that nobody sees any
    /// more, and another handle may have opened the log and gone on where this one would write. Asked before each write
    /// and sync: one fstat(2), a few hundred nanoseconds.
    pub(crate) fn check_alone(&self) -> Result<()> {
        if !self.live.has_no_name() {
            return Ok(());
        }
        let text = format!(
            "'{}' was removed or replaced while the log was open, so another handle may be writing it; close this one \
             and open the log again",
            self.live.path()
        );
        Err(Error::new(Status::Io, text))
    }

    /// Writes the frames of the active segment up to `end` from the ring to its store. What a failure means is the
    /// caller's to say.
    pub(crate) fn write_out(&self, tail: &Tail, control: &Control, segment: &Segment, end: u64) -> Result<()> {
        self.write_out_ahead(tail, control, segment, end, 0)
    }

    /// The same, before a sync, with zeros ahead of what is written, in space that is `allocated`.
    fn write_out_ahead(
        &self,
        tail: &Tail,
        control: &Control,
        segment: &Segment,
        end: u64,
        allocated: u64,
    ) -> Result<()> {
        let mut zeroed = lock(&self.writing_out);
        self.check_alone()?;
        let stored = segment.stored();
        if stored < end {
            let store = segment.store()?.file()?;
            if allocated > end {
                // All that writes to the store behind `end` has written it out up to there before: here, not yet.
                zeroed.write_ahead(&store, segment.id, stored, end, allocated);
            }
            tail.write_out(&store, stored, end)?;
            // The page first: when the segment says so, the ring is used again.
            control.set_stored(end);
            segment.set_stored(end);
        }
        Ok(())
    }

    /// Returns when every record below `target` is durable: at once, with another's sync, or after leading one.
    /// `false` if the deadline passed while another led; a sync that was begun here is waited for. Who calls has seen
    /// that the target was not durable: a call that leads none has shared another's.
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
        let mut state = lock(&self.state);
        let mut waited = None;
        loop {
            if self.durable() >= target {
                self.syncs_shared.fetch_add(1, Ordering::Relaxed);
                if waited == Some(state.round_for(0)) {
                    // A round made more durable than it was to, and this thread was woken to lead the next one.
                    self.hand_on(&state);
                }
                return Ok(true);
            }
            if self.is_poisoned() {
                return Err(self.poisoned());
            }
            if state.leading {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                if left == Some(Duration::ZERO) {
                    return Ok(false);
                }
                waited = Some(state.round_for(target));
                state = self.wait(state, target, left);
                continue;
            }
            let are_many = state.are_many;
            state.begin_round();
            drop(state);
            let office = Office { commit: self, control };
            if are_many {
                // Those whom the last round has woken: what they append now, this sync covers.
                sys::let_others_run();
            }
            let mark = mark();
            let covers = mark.as_ref().map_or_else(|| self.full_up_to(), |mark| Some(mark.slot.next_offset));
            lock(&self.state).covers = covers.unwrap_or(0);
            self.lead(dir, tail, control, mark.as_ref())?;
            drop(office);
            // Whatever there was is durable now. It is not asked again whether the target was passed: a truncation may
            // have taken the target away.
            return Ok(true);
        }
    }

    /// Waits for the end of the first round that covers `target`, or for nothing.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        target: u64,
        left: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let round = state.round_for(target);
        let done = &self.done[round];
        state.waiting[round] += 1;
        let mut state = match left {
            None => done.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) => done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.waiting[round] -= 1;
        state
    }

    /// Wakes one of those whom the round that has ended did not cover, if nobody leads yet: the rest sleep until the
    /// next round has ended. Who is woken so leads, or hands on.
    fn hand_on(&self, state: &State) {
        let next = state.round_for(0);
        if !state.leading && state.waiting[next] > 0 {
            self.done[next].notify_one();
        }
    }

    /// Waits until nobody leads, and lets nobody lead while `work` runs, which may then call [`Commit::lead`].
    pub(crate) fn in_office<R>(&self, control: &Control, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let mut state = lock(&self.state);
        while state.leading {
            state = self.wait(state, 0, None);
        }
        if self.is_poisoned() {
            return Err(self.poisoned());
        }
        state.begin_round();
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
            segment.punch_once(slot);
        }
        for (segment, slot) in &full {
            let written = segment.store().and_then(|store| store.file()?.write_back(slot.position));
            written.map_err(|error| self.fail(control, &error))?;
            if !seeded(Bug::FullSegmentNotSynced) {
                self.sync_file(control, segment)?;
            }
        }
        if self.dir_is_dirty.swap(false, Ordering::AcqRel) && !seeded(Bug::RollNotNamed) {
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
        if seeded(Bug::SyncedBeforeWritten) {
            self.sync_file(control, segment)?;
            leader.synced = slot.position;
        }
        let written = self.write_out_ahead(tail, control, segment, slot.position, mark.allocated);
        written.map_err(|error| self.fail(control, &error))?;
        if seeded(Bug::SlotBeforeSync) {
            segment.write_slot(slot)?;
        }
        if leader.synced < slot.position && !seeded(Bug::AcknowledgedUnsynced) {
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
        let sync = || segment.store().and_then(|store| store.file()?.sync());
        let synced = sync().or_else(|error| if seeded(Bug::SyncRetried) { sync() } else { Err(error) });
        synced.map_err(|error| self.fail(control, &error))
    }

    fn advance(&self, control: &Control, offset: u64) {
        if self.durable.fetch_max(offset, Ordering::AcqRel) < offset {
            control.set_durable(offset);
            fence(Ordering::SeqCst);
            control.alarm().ring_if_passed(Awaited::Durable, offset);
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
    use crate::testing::TempDir;

    fn open() -> (TempDir, Control, Commit) {
        let dir = TempDir::new();
        let file = dir.open().open_or_create_file("LIVE").unwrap();
        let control = Control::create(&file, &[0; 16], 64 << 10, 0, true).unwrap();
        (dir, control, Commit::new(file, 0, Id { base_offset: 0, epoch: 0 }, 0, Zeroed::new(false), true))
    }

    #[test]
    fn the_first_cause_of_poison_is_kept() {
        let (_dir, control, commit) = open();
        commit.poison(&control, Error::new(Status::Io, "first").with_os_error(5));
        commit.poison(&control, Error::new(Status::Io, "second"));
        let error = commit.poisoned();
        assert_eq!((error.status(), error.detail().os_error), (Status::Poisoned, 5));
        assert!(commit.is_poisoned() && error.to_string().contains("first"));
    }

    #[test]
    fn who_poisons_is_told_once_what_to_do() {
        let told = |status, text: &str| {
            let (_dir, control, commit) = open();
            commit.poison(&control, Error::new(status, text)).to_string()
        };
        assert_eq!(told(Status::Io, "it failed"), format!("it failed; this handle writes no more: {OPEN_AGAIN}"));
        let whole = format!("it failed; {OPEN_AGAIN}");
        assert_eq!(told(Status::Io, &whole), whole);
        assert_eq!(told(Status::Bug, "a defect"), "a defect");
    }

    #[test]
    fn a_lock_on_a_file_that_lost_its_name_is_none() {
        let (dir, _, commit) = open();
        assert!(commit.check_alone().is_ok());
        std::fs::remove_file(dir.path().join("LIVE")).unwrap();
        let error = commit.check_alone().unwrap_err();
        assert!(error.status() == Status::Io && error.to_string().contains("removed or replaced"), "{error}");
    }

    /// CI's contract test met an append that was counted nowhere: another's sync had ended before it asked.
    #[test]
    fn whose_records_are_durable_before_it_asks_has_shared_a_sync() {
        let (dir, control, commit) = open();
        commit.advance(&control, 5);
        assert!(commit.sync_to(5, None, &dir.open(), &Tail::none(), &control, || None).unwrap());
        assert_eq!(commit.syncs(), (0, 1));
        assert!(commit.sync_to(4, None, &dir.open(), &Tail::none(), &control, || None).unwrap());
        assert_eq!(commit.syncs(), (0, 2));
    }

    #[test]
    fn who_rolls_waits_when_more_than_enough_waits_for_its_sync() {
        let (dir, _, commit) = open();
        let folder = Arc::new(dir.open());
        let add = |commit: &Commit, n: u64, position| {
            let segment = Segment::sealed(&folder, Id { base_offset: n, epoch: 0 }, [0; 16], n + 1);
            let slot = Slot { position, next_offset: n + 1, ..Slot::default() };
            commit.add_full(Arc::new(segment), slot)
        };
        assert_eq!(commit.full_up_to(), None);
        let waits: Vec<bool> = (0..18).map(|n| add(&commit, n, 4096)).collect();
        assert_eq!(waits.iter().position(|waits| *waits), Some(16), "for more than {BACKLOG_SEGMENTS} segments");
        assert_eq!(commit.full_up_to(), Some(18));
        assert_eq!(commit.backlog_up_to(), Some(2), "no longer than until enough of them are synced");
        let (_dir, _, commit) = open();
        assert_eq!(commit.backlog_up_to(), None);
        let whole = FRAMES_START + (64 << 20);
        assert!((0..4).all(|n| !add(&commit, n, whole)), "there are {BACKLOG_BYTES} bytes of frames");
        assert_eq!(commit.backlog_up_to(), None);
        assert!(add(&commit, 4, FRAMES_START + 8), "it waits for more of them");
        assert_eq!(commit.backlog_up_to(), Some(1));
        let (_dir, _, commit) = open();
        assert!(add(&commit, 0, FRAMES_START + BACKLOG_BYTES + 8));
        assert_eq!(commit.backlog_up_to(), Some(1), "one is more than enough");
        let (_dir, _, with_thread) = open();
        let commit = Commit { backlog_segments: 0, ..with_thread };
        assert!((0..3).all(|n| add(&commit, n, 4096)), "without a thread nobody else syncs them");
        assert_eq!(commit.backlog_up_to(), Some(3));
    }

    #[test]
    fn who_has_waited_is_counted_no_more() {
        let (_dir, _, commit) = open();
        assert_eq!(commit.wait(lock(&commit.state), 1, Some(Duration::ZERO)).waiting, [0, 0]);
    }

    /// Else one who slept beside it sleeps on, and nobody leads.
    #[test]
    fn who_was_woken_to_lead_and_need_not_hands_on() {
        let (dir, control, commit) = open();
        let (all, (tell, told)) = (Arc::new((control, commit, dir.open())), std::sync::mpsc::channel());
        *lock(&all.1.state) = State { leading: true, covers: 5, ..State::default() };
        for target in [10, 11] {
            let (all, tell) = (Arc::clone(&all), tell.clone());
            std::thread::spawn(move || {
                tell.send(all.1.sync_to(target, None, &all.2, &Tail::none(), &all.0, || None).is_ok())
            });
        }
        while lock(&all.1.state).waiting.iter().sum::<u32>() < 2 {
            std::thread::yield_now();
        }
        all.1.advance(&all.0, 20);
        drop(Office { commit: &all.1, control: &all.0 });
        assert_eq!([(); 2].map(|()| told.recv_timeout(Duration::from_secs(30))), [Ok(true); 2]);
    }

    /// Else the next one who leads waits for ever.
    #[test]
    fn who_led_has_left_however_it_ended() {
        let (_dir, control, commit) = open();
        commit.in_office(&control, || Ok(())).unwrap();
        assert!(!lock(&commit.state).leading);
        let failed: Result<()> =
            commit.in_office(&control, || Err(commit.fail(&control, &Error::new(Status::Io, "it"))));
        assert_eq!(failed.unwrap_err().status(), Status::Io);
        assert!(!lock(&commit.state).leading);
        assert_eq!(commit.in_office(&control, || Ok(())).unwrap_err().status(), Status::Poisoned);
        assert!(!lock(&commit.state).leading);
    }
}
