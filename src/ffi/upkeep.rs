//! What takes records away: at the front, at the end, all of them.

use super::boundary::DONE;
use super::log::{log_t, on_log};
use super::types::{log_error_t, log_status_t};

/// Makes the log begin at `before_offset`, exactly: records before it are gone for every reader. Disk space comes back
/// by whole segments. At or below the first offset it does nothing. Views that cursors gave stay as they are; their
/// next step says `LOG_E_TRIMMED`.
///
/// Durability: the records before `before_offset` are made durable first, then the new first offset is: on return the
/// log begins there after any crash. A crash in between leaves it done or not done.
///
/// Threads: any; appends wait for it.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL); `LOG_E_BEYOND` (past the next offset); `LOG_E_IO`; `LOG_E_NO_SPACE`;
/// `LOG_E_MEMORY`; `LOG_E_CORRUPT`; `LOG_E_POISONED`; `LOG_E_READ_ONLY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_trim(log: *mut log_t, before_offset: u64, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.trim(before_offset).map(|()| DONE))
}

/// Drops the records from `from_offset` on; the next record will get that offset. At the next offset it does nothing.
/// What was dropped never comes back, and the time of the records that follow is not before theirs. Views that cursors
/// gave stay as they are; the next step of a cursor that stands past the cut says `LOG_END`, and once the log has grown
/// past it again, it goes on at its offset: to see what took the place of the dropped records, seek to `from_offset`.
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
