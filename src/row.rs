//! The row of segments as readers see it, and where readers stand. A reader keeps the row that it saw last and looks at
//! one counter to learn that there is a newer one, so that reading takes no lock that a writer could hold, and no
//! shared count.

use crate::error::Result;
use crate::record::{self, Check, FRAME_HEADER, Frame};
use crate::segment::{Found, Segment};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, TryLockError, reached};
use crate::tail::{THROUGH_RING_BYTES, Tail};

/// So many sealed segments keep their files mapped; then those are let go and opened again when they are read.
const OPEN_SEGMENTS: usize = if cfg!(feature = "model") { 2 } else { 256 };

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

/// The newest row, and how many there were.
pub(crate) struct Rows {
    current: Mutex<Arc<Row>>,
    generation: AtomicU64,
    opened: AtomicUsize,
    places: Places,
}

impl Rows {
    pub(crate) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self {
            current: Mutex::new(Arc::new(Row { segments })),
            generation: AtomicU64::new(1),
            opened: AtomicUsize::new(0),
            places: Places::default(),
        }
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

    /// Puts a changed copy in the row's place.
    pub(crate) fn replace(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        let mut current = self.lock();
        let mut segments = current.segments.clone();
        change(&mut segments);
        *current = Arc::new(Row { segments });
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// A sealed segment was opened, or one that is open was sealed: where too many are, all of them are let go.
    #[cold]
    pub(crate) fn note_open(&self) {
        if self.opened.fetch_add(1, Ordering::AcqRel) < OPEN_SEGMENTS {
            return;
        }
        self.opened.store(0, Ordering::Release);
        self.replace(|segments| {
            for segment in segments {
                if segment.is_open() && segment.limit() != u64::MAX {
                    *segment = Arc::new(segment.closed_twin());
                }
            }
        });
        self.places.forget_idle();
    }

    /// Lends a reader, which keeps nothing alive that the newest row has let go.
    #[inline(always)]
    pub(crate) fn lend<R>(&self, work: impl FnOnce(&mut Reader) -> R) -> R {
        self.places.with(|reader| {
            let result = work(reader);
            // Who let go passed this place by, since it was in use.
            if reader.generation != self.generation() {
                reader.row = None;
            }
            result
        })
    }

    /// Makes every place forget the row that it saw, so that its files can be closed.
    pub(crate) fn forget(&self) {
        self.places.forget();
    }
}

/// What one reader keeps between two reads.
#[derive(Default)]
pub(crate) struct Reader {
    generation: u64,
    row: Option<Arc<Row>>,
    /// Frames that were copied out of the ring.
    copy: Vec<u8>,
}

impl Reader {
    /// The newest row.
    #[inline]
    fn row(&mut self, rows: &Rows) -> &Row {
        let generation = rows.generation();
        if generation != self.generation {
            self.row = None;
            self.generation = generation;
        }
        self.row.get_or_insert_with(|| rows.newest())
    }

    /// Hands the record of `offset`, which has been published, to `take`.
    #[inline(always)]
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
        let found = match segment.find(offset, check)? {
            Found::InRing(position) => match copy_frame(segment, tail, position, offset, &mut copy)? {
                Copied::Whole => None,
                // It has been stored meanwhile.
                Copied::TooLate => Some(segment.find(offset, check)?),
                Copied::Astray => Some(segment.find_astray(offset)?),
            },
            stored @ Found::Stored(..) => Some(stored),
        };
        let result = match found {
            Some(Found::Stored(frame, _)) => take(&frame),
            Some(Found::InRing(position)) => return Err(segment.corrupt(position, offset)),
            None => match record::locate_frame(&copy) {
                Some(frame) => take(&frame),
                None => return Err(segment.corrupt(0, offset)),
            },
        };
        self.copy = copy;
        Ok(Some(result))
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

const PLACES: usize = if cfg!(feature = "model") { 2 } else { 16 };

/// On cache lines of its own, so that two readers do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Place(Mutex<Reader>);

/// Where the threads that read by offset stand: each finds a place that is free, and none ever waits for one.
#[derive(Default)]
struct Places([Place; PLACES]);

impl Places {
    #[inline(always)]
    fn with<R>(&self, work: impl FnOnce(&mut Reader) -> R) -> R {
        let first = if cfg!(feature = "model") { 0 } else { here() };
        for n in 0..PLACES {
            match self.0[(first + n) % PLACES].0.try_lock() {
                Ok(mut reader) => return work(&mut reader),
                Err(TryLockError::Poisoned(reader)) => return work(&mut reader.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        work(&mut Reader::default())
    }

    /// Makes every place that nobody uses now forget the row that it saw.
    fn forget_idle(&self) {
        for place in &self.0 {
            if let Ok(mut reader) = place.0.try_lock() {
                *reader = Reader::default();
            }
        }
    }

    fn forget(&self) {
        for place in &self.0 {
            *place.0.lock().unwrap_or_else(PoisonError::into_inner) = Reader::default();
        }
    }
}

/// A number that differs between most threads and costs nothing: where this thread's stack is.
#[inline]
fn here() -> usize {
    let on_stack = 0_u8;
    let address = std::ptr::from_ref(&on_stack).addr();
    // Stacks are a multiple of 64 KiB apart; the multiplication (Fibonacci hashing, Knuth 6.4) spreads what is left.
    ((address >> 16).wrapping_mul(0x9E37_79B9) >> 20) % PLACES
}
