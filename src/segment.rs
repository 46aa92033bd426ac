//! A segment: a store, its index, a base offset. It finds a record by its offset, proves it, and mends or replaces its
//! index where that leads astray. It knows nothing of its neighbours but the offset at which it ends.

use crate::error::{Error, Result, Status};
use crate::fresh::Prepared;
use crate::guess::Guess;
use crate::id::Id;
use crate::index::{Index, Owner};
use crate::live::Live;
use crate::record::{self, Check, FRAMES_START, Frame, Kind, Slot};
use crate::store::{self, FirstPage, Store};
use crate::stretch::Stretch;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, OnceLock, Ordering, PoisonError};
use crate::sys::Dir;
use crate::walk::walk;

/// The files of a segment, open.
struct Files {
    store: Store,
    index: Index,
    /// Takes the index's place once that has led astray.
    rebuilt: OnceLock<Index>,
    guess: Guess,
}

impl Files {
    fn new(store: Store, index: Index) -> Self {
        Self { store, index, rebuilt: OnceLock::new(), guess: Guess::default() }
    }

    /// Where the index says that record base + `n` stands; 0 if it does not know.
    #[inline(always)]
    fn place(&self, n: u64) -> u64 {
        let index = self.rebuilt.get().unwrap_or(&self.index);
        // The frame is asked for before the index has answered: the two misses of the cache overlap.
        self.store.prefetch(self.guess.position(n));
        let position = index.position(n);
        self.guess.learn(n, position);
        position
    }
}

/// A segment of the row. Its files are opened on first use.
pub(crate) struct Segment {
    pub id: Id,
    dir: Arc<Dir>,
    log_id: [u8; 16],
    files: OnceLock<Files>,
    /// The position behind its last published frame; `u64::MAX` once it is sealed (the file's end bounds it).
    end: AtomicU64,
    /// Up to here its store has the frames; the rest is in the ring.
    stored: AtomicU64,
    /// The first offset that is not in it; `u64::MAX` while it is the active one.
    limit: AtomicU64,
    /// Whether all of it, as a full segment, has been synced.
    synced: AtomicBool,
    /// How many durable slots have been written.
    slots: AtomicU64,
    walked: Mutex<Walked>,
    /// Of its header, once it was read; `u64::MAX` until then.
    floor_ns: AtomicU64,
    /// Of both files on the disk, once it is full and that was asked; 0 until then.
    disk_bytes: AtomicU64,
    /// Its files belong to a writer elsewhere: none is written here.
    read_only: bool,
    /// Where that writer tells end and stored position, and the page's layout at which it was the active one.
    followed: Option<(Arc<Live>, u64)>,
}

/// What the last walk of the store saw. A record in there that is not found now is corrupt; walking again would find
/// no more.
#[derive(Default)]
struct Walked {
    /// So many records.
    records: u64,
    /// Up to here; 0 if there was no walk.
    stored: u64,
    /// Of a followed segment: positions / 8 of its records, which no index that is made once could keep up with, and
    /// where the next one stands.
    entries: Vec<u32>,
    next_position: u64,
}

/// What stands at an offset.
pub(crate) enum Found<'a> {
    /// The record, in the store's mapping.
    Stored(Frame<'a>, u64),
    /// Its position, where nothing is mapped: it is in the store if anywhere, and not proved.
    InFile(u64),
    /// Its position: it is in the ring still.
    InRing(u64),
}

impl Segment {
    /// A sealed segment, of which only the name is known: it ends at `limit`.
    pub(crate) fn sealed(dir: &Arc<Dir>, id: Id, log_id: [u8; 16], limit: u64) -> Self {
        Self::build(dir, id, log_id, None, u64::MAX, limit)
    }

    fn build(dir: &Arc<Dir>, id: Id, log_id: [u8; 16], files: Option<Files>, end: u64, limit: u64) -> Self {
        let cell = OnceLock::new();
        if let Some(files) = files {
            let _ = cell.set(files);
        }
        Self {
            id,
            dir: Arc::clone(dir),
            log_id,
            files: cell,
            end: AtomicU64::new(end),
            stored: AtomicU64::new(end),
            limit: AtomicU64::new(limit),
            synced: AtomicBool::new(false),
            slots: AtomicU64::new(0),
            walked: Mutex::default(),
            floor_ns: AtomicU64::new(u64::MAX),
            disk_bytes: AtomicU64::new(0),
            read_only: false,
            followed: None,
        }
    }

    /// A segment of a log that is followed, of which only the name is known: it ends at `limit`, its frames at `end`.
    pub(crate) fn seen(dir: &Arc<Dir>, id: Id, log_id: [u8; 16], end: u64, limit: u64) -> Self {
        Self { read_only: true, ..Self::build(dir, id, log_id, None, end, limit) }
    }

    /// The active segment of a log that is followed, at this layout of its control page.
    pub(crate) fn followed(dir: &Arc<Dir>, id: Id, log_id: [u8; 16], live: &Arc<Live>, layout: u64) -> Self {
        Self { followed: Some((Arc::clone(live), layout)), ..Self::seen(dir, id, log_id, u64::MAX, u64::MAX) }
    }

    /// Whether it can stand for a segment of another row: none of a writer that goes on.
    pub(crate) fn is_same(&self, log_id: [u8; 16], limit: u64) -> bool {
        (self.log_id, self.limit()) == (log_id, limit) && self.followed.is_none()
    }

    /// Opens the last segment of a log for appending: its store up to position `end` holds `used` records.
    pub(crate) fn open_active(
        dir: &Arc<Dir>,
        page: FirstPage,
        end: u64,
        used: u32,
        index_records: u32,
    ) -> Result<Self> {
        let header = page.header;
        let id = Id { base_offset: header.base_offset, epoch: header.epoch };
        let slots = page.slot.map_or(0, |slot| slot.count);
        let index = Index::open_to_write(dir, &id.index_name(), Owner::of(&header), used, index_records)?;
        let store = Store::from_first_page(page);
        store.set_allocated(end);
        let files = Files::new(store, index);
        let segment = Self::build(dir, id, header.log_id, Some(files), end, u64::MAX);
        segment.slots.store(slots, Ordering::Relaxed);
        Ok(segment)
    }

    /// Gives a prepared segment its place in the directory. The directory is to be synced before anything in the
    /// segment counts as durable.
    pub(crate) fn publish(dir: &Arc<Dir>, mut prepared: Prepared) -> Result<Self> {
        prepared.name(dir)?;
        let header = *prepared.store.header();
        let id = Id { base_offset: header.base_offset, epoch: header.epoch };
        let files = Files::new(prepared.store, prepared.index);
        let segment = Self::build(dir, id, header.log_id, Some(files), FRAMES_START, u64::MAX);
        segment.slots.store(prepared.slots, Ordering::Relaxed);
        Ok(segment)
    }

    /// The same segment, empty still, with room for a record or batch that is longer than a segment.
    pub(crate) fn enlarge(&self, store_bytes: u64, index_records: u32) -> Result<Self> {
        let page =
            store::read_first_page(self.dir.open_write(&self.id.store_name())?, self.id.base_offset, self.id.epoch)?;
        let (header, slots) = (page.header, page.slot.map_or(0, |slot| slot.count));
        let bytes = page.bytes.max(store_bytes);
        page.file.grow_to(bytes)?;
        let index = Index::create(&self.dir, &self.id.index_name(), Owner::of(&header), index_records)?;
        let store = Store::from_first_page(FirstPage { bytes, ..page });
        store.set_allocated(self.store()?.allocated());
        let files = Files::new(store, index);
        let segment = Self::build(&self.dir, self.id, header.log_id, Some(files), FRAMES_START, u64::MAX);
        segment.slots.store(slots.max(self.slots.load(Ordering::Relaxed)), Ordering::Relaxed);
        Ok(segment)
    }

    #[inline(always)]
    fn files(&self) -> Result<&Files> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let made = self.open()?;
        Ok(self.files.get_or_init(|| made))
    }

    /// As `files`, for one record: what is damaged is that record, as far as its reader can tell.
    #[inline]
    fn files_of(&self, offset: u64) -> Result<&Files> {
        self.files().map_err(|error| if error.status() == Status::Corrupt { error.at(offset) } else { error })
    }

    /// No record in it is earlier, and none before it is later. Known without opening it, once it was asked for.
    pub(crate) fn timestamp_floor_ns(&self) -> Result<u64> {
        if let Some(files) = self.files.get() {
            return Ok(files.store.header().timestamp_floor_ns);
        }
        let known = self.floor_ns.load(Ordering::Relaxed);
        if known != u64::MAX {
            return Ok(known);
        }
        let floor_ns = self.first_page()?.header.timestamp_floor_ns;
        self.floor_ns.store(floor_ns, Ordering::Relaxed);
        Ok(floor_ns)
    }

    /// What its files take on the disk, if that was noted.
    pub(crate) fn known_disk_bytes(&self) -> Option<u64> {
        Some(self.disk_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Notes that, of a full one.
    pub(crate) fn note_disk_bytes(&self, bytes: u64) {
        self.disk_bytes.store(bytes, Ordering::Relaxed);
    }

    fn first_page(&self) -> Result<FirstPage> {
        let name = self.id.store_name();
        let file = self.dir.open_read(&name).map_err(|error| match error.status() {
            Status::NotFound => {
                let path = self.dir.path_of(&name);
                Error::new(Status::Corrupt, format!("the segment '{path}' is gone; restore the file from a copy"))
                    .at(self.id.base_offset)
            }
            _ => error,
        })?;
        let page = store::read_first_page(file, self.id.base_offset, self.id.epoch)?;
        if page.unused {
            return Err(page.corrupt("it holds no records, though others follow it"));
        }
        if page.header.log_id != self.log_id {
            let path = page.file.path();
            return Err(Error::new(
                Status::Corrupt,
                format!("'{path}' is a segment of another log; put the right file back"),
            )
            .at(self.id.base_offset));
        }
        Ok(page)
    }

    fn open(&self) -> Result<Files> {
        let page = self.first_page()?;
        let index = Index::open(&self.dir, &self.id.index_name(), Owner::of(&page.header)).ok().flatten();
        let index = index.unwrap_or_else(|| Index::in_memory(Vec::new()));
        Ok(Files::new(Store::for_reading(page)?, index))
    }

    /// Whether its files are open.
    pub(crate) fn is_open(&self) -> bool {
        self.files.get().is_some()
    }

    /// The same segment with its files closed; those who still hold this one may go on using them.
    pub(crate) fn closed_twin(&self) -> Self {
        let closed = Self::build(&self.dir, self.id, self.log_id, None, self.end(), self.limit());
        let twin = Self { read_only: self.read_only, ..closed };
        // Whoever looks for a time asks it again, though its files are closed.
        twin.disk_bytes.store(self.disk_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        twin.floor_ns.store(self.timestamp_floor_ns().unwrap_or(u64::MAX), Ordering::Relaxed);
        twin.synced.store(self.is_synced(), Ordering::Relaxed);
        twin
    }

    /// The store, opened if need be.
    pub(crate) fn store(&self) -> Result<&Store> {
        Ok(&self.files()?.store)
    }

    /// The store's bytes, where it is open and mapped.
    #[inline(always)]
    pub(crate) fn mapped(&self) -> Option<&[u8]> {
        self.files.get()?.store.mapped()
    }

    /// How many records its index has room for.
    pub(crate) fn index_capacity(&self) -> Result<u32> {
        Ok(self.files()?.index.capacity())
    }

    /// The index, if it is open, and the record's number in it.
    #[inline(always)]
    fn numbered(&self, offset: u64) -> Option<(&Index, u64)> {
        self.files.get().map(|files| (&files.index, offset.saturating_sub(self.id.base_offset)))
    }

    /// Notes where the record of `offset` stands.
    #[inline]
    pub(crate) fn set_position(&self, offset: u64, position: u64) {
        self.numbered(offset).into_iter().for_each(|(index, n)| index.set_position(n, position));
    }

    /// The same of the records from `offset` on.
    #[inline(always)]
    pub(crate) fn set_positions(&self, offset: u64, positions: impl ExactSizeIterator<Item = u64>) {
        self.numbered(offset).map(|(index, n)| index.set_positions(n, positions)).unwrap_or_default();
    }

    /// Sees to it that so many positions from `offset` on can be noted without a page fault.
    pub(crate) fn populate_index(&self, offset: u64, count: u64) {
        self.numbered(offset).into_iter().for_each(|(index, n)| index.populate(n, count));
    }

    /// Where the index says that the record of `offset` stands; 0 if it does not know.
    pub(crate) fn position_of(&self, offset: u64) -> u64 {
        self.numbered(offset).map_or(0, |(index, n)| index.position(n))
    }

    /// The position behind its last published frame.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        match &self.followed {
            None => self.end.load(Ordering::Acquire),
            Some((live, layout)) => live.end(self.id, *layout),
        }
    }

    /// Says that frames up to `end` are there, in the ring or in the store.
    #[inline]
    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Up to here its frames are in the store.
    #[inline]
    pub(crate) fn stored(&self) -> u64 {
        match &self.followed {
            None => self.stored.load(Ordering::Acquire),
            Some((live, layout)) => live.stored(self.id, *layout),
        }
    }

    /// Says that a pwrite of the frames up to `position` has returned.
    pub(crate) fn set_stored(&self, position: u64) {
        self.stored.store(position, Ordering::Release);
    }

    /// The first offset that is not in it; `u64::MAX` while it is the active one.
    #[inline]
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// Whether this offset stands in it, if it stands anywhere.
    #[inline]
    pub(crate) fn covers(&self, offset: u64) -> bool {
        offset >= self.id.base_offset && offset < self.limit()
    }

    /// Ends it: it takes no more records.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Release);
    }

    /// Whether half of its store or of its index is used.
    pub(crate) fn is_half_full(&self, next_offset: u64) -> bool {
        let records = next_offset.saturating_sub(self.id.base_offset);
        self.files.get().is_some_and(|files| {
            self.end() > files.store.bytes() / 2 || records > u64::from(files.index.capacity()) / 2
        })
    }

    /// Whether all of it has been synced.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Says that all of it has been synced.
    pub(crate) fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    /// Writes the next durable slot; `slot.count` is set here.
    pub(crate) fn write_slot(&self, slot: Slot) -> Result<()> {
        let count = self.slots.load(Ordering::Relaxed).wrapping_add(1);
        self.store()?.write_slot(&Slot { count, ..slot })?;
        self.slots.store(count, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the space behind the end back to the file system, if that was not done before.
    pub(crate) fn punch_once(&self, slot: &Slot) {
        if self.store().is_ok_and(|store| !store.has_given_back()) {
            self.punch_behind(slot.position, slot.next_offset - self.id.base_offset);
        }
    }

    /// Gives the space behind the end back to the file system, as well as can be.
    pub(crate) fn punch_behind(&self, end: u64, records: u64) {
        let _ = self.punch(end, records);
    }

    fn punch(&self, end: u64, records: u64) -> Result<()> {
        const PAGE: u64 = 4096;
        let files = self.files()?;
        files.store.give_back_behind(end.next_multiple_of(PAGE))?;
        let capacity = u64::from(files.index.capacity());
        let (start, bytes) = (Index::used_bytes(records).next_multiple_of(PAGE), Index::used_bytes(capacity));
        if bytes > start {
            self.dir.open_write(&self.id.index_name())?.punch(start, bytes - start);
        }
        Ok(())
    }

    /// Finds the record of `offset`, which is at least the base and below the limit and the published offset.
    #[inline(always)]
    pub(crate) fn find(&self, offset: u64, check: Check) -> Result<Found<'_>> {
        let files = self.files_of(offset)?;
        let position = files.place(offset.wrapping_sub(self.id.base_offset));
        match self.look(files, position, offset, check)? {
            Some(found) => Ok(found),
            None => self.find_by_walking(files, offset),
        }
    }

    /// The same, if it is as it mostly is: its files are open and mapped, and the index knows. `None` says nothing.
    #[inline(always)]
    pub(crate) fn find_at_once(&self, offset: u64, check: Check) -> Option<Frame<'_>> {
        let files = self.files.get()?;
        self.look_at_once(files, files.place(offset.wrapping_sub(self.id.base_offset)), offset, check)
    }

    /// As [`Segment::find_at`], likewise.
    #[inline(always)]
    pub(crate) fn find_there_at_once(&self, position: u64, offset: u64, check: Check) -> Option<Frame<'_>> {
        self.look_at_once(self.files.get()?, position, offset, check)
    }

    /// Many at once; `None` says nothing.
    #[inline]
    pub(crate) fn stretch(&self) -> Option<Stretch<'_>> {
        let store = &self.files.get()?.store;
        let (map, stored, limit) = (store.mapped()?, self.stored(), self.limit());
        let bytes = map.get(..stored.min(map.len() as u64) as usize)?;
        Some(Stretch { bytes, limit, seed: store.header().seed })
    }

    #[inline(always)]
    fn look_at_once<'a>(&self, files: &'a Files, position: u64, offset: u64, check: Check) -> Option<Frame<'a>> {
        let frame = files.store.frame(files.store.mapped()?, position, self.stored(), offset, check)?;
        (frame.head.kind != Kind::Seal).then_some(frame)
    }

    /// The record of `offset`, expected at `position`.
    #[inline]
    pub(crate) fn find_at(&self, position: u64, offset: u64, check: Check) -> Result<Found<'_>> {
        match self.look(self.files_of(offset)?, position, offset, check)? {
            Some(found) => Ok(found),
            None => self.find(offset, check),
        }
    }

    #[inline(always)]
    fn look<'a>(&self, files: &'a Files, position: u64, offset: u64, check: Check) -> Result<Option<Found<'a>>> {
        let stored = self.stored();
        if position >= stored && position < self.end() {
            return Ok(Some(Found::InRing(position)));
        }
        let Some(map) = files.store.map()? else {
            return Ok(Some(Found::InFile(position)).filter(|_| files.store.is_place(position, stored)));
        };
        let frame = files.store.frame(map, position, stored, offset, check);
        Ok(frame.filter(|frame| frame.head.kind != Kind::Seal).map(|frame| Found::Stored(frame, position)))
    }

    /// Copies the record of `offset` out of its file into `copy`, from this position. `false` if it does not stand
    /// there.
    pub(crate) fn copy_stored(&self, position: u64, offset: u64, check: Check, copy: &mut Vec<u8>) -> Result<bool> {
        let files = self.files_of(offset)?;
        let index = files.rebuilt.get().unwrap_or(&files.index);
        // Where the next one stands tells how long this one is.
        let hint = index.position((offset - self.id.base_offset).saturating_add(1)).saturating_sub(position);
        files.store.copy_frame(position, self.stored(), hint, copy).map_err(|error| error.at(offset))?;
        let frame = record::take_frame(copy, files.store.header().seed, offset, check);
        Ok(frame.is_some_and(|frame| frame.head.kind != Kind::Seal))
    }

    /// Copies a run of frames out of the file, up to `want` bytes from `position` on, at least `needed` of them.
    pub(crate) fn copy_run(&self, position: u64, want: u64, needed: u64, copy: &mut Vec<u8>) -> Result<()> {
        // Of a log that is followed, there may be half a frame behind what was published.
        let upto = self.stored().min(self.end()).max(position.saturating_add(needed));
        self.store()?.copy_run(position, want.min(upto - position), needed, copy)
    }

    /// As [`Segment::find`], where the index led to a place in the ring that does not hold the record.
    #[cold]
    pub(crate) fn find_astray(&self, offset: u64) -> Result<Found<'_>> {
        self.find_by_walking(self.files_of(offset)?, offset)
    }

    /// The index has led astray, or the record is damaged: walks the store to tell which, and mends the index.
    #[cold]
    fn find_by_walking<'a>(&self, files: &'a Files, offset: u64) -> Result<Found<'a>> {
        let n = offset - self.id.base_offset;
        let mut walked = self.walked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((live, _)) = &self.followed {
            let position = self.walk_on(files, live, n, &mut walked)?;
            drop(walked);
            return self.look(files, position, offset, Check::Verify)?.ok_or_else(|| self.corrupt(position, offset));
        }
        let stored = self.stored();
        if n >= walked.records && stored > walked.stored {
            let index = files.rebuilt.get().unwrap_or(&files.index);
            let file = self.dir.open_read(&self.id.store_name())?;
            let (entries, whole) = walk(&file, &files.store, self.limit(), stored, index)?;
            *walked = Walked { records: entries.len() as u64, stored, ..Walked::default() };
            if files.index.writable() {
                files.index.set_positions(0, entries.iter().map(|entry| u64::from(*entry) * 8));
            } else {
                if whole && !self.read_only {
                    self.replace_index(files, &entries);
                }
                let _ = files.rebuilt.set(Index::in_memory(entries));
            }
        }
        drop(walked);
        let position = files.rebuilt.get().unwrap_or(&files.index).position(n);
        self.look(files, position, offset, Check::Verify)?.ok_or_else(|| self.corrupt(position, offset))
    }

    /// Where record `n` of a followed segment stands, whose index is of no use: the walk goes on where the last one
    /// ended, through the store and then through the ring. 0 if it is not found.
    fn walk_on(&self, files: &Files, live: &Live, n: u64, walked: &mut Walked) -> Result<u64> {
        let (base, seed) = (self.id.base_offset, files.store.header().seed);
        let in_store = |position, offset| -> Result<Option<u64>> {
            let head = files.store.head(position, self.stored(), offset)?;
            Ok(head.filter(|head| head.kind != Kind::Seal).map(|head| head.frame_bytes()))
        };
        while walked.entries.len() as u64 <= n {
            let (offset, position) = (base + walked.entries.len() as u64, walked.next_position.max(FRAMES_START));
            let mut bytes = in_store(position, offset)?;
            if bytes.is_none() {
                bytes = live.frame_in_ring(position, seed, offset)?;
            }
            if bytes.is_none() {
                // What was in the ring when it was looked for may be in the store by now.
                bytes = in_store(position, offset)?;
            }
            let Some(bytes) = bytes else { break };
            walked.entries.try_reserve(1).map_err(|_| Error::new(Status::Memory, "out of memory for an index"))?;
            walked.entries.push(u32::try_from(position / 8).unwrap_or(0));
            walked.next_position = position + bytes;
        }
        // Where each frame is written to the store before it is published, the end tells how far that is.
        let stored = self.stored().min(self.end());
        if walked.entries.len() as u64 <= n && stored > walked.stored {
            // A damaged frame: past it, as far as the store goes.
            walked.stored = stored;
            let file = self.dir.open_read(&self.id.store_name())?;
            let (entries, _) = walk(&file, &files.store, self.limit(), stored, &files.index)?;
            let last = entries.last().map_or(0, |entry| u64::from(*entry) * 8);
            let bytes = in_store(last, base + (entries.len() as u64).saturating_sub(1))?.unwrap_or(0);
            if last + bytes > walked.next_position {
                (walked.entries, walked.next_position) = (entries, last + bytes);
            }
        }
        let entry = usize::try_from(n).ok().and_then(|n| walked.entries.get(n).copied());
        Ok(u64::from(entry.unwrap_or(0)) * 8)
    }

    /// A good index for the next one who opens the segment. Best effort: this one has it in memory.
    fn replace_index(&self, files: &Files, entries: &[u32]) {
        // No store has room for more.
        let capacity = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let (owner, entry) = (Owner::of(files.store.header()), |n: usize| entries.get(n).copied().unwrap_or(0));
        let _ = Index::write(&self.dir, &self.id.index_name(), owner, capacity, capacity, entry);
    }

    /// Writes the index, where it is kept in memory: of so many records, with room for more if they may come. Best
    /// effort: whoever misses it walks the store.
    pub(crate) fn keep_index(&self, records: u64, more: bool) {
        if let (Some(files), Ok(records)) = (self.files.get(), u32::try_from(records)) {
            let capacity = if more { files.index.capacity().max(records) } else { records };
            let owner = Owner::of(files.store.header());
            let _ = files.index.keep(&self.dir, &self.id.index_name(), owner, capacity, records);
        }
    }

    /// The error for a record that does not prove itself.
    pub(crate) fn corrupt(&self, position: u64, offset: u64) -> Error {
        let path = self.dir.path_of(&self.id.store_name());
        let place = if position == 0 { String::new() } else { format!(" at byte {position}") };
        Error::new(
            Status::Corrupt,
            format!(
                "record {offset} in '{path}'{place} is damaged: its checksum does not match; \
                 the records beside it can be read"
            ),
        )
        .at(offset)
    }
}
