//! Sleeping on a word of a mapping until somebody wakes whoever sleeps there, in this process or in another one that
//! maps the same file. It knows no mapping: it is given the word.

use super::fault::{self, Kind, Op};
use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slept {
    /// Somebody woke the sleeper, or a signal did.
    Woken,
    /// The time is up.
    TimeUp,
    /// The word was another one already.
    NotAtAll,
}

/// Sleeps for so long at most while the first four bytes of the word are those of `value`, until somebody wakes one of
/// these bits.
pub(super) fn sleep(word: &AtomicU64, value: u64, bits: u32, time: Duration) -> io::Result<Slept> {
    fault::guard(|| Op::new(Kind::Sleep, "", 0, 0), || imp::sleep(word, value, bits, time))
}

/// Wakes all who sleep on this word for one of these bits.
pub(super) fn wake(word: &AtomicU64, bits: u32) -> io::Result<()> {
    fault::guard(|| Op::new(Kind::Wake, "", 0, 0), || imp::wake(word, bits))
}

#[cfg(not(feature = "model"))]
mod imp {
    use super::{AtomicU64, Duration, Slept, io};

    /// What the kernel compares: the first half of a little-endian word, as this machine reads four bytes.
    fn first_half(value: u64) -> u32 {
        (value as u32).to_le()
    }

    pub(super) fn sleep(word: &AtomicU64, value: u64, bits: u32, time: Duration) -> io::Result<Slept> {
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `until` is a valid timespec for the call to fill; on failure it keeps its zeros, and nobody sleeps.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut until) };
        let nanoseconds = until.tv_nsec + libc::c_long::from(time.subsec_nanos().cast_signed());
        let seconds = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
        until.tv_sec = until.tv_sec.saturating_add(seconds).saturating_add(nanoseconds / 1_000_000_000);
        until.tv_nsec = nanoseconds % 1_000_000_000;
        let (word, value) = (std::ptr::from_ref(word), first_half(value));
        let (second, operation) = (std::ptr::null::<u32>(), libc::FUTEX_WAIT_BITSET);
        // SAFETY: the word is aligned and stays mapped during the call; the kernel reads four bytes of it and the time.
        let result = unsafe { libc::syscall(libc::SYS_futex, word, operation, value, &raw const until, second, bits) };
        if result >= 0 {
            return Ok(Slept::Woken);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(Slept::NotAtAll),
            Some(libc::EINTR) => Ok(Slept::Woken),
            Some(libc::ETIMEDOUT) => Ok(Slept::TimeUp),
            _ => Err(error),
        }
    }

    pub(super) fn wake(word: &AtomicU64, bits: u32) -> io::Result<()> {
        let (word, none) = (std::ptr::from_ref(word), std::ptr::null::<u32>());
        let (operation, all) = (libc::FUTEX_WAKE_BITSET, libc::c_int::MAX);
        // SAFETY: the word is aligned and mapped; the kernel only looks where it lies.
        let result = unsafe { libc::syscall(libc::SYS_futex, word, operation, all, none, none, bits) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// In the model whoever sleeps waits at one condition of shuttle's for all words, and for ever: a wake-up that is lost
/// is a thread that never goes on, which shuttle reports.
#[cfg(feature = "model")]
mod imp {
    use super::{AtomicU64, Duration, Slept, io};
    use crate::sync::beds;
    use std::sync::atomic::Ordering;

    pub(super) fn sleep(word: &AtomicU64, value: u64, _bits: u32, _time: Duration) -> io::Result<Slept> {
        let slept = beds().sleep_while(|| u64::from_le(word.load(Ordering::SeqCst)) == value);
        Ok(if slept { Slept::Woken } else { Slept::NotAtAll })
    }

    pub(super) fn wake(_word: &AtomicU64, _bits: u32) -> io::Result<()> {
        beds().wake();
        Ok(())
    }
}
