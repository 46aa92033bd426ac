//! Where a log ends, as its files tell (docs/FORMAT.md, "How the row is read"): which segments live, where the doubt
//! begins, what stands behind the durable mark, what the ring still holds, torn tail or corruption. It changes nothing,
//! and may be asked by those who cannot.

use crate::error::{Error, Result, Status};
use crate::files::Files;
use crate::id::{Id, OFFSET_END};
use crate::memory;
use crate::record::{self, FRAMES_START, Header, Kind, Slot};
use crate::seeded::{Bug, seeded};
use crate::start::{START, Start};
use crate::store::{self, FirstPage, Scan};
use crate::sys::Dir;
use crate::tail::{OldTail, RING_BYTES};
use std::ops::Range;

/// A place between two records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub position: u64,
    pub offset: u64,
    pub timestamp_ns: u64,
    pub payload_bytes: u64,
    pub sealed: bool,
}

impl Place {
    /// Before a segment's first record.
    pub(crate) fn start(header: &Header) -> Self {
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

    /// What a durable slot says of it.
    pub(crate) fn slot(&self) -> Slot {
        Slot {
            count: 0,
            position: self.position,
            next_offset: self.offset,
            last_timestamp_ns: self.timestamp_ns,
            payload_bytes: self.payload_bytes,
            sealed: self.sealed,
        }
    }

    fn step(&mut self, head: &record::Head) {
        self.position += head.frame_bytes();
        self.offset += 1;
        self.timestamp_ns = self.timestamp_ns.max(head.timestamp_ns);
        self.payload_bytes = self.payload_bytes.saturating_add(head.payload_len as u64);
    }
}

/// What a scan of one segment came to.
pub(crate) struct Scanned {
    /// Behind the last whole record or batch.
    pub good: Place,
    /// Where it stopped; ahead of `good` if it stopped inside a batch of the store.
    stopped: Place,
    /// Positions / 8 of the records from where it began.
    pub entries: Vec<u32>,
}

impl Scanned {
    /// Back to behind the last whole record or batch; it began at the offset `first`.
    fn go_back(&mut self, first: u64) {
        self.stopped = self.good;
        self.entries.truncate(self.good.offset.saturating_sub(first) as usize);
    }
}

/// First pages of the segments from the last one that has a durable slot to the end, in that order. Segments below the
/// last one's floor turn out to be dead.
pub(crate) fn doubtful(dir: &Dir, files: &mut Files, writable: bool) -> Result<Vec<FirstPage>> {
    let mut pages: Vec<FirstPage> = Vec::new();
    let mut left = files.live.len();
    while let Some(id) = left.checked_sub(1).and_then(|n| files.live.get(n).copied()) {
        let name = id.store_name();
        let file = if writable && pages.is_empty() { dir.open_write(&name) } else { dir.open_read(&name) }?;
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
            left -= files.end_below(page.header.floor_epoch)?;
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
pub(crate) fn start_above_floor(dir: &Dir, pages: &[FirstPage], live: &[Id]) -> Result<Option<Start>> {
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

/// Leaves out of the doubtful segments those that a trim removed whole, should a crash have brought them back: some of
/// them and not others, so that they may not even be a row.
pub(crate) fn begin_above(pages: &mut Vec<FirstPage>, start: Option<&Start>) {
    let is_gone = |next: &FirstPage, start: &Start| !next.unused && next.header.base_offset <= start.first_offset;
    while pages.get(1).zip(start).is_some_and(|(next, start)| is_gone(next, start)) {
        pages.remove(0);
    }
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
pub(crate) struct End {
    /// Of the doubtful segments, the one in which it ends.
    pub n: usize,
    /// Where the scan of that one began.
    pub start: Place,
    pub scanned: Scanned,
    /// From where to where its frames are in the ring alone.
    pub in_ring: Vec<Range<u64>>,
    /// Every record below it was durable.
    pub durable: u64,
    pub records_behind_mark: u64,
    /// How many segments live before the doubtful ones.
    pub sure: usize,
}

/// Where the log of these doubtful segments ends; `live` counts all that live. Names that no sync has covered reach the
/// disk in any order: where the machine may have stopped since (`names_may_lack`), a segment that is not there ends the
/// log, since none that comes behind says that all before it is durable.
pub(crate) fn find_end(
    pages: &[FirstPage],
    live: usize,
    old_tail: Option<&OldTail>,
    names_may_lack: bool,
) -> Result<End> {
    let sure = live - pages.len();
    let pages = used_pages(pages)?;
    let mut durable = None;
    let mut records_behind_mark = 0;
    for (n, page) in pages.iter().enumerate() {
        let next_base = pages.get(n + 1).map(|next| next.header.base_offset);
        let start = start_of(page)?;
        let durable = *durable.get_or_insert(start.offset.min(next_base.unwrap_or(u64::MAX)));
        let mut scanned = Scanned { good: start, stopped: start, entries: Vec::new() };
        let mut frames = Scan::new(&page.file, page.header.seed, page.bytes);
        scan(&mut frames, next_base.unwrap_or(u64::MAX), &mut scanned)?;
        let mut in_ring = Vec::new();
        if let (None, Some(old_tail)) = (next_base, old_tail) {
            // A power loss may have left frames in the one that the other lacks, and the other way round behind them.
            while let Some(run) = scan_ring(page, start.offset, &mut scanned, old_tail)? {
                memory::push(&mut in_ring, run, "what is in the ring alone")?;
                scan(&mut frames, u64::MAX, &mut scanned)?;
            }
        }
        records_behind_mark += scanned.good.offset.saturating_sub(start.offset);
        match next_base {
            Some(next) if scanned.good.offset >= next => {}
            Some(next) if scanned.good.sealed && !names_may_lack => return Err(gap(page, scanned.good.offset, next)),
            _ => {
                return Ok(End { n, start, scanned, in_ring, durable, records_behind_mark, sure });
            }
        }
    }
    Err(Error::new(Status::Bug, "recovery found no last segment"))
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

/// Reads frames of the store on while they are good and below the offset `limit`.
fn scan(frames: &mut Scan<'_>, limit: u64, scanned: &mut Scanned) -> Result<()> {
    while scanned.stopped.offset < limit && !scanned.stopped.sealed {
        let Some(head) = frames.frame(scanned.stopped.position, scanned.stopped.offset)? else { break };
        take(scanned, &head)?;
    }
    if scanned.stopped.offset >= limit {
        // The next segment begins here, be it inside a batch: a truncation may cut one.
        scanned.good = scanned.stopped;
    }
    Ok(())
}

/// Goes on in the ring, where each frame must be exactly the next one, and says what was found. It begins behind the
/// last whole batch in the store, not where the scan of the store stopped: what stands there may be a part of a batch
/// that was refused, and what was acknowledged in its place is in the ring. It ends behind a whole batch as well.
fn scan_ring(page: &FirstPage, first: u64, scanned: &mut Scanned, old_tail: &OldTail) -> Result<Option<Range<u64>>> {
    scanned.go_back(first);
    let start = scanned.good.position;
    while !scanned.stopped.sealed {
        let place = scanned.stopped;
        let Some(frame) = old_tail.frame(place.position, page.header.seed, place.offset) else { break };
        if place.position + frame.head.frame_bytes() > start + RING_BYTES || frame.head.kind == Kind::Seal {
            break;
        }
        take(scanned, &frame.head)?;
    }
    scanned.go_back(first);
    Ok(Some(start..scanned.good.position).filter(|run| !run.is_empty()))
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
    if !more || seeded(Bug::MoreIgnored) {
        scanned.good = scanned.stopped;
    }
    Ok(())
}
