//! Logs made by hand with support/format.rs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::format::{FRAME, Header, Slot};
use crate::support::{Image, payload};

/// Records told by their offset, single ones.
pub(crate) fn records(range: std::ops::Range<u64>) -> Vec<(u32, Vec<u8>)> {
    range.map(|offset| (FRAME, payload(offset))).collect()
}

/// A closed log of one segment with records 0 to 9, and the header and slot that it has.
pub(crate) fn one_segment() -> (Header, Slot, Vec<u8>) {
    let header = Header::default();
    let store = header.store(&[], &records(0..10));
    let payload_bytes = (0..10).map(|offset| payload(offset).len() as u64).sum();
    let slot = Slot { count: 1, position: store.len() as u64, next: 10, time: 9, payload_bytes, flags: 0 };
    (header, slot, store)
}

pub(crate) fn one_file(header: &Header, store: Vec<u8>) -> Image {
    Image([(header.store_name(), store)].into())
}
