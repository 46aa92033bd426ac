//! From a directory's files to a row of segments (docs/FORMAT.md, "How the row is read"): which live, where the doubt
//! begins, what stands behind the durable mark, what the ring still holds, torn tail or corruption. It changes nothing
//! before it knows.

use crate::checksum::crc32c;
use crate::config::Limits;
use crate::control::{self, Lock};
use crate::error::{Error, Result, Status};
use crate::fresh::{Plan, Prepared, fresh_header};
use crate::id::{Id, temporary_name};
use crate::record::{self, Cause, FRAME_HEADER, FRAMES_START, Header, Kind, SEAL_BYTES, Slot};
use crate::segment::{Found as Standing, Segment};
use crate::store::{self, FirstPage, Scan, Store};
use crate::sys::{self, Dir};
use crate::tail::{OldTail, RING_BYTES};
use crate::writer::Found;
use std::sync::Arc;

/// Where whole segments go that recovery takes out of the row.
pub(crate) const LOST: &str = "lost";

/// What was found, and made good.
pub(crate) struct Recovered {
    /// The row; the last one is the active one.
    pub segments: Vec<Arc<Segment>>,
    pub header: Header,
    pub found: Found,
    /// Every record below it survives power loss.
    pub durable: u64,
    /// Records behind the durable mark that were found whole.
    pub records_behind_mark: u64,
    /// Bytes behind the last whole record that were left out.
    pub dropped_bytes: u64,
}

/// The files of a log in a directory.
pub(crate) struct Files {
    /// Segments that live, by base offset.
    pub live: Vec<Id>,
    /// Segments that are dead whole.
    dead: Vec<Id>,
    /// What is to be deleted: files that never got their name, indexes without a store.
    litter: Vec<String>,
}

impl Files {
    /// Looks through a directory. Foreign names are passed over.
    pub(crate) fn list(dir: &Dir) -> Result<Self> {
        let (mut stores, mut indexes, mut litter) = (Vec::new(), Vec::new(), Vec::new());
        dir.list(|name| match Id::parse(name) {
            Some((id, true)) => stores.push(id),
            Some((id, false)) => indexes.push(id),
            None if Id::is_temporary(name) => litter.push(name.to_owned()),
            None => {}
        })?;
        stores.sort_unstable();
        indexes.retain(|id| stores.binary_search(id).is_err());
        litter.extend(indexes.into_iter().map(Id::index_name));
        let (live, dead) = split(&stores);
        Ok(Self { live, dead, litter })
    }
}

/// A segment of a higher epoch ends every segment of a lower epoch at its base: those whose base is not lower are dead.
fn split(sorted: &[Id]) -> (Vec<Id>, Vec<Id>) {
    let mut highest = 0;
    let (mut live, mut dead) = (Vec::new(), Vec::new());
    for same_base in sorted.chunk_by(|a, b| a.base_offset == b.base_offset) {
        highest = same_base.iter().map(|id| id.epoch).fold(highest, u32::max);
        for id in same_base {
            if id.epoch < highest { dead.push(*id) } else { live.push(*id) }
        }
    }
    (live, dead)
}

/// A place between two records.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: u64,
    offset: u64,
    timestamp_ns: u64,
    payload_bytes: u64,
    sealed: bool,
}

impl Place {
    fn start(header: &Header) -> Self {
        Self {
            position: FRAMES_START,
            offset: header.base_offset,
            timestamp_ns: header.timestamp_floor_ns,
            payload_bytes: 0,
            sealed: false,
        }
    }

    fn behind(slot: &Slot) -> Self {
        Self {
            position: slot.position,
            offset: slot.next_offset,
            timestamp_ns: slot.last_timestamp_ns,
            payload_bytes: slot.payload_bytes,
            sealed: slot.sealed,
        }
    }

    fn step(&mut self, head: &record::Head) {
        self.position += head.frame_bytes();
        self.offset += 1;
        self.timestamp_ns = self.timestamp_ns.max(head.timestamp_ns);
        self.payload_bytes = self.payload_bytes.saturating_add(head.payload_len as u64);
    }

    fn found(&self, header: &Header) -> Found {
        Found {
            end: self.position,
            next_offset: self.offset,
            last_timestamp_ns: self.timestamp_ns,
            payload_bytes: self.payload_bytes,
            prior_payload_bytes: header.prior_payload_bytes,
            sealed: self.sealed,
        }
    }
}

/// What a scan of one segment came to.
struct Scanned {
    /// Behind the last whole record or batch.
    good: Place,
    /// Where it stopped; ahead of `good` if it stopped inside a batch.
    stopped: Place,
    /// Positions / 8 of the records from where it began.
    entries: Vec<u32>,
}

/// Makes a directory's log ready for appending, or a new log in it.
pub(crate) fn recover(dir: &Arc<Dir>, limits: &Limits, lock: &Lock) -> Result<Recovered> {
    let files = Files::list(dir)?;
    let old_tail = OldTail::read(lock.file())?;
    let recovered = match files.live.last() {
        None => create(dir, limits)?,
        Some(_) => go_on(dir, limits, lock, &files.live, &old_tail)?,
    };
    bury(dir, &files, &recovered);
    Ok(recovered)
}

fn create(dir: &Arc<Dir>, limits: &Limits) -> Result<Recovered> {
    let header = Header {
        epoch: 0,
        base_offset: limits.initial_offset,
        floor_epoch: 0,
        seed: u32::from_le_bytes(sys::random_bytes()?),
        timestamp_floor_ns: 0,
        created_ns: sys::clock_coarse_ns(),
        log_id: sys::random_bytes()?,
        prior_payload_bytes: 0,
        cause: Cause::Roll,
    };
    let segment = make(dir, limits, header)?;
    dir.sync_in_parent()?;
    Ok(Recovered {
        segments: vec![Arc::new(segment)],
        header,
        found: Place::start(&header).found(&header),
        durable: header.base_offset,
        records_behind_mark: 0,
        dropped_bytes: 0,
    })
}

/// A new, empty segment behind all that is durable, with its name in the directory, durably.
fn make(dir: &Arc<Dir>, limits: &Limits, header: Header) -> Result<Segment> {
    let plan = Plan {
        header,
        store_bytes: FRAMES_START + limits.segment_bytes.next_multiple_of(8),
        allocated: FRAMES_START + SEAL_BYTES,
        index_records: limits.index_records,
        all_before_is_durable: true,
    };
    let segment = Segment::publish(dir, Prepared::make(dir, &plan)?)?;
    dir.sync()?;
    Ok(segment)
}

/// First pages of the segments from the last one that has a durable slot to the end, in that order.
fn doubtful(dir: &Dir, live: &[Id]) -> Result<Vec<FirstPage>> {
    let mut pages: Vec<FirstPage> = Vec::new();
    for (n, id) in live.iter().enumerate().rev() {
        let name = id.store_name();
        let file = if n + 1 == live.len() { dir.open_write(&name) } else { dir.open_read(&name) }?;
        let page = store::read_first_page(file, id.base_offset, id.epoch)?;
        if let Some(last) = pages.first().filter(|last| last.header.log_id != page.header.log_id) {
            let (path, other) = (page.file.path(), last.file.path());
            return Err(Error::new(
                Status::Corrupt,
                format!("'{path}' and '{other}' belong to different logs; put the right files back"),
            )
            .at(id.base_offset));
        }
        let marked = page.slot.is_some();
        pages.insert(0, page);
        if marked {
            break;
        }
    }
    Ok(pages)
}

/// How many of the doubtful segments hold records: none of one that power loss left without its header was ever synced,
/// nor any behind it.
fn used_pages(pages: &[FirstPage]) -> Result<usize> {
    match pages.iter().position(|page| page.unused) {
        Some(0) => Err(pages[0].corrupt("it holds no records, and none stand before it")),
        used => Ok(used.unwrap_or(pages.len())),
    }
}

fn go_on(dir: &Arc<Dir>, limits: &Limits, lock: &Lock, live: &[Id], old_tail: &OldTail) -> Result<Recovered> {
    let mut pages = doubtful(dir, live)?;
    let first_doubtful = live.len() - pages.len();
    let used = used_pages(&pages)?;
    let (mut dropped_bytes, mut records_behind_mark) = (0, 0);
    let mut durable = live[first_doubtful].base_offset;
    let mut last = None;
    for (n, page) in pages[..used].iter().enumerate() {
        let next_base = pages[..used].get(n + 1).map(|next| next.header.base_offset);
        let start = start_of(page)?;
        if n == 0 {
            durable = start.offset.min(next_base.unwrap_or(u64::MAX));
        }
        let mut scanned = scan(page, start, next_base.unwrap_or(u64::MAX))?;
        let in_store = scanned.good;
        if next_base.is_none() {
            scan_ring(page, start.offset, &mut scanned, old_tail)?;
        }
        records_behind_mark += scanned.good.offset.saturating_sub(start.offset);
        match next_base {
            Some(next) if scanned.good.offset >= next => {}
            Some(next) if scanned.good.sealed => return Err(gap(page, scanned.good.offset, next)),
            _ => {
                last = Some((n, start, scanned, in_store));
                break;
            }
        }
    }
    let Some((n, start, scanned, in_store)) = last else {
        return Err(Error::new(Status::Bug, "recovery found no last segment"));
    };
    // From here on files are changed: all that is kept is written and synced first.
    let log_id = pages[n].header.log_id;
    // Whatever LIVE says: no record stands before the first one.
    let poisoned_from = control::poisoned_from(lock.file(), &log_id, RING_BYTES)?;
    let poisoned_from = poisoned_from.map(|from| from.max(live[0].base_offset));
    let good = scanned.good;
    let was_clean = records_behind_mark == 0 && n == 0 && pages[n].slot.is_some();
    let torn_page = &pages[n];
    if good.position > in_store.position {
        let run = old_tail.run(in_store.position, good.position);
        torn_page.file.allocate(in_store.position, run.len() as u64)?;
        torn_page.file.write_at(run, in_store.position)?;
    }
    if !was_clean {
        let synced = pages[..=n].iter().try_for_each(|page| page.file.sync()).and_then(|()| dir.sync());
        synced.inspect_err(|error| {
            // The next open of this boot would find these records in the page cache, and no sync that fails.
            let from = poisoned_from.unwrap_or(durable).min(durable);
            control::note_poison(lock.file(), &log_id, RING_BYTES, from, error.detail().os_error);
        })?;
    } else if live.len() == 1 && good.offset == torn_page.header.base_offset {
        // The log may have been made, and its maker killed, before its directory's own name was durable.
        dir.sync_in_parent()?;
    }
    let bytes = torn_page.bytes.max(good.position);
    let mut rest = Scan::new(&torn_page.file, torn_page.header.seed, bytes);
    dropped_bytes += rest.bytes_to_last_non_zero(good.position)?;
    for page in &pages[n + 1..] {
        dropped_bytes += Scan::new(&page.file, page.header.seed, page.bytes).bytes_to_last_non_zero(FRAMES_START)?;
    }
    let torn = dropped_bytes > 0 || n + 1 < pages.len();
    let row_end = first_doubtful + n;
    if let Some(from) = poisoned_from.filter(|from| *from < good.offset) {
        let kept = live[..=row_end].partition_point(|id| id.base_offset < from);
        let doubted = sealed_row(dir, &live[..=row_end], log_id, good.offset);
        let (last, end, epoch) = (torn_page.header, good.offset, next_epoch(live)?);
        let old = Doubted { segments: &doubted, from, end, epoch, last, last_place: good };
        let (header, found, active) = write_anew(dir, limits, &old)?;
        let mut segments = sealed_row(dir, &live[..kept], log_id, from);
        segments.push(Arc::new(active));
        let durable = end;
        return Ok(Recovered { segments, header, found, durable, records_behind_mark, dropped_bytes });
    }
    if torn {
        let header = Header {
            base_offset: good.offset,
            epoch: next_epoch(live)?,
            timestamp_floor_ns: good.timestamp_ns,
            prior_payload_bytes: torn_page.header.prior_payload_bytes.saturating_add(good.payload_bytes),
            cause: Cause::Recovery,
            ..fresh_header(&torn_page.header)?
        };
        let active = make(dir, limits, header)?;
        let kept = live[..=row_end].partition_point(|id| id.base_offset < good.offset);
        let mut segments = sealed_row(dir, &live[..kept], log_id, good.offset);
        segments.push(Arc::new(active));
        let found = Place::start(&header).found(&header);
        return Ok(Recovered { segments, header, found, durable: good.offset, records_behind_mark, dropped_bytes });
    }
    let header = torn_page.header;
    let mut segments = sealed_row(dir, &live[..row_end], log_id, header.base_offset);
    let page = pages.remove(n);
    let page = FirstPage { bytes, ..page };
    let used = u32::try_from(good.offset - header.base_offset).unwrap_or(u32::MAX);
    let active = Segment::open_active(dir, page, good.position, used, limits.index_records)?;
    for (offset, entry) in (start.offset..good.offset).zip(&scanned.entries) {
        active.set_position(offset, u64::from(*entry) * 8);
    }
    if !was_clean {
        active.write_slot(slot(&good))?;
        durable = good.offset;
    }
    segments.push(Arc::new(active));
    Ok(Recovered { segments, header, found: good.found(&header), durable, records_behind_mark, dropped_bytes })
}

fn slot(place: &Place) -> Slot {
    Slot {
        count: 0,
        position: place.position,
        next_offset: place.offset,
        last_timestamp_ns: place.timestamp_ns,
        payload_bytes: place.payload_bytes,
        sealed: place.sealed,
    }
}

fn sealed_row(dir: &Arc<Dir>, ids: &[Id], log_id: [u8; 16], end: u64) -> Vec<Arc<Segment>> {
    let limits = ids.iter().skip(1).map(|id| id.base_offset).chain([end]);
    ids.iter().zip(limits).map(|(id, limit)| Arc::new(Segment::sealed(dir, *id, log_id, limit))).collect()
}

fn next_epoch(live: &[Id]) -> Result<u32> {
    let highest = live.iter().map(|id| id.epoch).max().unwrap_or(0);
    highest
        .checked_add(1)
        .ok_or_else(|| Error::new(Status::Format, "the log's epochs are used up; copy its records into a new log"))
}

fn gap(page: &FirstPage, end: u64, next: u64) -> Error {
    let path = page.file.path();
    let last = next - 1;
    let text = format!(
        "records {end} to {last} are missing: '{path}' ends before them, and the next segment begins behind them; \
         restore the files from a copy"
    );
    Error::new(Status::Corrupt, text).at(end)
}

/// Where the scan of a segment begins.
fn start_of(page: &FirstPage) -> Result<Place> {
    let Some(slot) = page.slot else { return Ok(Place::start(&page.header)) };
    if slot.position > page.bytes {
        let path = page.file.path();
        let (bytes, position) = (page.bytes, slot.position);
        let text = format!(
            "'{path}' ends at byte {bytes}, but was durable up to byte {position}; nothing was changed, \
             restore the file from a copy"
        );
        return Err(Error::new(Status::Corrupt, text).at(slot.next_offset));
    }
    Ok(Place::behind(&slot))
}

/// Reads frames from `start` on while they are good and below the offset `limit`.
fn scan(page: &FirstPage, start: Place, limit: u64) -> Result<Scanned> {
    let mut scan = Scan::new(&page.file, page.header.seed, page.bytes);
    let mut scanned = Scanned { good: start, stopped: start, entries: Vec::new() };
    while scanned.stopped.offset < limit && !scanned.stopped.sealed {
        let Some(head) = scan.frame(scanned.stopped.position, scanned.stopped.offset)? else { break };
        take(&mut scanned, &head)?;
    }
    if scanned.stopped.offset >= limit {
        // The next segment begins here, be it inside a batch: a truncation may cut one.
        scanned.good = scanned.stopped;
    }
    Ok(scanned)
}

/// Goes on in the ring, where each frame must be exactly the next one. It begins behind the last whole batch in the
/// store, not where the scan of the store stopped: what stands there may be a part of a batch that was refused, and
/// what was acknowledged in its place is in the ring.
fn scan_ring(page: &FirstPage, first: u64, scanned: &mut Scanned, old_tail: &OldTail) -> Result<()> {
    scanned.stopped = scanned.good;
    scanned.entries.truncate(scanned.good.offset.saturating_sub(first) as usize);
    let start = scanned.stopped.position;
    while !scanned.stopped.sealed {
        let place = scanned.stopped;
        let Some(frame) = old_tail.frame(place.position, page.header.seed, place.offset) else { break };
        if place.position + frame.head.frame_bytes() > start + RING_BYTES || frame.head.kind == Kind::Seal {
            break;
        }
        take(scanned, &frame.head)?;
    }
    Ok(())
}

fn take(scanned: &mut Scanned, head: &record::Head) -> Result<()> {
    let Kind::Record { more } = head.kind else {
        scanned.stopped.position += head.frame_bytes();
        scanned.stopped.sealed = true;
        if scanned.good.offset == scanned.stopped.offset {
            scanned.good = scanned.stopped;
        }
        return Ok(());
    };
    scanned
        .entries
        .try_reserve(1)
        .map_err(|_| Error::new(Status::Memory, "out of memory: the positions of a segment's records do not fit"))?;
    scanned.entries.push(u32::try_from(scanned.stopped.position / 8).unwrap_or(0));
    scanned.stopped.step(head);
    if !more {
        scanned.good = scanned.stopped;
    }
    Ok(())
}

/// Records that the page cache shows and the disk may not hold, since a sync failed in this boot.
struct Doubted<'a> {
    segments: &'a [Arc<Segment>],
    from: u64,
    end: u64,
    /// Of the segment that takes their place: above all that are there.
    epoch: u32,
    /// The segment that `end` lies in, and where.
    last: Header,
    last_place: Place,
}

/// Writes the doubted records anew into one segment of the next epoch, which gets its name when all of them are synced.
fn write_anew(dir: &Arc<Dir>, limits: &Limits, old: &Doubted<'_>) -> Result<(Header, Found, Segment)> {
    let mut place = old.last_place;
    let mut bytes = 0;
    let mut payload_bytes = 0;
    for_each_frame(old, |head, _| {
        bytes += head.frame_bytes();
        payload_bytes += head.payload_len as u64;
        Ok(())
    })?;
    let header = Header {
        base_offset: old.from,
        epoch: old.epoch,
        prior_payload_bytes: (old.last.prior_payload_bytes.saturating_add(old.last_place.payload_bytes))
            .saturating_sub(payload_bytes),
        cause: Cause::Recovery,
        ..fresh_header(&old.last)?
    };
    let store_bytes = FRAMES_START + (bytes + SEAL_BYTES).max(limits.segment_bytes).next_multiple_of(8);
    let allocated = FRAMES_START + bytes + SEAL_BYTES;
    let id = Id { base_offset: header.base_offset, epoch: header.epoch };
    let temporary = temporary_name(&id.store_name());
    let store = Store::create(dir, &temporary, header, None, store_bytes, allocated)?;
    let mut at = FRAMES_START;
    let mut offset = old.from;
    let mut entries = Vec::new();
    for_each_frame(old, |head, payload| {
        let crc = crc32c(0, payload);
        let new = record::encode_head(head.kind, header.seed, offset, head.timestamp_ns, payload.len(), crc);
        store.file()?.write_at(&new, at)?;
        store.file()?.write_at(payload, at + FRAME_HEADER)?;
        entries.push(u32::try_from(at / 8).unwrap_or(0));
        at += head.frame_bytes();
        offset += 1;
        Ok(())
    })?;
    place.position = at;
    place.payload_bytes = payload_bytes;
    place.sealed = false;
    let durable = Slot { count: 1, ..slot(&place) };
    store.file()?.sync()?;
    store.write_slot(&durable)?;
    store.file()?.sync()?;
    dir.rename(&temporary, dir, &id.store_name())?;
    dir.sync()?;
    let page = store::read_first_page(dir.open_write(&id.store_name())?, id.base_offset, id.epoch)?;
    let used = u32::try_from(old.end - old.from).unwrap_or(u32::MAX);
    let active = Segment::open_active(dir, page, at, used, limits.index_records)?;
    for (offset, entry) in (old.from..).zip(&entries) {
        active.set_position(offset, u64::from(*entry) * 8);
    }
    Ok((header, place.found(&header), active))
}

/// Walks the doubted records, each proved by its checksum.
fn for_each_frame(old: &Doubted<'_>, mut each: impl FnMut(&record::Head, &[u8]) -> Result<()>) -> Result<()> {
    for segment in old.segments.iter().filter(|segment| segment.limit() > old.from) {
        for offset in segment.id.base_offset.max(old.from)..segment.limit().min(old.end) {
            match segment.find(offset)? {
                Standing::Stored(frame, _) => each(&frame.head, frame.payload)?,
                Standing::InRing(position) => return Err(segment.corrupt(position, offset)),
            }
        }
    }
    Ok(())
}

/// Takes what is dead out of the directory: into `lost/` where recovery ended it, else for good. Nothing depends on it,
/// so what fails is left for the next open.
fn bury(dir: &Dir, files: &Files, recovered: &Recovered) {
    for name in &files.litter {
        let _ = dir.unlink(name);
    }
    let lives = |id: &Id| recovered.segments.iter().any(|segment| segment.id == *id);
    for id in files.dead.iter().chain(&files.live).filter(|id| !lives(id)) {
        let killer = recovered
            .segments
            .iter()
            .rev()
            .find(|segment| segment.id.epoch > id.epoch && segment.id.base_offset <= id.base_offset);
        let Some(Ok(cause)) = killer.map(|killer| killer.store().map(|store| store.header().cause)) else { continue };
        let names = [id.store_name(), id.index_name()];
        if cause == Cause::Recovery {
            let Ok(Some(lost)) = dir.subdir(LOST, true) else { continue };
            for name in &names {
                let _ = dir.rename(name, &lost, name);
            }
        } else {
            for name in &names {
                let _ = dir.unlink(name);
            }
        }
    }
}

/// Deletes a log's own files from a directory, newest segments first, so that what is left after a crash is a shorter
/// log. `false` if there was no log.
pub(crate) fn remove_files(dir: &Dir) -> Result<bool> {
    let files = Files::list(dir)?;
    if files.live.is_empty() {
        return Ok(false);
    }
    let stores = files.dead.iter().chain(files.live.iter().rev());
    for id in stores {
        dir.unlink(&id.store_name())?;
        dir.unlink(&id.index_name())?;
    }
    for name in &files.litter {
        dir.unlink(name)?;
    }
    if let Some(lost) = dir.subdir(LOST, false)? {
        let mut names = Vec::new();
        lost.list(|name| names.extend(Id::parse(name).map(|_| name.to_owned())))?;
        for name in names {
            lost.unlink(&name)?;
        }
        dir.remove_dir(LOST)?;
    }
    dir.unlink(control::LIVE)?;
    dir.sync()?;
    Ok(true)
}
