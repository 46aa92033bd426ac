//! A log that another handle writes, in this process or in another one, or nobody. The follower takes no lock and
//! writes nothing. The control page tells it where the log stands, as long as that can be believed; else the files do,
//! as recovery would read them. One word of the page, the layout, tells whether what it knows still holds.

use crate::config::{Limits, flags};
use crate::control::{LIVE, Seen};
use crate::ending::{Place, begin_above, doubtful, find_end, start_above_floor};
use crate::error::{Error, Result, Status};
use crate::event::Event;
use crate::files::{self, Files};
use crate::id::Id;
use crate::live::Live;
use crate::memory;
use crate::record::{Check, Slot};
use crate::row::Rows;
use crate::run::payload_before;
use crate::segment::Segment;
use crate::stat::{self, Stat};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::sys::{self, Dir, Slept, Worker};
use crate::tail::Tail;
use crate::view::{self, Horizon, LOOKS, Moment, View};
use crate::waiting::{self, Alarm, Awaited, Bed, Flood, Heard};
use std::path::Path;
use std::time::{Duration, Instant};

/// A page that is being changed is looked at so often, with so long a pause in between; then the files are asked. Its
/// writer may have been killed.
const TRIES: u32 = 40;
const AT_ONCE: u32 = 4;
const PAUSE: Duration = Duration::from_micros(500);
/// Files that change while they are read are read again so often.
const SCANS: u32 = 8;
/// What nothing tells of is looked at so often: that LIVE is another file, and what a writer does whose page is not
/// believed.
const LOOK_AGAIN_NS: u64 = 10_000_000;
/// What memory is for here.
const SEGMENTS: &str = "the log's row of segments";
/// Instead of the next offset: the page tells it.
const BY_PAGE: u64 = u64::MAX;

/// A log that is followed.
pub(crate) struct Follower {
    dir: Arc<Dir>,
    check: Check,
    live: Arc<Live>,
    rows: Rows,
    /// The page's layout when the row was made.
    layout: AtomicU64,
    /// Where the log began then; and where the files say that it ends, if it is they that are believed.
    first: AtomicU64,
    next: AtomicU64,
    looking: Mutex<Looking>,
    event: Event,
    /// The thread that rings the event, if there is one.
    watch: Mutex<Option<Worker>>,
    may_have_thread: bool,
    closed: AtomicBool,
}

/// What only he who looks again knows.
struct Looking {
    log_id: [u8; 16],
    files: ByFiles,
    /// When he did.
    at_ns: u64,
}

/// What looking came to: how the log stood at one moment.
struct Found {
    layout: u64,
    segments: Vec<Arc<Segment>>,
    log_id: [u8; 16],
    first: u64,
    next: u64,
    /// The files tell so, not the page.
    files: Option<ByFiles>,
}

#[derive(Clone, Copy, Default)]
struct ByFiles {
    durable: u64,
    payload_bytes: u64,
    first_payload_bytes: u64,
    /// Where the log ends.
    end: Slot,
}

impl Follower {
    /// Follows the log in a directory, which must hold one.
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self> {
        let dir = Arc::new(files::open_dir(path, false, limits.io)?);
        let mapped = dir.maps();
        let live = Arc::new(Live::new(&dir)?);
        let found = find(&dir, &live, &[], None)?;
        let looking = Looking { log_id: found.log_id, files: ByFiles::default(), at_ns: 0 };
        let follower = Self {
            dir,
            check: view::check_of(limits),
            live,
            rows: Rows::new(Vec::new(), mapped)?,
            layout: AtomicU64::new(0),
            first: AtomicU64::new(0),
            next: AtomicU64::new(0),
            looking: Mutex::new(looking),
            event: Event::default(),
            watch: Mutex::new(None),
            may_have_thread: !limits.has(flags::NO_THREAD),
            closed: AtomicBool::new(false),
        };
        follower.take_over(&mut follower.lock(), found);
        Ok(follower)
    }

    fn lock(&self) -> MutexGuard<'_, Looking> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error for a write.
    #[cold]
    pub(crate) fn read_only(&self) -> Error {
        let path = self.dir.shown();
        let text = format!("the log '{path}' was opened with LOG_READ_ONLY; open it for writing to change it");
        Error::new(Status::ReadOnly, text)
    }

    fn take_over(&self, looking: &mut Looking, found: Found) {
        looking.log_id = found.log_id;
        looking.at_ns = sys::clock_coarse_ns();
        self.rows.set(found.segments);
        looking.files = found.files.unwrap_or_default();
        self.first.store(found.first, Ordering::Release);
        self.next.store(found.files.map_or(BY_PAGE, |_| found.next), Ordering::Release);
        // Last: who sees it sees the row that belongs to it.
        self.layout.store(found.layout, Ordering::Release);
        // Files that are gone take space until nobody has them mapped any more.
        self.rows.forget();
    }

    /// First and next offset as far as they are known, if they cannot be known now.
    pub(crate) fn last_known(&self) -> (u64, u64) {
        let next = self.published().unwrap_or_else(|_| match self.next.load(Ordering::Acquire) {
            BY_PAGE => self.live.control().published(),
            next => next,
        });
        (self.first_offset(), next)
    }

    /// Where the record before this offset ends in the active segment.
    fn end_of(&self, active: &Segment, next_offset: u64) -> Result<Slot> {
        let header = *active.store()?.header();
        let mut end = Place::start(&header).slot();
        if next_offset > header.base_offset {
            let (position, head) = self.rows.lend(|reader| reader.place(active, self.tail(), next_offset - 1))?;
            end.position = position + head.frame_bytes();
            (end.next_offset, end.last_timestamp_ns) = (next_offset, head.timestamp_ns);
        }
        Ok(end)
    }

    fn is_by_page(&self) -> bool {
        self.next.load(Ordering::Acquire) == BY_PAGE
    }

    /// The next offset, if what is known of the log still holds.
    #[inline(always)]
    fn published_at_layout(&self) -> Option<u64> {
        // In this order: the page is asked between the layout that was known and the layout that is.
        let known = self.layout.load(Ordering::Acquire);
        match self.next.load(Ordering::Acquire) {
            BY_PAGE => self.live.control().published_at(known),
            next => (self.live.control().layout() == known).then_some(next),
        }
    }

    /// First and next offset by one look at the page, where that is read by calls, if what is known of the log still
    /// holds and there is a record at `offset`.
    #[inline]
    fn bounds_at_once(&self, offset: u64) -> Option<(u64, u64)> {
        let known = self.layout.load(Ordering::Acquire);
        let by_page = self.is_by_page();
        let (first, next, layout) = self.live.control().bounds()?;
        (by_page && layout == known && offset < next).then_some((first, next))
    }

    /// The layout has changed: makes the row anew. What is returned held at one moment of this call; if the layout goes
    /// on changing, it may hold no more, and then it is looked again with the next record.
    #[cold]
    fn look_again(&self) -> Result<u64> {
        let mut looking = self.lock();
        if let Some(next) = self.published_at_layout() {
            return Ok(next);
        }
        let found = find(&self.dir, &self.live, &self.rows.newest().segments, None)?;
        let next = found.next;
        self.take_over(&mut looking, found);
        Ok(next)
    }

    /// There is nothing more: whether that is since LIVE is another file, or the page is none to be believed.
    #[cold]
    fn look_at_end(&self) -> Result<u64> {
        let mut looking = self.lock();
        let now = sys::clock_coarse_ns();
        let is_due = now.abs_diff(looking.at_ns) >= LOOK_AGAIN_NS;
        let by_page = self.is_by_page();
        // A writer that goes says so in the page, or is killed; whoever comes behind it may have another file.
        if !is_due && by_page && self.live.control().writer() != 0 {
            return self.published_unlocked(looking);
        }
        if is_due {
            looking.at_ns = now;
        }
        self.live.look(&self.dir)?;
        let known = self.layout.load(Ordering::Acquire);
        if is_due && !by_page && self.live.control().layout() == known {
            let found = find(&self.dir, &self.live, &self.rows.newest().segments, Some(known))?;
            let ends = (self.first.load(Ordering::Acquire), self.next.load(Ordering::Acquire));
            if found.files.is_none() || (found.first, found.next) != ends {
                self.take_over(&mut looking, found);
            }
        }
        self.published_unlocked(looking)
    }

    fn published_unlocked(&self, looking: MutexGuard<'_, Looking>) -> Result<u64> {
        drop(looking);
        self.published()
    }

    /// Tells how the log stands.
    pub(crate) fn stat(&self) -> Result<Stat> {
        let next = self.published()?;
        let mut stat = Stat::default();
        let looking = self.lock();
        stat.log_id = looking.log_id;
        stat.io = files::io_of(&self.dir);
        if let Some(seen) = self.live.seen().filter(|_| self.is_by_page()) {
            (stat.first_offset, stat.next_offset) = (seen.first_offset, seen.next_offset);
            stat.durable_offset = seen.durable.min(seen.next_offset);
            stat.payload_bytes = seen.payload_bytes.saturating_sub(seen.first_payload_bytes);
            (stat.recovered_records, stat.dropped_bytes) = self.live.control().recovered();
        } else {
            (stat.first_offset, stat.next_offset) = (self.first.load(Ordering::Acquire), next);
            (stat.durable_offset, stat.payload_bytes) = (looking.files.durable, looking.files.payload_bytes);
        }
        drop(looking);
        let row = self.rows.newest();
        stat.segment_count = u32::try_from(row.segments.len()).unwrap_or(u32::MAX);
        stat.disk_bytes = stat::disk_bytes_of(&self.dir, LIVE, &row.segments)?;
        if self.live.log_id().is_some() {
            stat.writer_pid = Some(self.live.control().writer()).filter(|pid| sys::process_lives(*pid)).unwrap_or(0);
        }
        Ok(stat)
    }

    /// Returns `true` when the record of `offset` is durable, `false` when the time is up.
    pub(crate) fn wait_durable(&self, offset: u64, timeout: Option<Duration>) -> Result<bool> {
        let look = || {
            let next = self.published_past(offset)?;
            if offset >= next {
                return Err(self.beyond(offset, next));
            }
            if !self.is_open() {
                return Err(view::closed_meanwhile(&self.dir));
            }
            Ok((self.durable() > offset).then_some(true))
        };
        waiting::wait(self, Awaited::Durable, offset, timeout, None, look).map(|durable| durable.unwrap_or(false))
    }

    /// Whether the handle, to which cursors may remain, is still open.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// The event fd, which a thread of the library rings from now on.
    pub(crate) fn event_fd(self: &Arc<Self>) -> Result<i32> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = self.event.number() {
            return Ok(fd);
        }
        if !self.may_have_thread {
            let text = "LOG_NO_THREAD leaves nobody to ring the event fd of a read-only handle; use log_wait instead";
            return Err(Error::new(Status::Argument, text));
        }
        // Whatever comes behind this is rung for.
        let known = self.look_past(0);
        let fd = self.event.make()?;
        let watching = Arc::clone(self);
        match Worker::start(move || watching.watch(known)) {
            Ok(worker) => *watch = Some(worker),
            Err(error) => {
                self.event.close();
                return Err(error);
            }
        }
        Ok(fd)
    }

    fn look_past(&self, offset: u64) -> std::result::Result<u64, Status> {
        self.published_past(offset).map_err(|error| error.status())
    }

    /// Rings the event each time that the log is not as it was known, until the handle is closed.
    fn watch(&self, mut known: std::result::Result<u64, Status>) {
        let mut flood = Flood::default();
        loop {
            let past = known.unwrap_or(0);
            let begun = Instant::now();
            let news = waiting::wait(self, Awaited::Records, past, None, flood.nap(), || {
                let now = self.look_past(past);
                Ok((!self.is_open() || now != known).then_some(now))
            });
            match news {
                Ok(Some(now)) if self.is_open() => {
                    flood.count(now.unwrap_or(0).saturating_sub(past), begun.elapsed());
                    known = now;
                }
                _ => return,
            }
            self.event.ring();
        }
    }

    /// The handle is closed; cursors go on.
    pub(crate) fn close(&self) -> bool {
        self.closed.store(true, Ordering::SeqCst);
        match self.live.alarm_page(&self.dir) {
            Some(page) => Alarm(&page).ring_all(),
            None => self.live.control().alarm().wake_all(),
        }
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = watch.is_none_or(Worker::join);
        self.event.close();
        self.rows.forget();
        ended
    }
}

impl Bed for Follower {
    fn rung(&self) -> u64 {
        self.live.control().alarm().rung()
    }

    fn set_alarm(&self, what: Awaited, offset: u64) -> Heard {
        let Some(page) = self.live.alarm_page(&self.dir) else { return Heard::Nothing };
        Alarm(&page).set(what, offset);
        Heard::Alarm
    }

    fn sleep(&self, what: Awaited, rung: u64, time: Duration) -> Slept {
        self.live.control().alarm().sleep(what, rung, time)
    }
}

impl View for Follower {
    fn dir(&self) -> &Dir {
        &self.dir
    }

    #[inline(always)]
    fn rows(&self) -> &Rows {
        &self.rows
    }

    #[inline(always)]
    fn tail(&self) -> &Tail {
        self.live.tail()
    }

    fn log_id(&self) -> [u8; 16] {
        self.lock().log_id
    }

    #[inline(always)]
    fn check(&self) -> Check {
        self.check
    }

    #[inline(always)]
    fn published(&self) -> Result<u64> {
        match self.published_at_layout() {
            Some(next) => Ok(next),
            None => self.look_again(),
        }
    }

    #[inline(always)]
    fn published_past(&self, offset: u64) -> Result<u64> {
        let next = self.published()?;
        if offset < next { Ok(next) } else { self.look_at_end() }
    }

    #[inline(always)]
    fn bounds(&self, offset: u64) -> Result<(u64, u64)> {
        if let Some((first, next)) = self.bounds_at_once(offset) {
            return Ok((first, next));
        }
        let next = self.published_past(offset)?;
        Ok((self.first_offset(), next))
    }

    #[inline(always)]
    fn bounds_within(&self, offset: u64, seen: &mut Horizon) -> Result<(u64, u64)> {
        if let Some(bounds) = self.bounds_at_once(offset) {
            return Ok(bounds);
        }
        let (known, by_page) = (self.layout.load(Ordering::Acquire), self.is_by_page());
        // At one layout records only come, and the page's layout is on another line than what each append stores.
        if offset < seen.next && by_page && seen.layout == known && self.live.control().layout() == known {
            return Ok((self.first_offset(), seen.next));
        }
        *seen = Horizon::default();
        if by_page
            && let Some(next) = self.live.control().published_at(known)
            && offset < next
        {
            *seen = Horizon { layout: known, next };
            return Ok((self.first_offset(), next));
        }
        self.bounds(offset)
    }

    #[inline(always)]
    fn first_offset(&self) -> u64 {
        let (known, first) = (self.layout.load(Ordering::Acquire), self.first.load(Ordering::Acquire));
        if !self.is_by_page() {
            return first;
        }
        self.live.control().first_at(known).unwrap_or(first)
    }

    fn durable(&self) -> u64 {
        if self.is_by_page() { self.live.control().durable() } else { self.lock().files.durable }
    }

    /// A writer that opens the log takes what is no part of it out of the directory before it tells of itself.
    fn look_if_gone(&self, segment: &Segment) -> Result<()> {
        if self.is_by_page() || self.dir.stat(&segment.id.store_name())?.is_some() {
            return Ok(());
        }
        let mut looking = self.lock();
        let known = self.layout.load(Ordering::Acquire);
        let found = find(&self.dir, &self.live, &self.rows.newest().segments, Some(known))?;
        self.take_over(&mut looking, found);
        Ok(())
    }

    fn moment(&self) -> Result<Moment> {
        for looked in 1.. {
            self.published()?;
            let segments = self.rows.newest().segments.clone();
            if !self.is_by_page() {
                let ByFiles { first_payload_bytes, end, .. } = self.lock().files;
                return Ok(Moment { segments, end, first_offset: self.first_offset(), first_payload_bytes });
            }
            let (Some(seen), Some(active)) = (self.live.seen(), segments.last()) else { continue };
            if active.id != seen.active {
                continue;
            }
            let mut end = self.end_of(active, seen.next_offset)?;
            // The page's words are not of one moment while the log grows; where they are, they fit.
            if seen.end == end.position || looked > LOOKS {
                end.payload_bytes = seen.payload_bytes.saturating_sub(active.store()?.header().prior_payload_bytes);
                // Its two words of the beginning may be of two; what stands before it tells.
                let Seen { first_offset, first_payload_bytes, .. } = seen;
                let begins = segments.iter().find(|segment| segment.covers(first_offset)).unwrap_or(active);
                let first_payload_bytes = payload_before(begins, first_offset).unwrap_or(first_payload_bytes);
                return Ok(Moment { segments, end, first_offset, first_payload_bytes });
            }
        }
        Err(Error::new(Status::Bug, "a log that is followed was looked at for too long"))
    }

    /// Another writer may come at any time.
    fn may_grow(&self) -> Result<bool> {
        Ok(true)
    }
}

/// Where the log stands: by the page if it can be believed, else by the files. A page of the layout `known` is none to
/// be believed.
fn find(dir: &Arc<Dir>, live: &Arc<Live>, old: &[Arc<Segment>], known: Option<u64>) -> Result<Found> {
    let mut scans = 0;
    for tried in 0.. {
        live.look(dir)?;
        let layout = live.control().layout();
        let log_id = live.log_id();
        if let Some(log_id) = log_id
            && let Some(found) = find_by_page(dir, live, old, log_id)?
        {
            return Ok(found);
        }
        // A page that is whole and of another boot does not become better, nor does one that is not there.
        let may_come = live.is_shown() && (log_id.is_some() || layout == 0) && known != Some(layout);
        if may_come && tried < TRIES {
            if tried >= AT_ONCE {
                sys::pause(PAUSE);
            }
            continue;
        }
        let found = scan(dir, layout);
        scans += 1;
        // Files may have been made or deleted meanwhile.
        if scans == SCANS || (found.is_ok() && live.control().layout() == layout) {
            return found;
        }
    }
    Err(Error::new(Status::Bug, "a log that is followed was looked at for too long"))
}

fn find_by_page(dir: &Arc<Dir>, live: &Arc<Live>, old: &[Arc<Segment>], log_id: [u8; 16]) -> Result<Option<Found>> {
    let Some(seen) = live.seen() else { return Ok(None) };
    // What was made later is passed over, what was deleted meanwhile is missed when it is read.
    let Some(row) = Files::row_of(dir, seen.active)? else { return Ok(None) };
    let limits = row.iter().skip(1).map(|id| id.base_offset).chain([u64::MAX]);
    let in_row = row.iter().zip(limits).filter(|(_, limit)| *limit > seen.first_offset);
    let mut segments = memory::list_of_pieces::<_, Segment>(row.len(), SEGMENTS)?;
    segments.extend(in_row.map(|(id, limit)| {
        let same = old.binary_search_by_key(id, |old| old.id).ok().map(|n| &old[n]);
        match same.filter(|same| same.is_same(log_id, limit)) {
            Some(same) => Arc::clone(same),
            None if limit == u64::MAX => Arc::new(Segment::followed(dir, *id, log_id, live, seen.layout)),
            None => Arc::new(Segment::seen(dir, *id, log_id, u64::MAX, limit)),
        }
    }));
    let (first, next) = (seen.first_offset, seen.next_offset);
    Ok(Some(Found { layout: seen.layout, segments, log_id, first, next, files: None }))
}

/// As recovery would read them, but without the ring: where the page is not to be believed, all that was published has
/// been stored, or the ring is of another boot.
fn scan(dir: &Arc<Dir>, layout: u64) -> Result<Found> {
    let mut files = Files::list_whole(dir)?;
    if files.live.is_empty() {
        return Err(files::no_log(dir.shown()));
    }
    let mut pages = doubtful(dir, &mut files, false)?;
    let start = start_above_floor(dir, &pages, &files.live)?;
    begin_above(&mut pages, start.as_ref());
    let end = find_end(&pages, files.live.len(), None, true)?;
    let Place { position, offset, payload_bytes, .. } = end.scanned.good;
    let header = &pages[end.n].header;
    let row: &[Id] = &files.live[..=end.sure + end.n];
    let (first, first_payload_bytes) =
        start.map_or((row[0].base_offset, 0), |start| (start.first_offset, start.prior_payload_bytes));
    // Whoever trimmed may have been killed before what lies before was deleted.
    let row = &row[row[1..].partition_point(|next| next.base_offset <= first)..];
    let limits = row.iter().skip(1).map(|id| id.base_offset).chain([offset]);
    let mut segments = memory::list_of_pieces::<_, Segment>(row.len(), SEGMENTS)?;
    segments.extend(row.iter().zip(limits).enumerate().map(|(n, (id, limit))| {
        let end = if n + 1 == row.len() { position } else { u64::MAX };
        Arc::new(Segment::seen(dir, *id, header.log_id, end, limit))
    }));
    // Where files were lost behind a trim, there is nothing.
    let next = offset.max(first);
    let files = ByFiles {
        durable: end.durable.max(first).min(next),
        payload_bytes: (header.prior_payload_bytes.saturating_add(payload_bytes)).saturating_sub(first_payload_bytes),
        first_payload_bytes,
        end: end.scanned.good.slot(),
    };
    Ok(Found { layout, segments, log_id: header.log_id, first, next, files: Some(files) })
}
