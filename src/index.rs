//! An index: for each record of a segment its position in the store. Dense and mapped, written full when it is made;
//! where nothing is mapped, kept in memory and written when the segment is sealed. It is disposable and trusted by
//! nobody: an entry is a hint that the frame proves, or not.

use crate::checksum::crc32c;
use crate::entries::{Growing, InFile};
use crate::error::{Error, Result, Status};
use crate::id::temporary_name;
use crate::record::{Header, u32_at, u64_at};
use crate::sys::{Dir, File, WordMap, takes_no_mapping};

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
    Growing(Growing),
    InFile(InFile),
}

impl Entries {
    /// Entry `n`; 0 if it is not known.
    #[inline(never)]
    fn get(&self, n: usize) -> u32 {
        match self {
            Self::Mapped(map) => map.load_u32(HEADER_BYTES as usize + 4 * n).unwrap_or(0),
            Self::InMemory(entries) => entries.get(n).copied().unwrap_or(0),
            Self::Growing(entries) => entries.get(n),
            Self::InFile(entries) => entries.get(n),
        }
    }

    /// Sets entry `n` where nothing is mapped.
    #[inline(never)]
    fn set(&self, n: usize, entry: u32) {
        if let Self::Growing(entries) = self {
            entries.set(n, entry);
        }
    }
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
    /// Makes an index of so many records, over what had the name: whole, or not at all. Where nothing is mapped it is
    /// no file yet.
    pub(crate) fn create(dir: &Dir, name: &str, owner: Owner, capacity: u32) -> Result<Self> {
        let temporary = temporary_name(name);
        let made = Self::make(dir, &temporary, owner, capacity)?;
        if dir.maps() {
            Self::name(dir, &temporary, name)?;
        }
        Ok(made)
    }

    fn name(dir: &Dir, temporary: &str, name: &str) -> Result<()> {
        dir.rename(temporary, dir, name).inspect_err(|_| {
            // It is no part of the log; what cannot be unlinked now is unlinked by the next open.
            let _ = dir.unlink(temporary);
        })
    }

    /// Makes one under a name that is none in the log, written full; the caller renames it. Where nothing is mapped it
    /// is no file.
    pub(crate) fn make(dir: &Dir, name: &str, owner: Owner, capacity: u32) -> Result<Self> {
        if !dir.maps() {
            return Self::growing(capacity, None);
        }
        let file = dir.create_anew(name)?;
        let fill = || {
            // Allocated first, so that a full disk is met before anything is written.
            file.allocate(0, file_bytes(capacity))?;
            file.write_zeros(0, file_bytes(capacity))?;
            file.write_at(&header(owner, capacity), 0)?;
            Self::map(&file, capacity, true)
        };
        fill().inspect_err(|_| {
            // As above.
            let _ = dir.unlink(name);
        })
    }

    fn growing(capacity: u32, before: Option<(InFile, usize)>) -> Result<Self> {
        let growing = Growing::new(capacity, before);
        let growing = growing.ok_or_else(|| Error::new(Status::Memory, "out of memory for an index"))?;
        Ok(Self { entries: Entries::Growing(growing), capacity })
    }

    /// Writes an index of so many records, the first `used` of which stand where `entry` says, over what had the name:
    /// whole, or not at all. Behind them it is a hole.
    pub(crate) fn write(
        dir: &Dir,
        name: &str,
        owner: Owner,
        capacity: u32,
        used: u32,
        entry: impl Fn(usize) -> u32,
    ) -> Result<()> {
        const STEP: usize = 4096;
        let temporary = temporary_name(name);
        let file = dir.create_anew(&temporary)?;
        let fill = || {
            file.allocate(0, file_bytes(used))?;
            file.write_at(&header(owner, capacity), 0)?;
            let mut piece = [0; 4 * STEP];
            for first in (0..used as usize).step_by(STEP) {
                let count = STEP.min(used as usize - first);
                for (n, bytes) in (first..first + count).zip(piece.as_chunks_mut::<4>().0) {
                    *bytes = entry(n).to_le_bytes();
                }
                file.write_at(&piece[..4 * count], HEADER_BYTES + 4 * first as u64)?;
            }
            if capacity > used { file.grow_to(file_bytes(capacity)) } else { Ok(()) }
        };
        fill().inspect_err(|_| {
            // As above.
            let _ = dir.unlink(&temporary);
        })?;
        Self::name(dir, &temporary, name)
    }

    /// Writes one that is kept in memory, so that others find it: of the first `used` records, with room for
    /// `capacity`.
    pub(crate) fn keep(&self, dir: &Dir, name: &str, owner: Owner, capacity: u32, used: u32) -> Result<()> {
        match &self.entries {
            Entries::Growing(growing) => Self::write(dir, name, owner, capacity, used, |n| growing.get(n)),
            _ => Ok(()),
        }
    }

    /// Gives an index that is mapped for writing to a segment.
    pub(crate) fn set_owner(&self, owner: Owner) {
        if let Entries::Mapped(map) = &self.entries {
            let bytes = header(owner, self.capacity);
            map.store_u32s(0, bytes.as_chunks::<4>().0.iter().map(|half| u32::from_le_bytes(*half)));
        }
    }

    fn map(file: &File, capacity: u32, writable: bool) -> Result<Self> {
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
        let mapped = dir.maps().then(|| Self::map(&file, capacity, false));
        match mapped {
            Some(Err(error)) if !takes_no_mapping(&error) => Err(error),
            Some(Ok(mapped)) => Ok(Some(mapped)),
            _ => Ok(Some(Self { entries: Entries::InFile(InFile::new(file, HEADER_BYTES)), capacity })),
        }
    }

    /// Opens it for writing, with the entries behind `used` set to zeros that have their place on the disk; makes it
    /// anew, empty, where it is missing, does not fit, or has no room for one more record. Where nothing is mapped, the
    /// file stays as it is.
    pub(crate) fn open_to_write(dir: &Dir, name: &str, owner: Owner, used: u32, capacity: u32) -> Result<Self> {
        if dir.stat(name)?.is_some_and(|stat| stat.regular) {
            let file = dir.open_write(name)?;
            // One that is far larger than it need be may be anybody's, and a hole.
            let sane = used..=used.max(capacity).max(SANE_RECORDS);
            if let Some(capacity) = Self::check(&file, owner)?.filter(|capacity| sane.contains(capacity)) {
                if !dir.maps() {
                    return Self::growing(capacity, Some((InFile::new(file, HEADER_BYTES), used as usize)));
                }
                let start = HEADER_BYTES + 4 * u64::from(used);
                file.allocate(0, start)?;
                file.write_zeros(start, file_bytes(capacity) - start)?;
                return Self::map(&file, capacity, true);
            }
        }
        Self::create(dir, name, owner, capacity.max(used))
    }

    fn check(file: &File, owner: Owner) -> Result<Option<u32>> {
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

    /// Whether there is a file of it.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.entries, Entries::Mapped(_) | Entries::InFile(_))
    }

    /// Whether entries can be set.
    pub(crate) fn writable(&self) -> bool {
        match &self.entries {
            Entries::Mapped(map) => map.writable(),
            Entries::Growing(_) => true,
            Entries::InMemory(_) | Entries::InFile(_) => false,
        }
    }

    /// The position of record base + `n`, a multiple of 8; 0 if it is not known.
    #[inline(always)]
    pub(crate) fn position(&self, n: u64) -> u64 {
        if n >= u64::from(self.capacity) {
            return 0;
        }
        let entry = match &self.entries {
            Entries::Mapped(map) => map.load_u32(HEADER_BYTES as usize + 4 * n as usize).unwrap_or(0),
            others => others.get(n as usize),
        };
        u64::from(entry) * 8
    }

    /// Sets the position of record base + `n`.
    #[inline]
    pub(crate) fn set_position(&self, n: u64, position: u64) {
        if let (Ok(n), Ok(entry)) = (usize::try_from(n), u32::try_from(position / 8))
            && n < self.capacity as usize
        {
            if let Entries::Mapped(map) = &self.entries {
                map.store_u32(HEADER_BYTES as usize + 4 * n, entry);
            } else {
                self.entries.set(n, entry);
            }
        }
    }

    /// Sets the positions of the records from base + `n` on.
    #[inline(always)]
    pub(crate) fn set_positions(&self, n: u64, positions: impl ExactSizeIterator<Item = u64>) {
        match (&self.entries, usize::try_from(n)) {
            (Entries::Mapped(map), Ok(first)) if positions.len() <= (self.capacity as usize).saturating_sub(first) => {
                // One that no entry can say is not known.
                let entries = positions.map(|position| u32::try_from(position / 8).unwrap_or(0));
                map.store_u32s(HEADER_BYTES as usize + 4 * first, entries);
            }
            _ => {
                positions.enumerate().for_each(|(i, position)| self.set_position(n.saturating_add(i as u64), position));
            }
        }
    }

    /// Sees to it that the entries of so many records from base + `n` on can be set without a page fault, where they
    /// are mapped.
    pub(crate) fn populate(&self, n: u64, count: u64) {
        if let (Entries::Mapped(map), Ok(n), Ok(count)) = (&self.entries, usize::try_from(n), usize::try_from(count)) {
            map.populate(HEADER_BYTES as usize + 4 * n, 4 * count);
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
        let index = Index::create(&dir.open(), "i", OWNER, 5).unwrap();
        index.set_positions(0, [4096, 8192].into_iter());
        index.set_positions(4, [0, 8, 16].into_iter());
        index.set_position(5, 8);
        index.set_positions(u64::MAX, [8].into_iter());
        let read = Index::open(&dir.open(), "i", OWNER).unwrap().unwrap();
        assert_eq!([0, 1, 2, 5, u64::MAX].map(|n| read.position(n)), [4096, 8192, 0, 0, 0]);
        assert!(!read.writable());
    }

    #[test]
    fn an_index_that_does_not_fit_is_none() {
        let dir = TempDir::new();
        let open = || Index::open(&dir.open(), "i", OWNER).unwrap();
        assert!(open().is_none());
        Index::create(&dir.open(), "i", OWNER, 100).unwrap();
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
        Index::write(&dir.open(), "i", OWNER, 8, 4, |n| n as u32 + 1).unwrap();
        assert_eq!(Index::open(&dir.open(), "i", OWNER).unwrap().unwrap().position(3), 32);
        let index = Index::open_to_write(&dir.open(), "i", OWNER, 2, 4).unwrap();
        assert_eq!([0, 1, 2, 3].map(|n| index.position(n)), [8, 16, 0, 0]);
        assert_eq!(index.capacity(), 8);
    }
}
