//! What a caller may set when opening a log, its limits, and their validation. It knows no file and no segment.

use crate::error::{Error, Result, Status};
use std::time::Duration;

/// Smallest and largest `segment_max_bytes`.
pub const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4096..=16 << 30;
/// Smallest and largest `index_max_bytes`.
pub const INDEX_BYTES: std::ops::RangeInclusive<u64> = 8..=4 << 30;
/// The longest payload that a frame can hold: 256 MiB - 1.
pub const RECORD_LIMIT_BYTES: u64 = (256 << 20) - 1;
/// The longest batch, its frames counted: 1 GiB.
pub const BATCH_LIMIT_BYTES: u64 = 1 << 30;
/// The highest `initial_offset`: 2^64 - 2^32.
pub const INITIAL_OFFSET_LIMIT: u64 = u64::MAX - (1 << 32) + 1;

/// When an append is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// When it returns: the records survive power loss.
    #[default]
    Always,
    /// Within [`Config::sync_interval_ms`] and one sync's time; a killed process loses nothing.
    Interval,
    /// When [`crate::Log::sync`] returns; a killed process loses nothing all the same.
    Never,
}

/// How a log's files are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// [`Io::File`] on btrfs and the file systems of networks and of user space, [`Io::Mapped`] on all others.
    #[default]
    Auto,
    /// LIVE and the indexes are mapped, and the stores for reading. The fast one.
    Mapped,
    /// Nothing is mapped: a bad sector, or a file that somebody else cuts short, is an error and no SIGBUS.
    File,
}

/// Flags of [`Config::flags`].
pub mod flags {
    /// Only read, beside a writer in this or another process, or without one. Nothing is made or changed.
    pub const READ_ONLY: u32 = 1;
    /// Where there is no log, make none.
    pub const NO_CREATE: u32 = 2;
    /// No background thread: full segments are synced by the append that rolls.
    pub const NO_THREAD: u32 = 4;
    /// Do not verify checksums when reading. Every bounds check stays.
    pub const NO_VERIFY: u32 = 8;
    /// Trims and retention hold back what a named position has not passed.
    pub const KEEP_UNCONSUMED: u32 = 16;
}

const FLAGS: u32 = flags::READ_ONLY | flags::NO_CREATE | flags::NO_THREAD | flags::NO_VERIFY | flags::KEEP_UNCONSUMED;

/// How a log is opened. The default is the safest.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Bytes of frames in a segment; 0 is 64 MiB; 4 KiB to 16 GiB. Holds for segments made from now on.
    pub segment_max_bytes: u64,
    /// Bytes of a segment's index, 4 a record; 0 is a sixteenth of `segment_max_bytes`; 8 to 4 GiB.
    pub index_max_bytes: u64,
    /// Offset of the first record of a new log; of no effect on a log that exists.
    pub initial_offset: u64,
    /// The longest record in bytes; 0 is 16 MiB; at most 256 MiB - 1.
    pub record_max_bytes: u64,
    /// When an append is durable.
    pub sync: Sync,
    /// For [`Sync::Interval`]; 0 is 100.
    pub sync_interval_ms: u32,
    /// The oldest segments go, whole, while all take more bytes on the disk than this; 0 keeps all.
    pub retain_bytes: u64,
    /// Segments go whose last record, or whose file, is older than this; 0 keeps all.
    pub retain_ms: u64,
    /// Of [`flags`].
    pub flags: u32,
    /// How the files are read and written; it may differ at each open.
    pub io: Io,
}

/// A validated configuration, without zeros that stand for defaults.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub segment_bytes: u64,
    pub index_records: u32,
    pub initial_offset: u64,
    pub record_bytes: u64,
    pub sync: Sync,
    pub sync_interval: Duration,
    pub retain_bytes: u64,
    pub retain_ms: u64,
    pub flags: u32,
    pub io: Io,
}

impl Limits {
    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

fn within(name: &str, value: u64, range: &std::ops::RangeInclusive<u64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(Error::new(Status::Argument, format!("{name} is {value}; it must be 0 (the default) or {low} to {high}")))
}

impl Config {
    /// Checks each value against its limits and puts the defaults in.
    pub(crate) fn limits(&self) -> Result<Limits> {
        self.check_flags()?;
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        let segment_bytes = or(self.segment_max_bytes, 64 << 20);
        within("segment_max_bytes", segment_bytes, &SEGMENT_BYTES)?;
        let index_bytes = or(self.index_max_bytes, segment_bytes / 16);
        within("index_max_bytes", index_bytes, &INDEX_BYTES)?;
        let record_bytes = or(self.record_max_bytes, 16 << 20);
        within("record_max_bytes", record_bytes, &(1..=RECORD_LIMIT_BYTES))?;
        within("initial_offset", self.initial_offset, &(0..=INITIAL_OFFSET_LIMIT))?;
        let index_records = u32::try_from(index_bytes / 4).unwrap_or(u32::MAX);
        Ok(Limits {
            segment_bytes,
            index_records,
            initial_offset: self.initial_offset,
            record_bytes,
            sync: self.sync,
            sync_interval: Duration::from_millis(or(u64::from(self.sync_interval_ms), 100)),
            retain_bytes: self.retain_bytes,
            retain_ms: self.retain_ms,
            flags: self.flags,
            io: self.io,
        })
    }

    fn check_flags(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(Status::Argument, text));
        let unknown = self.flags & !FLAGS;
        if unknown != 0 {
            return refuse(format!("flags: {unknown:#x} is no flag that this version knows"));
        }
        if self.sync_interval_ms != 0 && self.sync != Sync::Interval {
            let value = self.sync_interval_ms;
            return refuse(format!("sync_interval_ms is {value}, but is for LOG_SYNC_INTERVAL only; set it to 0"));
        }
        if self.flags & flags::NO_THREAD != 0 && self.sync == Sync::Interval {
            return refuse("flags: LOG_NO_THREAD leaves nobody to sync for LOG_SYNC_INTERVAL; choose one".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_64_mib_and_16_mib() {
        let limits = Config::default().limits().unwrap();
        assert_eq!(limits.segment_bytes, 64 << 20);
        assert_eq!(limits.index_records, 1 << 20);
        assert_eq!(limits.record_bytes, 16 << 20);
    }

    #[test]
    fn values_out_of_range_name_their_field() {
        for (config, field) in [
            (Config { segment_max_bytes: 1, ..Config::default() }, "segment_max_bytes"),
            (Config { segment_max_bytes: 1 << 63, ..Config::default() }, "segment_max_bytes"),
            (Config { index_max_bytes: 7, ..Config::default() }, "index_max_bytes"),
            (Config { record_max_bytes: 256 << 20, ..Config::default() }, "record_max_bytes"),
            (Config { initial_offset: u64::MAX, ..Config::default() }, "initial_offset"),
        ] {
            let error = config.limits().unwrap_err();
            assert_eq!(error.status(), Status::Argument);
            assert!(error.to_string().contains(field), "{error}");
        }
    }
}
