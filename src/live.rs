//! LIVE as those see it who follow a log: the control page and the ring, mapped for reading, in a place that stays when
//! the file is another one. It knows which file it shows and what the page says of a segment, and no records.

use crate::control::{LIVE, Seen, SeenControl};
use crate::error::{Result, Status};
use crate::id::Id;
use crate::record::{self, FRAME_HEADER};
use crate::sync::{Mutex, PoisonError};
use crate::sys::{self, Dir, File, Stat};
use crate::tail::{RING_AT, RING_BYTES, THROUGH_RING_BYTES, Tail};

/// A page that is being changed is looked at so often at once; whoever changes it may have been killed.
const TRIES: u32 = 64;

/// LIVE, or nothing in its place.
pub(crate) struct Live {
    control: SeenControl,
    tail: Tail,
    boot_id: [u8; 16],
    /// The file that is shown, if one is.
    shown: Mutex<Option<Stat>>,
}

impl Live {
    /// Shows no file yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            control: SeenControl::empty(RING_AT)?,
            tail: Tail::empty()?,
            boot_id: sys::boot_id(),
            shown: Mutex::new(None),
        })
    }

    /// Shows the file that is called LIVE now. One that is short is not shown: to touch what it lacks would be SIGBUS.
    pub(crate) fn look(&self, dir: &Dir) -> Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |stat: &Stat| shown.is_some_and(|shown| (shown.device, shown.inode) == (stat.device, stat.inode));
        match dir.stat(LIVE)? {
            Some(stat) if same(&stat) => return Ok(()),
            None if shown.is_none() => return Ok(()),
            _ => {}
        }
        let file = match dir.open_read(LIVE) {
            Err(error) if error.status() == Status::NotFound => None,
            file => Some(file?),
        };
        let stat = file.as_ref().map(File::stat).transpose()?;
        let whole = file.as_ref().zip(stat).filter(|(_, stat)| stat.bytes >= RING_AT + RING_BYTES);
        // While the ring is being replaced, nobody believes it.
        self.control.show(None)?;
        *shown = None;
        self.tail.show(whole.map(|(file, _)| file))?;
        self.control.show(whole.map(|(file, _)| file))?;
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
        let stat = (*self.shown.lock().unwrap_or_else(PoisonError::into_inner))?;
        self.control.log_id(&stat, self.boot_id, RING_BYTES)
    }

    /// Whether a file is shown.
    pub(crate) fn is_shown(&self) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// End and stored position of a segment that was the active one at this layout. If it is that no more, all of it is
    /// in its store.
    #[inline]
    pub(crate) fn end_and_stored(&self, of: Id, layout: u64) -> (u64, u64) {
        let found = self.control.end_and_stored();
        if self.control.layout() == layout { found } else { self.end_and_stored_now(of) }
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
    pub(crate) fn frame_in_ring(&self, position: u64, seed: u32, offset: u64) -> Option<u64> {
        let mut head = [0; FRAME_HEADER as usize];
        self.tail.copy_out(position, &mut head);
        let bytes = record::decode_head(&head)?.frame_bytes();
        if bytes > THROUGH_RING_BYTES {
            return None;
        }
        let mut copy = vec![0; bytes as usize];
        self.tail.copy_out(position, &mut copy);
        record::decode_frame(&copy, seed, offset).map(|frame| frame.head.frame_bytes())
    }
}
