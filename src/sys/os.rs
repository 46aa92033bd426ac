//! What is asked of the operating system that is neither file nor mapping: clocks, random bytes, ids, threads.

use super::fault::{self, Kind, Op};
use crate::error::{Error, Result, Status};
#[cfg(feature = "model")]
use shuttle::thread;
use std::io;
#[cfg(not(feature = "model"))]
use std::thread;

/// The realtime clock in nanoseconds since 1970 UTC, as of the kernel's last tick (1 to 10 ms): five times
/// cheaper than the exact one.
#[inline]
pub(crate) fn clock_coarse_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the call to fill; on failure it keeps its zeros.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
    // A clock before 1970 is 0; one after 2554 wraps around. Time in a log only ever goes on from its last record's.
    now.tv_sec.max(0).cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned())
}

/// Random bytes from the kernel.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let real = || {
        // SAFETY: the pointer and length are those of `bytes`; up to 256 bytes the call is whole or fails.
        match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) } {
            n if n < 0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    fault::guard(|| Op::new(Kind::Random, "", 0, N as u64), real)
        .map_err(|error| Error::from_io("cannot get random bytes", &error))?;
    Ok(bytes)
}

/// The id of this boot of the machine; zeros where the kernel does not tell.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut id = [0; 16];
    let mut digits = text.chars().filter_map(|c| c.to_digit(16));
    for byte in &mut id {
        let (high, low) = (digits.next().unwrap_or(0), digits.next().unwrap_or(0));
        *byte = u8::try_from(high << 4 | low).unwrap_or(0);
    }
    id
}

/// This process.
pub(crate) fn process_id() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// Whether the calling thread is unwinding.
pub(crate) fn is_panicking() -> bool {
    std::thread::panicking()
}

/// Whether there is a process of this number: a hint, since numbers are used again.
pub(crate) fn process_lives(process: i32) -> bool {
    if process <= 0 {
        return false;
    }
    // SAFETY: a plain call; the signal 0 is not sent, only whether it could be is looked at.
    let result = unsafe { libc::kill(process, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Lets the calling thread sleep for so long.
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}

/// A thread of the library's own. All signals are blocked in it, so that no handler of the host ever runs there.
pub(crate) struct Worker(thread::JoinHandle<()>);

impl Worker {
    /// Starts it.
    pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> Result<Self> {
        let hook = fault::inherit();
        let body = move || {
            // In the model it is no thread of its own.
            if !cfg!(feature = "model") {
                block_signals();
            }
            hook.install();
            work();
        };
        let builder = thread::Builder::new().name("seglog".to_owned()).stack_size(256 << 10);
        let started = fault::guard(|| Op::new(Kind::Spawn, "", 0, 0), || builder.spawn(body));
        started.map(Self).map_err(|error| {
            Error::new(Status::Memory, format!("cannot start the log's thread: {error}; raise the limit of threads"))
                .with_os_error(error.raw_os_error().unwrap_or(0))
        })
    }

    /// Waits for its end. `false` if it panicked.
    pub(crate) fn join(self) -> bool {
        self.0.join().is_ok()
    }
}

fn block_signals() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call fills the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled by the line above; only this thread's own mask is changed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
}
