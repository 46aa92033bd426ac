//! A sequence of calls of the C API against a plain vector: each answer is the one that the vector gives, each record is as
//! it was appended, whatever the order, with reopens, kills, and arguments that are wrong.
#![no_main]

mod shared;

use libfuzzer_sys::fuzz_target;
use shared::abi::{self, Bytes, Config, Failure, Record, Segment, Stat};
use shared::{Input, clear, scratch};
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::LazyLock;

// What the targets link is the library itself.
use seglog as _;

static DIR: LazyLock<PathBuf> = LazyLock::new(scratch);

const OK: i32 = 0;
const END: i32 = 1;
const TIMEOUT: i32 = 2;
const ARGUMENT: i32 = 10;
const TOO_LARGE: i32 = 11;
const BUFFER: i32 = 12;
const TRIMMED: i32 = 13;
const BEYOND: i32 = 14;
const READ_ONLY: i32 = 15;
const CONFLICT: i32 = 16;
const NOT_FOUND: i32 = 20;
const LOCKED: i32 = 21;
const RECORD_MAX: usize = 9000;

/// A record as it should be; the time where it is known.
type Expected = (Option<u64>, Vec<u8>);

struct Model {
    first: u64,
    records: Vec<Expected>,
    made: u64,
    positions: BTreeMap<u8, u64>,
    metas: BTreeMap<u8, Vec<u8>>,
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn get(&self, offset: u64) -> Option<&Expected> {
        self.records.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.made += 1;
        let seed = self.made.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..len as u64).map(|n| (seed.rotate_left((n % 63) as u32) ^ n) as u8).collect()
    }

    /// From one before the first to one past the next, or anywhere.
    fn offset(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() {
            255 => input.number(),
            small => (self.first + u64::from(small) % (self.records.len() as u64 + 3)).wrapping_sub(1),
        }
    }

    /// The log's end was cut: who stood behind it stands there now.
    fn cut(&mut self, at: u64) {
        for position in self.positions.values_mut() {
            *position = at.min(*position);
        }
    }

    /// What reading at an offset says where no record is.
    fn outside(&self, offset: u64) -> i32 {
        if offset < self.first { TRIMMED } else { BEYOND }
    }

    fn check(&self, record: &Record) {
        let (time, payload) = self.get(record.offset).expect("a record that should not be there");
        assert!(!record.payload.data.is_null());
        // SAFETY: a view lives until the next call on its cursor.
        let bytes = unsafe { std::slice::from_raw_parts(record.payload.data.cast::<u8>(), record.payload.len) };
        assert!(bytes == payload, "record {} has other bytes", record.offset);
        assert!(time.is_none_or(|time| time == record.timestamp_ns), "record {} has another time", record.offset);
    }
}

struct Run {
    config: Config,
    dir: PathBuf,
    dirs: u32,
    log: abi::Log,
    cursor: abi::Cursor,
    /// Where the cursor stands.
    at: u64,
    follower: abi::Log,
    model: Model,
    error: Failure,
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().expect("a path")).expect("a path")
}

/// Copies a directory as it stands. A file may go meanwhile, as one may that was made ahead. Each is read from its
/// beginning to its end: `std::fs::copy` lets the kernel take the pages first and their bytes later, so that a slot may
/// be there and what it speaks of not.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory is made");
    for entry in std::fs::read_dir(from).expect("a log's directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            copy(&entry.path(), &to);
        } else {
            let _ = std::fs::read(entry.path()).and_then(|bytes| std::fs::write(to, bytes));
        }
    }
}

fn len(input: &mut Input<'_>) -> usize {
    match input.u8() {
        small @ 0..=199 => usize::from(small),
        middle @ 200..=250 => usize::from(middle - 199) * 60,
        _ => usize::from(input.u16()) % (RECORD_MAX + 2),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    clear(&DIR);
    let (sizes, policy) = (input.u8(), input.u8());
    let no_thread = policy & 4 == 0;
    let sync = [0, 2, 2, 1][usize::from(policy & 3)];
    let config = Config {
        struct_size: size_of::<Config>() as u32,
        flags: if no_thread && sync != 1 { 4 } else { 0 },
        segment_max_bytes: [4096, 5000, 20_000, 100_000][usize::from(sizes & 3)],
        index_max_bytes: [0, 8, 40, 4000][usize::from(sizes >> 2 & 3)],
        initial_offset: [0, 7, 1 << 40, u64::MAX - (1 << 33)][usize::from(sizes >> 4 & 3)],
        record_max_bytes: RECORD_MAX as u64,
        sync,
        sync_interval_ms: u32::from(sync == 1),
        io: [0, 1, 2, 2][usize::from(sizes >> 6)],
        ..Config::default()
    };
    let mut run = Run {
        config,
        dir: DIR.join("0"),
        dirs: 0,
        log: null_mut(),
        cursor: null_mut(),
        at: 0,
        follower: null_mut(),
        model: Model {
            first: config.initial_offset,
            records: Vec::new(),
            made: 0,
            positions: BTreeMap::new(),
            metas: BTreeMap::new(),
        },
        error: Failure { status: -1, os_error: 0, offset: 0, message: [0; 240] },
    };
    run.open();
    let mut steps = 0;
    while !input.is_empty() && steps < 100 {
        run.step(&mut input);
        steps += 1;
    }
    run.close_cursor();
    run.close();
    run.open();
    run.read_all();
    run.close();
    let path = c_path(&run.dir);
    assert_eq!(abi::log_remove(path.as_ptr(), &raw mut run.error), OK);
    assert!(!run.dir.exists(), "a removed log's directory is there");
});

impl Run {
    fn open(&mut self) {
        let path = c_path(&self.dir);
        let status = abi::log_open(path.as_ptr(), &raw const self.config, &raw mut self.log, &raw mut self.error);
        assert_eq!(status, OK, "{}", self.message());
        let stat = self.stat();
        assert_eq!((stat.first_offset, stat.next_offset, stat.dropped_bytes), (self.model.first, self.model.next(), 0));
        self.open_cursor(self.model.first);
    }

    fn open_cursor(&mut self, at: u64) {
        self.close_cursor();
        assert_eq!(abi::log_cursor_open(self.log, at, &raw mut self.cursor, &raw mut self.error), OK);
        self.at = at;
    }

    fn close_cursor(&mut self) {
        abi::log_cursor_close(std::mem::replace(&mut self.cursor, null_mut()));
    }

    fn close(&mut self) {
        assert_eq!(abi::log_close(std::mem::replace(&mut self.follower, null_mut()), null_mut()), OK);
        let status = abi::log_close(std::mem::replace(&mut self.log, null_mut()), &raw mut self.error);
        assert_eq!(status, OK, "{}", self.message());
        self.close_cursor();
    }

    fn message(&self) -> String {
        self.error.message.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8 as char).collect()
    }

    fn stat(&mut self) -> Stat {
        let mut stat = Stat { struct_size: size_of::<Stat>() as u32, ..Stat::default() };
        assert_eq!(abi::log_stat(self.log, &raw mut stat, &raw mut self.error), OK);
        stat
    }

    /// One call, or a few that belong together.
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 27 {
            0..=2 => self.append(input),
            3 | 4 => self.append_batch(input),
            5 => self.append_at(input),
            6 => self.append_records(input),
            7 | 8 => self.read(input),
            9 | 10 => self.next(input),
            11 => self.next_batch(input),
            12 => self.prev(input),
            13 => self.seek(input),
            14 => self.trim(input),
            15 => self.truncate(input),
            16 => self.reset(input),
            17 => assert_eq!(abi::log_sync(self.log, &raw mut self.error), OK),
            18 => self.wait_durable(input),
            19 => self.check_stat(),
            20 => {
                self.close();
                self.open();
            }
            21 => self.kill(),
            22 => self.follow(input),
            23 | 24 => self.position(input),
            25 => self.meta(input),
            _ => self.misuse(input),
        }
    }

    fn append(&mut self, input: &mut Input<'_>) {
        let bytes = self.model.payload(len(input));
        let mut at = u64::MAX;
        let status = abi::log_append(self.log, bytes.as_ptr().cast(), bytes.len(), &raw mut at, &raw mut self.error);
        if bytes.len() > RECORD_MAX {
            assert_eq!((status, at), (TOO_LARGE, u64::MAX));
        } else {
            assert_eq!((status, at), (OK, self.model.next()), "{}", self.message());
            self.model.records.push((None, bytes));
        }
    }

    fn append_batch(&mut self, input: &mut Input<'_>) {
        let count = usize::from(input.u8() % 9);
        let payloads: Vec<_> = (0..count).map(|_| self.model.payload(len(input).min(RECORD_MAX))).collect();
        let records: Vec<_> =
            payloads.iter().map(|bytes| Bytes { data: bytes.as_ptr().cast(), len: bytes.len() }).collect();
        let mut first = u64::MAX;
        let status = abi::log_append_batch(self.log, records.as_ptr(), count, &raw mut first, &raw mut self.error);
        assert_eq!((status, first), (OK, self.model.next()), "{}", self.message());
        self.model.records.extend(payloads.into_iter().map(|bytes| (None, bytes)));
    }

    fn append_at(&mut self, input: &mut Input<'_>) {
        let at = self.model.offset(input);
        let bytes = self.model.payload(usize::from(input.u8()));
        let status = abi::log_append_at(self.log, at, bytes.as_ptr().cast(), bytes.len(), &raw mut self.error);
        if at == self.model.next() {
            assert_eq!(status, OK, "{}", self.message());
            self.model.records.push((None, bytes));
        } else {
            assert_eq!((status, self.error.offset), (CONFLICT, self.model.next()));
        }
    }

    fn append_records(&mut self, input: &mut Input<'_>) {
        let (count, wrong) = (usize::from(input.u8() % 6), input.u8());
        let payloads: Vec<_> = (0..count).map(|_| self.model.payload(len(input).min(RECORD_MAX))).collect();
        // After all that a clock gives, and each later than the one before.
        let time = 4_000_000_000_000_000_000 + self.model.made * 1000;
        let records = (0..).zip(&payloads).map(|(n, bytes)| {
            let last = n as usize + 1 == count;
            Record {
                offset: self.model.next() + n + u64::from(wrong == 255 && last),
                timestamp_ns: if wrong == 254 && last && n > 0 { time - 1 } else { time + n },
                payload: Bytes { data: bytes.as_ptr().cast(), len: bytes.len() },
            }
        });
        let records: Vec<_> = records.collect();
        let status = abi::log_append_records(self.log, records.as_ptr(), count, &raw mut self.error);
        match wrong {
            255 if count > 0 => assert_eq!(status, CONFLICT),
            254 if count > 1 => assert_eq!(status, ARGUMENT),
            _ => {
                assert_eq!(status, OK, "{}", self.message());
                let times = records.iter().map(|record| Some(record.timestamp_ns));
                self.model.records.extend(times.zip(payloads));
            }
        }
    }

    fn read(&mut self, input: &mut Input<'_>) {
        let offset = self.model.offset(input);
        let log = if input.u8() % 4 == 0 && !self.follower.is_null() { self.follower } else { self.log };
        let mut buf = [0xA5_u8; RECORD_MAX];
        let capacity = if input.u8() % 4 == 0 { usize::from(input.u8()) } else { RECORD_MAX };
        let mut got = usize::MAX;
        let at = buf.as_mut_ptr().cast::<c_void>();
        let status = abi::log_read(log, offset, at, capacity, &raw mut got, &raw mut self.error);
        match self.model.get(offset) {
            Some((_, bytes)) if bytes.len() <= capacity => {
                assert_eq!((status, got), (OK, bytes.len()), "{}", self.message());
                assert!(buf[..got] == bytes[..] && buf[got..].iter().all(|byte| *byte == 0xA5));
            }
            Some((_, bytes)) => {
                assert_eq!((status, got), (BUFFER, bytes.len()));
                assert!(buf.iter().all(|byte| *byte == 0xA5));
            }
            None => assert_eq!((status, got), (self.model.outside(offset), usize::MAX)),
        }
    }

    fn read_all(&mut self) {
        self.open_cursor(self.model.first);
        for _ in 0..self.model.records.len() {
            self.next_one();
        }
        assert_eq!(self.at, self.model.next());
        self.next_one();
        for _ in 0..=self.model.records.len() {
            self.prev_one();
        }
    }

    fn next(&mut self, input: &mut Input<'_>) {
        (0..=input.u8() % 12).for_each(|_| self.next_one());
    }

    fn next_one(&mut self) {
        let mut record = Record::NONE;
        let status = abi::log_cursor_next(self.cursor, &raw mut record, &raw mut self.error);
        if self.model.get(self.at).is_some() {
            assert_eq!((status, record.offset), (OK, self.at), "{}", self.message());
            self.model.check(&record);
            self.at += 1;
        } else {
            assert_eq!(status, if self.at < self.model.first { TRIMMED } else { END }, "{}", self.message());
        }
    }

    fn next_batch(&mut self, input: &mut Input<'_>) {
        let capacity = 1 + usize::from(input.u8() % 20);
        let mut records = [Record::NONE; 20];
        let mut count = usize::MAX;
        let to = records.as_mut_ptr();
        let status = abi::log_cursor_next_batch(self.cursor, to, capacity, &raw mut count, &raw mut self.error);
        if self.model.get(self.at).is_some() {
            assert!(status == OK && (1..=capacity).contains(&count), "{status}: {}", self.message());
            for record in &records[..count] {
                assert_eq!(record.offset, self.at);
                self.model.check(record);
                self.at += 1;
            }
        } else if self.at < self.model.first {
            assert_eq!(status, TRIMMED);
        } else {
            assert_eq!((status, count), (END, 0), "{}", self.message());
        }
    }

    fn prev(&mut self, input: &mut Input<'_>) {
        (0..=input.u8() % 12).for_each(|_| self.prev_one());
    }

    fn prev_one(&mut self) {
        let mut record = Record::NONE;
        let status = abi::log_cursor_prev(self.cursor, &raw mut record, &raw mut self.error);
        let (first, next) = (self.model.first, self.model.next());
        let expected = match self.at {
            at if at < first => TRIMMED,
            at if at == first => END,
            at if at > next => BEYOND,
            _ => OK,
        };
        assert_eq!(status, expected, "at {} of {first}..{next}: {}", self.at, self.message());
        if status == OK {
            self.at -= 1;
            assert_eq!(record.offset, self.at);
            self.model.check(&record);
        }
    }

    fn seek(&mut self, input: &mut Input<'_>) {
        let offset = self.model.offset(input);
        let status = abi::log_cursor_seek(self.cursor, offset, &raw mut self.error);
        if (self.model.first..=self.model.next()).contains(&offset) {
            assert_eq!(status, OK);
            self.at = offset;
        } else {
            assert_eq!(status, self.model.outside(offset));
        }
    }

    fn trim(&mut self, input: &mut Input<'_>) {
        let before = self.model.offset(input);
        let status = abi::log_trim(self.log, before, &raw mut self.error);
        if before > self.model.next() {
            assert_eq!(status, BEYOND);
        } else {
            assert_eq!(status, OK, "{}", self.message());
            let gone = before.saturating_sub(self.model.first);
            self.model.records.drain(..gone as usize);
            self.model.first += gone;
        }
    }

    fn truncate(&mut self, input: &mut Input<'_>) {
        let from = self.model.offset(input);
        let status = abi::log_truncate(self.log, from, &raw mut self.error);
        if (self.model.first..=self.model.next()).contains(&from) {
            assert_eq!(status, OK, "{}", self.message());
            self.model.records.truncate((from - self.model.first) as usize);
            self.model.cut(from);
        } else {
            assert_eq!(status, self.model.outside(from));
        }
    }

    fn reset(&mut self, input: &mut Input<'_>) {
        let to = input.number();
        let status = abi::log_reset(self.log, to, &raw mut self.error);
        if to > u64::MAX - (1 << 31) + 1 {
            assert_eq!(status, ARGUMENT);
        } else {
            assert_eq!(status, OK, "{}", self.message());
            self.model.records.clear();
            self.model.first = to;
            self.model.cut(to);
            // The model takes offsets of a run as numbers that do not run out.
            if to > u64::MAX - (1 << 33) {
                assert_eq!(abi::log_reset(self.log, 7, &raw mut self.error), OK);
                self.model.first = 7;
                self.model.cut(7);
            }
        }
    }

    fn wait_durable(&mut self, input: &mut Input<'_>) {
        let offset = self.model.offset(input);
        let status = abi::log_wait_durable(self.log, offset, 5000, &raw mut self.error);
        assert_eq!(status, if offset >= self.model.next() { BEYOND } else { OK }, "{}", self.message());
        let durable = self.stat().durable_offset;
        assert!(offset >= self.model.next() || durable > offset);
        let now = abi::log_wait_durable(self.log, offset, 0, &raw mut self.error);
        assert!(now != TIMEOUT || offset >= durable);
    }

    fn check_stat(&mut self) {
        let stat = self.stat();
        let bytes: usize = self.model.records.iter().map(|record| record.1.len()).sum();
        assert_eq!((stat.first_offset, stat.next_offset), (self.model.first, self.model.next()));
        assert!(stat.durable_offset <= stat.next_offset && stat.durable_offset >= stat.first_offset);
        assert_eq!(stat.payload_bytes, bytes as u64);
        let mut end = None;
        for index in 0.. {
            let mut segment = Segment { struct_size: size_of::<Segment>() as u32, ..Segment::default() };
            let status = abi::log_segment_at(self.log, index, &raw mut segment, &raw mut self.error);
            if status == END {
                assert_eq!(index as u32, stat.segment_count);
                break;
            }
            assert_eq!(status, OK, "{}", self.message());
            assert!(end.is_none_or(|end| end == segment.base_offset));
            end = Some(segment.next_offset);
        }
        assert_eq!(end, Some(self.model.next()));
    }

    /// What a killed process leaves is what is in the files now.
    fn kill(&mut self) {
        self.dirs += 1;
        let to = DIR.join(self.dirs.to_string());
        copy(&self.dir, &to);
        self.close_cursor();
        self.close();
        std::fs::remove_dir_all(std::mem::replace(&mut self.dir, to)).expect("the old directory is removed");
        self.open();
    }

    fn position(&mut self, input: &mut Input<'_>) {
        let (name, verb) = (input.u8() % 3, input.u8());
        let text = CString::new(format!("consumer-{name}")).expect("a name");
        let log = if verb & 4 == 0 || self.follower.is_null() { self.log } else { self.follower };
        match verb & 3 {
            0 => {
                let status = abi::log_position_remove(log, text.as_ptr(), &raw mut self.error);
                let was = self.model.positions.remove(&name);
                assert_eq!(status, if was.is_some() { OK } else { NOT_FOUND }, "{}", self.message());
            }
            1 => {
                let offset = self.model.offset(input);
                let status = abi::log_position_save(log, text.as_ptr(), offset, &raw mut self.error);
                assert_eq!(status, if offset > self.model.next() { BEYOND } else { OK }, "{}", self.message());
                if status == OK {
                    self.model.positions.insert(name, offset);
                }
            }
            _ => {
                let mut offset = u64::MAX;
                let status = abi::log_position_load(log, text.as_ptr(), &raw mut offset, &raw mut self.error);
                match self.model.positions.get(&name) {
                    Some(position) => assert_eq!((status, offset), (OK, *position), "{}", self.message()),
                    None => assert_eq!((status, offset), (NOT_FOUND, u64::MAX)),
                }
            }
        }
    }

    fn meta(&mut self, input: &mut Input<'_>) {
        let (name, verb) = (input.u8() % 3, input.u8());
        let text = CString::new(format!("fact.{name}")).expect("a name");
        match verb & 3 {
            0 => {
                let status = abi::log_meta_remove(self.log, text.as_ptr(), &raw mut self.error);
                let was = self.model.metas.remove(&name);
                assert_eq!(status, if was.is_some() { OK } else { NOT_FOUND }, "{}", self.message());
            }
            1 => {
                let bytes = self.model.payload(len(input).min(4098));
                let at = bytes.as_ptr().cast();
                let status = abi::log_meta_set(self.log, text.as_ptr(), at, bytes.len(), &raw mut self.error);
                assert_eq!(status, if bytes.len() > 4096 { TOO_LARGE } else { OK }, "{}", self.message());
                if status == OK {
                    self.model.metas.insert(name, bytes);
                }
            }
            _ => {
                let (mut buf, mut got) = ([0xA5_u8; 4096], usize::MAX);
                let capacity = if verb & 4 == 0 { 4096 } else { usize::from(input.u8()) };
                let at = buf.as_mut_ptr().cast();
                let status =
                    abi::log_meta_get(self.log, text.as_ptr(), at, capacity, &raw mut got, &raw mut self.error);
                match self.model.metas.get(&name) {
                    Some(bytes) if bytes.len() <= capacity => {
                        assert_eq!((status, got), (OK, bytes.len()), "{}", self.message());
                        assert!(buf[..got] == bytes[..] && buf[got..].iter().all(|byte| *byte == 0xA5));
                    }
                    Some(bytes) => assert_eq!((status, got), (BUFFER, bytes.len())),
                    None => assert_eq!((status, got), (NOT_FOUND, usize::MAX)),
                }
            }
        }
    }

    /// Opens a read-only handle, or asks it.
    fn follow(&mut self, input: &mut Input<'_>) {
        if self.follower.is_null() {
            let path = c_path(&self.dir);
            let config = Config { struct_size: size_of::<Config>() as u32, flags: 1, ..Config::default() };
            let status = abi::log_open(path.as_ptr(), &raw const config, &raw mut self.follower, &raw mut self.error);
            assert_eq!(status, OK, "{}", self.message());
        }
        assert_eq!(abi::log_append(self.follower, null(), 0, null_mut(), &raw mut self.error), READ_ONLY);
        assert_eq!(abi::log_trim(self.follower, 0, &raw mut self.error), READ_ONLY);
        let at = self.model.offset(input);
        let mut cursor = null_mut();
        let status = abi::log_cursor_open(self.follower, at, &raw mut cursor, &raw mut self.error);
        if !(self.model.first..=self.model.next()).contains(&at) {
            assert_eq!(status, self.model.outside(at), "{}", self.message());
            return;
        }
        assert_eq!(status, OK, "{}", self.message());
        for offset in at..self.model.next().min(at + 20) {
            let mut record = Record::NONE;
            let status = abi::log_cursor_next(cursor, &raw mut record, &raw mut self.error);
            assert_eq!((status, record.offset), (OK, offset), "{}", self.message());
            self.model.check(&record);
        }
        abi::log_cursor_close(cursor);
    }

    /// Calls that are wrong: each says so, and nothing happens.
    fn misuse(&mut self, input: &mut Input<'_>) {
        let (log, error) = (self.log, &raw mut self.error);
        let mut size = usize::MAX;
        let mut record = Record::NONE;
        let (mut stat, mut segment) = (Stat::default(), Segment::default());
        let status = match input.u8() % 16 {
            0 => abi::log_append(null_mut(), null(), 0, null_mut(), error),
            1 => abi::log_append(log, null(), 1, null_mut(), error),
            2 => abi::log_append_batch(log, null(), 3, null_mut(), error),
            3 => abi::log_read(log, self.model.first, null_mut(), 5, &raw mut size, error),
            4 => abi::log_stat(log, null_mut(), error),
            5 => abi::log_stat(log, &raw mut stat, error),
            6 => abi::log_segment_at(log, 0, &raw mut segment, null_mut()),
            7 => abi::log_cursor_open(log, self.model.first, null_mut(), error),
            8 => abi::log_cursor_next(null_mut(), &raw mut record, error),
            9 => abi::log_cursor_next_batch(self.cursor, &raw mut record, 0, &raw mut size, error),
            10 => abi::log_cursor_prev(self.cursor, null_mut(), error),
            11 => abi::log_open(null(), null(), null_mut(), error),
            12 => {
                let bytes = Bytes { data: null(), len: usize::MAX };
                let status = abi::log_append_batch(log, &raw const bytes, 1, null_mut(), null_mut());
                assert!(status == ARGUMENT || status == TOO_LARGE);
                ARGUMENT
            }
            13 => {
                let path = c_path(&self.dir);
                let mut other = null_mut();
                assert_eq!(abi::log_open(path.as_ptr(), &raw const self.config, &raw mut other, error), LOCKED);
                assert_eq!(abi::log_remove(path.as_ptr(), error), LOCKED);
                ARGUMENT
            }
            14 => {
                // Whatever a configuration says: it is refused, or the log is locked.
                let mut config = self.config;
                let word = input.number();
                match input.u8() % 10 {
                    0 => config.struct_size = word as u32,
                    1 => config.flags = word as u32 & !1,
                    2 => config.segment_max_bytes = word,
                    3 => config.index_max_bytes = word,
                    4 => config.initial_offset = word,
                    5 => config.record_max_bytes = word,
                    6 => config.sync = word as u32,
                    7 => config.sync_interval_ms = word as u32,
                    8 => config.io = word as u32,
                    _ => config.reserved = word as u32,
                }
                if config.struct_size as usize > size_of::<Config>() {
                    return;
                }
                let path = c_path(&self.dir);
                let mut other = null_mut();
                let status = abi::log_open(path.as_ptr(), &raw const config, &raw mut other, error);
                assert!([LOCKED, ARGUMENT].contains(&status) && other.is_null(), "{status}");
                ARGUMENT
            }
            _ => abi::log_wait_durable(null_mut(), 0, -1, error),
        };
        assert_eq!(status, ARGUMENT);
    }
}
