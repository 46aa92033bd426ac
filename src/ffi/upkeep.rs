//! Upkeep: what takes records away, at the front, at the end, all of them; and a copy of the log.

use super::boundary::{self, DONE};
use super::log::{log_t, on_log};
use super::types::{log_error_t, log_status_t};
use std::ffi::c_char;

/// Makes the log begin at `before_offset`, exactly: records before it are gone for every reader. Disk space comes back
/// by whole segments. At or below the first offset it does nothing. Views that cursors gave stay as they are; their
/// next step says `LOG_E_TRIMMED`. With `LOG_KEEP_UNCONSUMED` it trims no further than to the lowest named position.
///
/// Durability: the records before `before_offset` are made durable first, then the new first offset is: on return the
/// log begins there after any crash. A crash in between leaves it done or not done.
///
/// Threads: any; appends wait for it.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL); `LOG_E_BEYOND` (past the next offset); `LOG_E_IO`; `LOG_E_NO_SPACE`;
/// `LOG_E_MEMORY`; `LOG_E_CORRUPT` (a segment, or with `LOG_KEEP_UNCONSUMED` a position, is damaged); `LOG_E_POISONED`;
/// `LOG_E_READ_ONLY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_trim(log: *mut log_t, before_offset: u64, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.trim(before_offset).map(|()| DONE))
}

/// Deletes now what `retain_bytes` and `retain_ms` leave no room for, and says what keeps it from that, if anything
/// does. The log does the same by itself when a segment is full, behind a truncation, and in the background, but has
/// nobody to tell there: then old segments stay, and it is tried again. So ask it now and then, or when the log takes
/// more room than it should. With `LOG_NO_THREAD` it is also how segments go that grow old while nobody appends.
/// Without limits it does nothing.
///
/// Durability: as `log_trim`.
///
/// Threads: any; appends wait for it.
/// Returns: `LOG_OK` (also where with `LOG_KEEP_UNCONSUMED` a position holds segments back); `LOG_E_ARGUMENT` (NULL);
/// `LOG_E_CORRUPT` (a segment is damaged, or with `LOG_KEEP_UNCONSUMED` a position, which might be the lowest: nothing
/// is deleted; the message names its file and what to do); `LOG_E_IO`; `LOG_E_NO_SPACE`; `LOG_E_MEMORY`;
/// `LOG_E_POISONED`; `LOG_E_READ_ONLY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_retain(log: *mut log_t, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.retain().map(|()| DONE))
}

/// Drops the records from `from_offset` on; the next record will get that offset. At the next offset it does nothing.
/// What was dropped never comes back, and the time of the records that follow is not before theirs. Views that cursors
/// gave stay as they are; the next step of a cursor that stands past the cut says `LOG_END`, and once the log has grown
/// past it again, it goes on at its offset: to see what took the place of the dropped records, seek to `from_offset`.
/// The log goes on in a new segment, so `retain_bytes` and `retain_ms` are applied then.
///
/// Durability: on return the cut is durable, and so is every record before it. A crash in between leaves it done or not
/// done.
///
/// Threads: any; appends wait for it.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL); `LOG_E_TRIMMED` (before the first offset); `LOG_E_BEYOND` (past the next
/// one); `LOG_E_IO`; `LOG_E_NO_SPACE` (nothing was changed); `LOG_E_MEMORY`; `LOG_E_CORRUPT`; `LOG_E_POISONED`;
/// `LOG_E_READ_ONLY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_truncate(log: *mut log_t, from_offset: u64, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.truncate(from_offset).map(|()| DONE))
}

/// Drops all records and goes on at `next_offset`, which may be below or above what the log had: what to do with a
/// snapshot that replaces the log. Nothing of before comes back.
///
/// Durability: as `log_truncate`.
///
/// Threads: any; appends wait for it.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL, or `next_offset` is above 2^64 - 2^31); `LOG_E_IO`; `LOG_E_NO_SPACE`
/// (nothing was changed); `LOG_E_MEMORY`; `LOG_E_POISONED`; `LOG_E_READ_ONLY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_reset(log: *mut log_t, next_offset: u64, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.reset(next_offset).map(|()| DONE))
}

/// Makes a copy of the log in the directory `to_dir`, as the log stands at one moment of this call, while appends and
/// reads go on. The copy is a log of its own with the same `log_id`: it opens as one that was closed, and neither log
/// ever changes the other. `to_dir` is missing (then it is made, mode 0700, but not its parents) or empty.
///
/// On the same file system full segments are linked, not copied, so that a backup takes little time and space; else
/// they are copied, sharing blocks where the file system can. The active segment is copied. A handle that writes the
/// log makes its full segments durable first; what is not durable all the same (on a read-only handle, or behind a sync
/// that failed) is copied as it reads, and shares nothing. So a backup saves what a poisoned handle still shows. What
/// is damaged in the log is damaged in the copy. The log's lock, its control page and `lost/` are not copied. Named
/// positions and metas are, as they stand a little later, but for those that are damaged.
///
/// Durability: on return the copy is durable, all records of that moment with it, also those that are not durable in
/// the log yet. If the call fails, what was copied is deleted; if the process is killed, what it leaves does not open
/// (`LOG_E_NOT_FOUND`), and `log_remove` deletes it.
///
/// Threads: any. On a read-only handle, too. A log that is trimmed, truncated or reset meanwhile is copied as it stood
/// before or after that.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL, an empty path); `LOG_E_EXISTS` (`to_dir` is not empty); `LOG_E_NOT_FOUND`
/// (its parent is missing; the log was removed); `LOG_E_IO`; `LOG_E_NO_SPACE` (what was copied is deleted again);
/// `LOG_E_MEMORY`; `LOG_E_CORRUPT` (a header, or on a read-only handle the last record, is damaged); `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_backup(log: *mut log_t, to_dir: *const c_char, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.backup(boundary::path(to_dir, "to_dir")?).map(|()| DONE))
}
