//! The words of the control page, as its writer stores them and as others load them: in a mapping, or where nothing is
//! mapped by one call each. It knows words, and not what they say.

use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicU64, OnceLock, Ordering, fence};
use crate::sys::{File, Window, WordMap};

/// So much of the page has the alarm in it.
const ALARM_BYTES: usize = 4096;

/// The page as its writer has it.
pub(crate) struct Page {
    map: WordMap,
    /// Where nothing is mapped.
    written: Option<Written>,
}

/// A page that is written by calls.
struct Written {
    file: File,
    /// The one word that its writer loads again, and where it stands.
    kept_at: usize,
    kept: AtomicU64,
    failed: OnceLock<Error>,
    /// Words by which those of this process wait: others can neither set them nor be woken.
    alarm: WordMap,
}

impl Page {
    /// The first `bytes` bytes of a file that was written full. Of the words that are loaded again there is one, at
    /// `kept_at`.
    pub(crate) fn new(file: &File, bytes: usize, kept_at: usize) -> Result<Self> {
        if file.maps() {
            return Ok(Self { map: WordMap::new(file, bytes, true)?, written: None });
        }
        let file = file.another()?;
        let alarm = WordMap::private(ALARM_BYTES)?;
        let written = Written { file, kept_at, kept: AtomicU64::new(0), failed: OnceLock::new(), alarm };
        Ok(Self { map: WordMap::none()?, written: Some(written) })
    }

    /// Words at the places of the page's own, by which sleepers are woken.
    #[inline(always)]
    pub(crate) fn alarm(&self) -> &WordMap {
        match &self.written {
            None => &self.map,
            Some(written) => &written.alarm,
        }
    }

    /// Whether it is mapped.
    pub(crate) fn is_mapped(&self) -> bool {
        self.written.is_none()
    }

    /// Sees to it that words can be stored without a page fault, where they are stored into a mapping.
    pub(crate) fn populate(&self) {
        self.map.populate(0, ALARM_BYTES);
    }

    /// Stores a word.
    #[inline]
    pub(crate) fn store(&self, at: usize, value: u64, order: Ordering) {
        if !self.map.store_u64(at, value, order) {
            self.write(at, &[value]);
        }
    }

    /// Stores three words, the first of them last.
    #[inline]
    pub(crate) fn store_behind_first(&self, at: usize, first: u64, behind: [u64; 2]) {
        if !self.map.store_behind_first(at, first, behind) {
            self.write(at, &[first, behind[0], behind[1]]);
        }
    }

    /// The word that is loaded again.
    pub(crate) fn load(&self, at: usize) -> u64 {
        let kept = || self.written.as_ref().map_or(0, |written| written.kept.load(Ordering::Relaxed));
        self.map.get_u64(at, Ordering::Relaxed).unwrap_or_else(kept)
    }

    #[cold]
    fn write<const N: usize>(&self, at: usize, words: &[u64; N]) {
        let Some(written) = &self.written else { return };
        if at == written.kept_at {
            written.kept.store(words[0], Ordering::Relaxed);
        }
        if written.failed.get().is_some() {
            return;
        }
        // What this thread wrote before is seen by whoever sees these words.
        fence(Ordering::Release);
        if let Err(error) = written.file.write_at(words.map(u64::to_le_bytes).as_flattened(), at as u64) {
            let _ = written.failed.set(error);
        }
    }

    /// Why the page is not what it should be, if a write of it failed: after that nothing is stored there any more.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.written.as_ref()?.failed.get()
    }

    /// Stores a word although a write may have failed, as well as can be.
    pub(crate) fn store_at_last(&self, at: usize, value: u64) {
        match &self.written {
            None => self.store(at, value, Ordering::Release),
            Some(written) => drop(written.file.write_at(&value.to_le_bytes(), at as u64)),
        }
    }
}

/// The page as others see it. It may be any bytes.
pub(crate) struct SeenPage {
    map: WordMap,
    /// Where nothing is mapped.
    read: Option<Read>,
}

/// A page that is read by calls.
struct Read {
    window: Arc<Window>,
    /// Words by which this handle is woken, and by nobody else.
    alarm: WordMap,
}

impl SeenPage {
    /// So many zeros, until a file is shown.
    pub(crate) fn mapped(bytes: usize) -> Result<Self> {
        Ok(Self { map: WordMap::zeros(bytes)?, read: None })
    }

    /// What this window shows.
    pub(crate) fn in_window(window: &Arc<Window>) -> Result<Self> {
        let read = Read { window: Arc::clone(window), alarm: WordMap::private(ALARM_BYTES)? };
        Ok(Self { map: WordMap::none()?, read: Some(read) })
    }

    /// Shows this file from now on, which is long enough; without one, zeros. A window is shown it by who has that.
    pub(crate) fn show(&self, file: Option<&File>) -> Result<()> {
        if self.read.is_some() { Ok(()) } else { self.map.replace(file) }
    }

    /// Words at the places of the page's own, by which sleepers are woken.
    pub(crate) fn alarm(&self) -> &WordMap {
        self.read.as_ref().map_or(&self.map, |read| &read.alarm)
    }

    /// A word, with acquire order.
    #[inline]
    pub(crate) fn load(&self, at: usize) -> u64 {
        self.map.get_u64(at, Ordering::Acquire).unwrap_or_else(|| self.read::<1>(at)[0])
    }

    /// The words from `at` on by one call, if it is by calls that they are read. Which of them was read first is not
    /// known.
    #[inline]
    pub(crate) fn at_once<const N: usize>(&self, at: usize) -> Option<[u64; N]> {
        if self.read.is_some() { Some(self.read(at)) } else { None }
    }

    #[cold]
    fn read<const N: usize>(&self, at: usize) -> [u64; N] {
        self.read.as_ref().map_or([0; N], |read| read.window.words(at as u64))
    }
}
