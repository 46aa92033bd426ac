//! What a log tells of itself and of a segment.

use crate::config::Io;
use crate::error::Result;
use crate::id::{Id, NEXT_INDEX, NEXT_STORE};
use crate::segment::Segment;
use crate::start::START;
use crate::sync::Arc;
use crate::sys::Dir;

/// What [`crate::Log::stat`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// How many segments there are.
    pub segment_count: u32,
    /// Offset of the first record.
    pub first_offset: u64,
    /// Offset that the next record will get.
    pub next_offset: u64,
    /// Every record below it survives power loss.
    pub durable_offset: u64,
    /// Bytes that the log's files take on the disk.
    pub disk_bytes: u64,
    /// Payload bytes of all records.
    pub payload_bytes: u64,
    /// Records that the open found behind the last durable mark.
    pub recovered_records: u64,
    /// Bytes that the open found behind the last whole record and left out.
    pub dropped_bytes: u64,
    /// Records appended since the open.
    pub appends: u64,
    /// Syncs since the open.
    pub syncs: u64,
    /// Appends and syncs that needed a sync and were served by another's.
    pub syncs_shared: u64,
    /// How this handle reads and writes the files: [`Io::Mapped`] or [`Io::File`].
    pub io: Io,
    /// The writing process.
    pub writer_pid: i32,
    /// Made with the log.
    pub log_id: [u8; 16],
}

/// What [`crate::Log::segment_at`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentStat {
    /// How often records had been dropped when it was made.
    pub epoch: u32,
    /// Offset of the first record that was written to it.
    pub base_offset: u64,
    /// Offset behind its last record.
    pub next_offset: u64,
    /// Bytes of its store, holes and space allocated ahead counted.
    pub file_bytes: u64,
    /// Bytes that its store and its index take on the disk.
    pub disk_bytes: u64,
    /// Of its first record, ns since 1970 UTC; where it has none, of the last one before it.
    pub first_timestamp_ns: u64,
    /// Of its last record, likewise.
    pub last_timestamp_ns: u64,
}

/// Bytes that a file takes on the disk.
fn disk_bytes(dir: &Dir, name: &str) -> Result<u64> {
    Ok(dir.stat(name)?.map_or(0, |stat| stat.disk_bytes))
}

/// Bytes that a segment's files take on the disk.
pub(crate) fn segment_disk_bytes(dir: &Dir, id: Id) -> Result<u64> {
    Ok(disk_bytes(dir, &id.store_name())?.saturating_add(disk_bytes(dir, &id.index_name())?))
}

/// Bytes that a log's files take on the disk, those of the next segment that wait for their turn among them.
pub(crate) fn disk_bytes_of(dir: &Dir, live: &str, segments: &[Arc<Segment>]) -> Result<u64> {
    let of_segments = segments.iter().flat_map(|segment| [segment.id.store_name(), segment.id.index_name()]);
    let others = [live, START, NEXT_STORE, NEXT_INDEX].map(str::to_owned);
    of_segments.chain(others).map(|name| disk_bytes(dir, &name)).sum()
}

/// Tells of a segment of a log that has records up to `published`; `None` if its files are gone.
pub(crate) fn of_segment(
    dir: &Dir,
    segment: &Segment,
    published: u64,
    time_of: impl Fn(u64) -> Result<Option<u64>>,
) -> Result<Option<SegmentStat>> {
    let (id, header) = (segment.id, segment.store()?.header());
    let Some(store) = dir.stat(&id.store_name())? else { return Ok(None) };
    let next_offset = segment.limit().min(published).max(id.base_offset);
    let mut stat = SegmentStat {
        epoch: id.epoch,
        base_offset: id.base_offset,
        next_offset,
        file_bytes: store.bytes,
        disk_bytes: store.disk_bytes + disk_bytes(dir, &id.index_name())?,
        first_timestamp_ns: header.timestamp_floor_ns,
        last_timestamp_ns: header.timestamp_floor_ns,
    };
    if next_offset > id.base_offset {
        // A record that is damaged has no time that could be told; then the floor stands.
        stat.first_timestamp_ns = time_of(id.base_offset).ok().flatten().unwrap_or(stat.first_timestamp_ns);
        stat.last_timestamp_ns = time_of(next_offset - 1).ok().flatten().unwrap_or(stat.first_timestamp_ns);
    }
    Ok(Some(stat))
}
