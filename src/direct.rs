//! Frames on their way to a store without the ring: gathered to large writes, the first one's head last. Until that
//! stands, nothing of them is a frame: else a payload that fails, and that looks like what the space held before
//! (zeros), would be a record that was refused and came back.

use crate::error::{Error, Result, Status};
use crate::record::{self, FRAME_HEADER};
use crate::sync::Arc;
use crate::sys::File;

/// Frames are gathered to writes of about this size.
const GATHER_BYTES: usize = 256 << 10;

/// Frames that are being written.
pub(crate) struct Direct {
    file: Arc<File>,
    start: u64,
    first_head: Option<[u8; FRAME_HEADER as usize]>,
    /// Where the next bytes go, and what waits for that.
    at: u64,
    gathered: Vec<u8>,
    /// Nothing was written behind this.
    reached: u64,
}

impl Direct {
    /// Frames of `bytes` bytes that are to stand from `start` on. `buffer` is used again.
    pub(crate) fn new(file: Arc<File>, start: u64, bytes: u64, mut buffer: Vec<u8>) -> Result<Self> {
        buffer.clear();
        let room = GATHER_BYTES.min(bytes as usize) + 2 * FRAME_HEADER as usize;
        buffer.try_reserve(room).map_err(|_| {
            Error::new(Status::Memory, format!("out of memory: {room} bytes are needed to write a record or batch"))
        })?;
        let at = start + FRAME_HEADER;
        Ok(Self { file, start, first_head: None, at, gathered: buffer, reached: start })
    }

    fn write(&mut self, payload: Option<&[u8]>) -> Result<()> {
        let bytes = payload.unwrap_or(&self.gathered);
        self.reached = self.at + bytes.len() as u64;
        self.file.write_at(bytes, self.at)?;
        self.at = self.reached;
        if payload.is_none() {
            self.gathered.clear();
        }
        Ok(())
    }

    /// The next frame.
    pub(crate) fn put(&mut self, head: [u8; FRAME_HEADER as usize], payload: &[u8]) -> Result<()> {
        let padding = record::frame_bytes(payload.len()) as usize - FRAME_HEADER as usize - payload.len();
        let is_first = self.first_head.is_none();
        let head_len = if is_first { 0 } else { head.len() };
        if self.gathered.len() + head_len + payload.len() + padding > GATHER_BYTES {
            self.write(None)?;
        }
        if is_first {
            self.first_head = Some(head);
        } else {
            self.gathered.extend_from_slice(&head);
        }
        if payload.len() > GATHER_BYTES - 64 {
            self.write(None)?;
            self.write(Some(payload))?;
        } else {
            self.gathered.extend_from_slice(payload);
        }
        self.gathered.extend_from_slice(&[0; 8][..padding]);
        Ok(())
    }

    /// Writes what waits, and last the head by which all of them stand.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.write(None)?;
        let head = self.first_head.unwrap_or_default();
        self.reached = self.reached.max(self.start + FRAME_HEADER);
        self.file.write_at(&head, self.start)
    }

    /// After a failure: zeros again where something was written, so that it is as if nothing had been.
    pub(crate) fn take_back(&self) -> Result<()> {
        self.file.write_zeros(self.start, self.reached - self.start)
    }

    /// The buffer.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.gathered
    }
}
