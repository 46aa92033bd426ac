//! What becomes of this process when it forks. A stamp tells a child from its parent at the cost of a load: it lies in
//! a page that the kernel gives to a child as zeros. The descriptors by which locks are held are closed in a child, so
//! that it does not hold them when its parent has died; and what stands behind the one lock here is whole in a child,
//! whatever other threads did when the process forked.
//!
//! What is done in a child before `fork` returns there: nothing that takes memory, a lock or time.

use super::fault::{self, Kind, Op};
use super::file::{File, Lockable};
use crate::error::{Error, Result, Status};
use std::cell::UnsafeCell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// What the stamp is before there is a page for it.
static NO_STAMP: AtomicU64 = AtomicU64::new(0);
/// Where the stamp stands: in `NO_STAMP`, or in a page that is never unmapped.
static STAMP: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const NO_STAMP).cast_mut());

/// This process's stamp, which no process has that it was forked from; 0 until [`stamp_here`] was called in it.
#[inline(always)]
pub(crate) fn stamp() -> u64 {
    place_of_stamp().load(Ordering::Relaxed)
}

#[inline(always)]
fn place_of_stamp() -> &'static AtomicU64 {
    // SAFETY: the pointer is that of a static or of a page that stays for ever; both are touched as an atomic only.
    unsafe { &*STAMP.load(Ordering::Acquire) }
}

/// This process's stamp, made if it has none. The first call makes the page, and has children deal with locks.
pub(crate) fn stamp_here() -> Result<u64> {
    let mut held = Held::take();
    let state = held.state();
    if !state.is_ready {
        make_page()?;
        // SAFETY: a plain call; the functions stay, since the library is never unloaded (build.rs).
        let refused = unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
        if refused != 0 {
            return Err(no_page(&io::Error::from_raw_os_error(refused)));
        }
        state.is_ready = true;
    }
    let stamp = place_of_stamp();
    if stamp.load(Ordering::Relaxed) == 0 {
        state.last_stamp += 1;
        stamp.store(state.last_stamp, Ordering::Relaxed);
    }
    Ok(state.last_stamp)
}

/// The stamp that was made last in this process or in one that it was forked from.
pub(crate) fn last_stamp() -> u64 {
    Held::take().state().last_stamp
}

fn no_page(error: &io::Error) -> Error {
    Error::from_io("cannot prepare for a fork of this process", error)
}

fn make_page() -> Result<()> {
    const BYTES: usize = 4096;
    if STAMP.load(Ordering::Acquire) != (&raw const NO_STAMP).cast_mut() {
        return Ok(());
    }
    let real = || {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that is there.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, flags, -1, 0) };
        if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(page) }
    };
    let page = fault::guard(|| Op::new(Kind::Map, "", 0, BYTES as u64), real).map_err(|error| no_page(&error))?;
    // A kernel before 4.14 does not know it; then `in_child` alone clears the stamp, for all children but those of a
    // bare clone().
    // SAFETY: the page was mapped by the lines above, and nobody has written to it yet.
    unsafe { libc::madvise(page, BYTES, libc::MADV_WIPEONFORK) };
    STAMP.store(page.cast(), Ordering::Release);
    Ok(())
}

/// What stands behind the lock here.
struct State {
    is_ready: bool,
    last_stamp: u64,
    /// Descriptors by which locks are held.
    locks: Vec<RawFd>,
}

struct Shared<T>(UnsafeCell<T>);

// SAFETY: what is in there is touched by who holds the lock only; the lock itself by its own functions only.
unsafe impl<T> Sync for Shared<T> {}

static LOCK: Shared<libc::pthread_mutex_t> = Shared(UnsafeCell::new(UNLOCKED));
#[cfg(not(feature = "model"))]
const UNLOCKED: libc::pthread_mutex_t = libc::PTHREAD_MUTEX_INITIALIZER;
/// All threads of a schedule are one, which may take it again where one of them stopped that holds it. Schedules that
/// run side by side keep each other out: where they did not, two first opens at once gave two stamps, and no lock went
/// up any more.
#[cfg(feature = "model")]
const UNLOCKED: libc::pthread_mutex_t = libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static STATE: Shared<State> = Shared(UnsafeCell::new(State { is_ready: false, last_stamp: 0, locks: Vec::new() }));
/// The thread that holds the lock, which is the same in a child as it was in its parent; 0 if none does.
static HOLDER: AtomicU64 = AtomicU64::new(0);
/// The thread that forks holds the lock: it does so in a signal handler.
static FORKED_WITHIN: AtomicBool = AtomicBool::new(false);

fn this_thread() -> u64 {
    // SAFETY: a plain call.
    unsafe { libc::pthread_self() }
}

fn lock() {
    // SAFETY: a mutex that was made by its initializer; it is not held by this thread, as each caller sees to.
    unsafe { libc::pthread_mutex_lock(LOCK.0.get()) };
    HOLDER.store(this_thread(), Ordering::Relaxed);
}

fn unlock() {
    HOLDER.store(0, Ordering::Relaxed);
    // SAFETY: this thread locked it, or in a child the thread that it is a copy of.
    unsafe { libc::pthread_mutex_unlock(LOCK.0.get()) };
}

/// The lock, held; a fork waits until it is free.
struct Held(&'static Shared<State>);

impl Held {
    fn take() -> Self {
        lock();
        Self(&STATE)
    }

    fn state(&mut self) -> &mut State {
        // SAFETY: the lock is held as long as `self` is there, and `self` is borrowed by whoever has this.
        unsafe { &mut *self.0.0.get() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        unlock();
    }
}

extern "C" fn before_fork() {
    if HOLDER.load(Ordering::Relaxed) == this_thread() {
        FORKED_WITHIN.store(true, Ordering::Relaxed);
    } else {
        lock();
    }
}

extern "C" fn in_parent() {
    if !FORKED_WITHIN.swap(false, Ordering::Relaxed) {
        unlock();
    }
}

extern "C" fn in_child() {
    place_of_stamp().store(0, Ordering::Relaxed);
    if FORKED_WITHIN.swap(false, Ordering::Relaxed) {
        // What this thread was about to change is half changed.
        return;
    }
    // `before_fork` took the lock for this thread.
    let mut held = Held(&STATE);
    let locks = &mut held.state().locks;
    for fd in locks.iter() {
        // SAFETY: the child's own copy of a descriptor; the file that owned it is never used or dropped in a child.
        unsafe { libc::close(*fd) };
    }
    locks.clear();
}

/// A value that is whole in a child, whoever used it when its parent forked.
pub(crate) struct ForkSafe<T>(Shared<T>);

impl<T: Send> ForkSafe<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Shared(UnsafeCell::new(value)))
    }

    /// Lets `work` use it, alone. It must be short, and use no other of these.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let _held = Held::take();
        // SAFETY: one lock stands before all of these, and it is held.
        work(unsafe { &mut *self.0.0.get() })
    }
}

/// A file for the sake of its lock, which goes up when this is dropped. A child that was forked meanwhile, be it before
/// it was locked, has no copy of its descriptor, and leaves the lock alone.
pub(crate) struct LockFile<T: Lockable = File> {
    file: ManuallyDrop<T>,
    stamp: u64,
}

impl<T: Lockable> LockFile<T> {
    /// The file that `open` opens.
    pub(crate) fn open(open: impl FnOnce() -> Result<T>) -> Result<Self> {
        let stamp = stamp_here()?;
        // No fork comes between its opening and its being known.
        let mut held = Held::take();
        held.state()
            .locks
            .try_reserve(1)
            .map_err(|_| Error::new(Status::Memory, "out of memory for the log's lock; free some and call again"))?;
        let file = open()?;
        held.state().locks.push(file.fd());
        Ok(Self { file: ManuallyDrop::new(file), stamp })
    }

    /// The file.
    pub(crate) fn file(&self) -> &T {
        &self.file
    }
}

impl<T: Lockable> Drop for LockFile<T> {
    fn drop(&mut self) {
        if stamp() != self.stamp {
            // In a child, which has closed its copy: the number may be another file's by now.
            return;
        }
        let mut held = Held::take();
        let fd = self.file.fd();
        held.state().locks.retain(|known| *known != fd);
        self.file.unlock();
        // SAFETY: it is dropped once, here, and not used any more.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// Memory for one `T`, which is never given back.
pub(crate) fn place_for_ever<T>() -> Option<NonNull<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout has a size, as was just checked.
    NonNull::new(unsafe { std::alloc::alloc(std::alloc::Layout::new::<T>()) }).map(NonNull::cast)
}
