//! A segment: a store, its index, a base offset. It finds a record by its offset, proves it, and mends or replaces its
//! index where that leads astray. It knows nothing of its neighbours but the offset at which it ends.

use crate::error::{Error, Result, Status};
use crate::index::{Index, Owner};
use crate::record::{FRAMES_START, Frame, Header, Kind, Slot};
use crate::store::{self, FirstPage, Scan, Store};
use crate::sys::{Dir, File};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// No record's offset reaches this: 2^64 - 2^31, so that an offset in a segment never overflows.
pub(crate) const OFFSET_END: u64 = u64::MAX - (1 << 31) + 1;
/// The name under which the next store is made.
pub(crate) const NEXT_STORE: &str = "next-store.tmp";

/// What tells one segment of a log from another, and gives it its files' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub base_offset: u64,
    pub epoch: u32,
}

impl Id {
    /// The store's file name.
    pub(crate) fn store_name(self) -> String {
        format!("{:020}-{:08x}.store", self.base_offset, self.epoch)
    }

    /// The index's file name.
    pub(crate) fn index_name(self) -> String {
        format!("{:020}-{:08x}.index", self.base_offset, self.epoch)
    }

    /// The segment whose file has this name, and whether it is the store; `None` for a foreign name.
    pub(crate) fn parse(name: &str) -> Option<(Self, bool)> {
        let (stem, is_store) = match name.strip_suffix(".store") {
            Some(stem) => (stem, true),
            None => (name.strip_suffix(".index")?, false),
        };
        let (base, epoch) = (stem.get(..20)?, stem.get(21..)?);
        let id = Self { base_offset: base.parse().ok()?, epoch: u32::from_str_radix(epoch, 16).ok()? };
        let written = if is_store { id.store_name() } else { id.index_name() };
        (written == name && id.base_offset <= OFFSET_END).then_some((id, is_store))
    }
}

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
}

/// Where a record will be, before the index has said so: records are often of one size. A wrong guess costs nothing.
#[derive(Default)]
struct Guess {
    /// Bytes of a record's frame on average, times 2^16, as learned from record base + `of`.
    stride: AtomicU64,
    of: AtomicU64,
}

impl Guess {
    #[inline(always)]
    fn position(&self, n: u64) -> u64 {
        FRAMES_START + (n.wrapping_mul(self.stride.load(Ordering::Relaxed)) >> 16)
    }

    /// Learns from a record's place, but seldom, so that readers do not write what others read.
    #[inline(always)]
    fn learn(&self, n: u64, position: u64) {
        if n > 2 * self.of.load(Ordering::Relaxed) && position > FRAMES_START {
            self.of.store(n, Ordering::Relaxed);
            self.stride.store(((position - FRAMES_START) << 16) / n, Ordering::Relaxed);
        }
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
    /// So many of its records were looked for by walking the store; a record among them that is not found is corrupt.
    walked: Mutex<u64>,
}

/// What makes a segment.
pub(crate) struct Plan {
    pub header: Header,
    /// Bytes of the store's file.
    pub store_bytes: u64,
    /// Bytes of it that are allocated at once.
    pub allocated: u64,
    pub index_records: u32,
    /// All before it is durable: its first slot says so.
    pub all_before_is_durable: bool,
}

/// A store that was made, but has no name in the log yet.
pub(crate) struct Prepared {
    store: Store,
    slots: u64,
    index_records: u32,
}

/// What stands at an offset.
pub(crate) enum Found<'a> {
    /// The record, in the store's mapping.
    Stored(Frame<'a>, u64),
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
            walked: Mutex::new(0),
        }
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
        let index = Index::open_to_write(dir, &id.index_name(), owner(&header), used, index_records)?;
        let files = Files::new(Store::from_first_page(page), index);
        let segment = Self::build(dir, id, header.log_id, Some(files), end, u64::MAX);
        segment.slots.store(slots, Ordering::Relaxed);
        Ok(segment)
    }

    /// Makes the files of a new segment; the store gets its name with [`Segment::publish`].
    pub(crate) fn prepare(dir: &Dir, plan: &Plan) -> Result<Prepared> {
        let header = plan.header;
        let slot = plan.all_before_is_durable.then_some(Slot {
            count: 1,
            position: FRAMES_START,
            next_offset: header.base_offset,
            last_timestamp_ns: header.timestamp_floor_ns,
            payload_bytes: 0,
            sealed: false,
        });
        let store = Store::create(dir, NEXT_STORE, header, slot.as_ref(), plan.store_bytes, plan.allocated)?;
        Ok(Prepared { store, slots: u64::from(slot.is_some()), index_records: plan.index_records })
    }

    /// Gives a prepared segment its place in the directory. The directory is to be synced before anything in the
    /// segment counts as durable.
    pub(crate) fn publish(dir: &Arc<Dir>, mut prepared: Prepared) -> Result<Self> {
        let header = *prepared.store.header();
        let id = Id { base_offset: header.base_offset, epoch: header.epoch };
        let name_it = || {
            let index = Index::create(dir, &id.index_name(), owner(&header), prepared.index_records, &[])?;
            dir.rename(NEXT_STORE, dir, &id.store_name())?;
            Ok(index)
        };
        let index = name_it().inspect_err(|_| {
            // Its space is given back at once; what cannot be unlinked now is unlinked by the next try or the next
            // open.
            let _ = dir.unlink(NEXT_STORE);
        })?;
        prepared.store.set_name(dir, &id.store_name());
        let files = Files::new(prepared.store, index);
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
        let index = Index::create(&self.dir, &self.id.index_name(), owner(&header), index_records, &[])?;
        let store = Store::from_first_page(FirstPage { bytes, ..page });
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

    fn open(&self) -> Result<Files> {
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
        if page.header.log_id != self.log_id {
            let path = page.file.path();
            return Err(Error::new(
                Status::Corrupt,
                format!("'{path}' is a segment of another log; put the right file back"),
            )
            .at(self.id.base_offset));
        }
        let owner = owner(&page.header);
        let index = Index::open(&self.dir, &self.id.index_name(), owner).ok().flatten();
        let index = index.unwrap_or_else(|| Index::in_memory(Vec::new()));
        Ok(Files::new(Store::mapped(page)?, index))
    }

    /// Whether its files are open.
    pub(crate) fn is_open(&self) -> bool {
        self.files.get().is_some()
    }

    /// The same segment with its files closed; those who still hold this one may go on using them.
    pub(crate) fn closed_twin(&self) -> Self {
        let twin = Self::sealed(&self.dir, self.id, self.log_id, self.limit());
        twin.synced.store(self.is_synced(), Ordering::Relaxed);
        twin
    }

    /// The store, opened if need be.
    pub(crate) fn store(&self) -> Result<&Store> {
        Ok(&self.files()?.store)
    }

    /// How many records its index has room for.
    pub(crate) fn index_capacity(&self) -> Result<u32> {
        Ok(self.files()?.index.capacity())
    }

    /// Notes where the record of `offset` stands.
    #[inline]
    pub(crate) fn set_position(&self, offset: u64, position: u64) {
        if let Some(files) = self.files.get() {
            files.index.set_position(offset - self.id.base_offset, position);
        }
    }

    /// Where the index says that the record of `offset` stands; 0 if it does not know.
    pub(crate) fn position_of(&self, offset: u64) -> u64 {
        self.files.get().map_or(0, |files| files.index.position(offset - self.id.base_offset))
    }

    /// The position behind its last published frame.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Says that frames up to `end` are there, in the ring or in the store.
    #[inline]
    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Up to here its frames are in the store.
    #[inline]
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
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

    /// Ends it: it takes no more records.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Release);
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

    /// Gives the space behind the end back to the file system.
    pub(crate) fn punch_behind(&self, end: u64, records: u64) {
        const PAGE: u64 = 4096;
        if let Ok(files) = self.files() {
            let start = end.next_multiple_of(PAGE);
            if let Ok(file) = files.store.file() {
                file.punch(start, files.store.bytes().saturating_sub(start));
            }
            let start = Index::used_bytes(records).next_multiple_of(PAGE);
            let bytes = Index::used_bytes(u64::from(files.index.capacity()));
            if let (true, Ok(file)) = (bytes > start, self.dir.open_write(&self.id.index_name())) {
                file.punch(start, bytes - start);
            }
        }
    }

    /// Finds the record of `offset`, which is at least the base and below the limit and the published offset.
    #[inline(always)]
    pub(crate) fn find(&self, offset: u64) -> Result<Found<'_>> {
        let files = self.files_of(offset)?;
        let n = offset.wrapping_sub(self.id.base_offset);
        let index = files.rebuilt.get().unwrap_or(&files.index);
        // The frame is asked for before the index has answered: the two misses of the cache overlap.
        files.store.prefetch(files.guess.position(n));
        let position = index.position(n);
        files.guess.learn(n, position);
        match self.look(files, position, offset)? {
            Some(found) => Ok(found),
            None => self.find_by_walking(files, offset),
        }
    }

    /// The record of `offset`, expected at `position`.
    #[inline]
    pub(crate) fn find_at(&self, position: u64, offset: u64) -> Result<Found<'_>> {
        match self.look(self.files_of(offset)?, position, offset)? {
            Some(found) => Ok(found),
            None => self.find(offset),
        }
    }

    #[inline(always)]
    fn look<'a>(&self, files: &'a Files, position: u64, offset: u64) -> Result<Option<Found<'a>>> {
        let stored = self.stored();
        if position >= stored && position < self.end() {
            return Ok(Some(Found::InRing(position)));
        }
        let frame = files.store.frame(position, stored, offset)?;
        Ok(frame.filter(|frame| frame.head.kind != Kind::Seal).map(|frame| Found::Stored(frame, position)))
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
        if n >= *walked {
            let index = files.rebuilt.get().unwrap_or(&files.index);
            let file = self.dir.open_read(&self.id.store_name())?;
            let (entries, whole) = walk(&file, &files.store, self.limit(), self.stored(), index)?;
            *walked = if self.limit() == u64::MAX { entries.len() as u64 } else { u64::MAX };
            if files.index.writable() {
                for (n, entry) in (0..).zip(&entries) {
                    files.index.set_position(n, u64::from(*entry) * 8);
                }
            } else {
                if whole {
                    self.replace_index(files, &entries);
                }
                let _ = files.rebuilt.set(Index::in_memory(entries));
            }
        }
        drop(walked);
        let index = files.rebuilt.get().unwrap_or(&files.index);
        let position = index.position(n);
        self.look(files, position, offset)?.ok_or_else(|| self.corrupt(position, offset))
    }

    /// A good index for the next one who opens the segment. Best effort: this one has it in memory.
    fn replace_index(&self, files: &Files, entries: &[u32]) {
        if let Ok(capacity) = u32::try_from(entries.len()) {
            let _ = Index::create(&self.dir, &self.id.index_name(), owner(files.store.header()), capacity, entries);
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

fn owner(header: &Header) -> Owner {
    Owner { base_offset: header.base_offset, epoch: header.epoch, seed: header.seed }
}

/// How much a walk may try where frames are damaged: whatever the file holds, it ends.
struct Budget(u64);

impl Budget {
    fn spend(&mut self, cost: u64) -> bool {
        self.0 = self.0.saturating_sub(cost);
        self.0 > 0
    }
}

/// Positions / 8 of the records from `base` to `limit` that stand below `end`, and whether each was proved. Damaged
/// ones have the place where they should stand, or 0. Behind a damaged frame the next good one is taken from the old
/// index where that helps, else looked for at each eighth byte; it counts only if the one behind it is good as well.
fn walk(file: &File, store: &Store, limit: u64, end: u64, hints: &Index) -> Result<(Vec<u32>, bool)> {
    let (seed, base) = (store.header().seed, store.header().base_offset);
    let mut scan = Scan::new(file, seed, store.bytes());
    let end = end.min(store.bytes());
    let mut budget = Budget((1 << 24) + 4 * end);
    let mut entries = Vec::new();
    let (mut position, mut offset, mut whole) = (FRAMES_START, base, true);
    while offset < limit && position < end {
        let (next_position, next_offset) = match scan.frame(position, offset)? {
            Some(head) if head.kind == Kind::Seal => break,
            Some(head) => (position + head.frame_bytes(), offset + 1),
            None => {
                whole = false;
                let place = Place { position, offset, end, limit, base };
                match resync(&mut scan, &place, hints, &mut budget, seed)? {
                    Some(found) => found,
                    None => break,
                }
            }
        };
        for n in offset..next_offset {
            let entry = if n == offset { u32::try_from(position / 8).unwrap_or(0) } else { 0 };
            entries
                .try_reserve(1)
                .map_err(|_| Error::new(Status::Memory, "out of memory: an index cannot be rebuilt"))?;
            entries.push(entry);
        }
        (position, offset) = (next_position, next_offset);
    }
    Ok((entries, whole && (limit == u64::MAX || offset == limit)))
}

/// Where a walk met a bad frame, and its bounds.
struct Place {
    position: u64,
    offset: u64,
    end: u64,
    limit: u64,
    base: u64,
}

fn resync(
    scan: &mut Scan<'_>,
    place: &Place,
    hints: &Index,
    budget: &mut Budget,
    seed: u32,
) -> Result<Option<(u64, u64)>> {
    const HINTS: u64 = 4096;
    for offset in place.offset + 1..place.limit.min(place.offset.saturating_add(HINTS)) {
        let position = hints.position(offset - place.base);
        if position > place.position && position < place.end && scan.frame(position, offset)?.is_some() {
            return Ok(Some((position, offset)));
        }
    }
    let mut position = place.position + 8;
    while position < place.end && budget.spend(1) {
        if let Some((head, crc)) = scan.candidate(position)? {
            let skipped = (position - place.position) / crate::record::FRAME_HEADER;
            let highest = place.offset.saturating_add(skipped.clamp(1, 1 << 16)).min(place.limit);
            if !budget.spend(head.frame_bytes() + (highest - place.offset)) {
                return Ok(None);
            }
            for offset in place.offset + 1..=highest {
                if head.fits(seed, offset, crc)
                    && (offset + 1 >= place.limit
                        || position + head.frame_bytes() == place.end
                        || scan.frame(position + head.frame_bytes(), offset + 1)?.is_some())
                {
                    return Ok(Some((position, offset)));
                }
            }
        }
        position += 8;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_base_and_epoch() {
        let id = Id { base_offset: 42, epoch: 0xAB };
        assert_eq!(id.store_name(), "00000000000000000042-000000ab.store");
        assert_eq!(Id::parse(&id.store_name()), Some((id, true)));
        assert_eq!(Id::parse(&id.index_name()), Some((id, false)));
        let last = Id { base_offset: OFFSET_END, epoch: u32::MAX };
        assert_eq!(Id::parse(&last.store_name()), Some((last, true)));
    }

    #[test]
    fn foreign_names_are_foreign() {
        for name in [
            "",
            ".store",
            "1-0.store",
            "00000000000000000042-000000AB.store",
            "+0000000000000000042-000000ab.store",
            "99999999999999999999-00000000.store",
            "18446744073709551615-00000000.store",
            "00000000000000000042_000000ab.store",
            "00000000000000000042-000000ab.store.bak",
            "000000000000000000é-000000ab.store",
        ] {
            assert_eq!(Id::parse(name), None, "{name}");
        }
    }
}
