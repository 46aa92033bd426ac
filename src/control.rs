//! The file LIVE: the writer's lock, and the control page in which the writer tells other processes where the log
//! stands. The truth of this process is in its own memory; the page is a copy that nobody here reads back.

use crate::error::{Error, Result, Status};
use crate::sync::Ordering;
use crate::sys::{self, Dir, File, WordMap};

/// The file's name.
pub(crate) const LIVE: &str = "LIVE";
const MAGIC: [u8; 8] = *b"\x8BSEGCTL\n";
const VERSION: u32 = 1;
const IDENTITY_BYTES: usize = 72;

const PUBLISHED_AT: usize = 128;
const END_AT: usize = 136;
const STORED_AT: usize = 192;
const DURABLE_AT: usize = 200;
const FIRST_AT: usize = 208;
const BASE_AT: usize = 216;
const EPOCH_AT: usize = 224;
const POISON_AT: usize = 232;
const LAYOUT_AT: usize = 256;
/// Bytes of the page that are written.
const PAGE_BYTES: usize = 264;

/// The writer's lock on a log's directory, held while this lives.
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, making LIVE where it is missing and `create` is set.
    pub(crate) fn take(dir: &Dir, create: bool) -> Result<Self> {
        loop {
            let file = if create { dir.open_or_create_file(LIVE) } else { dir.open_write(LIVE) }?;
            if !file.try_lock()? {
                return Err(Error::new(
                    Status::Locked,
                    format!(
                        "the log '{}' is open for writing, in this or another process; close that handle first",
                        dir.path().display()
                    ),
                ));
            }
            // Another process may have removed the file between open and lock: then the lock is of no use.
            let mine = file.stat()?;
            match dir.stat(LIVE)? {
                Some(named) if (named.device, named.inode) == (mine.device, mine.inode) => return Ok(Self { file }),
                _ => file.unlock(),
            }
        }
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.file.unlock();
    }
}

/// The fixed part of the page: which log, which boot, which file.
fn identity(file: &File, log_id: &[u8; 16], ring_bytes: u64) -> Result<[u8; IDENTITY_BYTES]> {
    let stat = file.stat()?;
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&u32::try_from(ring_bytes).unwrap_or(0).to_le_bytes());
    bytes[16..32].copy_from_slice(&sys::boot_id());
    bytes[32..48].copy_from_slice(log_id);
    bytes[48..56].copy_from_slice(&stat.device.to_le_bytes());
    bytes[56..64].copy_from_slice(&stat.inode.to_le_bytes());
    let crc = u64::from(crate::checksum::crc32c(0, &bytes[..64]));
    bytes[64..72].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// The durable offset of the writer before, if it was poisoned: from there on the page cache may show what the disk
/// does not hold. Believed only from a page of this boot, this log and this very file.
pub(crate) fn poisoned_from(file: &File, log_id: &[u8; 16], ring_bytes: u64) -> Result<Option<u64>> {
    let mut page = [0; PAGE_BYTES];
    if file.read_at(&mut page, 0)? < PAGE_BYTES || page[..IDENTITY_BYTES] != identity(file, log_id, ring_bytes)? {
        return Ok(None);
    }
    let word = |at: usize| page[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok((word(POISON_AT) != 0).then(|| word(DURABLE_AT)))
}

/// Notes for the next writer of this boot that a sync failed before this one had a control page: records from `durable`
/// on are in doubt. The ring stays as it is. Best effort, on a disk that fails.
pub(crate) fn note_poison(file: &File, log_id: &[u8; 16], ring_bytes: u64, durable: u64, os_error: i32) {
    let mut page = [0; PAGE_BYTES];
    let Ok(identity) = identity(file, log_id, ring_bytes) else { return };
    page[..IDENTITY_BYTES].copy_from_slice(&identity);
    page[DURABLE_AT..DURABLE_AT + 8].copy_from_slice(&durable.to_le_bytes());
    page[POISON_AT..POISON_AT + 8].copy_from_slice(&poison_word(os_error).to_le_bytes());
    let _ = file.write_at(&page, 0);
}

fn poison_word(os_error: i32) -> u64 {
    u64::from(os_error.unsigned_abs()) + 1
}

/// The control page, mapped for writing.
pub(crate) struct Control {
    page: WordMap,
}

impl Control {
    /// Writes the whole of LIVE (so that no store into its mapping can meet a full disk) and maps the page.
    pub(crate) fn create(file: &File, log_id: &[u8; 16], ring_at: u64, ring_bytes: u64) -> Result<Self> {
        let identity = identity(file, log_id, ring_bytes)?;
        file.allocate(0, ring_at + ring_bytes)?;
        file.write_zeros(0, ring_at + ring_bytes)?;
        file.write_at(&identity, 0)?;
        let bytes = usize::try_from(ring_at).unwrap_or(PAGE_BYTES);
        Ok(Self { page: WordMap::new(file, bytes, true)? })
    }

    /// A record was appended: up to `next_offset`, which ends at position `end`.
    #[inline]
    pub(crate) fn publish(&self, next_offset: u64, end: u64) {
        self.page.store_u64(END_AT, end, Ordering::Relaxed);
        self.page.store_u64(PUBLISHED_AT, next_offset, Ordering::Release);
    }

    /// The active segment's store has its frames up to this position.
    pub(crate) fn set_stored(&self, position: u64) {
        self.page.store_u64(STORED_AT, position, Ordering::Release);
    }

    /// Every record below this offset survives power loss.
    pub(crate) fn set_durable(&self, offset: u64) {
        self.page.store_u64(DURABLE_AT, offset, Ordering::Release);
    }

    /// The first record.
    pub(crate) fn set_first(&self, offset: u64) {
        self.page.store_u64(FIRST_AT, offset, Ordering::Release);
    }

    /// The writer failed and writes no more.
    pub(crate) fn set_poison(&self, os_error: i32) {
        self.page.store_u64(POISON_AT, poison_word(os_error), Ordering::Release);
    }

    /// Segments came or went; `layout` counts, odd while it is being done.
    pub(crate) fn set_layout(&self, layout: u64, base_offset: u64, epoch: u32) {
        self.page.store_u64(LAYOUT_AT, layout | 1, Ordering::Release);
        self.page.store_u64(BASE_AT, base_offset, Ordering::Release);
        self.page.store_u64(EPOCH_AT, u64::from(epoch), Ordering::Release);
        self.page.store_u64(LAYOUT_AT, (layout | 1) + 1, Ordering::Release);
    }
}
