//! A small value that is replaced atomically: a file with two checksummed slots. One of them is written and synced,
//! which is the moment; then the other one is written too. It knows the bytes of a slot, and neither what a value means
//! nor who else writes it.

use crate::checksum::crc32c;
use crate::error::{Error, Result, Status};
use crate::record::{u32_at, u64_at};
use crate::seeded::{Bug, seeded};
use crate::sys::{Dir, File};

const VERSION: u32 = 1;
const HEAD_BYTES: usize = 64;
/// A slot that is being written is bad for a moment; so it is read so often before the file counts as damaged.
const LOOKS: u32 = 8;

/// A kind of such files.
pub(crate) struct Kind {
    /// What one is, and what to do where it is damaged: for messages.
    pub what: &'static str,
    pub advice: &'static str,
    pub magic: [u8; 8],
    /// Where the second slot begins; the first one begins at 0.
    pub second_at: u64,
    /// The longest data behind a slot's head.
    pub data_max: usize,
}

impl Kind {
    fn place(&self, slot: usize) -> u64 {
        if slot == 0 { 0 } else { self.second_at }
    }

    fn slot_bytes(&self) -> usize {
        HEAD_BYTES + self.data_max
    }
}

/// What a slot holds. Its numbers mean what its owner says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Value {
    /// Of the log's active segment when it was written.
    pub epoch: u32,
    pub first: u64,
    pub second: u64,
    /// Of the log that it belongs to.
    pub log_id: [u8; 16],
    pub data: Vec<u8>,
}

impl Value {
    fn encode(&self, kind: &Kind, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes[0..8].copy_from_slice(&kind.magic);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&count.to_le_bytes());
        let first = if kind.data_max > 0 { self.data.len() as u64 } else { self.first };
        bytes[24..32].copy_from_slice(&first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.second.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.log_id);
        bytes[56..60].copy_from_slice(&crc32c(0, &self.data).to_le_bytes());
        let crc = crc32c(0, &bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

/// One slot, read.
enum Slot {
    Bad,
    /// Whole, and of a newer format.
    Newer,
    Good(Value, u64),
}

fn decode(kind: &Kind, bytes: &[u8]) -> Slot {
    let decoded = || -> Option<Slot> {
        let head = bytes.get(..HEAD_BYTES)?;
        if head[..8] != kind.magic || crc32c(0, &head[..60]) != u32_at(head, 60)? {
            return None;
        }
        if u32_at(head, 8)? != VERSION {
            return Some(Slot::Newer);
        }
        let first = u64_at(head, 24)?;
        let data_bytes = if kind.data_max > 0 { usize::try_from(first).ok()? } else { 0 };
        // Bounded by what is there, which is no more than a slot has.
        let data = bytes[HEAD_BYTES..].get(..data_bytes)?;
        let value = Value {
            epoch: u32_at(head, 12)?,
            first,
            second: u64_at(head, 32)?,
            log_id: head.get(40..56)?.try_into().ok()?,
            data: data.to_vec(),
        };
        (crc32c(0, data) == u32_at(head, 56)?).then_some(Slot::Good(value, u64_at(head, 16)?))
    };
    decoded().unwrap_or(Slot::Bad)
}

/// Both slots, read.
pub(crate) struct Slots {
    bytes: Vec<u8>,
    slots: [Slot; 2],
}

impl Slots {
    fn read_once(file: &File, kind: &Kind) -> Result<Self> {
        let second = usize::try_from(kind.second_at).unwrap_or(0);
        let mut bytes = vec![0; second + kind.slot_bytes()];
        let got = file.read_at(&mut bytes, 0)?;
        let slot = |at: usize| {
            let end = got.min(at + kind.slot_bytes());
            decode(kind, bytes.get(at..end).unwrap_or(&[]))
        };
        let slots = [slot(0), slot(second)];
        Ok(Self { bytes, slots })
    }

    /// Reads them; again where both are bad, since one of them may have been written meanwhile.
    pub(crate) fn read(file: &File, kind: &Kind) -> Result<Self> {
        let mut slots = Self::read_once(file, kind)?;
        for _ in 1..LOOKS {
            if !slots.is_damaged() {
                break;
            }
            slots = Self::read_once(file, kind)?;
        }
        Ok(slots)
    }

    /// Whether both are bad.
    pub(crate) fn is_damaged(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Bad))
    }

    fn count(&self, slot: usize) -> u64 {
        if let Slot::Good(_, count) = &self.slots[slot] { *count } else { 0 }
    }

    /// How often the value has been written.
    pub(crate) fn newest_count(&self) -> u64 {
        self.count(0).max(self.count(1))
    }

    /// The value that holds.
    pub(crate) fn newest(&self, file: &File, kind: &Kind) -> Result<&Value> {
        let (Kind { what, advice, .. }, path) = (kind, file.path());
        if self.slots.iter().any(|slot| matches!(slot, Slot::Newer)) {
            let text = format!("{what} '{path}' was written in a newer format; use the newer version of the library");
            return Err(Error::new(Status::Format, text));
        }
        let newest = if self.count(0) >= self.count(1) { &self.slots[0] } else { &self.slots[1] };
        if let Slot::Good(value, _) = newest {
            return Ok(value);
        }
        let text = format!("{what} '{path}' is damaged, neither of its slots is whole; {advice}");
        Err(Error::new(Status::Corrupt, text))
    }

    /// The next count, and the slot that it is written to first: an odd count goes to the slot at 0, an even one to
    /// the other, so that of two slots with one count the one that was synced is known. Where that slot is the only
    /// good one, a count is left out.
    fn next(&self) -> (u64, usize) {
        let newest = self.newest_count();
        let slot_of = |count: u64| usize::from(count.is_multiple_of(2));
        let next = newest.saturating_add(1);
        let slot = slot_of(next);
        if newest > 0 && self.count(slot) == newest && self.count(1 - slot) != newest {
            return (next.saturating_add(1), 1 - slot);
        }
        (next, slot)
    }

    /// Writes a value, durably. What fails is put back as well as can be: the slot that was written first holds again
    /// what it held, and so the value that was there before is the one that is found, and the next one to be written
    /// goes over this slot again, not over the one that the disk surely has.
    pub(crate) fn replace(&self, file: &File, kind: &Kind, value: &Value) -> Result<()> {
        let (count, slot) = self.next();
        let bytes = value.encode(kind, count);
        let (place, other) = (kind.place(slot), kind.place(1 - slot));
        if let Err(error) = file.write_at(&bytes, place).and_then(|()| file.sync()) {
            let at = usize::try_from(place).unwrap_or(0);
            let _ = file.write_at(&self.bytes[at..at + bytes.len()], place);
            return Err(error);
        }
        // It is done. The other slot follows, so that no slot stands alone, with the next sync of this file or without.
        let _ = file.write_at(&bytes, other);
        Ok(())
    }
}

/// Makes the file with its first value, whole, or not at all: under a temporary name, synced, then renamed. The
/// directory is the caller's to sync.
pub(crate) fn make(dir: &Dir, temporary: &str, name: &str, kind: &Kind, value: &Value) -> Result<()> {
    let slot = value.encode(kind, 1);
    let second = usize::try_from(kind.second_at).unwrap_or(0);
    // To the slots' full length: what is written later finds its space.
    let mut bytes = vec![0; (second + kind.slot_bytes()).next_multiple_of(512)];
    bytes[..slot.len()].copy_from_slice(&slot);
    bytes[second..second + slot.len()].copy_from_slice(&slot);
    let fill = || {
        let file = dir.create_anew(temporary)?;
        file.write_at(&bytes, 0)?;
        if !seeded(Bug::StartNotSynced) {
            file.sync()?;
        }
        dir.rename(temporary, dir, name)
    };
    fill().inspect_err(|_| {
        // It is no part of the log; what cannot be unlinked now is unlinked later.
        let _ = dir.unlink(temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    const SMALL: Kind = Kind { what: "the value", advice: "", magic: *b"\x8BSEGTST\n", second_at: 512, data_max: 0 };
    const LONG: Kind = Kind { second_at: 8192, data_max: 4096, ..SMALL };

    fn value(n: u64, kind: &Kind) -> Value {
        let data = vec![n as u8; if kind.data_max > 0 { (n as usize * 977) % 4097 } else { 0 }];
        let first = if kind.data_max > 0 { data.len() as u64 } else { n };
        Value { epoch: 3, first, second: 10 * n, log_id: [7; 16], data }
    }

    fn load(dir: &TempDir, kind: &Kind) -> Result<Value> {
        let file = dir.open().open_read("V")?;
        Slots::read(&file, kind)?.newest(&file, kind).cloned()
    }

    fn replace(dir: &TempDir, kind: &Kind, value: &Value) {
        let file = dir.open().open_write("V").unwrap();
        Slots::read(&file, kind).unwrap().replace(&file, kind, value).unwrap();
    }

    #[test]
    fn the_value_is_found_with_either_slot_damaged() {
        for kind in [&SMALL, &LONG] {
            let dir = TempDir::new();
            make(&dir.open(), "V.tmp", "V", kind, &value(1, kind)).unwrap();
            for n in 2..6 {
                replace(&dir, kind, &value(n, kind));
                let good = std::fs::read(dir.path().join("V")).unwrap();
                // Each byte of the heads, some of the others.
                let step = if kind.data_max > 0 { 211 } else { 1 };
                for byte in (0..good.len()).step_by(step) {
                    let mut damaged = good.clone();
                    damaged[byte] ^= 4;
                    std::fs::write(dir.path().join("V"), &damaged).unwrap();
                    assert_eq!(load(&dir, kind).unwrap(), value(n, kind), "byte {byte}");
                }
                std::fs::write(dir.path().join("V"), &good).unwrap();
            }
        }
    }

    /// The slot that is written is never the only good one, nor the one of which it is known that it was synced.
    #[test]
    fn a_write_that_is_torn_leaves_the_value_before_it() {
        for damaged in [None, Some(0), Some(512)] {
            let dir = TempDir::new();
            make(&dir.open(), "V.tmp", "V", &SMALL, &value(1, &SMALL)).unwrap();
            for n in 2..9 {
                if let Some(at) = damaged {
                    let mut bytes = std::fs::read(dir.path().join("V")).unwrap();
                    bytes[at..at + 64].fill(0xEE);
                    std::fs::write(dir.path().join("V"), &bytes).unwrap();
                }
                let before = std::fs::read(dir.path().join("V")).unwrap();
                replace(&dir, &SMALL, &value(n, &SMALL));
                let after = std::fs::read(dir.path().join("V")).unwrap();
                let file = dir.open().open_read("V").unwrap();
                let first = Slots::read(&file, &SMALL).unwrap().newest_count().is_multiple_of(2);
                let at = if first { 512 } else { 0 };
                for torn in 0..64 {
                    let mut bytes = before.clone();
                    bytes[at..at + torn].copy_from_slice(&after[at..at + torn]);
                    bytes[at + torn..at + 64].fill(0xEE);
                    std::fs::write(dir.path().join("V"), &bytes).unwrap();
                    assert_eq!(load(&dir, &SMALL).unwrap(), value(n - 1, &SMALL), "{damaged:?}, torn at {torn}");
                }
                std::fs::write(dir.path().join("V"), &after).unwrap();
                assert_eq!(load(&dir, &SMALL).unwrap(), value(n, &SMALL));
            }
        }
    }

    #[test]
    fn a_file_without_a_good_slot_is_damage_and_a_newer_one_is_told() {
        let dir = TempDir::new();
        for bytes in [vec![], vec![0; 1024], vec![0xFF; 100_000], value(1, &LONG).encode(&LONG, 1)] {
            std::fs::write(dir.path().join("V"), &bytes).unwrap();
            assert_eq!(load(&dir, &SMALL).unwrap_err().status(), Status::Corrupt);
        }
        let mut newer = value(1, &SMALL).encode(&SMALL, 1);
        newer[8] = 2;
        let crc = crc32c(0, &newer[..60]);
        newer[60..64].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(dir.path().join("V"), &newer).unwrap();
        assert_eq!(load(&dir, &SMALL).unwrap_err().status(), Status::Format);
    }
}
