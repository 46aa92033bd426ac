//! A record that the caller builds where it will stand, in the ring: room for it is reserved, filled, and committed or
//! given up. One that is too large for the ring is built in a buffer. While there is a reservation, the writer's side
//! belongs to it: other threads' writes wait.

use crate::checksum::crc32c;
use crate::error::{Error, Result, Status};
use crate::log::{Inner, Log};
use crate::memory;
use crate::record::{self, FRAME_HEADER, Kind};
use crate::reservation::{Place, Reservation};
use crate::sync::{MutexGuard, PoisonError};
use crate::sys;
use crate::tail::{THROUGH_RING_BYTES, Tail};
use crate::work::Work;
use crate::writer::{Appended, Parts, Writer};
use std::ptr::NonNull;

impl Log {
    /// Reserves room for a record of up to `len` bytes and returns where they go. Until [`Log::commit`] or
    /// [`Log::abort`], which may come from any thread, nobody else may write: other threads' writes wait, one of this
    /// thread is [`Status::Argument`].
    pub fn reserve(&self, len: usize) -> Result<NonNull<u8>> {
        let inner = self.writing()?;
        inner.check_len(len)?;
        inner.write()?.reserve(&inner.parts(), len)
    }

    /// Appends the record that was built, of which the first `len` bytes count; returns its offset. Under
    /// [`crate::Sync::Always`] it is durable on return. On failure the reservation stays, but where the handle writes
    /// no more.
    pub fn commit(&self, len: usize) -> Result<u64> {
        let inner = self.writing()?;
        let mut writer = inner.write_reserved().inspect_err(|_| inner.end_reservation())?;
        let appended = writer.commit(&inner.parts(), len);
        if writer.reservation.is_none() {
            inner.unreserved.notify_all();
        }
        drop(writer);
        let appended = appended?;
        inner.after_append(&appended)?;
        Ok(appended.first_offset)
    }

    /// Gives the reservation up; nothing is appended.
    pub fn abort(&self) -> Result<()> {
        let inner = self.writing()?;
        let mut writer = inner.write_reserved().inspect_err(|_| inner.end_reservation())?;
        let reservation = writer.reservation.take().ok_or_else(nothing_reserved)?;
        drop(writer);
        inner.unreserved.notify_all();
        // A roll may have made the room.
        inner.do_work(reservation.work)
    }
}

fn nothing_reserved() -> Error {
    Error::new(Status::Argument, "nothing is reserved: log_reserve comes first, and each reservation ends once")
}

impl Inner {
    /// The writer's mutex, once the reservation of another thread has ended.
    #[cold]
    pub(crate) fn write_unreserved<'a>(&self, mut writer: MutexGuard<'a, Writer>) -> Result<MutexGuard<'a, Writer>> {
        while let Some(reservation) = &writer.reservation {
            if reservation.thread == sys::thread_id() {
                return Err(Error::new(
                    Status::Argument,
                    "this thread has reserved a record: log_commit or log_abort comes first",
                ));
            }
            writer = self.unreserved.wait(writer).unwrap_or_else(PoisonError::into_inner);
        }
        if self.commit.is_poisoned() { Err(self.commit.poisoned()) } else { Ok(writer) }
    }

    /// On a handle that writes no more: whoever waits hears of it.
    fn end_reservation(&self) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).reservation = None;
        self.unreserved.notify_all();
    }

    /// What a write that came to nothing has left to be done.
    fn do_work(&self, work: Work) -> Result<()> {
        self.ring_bells(work);
        if work.has(Work::MUST_WAIT) { self.sync_backlog() } else { Ok(()) }
    }
}

impl Writer {
    fn reserve(&mut self, parts: &Parts<'_>, len: usize) -> Result<NonNull<u8>> {
        let bytes = record::frame_bytes(len);
        // Room is made now, so that a full disk is told before the work is done.
        let work = self.make_room(parts, bytes, 1)?;
        let through_ring = bytes <= THROUGH_RING_BYTES;
        let in_ring = through_ring.then(|| parts.tail.reserve(self.end + FRAME_HEADER, len)).flatten();
        let (place, data) = if let Some(data) = in_ring {
            (Place::Ring, data)
        } else {
            let mut buffer = memory::zeros(len, "a record that is built in a buffer")?;
            let data = NonNull::from(buffer.as_mut_slice()).cast();
            (Place::Buffer(buffer), data)
        };
        self.reservation = Some(Reservation { thread: sys::thread_id(), len, place, work });
        Ok(data)
    }

    fn commit(&mut self, parts: &Parts<'_>, len: usize) -> Result<Appended> {
        let reservation = self.reservation.take().ok_or_else(nothing_reserved)?;
        if len > reservation.len {
            let text = format!("{len} bytes are to be committed, but {} were reserved", reservation.len);
            self.reservation = Some(reservation);
            return Err(Error::new(Status::Argument, text));
        }
        let now = sys::clock_coarse_ns();
        let appended = match &reservation.place {
            Place::Ring => Ok(self.commit_ring(parts, len, now)),
            Place::Buffer(buffer) => {
                let payload = buffer.get(..len).unwrap_or_default();
                self.append(parts, payload, crc32c(0, payload), now)
            }
        };
        match appended {
            Ok(mut appended) => {
                appended.work = appended.work.and(reservation.work);
                Ok(appended)
            }
            Err(error) => {
                // Nothing was appended, and what was built is built still.
                self.reservation = Some(reservation).filter(|_| !parts.commit.is_poisoned());
                Err(error)
            }
        }
    }

    /// The payload stands in the ring; a head makes a frame of it.
    fn commit_ring(&mut self, parts: &Parts<'_>, len: usize, now_ns: u64) -> Appended {
        let first_offset = self.next_offset;
        let timestamp_ns = now_ns.max(self.last_timestamp_ns);
        let crc = parts.tail.finish(self.end + FRAME_HEADER, len);
        self.put_head(parts.tail, Kind::Record { more: false }, timestamp_ns, len, crc);
        self.count_in(timestamp_ns, len);
        self.publish(parts);
        self.appended(first_offset, Work::default())
    }

    fn put_head(&self, tail: &Tail, kind: Kind, timestamp_ns: u64, len: usize, payload_crc: u32) {
        let head = record::encode_head(kind, self.seed, self.next_offset, timestamp_ns, len, payload_crc);
        tail.put(self.end, head, &[]);
    }
}
