//! From a directory's files to a row of segments (docs/FORMAT.md, "How the row is read"): which live, where the doubt
//! begins, what stands behind the durable mark, what the ring still holds, torn tail or corruption. It changes nothing
//! before it knows.

use crate::checksum::crc32c;
use crate::config::Limits;
use crate::control::{self, Lock};
use crate::error::{Error, Result, Status};
use crate::files::Files;
use crate::fresh::{Plan, Prepared, fresh_header};
use crate::id::{Id, OFFSET_END, temporary_name};
use crate::named::{START, Start};
use crate::record::{self, Cause, Check, FRAME_HEADER, FRAMES_START, Header, Kind, SEAL_BYTES, Slot};
use crate::segment::{Found as Standing, Segment};
use crate::store::{self, FirstPage, Scan, Store};
use crate::sync::Arc;
use crate::sys::{self, Dir};
use crate::tail::{OldTail, RING_BYTES};
use crate::writer::Found;

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
    /// Of the first record, and payload bytes of all before it.
    pub first_offset: u64,
    pub first_payload_bytes: u64,
}

impl Recovered {
    /// A row that goes on in an empty last segment, with all before it durable.
    fn in_new_segment(mut segments: Vec<Arc<Segment>>, active: Segment, header: Header) -> Self {
        segments.push(Arc::new(active));
        Self {
            first_offset: segments.first().map_or(header.base_offset, |segment| segment.id.base_offset),
            segments,
            header,
            found: Place::start(&header).found(&header),
            durable: header.base_offset,
            records_behind_mark: 0,
            dropped_bytes: 0,
            first_payload_bytes: 0,
        }
    }

    fn bury(&self, dir: &Dir, files: &Files) {
        files.bury(dir, &self.segments, self.header.floor_epoch, self.first_offset);
    }
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
    let mut files = Files::list(dir)?;
    let old_tail = OldTail::read(lock.file())?;
    if files.live.is_empty() {
        // Of a log whose removal was broken off.
        dir.unlink(START)?;
        return create(dir, limits).inspect(|recovered| recovered.bury(dir, &files));
    }
    let pages = doubtful(dir, &mut files)?;
    let start = start_above_floor(dir, &pages, &files.live)?;
    let end = find_end(&pages, files.live.len(), &old_tail)?;
    let mut recovered = settle(dir, limits, lock, &files.live, pages, &end, &old_tail)?;
    if let Some(start) = start {
        begin_at(dir, limits, &mut recovered, &start, &files.live)?;
    }
    recovered.bury(dir, &files);
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
    let active = make(dir, limits, header)?;
    dir.sync_in_parent()?;
    Ok(Recovered::in_new_segment(Vec::new(), active, header))
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

/// First pages of the segments from the last one that has a durable slot to the end, in that order. Segments below the
/// last one's floor turn out to be dead.
fn doubtful(dir: &Dir, files: &mut Files) -> Result<Vec<FirstPage>> {
    let mut pages: Vec<FirstPage> = Vec::new();
    let mut left = files.live.len();
    while let Some(id) = left.checked_sub(1).and_then(|n| files.live.get(n).copied()) {
        let name = id.store_name();
        let file = if pages.is_empty() { dir.open_write(&name) } else { dir.open_read(&name) }?;
        let page = store::read_first_page(file, id.base_offset, id.epoch)?;
        if let Some(last) = pages.first().filter(|last| last.header.log_id != page.header.log_id) {
            let (path, other) = (page.file.path(), last.file.path());
            let text = format!("'{path}' and '{other}' belong to different logs; put the right files back");
            return Err(Error::new(Status::Corrupt, text).at(id.base_offset));
        }
        // The header of one that was made ahead may be older than a reset.
        if !page.unused && pages.iter().all(|page| page.unused) {
            if page.header.floor_epoch > page.header.epoch {
                return Err(page.corrupt("it says that it is dead itself"));
            }
            left -= files.end_below(page.header.floor_epoch);
        }
        let marked = page.slot.is_some();
        pages.insert(0, page);
        if marked {
            break;
        }
        left -= 1;
    }
    Ok(pages)
}

/// START, unless a reset has made it void.
fn start_above_floor(dir: &Dir, pages: &[FirstPage], live: &[Id]) -> Result<Option<Start>> {
    let last = pages.iter().rev().find(|page| !page.unused);
    let (Some(last), Some(first)) = (last, live.first()) else { return Ok(None) };
    let Some(start) = Start::load(dir)? else { return Ok(None) };
    let corrupt = |text: String| Error::new(Status::Corrupt, text).at(start.first_offset);
    if start.log_id != last.header.log_id {
        let (path, other) = (dir.path_of(START), last.file.path());
        return Err(corrupt(format!("'{path}' and '{other}' belong to different logs; put the right files back")));
    }
    if start.epoch < last.header.floor_epoch {
        return Ok(None);
    }
    if start.first_offset > OFFSET_END {
        return Err(corrupt(format!(
            "'{}' names an offset that no record has; restore it from a copy",
            dir.path_of(START)
        )));
    }
    if first.base_offset > start.first_offset {
        let (path, from, upto) = (dir.path_of(&first.store_name()), start.first_offset, first.base_offset - 1);
        return Err(corrupt(format!(
            "records {from} to {upto} are missing: the log was trimmed to begin at {from}, and '{path}' is the first \
             segment; restore the files from a copy"
        )));
    }
    Ok(Some(start))
}

/// How many of the doubtful segments hold records: none of one that power loss left without its header was ever synced,
/// nor any behind it.
fn used_pages(pages: &[FirstPage]) -> Result<&[FirstPage]> {
    match pages.iter().position(|page| page.unused) {
        Some(0) => Err(pages[0].corrupt("it holds no records, and none stand before it")),
        used => Ok(&pages[..used.unwrap_or(pages.len())]),
    }
}

/// Where the log ends.
struct End {
    /// Of the doubtful segments, the one in which it ends.
    n: usize,
    /// Where the scan of that one began.
    start: Place,
    scanned: Scanned,
    /// Where the scan of its store, without the ring, stopped.
    in_store: Place,
    /// Every record below it was durable.
    durable: u64,
    records_behind_mark: u64,
    /// How many segments live before the doubtful ones.
    sure: usize,
}

fn find_end(pages: &[FirstPage], live: usize, old_tail: &OldTail) -> Result<End> {
    let sure = live - pages.len();
    let pages = used_pages(pages)?;
    let mut durable = None;
    let mut records_behind_mark = 0;
    for (n, page) in pages.iter().enumerate() {
        let next_base = pages.get(n + 1).map(|next| next.header.base_offset);
        let start = start_of(page)?;
        let durable = *durable.get_or_insert(start.offset.min(next_base.unwrap_or(u64::MAX)));
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
                return Ok(End { n, start, scanned, in_store, durable, records_behind_mark, sure });
            }
        }
    }
    Err(Error::new(Status::Bug, "recovery found no last segment"))
}

/// Makes good what was found: writes and syncs what is kept, and goes on behind it, in the same file or in a new one.
fn settle(
    dir: &Arc<Dir>,
    limits: &Limits,
    lock: &Lock,
    live: &[Id],
    mut pages: Vec<FirstPage>,
    end: &End,
    old_tail: &OldTail,
) -> Result<Recovered> {
    let (n, good) = (end.n, end.scanned.good);
    let log_id = pages[n].header.log_id;
    // Whatever LIVE says: no record stands before the first one. (A reset that failed behind its moment leaves the
    // poison of an older row.)
    let poisoned_from = control::poisoned_from(lock.file(), &log_id, RING_BYTES)?;
    let poisoned_from = poisoned_from.map(|from| from.max(live[0].base_offset));
    let was_clean = end.records_behind_mark == 0 && n == 0 && pages[n].slot.is_some();
    if good.position > end.in_store.position {
        let run = old_tail.run(end.in_store.position, good.position);
        pages[n].file.allocate(end.in_store.position, run.len() as u64)?;
        pages[n].file.write_at(run, end.in_store.position)?;
    }
    if !was_clean {
        let synced = pages[..=n].iter().try_for_each(|page| page.file.sync()).and_then(|()| dir.sync());
        synced.inspect_err(|error| {
            // The next open of this boot would find these records in the page cache, and no sync that fails.
            let from = poisoned_from.unwrap_or(end.durable).min(end.durable);
            control::note_poison(lock.file(), &log_id, RING_BYTES, from, error.detail().os_error);
        })?;
    } else if live.len() == 1 && good.offset == pages[n].header.base_offset {
        // The log may have been made, and its maker killed, before its directory's own name was durable.
        dir.sync_in_parent()?;
    }
    let dropped_bytes = dropped(&pages[n..], &good)?;
    let header = pages[n].header;
    let row = &live[..=end.sure + n];
    let mut recovered = if let Some(from) = poisoned_from.filter(|from| *from < good.offset) {
        let doubted = sealed_row(dir, row, header.log_id, good.offset);
        let epoch = next_epoch(live.iter().map(|id| id.epoch))?;
        let old = Doubted { segments: &doubted, from, end: good.offset, epoch, last: header, last_place: good };
        let (header, found, active) = write_anew(dir, limits, &old)?;
        let segments = sealed_before(dir, row, header.log_id, from);
        Recovered { found, durable: good.offset, ..Recovered::in_new_segment(segments, active, header) }
    } else if dropped_bytes > 0 || n + 1 < pages.len() {
        let header = Header {
            base_offset: good.offset,
            epoch: next_epoch(live.iter().map(|id| id.epoch))?,
            timestamp_floor_ns: good.timestamp_ns,
            prior_payload_bytes: header.prior_payload_bytes.saturating_add(good.payload_bytes),
            cause: Cause::Recovery,
            ..fresh_header(&header)?
        };
        let active = make(dir, limits, header)?;
        Recovered::in_new_segment(sealed_before(dir, row, header.log_id, good.offset), active, header)
    } else {
        let mut page = pages.remove(n);
        page.bytes = page.bytes.max(good.position);
        let used = u32::try_from(good.offset - header.base_offset).unwrap_or(u32::MAX);
        let active = Segment::open_active(dir, page, good.position, used, limits.index_records)?;
        for (offset, entry) in (end.start.offset..good.offset).zip(&end.scanned.entries) {
            active.set_position(offset, u64::from(*entry) * 8);
        }
        let mut durable = end.durable;
        if !was_clean {
            active.write_slot(slot(&good))?;
            durable = good.offset;
        }
        let segments = sealed_row(dir, &row[..end.sure + n], header.log_id, header.base_offset);
        Recovered { found: good.found(&header), durable, ..Recovered::in_new_segment(segments, active, header) }
    };
    recovered.records_behind_mark = end.records_behind_mark;
    recovered.dropped_bytes = dropped_bytes;
    Ok(recovered)
}

/// Bytes that are left out: behind the good end of the first of these segments, and all of the others.
fn dropped(pages: &[FirstPage], good: &Place) -> Result<u64> {
    let mut bytes = 0;
    for (n, page) in pages.iter().enumerate() {
        let from = if n == 0 { good.position } else { FRAMES_START };
        let mut scan = Scan::new(&page.file, page.header.seed, page.bytes.max(from));
        bytes += scan.bytes_to_last_non_zero(from)?;
    }
    Ok(bytes)
}

/// Lets the log begin where it was trimmed.
fn begin_at(dir: &Arc<Dir>, limits: &Limits, recovered: &mut Recovered, start: &Start, live: &[Id]) -> Result<()> {
    if recovered.found.next_offset < start.first_offset {
        // Files were lost: what was removed must not come back under new records.
        let header = Header {
            base_offset: start.first_offset,
            epoch: next_epoch(live.iter().map(|id| id.epoch).chain([recovered.header.epoch]))?,
            timestamp_floor_ns: recovered.found.last_timestamp_ns,
            prior_payload_bytes: start.prior_payload_bytes,
            cause: Cause::Recovery,
            ..fresh_header(&recovered.header)?
        };
        let active = make(dir, limits, header)?;
        let (behind, dropped) = (recovered.records_behind_mark, recovered.dropped_bytes);
        *recovered = Recovered::in_new_segment(Vec::new(), active, header);
        (recovered.records_behind_mark, recovered.dropped_bytes) = (behind, dropped);
    }
    let gone = recovered.segments.partition_point(|segment| segment.limit() <= start.first_offset);
    recovered.segments.drain(..gone);
    recovered.first_offset = start.first_offset;
    // A trim makes durable what it leaves out.
    recovered.durable = recovered.durable.max(start.first_offset);
    recovered.first_payload_bytes = start.prior_payload_bytes;
    Ok(())
}

/// The segments that begin before `end`, the last of them ended there.
fn sealed_before(dir: &Arc<Dir>, ids: &[Id], log_id: [u8; 16], end: u64) -> Vec<Arc<Segment>> {
    let kept = ids.partition_point(|id| id.base_offset < end);
    sealed_row(dir, &ids[..kept], log_id, end)
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

fn next_epoch(epochs: impl Iterator<Item = u32>) -> Result<u32> {
    let highest = epochs.max().unwrap_or(0);
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
            match segment.find(offset, Check::Verify)? {
                Standing::Stored(frame, _) => each(&frame.head, frame.payload)?,
                Standing::InRing(position) => return Err(segment.corrupt(position, offset)),
            }
        }
    }
    Ok(())
}
