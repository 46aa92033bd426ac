//! A window: a place through which a file is read by calls, and that stays when the file is another one. It is to who
//! maps nothing what a mapping that can be replaced is to others. It knows bytes, not what they mean.

use super::file::File;
use crate::sync::{Arc, Mutex, Ordering, PoisonError, fence};

/// A file that is read by calls, or nothing in its place.
#[derive(Default)]
pub(crate) struct Window(Mutex<Option<Arc<File>>>);

impl Window {
    /// Shows this file from now on; without one, zeros.
    pub(crate) fn show(&self, file: Option<Arc<File>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Reads what stands at `at` until `bytes` is full; what is not there, or cannot be read, is zeros. What the caller
    /// reads after this has been written no earlier.
    pub(crate) fn read(&self, at: u64, bytes: &mut [u8]) {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let got = file.map_or(0, |file| file.read_some(bytes, at).0);
        bytes[got..].fill(0);
        // The kernel copied the bytes in this thread's name, so this orders them before what this thread reads next.
        fence(Ordering::Acquire);
    }

    /// So many little-endian numbers of 8 bytes from `at` on, by one call.
    pub(crate) fn words<const N: usize>(&self, at: u64) -> [u64; N] {
        let mut bytes = [[0_u8; 8]; N];
        self.read(at, bytes.as_flattened_mut());
        bytes.map(u64::from_le_bytes)
    }
}
