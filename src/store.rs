//! A store: frames in a file, behind a header. It is written by pwrite only, and read through a read-only mapping, or
//! by pread where nothing is mapped and when it is walked from end to end. It knows frames and positions, and nothing
//! of offsets' places in the log.

use crate::checksum::crc32c;
use crate::error::{Error, Result, Status};
use crate::record::{self, Cause, Check, FRAME_HEADER, FRAMES_START, Frame, Head, Header, NoHeader, Slot};
use crate::seeded::{Bug, seeded};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use crate::sys::{Dir, File, ReadMap, takes_no_mapping};

/// An open store.
pub(crate) struct Store {
    /// Open while it is written; then the mapping is enough.
    file: Mutex<Option<Arc<File>>>,
    header: Header,
    map: OnceLock<ReadMap>,
    /// Where nothing is mapped: the file again, for reading without a lock.
    read: OnceLock<Arc<File>>,
    maps: bool,
    /// Bytes of the file when it was opened or made: so many can be mapped.
    bytes: u64,
    /// Up to here who appends knows that it has its place on the disk; all, once what is behind was given back.
    allocated: AtomicU64,
    /// Held by who allocates or gives back.
    allocating: Mutex<()>,
}

/// The first 4 KiB of a store, checked.
pub(crate) struct FirstPage {
    pub file: File,
    pub header: Header,
    pub slot: Option<Slot>,
    pub bytes: u64,
    /// It was made ahead of need and got its name, but its header never reached the disk: nothing in it was synced.
    pub unused: bool,
}

/// Reads the first 4 KiB of a store that must have this base and epoch.
pub(crate) fn read_first_page(file: File, base_offset: u64, epoch: u32) -> Result<FirstPage> {
    let mut page = [0; FRAMES_START as usize];
    let got = file.read_at(&mut page, 0)?;
    let page = &page[..got];
    let path = file.path();
    let corrupt = |why: &str| corrupt_header(path, why, base_offset);
    let header = Header::decode_page(page).map_err(|none| match none {
        NoHeader::Damaged => corrupt("both copies of its header are damaged"),
        NoHeader::Foreign => Error::new(
            Status::Format,
            format!("'{path}' has a segment's name and is none; move it out of the log's directory"),
        ),
        NoHeader::Newer(version) => Error::new(
            Status::Format,
            format!(
                "'{path}' is of format version {version}; this library reads up to version {}: use a newer one",
                record::VERSION
            ),
        ),
    })?;
    let unused = header.cause == Cause::Ahead;
    let header = if unused { Header { epoch, base_offset, ..header } } else { header };
    if (header.base_offset, header.epoch) != (base_offset, epoch) {
        return Err(corrupt("its header is that of another segment"));
    }
    let slot = Slot::decode_page(page, &header).filter(|_| !unused);
    let bytes = file.stat()?.bytes;
    if bytes < FRAMES_START {
        return Err(corrupt("it was cut short"));
    }
    Ok(FirstPage { file, header, slot, bytes, unused })
}

impl FirstPage {
    /// The error for a header that cannot be right.
    pub(crate) fn corrupt(&self, why: &str) -> Error {
        corrupt_header(self.file.path(), why, self.header.base_offset)
    }
}

fn corrupt_header(path: &str, why: &str, base_offset: u64) -> Error {
    let text = format!("'{path}', byte 0: {why}; nothing was changed, restore the file from a copy");
    Error::new(Status::Corrupt, text).at(base_offset)
}

impl Store {
    /// Writes a new store under a name that is none in the log, with its header and size, and syncs it. The first
    /// `allocated` bytes have their place on the disk.
    pub(crate) fn create(
        dir: &Dir,
        name: &str,
        header: Header,
        slot: Option<&Slot>,
        bytes: u64,
        allocated: u64,
    ) -> Result<Self> {
        let file = dir.create_anew(name)?;
        let fill = || {
            file.grow_to(bytes)?;
            file.allocate(0, allocated)?;
            file.write_at(&header.encode_page(slot), 0)?;
            if seeded(Bug::HeaderNotSynced) { Ok(()) } else { file.sync() }
        };
        if let Err(error) = fill() {
            // It is no part of the log; what cannot be unlinked now is unlinked by the next try or the next open.
            let _ = dir.unlink(name);
            return Err(error);
        }
        let made = Self::new(file, header, bytes);
        made.set_allocated(allocated);
        Ok(made)
    }

    fn new(file: File, header: Header, bytes: u64) -> Self {
        let maps = file.maps();
        let file = Mutex::new(Some(Arc::new(file)));
        let (map, read) = (OnceLock::new(), OnceLock::new());
        Self { file, header, map, read, maps, bytes, allocated: AtomicU64::new(0), allocating: Mutex::new(()) }
    }

    /// Up to here it has its place on the disk, as far as was seen to.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Acquire)
    }

    /// So much of it has.
    pub(crate) fn set_allocated(&self, upto: u64) {
        self.allocated.store(upto, Ordering::Release);
    }

    fn allocating(&self) -> MutexGuard<'_, ()> {
        self.allocating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allocates its space up to `upto`. Two that do so wait for each other: where it is done by writing, what the one
    /// has appended already would be overwritten by the other.
    pub(crate) fn allocate(&self, upto: u64) -> Result<()> {
        let _allocating = self.allocating();
        let from = self.allocated();
        if from < upto {
            self.file()?.allocate(from, upto - from)?;
            self.set_allocated(upto);
        }
        Ok(())
    }

    /// Whether what is behind its end was given back.
    pub(crate) fn has_given_back(&self) -> bool {
        self.allocated() == u64::MAX
    }

    /// Gives the space from `position` on back to the file system: nothing more is appended, so none is allocated
    /// again.
    pub(crate) fn give_back_behind(&self, position: u64) -> Result<()> {
        let _allocating = self.allocating();
        self.set_allocated(u64::MAX);
        self.file()?.punch(position, self.bytes.saturating_sub(position));
        Ok(())
    }

    /// Gives a store that was made ahead its real header, which reaches the disk with the first sync.
    pub(crate) fn settle(&mut self, header: Header, slot: Option<&Slot>) -> Result<()> {
        self.file()?.write_at(&header.encode_page(slot), 0)?;
        self.header = header;
        Ok(())
    }

    /// The store behind a first page that was read.
    pub(crate) fn from_first_page(page: FirstPage) -> Self {
        Self::new(page.file, page.header, page.bytes)
    }

    /// The same for reading only: mapped at once, so that no file stays open, but where nothing is mapped.
    pub(crate) fn for_reading(page: FirstPage) -> Result<Self> {
        let store = Self::from_first_page(page);
        store.map()?;
        store.release_file();
        Ok(store)
    }

    /// The file was renamed: from now on messages call it so.
    pub(crate) fn set_name(&mut self, dir: &Dir, name: &str) {
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_mut().and_then(Arc::get_mut) {
            file.set_name(name, dir.path_of(name));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, for writing.
    pub(crate) fn file(&self) -> Result<Arc<File>> {
        self.lock().clone().ok_or_else(|| Error::new(Status::Bug, "a sealed store was to be written"))
    }

    /// Closes the file of a store that is not written any more, so that a program with many segments does not run out
    /// of descriptors. Where it cannot be mapped, it stays open.
    pub(crate) fn release_file(&self) {
        if matches!(self.map(), Ok(Some(_))) {
            *self.lock() = None;
        }
    }

    /// Its header.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the file when it was opened or made.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The mapped file, made on first use; `None` where nothing is mapped.
    #[inline(always)]
    pub(crate) fn map(&self) -> Result<Option<&[u8]>> {
        match self.map.get() {
            Some(map) => Ok(Some(map.bytes())),
            None => self.map_now(),
        }
    }

    /// The mapped file, if it is mapped already.
    #[inline(always)]
    pub(crate) fn mapped(&self) -> Option<&[u8]> {
        self.map.get().map(ReadMap::bytes)
    }

    #[cold]
    fn map_now(&self) -> Result<Option<&[u8]>> {
        if !self.maps {
            return Ok(None);
        }
        match ReadMap::new(&*self.file()?, self.bytes as usize) {
            // It is still there to be read by calls.
            Err(error) if takes_no_mapping(&error) => Ok(None),
            made => made.map(|made| Some(self.map.get_or_init(|| made).bytes())),
        }
    }

    /// Whether a frame can stand at `position`, below `limit`.
    #[inline(always)]
    pub(crate) fn is_place(&self, position: u64, limit: u64) -> bool {
        position >= FRAMES_START && position.is_multiple_of(8) && position < limit.min(self.bytes)
    }

    /// The frame at `position` of its mapping, below `limit`, if it is exactly the one of `offset`.
    #[inline(always)]
    pub(crate) fn frame<'a>(
        &self,
        map: &'a [u8],
        position: u64,
        limit: u64,
        offset: u64,
        check: Check,
    ) -> Option<Frame<'a>> {
        let end = limit.min(map.len() as u64);
        if position < FRAMES_START || !position.is_multiple_of(8) || position >= end {
            return None;
        }
        record::take_frame(&map[position as usize..end as usize], self.header.seed, offset, check)
    }

    /// The head of the frame at `position`, below `limit`, if it is exactly the one of `offset`, be it mapped or not.
    pub(crate) fn head(&self, position: u64, limit: u64, offset: u64) -> Result<Option<Head>> {
        if let Some(map) = self.map()? {
            return Ok(self.frame(map, position, limit, offset, Check::Verify).map(|frame| frame.head));
        }
        let mut copy = Vec::new();
        self.copy_frame(position, limit, 0, &mut copy)?;
        Ok(record::decode_frame(&copy, self.header.seed, offset).map(|frame| frame.head))
    }

    /// The file, for reading, where nothing is mapped.
    fn reading(&self) -> Result<&File> {
        if let Some(file) = self.read.get() {
            return Ok(file);
        }
        let file = self.file()?;
        Ok(self.read.get_or_init(|| file))
    }

    /// Copies `want` bytes from `position` on into `copy`, or as many as there are. That not all could be read is no
    /// error, if those are `needed`.
    pub(crate) fn copy_run(&self, position: u64, want: u64, needed: u64, copy: &mut Vec<u8>) -> Result<()> {
        copy.clear();
        let len = usize::try_from(want.min(self.bytes.saturating_sub(position))).unwrap_or(usize::MAX);
        copy.try_reserve(len).map_err(|_| {
            Error::new(Status::Memory, format!("out of memory: {len} bytes are needed to read a store"))
        })?;
        copy.resize(len, 0);
        let (got, error) = self.reading()?.read_some(copy, position);
        copy.truncate(got);
        match error {
            Some(error) if (got as u64) < needed => {
                copy.clear();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Copies the frame at `position`, below `limit`, into `copy`, which is empty if no whole frame stands there. It
    /// may have `hint` bytes, if a frame can have so few and so many. It is not proved.
    pub(crate) fn copy_frame(&self, position: u64, limit: u64, hint: u64, copy: &mut Vec<u8>) -> Result<()> {
        copy.clear();
        if !self.is_place(position, limit) {
            return Ok(());
        }
        let room = limit.min(self.bytes) - position;
        let want = if (FRAME_HEADER..=HINT_BYTES).contains(&hint) { hint } else { SHORT_BYTES };
        self.copy_run(position, want.min(room), FRAME_HEADER, copy)?;
        let bytes = record::decode_head(copy).map_or(0, |head| head.frame_bytes());
        if bytes <= room && bytes > copy.len() as u64 {
            self.copy_run(position, bytes, bytes, copy)?;
        }
        copy.truncate(if bytes <= copy.len() as u64 { bytes as usize } else { 0 });
        Ok(())
    }

    /// Asks for the bytes at `position` ahead of need.
    #[inline]
    pub(crate) fn prefetch(&self, position: u64) {
        if let Some(map) = self.map.get() {
            map.prefetch(position as usize);
            map.prefetch(position as usize + 64);
        }
    }

    /// Writes a durable slot. It reaches the disk with a later sync.
    pub(crate) fn write_slot(&self, slot: &Slot) -> Result<()> {
        self.file()?.write_at(&slot.encode(self.header.seed), slot.place())
    }
}

/// Reads a store from one position to another by pread, checking each frame. A bad sector is an error here, no SIGBUS.
pub(crate) struct Scan<'a> {
    file: &'a File,
    seed: u32,
    bytes: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// Frames that are longer than this are read in two calls: of their own head alone it is believed how long they are.
const HINT_BYTES: u64 = 64 << 10;
/// So much is read of a frame of which nothing is known.
const SHORT_BYTES: u64 = 512;
const SCAN_BYTES: usize = 256 << 10;

impl<'a> Scan<'a> {
    /// A scan of a file of so many bytes.
    pub(crate) fn new(file: &'a File, seed: u32, bytes: u64) -> Self {
        Self { file, seed, bytes, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Up to `len` bytes (at most 256 KiB) from `position` on; fewer where the file ends.
    pub(crate) fn bytes(&mut self, position: u64, len: usize) -> Result<&[u8]> {
        let len = len.min(SCAN_BYTES).min(usize::try_from(self.bytes.saturating_sub(position)).unwrap_or(SCAN_BYTES));
        let held = position.checked_sub(self.buffer_at).and_then(|skip| usize::try_from(skip).ok());
        if held.is_none_or(|skip| skip + len > self.buffer.len()) {
            let room = SCAN_BYTES.min(usize::try_from(self.bytes.saturating_sub(position)).unwrap_or(SCAN_BYTES));
            if self.buffer.capacity() == 0 {
                self.buffer
                    .try_reserve_exact(SCAN_BYTES)
                    .map_err(|_| Error::new(Status::Memory, "out of memory: 256 KiB are needed to read a store"))?;
            }
            self.buffer.resize(room, 0);
            let got = self.file.read_at(&mut self.buffer, position)?;
            self.buffer.truncate(got);
            self.buffer_at = position;
        }
        let skip = (position - self.buffer_at) as usize;
        let end = self.buffer.len().min(skip + len);
        Ok(self.buffer.get(skip..end).unwrap_or_default())
    }

    /// The next range at or after `position` that was written, as far as the file system knows; `None` if there is
    /// none. It is cut to a length for which the question is worth its price.
    pub(crate) fn data_run(&self, position: u64) -> Result<Option<(u64, u64)>> {
        let data = self.file.seek_data(position)?;
        Ok(data.map(|data| (data.max(position), data.max(position).saturating_add(SCAN_BYTES as u64))))
    }

    /// What may be the header of a whole frame at `position`: its length is looked at, nothing else.
    pub(crate) fn head(&mut self, position: u64) -> Result<Option<Head>> {
        const LEN: usize = FRAME_HEADER as usize;
        let skip = position.checked_sub(self.buffer_at).map_or(usize::MAX, |skip| skip as usize);
        let head = if skip <= self.buffer.len() {
            // Held, or where the scan comes by on its way.
            record::decode_head(self.bytes(position, LEN)?)
        } else {
            let mut bytes = [0; LEN];
            let got = self.file.read_at(&mut bytes, position)?;
            record::decode_head(&bytes[..got])
        };
        let fits = |head: &Head| position.checked_add(head.frame_bytes()).is_some_and(|end| end <= self.bytes);
        Ok(head.filter(fits))
    }

    /// The header at `position` and the CRC of its payload, if a whole frame with zero padding stands there.
    /// The frame's own checksum is not looked at.
    pub(crate) fn candidate(&mut self, position: u64) -> Result<Option<(Head, u32)>> {
        let Some(head) = record::decode_head(self.bytes(position, FRAME_HEADER as usize)?) else { return Ok(None) };
        let frame_bytes = head.frame_bytes();
        if position.checked_add(frame_bytes).is_none_or(|end| end > self.bytes) {
            return Ok(None);
        }
        let payload_end = position + FRAME_HEADER + head.payload_len as u64;
        let mut at = position + FRAME_HEADER;
        let mut crc = 0;
        while at < payload_end {
            let want = usize::try_from(payload_end - at).unwrap_or(SCAN_BYTES);
            let piece = self.bytes(at, want)?;
            if piece.is_empty() {
                return Ok(None);
            }
            crc = crc32c(crc, piece);
            at += piece.len() as u64;
        }
        let padding = (position + frame_bytes - payload_end) as usize;
        let padding_is_zero = self.bytes(payload_end, padding)?.iter().all(|byte| *byte == 0);
        Ok(padding_is_zero.then_some((head, crc)))
    }

    /// The header of the frame at `position`, if it is exactly the one of `offset`.
    pub(crate) fn frame(&mut self, position: u64, offset: u64) -> Result<Option<Head>> {
        let seed = self.seed;
        Ok(self.candidate(position)?.filter(|(head, crc)| head.fits(seed, offset, *crc)).map(|(head, _)| head))
    }

    /// How many bytes stand from `position` to the last one that is not zero; 0 if all is zero.
    /// Space that was allocated and never written is not read.
    pub(crate) fn bytes_to_last_non_zero(&mut self, position: u64) -> Result<u64> {
        let mut last = 0;
        let mut at = position;
        while at < self.bytes {
            let Some(data) = self.file.seek_data(at)? else { break };
            at = data.max(at);
            let piece = self.bytes(at, SCAN_BYTES)?;
            if piece.is_empty() {
                break;
            }
            if let Some(place) = piece.iter().rposition(|byte| *byte != 0) {
                last = at + place as u64 + 1 - position;
            }
            at += piece.len() as u64;
        }
        Ok(last)
    }
}
