//! The row of segments as readers see it, and where readers stand. A reader keeps the row that it saw last and looks at
//! one counter to learn that there is a newer one, so that reading takes no lock that a writer could hold, and no
//! shared count.

use crate::error::Result;
use crate::memory;
use crate::record::{self, Check, FRAME_HEADER, Frame, Head};
use crate::segment::{Found, Segment};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, TryLockError, reached};
use crate::sys::{self, Places};
use crate::tail::{THROUGH_RING_BYTES, Tail};

/// So many sealed segments keep their files mapped; then those are let go and opened again when they are read.
const OPEN_SEGMENTS: usize = if cfg!(feature = "model") { 2 } else { 1024 };
/// While the process has more stores mapped than the first number says, be they of whatever logs, a log keeps no more
/// than the second. A segment takes two of the 65,530 mappings that Linux lets a process have (`vm.max_map_count`).
const CROWDED: (usize, usize) = (16 << 10, 64);
/// The same where nothing is mapped, and each keeps two files open.
const OPEN_UNMAPPED_SEGMENTS: usize = if cfg!(feature = "model") { 2 } else { 64 };
/// A larger copy of a record is let go at once.
const KEPT_BYTES: usize = 1 << 20;

/// The segments of a log, by base offset. Never empty; the last one is the active one.
pub(crate) struct Row {
    pub segments: Vec<Arc<Segment>>,
}

impl Row {
    /// The segment in which this offset stands, if it stands anywhere.
    #[inline(always)]
    pub(crate) fn segment_of(&self, offset: u64) -> Option<&Arc<Segment>> {
        let behind = self.segments.partition_point(|segment| segment.id.base_offset <= offset);
        self.segments.get(behind.checked_sub(1)?).filter(|segment| offset < segment.limit())
    }
}

/// Room for a copy of the row.
pub(crate) struct Room(Vec<Arc<Segment>>);

/// The newest row, and how many there were.
pub(crate) struct Rows {
    current: Mutex<Arc<Row>>,
    generation: AtomicU64,
    opened: AtomicUsize,
    may_be_open: usize,
    places: Places<Reader>,
    crowd: Crowd,
}

impl Rows {
    /// Of a log whose files are mapped, or not.
    pub(crate) fn new(segments: Vec<Arc<Segment>>, mapped: bool) -> Result<Self> {
        Ok(Self {
            current: Mutex::new(Arc::new(Row { segments })),
            generation: AtomicU64::new(1),
            opened: AtomicUsize::new(0),
            may_be_open: if mapped { OPEN_SEGMENTS } else { OPEN_UNMAPPED_SEGMENTS },
            places: Places::new()?,
            crowd: Crowd::new()?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Row>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest row.
    pub(crate) fn newest(&self) -> Arc<Row> {
        Arc::clone(&self.lock())
    }

    /// Counts the rows; it changes when there is a newer one.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Room for a copy of the row and for what may be added to it: asked for before anything is changed on the disk.
    pub(crate) fn room(&self) -> Result<Room> {
        const MORE: usize = 16;
        let mut room = Vec::new();
        let len = self.lock().segments.len();
        memory::reserve(&mut room, len + MORE, "the log's row of segments")?;
        Ok(Room(room))
    }

    /// Puts a changed copy in the row's place; returns the row of before.
    pub(crate) fn replace(&self, room: Room, change: impl FnOnce(&mut Vec<Arc<Segment>>)) -> Arc<Row> {
        let Room(mut segments) = room;
        let mut current = self.lock();
        segments.extend(current.segments.iter().cloned());
        change(&mut segments);
        self.put(&mut current, segments)
    }

    /// Puts these in the row's place.
    pub(crate) fn set(&self, segments: Vec<Arc<Segment>>) {
        self.put(&mut self.lock(), segments);
    }

    fn put(&self, current: &mut Arc<Row>, segments: Vec<Arc<Segment>>) -> Arc<Row> {
        let before = std::mem::replace(current, Arc::new(Row { segments }));
        self.generation.fetch_add(1, Ordering::AcqRel);
        before
    }

    /// A sealed segment was opened, or one that is open was sealed: where too many are, all of them are let go.
    #[cold]
    pub(crate) fn note_open(&self) {
        let are_too_many =
            |open: usize| open >= self.may_be_open || (open >= CROWDED.1 && sys::read_maps() > CROWDED.0);
        if !are_too_many(self.opened.fetch_add(1, Ordering::AcqRel)) {
            return;
        }
        // Not all that were opened since then need be open still.
        let is_open = |segment: &Segment| segment.is_open() && segment.limit() != u64::MAX;
        let open = self.lock().segments.iter().filter(|segment| is_open(segment)).count();
        self.opened.store(open, Ordering::Release);
        if !are_too_many(open) {
            return;
        }
        // Without, it is tried again with the next one.
        let Ok(room) = self.room() else { return };
        self.opened.store(0, Ordering::Release);
        self.replace(room, |segments| {
            for segment in segments.iter_mut().filter(|segment| is_open(segment)) {
                *segment = Arc::new(segment.closed_twin());
            }
        });
        self.forget();
    }

    /// Lends a reader, which keeps nothing alive that the newest row has let go.
    #[inline(always)]
    pub(crate) fn lend<R>(&self, work: impl FnOnce(&mut Reader) -> R) -> R {
        let Some(mut reader) = self.places.take() else { return self.lend_another(work) };
        let result = work(&mut reader);
        let generation = reader.generation;
        drop(reader);
        self.look_behind(generation);
        result
    }

    /// There is no place for this thread.
    #[cold]
    #[inline(never)]
    fn lend_another<R>(&self, work: impl FnOnce(&mut Reader) -> R) -> R {
        if self.crowd.is_large() {
            // Threads that are gone may have them.
            self.places.empty();
        }
        let (result, generation) = self.crowd.lend(|reader| (work(reader), reader.generation));
        self.look_behind(generation);
        result
    }

    /// Who let go of a row passed the reader of this generation by, if it was in use.
    #[inline(always)]
    fn look_behind(&self, generation: u64) {
        self.places.look_behind();
        if generation != self.generation() {
            self.forget();
        }
    }

    /// Makes every reader that nobody uses now forget the row that it saw, so that its files can be closed. One that is
    /// in use does that itself.
    #[cold]
    pub(crate) fn forget(&self) {
        self.places.empty();
        self.crowd.forget();
    }
}

/// What one reader keeps between two reads.
#[derive(Default)]
pub(crate) struct Reader {
    generation: u64,
    row: Option<Arc<Row>>,
    /// The frame that was copied last, out of the ring or of a file.
    copy: Vec<u8>,
}

impl Reader {
    /// The newest row.
    #[inline(always)]
    fn row(&mut self, rows: &Rows) -> &Row {
        let generation = rows.generation();
        if generation != self.generation || self.row.is_none() {
            // Asked before the row is, which may be a newer one.
            self.generation = generation;
            self.row = None;
        }
        self.row.get_or_insert_with(
            #[cold]
            || rows.newest(),
        )
    }

    /// The record of `offset`, which has been published, if it is found where it mostly is: in a mapping.
    #[inline(always)]
    pub(crate) fn read_at_once(&mut self, rows: &Rows, offset: u64, check: Check) -> Option<Frame<'_>> {
        self.row(rows).segment_of(offset)?.find_at_once(offset, check)
    }

    /// Hands the record of `offset`, which has been published, to `take`.
    pub(crate) fn read<R>(
        &mut self,
        rows: &Rows,
        tail: &Tail,
        offset: u64,
        check: Check,
        take: impl FnOnce(&Frame<'_>) -> R,
    ) -> Result<Option<R>> {
        let mut copy = std::mem::take(&mut self.copy);
        let Some(segment) = self.row(rows).segment_of(offset) else { return Ok(None) };
        if !segment.is_open() {
            rows.note_open();
        }
        let result = match segment.find(offset, check)? {
            Found::Stored(frame, _) => take(&frame),
            found => match copy_record(segment, tail, found, offset, check, &mut copy)?.1 {
                Some(frame) => take(&frame),
                None => match record::locate_frame(&copy) {
                    Some(frame) => take(&frame),
                    None => return Err(segment.corrupt(0, offset)),
                },
            },
        };
        if copy.capacity() > KEPT_BYTES {
            copy = Vec::new();
        }
        self.copy = copy;
        Ok(Some(result))
    }
}

impl Reader {
    /// Where the record of `offset` stands in a segment, and its head, proved.
    pub(crate) fn place(&mut self, segment: &Segment, tail: &Tail, offset: u64) -> Result<(u64, Head)> {
        let found = segment.find(offset, Check::Verify)?;
        let (position, frame) = copy_record(segment, tail, found, offset, Check::Verify, &mut self.copy)?;
        let frame = frame.or_else(|| record::locate_frame(&self.copy));
        frame.map(|frame| (position, frame.head)).ok_or_else(|| segment.corrupt(position, offset))
    }
}

/// Copies a record that was found into `copy`, and proves it there; or returns it, if it is in a mapping by now. And
/// where it stands.
fn copy_record<'a>(
    segment: &'a Segment,
    tail: &Tail,
    mut found: Found<'a>,
    offset: u64,
    check: Check,
    copy: &mut Vec<u8>,
) -> Result<(u64, Option<Frame<'a>>)> {
    let mut walked = false;
    let mut too_late = 0;
    loop {
        let position = match found {
            Found::Stored(frame, position) => return Ok((position, Some(frame))),
            Found::InFile(position) => {
                if segment.copy_stored(position, offset, check, copy)? {
                    return Ok((position, None));
                }
                position
            }
            Found::InRing(position) => match copy_frame(segment, tail, position, offset, copy)? {
                Copied::Whole => return Ok((position, None)),
                // It has been stored meanwhile, unless another process's page says so each time.
                Copied::TooLate if too_late < 2 => {
                    too_late += 1;
                    found = segment.find(offset, check)?;
                    continue;
                }
                Copied::TooLate | Copied::Astray => position,
            },
        };
        if std::mem::replace(&mut walked, true) {
            return Err(segment.corrupt(position, offset));
        }
        found = segment.find_astray(offset)?;
    }
}

/// What copying a frame out of the ring came to.
enum Copied {
    /// It is in the copy, and proved.
    Whole,
    /// It was stored while it was copied.
    TooLate,
    /// It never was there: the index led astray.
    Astray,
}

fn copy_frame(segment: &Segment, tail: &Tail, position: u64, offset: u64, copy: &mut Vec<u8>) -> Result<Copied> {
    let mut head = [0; FRAME_HEADER as usize];
    tail.copy_out(position, &mut head);
    if segment.stored() > position {
        reached("read: stored before its head was copied");
        return Ok(Copied::TooLate);
    }
    let bytes = record::decode_head(&head).map_or(0, |head| head.frame_bytes());
    if bytes == 0 || bytes > THROUGH_RING_BYTES {
        reached("read: no head in the ring");
        return Ok(Copied::Astray);
    }
    if !copy_run(segment, tail, position, bytes, copy)? {
        reached("read: stored before its frame was copied");
        return Ok(Copied::TooLate);
    }
    if record::decode_frame(copy, segment.store()?.header().seed, offset).is_none() {
        reached("read: no frame in the ring");
        return Ok(Copied::Astray);
    }
    reached("read: whole in the ring");
    Ok(Copied::Whole)
}

/// Copies `bytes` bytes from `position` on out of the ring. `false` if they are not all there any more: they are in the
/// store.
pub(crate) fn copy_run(segment: &Segment, tail: &Tail, position: u64, bytes: u64, copy: &mut Vec<u8>) -> Result<bool> {
    let len = usize::try_from(bytes).unwrap_or(usize::MAX);
    copy.clear();
    copy.try_reserve(len).map_err(|_| {
        crate::Error::new(crate::Status::Memory, format!("out of memory: {len} bytes are needed to read the tail"))
    })?;
    copy.resize(len, 0);
    tail.copy_out(position, copy);
    Ok(segment.stored() <= position)
}

const SEATS: usize = if cfg!(feature = "model") { 1 } else { 16 };

/// On cache lines of its own, so that two readers do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Seat(Mutex<Reader>);

/// Where threads read that have no place of their own: each finds a reader that is free, and none ever waits for one.
struct Crowd {
    seats: Box<[Seat; SEATS]>,
    came: AtomicUsize,
}

impl Crowd {
    fn new() -> Result<Self> {
        Ok(Self { seats: memory::array("the seats of threads that read")?, came: AtomicUsize::default() })
    }

    /// Once in so many calls.
    fn is_large(&self) -> bool {
        const MANY: usize = if cfg!(feature = "model") { 4 } else { 1024 };
        // Not counted exactly.
        let came = self.came.load(Ordering::Relaxed).wrapping_add(1);
        self.came.store(came, Ordering::Relaxed);
        came.is_multiple_of(MANY)
    }

    fn lend<R>(&self, work: impl FnOnce(&mut Reader) -> R) -> R {
        let first = if cfg!(feature = "model") { 0 } else { here() };
        for n in 0..SEATS {
            match self.seats[(first + n) % SEATS].0.try_lock() {
                Ok(mut reader) => return work(&mut reader),
                Err(TryLockError::Poisoned(reader)) => return work(&mut reader.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        work(&mut Reader::default())
    }

    fn forget(&self) {
        for seat in &*self.seats {
            if let Ok(mut reader) = seat.0.try_lock() {
                *reader = Reader::default();
            }
        }
    }
}

/// A number that differs between most threads and costs nothing: where this thread's stack is.
#[inline]
fn here() -> usize {
    let on_stack = 0_u8;
    let address = std::ptr::from_ref(&on_stack).addr();
    // Stacks are a multiple of 64 KiB apart; the multiplication (Fibonacci hashing, Knuth 6.4) spreads what is left.
    ((address >> 16).wrapping_mul(0x9E37_79B9) >> 20) % SEATS
}
