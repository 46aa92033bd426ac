//! Logs made by hand from docs/FORMAT.md: the same bytes in every process, so that an input does the same everywhere.

use super::format::{FRAME, Header, MORE, Slot, crc, frame, index, seal};
use super::payload;
use std::collections::BTreeMap;
use std::ops::Range;

/// The files of a directory by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The ring and the control area of a library with the feature `small`.
pub(crate) const RING: usize = 16 << 10;
pub(crate) const RING_AT: usize = 4 << 10;

/// A log and what it holds.
pub(crate) struct Sample {
    pub(crate) files: Files,
    /// Without any change it has these records, of which life the function says.
    pub(crate) records: Range<u64>,
}

/// Lives that the samples have, so many.
pub(crate) const LIVES: u64 = 3;

/// A store that is being made.
struct Making {
    header: Header,
    store: Vec<u8>,
    positions: Vec<u64>,
    next: u64,
    payload_bytes: u64,
}

impl Making {
    fn new(header: Header) -> Self {
        Self { store: header.page(&[]), positions: Vec::new(), next: header.base, payload_bytes: 0, header }
    }

    fn time(&self) -> u64 {
        1_700_000_000_000_000_000 + self.next
    }

    /// Every third and fourth record is a batch.
    fn frame(&mut self, life: u64) -> Vec<u8> {
        let bytes = payload(life, self.next);
        let flags = if self.next % 5 == 2 { FRAME | MORE } else { FRAME };
        let frame = frame(self.header.seed, self.next, self.time(), flags, &bytes);
        self.payload_bytes += bytes.len() as u64;
        self.next += 1;
        frame
    }

    fn records(mut self, life: u64, end: u64) -> Self {
        while self.next < end {
            self.positions.push(self.store.len() as u64);
            let frame = self.frame(life);
            self.store.extend(frame);
        }
        self
    }

    fn slot(mut self, count: u64, flags: u32) -> Self {
        let slot = Slot {
            count,
            position: self.store.len() as u64,
            next: self.next,
            time: self.time() - 1,
            payload_bytes: self.payload_bytes,
            flags,
        };
        let at = if count % 2 == 1 { 2048 } else { 3072 };
        self.store[at..at + 48].copy_from_slice(&slot.bytes(self.header.seed));
        self
    }

    fn sealed(mut self) -> Self {
        let says = [self.next - self.header.base, self.payload_bytes, self.time(), self.time() - 1];
        self.store.extend(seal(self.header.seed, self.next, self.time() - 1, says));
        self.slot(1, 1)
    }

    fn closed(self) -> Self {
        self.slot(1, 0).slot(2, 0)
    }

    /// The next segment's header, in the same epoch.
    fn following(&self) -> Header {
        Header {
            base: self.next,
            seed: self.header.seed.wrapping_mul(0x9E37_79B1),
            time_floor: self.time() - 1,
            prior_bytes: self.header.prior_bytes + self.payload_bytes,
            ..self.header
        }
    }

    fn put(&self, files: &mut Files, zeros: usize) {
        let mut store = self.store.clone();
        store.resize(store.len() + zeros, 0);
        files.insert(self.header.store_name(), store);
        files.insert(self.header.index_name(), {
            let mut index = index(&self.header, 64, &self.positions);
            index.resize(64 + 4 * 64, 0);
            index
        });
    }
}

/// A START whose slots both say this.
fn start(log_id: [u8; 16], first: u64, prior_bytes: u64) -> Vec<u8> {
    let mut file = vec![0; 1024];
    for at in [0, 512] {
        file[at..at + 64].copy_from_slice(&start_slot(log_id, 0, 1, first, prior_bytes));
    }
    file
}

/// One slot of a START.
pub(crate) fn start_slot(log_id: [u8; 16], epoch: u32, count: u64, first: u64, prior_bytes: u64) -> Vec<u8> {
    let mut slot = b"\x8BSEGSTR\n".to_vec();
    slot.extend(1_u32.to_le_bytes());
    slot.extend(epoch.to_le_bytes());
    for word in [count, first, prior_bytes] {
        slot.extend(word.to_le_bytes());
    }
    slot.extend(log_id);
    slot.extend([0; 4]);
    slot.extend(crc(&slot).to_le_bytes());
    slot
}

/// What a killed writer leaves: the page, but for the words that say which file it is, and the ring.
fn live(header: &Header, stored: u64, ring: &[u8], published: u64, payload_bytes: u64) -> Vec<u8> {
    let mut live = vec![0; RING_AT + RING];
    live[0..8].copy_from_slice(b"\x8BSEGCTL\n");
    live[8..12].copy_from_slice(&1_u32.to_le_bytes());
    live[12..16].copy_from_slice(&(RING as u32).to_le_bytes());
    live[32..48].copy_from_slice(&header.log_id);
    let end = stored + ring.len() as u64;
    let words = [
        (128, published),
        (136, end),
        (144, payload_bytes),
        (192, stored),
        (200, header.base),
        (208, 0),
        (216, header.base),
        (224, u64::from(header.epoch)),
        (248, 1),
        (256, 0x1234_5678_9ABC_DEF0),
    ];
    for (at, word) in words {
        live[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    for (position, byte) in (stored as usize..).zip(ring) {
        live[RING_AT + position % RING] = *byte;
    }
    live
}

/// The logs to begin with.
pub(crate) fn all() -> Vec<Sample> {
    let first = |log: u8| Header { seed: 0x1234_5678 + u32::from(log), log_id: [log; 16], ..Header::default() };
    let none = Sample { files: Files::new(), records: 0..0 };
    let mut samples = vec![none];
    let mut add = |records: Range<u64>, make: &dyn Fn(&mut Files)| {
        let mut files = Files::new();
        make(&mut files);
        samples.push(Sample { files, records });
    };
    let log = first(1);
    add(0..12, &|files| Making::new(log).records(0, 12).closed().put(files, 0));
    let log = first(2);
    add(0..40, &|files| {
        let a = Making::new(log).records(0, 15).sealed();
        let b = Making::new(a.following()).records(0, 29).sealed();
        let c = Making::new(b.following()).records(0, 40).closed();
        [&a, &b, &c].iter().for_each(|segment| segment.put(files, 0));
    });
    // Killed: a slot, records behind it in the store, and the last ones in the ring only.
    let log = first(3);
    add(0..30, &|files| {
        let a = Making::new(log).records(0, 10).sealed();
        let mut b = Making::new(a.following()).records(0, 15).slot(1, 0).records(0, 20);
        b.put(files, 600);
        a.put(files, 0);
        let stored = b.store.len() as u64;
        let mut ring = Vec::new();
        while b.next < 30 {
            ring.extend(b.frame(0));
        }
        let bytes = b.header.prior_bytes + b.payload_bytes;
        files.insert("LIVE".to_owned(), live(&b.header, stored, &ring, 30, bytes));
    });
    // Trimmed.
    let log = first(4);
    add(17..34, &|files| {
        let a = Making::new(log).records(0, 12).sealed();
        let b = Making::new(a.following()).records(0, 24).sealed();
        let c = Making::new(b.following()).records(0, 34).closed();
        [&b, &c].iter().for_each(|segment| segment.put(files, 8));
        let before: u64 = (0..17).map(|offset| payload(0, offset).len() as u64).sum();
        files.insert("START".to_owned(), start(log.log_id, 17, before));
    });
    // Truncated at 8, and gone on there.
    let log = first(5);
    add(0..20, &|files| {
        let a = Making::new(log).records(0, 16).slot(1, 0);
        let kept: u64 = (0..8).map(|offset| payload(0, offset).len() as u64).sum();
        let header = Header { base: 8, epoch: 1, cause: 1, prior_bytes: kept, ..a.following() };
        let b = Making::new(header).records(1, 20).closed();
        [&a, &b].iter().for_each(|segment| segment.put(files, 0));
    });
    // Reset to 5, before the old files were deleted.
    let log = first(6);
    add(5..19, &|files| {
        let a = Making::new(log).records(0, 9).sealed();
        let b = Making::new(a.following()).records(0, 19).closed();
        let header = Header { base: 5, epoch: 1, floor_epoch: 1, cause: 2, prior_bytes: 0, seed: 77, ..b.following() };
        let c = Making::new(header).records(2, 19).closed();
        [&a, &b, &c].iter().for_each(|segment| segment.put(files, 0));
        files.insert("START".to_owned(), start(log.log_id, 3, 100));
    });
    // A torn tail behind the mark, in a batch.
    let log = first(7);
    add(0..12, &|files| {
        let mut a = Making::new(log).records(0, 10).slot(1, 0).records(0, 13);
        let cut = a.positions[12] as usize + 20;
        a.store.truncate(cut);
        a.put(files, 300);
    });
    samples
}
