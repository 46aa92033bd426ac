//! The types of the C API.

use std::ffi::{c_char, c_void};

/// What a call came to: 0 is success, 1 to 9 are answers that are no failure, from 10 on it failed.
pub type log_status_t = i32;

/// Bytes of the caller's: never owned by the library, and not looked at after the call that they are given to.
/// They must not change during that call. `data` may be NULL where `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct log_bytes_t {
    /// The first byte.
    pub data: *const c_void,
    /// How many bytes.
    pub len: usize,
}

/// A record, as a cursor gives it. `payload` is a view: it lives until the next call on that cursor, or until the
/// cursor is closed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct log_record_t {
    /// Its offset.
    pub offset: u64,
    /// When it was appended: nanoseconds since 1970 UTC, never less than the record's before.
    pub timestamp_ns: u64,
    /// Its bytes. `payload.data` is not NULL, not even for an empty record. No alignment is promised.
    pub payload: log_bytes_t,
}

/// Why a call failed. The caller gives one of its own, or NULL; it is written on failure and on the answers
/// (`LOG_END`), and left as it is on `LOG_OK`. Frozen: it will not grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct log_error_t {
    /// What the call returned.
    pub status: i32,
    /// The operating system's error number (`errno`), 0 if none.
    pub os_error: i32,
    /// The record offset concerned, `LOG_NO_OFFSET` if none.
    pub offset: u64,
    /// One sentence in English: what failed, on which file, and what to do. UTF-8, ends with a NUL; a sentence that is
    /// too long is cut.
    pub message: [c_char; 240],
}

/// How a log is opened. All zero but `struct_size` is a usable configuration, and the safest one. Sizes hold for
/// segments made from this open on; every value may differ at each open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct log_config_t {
    /// `sizeof(log_config_t)`. A shorter, older struct works; so does a longer, newer one whose unknown tail is zero.
    pub struct_size: u32,
    /// `LOG_READ_ONLY`, `LOG_NO_CREATE`, `LOG_NO_THREAD`, `LOG_NO_VERIFY`, `LOG_KEEP_UNCONSUMED`, or'ed.
    pub flags: u32,
    /// Bytes of records in a segment, with 16 bytes and padding to 8 for each; 0 = 64 MiB; 4 KiB to 16 GiB.
    /// A record or batch that is longer gets a segment of its own.
    pub segment_max_bytes: u64,
    /// Bytes of a segment's index, 4 for each record; 0 = `segment_max_bytes` / 16; 8 to 4 GiB. A segment is full when
    /// its records or its index are.
    pub index_max_bytes: u64,
    /// Offset of the first record of a new log, at most 2^64 - 2^32; of no effect on a log that exists.
    pub initial_offset: u64,
    /// The longest record in bytes; 0 = 16 MiB; at most 256 MiB - 1. It may exceed `segment_max_bytes`.
    pub record_max_bytes: u64,
    /// `LOG_SYNC_ALWAYS` (0), `LOG_SYNC_INTERVAL` or `LOG_SYNC_NEVER`.
    pub sync: u32,
    /// For `LOG_SYNC_INTERVAL`, in milliseconds; 0 = 100. Must be 0 with another policy.
    pub sync_interval_ms: u32,
    /// The oldest segments are deleted, whole, while all of them take more than this many bytes on the disk, each
    /// with its index; 0 = keep all. The active segment stays. It is applied when a segment is full: by a background
    /// thread, which leaves room for one segment, or by the append that fills it (with `LOG_NO_THREAD`, or where the
    /// thread does not keep up); by `log_truncate`, which begins a segment; and by `log_open`. So the log takes this
    /// and two segments at most, one of them made ahead of need.
    pub retain_bytes: u64,
    /// Segments are deleted, whole and from the first one on, that are older than this many milliseconds; 0 = keep all.
    /// A segment is as old as its last record or its file, whichever is older. The active one stays. It is applied as
    /// `retain_bytes`, and by a background thread eight times within that time (each 10 s at least). What goes is gone
    /// as by `log_trim`; with `LOG_KEEP_UNCONSUMED` what a named position has not passed stays. `log_retain` says what
    /// keeps either from being applied.
    pub retain_ms: u64,
    /// How the files are read and written, by this handle: `LOG_IO_AUTO` (0), `LOG_IO_MAPPED` or `LOG_IO_FILE`. It may
    /// differ at each open, and between those who have the log open at once.
    pub io: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// How a log stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct log_stat_t {
    /// `sizeof(log_stat_t)`, set by the caller. A shorter struct gets the fields that it has; the part of a longer one
    /// that this library does not know is set to zero.
    pub struct_size: u32,
    /// How many segments there are.
    pub segment_count: u32,
    /// Offset of the first record. An empty log has `first_offset` == `next_offset`.
    pub first_offset: u64,
    /// Offset that the next record will get.
    pub next_offset: u64,
    /// Every record below it survives power loss.
    pub durable_offset: u64,
    /// Bytes that the log's files take on the disk, with space allocated ahead.
    pub disk_bytes: u64,
    /// Payload bytes of all records.
    pub payload_bytes: u64,
    /// Records that this open found whole behind the last durable mark, after a killed process or a power loss. They
    /// are part of the log, and durable. 0 and `dropped_bytes` 0: the log had been closed.
    pub recovered_records: u64,
    /// Bytes that this open found behind the last whole record or batch and left out: a torn tail. They had never been
    /// acknowledged as durable.
    pub dropped_bytes: u64,
    /// Records appended since the open; this and the next two are 0 on a read-only handle.
    pub appends: u64,
    /// Syncs of files and directories since the open.
    pub syncs: u64,
    /// Calls since the open that needed a sync and were served by another's.
    pub syncs_shared: u64,
    /// How this handle reads and writes the files: `LOG_IO_MAPPED` or `LOG_IO_FILE`, whichever `LOG_IO_AUTO` chose.
    pub io: u32,
    /// The process that writes the log; 0 on a read-only handle where none seems to: a hint, since numbers are used
    /// again and other containers have other numbers.
    pub writer_pid: i32,
    /// Random, made with the log.
    pub log_id: [u8; 16],
}

/// A segment of a log.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct log_segment_t {
    /// `sizeof(log_segment_t)`, set by the caller; as in `log_stat_t`.
    pub struct_size: u32,
    /// How often records had been dropped from the log's end when it was made.
    pub epoch: u32,
    /// Offset of the first record that was written to it; a trim may have removed that one.
    pub base_offset: u64,
    /// Offset behind its last record.
    pub next_offset: u64,
    /// Size of its store in bytes, holes and space allocated ahead counted.
    pub file_bytes: u64,
    /// Bytes that its store and its index take on the disk.
    pub disk_bytes: u64,
    /// Of its first record, nanoseconds since 1970 UTC; where it has none, of the last one before it.
    pub first_timestamp_ns: u64,
    /// Of its last record, likewise.
    pub last_timestamp_ns: u64,
}
