//! The file LIVE: the writer's lock, and the control page in which the writer tells those who follow the log, in this
//! and in other processes, where it stands. The writer's own truth is in its memory; the page is a copy that it never
//! reads back, but for the layout.

use crate::error::{Error, Result, Status};
use crate::id::Id;
use crate::sync::{Ordering, fence};
use crate::sys::{self, Dir, File, Stat, WordMap};

/// The file's name.
pub(crate) const LIVE: &str = "LIVE";
const MAGIC: [u8; 8] = *b"\x8BSEGCTL\n";
const VERSION: u32 = 1;
const IDENTITY_BYTES: usize = 72;

const PUBLISHED_AT: usize = 128;
const END_AT: usize = 136;
const PAYLOAD_AT: usize = 144;
const STORED_AT: usize = 192;
const DURABLE_AT: usize = 200;
const FIRST_AT: usize = 208;
const BASE_AT: usize = 216;
const EPOCH_AT: usize = 224;
const POISON_AT: usize = 232;
const FIRST_PAYLOAD_AT: usize = 240;
const WRITER_AT: usize = 248;
const LAYOUT_AT: usize = 256;
const RECOVERED_AT: usize = 264;
const DROPPED_AT: usize = 272;
/// Bytes of the page that the next writer looks at.
const PAGE_BYTES: usize = LAYOUT_AT + 8;

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
fn identity(stat: &Stat, boot_id: [u8; 16], log_id: &[u8; 16], ring_bytes: u64) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&u32::try_from(ring_bytes).unwrap_or(0).to_le_bytes());
    bytes[16..32].copy_from_slice(&boot_id);
    bytes[32..48].copy_from_slice(log_id);
    bytes[48..56].copy_from_slice(&stat.device.to_le_bytes());
    bytes[56..64].copy_from_slice(&stat.inode.to_le_bytes());
    let crc = u64::from(crate::checksum::crc32c(0, &bytes[..64]));
    bytes[64..72].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn identity_now(file: &File, log_id: &[u8; 16], ring_bytes: u64) -> Result<[u8; IDENTITY_BYTES]> {
    Ok(identity(&file.stat()?, sys::boot_id(), log_id, ring_bytes))
}

/// The durable offset of the writer before, if it was poisoned: from there on the page cache may show what the disk
/// does not hold. Believed only from a page of this boot, this log and this very file.
pub(crate) fn poisoned_from(file: &File, log_id: &[u8; 16], ring_bytes: u64) -> Result<Option<u64>> {
    let mut page = [0; PAGE_BYTES];
    if file.read_at(&mut page, 0)? < PAGE_BYTES || page[..IDENTITY_BYTES] != identity_now(file, log_id, ring_bytes)? {
        return Ok(None);
    }
    let word = |at: usize| page[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok((word(POISON_AT) != 0).then(|| word(DURABLE_AT)))
}

/// Notes for the next writer of this boot that a sync failed before this one had a control page: records from `durable`
/// on are in doubt. The ring stays as it is. Best effort, on a disk that fails.
pub(crate) fn note_poison(file: &File, log_id: &[u8; 16], ring_bytes: u64, durable: u64, os_error: i32) {
    let mut page = [0; PAGE_BYTES];
    let Ok(identity) = identity_now(file, log_id, ring_bytes) else { return };
    page[..IDENTITY_BYTES].copy_from_slice(&identity);
    page[DURABLE_AT..DURABLE_AT + 8].copy_from_slice(&durable.to_le_bytes());
    page[POISON_AT..POISON_AT + 8].copy_from_slice(&poison_word(os_error).to_le_bytes());
    let _ = file.write_at(&page, 0);
}

fn poison_word(os_error: i32) -> u64 {
    u64::from(os_error.unsigned_abs()) + 1
}

/// Ends what the page of a writer before says, so that nobody follows it any further: all that it published is in the
/// stores, and files are about to go. Best effort: who follows is not worth failing for.
pub(crate) fn end_session(file: &File) {
    let mut word = [0; 8];
    let there = file.read_at(&mut word, LAYOUT_AT as u64).is_ok_and(|got| got == word.len());
    if there && word != [0; 8] {
        let _ = file.write_at(&[0; 8], LAYOUT_AT as u64);
    }
}

/// Where a log stands when its writer begins.
pub(crate) struct Standing {
    pub active: Id,
    /// Of the active segment: behind its last frame, all of which are in the store.
    pub end: u64,
    pub next_offset: u64,
    /// Of all records since the log was made or reset.
    pub payload_bytes: u64,
    pub durable: u64,
    pub first_offset: u64,
    /// Of all records before the first.
    pub first_payload_bytes: u64,
    pub recovered_records: u64,
    pub dropped_bytes: u64,
}

/// The control page, mapped for writing.
pub(crate) struct Control {
    page: WordMap,
}

impl Control {
    /// Writes the whole of LIVE (so that no store into its mapping can meet a full disk) and maps the page.
    pub(crate) fn create(file: &File, log_id: &[u8; 16], ring_at: u64, ring_bytes: u64) -> Result<Self> {
        let identity = identity_now(file, log_id, ring_bytes)?;
        file.allocate(0, ring_at + ring_bytes)?;
        file.write_zeros(0, ring_at + ring_bytes)?;
        file.write_at(&identity, 0)?;
        let bytes = usize::try_from(ring_at).unwrap_or(PAGE_BYTES);
        Ok(Self { page: WordMap::new(file, bytes, true)? })
    }

    fn set(&self, at: usize, value: u64) {
        self.page.store_u64(at, value, Ordering::Release);
    }

    /// Says where the log stands; from here on it can be followed.
    pub(crate) fn begin(&self, standing: &Standing) -> Result<()> {
        self.set_active(standing.active, standing.end);
        self.set_first(standing.first_offset, standing.first_payload_bytes);
        self.set_durable(standing.durable);
        self.set(RECOVERED_AT, standing.recovered_records);
        self.set(DROPPED_AT, standing.dropped_bytes);
        self.set(WRITER_AT, u64::from(sys::process_id().unsigned_abs()));
        self.publish(standing.next_offset, standing.end, standing.payload_bytes);
        // Even and not 0; nobody who knew another writer takes it for that one's.
        let layout = (u64::from_le_bytes(sys::random_bytes()?) >> 2 | 1) << 1;
        self.set(LAYOUT_AT, layout);
        Ok(())
    }

    /// The writer leaves; what the page says stays true.
    pub(crate) fn end(&self) {
        self.set(WRITER_AT, 0);
    }

    /// A record was appended: up to `next_offset`, which ends at position `end`.
    #[inline]
    pub(crate) fn publish(&self, next_offset: u64, end: u64, payload_bytes: u64) {
        const { assert!(END_AT == PUBLISHED_AT + 8 && PAYLOAD_AT == PUBLISHED_AT + 16) };
        self.page.store_behind_first(PUBLISHED_AT, next_offset, [end, payload_bytes]);
    }

    /// The active segment's store has its frames up to this position. Said before the ring is used again.
    pub(crate) fn set_stored(&self, position: u64) {
        self.set(STORED_AT, position);
    }

    /// Every record below this offset survives power loss.
    pub(crate) fn set_durable(&self, offset: u64) {
        self.set(DURABLE_AT, offset);
    }

    /// The first record, and the payload bytes of all before it.
    pub(crate) fn set_first(&self, offset: u64, payload_bytes: u64) {
        self.set(FIRST_PAYLOAD_AT, payload_bytes);
        self.set(FIRST_AT, offset);
    }

    /// The writer failed and writes no more.
    pub(crate) fn set_poison(&self, os_error: i32) {
        self.set(POISON_AT, poison_word(os_error));
    }

    fn set_active(&self, active: Id, end: u64) {
        self.set(BASE_AT, active.base_offset);
        self.set(EPOCH_AT, u64::from(active.epoch));
        self.set(STORED_AT, end);
        self.set(END_AT, end);
    }

    fn layout(&self) -> u64 {
        self.page.load_u64(LAYOUT_AT, Ordering::Relaxed)
    }

    /// Files of the row were changed or are about to be deleted: who follows looks again.
    pub(crate) fn note_change(&self) {
        self.set(LAYOUT_AT, self.layout().wrapping_add(2));
    }

    /// Another segment becomes the active one. Until the change is dropped, nobody believes what the page says of
    /// segments; so all that was published must be in the stores.
    pub(crate) fn change(&self) -> Change<'_> {
        self.page.store_u64(LAYOUT_AT, self.layout() | 1, Ordering::Relaxed);
        // Who sees one word of what follows also sees that the layout is odd.
        fence(Ordering::Release);
        Change(self)
    }
}

/// The time while another segment becomes the active one.
pub(crate) struct Change<'a>(&'a Control);

impl Change<'_> {
    /// This one, empty, is it.
    pub(crate) fn set_active(&self, active: Id, end: u64) {
        self.0.set_active(active, end);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.set(LAYOUT_AT, self.0.layout().wrapping_add(1));
    }
}

/// The control page as those see it who follow the log. It may be any bytes: what it says is bounded and proved by who
/// uses it.
pub(crate) struct SeenControl {
    page: WordMap,
}

/// What the page said of one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub layout: u64,
    pub active: Id,
    pub stored: u64,
    pub end: u64,
    pub next_offset: u64,
    pub payload_bytes: u64,
    pub durable: u64,
    pub first_offset: u64,
    pub first_payload_bytes: u64,
}

impl SeenControl {
    /// A page that says nothing.
    pub(crate) fn empty(bytes: u64) -> Result<Self> {
        Ok(Self { page: WordMap::zeros(usize::try_from(bytes).unwrap_or(PAGE_BYTES))? })
    }

    /// The page of this file, which is long enough, from now on; without one, it says nothing.
    pub(crate) fn show(&self, file: Option<&File>) -> Result<()> {
        self.page.replace(file)
    }

    fn get(&self, at: usize) -> u64 {
        self.page.load_u64(at, Ordering::Acquire)
    }

    /// Which log's page it is, if it is one of this boot in this file.
    pub(crate) fn log_id(&self, stat: &Stat, boot_id: [u8; 16], ring_bytes: u64) -> Option<[u8; 16]> {
        let mut bytes = [0; IDENTITY_BYTES];
        for (n, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = self.get(n * 8).to_le_bytes();
        }
        let log_id = *bytes[32..].first_chunk()?;
        (bytes == identity(stat, boot_id, &log_id, ring_bytes)).then_some(log_id)
    }

    /// Counts what becomes of the row; another number in each session. 0 and odd ones: nothing is to be believed.
    #[inline]
    pub(crate) fn layout(&self) -> u64 {
        self.get(LAYOUT_AT)
    }

    /// The next offset.
    #[inline]
    pub(crate) fn published(&self) -> u64 {
        self.get(PUBLISHED_AT)
    }

    /// The first offset.
    #[inline]
    pub(crate) fn first(&self) -> u64 {
        self.get(FIRST_AT)
    }

    /// The active segment's end and stored position. Then the layout must be looked at.
    #[inline]
    pub(crate) fn end_and_stored(&self) -> (u64, u64) {
        let found = (self.get(END_AT), self.get(STORED_AT));
        // Pairs with the fence in `change`.
        fence(Ordering::Acquire);
        found
    }

    /// What it says at this layout; `None` if that is not the layout, or not one to be believed.
    pub(crate) fn seen(&self, layout: u64) -> Option<Seen> {
        if layout == 0 || layout % 2 == 1 || self.layout() != layout {
            return None;
        }
        let next_offset = self.published();
        let (end, stored) = self.end_and_stored();
        let active = Id { base_offset: self.get(BASE_AT), epoch: u32::try_from(self.get(EPOCH_AT)).ok()? };
        let seen = Seen {
            layout,
            active,
            stored,
            end,
            next_offset,
            payload_bytes: self.get(PAYLOAD_AT),
            durable: self.durable(),
            first_offset: self.first(),
            first_payload_bytes: self.get(FIRST_PAYLOAD_AT),
        };
        fence(Ordering::Acquire);
        (self.layout() == layout).then_some(seen)
    }

    /// Every record below it survives power loss.
    pub(crate) fn durable(&self) -> u64 {
        self.get(DURABLE_AT)
    }

    /// What the writer's open found: records behind the durable mark, and bytes that it left out.
    pub(crate) fn recovered(&self) -> (u64, u64) {
        (self.get(RECOVERED_AT), self.get(DROPPED_AT))
    }

    /// The process that opened the log for writing; 0 if it has closed it.
    pub(crate) fn writer(&self) -> i32 {
        i32::try_from(self.get(WRITER_AT)).unwrap_or(0)
    }
}
