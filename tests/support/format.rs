//! docs/FORMAT.md once more, written from the document alone: it shares no line with the library, so that what the
//! library reads of these bytes proves the document, and a file can say things that the library never writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) const FRAMES: usize = 4096;
pub(crate) const FRAME: u32 = 1;
pub(crate) const MORE: u32 = 2;
pub(crate) const SEAL: u32 = 8;

/// CRC-32C, bit by bit (RFC 3720).
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

/// The header of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) epoch: u32,
    pub(crate) base: u64,
    pub(crate) floor_epoch: u32,
    pub(crate) seed: u32,
    pub(crate) time_floor: u64,
    pub(crate) created: u64,
    pub(crate) log_id: [u8; 16],
    pub(crate) prior_bytes: u64,
    pub(crate) cause: u32,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            version: 1,
            epoch: 0,
            base: 0,
            floor_epoch: 0,
            seed: 0x1234_5678,
            time_floor: 0,
            created: 1_700_000_000_000_000_000,
            log_id: *b"hand-made log id",
            prior_bytes: 0,
            cause: 0,
        }
    }
}

impl Header {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"\x8BSEGLOG\n".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.base.to_le_bytes());
        bytes.extend(self.floor_epoch.to_le_bytes());
        bytes.extend(self.seed.to_le_bytes());
        bytes.extend(self.time_floor.to_le_bytes());
        bytes.extend(self.created.to_le_bytes());
        bytes.extend(self.log_id);
        bytes.extend(self.prior_bytes.to_le_bytes());
        bytes.extend(self.cause.to_le_bytes());
        bytes.extend(crc(&bytes).to_le_bytes());
        bytes
    }

    /// Of a store's first bytes; the checksum is checked.
    pub(crate) fn of(store: &[u8]) -> Self {
        let (half, word) = (|at| u32_at(store, at), |at| u64_at(store, at));
        let header = Self {
            version: half(8),
            epoch: half(12),
            base: word(16),
            floor_epoch: half(24),
            seed: half(28),
            time_floor: word(32),
            created: word(40),
            log_id: store[48..64].try_into().unwrap(),
            prior_bytes: word(64),
            cause: half(72),
        };
        assert_eq!(header.bytes(), store[..80], "the header is not as docs/FORMAT.md says");
        header
    }

    pub(crate) fn store_name(&self) -> String {
        format!("{:020}-{:08x}.store", self.base, self.epoch)
    }

    pub(crate) fn index_name(&self) -> String {
        format!("{:020}-{:08x}.index", self.base, self.epoch)
    }

    /// The first 4 KiB of a store.
    pub(crate) fn page(&self, slots: &[Slot]) -> Vec<u8> {
        let mut page = vec![0; FRAMES];
        for at in [0, 1024] {
            page[at..at + 80].copy_from_slice(&self.bytes());
        }
        for slot in slots {
            let at = if slot.count % 2 == 1 { 2048 } else { 3072 };
            page[at..at + 48].copy_from_slice(&slot.bytes(self.seed));
        }
        page
    }

    /// A store with these records as (flags, payload), a nanosecond apart, and how far the frames go.
    pub(crate) fn store(&self, slots: &[Slot], records: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut store = self.page(slots);
        for (n, (flags, payload)) in (0..).zip(records) {
            store.extend(frame(self.seed, self.base.wrapping_add(n), self.time_floor.wrapping_add(n), *flags, payload));
        }
        store
    }
}

/// A durable slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    pub(crate) count: u64,
    pub(crate) position: u64,
    pub(crate) next: u64,
    pub(crate) time: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) flags: u32,
}

impl Slot {
    pub(crate) fn bytes(&self, seed: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [self.count, self.position, self.next, self.time, self.payload_bytes] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.flags.to_le_bytes());
        let sum = crc(&[&seed.to_le_bytes(), &bytes[..]].concat());
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// The slot that holds, if any does.
    pub(crate) fn of(store: &[u8]) -> Option<Self> {
        let seed = Header::of(store).seed;
        let valid = |at: usize| {
            let word = |n: usize| u64_at(store, at + 8 * n);
            let (count, position, next) = (word(0), word(1), word(2));
            let slot =
                Self { count, position, next, time: word(3), payload_bytes: word(4), flags: u32_at(store, at + 40) };
            (slot.bytes(seed) == store[at..at + 48] && (count % 2 == 1) == (at == 2048)).then_some(slot)
        };
        [valid(2048), valid(3072)].into_iter().flatten().max_by_key(|slot| slot.count)
    }
}

/// A frame.
pub(crate) fn frame(seed: u32, offset: u64, time: u64, flags: u32, payload: &[u8]) -> Vec<u8> {
    let word = u32::try_from(payload.len()).unwrap() << 4 | flags;
    let mut bytes = frame_head(seed, offset, time, word, crc(payload));
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A frame's first 16 bytes, whatever they say.
pub(crate) fn frame_head(seed: u32, offset: u64, time: u64, word: u32, payload_crc: u32) -> Vec<u8> {
    let mut summed = Vec::new();
    summed.extend(seed.to_le_bytes());
    summed.extend(word.to_le_bytes());
    summed.extend(offset.to_le_bytes());
    summed.extend(time.to_le_bytes());
    summed.extend(payload_crc.to_le_bytes());
    [&word.to_le_bytes()[..], &crc(&summed).to_le_bytes(), &time.to_le_bytes()].concat()
}

/// A whole SEAL frame; its payload says what the caller likes.
pub(crate) fn seal(seed: u32, next: u64, time: u64, says: [u64; 4]) -> Vec<u8> {
    frame(seed, next, time, FRAME | SEAL, &says.map(u64::to_le_bytes).concat())
}

/// An index with these positions (not divided by 8) and zeros up to its capacity.
pub(crate) fn index(of: &Header, capacity: u32, positions: &[u64]) -> Vec<u8> {
    let mut bytes = b"\x8BSEGIDX\n".to_vec();
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(of.epoch.to_le_bytes());
    bytes.extend(of.base.to_le_bytes());
    bytes.extend(of.seed.to_le_bytes());
    bytes.extend(capacity.to_le_bytes());
    bytes.extend(crc(&bytes).to_le_bytes());
    bytes.resize(64, 0);
    for position in positions {
        bytes.extend(u32::try_from(position / 8).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

/// Where a frame stands in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) offset: u64,
    pub(crate) start: usize,
    /// Behind its padding.
    pub(crate) end: usize,
    pub(crate) flags: u32,
}

/// The frames of a store, each checked, up to the first that is none.
pub(crate) fn frames(store: &[u8]) -> Vec<At> {
    let header = Header::of(store);
    let (mut at, mut offset, mut found) = (FRAMES, header.base, Vec::new());
    while at + 16 <= store.len() {
        let (word, time) = (u32_at(store, at), u64_at(store, at + 8));
        let Some(payload) = store.get(at + 16..at + 16 + (word >> 4) as usize).filter(|_| word != 0) else { break };
        let whole = frame(header.seed, offset, time, word & 15, payload);
        if store.get(at..at + whole.len()) != Some(&whole[..]) {
            break;
        }
        found.push(At { offset, start: at, end: at + whole.len(), flags: word & 15 });
        at += whole.len();
        offset += u64::from(word & SEAL == 0);
    }
    found
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
