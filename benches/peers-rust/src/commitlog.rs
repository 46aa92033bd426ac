//! commitlog: a message for each append, a message set for a batch. It never syncs a segment, not even when it is asked
//! to flush, so it has no durable class. It has two files open for each segment: 10,000 of them are more than a process
//! may have here.

use crate::{IN_KERNEL, Opening, Peer, look};
use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};
use std::ffi::CStr;
use std::slice::Chunks;
use std::sync::RwLock;

/// Bytes of a message beside its payload.
const HEAD: usize = 20;
const SCANNED: usize = 1 << 20;

pub(crate) struct Commitlog(RwLock<CommitLog>);

impl Peer for Commitlog {
    const NAME: &'static CStr = c"commitlog";
    const PACKAGE: &'static str = "commitlog";
    const APPENDS: u32 = IN_KERNEL;
    type Reader = &'static Commitlog;

    fn open(opening: &Opening) -> Self {
        let mut options = LogOptions::new(opening.dir);
        options.message_max_bytes(64 << 20);
        options.index_max_items(1 << 20);
        Commitlog(RwLock::new(CommitLog::new(options).expect("open")))
    }

    fn append(&self, data: &[u8]) {
        self.0.write().expect("no panic before").append_msg(data).expect("append_msg");
    }

    fn append_batch(&self, records: Chunks<u8>) {
        let mut messages = MessageBuf::default();
        for record in records {
            messages.push(record).expect("push");
        }
        self.0.write().expect("no panic before").append(&mut messages).expect("append");
    }

    fn scan(&self) -> u64 {
        let log = self.0.read().expect("no panic before");
        let (mut seen, mut looked) = (0, 0);
        loop {
            let messages = log.read(seen, ReadLimit::max_bytes(SCANNED)).expect("read");
            if messages.is_empty() {
                break;
            }
            seen += messages.len() as u64;
            looked ^= messages.iter().fold(0, |all, message| all ^ u32::from(message.payload()[0]));
        }
        look(looked);
        seen
    }

    fn reader(&'static self) -> Self::Reader {
        self
    }

    fn read(log: &mut Self::Reader, n: u64, buffer: &mut [u8]) {
        let log = log.0.read().expect("no panic before");
        let messages = log.read(n, ReadLimit::max_bytes(HEAD + buffer.len())).expect("read");
        buffer.copy_from_slice(messages.iter().next().expect("it is there").payload());
    }

    fn close(self) {
        self.0.into_inner().expect("no panic before").flush().expect("flush");
    }
}
