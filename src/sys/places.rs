//! Places of which each thread has one for itself, so that it takes it and leaves it without a locked instruction, on
//! cache lines that no other thread touches. Now and then somebody empties them all. It knows nothing of what is kept
//! there.
//!
//! **Why nobody else uses a value while a thread does.** A place has an owner (a thread, nobody, or whoever empties it)
//! and a word `user`. A thread that finds itself the owner stores its number in `user`, makes the light side of the
//! barrier, and looks at the owner again; only if it still is that, it goes in. Leaving, it stores 0 (release). It
//! becomes the owner where nobody is, by an exchange. Who empties, alone, makes himself the owner, makes the heavy side
//! of the barrier, and loads `user` (acquire): if it is 0 he has the value, empties it, and makes nobody the owner
//! (release); else, or if there was no barrier, he touches nothing and gives the place back to its owner.
//!
//! - *An owner and one who empties.* By the barrier either `user` is seen by him, or he is seen at the second look,
//!   which then fails. If he sees 0, then either the thread had not come, or it had left, and by release and acquire
//!   what it did in there comes before what he does.
//! - *Two threads.* Their numbers differ, and the owner changes from one to another only by one who empties and saw 0.
//!   The former owner may have looked the first time before that and store its number later; its second look fails.
//! - *That late store* may fall upon the new owner's number, so who meets that at his second look leaves `user` as it
//!   is: any number but 0 says that somebody may be in there. Nobody stores 0 but who was inside, and the former
//!   owner's 0, if it was inside before, was seen by who emptied the place. If the new owner is not inside, the number
//!   stays until it has been; until then the place is not emptied, and what is in there is kept for longer than need
//!   be.
//! - *One thread twice* (the caller's function reads): `inside` is touched behind the second look only, so by this
//!   thread alone; who finds it set goes elsewhere. Where a thread was ended inside, it stays set, and so does `user`:
//!   the place is lost. (A signal handler that reads could come and leave between the two looks, and its 0 would say
//!   that nobody is in there: the library is not called from signal handlers, where its mutexes would stand still as
//!   well.)
//! - *A thread's number* is used again when it is gone: then the next one goes on where it was.

use super::barrier::Barrier;
use super::os;
use crate::error::Result;
use crate::memory;
use crate::sync::{AtomicU64, Mutex, Ordering, PoisonError, UserWord, reached};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// For so many threads; others get none.
const PLACES: usize = if cfg!(feature = "model") { 2 } else { 32 };
const NOBODY: u64 = 0;
const EMPTYING: u64 = 1;

/// The calling thread.
#[derive(Clone, Copy)]
struct Me {
    /// No other living thread has it; neither [`NOBODY`] nor [`EMPTYING`].
    number: u64,
    not_sent: PhantomData<*const ()>,
}

impl Me {
    #[inline(always)]
    fn here() -> Self {
        Self { number: os::thread_number(), not_sent: PhantomData }
    }

    /// Where it looks first.
    #[inline(always)]
    fn first(self) -> usize {
        // Fibonacci hashing (Knuth 6.4): numbers are addresses, a multiple of a page or more apart.
        (self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 59) as usize % PLACES
    }
}

/// On cache lines of its own, so that two threads do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Place<T> {
    user: UserWord,
    kept: UnsafeCell<Kept<T>>,
}

#[derive(Default)]
struct Kept<T> {
    /// The number of the thread that is inside, or 0.
    inside: u64,
    value: T,
}

/// Whose the places are. On cache lines of their own, that are stored to when a thread comes for the first time, and
/// else only read.
#[repr(align(128))]
struct Owners([AtomicU64; PLACES]);

/// The places.
pub(crate) struct Places<T> {
    barrier: Barrier,
    /// Held by who empties them.
    emptying: Mutex<()>,
    owners: Owners,
    /// Not within what owns the places, which is to be a small piece of memory.
    all: Box<[Place<T>; PLACES]>,
}

// SAFETY: a value is used by one thread at a time, as the comment above proves.
unsafe impl<T: Send> Sync for Places<T> {}

/// This thread's value, while it uses it.
pub(crate) struct Taken<'a, T>(&'a Place<T>);

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this thread is inside, as the comment above proves, and the reference lives no longer than `self`.
        unsafe { &(*self.0.kept.get()).value }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and there is one `Taken` of it.
        unsafe { &mut (*self.0.kept.get()).value }
    }
}

impl<T> Drop for Taken<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this thread is inside, so nobody else touches this.
        let inside = unsafe { &mut (*self.0.kept.get()).inside };
        *inside = 0;
        self.0.user.set(0, Ordering::Release);
    }
}

impl<T: Default> Places<T> {
    pub(crate) fn new() -> Result<Self> {
        let owners = Owners(std::array::from_fn(|_| AtomicU64::new(NOBODY)));
        let all = memory::array("the places of threads that read")?;
        Ok(Self { barrier: Barrier::new(), emptying: Mutex::new(()), owners, all })
    }

    /// Takes this thread's value; `None` if it has none, or is using it.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<Taken<'_, T>> {
        let me = Me::here();
        let first = me.first();
        if self.owners.0[first].load(Ordering::Relaxed) == me.number {
            return self.enter(first, me);
        }
        self.enter(self.find(first, me)?, me)
    }

    /// Makes the light side's fence: behind a use that has ended, before a look at what is changed before `empty`. One
    /// of the two then sees the other: that the place is left, or that there is something new.
    #[inline(always)]
    pub(crate) fn look_behind(&self) {
        self.barrier.light();
    }

    #[inline(always)]
    fn enter(&self, n: usize, me: Me) -> Option<Taken<'_, T>> {
        let place = &self.all[n];
        place.user.set(me.number, Ordering::Relaxed);
        self.barrier.light();
        if self.owners.0[n].load(Ordering::Acquire) != me.number {
            reached("places: a number that was stored too late");
            return None;
        }
        // SAFETY: nobody but this thread comes here, as the comment above proves; where it is inside already, the other
        // reference is to the value alone.
        let inside = unsafe { &mut (*place.kept.get()).inside };
        if *inside != 0 {
            debug_assert_eq!(*inside, me.number, "two threads are in one place");
            return None;
        }
        *inside = me.number;
        Some(Taken(place))
    }

    /// This thread's place, or one that nobody has.
    #[cold]
    fn find(&self, first: usize, me: Me) -> Option<usize> {
        let mut order = (first..PLACES).chain(0..first);
        if let Some(n) = order.clone().find(|n| self.owners.0[*n].load(Ordering::Relaxed) == me.number) {
            return Some(n);
        }
        order.find(|n| {
            let owner = &self.owners.0[*n];
            owner.load(Ordering::Relaxed) == NOBODY
                && owner.compare_exchange(NOBODY, me.number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Empties all that nobody uses now, and takes them from their threads, which come again or are gone.
    pub(crate) fn empty(&self) {
        let _alone = self.emptying.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owners = [NOBODY; PLACES];
        for (owner, before) in self.owners.0.iter().zip(&mut owners) {
            if owner.load(Ordering::Acquire) != NOBODY {
                *before = owner.swap(EMPTYING, Ordering::AcqRel);
            }
        }
        if owners == [NOBODY; PLACES] {
            return;
        }
        let seen = self.barrier.heavy() && UserWord::show_all(self.all.iter().map(|place| &place.user));
        for (n, before) in owners.into_iter().enumerate().filter(|(_, before)| *before != NOBODY) {
            let mut after = before;
            if seen && self.all[n].user.get(Ordering::Acquire) == 0 {
                // SAFETY: as the comment above proves.
                let kept = unsafe { &mut *self.all[n].kept.get() };
                debug_assert_eq!(kept.inside, 0, "a place is emptied while a thread is in it");
                kept.value = T::default();
                after = NOBODY;
            }
            self.owners.0[n].store(after, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier as Meeting;

    fn both() -> [Places<u64>; 2] {
        let by_fences = Places { barrier: Barrier::of_fences(), ..Places::new().unwrap() };
        [Places::new().unwrap(), by_fences]
    }

    #[test]
    fn a_thread_finds_what_it_left_until_its_place_is_emptied() {
        for places in both() {
            *places.take().unwrap() = 7;
            std::thread::scope(|scope| {
                scope.spawn(|| assert_eq!(*places.take().unwrap(), 0, "another thread's"));
            });
            assert_eq!(*places.take().unwrap(), 7);
            places.empty();
            assert_eq!(*places.take().unwrap(), 0);
        }
    }

    #[test]
    fn who_is_in_its_place_keeps_it_and_gets_it_once() {
        for places in both() {
            let mut taken = places.take().unwrap();
            *taken = 7;
            places.empty();
            assert!(places.take().is_none(), "a second time");
            assert_eq!(*taken, 7);
            drop(taken);
            assert_eq!(*places.take().unwrap(), 7);
        }
    }

    #[test]
    fn more_threads_than_places_get_none_until_those_of_threads_that_are_gone_are_emptied() {
        for places in both() {
            let all_came = Meeting::new(PLACES);
            std::thread::scope(|scope| {
                for _ in 0..PLACES {
                    scope.spawn(|| {
                        assert!(places.take().is_some());
                        all_came.wait();
                    });
                }
            });
            // All of them are there until all came, so none has the number of another.
            let mine = os::thread_number();
            let has_one = places.owners.0.iter().any(|owner| owner.load(Ordering::Relaxed) == mine);
            assert!(!has_one && places.take().is_none());
            places.empty();
            assert!(places.take().is_some());
        }
    }

    #[test]
    fn nobody_is_in_a_place_that_is_emptied() {
        for places in both() {
            std::thread::scope(|scope| {
                let readers: Vec<_> = (0..3)
                    .map(|_| {
                        scope.spawn(|| {
                            for n in 1..20_000 {
                                let Some(mut taken) = places.take() else { continue };
                                *taken = n;
                                std::hint::spin_loop();
                                assert_eq!(*taken, n, "it was emptied meanwhile");
                            }
                        })
                    })
                    .collect();
                while !readers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                    places.empty();
                }
            });
        }
    }
}
