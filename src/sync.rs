//! What threads share: std's locks and atomics. With the feature `model` they are shuttle's, which runs all threads of
//! the library in turn, in an order of its own choice, so that `tests/races.rs` can try many. With the feature `tsan`
//! the locks are such as `ThreadSanitizer` understands. It knows no log.

pub(crate) use kind::{AtomicBool, AtomicU64, AtomicUsize, fence, reached, step};
pub(crate) use locks::{Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::sync::{Arc, PoisonError, TryLockError};

#[cfg(not(any(feature = "model", feature = "tsan")))]
use std::sync as locks;

#[cfg(feature = "model")]
mod locks {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    // Nobody waits inside of it, so shuttle need not know it.
    pub(crate) use std::sync::OnceLock;
}

#[cfg(all(feature = "tsan", not(feature = "model")))]
#[path = "sync_tsan.rs"]
mod locks;

#[cfg(not(feature = "model"))]
mod kind {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};

    /// A place where the model may let another thread go on: before a system call, and before each word of a mapping.
    /// Here it is nothing.
    #[inline(always)]
    pub(crate) fn step() {}

    /// Counts a branch that the model must reach. Here it is nothing.
    #[inline(always)]
    pub(crate) fn reached(_branch: &'static str) {}
}

#[cfg(feature = "model")]
mod kind {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        // Of all threads that shuttle runs in this one.
        static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Lets another thread go on, or not. (A yield would say that this one can do nothing now.)
    pub(crate) fn step() {
        AtomicBool::new(false).load(super::Ordering::SeqCst);
    }

    pub(crate) fn reached(branch: &'static str) {
        REACHED.with_borrow_mut(|reached| *reached.entry(branch).or_default() += 1);
    }

    /// How often each branch was reached by scenarios that this thread ran.
    pub fn branches() -> BTreeMap<&'static str, u64> {
        REACHED.with_borrow(BTreeMap::clone)
    }
}

#[cfg(feature = "model")]
pub use kind::branches;
