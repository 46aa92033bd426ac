//! A log: open and close, write, read, how it stands.

use super::boundary::{self, Answer, DONE};
use super::handle::{self, Closed, Handle, Kind};
use super::status::{
    LOG_IO_AUTO, LOG_IO_FILE, LOG_IO_MAPPED, LOG_NO_OFFSET, LOG_SYNC_ALWAYS, LOG_SYNC_INTERVAL, LOG_SYNC_NEVER,
    LOG_TIMEOUT,
};
use super::types::{log_bytes_t, log_config_t, log_error_t, log_record_t, log_segment_t, log_stat_t, log_status_t};
use crate::config::{Config, Io, Sync};
use crate::error::{Error, Result, Status};
use crate::log::Log;
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

/// An open log. Share it between threads: every function on it may be called by any number of threads at once, but for
/// `log_close`.
pub struct log_t(pub(super) Log);

impl Handle for log_t {
    const KIND: Kind = handle::LOG;

    fn closed() -> &'static Closed {
        static CLOSED: Closed = Closed::new();
        &CLOSED
    }
}

const EMPTY_CONFIG: log_config_t = log_config_t {
    struct_size: 0,
    flags: 0,
    segment_max_bytes: 0,
    index_max_bytes: 0,
    initial_offset: 0,
    record_max_bytes: 0,
    sync: 0,
    sync_interval_ms: 0,
    retain_bytes: 0,
    retain_ms: 0,
    io: 0,
    reserved: 0,
};

fn refuse(what: impl Into<String>) -> Error {
    Error::new(Status::Argument, what)
}

fn config_from(given: *const log_config_t) -> Result<Config> {
    if given.is_null() {
        return Ok(Config::default());
    }
    let given = boundary::read_sized(given, EMPTY_CONFIG, "config")?;
    let sync = match given.sync {
        LOG_SYNC_ALWAYS => Sync::Always,
        LOG_SYNC_NEVER => Sync::Never,
        LOG_SYNC_INTERVAL => Sync::Interval,
        other => {
            return Err(refuse(format!(
                "config->sync is {other}; it must be LOG_SYNC_ALWAYS (0), LOG_SYNC_INTERVAL (1) or LOG_SYNC_NEVER (2)"
            )));
        }
    };
    let io = match given.io {
        LOG_IO_AUTO => Io::Auto,
        LOG_IO_MAPPED => Io::Mapped,
        LOG_IO_FILE => Io::File,
        other => {
            return Err(refuse(format!(
                "config->io is {other}; it must be LOG_IO_AUTO (0), LOG_IO_MAPPED (1) or LOG_IO_FILE (2)"
            )));
        }
    };
    if given.reserved != 0 {
        return Err(refuse(format!("config->reserved is {}; it must be 0", given.reserved)));
    }
    Ok(Config {
        segment_max_bytes: given.segment_max_bytes,
        index_max_bytes: given.index_max_bytes,
        initial_offset: given.initial_offset,
        record_max_bytes: given.record_max_bytes,
        sync,
        sync_interval_ms: given.sync_interval_ms,
        retain_bytes: given.retain_bytes,
        retain_ms: given.retain_ms,
        flags: given.flags,
        io,
    })
}

/// Runs a call on a log: a panic poisons it.
pub(super) fn on_log(
    log: *const log_t,
    error: *mut log_error_t,
    body: impl FnOnce(&Log) -> Result<Answer>,
) -> log_status_t {
    let on_defect = |what: &str| {
        if let Ok(log) = handle::shared(log, "log") {
            log.0.poison_for_defect(what);
        }
    };
    boundary::call(error, on_defect, || body(&handle::shared(log, "log")?.0))
}

/// Opens the log in the directory `dir` for writing. A directory that is missing is made (not its parents, mode 0700;
/// its files get 0600), and so is a log in a directory that has none. Files in it that are not the log's are left
/// alone. What a killed process or a power loss left is recovered; `log_stat` says what was found. Then goes what
/// `retain_bytes` and `retain_ms` leave no room for: in the background, or with `LOG_NO_THREAD` before it returns;
/// should anything keep it from that, the log is open all the same, and `log_retain` says what it is.
///
/// With `LOG_READ_ONLY` it opens the log for reading, beside a writer or without one, and makes and changes nothing:
/// where there is no log it is `LOG_E_NOT_FOUND`. The handle goes on when the writer closes or is killed, and when a
/// new one comes. Without a writer it sees what a killed one of this boot had published, and otherwise what the files
/// hold whole; a torn tail is not seen, and recovering it is left to the next open for writing.
///
/// `dir`: a path, of any bytes but NUL. `config`: NULL for the defaults. `out_log`: gets the handle, which `log_close`
/// frees.
///
/// Durability: on return the log, its name in the directory and the directory's name in its parent are durable, and so
/// is every record that was recovered. Time: by the number of files and the part since the last durable mark, never by
/// the bytes stored. Two threads of the library are started, unless `LOG_NO_THREAD` is set; they block all signals
/// and end with `log_close`.
///
/// Threads: any; two opens of one directory for writing exclude each other.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (`dir` or `out_log` is NULL, `dir` is empty or too long, a value of `config` is
/// out of range); `LOG_E_NOT_FOUND` (the parent is missing, the path is not a directory, or with
/// `LOG_NO_CREATE` or `LOG_READ_ONLY` there is no log);
/// `LOG_E_LOCKED` (another handle, in this or another process, writes this log); `LOG_E_CORRUPT` (what was durable is
/// damaged: nothing was changed); `LOG_E_FORMAT` (a newer format, or no log's file under a log's name); `LOG_E_IO`
/// (one of them no permission, or a directory, link or pipe under a file's name); `LOG_E_NO_SPACE`; `LOG_E_MEMORY`;
/// `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_open(
    dir: *const c_char,
    config: *const log_config_t,
    out_log: *mut *mut log_t,
    error: *mut log_error_t,
) -> log_status_t {
    boundary::call(error, boundary::no_handle, || {
        let dir = boundary::path(dir, "dir")?;
        boundary::required(out_log, "out_log")?;
        let config = config_from(config)?;
        handle::give(out_log, log_t(Log::open(dir, &config)?))?;
        Ok(DONE)
    })
}

/// Closes a log and frees the handle, whatever it returns. NULL is fine. Cursors that are open still work and see what
/// was there; that of a read-only handle goes on following the log. No other call on the log may be running or follow.
///
/// Durability: what a handle for writing appended is synced, whatever the policy, and the place where the log ends is
/// marked, so that the next open reads no record. If this fails, records that were not durable before may be lost at a
/// power loss.
///
/// Threads: one, when no other uses the log any more.
/// Returns: `LOG_OK`; `LOG_E_IO` (the last sync failed); `LOG_E_POISONED` (an earlier write or sync had failed);
/// `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_close(log: *mut log_t, error: *mut log_error_t) -> log_status_t {
    boundary::call(error, boundary::no_handle, || {
        if let Some(log) = handle::take_back(log, "log")? {
            log.0.close()?;
        }
        Ok(DONE)
    })
}

/// Deletes the log in the directory `dir`: its own files, then the directory if that is empty. Foreign files stay, and
/// then so does the directory; so does one that `dir` is a symbolic link to, and one on which something is mounted.
///
/// Durability: the log's names are gone for good on return. A crash in between may leave the log shorter at its end.
///
/// Threads: any.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (`dir` is NULL, empty or too long); `LOG_E_NOT_FOUND` (no such directory, or no
/// log in it); `LOG_E_LOCKED` (a handle writes the log); `LOG_E_IO`; `LOG_E_MEMORY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_remove(dir: *const c_char, error: *mut log_error_t) -> log_status_t {
    boundary::call(error, boundary::no_handle, || {
        crate::files::remove(boundary::path(dir, "dir")?)?;
        Ok(DONE)
    })
}

/// Writes the offset of an append whose record exists: on success, and where only its sync failed.
pub(super) fn appended(result: Result<u64>, out_offset: *mut u64) -> Result<Answer> {
    let offset = result.as_ref().ok().copied().or_else(|| result.as_ref().err()?.detail().published);
    if let Some(offset) = offset {
        boundary::write_out(out_offset, offset);
    }
    result.map(|_| DONE)
}

/// Appends one record. An empty one is a record too.
///
/// `data`: `len` bytes that no thread changes during the call; may be NULL where `len` is 0. `out_offset`: gets the
/// record's offset; may be NULL.
///
/// Durability: `LOG_SYNC_ALWAYS`: the record, and all before it, survive power loss when this returns `LOG_OK`.
/// `LOG_SYNC_NEVER`: it survives a killed process, and power loss after the next `log_sync`, `log_close`, or when
/// `durable_offset` has passed it. The record can be read by anyone as soon as it is appended, before it is durable.
///
/// Threads: any; appends of one thread keep their order.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL; or the offsets are used up); `LOG_E_TOO_LARGE` (`len` >
/// `record_max_bytes`); `LOG_E_NO_SPACE` (nothing was appended; works again once there is room); `LOG_E_IO` (a write or
/// sync failed: if `*out_offset` was written, the record exists and its durability is unknown, do not append it again);
/// `LOG_E_POISONED` (an earlier one failed; the same holds of `*out_offset`); `LOG_E_READ_ONLY` (the handle was opened
/// with `LOG_READ_ONLY`); `LOG_E_MEMORY`; `LOG_E_BUG`. To tell
/// whether the record exists, set `*out_offset` to `LOG_NO_OFFSET` before the call.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_append(
    log: *mut log_t,
    data: *const c_void,
    len: usize,
    out_offset: *mut u64,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| appended(log.append(boundary::bytes(data, len, "data")?), out_offset))
}

/// Appends one record only if it gets the offset `expected_offset`: what an event store needs to append at the version
/// that it has seen, and a Raft log at its index.
///
/// Durability, threads: as `log_append`.
/// Returns: as `log_append`; `LOG_E_CONFLICT` (the log's next offset is another one: it stands in `error->offset`, and
/// nothing was appended).
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_append_at(
    log: *mut log_t,
    expected_offset: u64,
    data: *const c_void,
    len: usize,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| log.append_at(expected_offset, boundary::bytes(data, len, "data")?).map(|()| DONE))
}

/// Appends `count` records with offsets and times of their own, as one batch: for an import, a restore, a replica. The
/// offsets continue the log without a gap, and no time is earlier than the one before it. 0 records are `LOG_OK`.
///
/// Durability, threads: as `log_append_batch`.
/// Returns: as `log_append_batch`; `LOG_E_CONFLICT` (the first offset is not the log's next one, or they leave a gap:
/// the offset that was expected stands in `error->offset`); `LOG_E_ARGUMENT` also where a time runs back.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_append_records(
    log: *mut log_t,
    records: *const log_record_t,
    count: usize,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| log.append_records(&boundary::records(records, count)?).map(|()| DONE))
}

/// Appends `count` records as one batch, with consecutive offsets: all of them exist or none, for every reader and
/// after every crash. 0 records are `LOG_OK`, and nothing is done.
///
/// `records`: the records' bytes, as for `log_append`. `out_first`: gets the first one's offset (with `count` 0, the
/// offset that the next record will get); may be NULL. Together they may take 1 GiB, 16 bytes and padding to 8 counted
/// for each.
///
/// Durability: as `log_append`, with one sync for all.
///
/// Threads: any.
/// Returns: as `log_append`; `LOG_E_TOO_LARGE` also where the batch takes more than 1 GiB.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_append_batch(
    log: *mut log_t,
    records: *const log_bytes_t,
    count: usize,
    out_first: *mut u64,
    error: *mut log_error_t,
) -> log_status_t {
    let append = |log: &Log| boundary::with_batch(records, count, |payloads| log.append_batch(payloads));
    on_log(log, error, |log| appended(append(log), out_first))
}

/// Makes every record that has been appended, by any thread, durable. Threads that sync at once share a sync.
///
/// Durability: on `LOG_OK` all records that were appended before the call survive power loss.
///
/// Threads: any.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (`log` is NULL); `LOG_E_IO` (the sync failed: the handle writes no more, and
/// what was not durable may be lost at a power loss); `LOG_E_POISONED`; `LOG_E_READ_ONLY`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_sync(log: *mut log_t, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| log.sync().map(|()| DONE))
}

/// Returns when the record at `offset` survives power loss. A sync is begun if need be, so this is `log_sync` for one
/// record, with a limit. A read-only handle begins none: it waits for the writer's, as `log_wait` does.
///
/// `timeout_ms`: in milliseconds; 0 looks once, negative waits for ever. A sync that this call has begun itself is
/// waited for, so the call may take one sync's time longer.
///
/// Threads: any.
/// Returns: `LOG_OK` (it is durable); `LOG_TIMEOUT` (not yet); `LOG_E_ARGUMENT` (NULL); `LOG_E_BEYOND` (there is no
/// such record yet, or no more); `LOG_E_IO`; `LOG_E_POISONED`; on a read-only handle also what `log_stat` says;
/// `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_wait_durable(
    log: *mut log_t,
    offset: u64,
    timeout_ms: i64,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        Ok(if log.wait_durable(offset, timeout_of(timeout_ms))? { DONE } else { timed_out(offset) })
    })
}

/// How long a call may wait; `None` is for ever.
pub(super) fn timeout_of(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

/// What a wait that came to nothing says.
pub(super) fn timed_out(offset: u64) -> Answer {
    Answer { status: LOG_TIMEOUT, offset }
}

/// Copies the record at `offset` into `buf`. Its checksum is verified.
///
/// `buf`: `capacity` bytes; NULL with `capacity` 0 asks for the length. `out_len`: gets the record's length in bytes,
/// also where the buffer is too small; may be NULL.
///
/// Durability: the record may not be durable yet; compare with `durable_offset` of `log_stat`.
///
/// Threads: any; it takes no lock that an append holds.
/// Returns: `LOG_OK`; `LOG_E_BUFFER` (`capacity` is too small; `*out_len` is written and `buf` left as it is);
/// `LOG_E_ARGUMENT` (NULL); `LOG_E_TRIMMED` (before the first record); `LOG_E_BEYOND` (not written yet);
/// `LOG_E_CORRUPT` (the record is damaged; others can be read); `LOG_E_FORMAT`; `LOG_E_IO`; `LOG_E_MEMORY`;
/// `LOG_E_NOT_FOUND` (a read-only handle whose log was removed); `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_read(
    log: *mut log_t,
    offset: u64,
    buf: *mut c_void,
    capacity: usize,
    out_len: *mut usize,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        if capacity > 0 {
            boundary::required(buf, "buf")?;
        }
        let (len, fits) = log.read(offset, |payload, _| {
            let fits = payload.len() <= capacity;
            if fits {
                boundary::copy_out(buf, payload);
            }
            (payload.len(), fits)
        })?;
        boundary::write_out(out_len, len);
        if fits {
            return Ok(DONE);
        }
        let text = format!("record {offset} has {len} bytes; the buffer has {capacity}");
        Err(Error::new(Status::Buffer, text).at(offset))
    })
}

/// Finds the first record that was appended at `timestamp_ns` or later. Times never run back within a log, whatever the
/// clock did and however it was cut, so it is a binary search: it looks at some twenty records, and at the headers of
/// some ten segments the first time. Records have the time of the kernel's last tick, 1 to 10 ms before they were
/// appended, or that of `log_append_records`.
///
/// A damaged record has no time, and is passed over. Records that are trimmed do not count.
///
/// `timestamp_ns`: nanoseconds since 1970 UTC; 0 finds the first record. `out_offset`: gets the record's offset; may be
/// NULL.
///
/// Threads: any; it takes no lock that an append holds.
/// Returns: `LOG_OK`; `LOG_E_BEYOND` (every record is earlier, or there is none; the log's next offset stands in
/// `error->offset`: a cursor there meets the records of that time when they come); `LOG_E_ARGUMENT` (NULL);
/// `LOG_E_FORMAT`; `LOG_E_IO`; `LOG_E_MEMORY`; `LOG_E_NOT_FOUND` (a read-only handle whose log was removed);
/// `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_find_time(
    log: *mut log_t,
    timestamp_ns: u64,
    out_offset: *mut u64,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        let offset = log.find_time(timestamp_ns)?;
        boundary::write_out(out_offset, offset);
        Ok(DONE)
    })
}

/// Returns when there is a record at `offset`, at once if it is there already. It sleeps meanwhile and uses no
/// processor time; whoever appends wakes it, in any process of this machine. A signal does not end the wait.
///
/// A read-only handle goes on waiting when the writer closes the log or is killed, and goes on with the next writer. If
/// it may write the log's directory, it sets a word of `LIVE` by which the writer knows that somebody sleeps. If it may
/// not, where the writer's page is none to be believed (another mount that shows other device numbers), or where one of
/// the two has `LOG_IO_FILE`, nobody wakes it: it looks by itself, again and again when a quarter more has been waited
/// than at the look before, 0.2 ms apart at first and 1.25 s at most. So it hears of a record late by at most a quarter
/// of the wait before it, and by 1.25 s; each call begins anew. The right to write `LIVE` alone is enough to be woken.
///
/// `timeout_ms`: in milliseconds; 0 looks once, negative waits for ever.
///
/// Durability: the record may not be durable yet; `log_wait_durable` waits for that.
///
/// Threads: any. `log_close` must not be called meanwhile; a wait that it meets ends with `LOG_E_ARGUMENT`.
/// Returns: `LOG_OK` (it is there); `LOG_TIMEOUT` (not yet); `LOG_E_ARGUMENT` (NULL, or `offset` is `LOG_NO_OFFSET`);
/// `LOG_E_TRIMMED` (it was removed, or the log was reset to a later offset); `LOG_E_POISONED` (it is not there, and
/// this handle, which writes the log, writes no more); on a read-only handle also what `log_stat` says; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_wait(log: *mut log_t, offset: u64, timeout_ms: i64, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| Ok(if log.wait(offset, timeout_of(timeout_ms))? { DONE } else { timed_out(offset) }))
}

/// Gives a file descriptor that is readable when there are new records: for epoll, poll, libuv and their kind. Read its
/// 8 bytes first, then the log, by a cursor until it says `LOG_END`: then no record is missed, and each is heard of. It
/// is readable at first, and may be where nothing is new (records were dropped, or had been read already).
///
/// On a handle that writes the log, each append makes it readable: that is a system call in each append from now on. On
/// a read-only handle a thread of the library does, which this call starts; it waits as `log_wait` does, blocks all
/// signals and ends with `log_close`.
///
/// `out_fd`: gets the descriptor, an `eventfd` with `O_NONBLOCK` and `O_CLOEXEC`: the same one at each call. It belongs
/// to the log: `log_close` closes it, the caller does not, and takes it out of its event loop before.
///
/// Threads: any.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL; or a read-only handle that was opened with `LOG_NO_THREAD`);
/// `LOG_E_MEMORY` (no descriptor or thread left); `LOG_E_IO`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_event_fd(log: *mut log_t, out_fd: *mut c_int, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| {
        boundary::required(out_fd, "out_fd")?;
        boundary::write_out(out_fd, log.event_fd()?);
        Ok(DONE)
    })
}

/// Tells how the log stands: offsets, durability, sizes, what the open found. Set `out_stat->struct_size` first.
///
/// Threads: any. It looks at every file's size, so it costs microseconds for each segment.
/// Returns: `LOG_OK`; `LOG_E_ARGUMENT` (NULL, or `struct_size` is 0); `LOG_E_IO`; `LOG_E_BUG`; on a read-only handle,
/// which may have to look at the files anew, also `LOG_E_NOT_FOUND` (the log was removed), `LOG_E_CORRUPT`,
/// `LOG_E_FORMAT` and `LOG_E_MEMORY`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_stat(log: *mut log_t, out_stat: *mut log_stat_t, error: *mut log_error_t) -> log_status_t {
    on_log(log, error, |log| {
        boundary::check_sized(out_stat, "out_stat")?;
        let stat = log.stat()?;
        let stat = log_stat_t {
            struct_size: 0,
            segment_count: stat.segment_count,
            first_offset: stat.first_offset,
            next_offset: stat.next_offset,
            durable_offset: stat.durable_offset,
            disk_bytes: stat.disk_bytes,
            payload_bytes: stat.payload_bytes,
            recovered_records: stat.recovered_records,
            dropped_bytes: stat.dropped_bytes,
            appends: stat.appends,
            syncs: stat.syncs,
            syncs_shared: stat.syncs_shared,
            io: match stat.io {
                Io::Auto => LOG_IO_AUTO,
                Io::Mapped => LOG_IO_MAPPED,
                Io::File => LOG_IO_FILE,
            },
            writer_pid: stat.writer_pid,
            log_id: stat.log_id,
        };
        boundary::write_sized(out_stat, &stat, "out_stat")?;
        Ok(DONE)
    })
}

/// Tells of one segment of the log, `index` 0 being the first. Set `out_segment->struct_size` first.
///
/// Threads: any. Segments come and go meanwhile, so `index` may name another one at the next call.
/// Returns: `LOG_OK`; `LOG_END` (`index` lies past the last); `LOG_E_ARGUMENT` (NULL, or `struct_size` is 0);
/// `LOG_E_CORRUPT`; `LOG_E_FORMAT`; `LOG_E_IO`; `LOG_E_MEMORY`; `LOG_E_NOT_FOUND` as `log_stat`; `LOG_E_BUG`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an exported symbol")]
pub extern "C" fn log_segment_at(
    log: *mut log_t,
    index: usize,
    out_segment: *mut log_segment_t,
    error: *mut log_error_t,
) -> log_status_t {
    on_log(log, error, |log| {
        boundary::check_sized(out_segment, "out_segment")?;
        let Some(segment) = log.segment_at(index)? else { return Ok(end()) };
        let segment = log_segment_t {
            struct_size: 0,
            epoch: segment.epoch,
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            file_bytes: segment.file_bytes,
            disk_bytes: segment.disk_bytes,
            first_timestamp_ns: segment.first_timestamp_ns,
            last_timestamp_ns: segment.last_timestamp_ns,
        };
        boundary::write_sized(out_segment, &segment, "out_segment")?;
        Ok(DONE)
    })
}

/// What an answer that is no failure says of itself.
pub(super) fn end() -> Answer {
    Answer { status: super::status::LOG_END, offset: LOG_NO_OFFSET }
}
