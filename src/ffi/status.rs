//! Versions, constants, and what a status is called.
#![expect(dead_code, reason = "constants for C, not all of which the library itself names")]

use super::types::log_status_t;
use crate::error::{self, Status};
use std::ffi::c_char;

/// The version of this header: major. Before 1.0 a new minor version may change the ABI (and then the soname);
/// afterwards the same major version means the same ABI.
pub const LOG_VERSION_MAJOR: u32 = 0;
/// The version of this header: minor.
pub const LOG_VERSION_MINOR: u32 = 1;
/// The version of this header: patch.
pub const LOG_VERSION_PATCH: u32 = 0;
/// The version of this header: major << 16 | minor << 8 | patch. The library's is `log_version()`.
pub const LOG_VERSION: u32 = 256;

const fn number(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut value, mut n) = (0, 0);
    while n < bytes.len() {
        value = value * 10 + (bytes[n] - b'0') as u32;
        n += 1;
    }
    value
}

const _: () = assert!(
    LOG_VERSION_MAJOR == number(env!("CARGO_PKG_VERSION_MAJOR"))
        && LOG_VERSION_MINOR == number(env!("CARGO_PKG_VERSION_MINOR"))
        && LOG_VERSION_PATCH == number(env!("CARGO_PKG_VERSION_PATCH"))
        && LOG_VERSION == LOG_VERSION_MAJOR << 16 | LOG_VERSION_MINOR << 8 | LOG_VERSION_PATCH,
    "LOG_VERSION differs from Cargo.toml"
);

/// The offset that no record has: 2^64 - 1.
pub const LOG_NO_OFFSET: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// Done.
pub const LOG_OK: i32 = 0;
/// No record there yet: the cursor has caught up.
pub const LOG_END: i32 = 1;
/// A wait ended before what it waited for.
pub const LOG_TIMEOUT: i32 = 2;
/// The caller's progress function asked to stop.
pub const LOG_STOPPED: i32 = 3;
/// NULL, a bad configuration value, a misused handle.
pub const LOG_E_ARGUMENT: i32 = 10;
/// The record is longer than `record_max_bytes`, or the batch takes more than 1 GiB.
pub const LOG_E_TOO_LARGE: i32 = 11;
/// The caller's buffer is too small; `*out_len` is written: what it takes.
pub const LOG_E_BUFFER: i32 = 12;
/// The offset lies before the first record: it was removed. `log_error_t.offset` is the one that was asked for, or that
/// a cursor stands at; the message tells the first one that is left, and `log_stat` as `first_offset`: go on there.
pub const LOG_E_TRIMMED: i32 = 13;
/// The offset lies at or past the next one to be written.
pub const LOG_E_BEYOND: i32 = 14;
/// A write on a log opened read-only.
pub const LOG_E_READ_ONLY: i32 = 15;
/// The log's next offset is not the expected one.
pub const LOG_E_CONFLICT: i32 = 16;
/// No such directory, no log in it, no such name.
pub const LOG_E_NOT_FOUND: i32 = 20;
/// Another handle, in this or another process, writes this log.
pub const LOG_E_LOCKED: i32 = 21;
/// The place for a backup is not empty.
pub const LOG_E_EXISTS: i32 = 22;
/// The operating system failed; see `os_error`.
pub const LOG_E_IO: i32 = 30;
/// Disk full or quota; nothing was changed, the log stays readable, and the same call works again once there is room.
pub const LOG_E_NO_SPACE: i32 = 31;
/// Out of memory, address space, file handles or threads.
pub const LOG_E_MEMORY: i32 = 32;
/// Bytes that were once acknowledged have changed; nothing was repaired or cut.
pub const LOG_E_CORRUPT: i32 = 40;
/// Not a seglog, or written by a newer format than this library reads.
pub const LOG_E_FORMAT: i32 = 41;
/// A repair removed this record's rotten bytes; its offset stays taken.
pub const LOG_E_LOST: i32 = 42;
/// An earlier write or sync failed, so this handle writes no more; reads go on; close and reopen.
pub const LOG_E_POISONED: i32 = 50;
/// The handle was opened before `fork()`: the child must open its own.
pub const LOG_E_FORKED: i32 = 51;
/// A defect of the library; the handle is poisoned. Please report it.
pub const LOG_E_BUG: i32 = 90;

const _: () = assert!(
    LOG_E_ARGUMENT == Status::Argument as i32
        && LOG_E_TOO_LARGE == Status::TooLarge as i32
        && LOG_E_BUFFER == Status::Buffer as i32
        && LOG_E_TRIMMED == Status::Trimmed as i32
        && LOG_E_BEYOND == Status::Beyond as i32
        && LOG_E_READ_ONLY == Status::ReadOnly as i32
        && LOG_E_CONFLICT == Status::Conflict as i32
        && LOG_E_NOT_FOUND == Status::NotFound as i32
        && LOG_E_LOCKED == Status::Locked as i32
        && LOG_E_EXISTS == Status::Exists as i32
        && LOG_E_IO == Status::Io as i32
        && LOG_E_NO_SPACE == Status::NoSpace as i32
        && LOG_E_MEMORY == Status::Memory as i32
        && LOG_E_CORRUPT == Status::Corrupt as i32
        && LOG_E_FORMAT == Status::Format as i32
        && LOG_E_LOST == Status::Lost as i32
        && LOG_E_POISONED == Status::Poisoned as i32
        && LOG_E_FORKED == Status::Forked as i32
        && LOG_E_BUG == Status::Bug as i32,
    "a status of the header differs from the error's"
);

/// `log_config_t.flags`: only read, beside a writer in this or another process of the same machine, or without one. Any
/// number of handles follow a log, and what is appended can be read at once. No lock is taken, no thread started (but
/// by `log_event_fd`), and nothing made or changed (but for a word by which who waits asks to be woken), so it works
/// where the directory cannot be written; a reader holds nobody up, and one that is killed leaves nothing. Everything
/// that writes is `LOG_E_READ_ONLY`. The sizes and policies of the configuration have no effect. When the log is
/// removed, its functions say `LOG_E_NOT_FOUND`.
pub const LOG_READ_ONLY: u32 = 1;
/// `log_config_t.flags`: where there is no log, `log_open` is `LOG_E_NOT_FOUND` and makes none.
pub const LOG_NO_CREATE: u32 = 2;
/// `log_config_t.flags`: no background threads. The append that fills the ring then writes it out, and the one that
/// fills a segment makes the next one and syncs the full one. What `retain_bytes` and `retain_ms` leave no room for
/// goes within that append, `log_truncate`, `log_open` and `log_retain`. Not with `LOG_SYNC_INTERVAL`.
pub const LOG_NO_THREAD: u32 = 4;
/// `log_config_t.flags`: do not verify checksums when reading. Every bounds check stays; rotten bytes are then given as
/// they are.
pub const LOG_NO_VERIFY: u32 = 8;
/// `log_config_t.flags`: `log_trim` and retention hold back what a named position has not passed yet. A trim lets the
/// log begin at its argument or at the lowest position, whichever is lower, and says `LOG_OK`; `first_offset` of
/// `log_stat` tells where. Retention deletes the segments that lie before the lowest position whole.
/// Where there is no position nothing is held back. A consumer that is gone for good holds back for ever: remove its
/// position. One that is damaged may be the lowest, so then nothing is trimmed: `log_trim` and `log_retain` say
/// `LOG_E_CORRUPT` and name it.
pub const LOG_KEEP_UNCONSUMED: u32 = 16;

/// `log_config_t.sync`, the default: when an append returns, its records survive power loss. Threads that append at
/// once share syncs. Where the log is mapped, space is written with zeros ahead of the records, which makes a sync
/// quicker and the disk write their bytes twice.
pub const LOG_SYNC_ALWAYS: u32 = 0;
/// `log_config_t.sync`: at most `sync_interval_ms` and one sync's time of records are at risk of power loss, none to a
/// killed process.
pub const LOG_SYNC_INTERVAL: u32 = 1;
/// `log_config_t.sync`: `log_sync` is the barrier, and full segments are synced in the background. A killed process
/// loses nothing all the same. Who appends faster than the disk writes waits for it where more than 256 MiB of full
/// segments, or 16 of them, are not synced yet.
pub const LOG_SYNC_NEVER: u32 = 2;

/// `log_config_t.io`, the default: `LOG_IO_FILE` where the directory lies on a file system of a network (NFS, SMB, 9p,
/// Ceph, Lustre, AFS, GPFS and their like), on one of user space (FUSE), or on btrfs; `LOG_IO_MAPPED` everywhere else.
/// `log_stat` says which.
pub const LOG_IO_AUTO: u32 = 0;
/// `log_config_t.io`: records are read through read-only mappings, and the last megabyte of the log lies in one that is
/// written. The fast one. A bad sector, or another program that cuts a file of the log short, is SIGBUS in the host.
pub const LOG_IO_MAPPED: u32 = 1;
/// `log_config_t.io`: no file is mapped. Each append is written to its store before it returns, and each read is a
/// call, so it is many times slower. A bad sector is `LOG_E_IO` for the record that it holds, and a file that another
/// program cuts short is `LOG_E_CORRUPT`. A cursor copies its records: they live as long as with `LOG_IO_MAPPED`.
pub const LOG_IO_FILE: u32 = 2;

/// The version of the library at run time: major << 16 | minor << 8 | patch. Compare with `LOG_VERSION`.
///
/// Threads: any. Returns: the version; it cannot fail.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_version() -> u32 {
    LOG_VERSION
}

/// The name of a status, such as `"LOG_E_IO"`.
///
/// Threads: any. Returns: a constant string, never NULL; `"LOG_STATUS_UNKNOWN"` for a number that this version does not
/// know.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_status_name(status: log_status_t) -> *const c_char {
    error::status_name(status).as_ptr()
}

/// One sentence on what a status means. What failed in a particular call stands in its `log_error_t`.
///
/// Threads: any. Returns: a constant string, never NULL.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_status_text(status: log_status_t) -> *const c_char {
    error::status_text(status).as_ptr()
}
