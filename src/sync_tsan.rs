//! std's locks in such a form that `ThreadSanitizer` sees who goes on behind whom. It looks only at code that was
//! compiled for it, which std's slow paths were not. So each lock has a word beside it, stored before the lock is given
//! up and loaded after it was taken, which says the same in code that it looks at. For `make tsan` only.
#![expect(clippy::unnecessary_wraps, reason = "the face of std's locks")]

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult, WaitTimeoutResult};
use std::time::Duration;

/// Stored, then loaded: what was done before the one is seen after the other.
#[derive(Default)]
struct Word(AtomicBool);

impl Word {
    fn give(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) {
        self.0.load(Ordering::Acquire);
    }
}

#[derive(Default)]
pub(crate) struct Mutex<T> {
    word: Word,
    inner: std::sync::Mutex<T>,
}

pub(crate) struct MutexGuard<'a, T> {
    word: &'a Word,
    /// `None` while it waits at a [`Condvar`].
    inner: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { word: Word::default(), inner: std::sync::Mutex::new(value) }
    }

    fn guard<'a>(&'a self, inner: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        taken(&self.word, inner)
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.inner.lock() {
            Ok(inner) => Ok(self.guard(inner)),
            Err(error) => Err(PoisonError::new(self.guard(error.into_inner()))),
        }
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(self.guard(inner)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(error)) => {
                Err(TryLockError::Poisoned(PoisonError::new(self.guard(error.into_inner()))))
            }
        }
    }

    pub(crate) fn get_mut(&mut self) -> LockResult<&mut T> {
        self.inner.get_mut()
    }
}

fn taken<'a, T>(word: &'a Word, inner: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    word.take();
    MutexGuard { word, inner: Some(inner) }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.word.give();
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("it is held")
    }
}

#[derive(Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let word = guard.word;
        word.give();
        let inner = guard.inner.take().expect("it is held");
        Ok(taken(word, self.0.wait(inner).unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let word = guard.word;
        word.give();
        let inner = guard.inner.take().expect("it is held");
        let (inner, result) = self.0.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner);
        Ok((taken(word, inner), result))
    }

    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        // The time begins anew after each false alarm, which no test minds.
        loop {
            let time = if condition(&mut guard) { time } else { Duration::ZERO };
            let (next, result) = self.wait_timeout(guard, time)?;
            guard = next;
            if result.timed_out() || !condition(&mut guard) {
                return Ok((guard, result));
            }
        }
    }
}

pub(crate) struct OnceLock<T> {
    word: Word,
    inner: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { word: Word::default(), inner: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        let value = self.inner.get()?;
        // Whoever set it says so next.
        while !self.word.0.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        Some(value)
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.inner.set(value).inspect(|()| self.word.give())
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let mut mine = false;
        let value = self.inner.get_or_init(|| {
            mine = true;
            make()
        });
        if mine {
            self.word.give();
            return value;
        }
        self.get().unwrap_or(value)
    }
}
