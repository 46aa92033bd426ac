//! Cursors: zero-copy, in order.

use super::boundary::{self, Answer, DONE};
use super::handle::{self, Closed, Handle, Kind};
use super::log::{end, log_t, timed_out, timeout_of};
use super::types::{log_bytes_t, log_error_t, log_record_t, log_status_t};
use crate::cursor::Cursor;
use crate::error::{Error, Result, Status};
use crate::record::Record;
use crate::view::Waited;

/// A place in a log. One thread at a time uses it; each reader has its own.
pub struct log_cursor_t(Cursor);

impl Handle for log_cursor_t {
    const KIND: Kind = handle::CURSOR;

    fn closed() -> &'static Closed {
        static CLOSED: Closed = Closed::new();
        &CLOSED
    }
}

fn on_cursor(
    cursor: *mut log_cursor_t,
    error: *mut log_error_t,
    body: impl FnOnce(&mut Cursor) -> Result<Answer>,
) -> log_status_t {
    boundary::call(error, boundary::no_handle, || body(&mut handle::exclusive(cursor, "cursor")?.0))
}

fn view(record: &Record<'_>) -> log_record_t {
    let payload = log_bytes_t { data: record.payload.as_ptr().cast(), len: record.payload.len() };
    log_record_t { offset: record.offset, timestamp_ns: record.timestamp_ns, payload }
}

/// Opens a cursor that stands before the record at `offset`, which may be any from the log's first to its next one:
/// there it waits for what will be appended.
///
/// A cursor stands at an offset, whatever becomes of the records there. Where they are trimmed or reset away, its next
/// step says `LOG_E_TRIMMED`, and so does each one until it is moved (`log_cursor_seek` to `first_offset` of
/// `log_stat`, which the message tells, too). Where the log is cut at or before it, its next step says `LOG_END` until
/// the log has grown past its offset again, and it goes on there. So who wants to see what takes the place of records
/// that were dropped seeks to where the log was cut (`log_cursor_seek`). Views that it gave stay as they are until the
/// next call on it.
///
/// `out_cursor`: gets the cursor, which `log_cursor_close` frees, before or after `log_close`.
///
/// Threads: any.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL); `LOG_E_TRIMMED` (before the first record); `LOG_E_BEYOND` (past the next
/// one); on a read-only handle also what `log_stat` says; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_cursor_open(
    log: *mut log_t,
    offset: u64,
    out_cursor: *mut *mut log_cursor_t,
    error: *mut log_error_t,
) -> log_status_t {
    boundary::call(error, boundary::no_handle, || {
        let log = &handle::shared(log.cast_const(), "log")?.0;
        boundary::required(out_cursor, "out_cursor")?;
        handle::give(out_cursor, log_cursor_t(Cursor::open(log, offset)?))?;
        Ok(DONE)
    })
}

/// Gives the next record and steps over it. Its checksum is verified. Records are seen as soon as they are appended,
/// before they are durable.
///
/// `out_record`: gets a view of the record; it lives until the next call on this cursor.
///
/// Threads: one at a time.
/// Returns: `LOG_OK`; `LOG_END` (there is none yet; a later call may find one); `LOG_E_ARGUMENT` (NULL);
/// `LOG_E_CORRUPT` (the record at `error->offset` is damaged; the next call goes on behind it); `LOG_E_TRIMMED`;
/// `LOG_E_FORMAT`; `LOG_E_IO`; `LOG_E_MEMORY`; `LOG_E_NOT_FOUND` (a read-only handle whose log was removed);
/// `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_cursor_next(
    cursor: *mut log_cursor_t,
    out_record: *mut log_record_t,
    error: *mut log_error_t,
) -> log_status_t {
    on_cursor(cursor, error, |cursor| {
        boundary::required(out_record, "out_record")?;
        let Some(record) = cursor.next()? else { return Ok(end()) };
        boundary::write_out(out_record, view(&record));
        Ok(DONE)
    })
}

/// Gives up to `capacity` next records at once and steps over them: what to use from a language where a call is dear,
/// and for scans. It may give fewer though more follow; it gives at least one with `LOG_OK`.
///
/// `out_records`: room for `capacity` (at least 1) records; the views live until the next call on this cursor.
/// `out_count`: gets how many there are.
///
/// Threads: one at a time.
/// Returns: as `log_cursor_next`; with `LOG_END`, `*out_count` is 0. A damaged record ends a batch before it, and is
/// the answer of the call that begins with it.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_cursor_next_batch(
    cursor: *mut log_cursor_t,
    out_records: *mut log_record_t,
    capacity: usize,
    out_count: *mut usize,
    error: *mut log_error_t,
) -> log_status_t {
    on_cursor(cursor, error, |cursor| {
        boundary::required(out_records, "out_records")?;
        boundary::required(out_count, "out_count")?;
        if capacity == 0 {
            return Err(Error::new(Status::Argument, "capacity is 0; give room for at least one record"));
        }
        let mut n = 0;
        let count = cursor.next_batch(capacity, |record| {
            boundary::write_element(out_records, n, view(&record));
            n += 1;
        })?;
        boundary::write_out(out_count, count);
        Ok(if count == 0 { end() } else { DONE })
    })
}

/// Gives the record before the cursor and steps back over it: `next` then `prev` give the same record.
///
/// `out_record`, threads: as `log_cursor_next`.
/// Returns: as `log_cursor_next`; `LOG_END` at the first record; `LOG_E_BEYOND` (the log was cut so far before the
/// cursor that there is no record before it: seek).
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_cursor_prev(
    cursor: *mut log_cursor_t,
    out_record: *mut log_record_t,
    error: *mut log_error_t,
) -> log_status_t {
    on_cursor(cursor, error, |cursor| {
        boundary::required(out_record, "out_record")?;
        let Some(record) = cursor.prev()? else { return Ok(end()) };
        boundary::write_out(out_record, view(&record));
        Ok(DONE)
    })
}

/// Moves the cursor before the record at `offset`, which may be any from the log's first to its next one.
///
/// Threads: one at a time.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL); `LOG_E_TRIMMED`; `LOG_E_BEYOND`: then the cursor stays where it is; on a
/// read-only handle also what `log_stat` says; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_cursor_seek(cursor: *mut log_cursor_t, offset: u64, error: *mut log_error_t) -> log_status_t {
    on_cursor(cursor, error, |cursor| cursor.seek(offset).map(|()| DONE))
}

/// Returns when `log_cursor_next` has a record to give, at once if it has one already. It waits as `log_wait` does.
///
/// Where the log was cut before the cursor, that is when the log has grown past the cursor's offset again.
///
/// `timeout_ms`: in milliseconds; 0 looks once, negative waits for ever.
///
/// Threads: one at a time.
/// Returns: `LOG_OK`; `LOG_TIMEOUT` (there is none yet); `LOG_END` (there is none and there will be none: the cursor is
/// one of a handle that wrote the log and was closed, before or meanwhile); `LOG_E_ARGUMENT` (NULL); `LOG_E_TRIMMED`
/// (its record was removed: seek); `LOG_E_POISONED` (there is none, and the handle, which writes the log, writes no
/// more); on a read-only handle also what `log_stat` says; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_cursor_wait(cursor: *mut log_cursor_t, timeout_ms: i64, error: *mut log_error_t) -> log_status_t {
    on_cursor(cursor, error, |cursor| {
        Ok(match cursor.wait(timeout_of(timeout_ms))? {
            Waited::There => DONE,
            Waited::TimeUp => timed_out(cursor.offset()),
            Waited::Closed => end(),
        })
    })
}

/// Closes a cursor and frees it, with the views that it gave. NULL is fine.
///
/// Threads: one, when no other uses the cursor any more. It cannot fail.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_cursor_close(cursor: *mut log_cursor_t) {
    boundary::call(std::ptr::null_mut(), boundary::no_handle, || {
        drop(handle::take_back(cursor, "cursor")?);
        Ok(DONE)
    });
}
