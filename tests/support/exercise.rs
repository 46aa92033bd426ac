//! Does all that can be done with a log whose files may say anything, in bounded time and memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::small;
use seglog::{Cursor, Log, Result, Stat};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator is unsafe; it hands all on to the system's")]
// SAFETY: every call goes to `System` as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// No file makes the library take more memory than this, the tests' own included.
const MEMORY: usize = 300 << 20;
/// Nor more time, on a busy machine.
const TIME: Duration = Duration::from_secs(60);

/// Does all that can be done with a log whose files may say anything: a status is fine, a panic or a hang is not.
pub(crate) fn exercise(dir: &Path) -> Result<Stat> {
    let start = Instant::now();
    let result = exercise_once(dir).and_then(|first| exercise_once(dir).map(|_| first));
    assert!(start.elapsed() < TIME, "it took {:?}", start.elapsed());
    assert!(PEAK.load(Ordering::Relaxed) < MEMORY, "it took {} bytes", PEAK.load(Ordering::Relaxed));
    result
}

fn exercise_once(dir: &Path) -> Result<Stat> {
    let log = Log::open(dir, &small())?;
    let stat = log.stat()?;
    assert!(stat.first_offset <= stat.next_offset && stat.durable_offset <= stat.next_offset);
    let count = stat.next_offset - stat.first_offset;
    for offset in (0..count.min(200)).flat_map(|n| [stat.first_offset + n, stat.next_offset - 1 - n]) {
        let _ = log.read(offset, |bytes, _| bytes.len());
    }
    for start in [stat.first_offset, stat.next_offset - count.min(100), stat.next_offset] {
        let mut cursor = Cursor::open(&log, start)?;
        for step in 0..200 {
            let before = cursor.offset();
            match cursor.next() {
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => assert!(cursor.offset() > before, "a cursor stands still at step {step}"),
            }
        }
        let _ = Cursor::open(&log, start)?.next_batch(100, |_| ());
    }
    let appended = log.append(b"one more").and_then(|at| log.append_batch(&[b"and", b"two"]).map(|next| (at, next)));
    if let Ok((at, next)) = appended {
        assert_eq!((at, next), (stat.next_offset, stat.next_offset + 1));
        log.sync()?;
        assert_eq!(log.read(at, |bytes, _| bytes.to_vec())?, b"one more");
    }
    log.close()?;
    Ok(stat)
}
