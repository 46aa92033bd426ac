//! The file LIVE: the writer's lock, and the control page in which the writer tells those who follow the log, in this
//! and in other processes, where it stands. The writer's own truth is in its memory; the page is a copy that it never
//! reads back, but for the layout.

use crate::error::{Error, Result, Status};
use crate::id::Id;
use crate::page::{Page, SeenPage};
use crate::seeded::{Bug, seeded};
use crate::sync::{Arc, Ordering, fence};
use crate::sys::{self, Dir, File, LockFile, Lockable, Slept, Stat, Window};
use crate::waiting::{Alarm, Awaited, Bed, Heard};
use std::time::Duration;

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

/// So often LIVE may be another file when it has been locked.
const LOCK_TRIES: u32 = 100;

/// The writer's lock on a log's directory, held while this lives.
pub(crate) struct Lock {
    file: LockFile,
    stat: Stat,
}

impl Lock {
    /// Takes the lock, making LIVE where it is missing and `create` is set.
    pub(crate) fn take(dir: &Dir, create: bool) -> Result<Self> {
        for _ in 0..LOCK_TRIES {
            let file = LockFile::open(|| if create { dir.open_or_create_file(LIVE) } else { dir.open_write(LIVE) })?;
            if !file.file().try_lock()? {
                return Err(Error::new(
                    Status::Locked,
                    format!(
                        "the log '{}' is open for writing, in this or another process; close that handle first",
                        dir.shown()
                    ),
                ));
            }
            // Another process may have removed the file between open and lock: then the lock is of no use.
            let stat = file.file().stat()?;
            if dir.stat(LIVE)?.is_some_and(|named| named.is_same_file(&stat)) {
                return Self { file, stat }.with_one_name();
            }
        }
        Err(replaced(dir))
    }

    /// A file of two names may be the LIVE of another log too, whose last records it holds.
    fn with_one_name(self) -> Result<Self> {
        if self.stat.names <= 1 {
            return Ok(self);
        }
        let (path, names) = (self.file().path(), self.stat.names);
        let text = format!(
            "'{path}' has {names} names (hard links), so another log may use it too; put a copy of it in its place"
        );
        Err(Error::new(Status::Io, text))
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        self.file.file()
    }

    /// The same file, opened once more: a mapping keeps its open file, and the lock with it, until the last cursor or
    /// forked child is gone, so it needs one that holds no lock.
    pub(crate) fn open_again(&self, dir: &Dir) -> Result<File> {
        let file = dir.open_write(LIVE)?;
        if file.stat()?.is_same_file(&self.stat) { Ok(file) } else { Err(replaced(dir)) }
    }
}

fn replaced(dir: &Dir) -> Error {
    let path = dir.path_of(LIVE);
    Error::new(Status::Io, format!("'{path}' is being replaced by another program; stop that and open the log again"))
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

/// What the control page of the writer before says to the next one.
pub(crate) struct OldPage {
    bytes: [u8; PAGE_BYTES],
    got: usize,
    /// LIVE is too short for a ring.
    has_no_ring: bool,
    /// It is one of this boot, in this very file.
    is_of_here: bool,
}

impl OldPage {
    pub(crate) fn read(file: &File, ring_at: u64, ring_bytes: u64) -> Result<Self> {
        let stat = file.stat()?;
        let mut bytes = [0; PAGE_BYTES];
        let got = file.read_at(&mut bytes, 0)?;
        let log_id = bytes[32..].first_chunk().copied().unwrap_or_default();
        let is_of_here =
            got >= IDENTITY_BYTES && bytes[..IDENTITY_BYTES] == identity(&stat, sys::boot_id(), &log_id, ring_bytes);
        Ok(Self { bytes, got, has_no_ring: stat.bytes <= ring_at, is_of_here })
    }

    fn word(&self, at: usize) -> u64 {
        self.bytes[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Whether this LIVE was the log's in this very boot: then no machine has stopped since.
    pub(crate) fn is_of_this_boot(&self, log_id: &[u8; 16]) -> bool {
        self.is_of_here && self.bytes[32..48] == *log_id
    }

    /// The durable offset of the writer before, if it was poisoned: from there on the page cache may show what the disk
    /// does not hold. Believed only from a page of this boot, this log and this very file.
    pub(crate) fn poisoned_from(&self, log_id: &[u8; 16]) -> Option<u64> {
        let is_told = self.got == PAGE_BYTES && self.is_of_this_boot(log_id) && self.word(POISON_AT) != 0;
        is_told.then(|| self.word(DURABLE_AT))
    }

    /// Whether the writer before closed the log in this boot, or there was none: then all that the ring has ever held
    /// is in the stores. Else the ring on the disk may hold frames that no recovery takes for records, and that would
    /// fit behind one that is appended in the place of those that are lost.
    pub(crate) fn was_closed(&self) -> bool {
        let layout = self.word(LAYOUT_AT);
        let closed = self.word(WRITER_AT) == 0 && layout != 0 && layout.is_multiple_of(2);
        self.has_no_ring || (self.got == PAGE_BYTES && self.is_of_here && closed)
    }
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

/// Instead of a stored position: all frames are in the store, since each is written there before it is published.
pub(crate) const ALL_STORED: u64 = u64::MAX;

/// The control page, as it is written.
pub(crate) struct Control {
    page: Page,
}

impl Control {
    /// Writes the whole of LIVE (so that no store into its mapping can meet a full disk) and maps the page, where files
    /// are mapped. The file is not the one that is locked, but opened again. What the ring held is gone from the disk,
    /// too, unless it was `harmless`.
    pub(crate) fn create(
        file: &File,
        log_id: &[u8; 16],
        ring_at: u64,
        ring_bytes: u64,
        harmless: bool,
    ) -> Result<Self> {
        let identity = identity_now(file, log_id, ring_bytes)?;
        file.allocate(0, ring_at + ring_bytes)?;
        file.write_zeros(0, ring_at + ring_bytes)?;
        file.write_at(&identity, 0)?;
        if !harmless && !seeded(Bug::OldRingLeft) {
            // Where that fails, the page is none of a log that was closed, so the next open does all of this again.
            file.sync()?;
        }
        let bytes = usize::try_from(ring_at).unwrap_or(PAGE_BYTES);
        Ok(Self { page: Page::new(file, bytes, LAYOUT_AT)? })
    }

    fn set(&self, at: usize, value: u64) {
        self.page.store(at, value, Ordering::Release);
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
        // Last: whoever is woken finds a page that can be believed.
        self.alarm().begin(u64::from_le_bytes(sys::random_bytes()?));
        self.page.failure().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Why who follows is not told any more, if a write of the page failed.
    #[inline]
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.page.failure()
    }

    /// Whether frames go through a ring that others can look into.
    pub(crate) fn has_ring(&self) -> bool {
        self.page.is_mapped()
    }

    /// Sees to it that an append stores into the page without a page fault.
    pub(crate) fn populate(&self) {
        self.page.populate();
    }

    /// By which those are woken who wait for what this page says.
    #[inline(always)]
    pub(crate) fn alarm(&self) -> Alarm<'_> {
        Alarm(self.page.alarm())
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
        if self.has_ring() {
            self.set(STORED_AT, position);
        }
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
        self.page.store_at_last(POISON_AT, poison_word(os_error));
        if self.page.failure().is_some() {
            // What else the page says may be of the past.
            self.page.store_at_last(LAYOUT_AT, 0);
        }
    }

    fn set_active(&self, active: Id, end: u64) {
        self.set(BASE_AT, active.base_offset);
        self.set(EPOCH_AT, u64::from(active.epoch));
        self.set(STORED_AT, if self.has_ring() { end } else { ALL_STORED });
        self.set(END_AT, end);
    }

    fn layout(&self) -> u64 {
        self.page.load(LAYOUT_AT)
    }

    /// Files of the row were changed or are about to be deleted: who follows looks again.
    pub(crate) fn note_change(&self) {
        self.set(LAYOUT_AT, self.layout().wrapping_add(2));
    }

    /// Another segment becomes the active one. Until the change is dropped, nobody believes what the page says of
    /// segments; so all that was published must be in the stores.
    pub(crate) fn change(&self) -> Change<'_> {
        self.page.store(LAYOUT_AT, self.layout() | 1, Ordering::Relaxed);
        // Who sees one word of what follows also sees that the layout is odd.
        fence(Ordering::Release);
        Change(self)
    }
}

impl Bed for Control {
    fn rung(&self) -> u64 {
        self.alarm().rung()
    }

    fn set_alarm(&self, what: Awaited, offset: u64) -> Heard {
        self.alarm().set(what, offset);
        Heard::Alarm
    }

    fn sleep(&self, what: Awaited, rung: u64, time: Duration) -> Slept {
        self.alarm().sleep(what, rung, time)
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
    page: SeenPage,
}

/// The words from the next offset to the layout.
struct Words([u64; (LAYOUT_AT - PUBLISHED_AT) / 8 + 1]);

impl Words {
    fn get(&self, at: usize) -> u64 {
        self.0[(at - PUBLISHED_AT) / 8]
    }
}

/// The page as it is, or as it was when it was read by one call.
struct Look<'a> {
    page: &'a SeenControl,
    words: Option<Words>,
}

impl Look<'_> {
    #[inline(always)]
    fn get(&self, at: usize) -> u64 {
        self.words.as_ref().map_or_else(|| self.page.get(at), |words| words.get(at))
    }
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
        Ok(Self { page: SeenPage::mapped(usize::try_from(bytes).unwrap_or(PAGE_BYTES))? })
    }

    /// The page that this window shows.
    pub(crate) fn in_window(window: &Arc<Window>) -> Result<Self> {
        Ok(Self { page: SeenPage::in_window(window)? })
    }

    /// The page of this file, which is long enough, from now on; without one, it says nothing.
    pub(crate) fn show(&self, file: Option<&File>) -> Result<()> {
        self.page.show(file)
    }

    fn get(&self, at: usize) -> u64 {
        self.page.load(at)
    }

    /// By which those are woken who wait for what this page says; it is set in a map that can be written.
    pub(crate) fn alarm(&self) -> Alarm<'_> {
        Alarm(self.page.alarm())
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

    /// Whether its writer maps nothing: it looks for no alarm.
    pub(crate) fn is_written_by_calls(&self) -> bool {
        self.get(STORED_AT) == ALL_STORED
    }

    /// The words from the next offset to the layout by one call, if it is by calls that the page is read: if that call
    /// fails, the layout is 0, so that no word counts which could not be read. It need not have been read last: whoever
    /// is led astray by that finds no record, and looks once more.
    #[inline]
    fn at_once(&self) -> Option<Words> {
        self.page.at_once(PUBLISHED_AT).map(Words)
    }

    /// The page's words at this layout; `None` if they were read by one call, and it was another one.
    #[inline(always)]
    fn look(&self, layout: u64) -> Option<Look<'_>> {
        let words = self.at_once();
        words.as_ref().is_none_or(|words| words.get(LAYOUT_AT) == layout).then_some(Look { page: self, words })
    }

    /// First offset, next offset and layout, likewise.
    #[inline]
    pub(crate) fn bounds(&self) -> Option<(u64, u64, u64)> {
        self.at_once().map(|words| (words.get(FIRST_AT), words.get(PUBLISHED_AT), words.get(LAYOUT_AT)))
    }

    /// A word at this layout; `None` if it is another one.
    #[inline(always)]
    fn get_at(&self, at: usize, layout: u64) -> Option<u64> {
        let found = self.look(layout)?.get(at);
        (self.layout() == layout).then_some(found)
    }

    /// The next offset at this layout; `None` if it is another one.
    #[inline(always)]
    pub(crate) fn published_at(&self, layout: u64) -> Option<u64> {
        self.get_at(PUBLISHED_AT, layout)
    }

    /// The first offset at this layout; `None` if it is another one.
    #[inline(always)]
    pub(crate) fn first_at(&self, layout: u64) -> Option<u64> {
        self.get_at(FIRST_AT, layout)
    }

    /// The active segment's end at this layout; `None` if it is another one.
    #[inline]
    pub(crate) fn end_at(&self, layout: u64) -> Option<u64> {
        self.get_in_change(END_AT, layout)
    }

    /// The active segment's stored position, likewise. It stands on another line than what each append stores, so that
    /// it can be asked for each record.
    #[inline]
    pub(crate) fn stored_at(&self, layout: u64) -> Option<u64> {
        const { assert!(STORED_AT / 64 != PUBLISHED_AT / 64 && LAYOUT_AT / 64 != PUBLISHED_AT / 64) };
        self.get_in_change(STORED_AT, layout)
    }

    /// A word that changes with the active segment.
    #[inline]
    fn get_in_change(&self, at: usize, layout: u64) -> Option<u64> {
        let found = self.look(layout)?.get(at);
        // Pairs with the fence in `change`.
        fence(Ordering::Acquire);
        (self.layout() == layout).then_some(found)
    }

    /// What it says at this layout; `None` if that is not the layout, or not one to be believed.
    pub(crate) fn seen(&self, layout: u64) -> Option<Seen> {
        if layout == 0 || layout % 2 == 1 || self.layout() != layout {
            return None;
        }
        let look = self.look(layout)?;
        // In this order, since the first one goes on, up to the next one.
        let (first_offset, next_offset) = (look.get(FIRST_AT), look.get(PUBLISHED_AT));
        let payload_bytes = look.get(PAYLOAD_AT);
        // Each append stores the end before the payload bytes: where the end is the next offset's, they are, too.
        let look = self.look(layout)?;
        let (end, stored) = (look.get(END_AT), look.get(STORED_AT));
        let active = Id { base_offset: look.get(BASE_AT), epoch: u32::try_from(look.get(EPOCH_AT)).ok()? };
        let seen = Seen {
            layout,
            active,
            stored,
            end,
            next_offset,
            payload_bytes,
            durable: look.get(DURABLE_AT),
            first_offset,
            first_payload_bytes: look.get(FIRST_PAYLOAD_AT),
        };
        fence(Ordering::Acquire);
        // No writer says so; a page of any bytes may.
        let fits = seen.first_offset <= seen.next_offset && active.base_offset <= seen.next_offset;
        (fits && self.layout() == layout).then_some(seen)
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
