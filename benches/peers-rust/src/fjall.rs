//! fjall, its journal being the log: an insert for each append, then `persist(SyncData)` where it is to be durable; a
//! write batch for a batch. Held in the process: `manual_journal_persist`. A large memtable, and no compression.

use crate::{IN_KERNEL, IN_PROCESS, ON_DISK, Opening, Peer, look};
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::ffi::CStr;
use std::slice::Chunks;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Fjall {
    db: Database,
    log: Keyspace,
    durability: u32,
    next: AtomicU64,
}

impl Peer for Fjall {
    const NAME: &'static CStr = c"fjall";
    const PACKAGE: &'static str = "fjall";
    const APPENDS: u32 = IN_PROCESS | IN_KERNEL | ON_DISK;
    type Reader = &'static Keyspace;

    fn open(opening: &Opening) -> Self {
        let db = Database::builder(opening.dir)
            .manual_journal_persist(opening.durability == IN_PROCESS)
            .journal_compression(CompressionType::None)
            .max_journaling_size(4 << 30)
            .cache_size(512 << 20)
            .open()
            .expect("open");
        let log = db
            .keyspace("log", || {
                KeyspaceCreateOptions::default()
                    .manual_journal_persist(opening.durability == IN_PROCESS)
                    .max_memtable_size(256 << 20)
                    .expect_point_read_hits(true)
                    .data_block_compression_policy(CompressionPolicy::disabled())
            })
            .expect("keyspace");
        let next = log.last_key_value().map_or(0, |last| {
            let (key, _) = last.into_inner().expect("the last key");
            u64::from_be_bytes(key[..].try_into().expect("8 bytes")) + 1
        });
        Fjall { db, log, durability: opening.durability, next: AtomicU64::new(next) }
    }

    fn append(&self, data: &[u8]) {
        let key = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.log.insert(key, data).expect("insert");
        if self.durability == ON_DISK {
            self.db.persist(PersistMode::SyncData).expect("persist");
        }
    }

    fn append_batch(&self, records: Chunks<u8>) {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let mut batch = self.db.batch().durability(match self.durability {
            ON_DISK => Some(PersistMode::SyncData),
            IN_KERNEL => Some(PersistMode::Buffer),
            _ => None,
        });
        for (record, n) in records.zip(first..) {
            batch.insert(&self.log, n.to_be_bytes(), record);
        }
        batch.commit().expect("commit");
    }

    fn scan(&self) -> u64 {
        let (mut seen, mut looked) = (0, 0);
        for guard in self.log.iter() {
            looked ^= u32::from(guard.value().expect("value")[0]);
            seen += 1;
        }
        look(looked);
        seen
    }

    fn reader(&'static self) -> Self::Reader {
        &self.log
    }

    fn read(log: &mut Self::Reader, n: u64, buffer: &mut [u8]) {
        buffer.copy_from_slice(&log.get(n.to_be_bytes()).expect("get").expect("it is there"));
    }

    fn close(self) {
        self.db.persist(PersistMode::SyncAll).expect("persist");
    }
}
