//! What is asked of the operating system that is neither file nor mapping: clocks, random bytes, ids, threads.

use super::fault::{self, Kind, Op};
use crate::error::{Error, Result, Status};
#[cfg(feature = "model")]
use shuttle::thread;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
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
    if let Some(id) = fault::boot_id() {
        return id;
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut id = [0; 16];
    let mut digits = text.chars().filter_map(|c| c.to_digit(16));
    for byte in &mut id {
        let (high, low) = (digits.next().unwrap_or(0), digits.next().unwrap_or(0));
        *byte = u8::try_from(high << 4 | low).unwrap_or(0);
    }
    id
}

/// Lets those threads go on that are ready to, before this one does.
pub(crate) fn let_others_run() {
    thread::yield_now();
}

/// This process.
pub(crate) fn process_id() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// A number that no other living thread has, at the cost of a load: the address by which its thread-local data are
/// found. Not 0, 1, or odd.
#[inline(always)]
pub(super) fn thread_number() -> u64 {
    #[cfg(feature = "model")]
    {
        thread_id() << 1 | 1 << 63
    }
    #[cfg(all(not(feature = "model"), target_arch = "x86_64"))]
    {
        let number;
        // SAFETY: the word at fs:0 is its own address in every thread (ELF Handling for Thread-Local Storage, 4.4.6).
        unsafe {
            std::arch::asm!("mov {}, fs:0", out(reg) number, options(pure, readonly, nostack, preserves_flags));
        }
        number
    }
    #[cfg(all(not(feature = "model"), target_arch = "aarch64"))]
    {
        let number;
        // SAFETY: a program may read this register, which points to the thread's own data (as above, 4.4.1 on Arm).
        unsafe {
            std::arch::asm!("mrs {}, tpidr_el0", out(reg) number, options(pure, nomem, nostack, preserves_flags));
        }
        number
    }
    #[cfg(not(any(feature = "model", target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // SAFETY: a plain call without arguments, which cannot fail.
        unsafe { libc::pthread_self() as u64 }
    }
}

/// A number that no other living thread has, as the kernel knows it.
pub(crate) fn thread_id() -> u64 {
    #[cfg(feature = "model")]
    {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        thread::current().id().hash(&mut hasher);
        hasher.finish()
    }
    #[cfg(not(feature = "model"))]
    {
        // SAFETY: a plain call without arguments, which cannot fail.
        u64::from(unsafe { libc::gettid() }.unsigned_abs())
    }
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
    #[cfg(not(feature = "model"))]
    thread::sleep(time);
    // In the model nothing takes time.
    #[cfg(feature = "model")]
    {
        let _ = time;
        thread::yield_now();
    }
}

/// An event fd: it can be polled, and is readable from a ring until its 8 bytes are read.
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// Makes one, on which neither side ever blocks.
    pub(crate) fn new() -> Result<Self> {
        let real = || {
            // SAFETY: a plain call.
            match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
                fd if fd < 0 => Err(io::Error::last_os_error()),
                // SAFETY: the call has just made this descriptor, and nobody else owns it.
                fd => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })),
            }
        };
        fault::guard(|| Op::new(Kind::Event, "", 0, 0), real)
            .map_err(|error| Error::from_io("cannot make an event fd", &error))
    }

    /// Its number.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes it readable. One that is full is that already.
    pub(crate) fn ring(&self) {
        let one = 1_u64;
        let real = || {
            // SAFETY: the descriptor is open, and the call reads the 8 bytes of `one`.
            match unsafe { libc::write(self.number(), (&raw const one).cast(), 8) } {
                n if n < 0 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        let _ = fault::guard(|| Op::new(Kind::Event, "", 0, 8), real);
    }
}

/// A thread of the library's own. All signals are blocked in it, so that no handler of the host ever runs there.
pub(crate) struct Worker(thread::JoinHandle<()>);

impl Worker {
    /// Starts it.
    pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> Result<Self> {
        let hook = fault::inherit();
        let body = move || {
            hook.install();
            work();
        };
        let builder = thread::Builder::new().name("seglog".to_owned()).stack_size(256 << 10);
        // A thread begins with its maker's mask: were it to block signals itself, one could come before.
        let mask = BlockedSignals::here();
        let started = fault::guard(|| Op::new(Kind::Spawn, "", 0, 0), || builder.spawn(body));
        drop(mask);
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

/// The time in which all signals are blocked in this thread; those that come meanwhile are delivered behind it.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn here() -> Self {
        let (mut all, mut before) = (std::mem::MaybeUninit::uninit(), std::mem::MaybeUninit::uninit());
        // SAFETY: the call fills the set that it is given.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: as above; it stays as it is if the next call should fail.
        unsafe { libc::sigemptyset(before.as_mut_ptr()) };
        // SAFETY: both sets were filled above; only this thread's own mask is changed, and put back.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: it was filled above.
        Self(unsafe { before.assume_init() })
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}
