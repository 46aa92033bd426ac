//! A batch: records that are appended all or not at all, whether their payloads come alone or with offsets and times of
//! their own. It knows what they ask for, and nothing of where they go.

use crate::error::{Error, NO_OFFSET, Result, Status};
use crate::record::{self, Record};

/// A record to be appended.
pub(crate) trait Item {
    fn payload(&self) -> &[u8];
    /// The time that it is to have; `None` is now.
    fn timestamp_ns(&self) -> Option<u64>;
}

impl Item for &[u8] {
    #[inline]
    fn payload(&self) -> &[u8] {
        self
    }

    #[inline]
    fn timestamp_ns(&self) -> Option<u64> {
        None
    }
}

impl Item for Record<'_> {
    fn payload(&self) -> &[u8] {
        self.payload
    }

    fn timestamp_ns(&self) -> Option<u64> {
        Some(self.timestamp_ns)
    }
}

/// Refuses records whose offsets leave a gap.
pub(crate) fn check_offsets(records: &[Record<'_>]) -> Result<()> {
    let first = records.first().map_or(0, |record| record.offset);
    for (n, record) in (0..).zip(records) {
        let expected = first.checked_add(n);
        if expected != Some(record.offset) {
            let text = format!("record {n} of the batch has offset {}, which leaves a gap", record.offset);
            return Err(Error::new(Status::Conflict, text).at(expected.unwrap_or(NO_OFFSET)));
        }
    }
    Ok(())
}

/// What they take: the length of its longest record, and the bytes of all its frames, no more than a u64 can say.
#[inline]
pub(crate) fn sizes(items: &[impl Item]) -> (usize, u64) {
    items.iter().fold((0, 0), |(longest, bytes): (usize, u64), item| {
        let len = item.payload().len();
        (longest.max(len), bytes.saturating_add(record::frame_bytes(len)))
    })
}
