//! raft-engine: an entry of one raft group for each append, a log batch for a batch. The index of an entry must follow
//! on the last one's of its group, so each thread has a group of its own, as in TiKV: with one group for all, threads
//! could not share a sync. No compression, since the records would not get shorter. Durable: 256 MiB of its files are
//! written ahead. To read an entry it reads the whole
//! batch that the entry was written in.

use crate::{IN_KERNEL, ON_DISK, Opening, Peer, look, sync_files};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use std::cell::Cell;
use std::ffi::CStr;
use std::slice::Chunks;
use std::sync::atomic::{AtomicU64, Ordering};

/// An entry is its index, then the record: about what an entry of raft-rs carries beside its data.
const INDEX: usize = 8;
const FIRST_INDEX: u64 = 1;
const FETCHED: u64 = 1000;

struct Indexed;

fn entry(index: u64, data: &[u8]) -> BytesValue {
    let mut value = Vec::with_capacity(INDEX + data.len());
    value.extend_from_slice(&index.to_le_bytes());
    value.extend_from_slice(data);
    BytesValue { value, ..Default::default() }
}

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        u64::from_le_bytes(entry.value[..INDEX].try_into().expect("8 bytes"))
    }
}

thread_local! {
    /// This thread's group (0: none yet) and the index of its next entry.
    static GROUP: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

pub(crate) struct RaftEngine {
    engine: Engine,
    sync: bool,
    groups: AtomicU64,
}

impl RaftEngine {
    fn write(&self, records: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) {
        let (mut group, mut index) = GROUP.get();
        if group == 0 {
            group = self.groups.fetch_add(1, Ordering::Relaxed) + 1;
            index = self.engine.last_index(group).map_or(FIRST_INDEX, |last| last + 1);
        }
        let mut batch = LogBatch::with_capacity(1);
        let entries: Vec<_> = records.zip(index..).map(|(data, index)| entry(index, data.as_ref())).collect();
        batch.add_entries::<Indexed>(group, &entries).expect("add_entries");
        self.engine.write(&mut batch, self.sync).expect("write");
        GROUP.set((group, index + entries.len() as u64));
    }
}

impl Peer for RaftEngine {
    const NAME: &'static CStr = c"raft-engine";
    const PACKAGE: &'static str = "raft-engine";
    const APPENDS: u32 = IN_KERNEL | ON_DISK;
    const SEGMENTS: bool = true;
    type Reader = &'static Engine;

    fn open(opening: &Opening) -> Self {
        let sync = opening.durability == ON_DISK;
        let config = Config {
            dir: opening.dir.to_str().expect("UTF-8").to_owned(),
            batch_compression_threshold: ReadableSize(0),
            target_file_size: if opening.segments { ReadableSize::kb(4) } else { ReadableSize::mb(128) },
            prefill_for_recycle: sync,
            prefill_limit: sync.then(|| ReadableSize::mb(256)),
            ..Config::default()
        };
        let engine = Engine::open(config).expect("open");
        if sync {
            sync_files(opening.dir);
        }
        RaftEngine { engine, sync, groups: AtomicU64::new(0) }
    }

    fn append(&self, data: &[u8]) {
        self.write(std::iter::once(data));
    }

    fn append_batch(&self, records: Chunks<u8>) {
        self.write(records);
    }

    fn scan(&self) -> u64 {
        let Some(last) = self.engine.last_index(1) else { return 0 };
        let (mut seen, mut looked, mut fetched) = (0, 0, Vec::new());
        let mut begin = FIRST_INDEX;
        while begin <= last {
            let end = (begin + FETCHED).min(last + 1);
            fetched.clear();
            seen += self.engine.fetch_entries_to::<Indexed>(1, begin, end, None, &mut fetched).expect("fetch") as u64;
            looked ^= fetched.iter().fold(0, |all, entry| all ^ u32::from(entry.value[INDEX]));
            begin = end;
        }
        look(looked);
        seen
    }

    fn reader(&'static self) -> Self::Reader {
        &self.engine
    }

    fn read(engine: &mut Self::Reader, n: u64, buffer: &mut [u8]) {
        let entry = engine.get_entry::<Indexed>(1, FIRST_INDEX + n).expect("get_entry").expect("it is there");
        buffer.copy_from_slice(&entry.value[INDEX..]);
    }

    fn close(self) {
        self.engine.sync().expect("sync");
    }
}
