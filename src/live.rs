//! LIVE as those see it who follow a log: the control page and the ring, mapped for reading or read by calls, in a
//! place that stays when the file is another one. It knows which file it shows and what the page says of a segment, and
//! no records.

use crate::control::{LIVE, Seen, SeenControl};
use crate::error::{Result, Status};
use crate::id::Id;
use crate::memory;
use crate::record::{self, FRAME_HEADER};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::sys::{self, Dir, File, Stat, Window, WordMap};
use crate::tail::{RING_AT, RING_BYTES, THROUGH_RING_BYTES, Tail};

/// A page that is being changed is looked at so often at once; whoever changes it may have been killed.
const TRIES: u32 = 64;
/// So much of the page has the alarm in it.
const ALARM_BYTES: usize = 4096;

/// LIVE, or nothing in its place.
pub(crate) struct Live {
    control: SeenControl,
    tail: Tail,
    /// Through which both are seen where nothing is mapped.
    window: Option<Arc<Window>>,
    boot_id: [u8; 16],
    /// The file that is shown, if one is.
    shown: Mutex<Option<Stat>>,
    /// The page once more, to set the alarm in.
    alarm: Mutex<AlarmPage>,
}

/// The page of a file, mapped for writing, if that can be done.
#[derive(Default)]
struct AlarmPage {
    of: Option<Stat>,
    page: Option<Arc<WordMap>>,
}

impl Live {
    /// Shows no file yet.
    pub(crate) fn new(dir: &Dir) -> Result<Self> {
        let window: Option<Arc<Window>> = (!dir.maps()).then(Arc::default);
        let (control, tail) = match &window {
            None => (SeenControl::empty(RING_AT)?, Tail::empty()?),
            Some(window) => (SeenControl::in_window(window)?, Tail::in_window(window)),
        };
        let (shown, alarm) = (Mutex::new(None), Mutex::default());
        Ok(Self { control, tail, window, boot_id: sys::boot_id(), shown, alarm })
    }

    /// Shows the file that is called LIVE now. One that is short is not shown: to touch what it lacks would be SIGBUS.
    pub(crate) fn look(&self, dir: &Dir) -> Result<()> {
        let mut shown = self.lock_shown();
        let same = |stat: &Stat| shown.is_some_and(|shown| shown.is_same_file(stat));
        match dir.stat(LIVE)? {
            Some(stat) if same(&stat) => return Ok(()),
            None if shown.is_none() => return Ok(()),
            _ => {}
        }
        let file = match dir.open_read(LIVE) {
            Err(error) if error.status() == Status::NotFound => None,
            file => Some(Arc::new(file?)),
        };
        let stat = file.as_deref().map(File::stat).transpose()?;
        let whole = file.as_ref().zip(stat).filter(|(_, stat)| stat.bytes >= RING_AT + RING_BYTES);
        // While the ring is being replaced, nobody believes it.
        self.control.show(None)?;
        *shown = None;
        let file = whole.map(|(file, _)| file.as_ref());
        if let Some(window) = &self.window {
            window.show(whole.map(|(file, _)| Arc::clone(file)));
        }
        self.tail.show(file)?;
        self.control.show(file)?;
        *shown = whole.map(|(_, stat)| stat);
        Ok(())
    }

    /// The page's words.
    #[inline]
    pub(crate) fn control(&self) -> &SeenControl {
        &self.control
    }

    /// The ring.
    #[inline]
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The log that the page tells of, if it is of this boot and of this very file.
    pub(crate) fn log_id(&self) -> Option<[u8; 16]> {
        let stat = (*self.lock_shown())?;
        self.control.log_id(&stat, self.boot_id, RING_BYTES)
    }

    /// Whether a file is shown.
    pub(crate) fn is_shown(&self) -> bool {
        self.lock_shown().is_some()
    }

    /// The page of the file that is shown, to set the alarm in; `None` where it is not to be believed, this process may
    /// not write it, or one of the two sides maps nothing.
    pub(crate) fn alarm_page(&self, dir: &Dir) -> Option<Arc<WordMap>> {
        if !dir.maps() {
            return None;
        }
        self.log_id()?;
        if self.control.is_written_by_calls() {
            return None;
        }
        let shown = *self.lock_shown();
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.zip(alarm.of).is_some_and(|(shown, of)| shown.is_same_file(&of)) {
            *alarm = AlarmPage { of: shown, page: shown.and_then(|shown| map_for_writing(dir, &shown)).map(Arc::new) };
        }
        alarm.page.clone()
    }

    fn lock_shown(&self) -> MutexGuard<'_, Option<Stat>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// End of a segment that was the active one at this layout. If it is that no more, all of it is in its store.
    #[inline]
    pub(crate) fn end(&self, of: Id, layout: u64) -> u64 {
        match self.control.end_at(layout) {
            Some(end) => end,
            None => self.end_and_stored_now(of).0,
        }
    }

    /// Its stored position, likewise.
    #[inline]
    pub(crate) fn stored(&self, of: Id, layout: u64) -> u64 {
        match self.control.stored_at(layout) {
            Some(stored) => stored,
            None => self.end_and_stored_now(of).1,
        }
    }

    #[cold]
    fn end_and_stored_now(&self, of: Id) -> (u64, u64) {
        match self.seen() {
            Some(Seen { active, end, stored, .. }) if active == of => (end, stored),
            _ => (u64::MAX, u64::MAX),
        }
    }

    /// What the page says of this moment; `None` if it is not to be believed now.
    pub(crate) fn seen(&self) -> Option<Seen> {
        (0..TRIES).find_map(|_| {
            let seen = self.control.seen(self.control.layout());
            if seen.is_none() {
                std::hint::spin_loop();
            }
            seen
        })
    }

    /// Bytes of the frame at this position of the ring, if it is exactly the one of `offset` in the segment of `seed`.
    /// It counts only if it had not been stored before this was asked.
    pub(crate) fn frame_in_ring(&self, position: u64, seed: u32, offset: u64) -> Result<Option<u64>> {
        let mut head = [0; FRAME_HEADER as usize];
        self.tail.copy_out(position, &mut head);
        let bytes = record::decode_head(&head).map_or(0, |head| head.frame_bytes());
        if bytes == 0 || bytes > THROUGH_RING_BYTES {
            return Ok(None);
        }
        let mut copy = memory::zeros(bytes as usize, "a copy of the log's last records")?;
        self.tail.copy_out(position, &mut copy);
        Ok(record::decode_frame(&copy, seed, offset).map(|frame| frame.head.frame_bytes()))
    }
}

/// The control page of LIVE, if it still is this file and may be written.
fn map_for_writing(dir: &Dir, shown: &Stat) -> Option<WordMap> {
    let file = dir.open_write(LIVE).ok()?;
    let stat = file.stat().ok()?;
    let whole = stat.is_same_file(shown) && stat.bytes >= RING_AT + RING_BYTES;
    whole.then(|| WordMap::new(&file, ALARM_BYTES, true).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Control, Standing};
    use crate::testing::TempDir;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Where the end is that of the next offset, the payload bytes are too, however fast the log grows.
    #[test]
    fn an_end_that_fits_says_that_the_payload_bytes_do() {
        let temp = TempDir::new();
        let dir = temp.open();
        let control = Control::create(&dir.open_or_create_file(LIVE).unwrap(), &[7; 16], RING_AT, RING_BYTES, true);
        let control = control.unwrap();
        let active = Id { base_offset: 0, epoch: 0 };
        let none = Standing {
            active,
            end: 0,
            next_offset: 0,
            payload_bytes: 0,
            durable: 0,
            first_offset: 0,
            first_payload_bytes: 0,
            recovered_records: 0,
            dropped_bytes: 0,
        };
        control.begin(&none).unwrap();
        let live = Live::new(&dir).unwrap();
        live.look(&dir).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for next in 1..3_000_000 {
                    control.publish(next, 100 * next, 3 * next);
                }
                ended.store(true, Ordering::Relaxed);
            });
            while !ended.load(Ordering::Relaxed) {
                if let Some(seen) = live.seen().filter(|seen| seen.end == 100 * seen.next_offset) {
                    assert_eq!(seen.payload_bytes, 3 * seen.next_offset);
                }
            }
        });
    }
}
