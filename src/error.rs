//! Why a call failed: one variant a status of the C ABI, each with the operating system's error number, the record
//! offset concerned and one sentence. The only list of statuses, their numbers, names and texts.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The offset that no record has: 2^64 - 1.
pub const NO_OFFSET: u64 = u64::MAX;

/// What an [`Error`] carries beside its kind.
#[derive(Debug, Clone)]
pub struct Detail {
    /// One sentence: what failed, on which file, and what to do.
    pub message: String,
    /// The operating system's error number, 0 if none.
    pub os_error: i32,
    /// The record offset concerned, [`NO_OFFSET`] if none.
    pub offset: u64,
    /// The offset of a record that was appended although its sync failed: it exists, do not append it again.
    pub published: Option<u64>,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Declares the error enum, its statuses, names and texts from one list (after libuv's `UV_ERRNO_MAP`).
macro_rules! statuses {
    ($($variant:ident $name:literal $value:literal $text:literal)*) => {
        /// Why a call failed; one variant a status.
        #[expect(clippy::doc_markdown, reason = "the sentences are what C programs get, too")]
        #[derive(Debug, Clone, thiserror::Error)]
        pub enum Error {
            $(#[doc = $text] #[error("{0}")] $variant(Box<Detail>),)*
        }

        /// Which [`Error`] to make.
        #[expect(clippy::doc_markdown, reason = "the sentences are what C programs get, too")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Status {
            $(#[doc = $text] $variant = $value,)*
        }

        impl Error {
            /// Makes an error of this status out of one sentence.
            pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
                let detail = Box::new(Detail {
                    message: message.into(), os_error: 0, offset: NO_OFFSET, published: None,
                });
                match status { $(Status::$variant => Self::$variant(detail),)* }
            }

            /// Its status.
            pub fn status(&self) -> Status {
                match self { $(Self::$variant(_) => Status::$variant,)* }
            }

            /// What it carries.
            pub fn detail(&self) -> &Detail {
                match self { $(Self::$variant(detail) => detail,)* }
            }

            fn detail_mut(&mut self) -> &mut Detail {
                match self { $(Self::$variant(detail) => detail,)* }
            }
        }

        /// Number, name and sentence of every status that is a failure.
        const FAILURES: &[(i32, &std::ffi::CStr, &std::ffi::CStr)] = &[
            $(($value, c_str(concat!($name, "\0")), c_str(concat!($text, "\0"))),)*
        ];
    };
}

const fn c_str(text: &str) -> &std::ffi::CStr {
    match std::ffi::CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
}

statuses! {
    Argument "LOG_E_ARGUMENT" 10 "NULL, a bad configuration value, or a misused handle."
    TooLarge "LOG_E_TOO_LARGE" 11 "The record is longer than record_max_bytes, or the batch longer than 1 GiB."
    Buffer "LOG_E_BUFFER" 12 "The caller's buffer is too small; the length that it takes was written."
    Trimmed "LOG_E_TRIMMED" 13 "The offset lies before the first record: it was removed."
    Beyond "LOG_E_BEYOND" 14 "The offset lies at or past the next one to be written."
    ReadOnly "LOG_E_READ_ONLY" 15 "A write on a log that was opened read-only."
    Conflict "LOG_E_CONFLICT" 16 "The log's next offset is not the expected one."
    NotFound "LOG_E_NOT_FOUND" 20 "There is no such directory, no log in it, or nothing of that name."
    Locked "LOG_E_LOCKED" 21 "Another handle, in this or another process, writes this log."
    Exists "LOG_E_EXISTS" 22 "The place for a backup is not empty."
    Io "LOG_E_IO" 30 "The operating system failed; os_error has its error number."
    NoSpace "LOG_E_NO_SPACE" 31
        "The disk is full; nothing was changed, and the same call works again once there is room."
    Memory "LOG_E_MEMORY" 32 "Out of memory, address space, or file handles."
    Corrupt "LOG_E_CORRUPT" 40 "Bytes that were once acknowledged have changed; nothing was repaired or cut."
    Format "LOG_E_FORMAT" 41 "Not a seglog, or written by a newer format than this library reads."
    Lost "LOG_E_LOST" 42 "A repair removed this record's rotten bytes; its offset stays taken."
    Poisoned "LOG_E_POISONED" 50
        "An earlier write or sync failed: this handle writes no more; close it and open the log again."
    Forked "LOG_E_FORKED" 51 "The handle was opened before fork(): the child must open its own."
    Bug "LOG_E_BUG" 90 "A defect of the library; the handle writes no more."
}

/// The answers that are no failure.
const ANSWERS: &[(i32, &std::ffi::CStr, &std::ffi::CStr)] = &[
    (0, c"LOG_OK", c"Done."),
    (1, c"LOG_END", c"There is no record there yet."),
    (2, c"LOG_TIMEOUT", c"A wait ended before what it waited for."),
    (3, c"LOG_STOPPED", c"The caller's progress function asked to stop."),
];

fn lookup(number: i32) -> Option<&'static (i32, &'static std::ffi::CStr, &'static std::ffi::CStr)> {
    ANSWERS.iter().chain(FAILURES).find(|entry| entry.0 == number)
}

/// The name of a status number, as the header spells it.
pub(crate) fn status_name(number: i32) -> &'static std::ffi::CStr {
    lookup(number).map_or(c"LOG_STATUS_UNKNOWN", |entry| entry.1)
}

/// One sentence on a status number.
pub(crate) fn status_text(number: i32) -> &'static std::ffi::CStr {
    lookup(number).map_or(c"This version of the library knows no such status.", |entry| entry.2)
}

/// The end of a message that says that the handle is of no use any more.
pub(crate) const OPEN_AGAIN: &str = "close and open the log again";

impl Error {
    /// An error from a failed system call, its status chosen by the error number.
    /// `what` says what failed on which file, e.g. "cannot write 'x.store' at byte 4096".
    pub(crate) fn from_io(what: impl fmt::Display, error: &io::Error) -> Self {
        let number = error.raw_os_error().unwrap_or(0);
        let (status, hint) = match number {
            libc::ENOSPC | libc::EDQUOT => (Status::NoSpace, "; make room and call again, nothing was changed"),
            libc::ENOMEM => (Status::Memory, "; out of memory"),
            libc::EMFILE | libc::ENFILE => (Status::Memory, "; raise the limit of open files"),
            libc::ENAMETOOLONG => (Status::Argument, "; use a shorter path"),
            libc::ENOENT => (Status::NotFound, "; check the path"),
            libc::ENOTDIR => (Status::NotFound, "; the path must name a directory"),
            libc::EACCES | libc::EPERM => (Status::Io, "; check owner and mode of the directory and its files"),
            libc::EROFS => (Status::Io, "; the file system is mounted read-only"),
            _ if error.kind() == io::ErrorKind::OutOfMemory => (Status::Memory, "; out of memory"),
            _ => (Status::Io, "; check the disk, then close and open the log again"),
        };
        let mut made = Self::new(status, format!("{what}: {error}{hint}"));
        made.detail_mut().os_error = number;
        made
    }

    /// The same error with the record offset concerned.
    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.detail_mut().offset = offset;
        self
    }

    /// The same error for a record that was appended at `offset` although its sync failed.
    pub(crate) fn published_at(mut self, offset: u64) -> Self {
        let detail = self.detail_mut();
        detail.published = Some(offset);
        detail.offset = offset;
        self
    }

    /// The same error under the number of the system call that is behind it.
    pub(crate) fn with_os_error(mut self, number: i32) -> Self {
        self.detail_mut().os_error = number;
        self
    }
}

/// A path as messages name it: of a long one both ends, so that there is room for what happened to it.
pub(crate) fn shown(path: &Path) -> String {
    const WHOLE: usize = 160;
    const BEGINNING: usize = 40;
    const END: usize = 110;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= WHOLE {
        return path.display().to_string();
    }
    let is_inside = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    let beginning = (0..=BEGINNING).rev().find(|at| !is_inside(*at)).unwrap_or(0);
    let end = (bytes.len() - END..bytes.len()).find(|at| !is_inside(*at)).unwrap_or(bytes.len());
    format!("{}...{}", String::from_utf8_lossy(&bytes[..beginning]), String::from_utf8_lossy(&bytes[end..]))
}

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_name_and_a_sentence() {
        for (number, name, text) in ANSWERS.iter().chain(FAILURES) {
            assert!(name.to_str().unwrap().starts_with("LOG_"), "{number}");
            assert!(text.to_str().unwrap().ends_with('.'), "{number}");
            assert_eq!(status_name(*number), *name);
        }
        assert_eq!(status_name(-7), c"LOG_STATUS_UNKNOWN");
    }

    #[test]
    fn of_a_long_path_both_ends_are_shown() {
        let path = |text: &str| shown(Path::new(text));
        assert_eq!(path("/a/log"), "/a/log");
        assert_eq!(path(&"x".repeat(160)), "x".repeat(160));
        assert_eq!(path(&"x".repeat(4095)), format!("{}...{}", "x".repeat(40), "x".repeat(110)));
        // Not cut inside a letter, wherever one stands.
        for before in 0..4 {
            let text = path(&format!("{}{}", "a".repeat(before), "\u{20AC}".repeat(1000)));
            assert!(text.len() <= 153 && text.len() > 145 && !text.contains('\u{FFFD}'), "{text}");
        }
        let bytes = [b'/'; 1].iter().chain(&[0xFF; 300]).copied().collect::<Vec<_>>();
        assert!(shown(Path::new(std::ffi::OsStr::from_bytes(&bytes))).contains("..."));
    }

    #[test]
    fn disk_full_is_told_from_other_failures() {
        let of = |n| Error::from_io("x", &io::Error::from_raw_os_error(n)).status();
        assert_eq!(of(libc::ENOSPC), Status::NoSpace);
        assert_eq!(of(libc::EDQUOT), Status::NoSpace);
        assert_eq!(of(libc::EIO), Status::Io);
        assert_eq!(of(libc::EMFILE), Status::Memory);
    }
}
