//! The bytes of a frame, of a store's header and of a durable slot (docs/FORMAT.md). Pure functions on slices: they
//! know no file and no ring, and nothing else in the crate knows these bytes.

use crate::checksum::{crc32c, crc32c_frame, crc32c_words};
use crate::seeded::{Bug, seeded};

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER: u64 = 16;
/// Where frames begin in a store.
pub(crate) const FRAMES_START: u64 = 4096;
/// Bytes of a SEAL frame, for which every segment keeps space.
pub(crate) const SEAL_BYTES: u64 = FRAME_HEADER + 32;
/// The format version that this library writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// Every frame has it: a word of 0 is no frame.
const FLAG_FRAME: u32 = 1;
/// The batch goes on behind this frame.
const FLAG_MORE: u32 = 2;
/// A footer, no record.
const FLAG_SEAL: u32 = 8;
/// The longest payload that a word can say.
const PAYLOAD_LIMIT: usize = (1 << 28) - 1;

/// Bytes that a frame takes for a payload of `len`: header, payload, zeros up to a multiple of 8.
#[inline]
pub(crate) fn frame_bytes(len: usize) -> u64 {
    FRAME_HEADER + (len as u64).next_multiple_of(8)
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record; `more` if its batch goes on behind it.
    Record { more: bool },
    /// The footer of a full segment.
    Seal,
}

/// A frame's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub kind: Kind,
    pub payload_len: usize,
    pub timestamp_ns: u64,
    word: u32,
    crc: u32,
}

impl Head {
    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_len)
    }

    /// Whether the frame's checksum, for this place in the log, fits a payload with this CRC.
    #[inline(always)]
    pub(crate) fn fits(&self, seed: u32, offset: u64, payload_crc: u32) -> bool {
        frame_crc(seed, self.word, offset, self.timestamp_ns, payload_crc) == self.crc
    }

    /// The same for the payload itself.
    #[inline(always)]
    fn fits_payload(&self, seed: u32, offset: u64, payload: &[u8]) -> bool {
        if seeded(Bug::PayloadNotChecked) {
            return self.fits(seed, offset, 0);
        }
        crc32c_frame(frame_words(seed, self.word, offset, self.timestamp_ns), payload) == self.crc
    }
}

/// A frame of a known place, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub head: Head,
    pub payload: &'a [u8],
}

/// A record: what a cursor gives, and what an import brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: u64,
    /// When it was appended, ns since 1970 UTC.
    pub timestamp_ns: u64,
    /// Its bytes. From a cursor, they live until the next call on it.
    pub payload: &'a [u8],
}

/// What a frame's checksum covers before the payload's CRC, in memory order: seed, word, offset, timestamp.
#[inline(always)]
fn frame_words(seed: u32, word: u32, offset: u64, timestamp_ns: u64) -> [u64; 3] {
    let seed = if seeded(Bug::SeedNotChecked) { 0 } else { seed };
    let word = if seeded(Bug::LengthNotChecked) { 0 } else { word };
    let offset = if seeded(Bug::OffsetNotChecked) { 0 } else { offset };
    [u64::from(seed) | u64::from(word) << 32, offset, timestamp_ns]
}

#[inline]
fn frame_crc(seed: u32, word: u32, offset: u64, timestamp_ns: u64, payload_crc: u32) -> u32 {
    let payload_crc = if seeded(Bug::PayloadNotChecked) { 0 } else { payload_crc };
    crc32c_words(frame_words(seed, word, offset, timestamp_ns), payload_crc)
}

/// Encodes a frame's header. `payload_crc` is the CRC-32C of the payload alone, which is at most 2^28 - 1 bytes long.
#[inline]
pub(crate) fn encode_head(
    kind: Kind,
    seed: u32,
    offset: u64,
    timestamp_ns: u64,
    payload_len: usize,
    payload_crc: u32,
) -> [u8; 16] {
    debug_assert!(payload_len <= PAYLOAD_LIMIT);
    let flags = match kind {
        Kind::Record { more: false } => FLAG_FRAME,
        Kind::Record { more: true } => FLAG_FRAME | FLAG_MORE,
        Kind::Seal => FLAG_FRAME | FLAG_SEAL,
    };
    let word = u32::try_from(payload_len & PAYLOAD_LIMIT).unwrap_or(0) << 4 | flags;
    let crc = frame_crc(seed, word, offset, timestamp_ns, payload_crc);
    let mut bytes = [0; 16];
    bytes[0..4].copy_from_slice(&word.to_le_bytes());
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes[8..16].copy_from_slice(&timestamp_ns.to_le_bytes());
    bytes
}

/// Decodes a frame's header; `None` if these bytes are none (a word of 0 among them). The checksum is not looked at.
#[inline(always)]
pub(crate) fn decode_head(bytes: &[u8]) -> Option<Head> {
    let word = u32_at(bytes, 0)?;
    let kind = match word & 0xF {
        FLAG_FRAME => Kind::Record { more: false },
        f if f == FLAG_FRAME | FLAG_MORE => Kind::Record { more: true },
        f if f == FLAG_FRAME | FLAG_SEAL => Kind::Seal,
        _ => return None,
    };
    Some(Head {
        kind,
        payload_len: (word >> 4) as usize,
        timestamp_ns: u64_at(bytes, 8)?,
        word,
        crc: u32_at(bytes, 4)?,
    })
}

/// Decodes and checks the frame at the start of `bytes`, which must be the one of `offset` in the segment of `seed`.
#[inline(always)]
pub(crate) fn decode_frame(bytes: &[u8], seed: u32, offset: u64) -> Option<Frame<'_>> {
    let frame = locate_frame(bytes)?;
    frame.head.fits_payload(seed, offset, frame.payload).then_some(frame)
}

/// Whether a reader proves a frame by its checksum, or trusts the position that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Every frame is proved.
    Verify,
    /// `LOG_NO_VERIFY`: lengths and padding are looked at, the checksum is not.
    Trust,
}

/// Decodes the frame at the start of `bytes`, which must be the one of `offset` in the segment of `seed`.
#[inline(always)]
pub(crate) fn take_frame(bytes: &[u8], seed: u32, offset: u64, check: Check) -> Option<Frame<'_>> {
    match check {
        Check::Verify => decode_frame(bytes, seed, offset),
        Check::Trust => locate_frame(bytes),
    }
}

/// Decodes the frame at the start of `bytes` with all but its checksum checked.
#[inline(always)]
pub(crate) fn locate_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (start, rest) = bytes.split_at_checked(FRAME_HEADER as usize)?;
    let head = decode_head(start)?;
    let payload = rest.get(..head.payload_len)?;
    let padding = head.payload_len.next_multiple_of(8) - head.payload_len;
    if padding == 0 {
        return Some(Frame { head, payload });
    }
    // In the last word, above what is the payload's.
    let last = u64_at(rest, head.payload_len - (8 - padding))?;
    (last >> (64 - 8 * padding) == 0).then_some(Frame { head, payload })
}

/// What a SEAL frame says of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seal {
    pub records: u64,
    pub payload_bytes: u64,
    pub first_timestamp_ns: u64,
    pub last_timestamp_ns: u64,
}

impl Seal {
    /// The whole SEAL frame of the segment that ends before `next_offset`.
    pub(crate) fn encode(&self, seed: u32, next_offset: u64) -> [u8; SEAL_BYTES as usize] {
        let mut bytes = [0; SEAL_BYTES as usize];
        let values = [self.records, self.payload_bytes, self.first_timestamp_ns, self.last_timestamp_ns];
        for (slot, value) in bytes[16..].as_chunks_mut::<8>().0.iter_mut().zip(values) {
            *slot = value.to_le_bytes();
        }
        let crc = crc32c(0, &bytes[16..]);
        let head = encode_head(Kind::Seal, seed, next_offset, self.last_timestamp_ns, 32, crc);
        bytes[..16].copy_from_slice(&head);
        bytes
    }
}

const STORE_MAGIC: [u8; 8] = *b"\x8BSEGLOG\n";
const HEADER_BYTES: usize = 80;
const HEADER_PLACES: [usize; 2] = [0, 1024];
const SLOT_BYTES: usize = 48;
const SLOT_PLACES: [u64; 2] = [2048, 3072];

/// Why a segment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The first one of a log, or the one behind a full one.
    Roll,
    /// Recovery: what it ended is kept, not deleted.
    Recovery,
    /// None yet: the segment was made ahead of need, and no record of it has ever been synced.
    Ahead,
    /// Records were dropped from its base on.
    Truncate,
    /// All records were dropped.
    Reset,
    /// A later version's reason: what it ended is kept.
    Other(u32),
}

impl Cause {
    fn number(self) -> u32 {
        match self {
            Self::Roll => 0,
            Self::Truncate => 1,
            Self::Reset => 2,
            Self::Recovery => 3,
            Self::Ahead => 4,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Roll,
            1 => Self::Truncate,
            2 => Self::Reset,
            3 => Self::Recovery,
            4 => Self::Ahead,
            other => Self::Other(other),
        }
    }
}

/// The header of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub epoch: u32,
    pub base_offset: u64,
    pub floor_epoch: u32,
    pub seed: u32,
    pub timestamp_floor_ns: u64,
    pub created_ns: u64,
    pub log_id: [u8; 16],
    pub prior_payload_bytes: u64,
    pub cause: Cause,
}

/// Why the first 4 KiB of a store hold no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// It was one, or should be.
    Damaged,
    /// It never was one.
    Foreign,
    /// It is one of this newer format version.
    Newer(u32),
}

impl Header {
    fn encode_copy(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&STORE_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base_offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.floor_epoch.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.seed.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.timestamp_floor_ns.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ns.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.log_id);
        bytes[64..72].copy_from_slice(&self.prior_payload_bytes.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.cause.number().to_le_bytes());
        let crc = crc32c(0, &bytes[..76]);
        bytes[76..80].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The first 4 KiB of a store: this header twice, and the slot if there is one.
    pub(crate) fn encode_page(&self, slot: Option<&Slot>) -> [u8; FRAMES_START as usize] {
        let mut page = [0; FRAMES_START as usize];
        for place in HEADER_PLACES {
            page[place..place + HEADER_BYTES].copy_from_slice(&self.encode_copy());
        }
        if let Some(slot) = slot {
            let place = slot.place() as usize;
            page[place..place + SLOT_BYTES].copy_from_slice(&slot.encode(self.seed));
        }
        page
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, NoHeader> {
        let damaged = NoHeader::Damaged;
        let bytes = bytes.get(..HEADER_BYTES).ok_or(damaged)?;
        if bytes[..8] != STORE_MAGIC {
            return Err(if bytes.iter().all(|byte| *byte == 0) { damaged } else { NoHeader::Foreign });
        }
        let version = u32_at(bytes, 8).ok_or(damaged)?;
        if version > VERSION {
            return Err(NoHeader::Newer(version));
        }
        if version == 0 || crc32c(0, &bytes[..76]) != u32_at(bytes, 76).ok_or(damaged)? {
            return Err(damaged);
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[48..64]);
        let decoded = || {
            Some(Self {
                epoch: u32_at(bytes, 12)?,
                base_offset: u64_at(bytes, 16)?,
                floor_epoch: u32_at(bytes, 24)?,
                seed: u32_at(bytes, 28)?,
                timestamp_floor_ns: u64_at(bytes, 32)?,
                created_ns: u64_at(bytes, 40)?,
                log_id,
                prior_payload_bytes: u64_at(bytes, 64)?,
                cause: Cause::from_number(u32_at(bytes, 72)?),
            })
        };
        decoded().ok_or(damaged)
    }

    /// Decodes the header from the first bytes of a store, from either copy.
    /// A newer version is believed only if both copies say so: one flipped byte is damage, no newer format.
    pub(crate) fn decode_page(page: &[u8]) -> Result<Self, NoHeader> {
        let copies = HEADER_PLACES.map(|place| Self::decode_copy(page.get(place..).unwrap_or_default()));
        match copies {
            // A roll writes both anew, and power loss may keep one of the two.
            [Ok(Self { cause: Cause::Ahead, .. }) | Err(_), Ok(header)] | [Ok(header), _] => Ok(header),
            [Err(first), Err(second)] if first == second => Err(first),
            _ => Err(NoHeader::Damaged),
        }
    }
}

/// A durable slot: up to where a store, and all before it, has been synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    pub count: u64,
    pub position: u64,
    pub next_offset: u64,
    pub last_timestamp_ns: u64,
    pub payload_bytes: u64,
    pub sealed: bool,
}

impl Slot {
    /// Where in the store this slot is written.
    pub(crate) fn place(&self) -> u64 {
        SLOT_PLACES[usize::from(self.count.is_multiple_of(2))]
    }

    /// Its 48 bytes, for the segment of this seed.
    pub(crate) fn encode(&self, seed: u32) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[0..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.next_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.last_timestamp_ns.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[40..44].copy_from_slice(&u32::from(self.sealed).to_le_bytes());
        let crc = crc32c(crc32c(0, &seed.to_le_bytes()), &bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], header: &Header) -> Option<Self> {
        let bytes = bytes.get(..SLOT_BYTES)?;
        let crc = crc32c(crc32c(0, &header.seed.to_le_bytes()), &bytes[..44]);
        let slot = Self {
            count: u64_at(bytes, 0)?,
            position: u64_at(bytes, 8)?,
            next_offset: u64_at(bytes, 16)?,
            last_timestamp_ns: u64_at(bytes, 24)?,
            payload_bytes: u64_at(bytes, 32)?,
            sealed: u32_at(bytes, 40)? & 1 == 1,
        };
        let frames = slot.position.checked_sub(FRAMES_START)?;
        let records = slot.next_offset.checked_sub(header.base_offset)?;
        let plausible = crc == u32_at(bytes, 44)? && frames % 8 == 0 && records <= frames / FRAME_HEADER;
        plausible.then_some(slot)
    }

    /// The newest valid slot in the first 4 KiB of a store.
    pub(crate) fn decode_page(page: &[u8], header: &Header) -> Option<Self> {
        let slots = SLOT_PLACES.map(|place| {
            let slot = Self::decode(page.get(place as usize..)?, header)?;
            (slot.place() == place).then_some(slot)
        });
        slots.into_iter().flatten().max_by_key(|slot| slot.count)
    }
}

/// The little-endian number at `at`.
#[inline(always)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The little-endian number at `at`.
#[inline(always)]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], offset: u64, kind: Kind) -> Vec<u8> {
        let mut bytes = encode_head(kind, 7, offset, 1234, payload.len(), crc32c(0, payload)).to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(frame_bytes(payload.len()) as usize, 0);
        bytes
    }

    fn header() -> Header {
        Header {
            epoch: 3,
            base_offset: 1000,
            floor_epoch: 1,
            seed: 0xDEAD_BEEF,
            timestamp_floor_ns: 5,
            created_ns: 6,
            log_id: *b"0123456789abcdef",
            prior_payload_bytes: 77,
            cause: Cause::Recovery,
        }
    }

    #[test]
    fn frames_of_every_length_read_back() {
        for len in 0..100 {
            let payload = vec![0xA5; len];
            let bytes = frame(&payload, 42, Kind::Record { more: len % 2 == 1 });
            assert_eq!(bytes.len() as u64, frame_bytes(len));
            let read = decode_frame(&bytes, 7, 42).unwrap();
            assert_eq!(read.payload, payload);
            assert_eq!(read.head.timestamp_ns, 1234);
            assert_eq!(read.head.kind, Kind::Record { more: len % 2 == 1 });
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_seen() {
        let bytes = frame(b"thirteen byte", 42, Kind::Record { more: false });
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame(&damaged, 7, 42).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_place_or_segment_never_passes() {
        let bytes = frame(b"payload", 42, Kind::Record { more: false });
        assert!(decode_frame(&bytes, 7, 43).is_none());
        assert!(decode_frame(&bytes, 8, 42).is_none());
        assert!(decode_frame(&bytes[..bytes.len() - 1], 7, 42).is_none());
        let (head, crc) = (decode_head(&bytes).unwrap(), crc32c(0, b"payload"));
        assert!(head.fits(7, 42, crc) && !head.fits(8, 42, crc) && !head.fits(7, 43, crc));
    }

    #[test]
    fn hostile_lengths_are_bounded_by_the_bytes_that_are_there() {
        for word in [0, 1, 0xFFFF_FFF1, 0xFFFF_FFFF, 0x8000_0001, 0x11, 0x13, 0x15, 0x19] {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&u32::to_le_bytes(word));
            assert!(decode_frame(&bytes, 7, 42).is_none(), "{word:#x}");
        }
    }

    #[test]
    fn flags_of_a_later_version_make_no_frame() {
        let payload = b"payload";
        for flags in 0..16 {
            let (word, crc) = (7 << 4 | flags, crc32c(0, payload));
            let mut bytes = frame(payload, 42, Kind::Record { more: false });
            bytes[..4].copy_from_slice(&u32::to_le_bytes(word));
            bytes[4..8].copy_from_slice(&frame_crc(7, word, 42, 1234, crc).to_le_bytes());
            let known = [FLAG_FRAME, FLAG_FRAME | FLAG_MORE, FLAG_FRAME | FLAG_SEAL].contains(&flags);
            assert_eq!(decode_frame(&bytes, 7, 42).is_some(), known, "flags {flags}");
        }
    }

    #[test]
    fn who_trusts_a_frame_takes_it_by_its_lengths_alone() {
        let mut bytes = frame(b"payload", 42, Kind::Record { more: false });
        let taken = take_frame(&bytes, 7, 42, Check::Verify).unwrap();
        assert_eq!((taken.payload, taken.head.frame_bytes()), (&b"payload"[..], 24));
        bytes[16] ^= 1;
        assert!(take_frame(&bytes, 7, 42, Check::Verify).is_none());
        assert_eq!(take_frame(&bytes, 7, 42, Check::Trust).unwrap().payload, b"qayload");
        bytes[23] = 1;
        assert!(take_frame(&bytes, 7, 42, Check::Trust).is_none(), "padding");
    }

    #[test]
    fn a_seal_is_a_frame() {
        let seal = Seal { records: 3, payload_bytes: 300, first_timestamp_ns: 1, last_timestamp_ns: 9 };
        let bytes = seal.encode(7, 45);
        let read = decode_frame(&bytes, 7, 45).unwrap();
        assert_eq!(read.head.kind, Kind::Seal);
        assert_eq!(u64_at(read.payload, 8), Some(300));
    }

    #[test]
    fn either_copy_of_the_header_will_do() {
        let header = header();
        let page = header.encode_page(None);
        for byte in 0..page.len() {
            let mut damaged = page;
            damaged[byte] ^= 0x10;
            assert_eq!(Header::decode_page(&damaged), Ok(header), "byte {byte}");
        }
        assert_eq!(Header::decode_page(&page[..500]), Ok(header));
        assert_eq!(Header::decode_page(&[]), Err(NoHeader::Damaged));
        assert_eq!(Header::decode_page(&[0; 4096]), Err(NoHeader::Damaged));
        assert_eq!(Header::decode_page(&[7; 4096]), Err(NoHeader::Foreign));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut page = header().encode_page(None);
        page[8] = 2;
        assert_eq!(Header::decode_page(&page), Ok(header()));
        page[1024 + 8] = 2;
        assert_eq!(Header::decode_page(&page), Err(NoHeader::Newer(2)));
        page[1024 + 20] ^= 1;
        page[1024 + 8] = 1;
        assert_eq!(Header::decode_page(&page), Err(NoHeader::Damaged), "one copy says so, the other is damaged");
    }

    #[test]
    fn the_newer_valid_slot_holds() {
        let header = header();
        let slot = |count, position| Slot {
            count,
            position,
            next_offset: 1001,
            last_timestamp_ns: 8,
            payload_bytes: 3,
            sealed: false,
        };
        let (old, new) = (slot(1, 4120), slot(2, 4144));
        let mut page = header.encode_page(Some(&old));
        assert_eq!(Slot::decode_page(&page, &header), Some(old));
        let place = new.place() as usize;
        page[place..place + 48].copy_from_slice(&new.encode(header.seed));
        assert_eq!(Slot::decode_page(&page, &header), Some(new));
        for byte in place..place + 48 {
            let mut damaged = page;
            damaged[byte] ^= 1;
            assert_eq!(Slot::decode_page(&damaged, &header), Some(old), "byte {byte}");
        }
    }

    #[test]
    fn hostile_slots_are_refused() {
        let header = header();
        let good =
            Slot { count: 1, position: 4096, next_offset: 1000, last_timestamp_ns: 0, payload_bytes: 0, sealed: false };
        for slot in [
            Slot { position: 0, ..good },
            Slot { position: 4097, ..good },
            Slot { next_offset: 999, ..good },
            Slot { next_offset: 1001, ..good },
            Slot { next_offset: u64::MAX, position: !7, ..good },
        ] {
            let page = header.encode_page(Some(&slot));
            assert_eq!(Slot::decode_page(&page, &header), None, "{slot:?}");
        }
    }
}
