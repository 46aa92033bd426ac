//! A run: frames of one segment that were copied out, of the ring or of a file that is not mapped, so that many records
//! cost one call and none changes under who looks at it. It knows where in its segment it begins, and proves no record
//! that it was not asked for.

use crate::error::{Result, Status};
use crate::record::{self, Check, FRAME_HEADER, FRAMES_START, Frame, Kind};
use crate::segment::{Found, Segment};

/// So much is copied out of a file at first; while it goes on from one run to the next, more and more.
const FIRST_BYTES: u64 = 8 << 10;
const MOST_BYTES: u64 = 256 << 10;
/// Behind a record of unknown length, where it is earlier ones that will be asked for.
const BEHIND_BYTES: u64 = 1 << 10;
/// A larger run, of one long record, is let go when the next one comes.
const KEPT_BYTES: usize = 1 << 20;

/// Bytes of a segment.
#[derive(Default)]
pub(crate) struct Run {
    bytes: Vec<u8>,
    start: u64,
    /// How much the next one takes.
    want: u64,
    /// It is of a file, where a caller may trust what it finds; what is of the ring is always proved.
    of_file: bool,
}

impl Run {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Holds nothing any more.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Where bytes are to be put that stand from `position` on.
    pub(crate) fn take_from_ring(&mut self, position: u64) -> &mut Vec<u8> {
        (self.start, self.of_file) = (position, false);
        &mut self.bytes
    }

    /// The record of `offset`, if it stands at `position` and that lies in here, and at which byte.
    #[inline]
    pub(crate) fn frame(&self, position: u64, seed: u32, offset: u64, check: Check) -> Option<(Frame<'_>, usize)> {
        let at = usize::try_from(position.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(at..).filter(|bytes| !bytes.is_empty())?;
        let check = if self.of_file { check } else { Check::Verify };
        let frame = record::take_frame(bytes, seed, offset, check)?;
        Some((frame, at)).filter(|(frame, _)| frame.head.kind != Kind::Seal)
    }

    /// Copies frames out of the segment's file, so that the record of `offset` is among them, if it stands at
    /// `position`; with `back`, those before it rather than those behind it. `false` if it does not stand there.
    pub(crate) fn take_from_file(
        &mut self,
        segment: &Segment,
        position: u64,
        offset: u64,
        check: Check,
        back: bool,
    ) -> Result<bool> {
        let end = self.start + self.bytes.len() as u64;
        let goes_on = self.of_file && !self.bytes.is_empty() && position >= self.start.saturating_sub(self.want);
        let goes_on = goes_on && position <= end;
        self.want = if goes_on { (2 * self.want).min(MOST_BYTES) } else { FIRST_BYTES };
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        let seed = segment.store()?.header().seed;
        self.start = if back { position.saturating_sub(self.want).max(FRAMES_START).min(position) } else { position };
        self.of_file = true;
        let before = position - self.start;
        let behind = if back { BEHIND_BYTES } else { self.want };
        let copied = segment.copy_run(self.start, before + behind, before + FRAME_HEADER, &mut self.bytes);
        if copied.is_ok() && self.frame(position, seed, offset, check).is_some() {
            return Ok(true);
        }
        // It is longer, or damaged, or what stands beside it cannot be read.
        self.start = position;
        self.bytes.clear();
        segment.copy_stored(position, offset, check, &mut self.bytes)
    }
}

/// Hands the records of these offsets to `each` in their order. All are in the segment's store, but where they are
/// damaged: then `each` gets the error.
pub(crate) fn each_stored(
    segment: &Segment,
    offsets: std::ops::Range<u64>,
    check: Check,
    mut each: impl FnMut(Result<&Frame<'_>>) -> Result<()>,
) -> Result<()> {
    let mut run = Run::default();
    let mut position = 0;
    for offset in offsets {
        let mut walked = false;
        let mut found = match position {
            0 => segment.find(offset, check),
            position => segment.find_at(position, offset, check),
        };
        loop {
            let at = match found {
                Err(error) => {
                    position = 0;
                    each(Err(error))?;
                    break;
                }
                Ok(Found::Stored(frame, at)) => {
                    position = at + frame.head.frame_bytes();
                    each(Ok(&frame))?;
                    break;
                }
                Ok(Found::InFile(at)) => {
                    let seed = segment.store()?.header().seed;
                    if run.frame(at, seed, offset, check).is_none() {
                        run.take_from_file(segment, at, offset, check, false)?;
                    }
                    if let Some((frame, _)) = run.frame(at, seed, offset, check) {
                        position = at + frame.head.frame_bytes();
                        each(Ok(&frame))?;
                        break;
                    }
                    at
                }
                Ok(Found::InRing(at)) => at,
            };
            found = if std::mem::replace(&mut walked, true) {
                Err(segment.corrupt(at, offset))
            } else {
                segment.find_astray(offset)
            };
        }
    }
    Ok(())
}

/// Payload bytes of all records before `offset`, which lies in this segment or behind its last record; they are in its
/// store. A damaged record counts as empty.
pub(crate) fn payload_before(segment: &Segment, offset: u64) -> Result<u64> {
    let mut bytes = segment.store()?.header().prior_payload_bytes;
    each_stored(segment, segment.id.base_offset..offset, Check::Trust, |frame| match frame {
        Ok(frame) => {
            bytes = bytes.saturating_add(frame.payload.len() as u64);
            Ok(())
        }
        Err(error) if matches!(error.status(), Status::Corrupt | Status::Lost) => Ok(()),
        Err(error) => Err(error),
    })?;
    Ok(bytes)
}
