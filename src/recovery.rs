//! From a directory's files to a row of segments that a writer goes on in: what stands behind the durable mark is
//! written and synced, torn tails and poison begin an epoch. It changes nothing before `ending` knows where the log
//! ends.

use crate::checksum::crc32c;
use crate::config::Limits;
use crate::control::{self, Lock, OldPage};
use crate::ending::{End, Place, begin_above, doubtful, find_end, start_above_floor};
use crate::error::{Error, Result, Status};
use crate::files::Files;
use crate::fresh::{Plan, Prepared, fresh_header};
use crate::id::{Id, temporary_name};
use crate::memory;
use crate::record::{self, Cause, Check, FRAME_HEADER, FRAMES_START, Header, SEAL_BYTES, Slot};
use crate::run::each_stored;
use crate::seeded::{Bug, seeded};
use crate::segment::Segment;
use crate::start::{START, Start};
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
            found: found(&Place::start(&header), &header),
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

fn found(place: &Place, header: &Header) -> Found {
    Found {
        end: place.position,
        next_offset: place.offset,
        last_timestamp_ns: place.timestamp_ns,
        payload_bytes: place.payload_bytes,
        prior_payload_bytes: header.prior_payload_bytes,
        sealed: place.sealed,
    }
}

/// Makes a directory's log ready for appending, or a new log in it.
pub(crate) fn recover(dir: &Arc<Dir>, limits: &Limits, lock: &Lock, old_page: &OldPage) -> Result<Recovered> {
    let mut files = Files::list_whole(dir)?;
    let old_tail = OldTail::read(lock.file())?;
    if files.live.is_empty() {
        control::end_session(lock.file());
        // Of a log whose removal was broken off.
        dir.unlink(START)?;
        return create(dir, limits).inspect(|recovered| recovered.bury(dir, &files));
    }
    let mut pages = doubtful(dir, &mut files, true)?;
    let start = start_above_floor(dir, &pages, &files.live)?;
    begin_above(&mut pages, start.as_ref());
    let same_boot = old_page.is_of_this_boot(&pages[0].header.log_id);
    let end = find_end(&pages, files.live.len(), Some(&old_tail), !same_boot)?;
    let old = OldLive { page: old_page, tail: &old_tail };
    let mut recovered = settle(dir, limits, lock, &files.live, pages, &end, &old)?;
    if let Some(start) = start {
        begin_at(dir, limits, &mut recovered, &start, &files.live)?;
    }
    control::end_session(lock.file());
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
    if !seeded(Bug::LogNotNamed) {
        dir.sync_in_parent()?;
    }
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

/// What LIVE held when the log was opened.
struct OldLive<'a> {
    page: &'a OldPage,
    tail: &'a OldTail,
}

/// Makes good what was found: writes and syncs what is kept, and goes on behind it, in the same file or in a new one.
fn settle(
    dir: &Arc<Dir>,
    limits: &Limits,
    lock: &Lock,
    live: &[Id],
    mut pages: Vec<FirstPage>,
    end: &End,
    old: &OldLive<'_>,
) -> Result<Recovered> {
    let (n, good) = (end.n, end.scanned.good);
    let log_id = pages[n].header.log_id;
    // Whatever LIVE says: no record stands before the first one. (A reset that failed behind its moment leaves the
    // poison of an older row.)
    let poisoned_from = old.page.poisoned_from(&log_id).map(|from| from.max(live[0].base_offset));
    let was_clean = end.records_behind_mark == 0 && n == 0 && pages[n].slot.is_some();
    if !end.in_ring.is_empty() {
        // Only the last one was opened for writing, and behind this one names may stand that never got a header.
        pages[n].file = dir.open_write(&live[end.sure + n].store_name())?;
    }
    for run in &end.in_ring {
        let bytes = old.tail.run(run.start, run.end);
        pages[n].file.allocate(run.start, bytes.len() as u64)?;
        pages[n].file.write_at(bytes, run.start)?;
    }
    if !was_clean && !seeded(Bug::RecoveredUnsynced) {
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
        let doubted = sealed_row(dir, row, header.log_id, good.offset)?;
        let epoch = next_epoch(live.iter().map(|id| id.epoch))?;
        let old = Doubted { segments: &doubted, from, end: good.offset, epoch, last: header, last_place: good };
        let (header, found, active) = write_anew(dir, limits, &old)?;
        let segments = sealed_before(dir, row, header.log_id, from)?;
        Recovered { found, durable: good.offset, ..Recovered::in_new_segment(segments, active, header) }
    } else if dropped_bytes > 0 && !seeded(Bug::TornTailGoneOn) || n + 1 < pages.len() {
        let header = Header {
            base_offset: good.offset,
            epoch: next_epoch(live.iter().map(|id| id.epoch))?,
            timestamp_floor_ns: good.timestamp_ns,
            prior_payload_bytes: header.prior_payload_bytes.saturating_add(good.payload_bytes),
            cause: Cause::Recovery,
            ..fresh_header(&header)?
        };
        let active = make(dir, limits, header)?;
        Recovered::in_new_segment(sealed_before(dir, row, header.log_id, good.offset)?, active, header)
    } else {
        let mut page = pages.remove(n);
        page.bytes = page.bytes.max(good.position);
        let used = u32::try_from(good.offset - header.base_offset).unwrap_or(u32::MAX);
        let active = Segment::open_active(dir, page, good.position, used, limits.index_records)?;
        active.set_positions(end.start.offset, end.scanned.entries.iter().map(|entry| u64::from(*entry) * 8));
        let mut durable = end.durable;
        if !was_clean {
            active.write_slot(good.slot())?;
            durable = good.offset;
        }
        let segments = sealed_row(dir, &row[..end.sure + n], header.log_id, header.base_offset)?;
        Recovered { found: found(&good, &header), durable, ..Recovered::in_new_segment(segments, active, header) }
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
fn sealed_before(dir: &Arc<Dir>, ids: &[Id], log_id: [u8; 16], end: u64) -> Result<Vec<Arc<Segment>>> {
    let kept = ids.partition_point(|id| id.base_offset < end);
    sealed_row(dir, &ids[..kept], log_id, end)
}

/// The same for all of these, with room for the active one.
fn sealed_row(dir: &Arc<Dir>, ids: &[Id], log_id: [u8; 16], end: u64) -> Result<Vec<Arc<Segment>>> {
    let limits = ids.iter().skip(1).map(|id| id.base_offset).chain([end]);
    let mut row = memory::list_of_pieces::<_, Segment>(ids.len() + 1, "the log's row of segments")?;
    row.extend(ids.iter().zip(limits).map(|(id, limit)| Arc::new(Segment::sealed(dir, *id, log_id, limit))));
    Ok(row)
}

fn next_epoch(epochs: impl Iterator<Item = u32>) -> Result<u32> {
    let highest = epochs.max().unwrap_or(0);
    highest
        .checked_add(1)
        .ok_or_else(|| Error::new(Status::Format, "the log's epochs are used up; copy its records into a new log"))
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
        memory::push(&mut entries, u32::try_from(at / 8).unwrap_or(0), "the positions of records")?;
        at += head.frame_bytes();
        offset += 1;
        Ok(())
    })?;
    place.position = at;
    place.payload_bytes = payload_bytes;
    place.sealed = false;
    let durable = Slot { count: 1, ..place.slot() };
    store.file()?.sync()?;
    store.write_slot(&durable)?;
    store.file()?.sync()?;
    dir.rename(&temporary, dir, &id.store_name())?;
    dir.sync()?;
    let page = store::read_first_page(dir.open_write(&id.store_name())?, id.base_offset, id.epoch)?;
    let used = u32::try_from(old.end - old.from).unwrap_or(u32::MAX);
    let active = Segment::open_active(dir, page, at, used, limits.index_records)?;
    active.set_positions(old.from, entries.iter().map(|entry| u64::from(*entry) * 8));
    Ok((header, found(&place, &header), active))
}

/// Walks the doubted records, each proved by its checksum.
fn for_each_frame(old: &Doubted<'_>, mut each: impl FnMut(&record::Head, &[u8]) -> Result<()>) -> Result<()> {
    for segment in old.segments.iter().filter(|segment| segment.limit() > old.from) {
        let offsets = segment.id.base_offset.max(old.from)..segment.limit().min(old.end);
        each_stored(segment, offsets, Check::Verify, |frame| frame.and_then(|frame| each(&frame.head, frame.payload)))?;
    }
    Ok(())
}
