//! What a log has by name: how far its consumers are, and small facts.

use super::boundary::{self, DONE};
use super::log::{end, log_t, on_log};
use super::types::{log_error_t, log_status_t};
use crate::error::{Error, Result, Status};
use std::ffi::{c_char, c_void};

/// Copies a name into the caller's buffer, with the NUL that ends it.
fn give_name(name: &str, buffer: *mut c_char, capacity: usize) -> Result<()> {
    let needed = name.len() + 1;
    if needed > capacity {
        let text = format!("name '{name}' takes {needed} bytes; the buffer has {capacity}: 101 are enough for each");
        return Err(Error::new(Status::Buffer, text));
    }
    let mut bytes = [0; 128];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    boundary::copy_out(buffer.cast(), &bytes[..needed]);
    Ok(())
}

/// Saves how far a consumer is: `offset` is that of the next record that it is to consume, so a consumer that saves
/// what follows on a record when it has done with that record misses none, and after a kill repeats only those that it
/// had not saved. It replaces what was saved under that name.
///
/// Whoever may write the directory can save, from any handle (`LOG_READ_ONLY` too) of any process, while the log is
/// being written. Savers of one name wait for each other, and readers never see half of a position. `offset` may lie
/// before the first record.
///
/// `name`: 1 to 100 characters of `[A-Za-z0-9._-]`, but not `"."` or `".."`.
///
/// Durability: on return the position is durable. After a crash meanwhile it is the old one or the new one. It does not
/// make the records before it durable: should a power loss take them, opening the log brings the position back to where
/// the log then ends.
///
/// Threads: any.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL, or such a name); `LOG_E_BEYOND` (`offset` is past the next one);
/// `LOG_E_CORRUPT` (both copies of the old position are damaged, or it is another log's: remove it first);
/// `LOG_E_FORMAT`; `LOG_E_IO` (one of them no permission; nothing is poisoned, and the same call may work again: until
/// one has, a power loss may leave the old position or this one); `LOG_E_NO_SPACE`; `LOG_E_LOCKED` (another process has
/// been saving the same name for 10 seconds); `LOG_E_MEMORY`; on a read-only handle also what `log_stat` says;
/// `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_position_save(
    log: *mut log_t,
    name: *const c_char,
    offset: u64,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| log.position_save(boundary::text(name, "name")?, offset).map(|()| DONE))
}

/// Gives the position that was saved last under this name. Where the log's end was cut since then, by `log_truncate`,
/// `log_reset` or a power loss, to before it, it is the offset of that cut, now and later: the records that took the
/// place of those that were dropped are consumed too. It may lie before the first record: then a cursor cannot be
/// opened there (`LOG_E_TRIMMED`), and the consumer has missed what was trimmed.
///
/// `name`: as in `log_position_save`. `out_offset`: gets the offset of the next record to consume; may be NULL.
///
/// Durability: what another process is saving at this moment may be seen before it is durable.
///
/// Threads: any; it waits for nobody.
/// Returns: `LOG_OK`; `LOG_E_NOT_FOUND` (there is no position of that name, or a read-only handle's log was removed);
/// `LOG_E_ARGUMENT`; `LOG_E_CORRUPT` (as in `log_position_save`); `LOG_E_FORMAT`; `LOG_E_IO`; `LOG_E_LOCKED`;
/// `LOG_E_MEMORY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_position_load(
    log: *mut log_t,
    name: *const c_char,
    out_offset: *mut u64,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        let offset = log.position_load(boundary::text(name, "name")?)?;
        boundary::write_out(out_offset, offset);
        Ok(DONE)
    })
}

/// Removes a position, a damaged one too.
///
/// `name`: as in `log_position_save`.
///
/// Durability: on return it is gone for good.
///
/// Threads: any.
/// Returns: `LOG_OK`; `LOG_E_NOT_FOUND` (there is none of that name); `LOG_E_ARGUMENT`; `LOG_E_IO`; `LOG_E_LOCKED` (as
/// in `log_position_save`); `LOG_E_MEMORY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_position_remove(log: *mut log_t, name: *const c_char, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.position_remove(boundary::text(name, "name")?).map(|()| DONE))
}

/// Tells of one position of the log, `index` 0 being the first by name, in the order of its bytes.
///
/// `name`: gets the name and a NUL; `capacity` bytes, 101 are enough for each. `out_offset`: as in `log_position_load`;
/// may be NULL.
///
/// Threads: any. Positions come and go meanwhile, so `index` may name another one at the next call.
/// Returns: `LOG_OK`; `LOG_END` (`index` lies past the last); `LOG_E_BUFFER` (`capacity` is too small; the message says
/// what it takes); `LOG_E_ARGUMENT` (NULL); `LOG_E_CORRUPT` (this one is damaged: the message names it, and the next
/// index goes on); otherwise as `log_position_load`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_position_at(
    log: *mut log_t,
    index: usize,
    name: *mut c_char,
    capacity: usize,
    out_offset: *mut u64,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        boundary::required(name, "name")?;
        let Some((found, offset)) = log.position_at(index)? else { return Ok(end()) };
        give_name(&found, name, capacity)?;
        boundary::write_out(out_offset, offset);
        Ok(DONE)
    })
}

/// Sets a meta: a small fact that must survive with the log, such as a Raft server's vote or the name of a schema. It
/// replaces, as a whole, what was set under that name. Who may set one, and what those who read it meanwhile see, is as
/// in `log_position_save`.
///
/// `name`: as in `log_position_save`; positions and metas have names of their own. `data`: `len` bytes, at most 4096;
/// may be NULL where `len` is 0.
///
/// Durability: on return it is durable. After a crash meanwhile it is the old one or the new one.
///
/// Threads: any.
/// Returns: as `log_position_save`, but for `LOG_E_BEYOND`; `LOG_E_TOO_LARGE` (`len` > 4096).
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_meta_set(
    log: *mut log_t,
    name: *const c_char,
    data: *const c_void,
    len: usize,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        log.meta_set(boundary::text(name, "name")?, boundary::bytes(data, len, "data")?).map(|()| DONE)
    })
}

/// Copies a meta into `buf`.
///
/// `name`: as in `log_position_save`. `buf`: `capacity` bytes; NULL with `capacity` 0 asks for the length. `out_len`:
/// gets the meta's length in bytes, also where the buffer is too small; may be NULL.
///
/// Durability: as `log_position_load`.
///
/// Threads: any; it waits for nobody.
/// Returns: as `log_position_load`; `LOG_E_BUFFER` (`capacity` is too small; `*out_len` is written and `buf` left as it
/// is).
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_meta_get(
    log: *mut log_t,
    name: *const c_char,
    buf: *mut c_void,
    capacity: usize,
    out_len: *mut usize,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        let name = boundary::text(name, "name")?;
        if capacity > 0 {
            boundary::required(buf, "buf")?;
        }
        let data = log.meta_get(name)?;
        boundary::write_out(out_len, data.len());
        if data.len() > capacity {
            let text = format!("meta '{name}' has {} bytes; the buffer has {capacity}", data.len());
            return Err(Error::new(Status::Buffer, text));
        }
        boundary::copy_out(buf, &data);
        Ok(DONE)
    })
}

/// Removes a meta, a damaged one too.
///
/// Durability, threads: as `log_position_remove`.
/// Returns: as `log_position_remove`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_meta_remove(log: *mut log_t, name: *const c_char, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.meta_remove(boundary::text(name, "name")?).map(|()| DONE))
}

/// Tells the name of one meta of the log, `index` 0 being the first by name, in the order of its bytes.
///
/// `name`: gets the name and a NUL; `capacity` bytes, 101 are enough for each.
///
/// Threads: any. Metas come and go meanwhile, so `index` may name another one at the next call.
/// Returns: `LOG_OK`; `LOG_END` (`index` lies past the last); `LOG_E_BUFFER`; `LOG_E_ARGUMENT` (NULL); `LOG_E_IO`;
/// `LOG_E_MEMORY`; on a read-only handle also what `log_stat` says; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_meta_at(
    log: *mut log_t,
    index: usize,
    name: *mut c_char,
    capacity: usize,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        boundary::required(name, "name")?;
        let Some(found) = log.meta_at(index)? else { return Ok(end()) };
        give_name(&found, name, capacity).map(|()| DONE)
    })
}
