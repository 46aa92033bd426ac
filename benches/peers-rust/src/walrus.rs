//! walrus: one topic, its mapped backend. Not synced: `NoFsync`; the kernel has what is written. Durable: `SyncEach`,
//! an msync (its default backend opens files with O_SYNC, syncs as well, and was slower for each kind of append; for
//! batches by hundreds of times). Records come in order only, each once.

use crate::{IN_KERNEL, ON_DISK, Opening, Peer, look};
use std::env;
use std::ffi::CStr;
use std::slice::Chunks;
use std::sync::RwLock;
use walrus_rust::{FsyncSchedule, ReadConsistency, disable_fd_backend};

const TOPIC: &str = "log";
const READ: usize = 1 << 20;

pub(crate) struct Walrus {
    walrus: RwLock<walrus_rust::Walrus>,
    schedule: FsyncSchedule,
}

fn instance(schedule: FsyncSchedule) -> walrus_rust::Walrus {
    // Where a reader is is not saved: the next instance begins at the first record again.
    let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
    walrus_rust::Walrus::with_consistency_and_schedule_for_key("log", consistency, schedule).expect("open")
}

impl Peer for Walrus {
    const NAME: &'static CStr = c"walrus";
    const PACKAGE: &'static str = "walrus-rust";
    const APPENDS: u32 = IN_KERNEL | ON_DISK;
    const READS: bool = false;
    type Reader = ();

    fn open(opening: &Opening) -> Self {
        // SAFETY: the bench has one thread yet.
        unsafe {
            env::set_var("WALRUS_QUIET", "1");
            env::set_var("WALRUS_DATA_DIR", opening.dir);
        }
        disable_fd_backend();
        let durable = opening.durability == ON_DISK;
        let schedule = if durable { FsyncSchedule::SyncEach } else { FsyncSchedule::NoFsync };
        Walrus { walrus: RwLock::new(instance(schedule)), schedule }
    }

    fn append(&self, data: &[u8]) {
        self.walrus.read().expect("no panic before").append_for_topic(TOPIC, data).expect("append");
    }

    fn append_batch(&self, records: Chunks<u8>) {
        let batch: Vec<&[u8]> = records.collect();
        self.walrus.read().expect("no panic before").batch_append_for_topic(TOPIC, &batch).expect("batch_append");
    }

    fn scan(&self) -> u64 {
        let walrus = self.walrus.read().expect("no panic before");
        let (mut seen, mut looked) = (0, 0);
        loop {
            let entries = walrus.batch_read_for_topic(TOPIC, READ, true).expect("batch_read");
            if entries.is_empty() {
                break;
            }
            seen += entries.len() as u64;
            looked ^= entries.iter().fold(0, |all, entry| all ^ u32::from(entry.data[0]));
        }
        look(looked);
        seen
    }

    fn rewind(&self) {
        *self.walrus.write().expect("no panic before") = instance(self.schedule);
    }

    /// It has no close: what a schedule without syncs wrote is left to the kernel.
    fn close(self) {}
}
