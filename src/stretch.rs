//! A stretch of a segment: the frames that were in its mapping at one moment, so that many records are looked for with
//! one question. It knows no files.

use crate::record::{self, Check, Frame, Kind};

/// The frames of a segment that are in its mapping now.
pub(crate) struct Stretch<'a> {
    pub bytes: &'a [u8],
    /// The first offset that is not in it.
    pub limit: u64,
    pub seed: u32,
}

impl<'a> Stretch<'a> {
    /// The record of `offset`, if it stands at this position, one where a frame can.
    #[inline(always)]
    pub(crate) fn record_at(&self, position: u64, offset: u64, check: Check) -> Option<Frame<'a>> {
        let frame = record::take_frame(self.bytes.get(position as usize..)?, self.seed, offset, check)?;
        (frame.head.kind != Kind::Seal).then_some(frame)
    }
}
