//! The entries of an index where nothing is mapped: those of a segment that grows are kept in memory until they are
//! written as a whole, those of a file are read by calls, a block at a time. It knows numbers of records and entries,
//! and no segment.

use crate::sync::{AtomicU32, Mutex, OnceLock, Ordering, TryLockError};
use crate::sys::File;

/// Entries in a block.
const BLOCK: usize = 1024;

/// Entries that are set one after another while others look. Memory is taken as they come, and where there is none, an
/// entry is forgotten: it is a hint only.
pub(crate) struct Growing {
    blocks: Vec<OnceLock<Box<[AtomicU32]>>>,
    /// Where those are that nobody has set here, if there is such a place, and how many of them count.
    before: Option<(InFile, usize)>,
}

impl Growing {
    /// For so many entries; `None` where the memory for that is missing. The first ones may be in a file: so many.
    pub(crate) fn new(capacity: u32, before: Option<(InFile, usize)>) -> Option<Self> {
        let count = (capacity as usize).div_ceil(BLOCK);
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).ok()?;
        blocks.resize_with(count, OnceLock::new);
        Some(Self { blocks, before })
    }

    fn make_block() -> Option<Box<[AtomicU32]>> {
        let mut entries = Vec::new();
        entries.try_reserve_exact(BLOCK).ok()?;
        entries.resize_with(BLOCK, || AtomicU32::new(0));
        Some(entries.into_boxed_slice())
    }

    /// Entry `n`; 0 if it is not known.
    pub(crate) fn get(&self, n: usize) -> u32 {
        let block = self.blocks.get(n / BLOCK).and_then(OnceLock::get);
        match block.map_or(0, |entries| entries[n % BLOCK].load(Ordering::Relaxed)) {
            0 => self.before.as_ref().filter(|(_, count)| n < *count).map_or(0, |(file, _)| file.get(n)),
            entry => entry,
        }
    }

    /// Sets entry `n`, which is below the capacity.
    pub(crate) fn set(&self, n: usize, entry: u32) {
        let Some(block) = self.blocks.get(n / BLOCK) else { return };
        if block.get().is_none()
            && let Some(made) = Self::make_block()
        {
            // Another one may have come first.
            let _ = block.set(made);
        }
        if let Some(entries) = block.get() {
            entries[n % BLOCK].store(entry, Ordering::Relaxed);
        }
    }
}

/// Entries of a file, of which the block that was read last is kept.
pub(crate) struct InFile {
    file: File,
    /// Where entry 0 stands.
    start: u64,
    last: Mutex<Block>,
}

#[derive(Default)]
struct Block {
    first: usize,
    entries: Vec<u32>,
}

impl InFile {
    /// The entries from byte `start` of this file on.
    pub(crate) fn new(file: File, start: u64) -> Self {
        Self { file, start, last: Mutex::default() }
    }

    /// Entry `n`; 0 if it is not known or cannot be read.
    pub(crate) fn get(&self, n: usize) -> u32 {
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => return self.read(n, 1, &mut [0; 4]).next().unwrap_or(0),
        };
        let kept = n.checked_sub(last.first).and_then(|n| last.entries.get(n).copied());
        // One that was not known may be by now.
        if let Some(entry) = kept.filter(|entry| *entry != 0) {
            return entry;
        }
        last.first = n - n % BLOCK;
        last.entries.clear();
        if last.entries.try_reserve_exact(BLOCK).is_err() {
            return self.read(n, 1, &mut [0; 4]).next().unwrap_or(0);
        }
        let first = last.first;
        last.entries.extend(self.read(first, BLOCK, &mut [0; 4 * BLOCK]));
        last.entries.get(n % BLOCK).copied().unwrap_or(0)
    }

    fn read<'a>(&self, n: usize, count: usize, bytes: &'a mut [u8]) -> impl Iterator<Item = u32> + use<'a> {
        let (got, _) = self.file.read_some(bytes, self.start + 4 * n as u64);
        let (entries, _) = bytes[..got].as_chunks::<4>();
        entries.iter().take(count).map(|bytes| u32::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn what_was_set_is_found_and_nothing_else() {
        let entries = Growing::new(2 * BLOCK as u32 + 1, None).unwrap();
        let places = [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK];
        for n in places {
            entries.set(n, n as u32 + 7);
        }
        for n in 0..4 * BLOCK {
            let expected = if places.contains(&n) { n as u32 + 7 } else { 0 };
            assert_eq!(entries.get(n), expected, "entry {n}");
        }
        entries.set(9 * BLOCK, 1);
    }

    #[test]
    fn entries_of_a_file_are_found_when_they_come_and_missed_where_it_was_cut() {
        let dir = TempDir::new();
        let path = dir.path().join("i");
        let bytes = |entries: std::ops::Range<u32>| entries.flat_map(u32::to_le_bytes).collect::<Vec<_>>();
        std::fs::write(&path, [vec![0; 8], bytes(1..3001)].concat()).unwrap();
        let entries = InFile::new(dir.open().open_read("i").unwrap(), 8);
        for n in [0, 2999, 5, 1023, 1024, 3000, 1 << 40] {
            assert_eq!(entries.get(n), if n < 3000 { n as u32 + 1 } else { 0 }, "entry {n}");
        }
        let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut &file, &bytes(3001..3002)).unwrap();
        assert_eq!(entries.get(3000), 3001);
        file.set_len(8 + 4 * 10 + 2).unwrap();
        assert_eq!([9, 10, 11].map(|n| entries.get(n)), [10, 0, 0]);
        let growing = Growing::new(100, Some((entries, 5))).unwrap();
        growing.set(1, 77);
        growing.set(5, 55);
        assert_eq!([0, 1, 4, 5, 6].map(|n| growing.get(n)), [1, 77, 5, 55, 0]);
    }
}
