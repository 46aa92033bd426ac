//! A background thread of a log that is open for writing. There are two: the keeper empties the ring and makes the
//! next segment, the syncer syncs full segments, so that nobody who appends waits for the disk. Each does what it is
//! given to do whenever it is called, and knows nothing of a log.

use crate::error::Result;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use crate::sys::Worker;
use std::time::Duration;

#[derive(Default)]
struct Wishes {
    work: bool,
    stop: bool,
}

/// The bell by which the keeper is called.
#[derive(Default)]
pub(crate) struct Bell {
    wishes: Mutex<Wishes>,
    rung: Condvar,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is work.
    pub(crate) fn ring(&self) {
        self.lock().work = true;
        self.rung.notify_one();
    }

    fn stop(&self) {
        self.lock().stop = true;
        self.rung.notify_one();
    }

    /// Waits until there is work, or the interval has passed; `false` when it is time to stop.
    fn wait(&self, interval: Option<Duration>) -> bool {
        let wishes = self.lock();
        let idle = |wishes: &mut Wishes| !wishes.work && !wishes.stop;
        let mut wishes = match interval {
            None => self.rung.wait_while(wishes, idle).unwrap_or_else(PoisonError::into_inner),
            Some(interval) => {
                self.rung.wait_timeout_while(wishes, interval, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
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
    /// Starts it; it calls `work` each time that the bell was rung, and after each interval.
    pub(crate) fn start(
        bell: &Arc<Bell>,
        interval: Option<Duration>,
        work: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let waiting = Arc::clone(bell);
        let worker = Worker::start(move || {
            while waiting.wait(interval) {
                work();
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
