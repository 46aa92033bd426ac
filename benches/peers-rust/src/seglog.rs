//! The crate seglog, which has only its name in common with libseglog: segments of 256 MiB that this file strings
//! together, since the crate has only single ones. Durable: a commit marker and a sync for each append or batch.
//! Not synced: held in the process, since an open rolls back what no synced marker follows.

use crate::{IN_PROCESS, ON_DISK, Opening, Peer, look};
use seglog_crate::read::{ReadHint, Reader};
use seglog_crate::write::Writer;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::slice::Chunks;
use std::sync::Mutex;

const SEGMENT: usize = 256 << 20;
/// What a record takes beside its data, and a marker in all; rounded up.
const HEAD: usize = 8;
const MARKER: usize = 32;

struct Segments {
    writer: Writer<0>,
    number: usize,
    next: u64,
}

pub(crate) struct Seglog {
    dir: PathBuf,
    durable: bool,
    segments: Mutex<Segments>,
}

pub(crate) struct Places {
    readers: Vec<Reader<0>>,
    records: Vec<(usize, u64)>,
}

fn path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number:06}.seg"))
}

impl Segments {
    /// A batch does not run over a segment's end.
    fn room(&mut self, dir: &Path, bytes: usize) {
        if self.writer.remaining_bytes() < (bytes + MARKER) as u64 {
            self.writer.commit(self.next).expect("commit");
            self.number += 1;
            self.writer = Writer::create(path(dir, self.number), SEGMENT, 0).expect("create");
        }
    }
}

impl Seglog {
    fn readers(&self) -> Vec<Reader<0>> {
        let segments = self.segments.lock().expect("no panic before");
        // The last one may have more in it than is part of the log.
        let end = |n| (n == segments.number).then(|| segments.writer.flushed_offset());
        (0..=segments.number)
            .map(|n| Reader::open_read_only(path(&self.dir, n), end(n)).expect("open_read_only"))
            .collect()
    }

    fn write<'a>(&self, records: impl Iterator<Item = &'a [u8]>, bytes: usize) {
        let mut segments = self.segments.lock().expect("no panic before");
        segments.room(&self.dir, bytes);
        for record in records {
            segments.writer.append_data(record).expect("append_data");
            segments.next += 1;
        }
        if self.durable {
            let next = segments.next;
            segments.writer.commit(next).expect("commit");
        }
    }
}

impl Peer for Seglog {
    const NAME: &'static CStr = c"seglog (crate)";
    const PACKAGE: &'static str = "seglog";
    const APPENDS: u32 = IN_PROCESS | ON_DISK;
    type Reader = Places;

    fn open(opening: &Opening) -> Self {
        let count = (0..).take_while(|n| path(opening.dir, *n).exists()).count();
        let (writer, number) = match count.checked_sub(1) {
            Some(last) => (Writer::open(path(opening.dir, last), SEGMENT, 0).expect("open"), last),
            None => (Writer::create(path(opening.dir, 0), SEGMENT, 0).expect("create"), 0),
        };
        let next = writer.last_committed_position().unwrap_or(0);
        Seglog {
            dir: opening.dir.to_owned(),
            durable: opening.durability == ON_DISK,
            segments: Mutex::new(Segments { writer, number, next }),
        }
    }

    fn append(&self, data: &[u8]) {
        self.write(std::iter::once(data), HEAD + data.len());
    }

    fn append_batch(&self, records: Chunks<u8>) {
        let bytes = records.clone().map(|record| HEAD + record.len()).sum();
        self.write(records, bytes);
    }

    fn scan(&self) -> u64 {
        let (mut seen, mut looked) = (0, 0);
        for mut reader in self.readers() {
            let mut records = reader.iter(0);
            while let Some(record) = records.next_record().expect("next_record") {
                looked ^= u32::from(record.data[0]);
                seen += 1;
            }
        }
        look(looked);
        seen
    }

    fn reader(&'static self) -> Places {
        let mut readers = self.readers();
        let mut records = Vec::new();
        for (n, reader) in readers.iter_mut().enumerate() {
            let mut all = reader.iter(0);
            while let Some(record) = all.next_record().expect("next_record") {
                records.push((n, record.offset));
            }
        }
        Places { readers, records }
    }

    fn read(places: &mut Places, n: u64, buffer: &mut [u8]) {
        let (segment, offset) = places.records[usize::try_from(n).expect("64 bits")];
        let record = places.readers[segment].read_record(offset, ReadHint::Random).expect("read_record");
        buffer.copy_from_slice(&record.data);
    }

    fn close(self) {
        let mut segments = self.segments.into_inner().expect("no panic before");
        if !self.durable {
            segments.writer.commit(segments.next).expect("commit");
        }
        segments.writer.close().expect("close");
    }
}
