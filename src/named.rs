//! Small named values, replaced atomically: of these, START, the exact first offset of a log that was trimmed. It knows
//! its own bytes and nothing of segments.

use crate::checksum::crc32c;
use crate::error::{Error, NO_OFFSET, Result, Status};
use crate::id::temporary_name;
use crate::record::{u32_at, u64_at};
use crate::sys::Dir;

/// The file's name.
pub(crate) const START: &str = "START";
const MAGIC: [u8; 8] = *b"\x8BSEGSTR\n";
const VERSION: u32 = 1;
const SLOT_BYTES: usize = 64;
const SLOT_PLACES: [u64; 2] = [0, 512];
const FILE_BYTES: usize = 1024;

/// Where a trimmed log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Start {
    /// Of the active segment when it was trimmed: below the log's floor epoch, it is void.
    pub epoch: u32,
    pub first_offset: u64,
    /// Payload bytes of all records before it, since the log was made or reset.
    pub prior_payload_bytes: u64,
    /// Of the log that it belongs to.
    pub log_id: [u8; 16],
    count: u64,
}

impl Start {
    /// A START that says this; it is written with [`Start::store`].
    pub(crate) fn new(log_id: [u8; 16], epoch: u32, first_offset: u64, prior_payload_bytes: u64) -> Self {
        Self { epoch, first_offset, prior_payload_bytes, log_id, count: 0 }
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.prior_payload_bytes.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.log_id);
        let crc = crc32c(0, &bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SLOT_BYTES)?;
        let whole =
            bytes[..8] == MAGIC && u32_at(bytes, 8)? == VERSION && crc32c(0, &bytes[..60]) == u32_at(bytes, 60)?;
        let start = Self {
            epoch: u32_at(bytes, 12)?,
            first_offset: u64_at(bytes, 24)?,
            prior_payload_bytes: u64_at(bytes, 32)?,
            log_id: bytes.get(40..56)?.try_into().ok()?,
            count: u64_at(bytes, 16)?,
        };
        whole.then_some(start)
    }

    /// Reads it; `None` if the log was never trimmed.
    pub(crate) fn load(dir: &Dir) -> Result<Option<Self>> {
        if dir.stat(START)?.is_none() {
            return Ok(None);
        }
        let mut bytes = [0; FILE_BYTES];
        let file = dir.open_read(START)?;
        let got = file.read_at(&mut bytes, 0)?;
        let slots = SLOT_PLACES.map(|place| Self::decode(bytes[..got].get(place as usize..)?));
        let newest = slots.into_iter().flatten().max_by_key(|start| start.count);
        newest.map(Some).ok_or_else(|| {
            let text =
                format!("'{}' is damaged, so the log's first offset is not known; restore it from a copy", file.path());
            Error::new(Status::Corrupt, text).at(NO_OFFSET)
        })
    }

    /// Makes it durable: on return the log begins here after any crash. What fails before anything has changed is the
    /// error as it is; what fails later, so that nobody knows what the disk holds, goes through `doubt`.
    pub(crate) fn store(mut self, dir: &Dir, doubt: impl Fn(&Error) -> Error) -> Result<()> {
        let old = Self::load(dir)?;
        self.count = old.map_or(0, |old| old.count).saturating_add(1);
        if old.is_none() {
            let mut bytes = [0; FILE_BYTES];
            for place in SLOT_PLACES {
                bytes[place as usize..place as usize + SLOT_BYTES].copy_from_slice(&self.encode());
            }
            let temporary = temporary_name(START);
            let file = dir.create_anew(&temporary)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            dir.rename(&temporary, dir, START)?;
            return dir.sync().map_err(|error| doubt(&error));
        }
        let file = dir.open_write(START)?;
        let even = usize::from(self.count.is_multiple_of(2));
        let (place, other) = (SLOT_PLACES[even], SLOT_PLACES[1 - even]);
        file.write_at(&self.encode(), place).and_then(|()| file.sync()).map_err(|error| doubt(&error))?;
        // It is done. The other slot follows, so that no slot stands alone, with the next sync of this file or without.
        let _ = file.write_at(&self.encode(), other);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn the_newest_start_is_found_with_either_slot_damaged() {
        let dir = TempDir::new();
        assert_eq!(Start::load(&dir.open()).unwrap(), None);
        for first in 1..6 {
            Start::new([7; 16], 3, first, 10 * first).store(&dir.open(), Error::clone).unwrap();
            let good = std::fs::read(dir.path().join(START)).unwrap();
            for byte in 0..good.len() {
                let mut damaged = good.clone();
                damaged[byte] ^= 4;
                std::fs::write(dir.path().join(START), &damaged).unwrap();
                let start = Start::load(&dir.open()).unwrap().unwrap();
                assert_eq!((start.first_offset, start.prior_payload_bytes), (first, 10 * first), "byte {byte}");
            }
            std::fs::write(dir.path().join(START), &good).unwrap();
        }
        std::fs::write(dir.path().join(START), [0; 1024]).unwrap();
        assert_eq!(Start::load(&dir.open()).unwrap_err().status(), Status::Corrupt);
    }
}
