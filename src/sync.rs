//! What threads share: std's locks and atomics. With the feature `model` they are shuttle's, which runs all threads of
//! the library in turn, in an order of its own choice, so that `tests/races.rs` can try many. With the feature `tsan`
//! the locks are such as `ThreadSanitizer` understands. It knows no log.

#[cfg(feature = "model")]
pub(crate) use kind::beds;
pub(crate) use kind::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, UserWord, fence, reached, step};
pub(crate) use locks::{Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::sync::atomic::{Ordering, compiler_fence};
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
    use super::Ordering;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};

    /// Who uses a place of `sys/places.rs`: a word like any other. In the model its stores are kept back.
    #[derive(Default)]
    pub(crate) struct UserWord(AtomicU64);

    impl UserWord {
        #[inline(always)]
        pub(crate) fn set(&self, user: u64, order: Ordering) {
            self.0.store(user, order);
        }

        #[inline(always)]
        pub(crate) fn get(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        /// In the model: what a barrier does to the stores that are kept back.
        #[inline(always)]
        pub(crate) fn show_all<'a>(_words: impl Iterator<Item = &'a Self>) -> bool {
            true
        }
    }

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
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        // Of all threads that shuttle runs in this one.
        static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// A word of which a store by a reader may stay unseen until it stores again, or a barrier shows it, as in a
    /// processor that keeps stores back behind later loads. (Shuttle's atomics do nothing of the kind.) In one step
    /// each, so these are std's.
    #[derive(Default)]
    pub(crate) struct UserWord {
        shown: std::sync::atomic::AtomicU64,
        kept_back: std::sync::atomic::AtomicU64,
    }

    impl UserWord {
        pub(crate) fn set(&self, user: u64, order: super::Ordering) {
            use shuttle::rand::Rng;
            step();
            let keeps = order == super::Ordering::Relaxed && shuttle::rand::thread_rng().r#gen::<bool>();
            self.kept_back.store(if keeps { user } else { 0 }, super::Ordering::SeqCst);
            if keeps {
                reached("places: a store that nobody sees yet");
            } else {
                self.shown.store(user, super::Ordering::SeqCst);
            }
        }

        pub(crate) fn get(&self, _order: super::Ordering) -> u64 {
            step();
            self.shown.load(super::Ordering::SeqCst)
        }

        pub(crate) fn show_all<'a>(words: impl Iterator<Item = &'a Self>) -> bool {
            step();
            for word in words {
                match word.kept_back.swap(0, super::Ordering::SeqCst) {
                    0 => {}
                    user => word.shown.store(user, super::Ordering::SeqCst),
                }
            }
            true
        }
    }

    /// Lets another thread go on, or not. (A yield would say that this one can do nothing now.)
    pub(crate) fn step() {
        AtomicBool::new(false).load(super::Ordering::SeqCst);
    }

    pub(crate) fn reached(branch: &'static str) {
        REACHED.with_borrow_mut(|reached| *reached.entry(branch).or_default() += 1);
    }

    /// Where those sleep who sleep on a word of a mapping.
    #[derive(Default)]
    pub(crate) struct Beds {
        lock: shuttle::sync::Mutex<()>,
        woken: shuttle::sync::Condvar,
    }

    impl Beds {
        /// Sleeps until woken, if `still` holds; whether it slept.
        pub(crate) fn sleep_while(&self, still: impl Fn() -> bool) -> bool {
            let guard = self.lock.lock().expect("nobody panics with it");
            let sleeps = still();
            if sleeps {
                drop(self.woken.wait(guard).expect("nobody panics with it"));
            }
            sleeps
        }

        pub(crate) fn wake(&self) {
            drop(self.lock.lock().expect("nobody panics with it"));
            self.woken.notify_all();
        }
    }

    shuttle::lazy_static! {
        static ref BEDS: Beds = Beds::default();
    }

    /// Those of the schedule that runs.
    pub(crate) fn beds() -> &'static Beds {
        &BEDS
    }

    /// How often each branch was reached by scenarios that this thread ran.
    pub fn branches() -> BTreeMap<&'static str, u64> {
        REACHED.with_borrow(BTreeMap::clone)
    }
}

#[cfg(feature = "model")]
pub use kind::branches;
