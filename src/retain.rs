//! Retention: which segments a log's limits leave no room for. The oldest ones, whole, never the active one. It counts
//! and compares; who takes them away, and when, is not known here.

use crate::error::{Result, Status};
use crate::row::Rows;
use crate::segment::Segment;
use crate::stat::segment_disk_bytes;
use crate::sync::Arc;
use crate::sys::Dir;
use std::time::Duration;

/// What a log keeps; 0 is all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Retention {
    pub bytes: u64,
    pub ms: u64,
}

/// How often ages are looked at: eight times before one is due, within these bounds.
const LOOKS: u64 = 8;
const LOOK_MS: (u64, u64) = (10, 10_000);

impl Retention {
    /// Whether there is any limit.
    pub(crate) fn is_asked(self) -> bool {
        self.bytes > 0 || self.ms > 0
    }

    /// How often ages are to be looked at by a thread; `None` where they do not count.
    pub(crate) fn interval(self) -> Option<Duration> {
        (self.ms > 0).then(|| Duration::from_millis((self.ms / LOOKS).clamp(LOOK_MS.0, LOOK_MS.1)))
    }

    /// Where the log is to begin by its limits: the base of a segment before which there is one that goes. `room` is
    /// what is to be left free of its bytes.
    pub(crate) fn due(self, dir: &Dir, rows: &Rows, room: u64, now_ns: u64) -> Result<Option<u64>> {
        let row = rows.newest();
        let Some((active, full)) = row.segments.split_last() else { return Ok(None) };
        let mut gone = 0;
        if self.bytes > 0 {
            // The active one as it will be when it is full: its space is allocated with the next appends.
            let mut bytes = file_bytes(dir, &active.id.store_name())? + file_bytes(dir, &active.id.index_name())?;
            for segment in full {
                bytes = bytes.saturating_add(full_bytes(dir, segment)?);
            }
            let most = self.bytes.saturating_sub(room);
            while bytes > most && gone < full.len() {
                bytes = bytes.saturating_sub(full_bytes(dir, &full[gone])?);
                gone += 1;
            }
        }
        if self.ms > 0 {
            let oldest_ns = now_ns.saturating_sub(self.ms.saturating_mul(1_000_000));
            while gone < full.len() && time_of(dir, &row.segments, gone)? < oldest_ns {
                gone += 1;
            }
        }
        Ok((gone > 0).then(|| row.segments[gone].id.base_offset))
    }

    /// The base of the last segment that begins at or before `offset`, so that whole segments go and no more.
    pub(crate) fn whole(rows: &Rows, offset: u64) -> u64 {
        let row = rows.newest();
        let behind = row.segments.partition_point(|segment| segment.id.base_offset <= offset);
        behind.checked_sub(1).map_or(0, |n| row.segments[n].id.base_offset)
    }
}

fn file_bytes(dir: &Dir, name: &str) -> Result<u64> {
    // No file is longer than half of what a u64 tells.
    Ok(dir.stat(name)?.map_or(0, |stat| stat.bytes))
}

/// Bytes on the disk of a full segment, which do not change.
fn full_bytes(dir: &Dir, segment: &Segment) -> Result<u64> {
    if let Some(bytes) = segment.known_disk_bytes() {
        return Ok(bytes);
    }
    let bytes = segment_disk_bytes(dir, segment.id)?;
    segment.note_disk_bytes(bytes);
    Ok(bytes)
}

/// The older of a segment's last time, which the header of the next one tells, and its file's.
fn time_of(dir: &Dir, segments: &[Arc<Segment>], n: usize) -> Result<u64> {
    let last = match segments[n + 1].timestamp_floor_ns() {
        // Its own neighbour is damaged: then the file's time alone counts.
        Err(error) if error.status() == Status::Corrupt => u64::MAX,
        floor => floor?,
    };
    let modified = dir.stat(&segments[n].id.store_name())?.map_or(u64::MAX, |stat| stat.modified_ns);
    Ok(last.min(modified))
}
