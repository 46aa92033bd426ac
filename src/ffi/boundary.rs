//! Where C ends: the pointer casts of the ffi (those of handles stand in `handle`), the panic guard, the filling of
//! `log_error_t`. The functions here take raw pointers under the contract of the header: each is NULL, or valid for
//! what its function's comment says.
#![expect(
    unsafe_code,
    reason = "pointers of the C caller's; each block says which part of the header's contract it rests on"
)]

use super::types::{log_bytes_t, log_error_t, log_record_t, log_status_t};
use crate::config::BATCH_LIMIT_BYTES;
use crate::error::{Error, NO_OFFSET, Result, Status};
use crate::memory;
use crate::record::Record;
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The largest `struct_size` that is believed.
const STRUCT_LIMIT: u32 = 4096;

/// What memory is for here.
const A_BATCH: &str = "the records of a batch";

/// A status that is an answer, no failure, and the sentence that goes with it.
pub(super) struct Answer {
    pub status: log_status_t,
    pub offset: u64,
}

/// Success.
pub(super) const DONE: Answer = Answer { status: super::status::LOG_OK, offset: NO_OFFSET };

/// Runs a call's body: no panic leaves it, and its failure goes into `error`. `on_defect` is told of a panic.
#[inline]
pub(super) fn call(
    error: *mut log_error_t,
    on_defect: impl FnOnce(&str),
    body: impl FnOnce() -> Result<Answer>,
) -> log_status_t {
    // What the body touches is either behind locks that notice a panic, or poisoned by `on_defect`.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(Answer { status: 0, .. })) => 0,
        Ok(Ok(answer)) => answered(error, &answer),
        Ok(Err(failure)) => failed(error, &failure),
        Err(panic) => {
            let what = defect(panic.as_ref());
            // What a poisoned handle costs is less than a second panic; this one must not leave either.
            let _ = catch_unwind(AssertUnwindSafe(|| on_defect(&what)));
            // Dropping the payload may run foreign code; it is leaked instead.
            std::mem::forget(panic);
            failed(error, &Error::new(Status::Bug, what))
        }
    }
}

/// What a defect does where no handle is left that it could poison, or one that is another's.
pub(super) fn no_handle(_what: &str) {}

fn defect(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a defect of libseglog, please report it: {}", text.unwrap_or("panic"))
}

#[cold]
fn answered(error: *mut log_error_t, answer: &Answer) -> log_status_t {
    let text = crate::error::status_text(answer.status).to_str().unwrap_or_default();
    fill(error, answer.status, 0, answer.offset, text);
    answer.status
}

#[cold]
fn failed(error: *mut log_error_t, failure: &Error) -> log_status_t {
    let (status, detail) = (failure.status() as i32, failure.detail());
    fill(error, status, detail.os_error, detail.offset, &detail.message);
    status
}

/// A text of at most `room` bytes: of a longer one what failed, at its beginning, and what to do, at its end.
fn fitted(text: &str, room: usize) -> (&str, &str, &str) {
    const DOTS: &str = " ... ";
    if text.len() <= room {
        return (text, "", "");
    }
    let half = (room - DOTS.len()) / 2;
    let end = (text.len() - half..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let beginning = (0..=half).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    (&text[..beginning], DOTS, &text[end..])
}

fn fill(error: *mut log_error_t, status: i32, os_error: i32, offset: u64, text: &str) {
    let mut message = [0; 240];
    let (beginning, dots, end) = fitted(text, message.len() - 1);
    for (to, from) in message.iter_mut().zip(beginning.bytes().chain(dots.bytes()).chain(end.bytes())) {
        // A path may hold any byte, but a message is one line of text.
        let from = if from.is_ascii_control() { b'?' } else { from };
        *to = from.cast_signed() as c_char;
    }
    if !error.is_null() {
        // SAFETY: the caller gives NULL or a log_error_t that it may write.
        unsafe { error.write(log_error_t { status, os_error, offset, message }) };
    }
}

fn null(name: &str) -> Error {
    Error::new(Status::Argument, format!("{name} is NULL"))
}

/// Refuses NULL for a place that the call cannot do without.
#[inline]
pub(super) fn required<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_null() { Err(null(name)) } else { Ok(()) }
}

/// Writes an answer for the caller, unless it does not want it.
#[inline]
pub(super) fn write_out<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: the caller gives NULL or a place that it may write.
        unsafe { out.write(value) };
    }
}

/// Writes element `n` of the caller's array of at least `n` + 1 elements, which is not NULL.
#[inline]
pub(super) fn write_element<T>(out: *mut T, n: usize, value: T) {
    // SAFETY: the array has so many elements, as the caller said with its capacity.
    let place = unsafe { out.add(n) };
    // SAFETY: the place lies in that array, which the caller may write.
    unsafe { place.write(value) };
}

/// The caller's bytes, for the length of the call.
#[inline(always)]
pub(super) fn bytes<'a>(data: *const c_void, len: usize, name: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Error::new(Status::Argument, format!("{name} is NULL, but its length is {len}")));
    }
    if isize::try_from(len).is_err() {
        return Err(Error::new(Status::TooLarge, format!("{name} has {len} bytes, more than an address space holds")));
    }
    // SAFETY: the caller gives `len` bytes that it does not change during the call.
    Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// So many records of a batch are seen to without an allocation.
const FEW: usize = 128;

/// Hands the records of a batch to `take`.
#[inline]
pub(super) fn with_batch<R>(
    records: *const log_bytes_t,
    count: usize,
    take: impl FnOnce(&[&[u8]]) -> Result<R>,
) -> Result<R> {
    let given = elements(records, count)?;
    if count > FEW {
        return take(&many(given)?);
    }
    let mut few: [&[u8]; FEW] = [&[]; FEW];
    for (payload, record) in few.iter_mut().zip(given) {
        *payload = bytes(record.data, record.len, "a record's data")?;
    }
    take(&few[..given.len()])
}

fn many<'a>(given: &[log_bytes_t]) -> Result<Vec<&'a [u8]>> {
    let mut payloads = Vec::new();
    memory::reserve(&mut payloads, given.len(), A_BATCH)?;
    for record in given {
        payloads.push(bytes(record.data, record.len, "a record's data")?);
    }
    Ok(payloads)
}

/// The records of an import.
pub(super) fn records<'a>(records: *const log_record_t, count: usize) -> Result<Vec<Record<'a>>> {
    let given = elements(records, count)?;
    let mut made = Vec::new();
    memory::reserve(&mut made, count, A_BATCH)?;
    for record in given {
        let payload = bytes(record.payload.data, record.payload.len, "a record's data")?;
        made.push(Record { offset: record.offset, timestamp_ns: record.timestamp_ns, payload });
    }
    Ok(made)
}

/// The caller's array of `count` elements, no more than a batch can have.
fn elements<'a, T>(pointer: *const T, count: usize) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    required(pointer, "records")?;
    if count as u64 > BATCH_LIMIT_BYTES / crate::record::FRAME_HEADER {
        let text = format!("a batch of {count} records takes more than 1 GiB; append it in parts");
        return Err(Error::new(Status::TooLarge, text));
    }
    // SAFETY: the caller gives `count` elements, few enough for an address space, as was just checked.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Copies a payload into the caller's buffer, which has room for it.
#[inline]
pub(super) fn copy_out(buffer: *mut c_void, payload: &[u8]) {
    if !payload.is_empty() {
        // SAFETY: the caller's buffer has at least `payload.len()` bytes, and does not overlap the library's memory.
        unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
    }
}

/// A path.
pub(super) fn path<'a>(path: *const c_char, name: &str) -> Result<&'a Path> {
    required(path, name)?;
    // SAFETY: the caller gives a string that ends with a NUL and does not change it during the call.
    let path = unsafe { CStr::from_ptr(path) };
    Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
}

/// A short text, such as a name.
pub(super) fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    required(text, name)?;
    // SAFETY: the caller gives a string that ends with a NUL and does not change it during the call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Error::new(Status::Argument, format!("{name} is no ASCII text")))
}

fn struct_size(pointer: *const c_void, name: &str) -> Result<usize> {
    // SAFETY: each struct of this kind begins with its size, a u32, and the caller gives at least that.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() };
    match size {
        4..=STRUCT_LIMIT => Ok(size as usize),
        _ => Err(Error::new(Status::Argument, format!("{name}->struct_size is {size}; set it to sizeof(*{name})"))),
    }
}

/// Reads a struct that begins with its size: what the caller's version lacks is `zero`'s, what this one does not know
/// must be zero.
pub(super) fn read_sized<T: Copy>(pointer: *const T, mut zero: T, name: &str) -> Result<T> {
    let size = struct_size(pointer.cast(), name)?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes, of which `known` are copied over a T that has as many; every field
    // of these structs may have any bits.
    unsafe { std::ptr::from_mut(&mut zero).cast::<u8>().copy_from_nonoverlapping(pointer.cast(), known) };
    // SAFETY: the caller's struct has `size` bytes.
    let whole = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) };
    if whole[known..].iter().any(|byte| *byte != 0) {
        let text =
            format!("{name} has {size} bytes; those behind {known} are not zero and this version does not know them");
        return Err(Error::new(Status::Argument, text));
    }
    Ok(zero)
}

/// Writes a struct that begins with its size, as much of it as the caller's version has; what this one does not know is
/// set to zero.
pub(super) fn write_sized<T: Copy>(pointer: *mut T, value: &T, name: &str) -> Result<()> {
    let size = check_sized(pointer, name)?;
    let (head, known) = (size_of::<u32>(), size.min(size_of::<T>()));
    let (from, to) = (std::ptr::from_ref(value).cast::<u8>(), pointer.cast::<u8>());
    // SAFETY: `known` bytes are there on both sides; the size itself, which comes first, is left as it is.
    unsafe { to.wrapping_add(head).copy_from_nonoverlapping(from.wrapping_add(head), known - head) };
    // SAFETY: the caller's struct has `size` bytes.
    unsafe { to.wrapping_add(known).write_bytes(0, size - known) };
    Ok(())
}

/// The `struct_size` of a struct that is to be written.
pub(super) fn check_sized<T>(pointer: *mut T, name: &str) -> Result<usize> {
    required(pointer, name)?;
    struct_size(pointer.cast_const().cast(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_keeps_what_failed_and_what_to_do() {
        for letter in ["x", "\u{E9}", "\u{20AC}", "\u{1F4D6}"] {
            for len in 0..400 {
                let text = format!("cannot open '{}': check the path", letter.repeat(len));
                let (beginning, dots, end) = fitted(&text, 239);
                let made = [beginning, dots, end].concat();
                assert!(made.len() <= 239 && made.starts_with("cannot open '") && made.ends_with("': check the path"));
                assert!(made == text || (dots == " ... " && made.len() > 225), "{made}");
                let mut error = log_error_t { status: 0, os_error: 0, offset: 0, message: [1; 240] };
                fill(&raw mut error, 30, 0, 0, &text);
                let bytes: Vec<u8> = error.message.iter().map(|byte| byte.cast_unsigned()).collect();
                assert_eq!(CStr::from_bytes_until_nul(&bytes).unwrap().to_str(), Ok(&*made));
            }
        }
    }
}
