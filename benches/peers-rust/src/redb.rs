//! redb as a log: the key is the record's number, a transaction for each append or batch. Without a sync
//! (`Durability::None`) a commit stays in the process: a killed one loses it.

use crate::{IN_PROCESS, ON_DISK, Opening, Peer, look};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use std::ffi::CStr;
use std::slice::Chunks;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

pub(crate) struct Redb {
    db: Database,
    durability: Durability,
}

impl Redb {
    fn write<'a>(&self, records: impl Iterator<Item = &'a [u8]>, durability: Durability) {
        let mut txn = self.db.begin_write().expect("begin_write");
        txn.set_durability(durability).expect("set_durability");
        {
            let mut table = txn.open_table(LOG).expect("open_table");
            let next = table.last().expect("last").map_or(0, |(key, _)| key.value() + 1);
            for (record, n) in records.zip(next..) {
                table.insert(n, record).expect("insert");
            }
        }
        txn.commit().expect("commit");
    }
}

impl Peer for Redb {
    const NAME: &'static CStr = c"redb";
    const PACKAGE: &'static str = "redb";
    const APPENDS: u32 = IN_PROCESS | ON_DISK;
    type Reader = ReadOnlyTable<u64, &'static [u8]>;

    fn open(opening: &Opening) -> Self {
        let db = Database::create(opening.dir.join("log.redb")).expect("create");
        let durability = if opening.durability == ON_DISK { Durability::Immediate } else { Durability::None };
        let log = Redb { db, durability };
        log.write(std::iter::empty(), Durability::Immediate);
        log
    }

    fn append(&self, data: &[u8]) {
        self.write(std::iter::once(data), self.durability);
    }

    fn append_batch(&self, records: Chunks<u8>) {
        self.write(records, self.durability);
    }

    fn scan(&self) -> u64 {
        let table = self.db.begin_read().expect("begin_read").open_table(LOG).expect("open_table");
        let (mut seen, mut looked) = (0, 0);
        for pair in table.iter().expect("iter") {
            looked ^= u32::from(pair.expect("next").1.value()[0]);
            seen += 1;
        }
        look(looked);
        seen
    }

    fn reader(&'static self) -> Self::Reader {
        self.db.begin_read().expect("begin_read").open_table(LOG).expect("open_table")
    }

    fn read(table: &mut Self::Reader, n: u64, buffer: &mut [u8]) {
        buffer.copy_from_slice(table.get(n).expect("get").expect("it is there").value());
    }

    fn close(self) {
        self.write(std::iter::empty(), Durability::Immediate);
    }
}
