//! An index: for each record of a segment its position in the store. Dense and mapped, written full when it is made. It
//! is disposable and trusted by nobody: an entry is a hint that the frame proves, or not.

use crate::checksum::crc32c;
use crate::error::{Error, Result, Status};
use crate::id::temporary_name;
use crate::record::{Header, u32_at, u64_at};
use crate::sys::{Dir, WordMap};

const MAGIC: [u8; 8] = *b"\x8BSEGIDX\n";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 64;

/// An index of so many records (64 MiB) is gone on in even if the configuration asks for a smaller one.
const SANE_RECORDS: u32 = 1 << 24;

/// Which segment an index belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub base_offset: u64,
    pub epoch: u32,
    pub seed: u32,
}

impl Owner {
    /// The segment of this header.
    pub(crate) fn of(header: &Header) -> Self {
        Self { base_offset: header.base_offset, epoch: header.epoch, seed: header.seed }
    }
}

/// The positions of a segment's records.
pub(crate) struct Index {
    entries: Entries,
    capacity: u32,
}

enum Entries {
    Mapped(WordMap),
    InMemory(Vec<u32>),
}

fn header(owner: Owner, capacity: u32) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&owner.epoch.to_le_bytes());
    bytes[16..24].copy_from_slice(&owner.base_offset.to_le_bytes());
    bytes[24..28].copy_from_slice(&owner.seed.to_le_bytes());
    bytes[28..32].copy_from_slice(&capacity.to_le_bytes());
    let crc = crc32c(0, &bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn capacity_in(bytes: &[u8], owner: Owner) -> Option<u32> {
    let capacity = u32_at(bytes, 28)?;
    let whole = u64_at(bytes, 0)?.to_le_bytes() == MAGIC && bytes.get(..36)? == &header(owner, capacity)[..36];
    whole.then_some(capacity)
}

fn file_bytes(capacity: u32) -> u64 {
    (HEADER_BYTES + 4 * u64::from(capacity)).next_multiple_of(8)
}

impl Index {
    /// Makes an index of so many records, with these first entries, over what had the name: whole, or not at all.
    pub(crate) fn create(dir: &Dir, name: &str, owner: Owner, capacity: u32, entries: &[u32]) -> Result<Self> {
        let temporary = temporary_name(name);
        let made = Self::make(dir, &temporary, owner, capacity, entries)?;
        dir.rename(&temporary, dir, name).inspect_err(|_| {
            // It is no part of the log; what cannot be unlinked now is unlinked by the next open.
            let _ = dir.unlink(&temporary);
        })?;
        Ok(made)
    }

    /// Makes one under a name that is none in the log, written full; the caller renames it.
    pub(crate) fn make(dir: &Dir, name: &str, owner: Owner, capacity: u32, entries: &[u32]) -> Result<Self> {
        let file = dir.create_anew(name)?;
        let fill = || {
            // Allocated first, so that a full disk is met before anything is written.
            file.allocate(0, file_bytes(capacity))?;
            file.write_zeros(0, file_bytes(capacity))?;
            file.write_at(&header(owner, capacity), 0)?;
            let mut at = HEADER_BYTES;
            let mut piece = [0; 4096];
            for run in entries.chunks(piece.len() / 4) {
                for (bytes, entry) in piece.as_chunks_mut::<4>().0.iter_mut().zip(run) {
                    *bytes = entry.to_le_bytes();
                }
                file.write_at(&piece[..run.len() * 4], at)?;
                at += run.len() as u64 * 4;
            }
            Self::map(&file, capacity, true)
        };
        fill().inspect_err(|_| {
            // As above.
            let _ = dir.unlink(name);
        })
    }

    /// Gives an index that is mapped for writing to a segment.
    pub(crate) fn set_owner(&self, owner: Owner) {
        if let Entries::Mapped(map) = &self.entries {
            for (at, bytes) in (0..).step_by(4).zip(header(owner, self.capacity).as_chunks::<4>().0) {
                map.store_u32(at, u32::from_le_bytes(*bytes));
            }
        }
    }

    fn map(file: &crate::sys::File, capacity: u32, writable: bool) -> Result<Self> {
        let len = usize::try_from(file_bytes(capacity))
            .map_err(|_| Error::new(Status::Memory, format!("'{}' does not fit the address space", file.path())))?;
        Ok(Self { entries: Entries::Mapped(WordMap::new(file, len, writable)?), capacity })
    }

    /// Opens the index of this segment for reading; `None` if it is missing or does not fit.
    pub(crate) fn open(dir: &Dir, name: &str, owner: Owner) -> Result<Option<Self>> {
        if dir.stat(name)?.is_none_or(|stat| !stat.regular) {
            return Ok(None);
        }
        let file = dir.open_read(name)?;
        let Some(capacity) = Self::check(&file, owner)? else { return Ok(None) };
        Self::map(&file, capacity, false).map(Some)
    }

    /// Opens it for writing, with the entries behind `used` set to zeros that have their place on the disk; makes it
    /// anew, empty, where it is missing, does not fit, or has no room for one more record.
    pub(crate) fn open_to_write(dir: &Dir, name: &str, owner: Owner, used: u32, capacity: u32) -> Result<Self> {
        if dir.stat(name)?.is_some_and(|stat| stat.regular) {
            let file = dir.open_write(name)?;
            // One that is far larger than it need be may be anybody's, and a hole.
            let sane = used..=used.max(capacity).max(SANE_RECORDS);
            if let Some(capacity) = Self::check(&file, owner)?.filter(|capacity| sane.contains(capacity)) {
                let start = HEADER_BYTES + 4 * u64::from(used);
                file.allocate(0, start)?;
                file.write_zeros(start, file_bytes(capacity) - start)?;
                return Self::map(&file, capacity, true);
            }
        }
        Self::create(dir, name, owner, capacity.max(used), &[])
    }

    fn check(file: &crate::sys::File, owner: Owner) -> Result<Option<u32>> {
        let mut bytes = [0; HEADER_BYTES as usize];
        let got = file.read_at(&mut bytes, 0)?;
        let size = file.stat()?.bytes;
        Ok(capacity_in(&bytes[..got], owner).filter(|capacity| file_bytes(*capacity) <= size))
    }

    /// An index that is no file.
    pub(crate) fn in_memory(entries: Vec<u32>) -> Self {
        Self { capacity: u32::try_from(entries.len()).unwrap_or(u32::MAX), entries: Entries::InMemory(entries) }
    }

    /// How many records it has room for.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Whether entries can be set.
    pub(crate) fn writable(&self) -> bool {
        matches!(&self.entries, Entries::Mapped(map) if map.writable())
    }

    /// The position of record base + `n`, a multiple of 8; 0 if it is not known.
    #[inline]
    pub(crate) fn position(&self, n: u64) -> u64 {
        let Some(n) = usize::try_from(n).ok().filter(|n| *n < self.capacity as usize) else { return 0 };
        let entry = match &self.entries {
            Entries::Mapped(map) => map.load_u32(HEADER_BYTES as usize + 4 * n),
            Entries::InMemory(entries) => entries.get(n).copied(),
        };
        u64::from(entry.unwrap_or(0)) * 8
    }

    /// Sets the position of record base + `n`.
    #[inline]
    pub(crate) fn set_position(&self, n: u64, position: u64) {
        if let (Entries::Mapped(map), Ok(n), Ok(entry)) =
            (&self.entries, usize::try_from(n), u32::try_from(position / 8))
            && n < self.capacity as usize
        {
            map.store_u32(HEADER_BYTES as usize + 4 * n, entry);
        }
    }

    /// Bytes of the file up to and with the entry of the last of `used` records.
    pub(crate) fn used_bytes(used: u64) -> u64 {
        HEADER_BYTES + 4 * used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    const OWNER: Owner = Owner { base_offset: 9, epoch: 2, seed: 77 };

    #[test]
    fn entries_read_back_from_the_file() {
        let dir = TempDir::new();
        let index = Index::create(&dir.open(), "i", OWNER, 5, &[512]).unwrap();
        index.set_position(1, 8192);
        index.set_position(5, 8);
        let read = Index::open(&dir.open(), "i", OWNER).unwrap().unwrap();
        assert_eq!([0, 1, 2, 5, u64::MAX].map(|n| read.position(n)), [4096, 8192, 0, 0, 0]);
        assert!(!read.writable());
    }

    #[test]
    fn an_index_that_does_not_fit_is_none() {
        let dir = TempDir::new();
        let open = || Index::open(&dir.open(), "i", OWNER).unwrap();
        assert!(open().is_none());
        Index::create(&dir.open(), "i", OWNER, 100, &[]).unwrap();
        let good = std::fs::read(dir.path().join("i")).unwrap();
        for byte in 0..36 {
            let mut damaged = good.clone();
            damaged[byte] ^= 0x20;
            std::fs::write(dir.path().join("i"), &damaged).unwrap();
            assert!(open().is_none(), "byte {byte}");
        }
        for len in [0, 10, 63, 64, good.len() - 1] {
            std::fs::write(dir.path().join("i"), &good[..len]).unwrap();
            assert!(open().is_none(), "length {len}");
        }
        std::fs::write(dir.path().join("i"), &good).unwrap();
        assert!(open().is_some());
        assert!(Index::open(&dir.open(), "i", Owner { seed: 78, ..OWNER }).unwrap().is_none());
    }

    #[test]
    fn opening_to_write_clears_what_lies_behind_the_end() {
        let dir = TempDir::new();
        let index = Index::create(&dir.open(), "i", OWNER, 8, &[1, 2, 3, 4]).unwrap();
        assert_eq!(index.position(3), 32);
        let index = Index::open_to_write(&dir.open(), "i", OWNER, 2, 4).unwrap();
        assert_eq!([0, 1, 2, 3].map(|n| index.position(n)), [8, 16, 0, 0]);
        assert_eq!(index.capacity(), 8);
    }
}
