//! Records that the caller builds where they will stand.

use super::boundary::{self, DONE};
use super::log::{appended, log_t, on_log};
use super::types::{log_error_t, log_status_t};
use std::ffi::c_void;

/// Reserves room for a record of up to `len` bytes and says where it is, so that the caller writes the record where it
/// will stand instead of copying it there: `log_commit` then appends it, `log_abort` gives it up. Each reservation ends
/// once, by one of the two, or by `log_close`, which gives it up. A crash before the commit leaves nothing of it.
///
/// While there is a reservation, other threads' writes (appends, reservations, truncations, resets) wait until it ends;
/// a write by the thread that reserved is `LOG_E_ARGUMENT`. Reads, cursors, syncs and trims go on. So keep it short.
///
/// `out_data`: gets the address of `len` bytes, which hold anything, and are the caller's to write until the
/// reservation ends, and not after. It is a multiple of 8. A record that is too large for the ring (256 KiB and more),
/// or any where nothing is mapped, is built in a buffer instead and copied by the commit.
///
/// Durability: none; a full disk is told here, before the record is built.
///
/// Threads: any.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL; this thread has a reservation already); `LOG_E_TOO_LARGE` (longer than
/// `record_max_bytes`); `LOG_E_NO_SPACE`; `LOG_E_IO`; `LOG_E_MEMORY`; `LOG_E_POISONED`; `LOG_E_READ_ONLY`;
/// `LOG_E_FORKED`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_reserve(
    log: *mut log_t,
    len: usize,
    out_data: *mut *mut c_void,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        boundary::required(out_data, "out_data")?;
        boundary::write_out(out_data, log.reserve(len)?.as_ptr().cast());
        Ok(DONE)
    })
}

/// Appends the record that was built where `log_reserve` said: its first `len` bytes, which may be fewer than were
/// reserved.
///
/// `out_offset`: gets the record's offset, or NULL.
///
/// Durability: as `log_append`.
///
/// Threads: any, not only the one that reserved. The record's bytes must not change during the call.
/// Returns: as `log_append`; `LOG_E_ARGUMENT` (NULL; nothing is reserved; `len` is more than was reserved). Where it
/// fails and the record does not exist, the reservation stays, to be committed again or given up, but on a handle that
/// writes no more (`LOG_E_POISONED`).
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_commit(
    log: *mut log_t,
    len: usize,
    out_offset: *mut u64,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| appended(log.commit(len), out_offset))
}

/// Gives a reservation up: nothing is appended, and others may write.
///
/// Durability: none.
///
/// Threads: any, not only the one that reserved.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL; nothing is reserved); `LOG_E_POISONED`; `LOG_E_READ_ONLY`;
/// `LOG_E_FORKED`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_abort(log: *mut log_t, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.abort().map(|()| DONE))
}
