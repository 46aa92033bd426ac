//! okaywal: an entry for each append, an entry of many chunks for a batch. Each commit is synced: it is durable only.
//! It is read back while it opens, and then by position; entries would be dropped at a checkpoint, so none comes. Its
//! space is written ahead, 64 MiB (512 where records are large).

use crate::{ON_DISK, Opening, Peer, look, sync_files};
use okaywal::{Configuration, Entry, EntryId, LogManager, LogPosition, ReadChunkResult, SegmentReader, WriteAheadLog};
use std::ffi::CStr;
use std::io::{self, Read};
use std::slice::Chunks;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default, Clone)]
struct Recovered(Arc<Mutex<Vec<LogPosition>>>);

impl LogManager for Recovered {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut positions = self.0.lock().expect("no panic before");
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            let position = chunk.log_position();
            let data = chunk.read_all()?;
            if !chunk.check_crc()? {
                return Err(io::ErrorKind::InvalidData.into());
            }
            look(data[0].into());
            positions.push(position);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Okaywal {
    wal: WriteAheadLog,
    recovered: Recovered,
}

impl Peer for Okaywal {
    const NAME: &'static CStr = c"okaywal";
    const PACKAGE: &'static str = "okaywal";
    const APPENDS: u32 = ON_DISK;
    const SCANS: bool = false;
    type Reader = (&'static WriteAheadLog, Vec<LogPosition>);

    fn open(opening: &Opening) -> Self {
        let recovered = Recovered::default();
        let wal = Configuration::default_for(opening.dir)
            .preallocate_bytes(if opening.payload > 1024 { 512 << 20 } else { 64 << 20 })
            .checkpoint_after_bytes(u64::MAX)
            .buffer_bytes(64 << 10)
            .open(recovered.clone())
            .expect("open");
        sync_files(opening.dir);
        Okaywal { wal, recovered }
    }

    fn append(&self, data: &[u8]) {
        let mut entry = self.wal.begin_entry().expect("begin_entry");
        entry.write_chunk(data).expect("write_chunk");
        entry.commit().expect("commit");
    }

    fn append_batch(&self, records: Chunks<u8>) {
        let mut entry = self.wal.begin_entry().expect("begin_entry");
        for record in records {
            entry.write_chunk(record).expect("write_chunk");
        }
        entry.commit().expect("commit");
    }

    fn found(&self) -> u64 {
        self.recovered.0.lock().expect("no panic before").len() as u64
    }

    fn reader(&'static self) -> Self::Reader {
        (&self.wal, self.recovered.0.lock().expect("no panic before").clone())
    }

    fn read((wal, positions): &mut Self::Reader, n: u64, buffer: &mut [u8]) {
        let mut chunk = wal.read_at(positions[usize::try_from(n).expect("64 bits")]).expect("read_at");
        chunk.read_exact(buffer).expect("read");
        assert!(chunk.crc_is_valid().expect("crc"));
    }

    fn close(self) {
        self.wal.shutdown().expect("shutdown");
    }
}
