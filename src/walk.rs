//! A walk through a store from its first frame on: where each record stands, for an index that is missing or led
//! astray. Whatever the file holds, it ends.

use crate::error::{Error, Result, Status};
use crate::index::Index;
use crate::record::{FRAME_HEADER, FRAMES_START, Kind};
use crate::store::{Scan, Store};
use crate::sys::File;

/// Zeros of payloads may be holes as well, where a log was copied so: as much of them is walked as if it was there.
const HOLES_BYTES: u64 = 1 << 30;

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
/// A SEAL ends the records; where others stand behind it, it is damage as well.
pub(crate) fn walk(file: &File, store: &Store, limit: u64, end: u64, hints: &Index) -> Result<(Vec<u32>, bool)> {
    let (seed, base) = (store.header().seed, store.header().base_offset);
    let mut scan = Scan::new(file, seed, store.bytes());
    let end = end.min(store.bytes());
    // What a file has on the disk, not how long it says that it is: most of one may be a hole.
    let bytes = end.min(file.stat()?.disk_bytes.saturating_add(HOLES_BYTES));
    let mut budget = Budget((1 << 24) + 4 * bytes);
    let mut entries = Vec::new();
    let (mut position, mut offset, mut whole) = (FRAMES_START, base, true);
    while offset < limit && position < end {
        let (next_position, next_offset) = match scan.frame(position, offset)? {
            Some(head) if head.kind != Kind::Seal => (position + head.frame_bytes(), offset + 1),
            seal => {
                let place = Place { position, offset, end, limit, base };
                let behind = resync(&mut scan, &place, hints, &mut budget, seed)?;
                whole &= seal.is_some() && behind.is_none();
                match behind {
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
    // First those that another frame stands behind, then one that may be the last. Of random bytes a fiftieth looks
    // like the head of a frame, most of them of a very long one: its checksum is reckoned only where a second head
    // follows.
    for alone in [false, true] {
        if let Some(found) = look_behind(scan, place, budget, seed, alone)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The next good frame behind a bad one. With `alone`, it is the segment's last one, and nothing need stand behind it.
fn look_behind(
    scan: &mut Scan<'_>,
    place: &Place,
    budget: &mut Budget,
    seed: u32,
    alone: bool,
) -> Result<Option<(u64, u64)>> {
    let mut position = place.position + 8;
    let mut data_until = 0;
    while position < place.end && budget.spend(1) {
        if position >= data_until {
            // A hole holds no frame.
            let Some((data, until)) = scan.data_run(position)? else { return Ok(None) };
            data_until = until;
            if data > position {
                position = data.next_multiple_of(8);
                continue;
            }
        }
        let skipped = (position - place.position) / FRAME_HEADER;
        let highest = place.offset.saturating_add(skipped.clamp(1, 1 << 16)).min(place.limit);
        let lowest = if alone { place.limit - 1 } else { place.offset + 1 };
        let may_be = match scan.head(position)? {
            _ if lowest > highest => false,
            None => false,
            Some(_) if alone => true,
            Some(head) => {
                let behind = position + head.frame_bytes();
                behind == place.end || (behind < place.end && scan.head(behind)?.is_some())
            }
        };
        if may_be && let Some((head, crc)) = scan.candidate(position)? {
            if !budget.spend(head.frame_bytes() + (highest - lowest)) {
                return Ok(None);
            }
            for offset in lowest.max(place.offset + 1)..=highest {
                if head.fits(seed, offset, crc)
                    && (alone
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
