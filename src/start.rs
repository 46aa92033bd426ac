//! START: where a log begins that was trimmed. A value in two slots.

use crate::error::{Error, Result};
use crate::id::temporary_name;
use crate::slots::{self, Kind, Slots, Value};
use crate::sys::Dir;

/// The file's name.
pub(crate) const START: &str = "START";
const KIND: Kind = Kind {
    what: "the log's first offset",
    advice: "restore it from a copy",
    magic: *b"\x8BSEGSTR\n",
    second_at: 512,
    data_max: 0,
};

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
}

impl Start {
    /// Reads it; `None` if the log was never trimmed.
    pub(crate) fn load(dir: &Dir) -> Result<Option<Self>> {
        if dir.stat(START)?.is_none() {
            return Ok(None);
        }
        let file = dir.open_read(START)?;
        let slots = Slots::read(&file, &KIND)?;
        let value = slots.newest(&file, &KIND)?;
        Ok(Some(Self {
            epoch: value.epoch,
            first_offset: value.first,
            prior_payload_bytes: value.second,
            log_id: value.log_id,
        }))
    }

    /// Makes it durable: on return the log begins here after any crash. What fails before anything has changed is the
    /// error as it is; what fails later, so that nobody knows what the disk holds, goes through `doubt`.
    pub(crate) fn store(self, dir: &Dir, doubt: impl Fn(&Error) -> Error) -> Result<()> {
        let value = Value {
            epoch: self.epoch,
            first: self.first_offset,
            second: self.prior_payload_bytes,
            log_id: self.log_id,
            data: Vec::new(),
        };
        if dir.stat(START)?.is_none() {
            slots::make(dir, &temporary_name(START), START, &KIND, &value)?;
            return dir.sync().map_err(|error| doubt(&error));
        }
        let file = dir.open_write(START)?;
        let slots = Slots::read(&file, &KIND)?;
        slots.newest(&file, &KIND)?;
        slots.replace(&file, &KIND, &value).map_err(|error| doubt(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;
    use crate::testing::TempDir;

    #[test]
    fn the_newest_start_is_found_with_either_slot_damaged() {
        let dir = TempDir::new();
        assert_eq!(Start::load(&dir.open()).unwrap(), None);
        for first in 1..6 {
            Start { epoch: 3, first_offset: first, prior_payload_bytes: 10 * first, log_id: [7; 16] }
                .store(&dir.open(), Error::clone)
                .unwrap();
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
