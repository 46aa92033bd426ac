//! The C functions, declared as include/seglog.h has them.

use std::ffi::{c_char, c_void};

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) data: *const c_void,
    pub(crate) len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) payload: Bytes,
}

impl Record {
    pub(crate) const NONE: Self =
        Self { offset: 0, timestamp_ns: 0, payload: Bytes { data: std::ptr::null(), len: 0 } };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) status: i32,
    pub(crate) os_error: i32,
    pub(crate) offset: u64,
    pub(crate) message: [c_char; 240],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Config {
    pub(crate) struct_size: u32,
    pub(crate) flags: u32,
    pub(crate) segment_max_bytes: u64,
    pub(crate) index_max_bytes: u64,
    pub(crate) initial_offset: u64,
    pub(crate) record_max_bytes: u64,
    pub(crate) sync: u32,
    pub(crate) sync_interval_ms: u32,
    pub(crate) retain_bytes: u64,
    pub(crate) retain_ms: u64,
    pub(crate) io: u32,
    pub(crate) reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stat {
    pub(crate) struct_size: u32,
    pub(crate) segment_count: u32,
    pub(crate) first_offset: u64,
    pub(crate) next_offset: u64,
    pub(crate) durable_offset: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) recovered_records: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) appends: u64,
    pub(crate) syncs: u64,
    pub(crate) syncs_shared: u64,
    pub(crate) io: u32,
    pub(crate) writer_pid: i32,
    pub(crate) log_id: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) struct_size: u32,
    pub(crate) epoch: u32,
    pub(crate) base_offset: u64,
    pub(crate) next_offset: u64,
    pub(crate) file_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) first_timestamp_ns: u64,
    pub(crate) last_timestamp_ns: u64,
}

pub(crate) type Log = *mut c_void;
pub(crate) type Cursor = *mut c_void;
pub(crate) type Error = *mut Failure;

// SAFETY: these are the functions of include/seglog.h; each is given what its comment there asks for.
unsafe extern "C" {
    pub(crate) safe fn log_open(dir: *const c_char, config: *const Config, out_log: *mut Log, error: Error) -> i32;
    pub(crate) safe fn log_close(log: Log, error: Error) -> i32;
    pub(crate) safe fn log_remove(dir: *const c_char, error: Error) -> i32;
    pub(crate) safe fn log_append(log: Log, data: *const c_void, len: usize, out_offset: *mut u64, error: Error)
    -> i32;
    pub(crate) safe fn log_append_at(log: Log, at: u64, data: *const c_void, len: usize, error: Error) -> i32;
    pub(crate) safe fn log_append_records(log: Log, records: *const Record, count: usize, error: Error) -> i32;
    pub(crate) safe fn log_append_batch(
        log: Log,
        records: *const Bytes,
        count: usize,
        out: *mut u64,
        error: Error,
    ) -> i32;
    pub(crate) safe fn log_sync(log: Log, error: Error) -> i32;
    pub(crate) safe fn log_wait_durable(log: Log, offset: u64, timeout_ms: i64, error: Error) -> i32;
    pub(crate) safe fn log_read(
        log: Log,
        offset: u64,
        buf: *mut c_void,
        capacity: usize,
        len: *mut usize,
        error: Error,
    ) -> i32;
    pub(crate) safe fn log_stat(log: Log, stat: *mut Stat, error: Error) -> i32;
    pub(crate) safe fn log_segment_at(log: Log, index: usize, segment: *mut Segment, error: Error) -> i32;
    pub(crate) safe fn log_cursor_open(log: Log, offset: u64, cursor: *mut Cursor, error: Error) -> i32;
    pub(crate) safe fn log_cursor_next(cursor: Cursor, record: *mut Record, error: Error) -> i32;
    pub(crate) safe fn log_cursor_next_batch(
        cursor: Cursor,
        records: *mut Record,
        capacity: usize,
        count: *mut usize,
        error: Error,
    ) -> i32;
    pub(crate) safe fn log_cursor_prev(cursor: Cursor, record: *mut Record, error: Error) -> i32;
    pub(crate) safe fn log_cursor_seek(cursor: Cursor, offset: u64, error: Error) -> i32;
    pub(crate) safe fn log_cursor_close(cursor: Cursor);
    pub(crate) safe fn log_position_save(log: Log, name: *const c_char, offset: u64, error: Error) -> i32;
    pub(crate) safe fn log_position_load(log: Log, name: *const c_char, offset: *mut u64, error: Error) -> i32;
    pub(crate) safe fn log_position_remove(log: Log, name: *const c_char, error: Error) -> i32;
    pub(crate) safe fn log_meta_set(
        log: Log,
        name: *const c_char,
        data: *const c_void,
        len: usize,
        error: Error,
    ) -> i32;
    pub(crate) safe fn log_meta_get(
        log: Log,
        name: *const c_char,
        buf: *mut c_void,
        capacity: usize,
        len: *mut usize,
        error: Error,
    ) -> i32;
    pub(crate) safe fn log_meta_remove(log: Log, name: *const c_char, error: Error) -> i32;
    pub(crate) safe fn log_trim(log: Log, before: u64, error: Error) -> i32;
    pub(crate) safe fn log_truncate(log: Log, from: u64, error: Error) -> i32;
    pub(crate) safe fn log_reset(log: Log, next: u64, error: Error) -> i32;
}
