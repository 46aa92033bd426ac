//! The event fd of a log, by which a host's event loop hears of new records. It is made when it is first asked for, and
//! whoever publishes, or sees that something was published, rings it. It knows no log.

use crate::error::Result;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::sys::EventFd;

/// It, if there is one.
#[derive(Default)]
pub(crate) struct Event(Mutex<Option<EventFd>>);

impl Event {
    fn lock(&self) -> MutexGuard<'_, Option<EventFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of its file descriptor, if it was made before.
    pub(crate) fn number(&self) -> Option<i32> {
        self.lock().as_ref().map(EventFd::number)
    }

    /// Makes it, unless there is one. It is readable at once, since nobody knows what its owner has seen.
    pub(crate) fn make(&self) -> Result<i32> {
        let mut event = self.lock();
        if let Some(event) = &*event {
            return Ok(event.number());
        }
        let made = EventFd::new()?;
        made.ring();
        Ok(event.insert(made).number())
    }

    /// There may be something new.
    pub(crate) fn ring(&self) {
        if let Some(event) = &*self.lock() {
            event.ring();
        }
    }

    /// Closes it.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }
}
