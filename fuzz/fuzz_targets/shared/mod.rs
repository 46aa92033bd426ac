//! What the fuzz targets share: an input read piece by piece, a directory in memory, records that are told by their
//! offset, and checks of a whole log.
#![allow(dead_code, reason = "each target uses its own part")]

pub(crate) mod abi;
#[path = "../../../tests/support/format.rs"]
pub(crate) mod format;
pub(crate) mod samples;

use seglog::{Cursor, Error, Log, Status};
use std::path::{Path, PathBuf};

/// An input, taken from its front; at its end all is 0.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn word(&mut self, count: usize) -> u64 {
        let mut word = [0; 8];
        let taken = self.bytes(count);
        word[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(word)
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.word(1) as u8
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.word(2) as u16
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.word(4) as u32
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.word(8)
    }

    /// A number of any size in few bytes: small ones, powers of two and their neighbours, and whole words.
    pub(crate) fn number(&mut self) -> u64 {
        match self.u8() {
            small @ 0..=191 => u64::from(small),
            power @ 192..=253 => (1_u64 << (power - 190)).wrapping_add(u64::from(self.u8())).wrapping_sub(128),
            254 => u64::MAX - u64::from(self.u8()),
            255 => self.u64(),
        }
    }
}

/// The process's directory, empty. `SEGLOG_FUZZ_DIR` says in which; who starts the targets removes that.
pub(crate) fn scratch() -> PathBuf {
    let base = std::env::var_os("SEGLOG_FUZZ_DIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    let dir = base.join(format!("seglog-fuzz-{}", std::process::id()));
    clear(&dir);
    std::fs::create_dir_all(&dir).expect("no scratch directory");
    dir
}

/// Removes what is in a directory.
pub(crate) fn clear(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.map(|entry| entry.expect("a scratch directory is read")) {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            std::fs::remove_dir_all(path).expect("a scratch directory is cleared");
        } else {
            std::fs::remove_file(path).expect("a scratch directory is cleared");
        }
    }
}

/// The bytes of the record at `offset` of a log's `life`: of a length from 0 to 120, and none like another's. A truncation
/// or a reset begins another life.
pub(crate) fn payload(life: u64, offset: u64) -> Vec<u8> {
    let len = (offset.wrapping_mul(89).wrapping_add(life * 31) % 121) as usize;
    let seed = (offset << 4 | life).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..len as u64).map(|n| (seed.rotate_left((n * 7 % 64) as u32) ^ n) as u8).collect()
}

/// What a record may be.
pub(crate) type Expect<'a> = &'a dyn Fn(u64, &[u8]) -> bool;

/// What was seen of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) first: u64,
    pub(crate) next: u64,
    /// Offsets that do not read back, of those that were looked at.
    pub(crate) lost: Vec<u64>,
}

/// So many records are looked at, at each end, where a log says that it has more.
const LOOKED_AT: u64 = 70;

/// What a reader may hear, other than records: nothing that says a defect.
fn fine(error: &Error) {
    let fine = [Status::Corrupt, Status::Format, Status::Io, Status::NotFound];
    assert!(fine.contains(&error.status()), "{:?}: {error}", error.status());
}

/// A damaged record is stepped over; before one that cannot be read for now, the cursor stays.
fn step_over(cursor: &mut Cursor, error: &Error, from: u64, to: u64) {
    fine(error);
    let stands = if error.status() == Status::Corrupt { to } else { from };
    assert_eq!(cursor.offset(), stands, "{error}");
    cursor.seek(to).expect("an offset that is there");
}

/// Reads by offset and by cursor, forwards, in batches and backwards: every record is as expected, a cursor moves on with
/// each step, and all ways lose the same.
pub(crate) fn look(log: &Log, expect: Expect<'_>) -> Option<Seen> {
    look_at(log, expect, true)
}

/// The same of a handle that trusts lengths, which may lead each way of reading elsewhere.
pub(crate) fn look_trusting(log: &Log) -> Option<Seen> {
    look_at(log, &|_, _| true, false)
}

fn look_at(log: &Log, expect: Expect<'_>, agree: bool) -> Option<Seen> {
    let stat = log.stat().map_err(|error| fine(&error)).ok()?;
    let (first, next) = (stat.first_offset, stat.next_offset);
    assert!(first <= next && stat.durable_offset <= next, "{stat:?}");
    let mut index = 0;
    while index < 100 {
        match log.segment_at(index).inspect_err(fine) {
            Ok(Some(segment)) => assert!(segment.base_offset <= segment.next_offset, "{segment:?}"),
            Ok(None) => break,
            Err(_) => {}
        }
        index += 1;
    }
    assert_eq!(log.read(next, |_, _| ()).map_err(|error| error.status()), Err(Status::Beyond));
    if first > 0 {
        assert_eq!(log.read(first - 1, |_, _| ()).map_err(|error| error.status()), Err(Status::Trimmed));
    }
    let mut lost = Vec::new();
    let near_end = next - (next - first).min(LOOKED_AT);
    let parts =
        if next - first > 2 * LOOKED_AT { vec![first..first + LOOKED_AT, near_end..next] } else { vec![first..next] };
    for part in parts {
        let begin = lost.len();
        for offset in part.clone() {
            match log.read(offset, |bytes, _| bytes.to_vec()) {
                Ok(bytes) => assert!(expect(offset, &bytes), "wrong data at {offset}: {bytes:?}"),
                Err(error) => {
                    fine(&error);
                    lost.push(offset);
                }
            }
        }
        let of_part = lost[begin..].to_vec();
        let mut cursor = Cursor::open(log, part.start).expect("a cursor on an offset that is there");
        let mut stepped = Vec::new();
        for offset in part.clone() {
            assert_eq!(cursor.offset(), offset);
            match cursor.next() {
                Ok(Some(record)) => {
                    assert_eq!(record.offset, offset);
                    assert!(expect(offset, record.payload), "a cursor gave wrong data at {offset}");
                }
                Ok(None) => panic!("a cursor ended at {offset} of {next}"),
                Err(error) => {
                    step_over(&mut cursor, &error, offset, offset + 1);
                    stepped.push(offset);
                }
            }
        }
        assert!(!agree || stepped == of_part, "a cursor and reads by offset lose the same: {stepped:?}, {of_part:?}");
        stepped.clear();
        for offset in part.clone().rev() {
            match cursor.prev() {
                Ok(Some(record)) => {
                    assert_eq!(record.offset, offset);
                    assert!(expect(offset, record.payload), "a cursor gave wrong data backwards at {offset}");
                }
                Ok(None) => panic!("a cursor ended backwards at {offset}"),
                Err(error) => {
                    step_over(&mut cursor, &error, offset + 1, offset);
                    stepped.push(offset);
                }
            }
        }
        stepped.reverse();
        assert!(!agree || stepped == of_part, "a cursor backwards loses others: {stepped:?}, {of_part:?}");
        let mut at = part.start;
        while at < part.end {
            let batch = cursor.next_batch(7, |record| {
                assert_eq!(record.offset, at);
                assert!(expect(at, record.payload), "a cursor's batch gave wrong data at {at}");
                at += 1;
            });
            match batch {
                Ok(0) => panic!("a cursor's batches ended at {at} of {next}"),
                Ok(_) => {}
                Err(error) => {
                    step_over(&mut cursor, &error, at, at + 1);
                    assert!(!agree || of_part.contains(&at), "a batch lost {at}: {error}");
                    at += 1;
                }
            }
        }
    }
    Some(Seen { first, next, lost })
}
