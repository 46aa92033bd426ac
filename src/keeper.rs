//! A background thread of a log that is open for writing. There are two: the keeper empties the ring and makes the
//! next segment, the syncer syncs full segments, so that nobody who appends waits for the disk. Each does what it is
//! given to do whenever it is called, and knows nothing of a log.

use crate::error::Result;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Ordering, PoisonError};
use crate::sys::Worker;
use std::time::Duration;

#[derive(Default)]
struct Wishes {
    work: bool,
    stop: bool,
    /// The keeper waits for one of them.
    waits: bool,
}

/// The bell by which the keeper is called.
#[derive(Default)]
pub(crate) struct Bell {
    wishes: Mutex<Wishes>,
    rung: Condvar,
    /// The keeper comes by itself.
    comes: AtomicBool,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is work. It takes a system call only where the keeper waits.
    pub(crate) fn ring(&self) {
        let mut wishes = self.lock();
        wishes.work = true;
        if std::mem::take(&mut wishes.waits) {
            drop(wishes);
            self.rung.notify_one();
        }
    }

    /// There is work, for which a keeper that comes by itself need not be called.
    pub(crate) fn ring_unless_it_comes(&self) {
        if !self.comes.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    fn stop(&self) {
        self.lock().stop = true;
        self.rung.notify_one();
    }

    /// Waits until there is work, or the interval has passed; `false` when it is time to stop.
    fn wait(&self, interval: Option<Duration>) -> bool {
        if interval != Some(Duration::ZERO) {
            self.comes.store(interval.is_some(), Ordering::Relaxed);
        }
        let mut wishes = self.lock();
        let idle = |wishes: &mut Wishes| !wishes.work && !wishes.stop;
        wishes.waits = true;
        let mut wishes = match interval {
            Some(Duration::ZERO) => wishes,
            None => self.rung.wait_while(wishes, idle).unwrap_or_else(PoisonError::into_inner),
            Some(interval) => {
                self.rung.wait_timeout_while(wishes, interval, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        wishes.waits = false;
        wishes.work = false;
        !wishes.stop
    }
}

/// The running thread.
pub(crate) struct Keeper {
    bell: Arc<Bell>,
    worker: Worker,
}

impl Keeper {
    /// Starts it; it calls `work` each time that the bell was rung, and when the time has passed that `work` said last,
    /// `first` to begin with.
    pub(crate) fn start(
        bell: &Arc<Bell>,
        first: Option<Duration>,
        mut work: impl FnMut() -> Option<Duration> + Send + 'static,
    ) -> Result<Self> {
        let waiting = Arc::clone(bell);
        let worker = Worker::start(move || {
            let mut interval = first;
            while waiting.wait(interval) {
                interval = work();
            }
        })?;
        Ok(Self { bell: Arc::clone(bell), worker })
    }

    /// Stops it and waits until it has. `false` if it panicked.
    pub(crate) fn stop(self) -> bool {
        self.bell.stop();
        self.worker.join()
    }
}
