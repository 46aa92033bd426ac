//! The calls of a handle that wait: for a record, for durability, and the event fd for who waits elsewhere.

use crate::error::{Error, NO_OFFSET, Result, Status};
use crate::log::{Inner, Log, Side};
use crate::sync::{Arc, PoisonError};
use crate::sys::Slept;
use crate::view::{View, Waited, closed_meanwhile};
use crate::waiting::{Awaited, Bed, Heard};
use crate::work::Work;
use std::time::{Duration, Instant};

impl Log {
    /// Returns `true` when there is a record at `offset`, `false` if there is none and the time is up. `None` waits for
    /// ever, a zero duration looks once.
    pub fn wait(&self, offset: u64, timeout: Option<Duration>) -> Result<bool> {
        if offset == NO_OFFSET {
            return Err(Error::new(Status::Argument, "offset is LOG_NO_OFFSET, at which no record will ever be"));
        }
        // Each holds what it waits in, so that a close meanwhile, which is the caller's mistake, is none of memory.
        match self.side() {
            Side::Writer(inner) => wait(&*Arc::clone(inner), offset, timeout, Inner::may_grow),
            Side::Follower(follower) => {
                wait(&*Arc::clone(follower), offset, timeout, |follower| Ok(follower.is_open()))
            }
        }
    }

    /// Returns `true` when the record of `offset` is durable; a sync is begun if need be. `false` if it is not and the
    /// time is up. `None` waits for ever, a zero duration looks once.
    pub fn wait_durable(&self, offset: u64, timeout: Option<Duration>) -> Result<bool> {
        let inner = match self.side() {
            Side::Writer(inner) => inner,
            Side::Follower(follower) => return Arc::clone(follower).wait_durable(offset, timeout),
        };
        let next = inner.published_now();
        if offset >= next {
            return Err(inner.beyond(offset, next));
        }
        if inner.commit.durable() > offset {
            return Ok(true);
        }
        if inner.commit.is_poisoned() {
            return Err(inner.commit.poisoned());
        }
        if timeout == Some(Duration::ZERO) {
            return Ok(false);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let done = inner.sync_until(offset + 1, deadline)?;
        // It may have been dropped while this call waited.
        let next = inner.published_now();
        if offset >= next { Err(inner.beyond(offset, next)) } else { Ok(done) }
    }

    /// The number of an event fd that is readable when there are new records, until its 8 bytes are read. It belongs to
    /// the log, which closes it.
    pub fn event_fd(&self) -> Result<i32> {
        match self.side() {
            Side::Writer(inner) => {
                let mut writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
                // Under the mutex: every append behind this one rings.
                let fd = inner.event.make()?;
                writer.leave_always(Work::EVENT);
                Ok(fd)
            }
            Side::Follower(follower) => follower.event_fd(),
        }
    }
}

fn wait<V: View>(
    view: &V,
    offset: u64,
    timeout: Option<Duration>,
    may_come: impl Fn(&V) -> Result<bool>,
) -> Result<bool> {
    match view.wait_for(offset, timeout, None, may_come)? {
        Waited::There => Ok(true),
        Waited::TimeUp => Ok(false),
        Waited::Closed => Err(closed_meanwhile(view.dir())),
    }
}

impl Bed for Inner {
    fn rung(&self) -> u64 {
        self.control.rung()
    }

    fn set_alarm(&self, what: Awaited, offset: u64) -> Heard {
        self.control.set_alarm(what, offset)
    }

    fn sleep(&self, what: Awaited, rung: u64, time: Duration) -> Slept {
        self.control.sleep(what, rung, time)
    }
}
