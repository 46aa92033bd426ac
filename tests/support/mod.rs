//! What the tests of recovery and damage share: directories that go away, the files of a log as bytes, records that are
//! told by their offset, and checks of a whole log. Nothing here asks the library how a file is laid out.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(feature = "faults")]
pub(crate) mod disk;
pub(crate) mod format;

use seglog::{Config, Cursor, Error, Log, Status, Sync};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::marker;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

// --- directories ---------------------------------------------------------------------------------------------------

/// A directory that is removed with all in it when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// In memory where the machine has a file system for that: a test opens thousands of logs.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        Self::within(memory).or_else(|_| Self::within(&std::env::temp_dir())).unwrap()
    }

    /// On a disk's file system.
    pub(crate) fn on_disk() -> Self {
        Self::within(&std::env::temp_dir()).unwrap()
    }

    fn within(parent: &Path) -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("seglog-files-{}-{number}", std::process::id()));
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

// --- the files of a log --------------------------------------------------------------------------------------------

/// Whether a name is that of a store.
pub(crate) fn is_store(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "store")
}

/// The files of a directory, by name; those in `lost/` as `lost/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Image(pub(crate) BTreeMap<String, Vec<u8>>);

impl Image {
    /// What a directory holds now: with a log open in it, what a kill at this moment would leave.
    pub(crate) fn of(dir: &Path) -> Self {
        Self::of_all_but(dir, "")
    }

    /// The same without LIVE, which is the largest of them.
    pub(crate) fn without_live(dir: &Path) -> Self {
        Self::of_all_but(dir, "LIVE")
    }

    fn of_all_but(dir: &Path, left_out: &str) -> Self {
        let mut files = BTreeMap::new();
        for (prefix, dir) in [("", dir.to_owned()), ("lost/", dir.join("lost"))] {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file()) {
                let name = entry.file_name().into_string().unwrap();
                if name == left_out {
                    continue;
                }
                files.insert(format!("{prefix}{name}"), fs::read(entry.path()).unwrap());
            }
        }
        Self(files)
    }

    /// Makes a directory hold exactly these files.
    pub(crate) fn put(&self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else if !entry.file_name().to_str().is_some_and(|name| self.0.contains_key(name)) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for (name, bytes) in &self.0 {
            let path = dir.join(name);
            if name.starts_with("lost/") {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
            }
            fs::write(path, bytes).unwrap();
        }
    }

    /// The same in a new directory.
    pub(crate) fn place(&self) -> Scratch {
        let dir = Scratch::new();
        self.put(dir.path());
        dir
    }

    /// The stores and indexes alone.
    pub(crate) fn kept(&self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| *name != "LIVE")
                .map(|(name, file)| (name.clone(), file.clone()))
                .collect(),
        )
    }

    pub(crate) fn stores(&self) -> Vec<String> {
        self.0.keys().filter(|name| is_store(name) && !name.contains('/')).cloned().collect()
    }

    /// The name of the last segment's store.
    pub(crate) fn last_store(&self) -> String {
        self.stores().pop().unwrap()
    }

    pub(crate) fn file(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.get_mut(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Does what the library does when half the ring is full: writes the frames of the last segment that are only in
    /// the ring to the store. It goes by the control page, as docs/FORMAT.md draws it.
    pub(crate) fn write_out(&mut self) {
        let live = self.0["LIVE"].clone();
        let word = |at: usize| u64::from_le_bytes(live[at..at + 8].try_into().unwrap());
        let (end, stored, base, epoch) = (word(136), word(192), word(216), word(224));
        let store = self.file(&format!("{base:020}-{epoch:08x}.store"));
        for position in stored..end {
            let ring = usize::try_from(position % (1 << 20)).unwrap();
            store[usize::try_from(position).unwrap()] = live[(64 << 10) + ring];
        }
    }

    /// What differs between two images, in words.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        let names: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for name in names {
            match (self.0.get(name), other.0.get(name)) {
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) => {
                    let at = a.iter().zip(b).position(|(a, b)| a != b);
                    let _ = write!(text, "{name} differs at {at:?} ({} and {} bytes); ", a.len(), b.len());
                }
                (a, _) => {
                    let _ =
                        write!(text, "{name} is only in the {} one; ", if a.is_some() { "first" } else { "second" });
                }
            }
        }
        text
    }
}

// --- records that are told by their offset -------------------------------------------------------------------------

/// The bytes of record `offset`: of a length from 0 to 200, and none like another's.
pub(crate) fn payload(offset: u64) -> Vec<u8> {
    sized(offset, usize::try_from(offset * 89 % 201).unwrap())
}

/// Bytes for record `offset`, of any length.
pub(crate) fn sized(offset: u64, len: usize) -> Vec<u8> {
    let mut random = Random(offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ len as u64);
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(|| random.next().to_le_bytes()).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// The generator splitmix64 (Steele, Lea, Flood 2014): the same numbers in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap()
    }
}

/// Segments as small as they can be, nothing synced unasked.
pub(crate) fn small() -> Config {
    Config { segment_max_bytes: 4096, sync: Sync::Never, ..Config::default() }
}

/// Appends records told by their offset: batches of `batch` records, or single ones where that is 1.
pub(crate) fn append(log: &Log, count: u64, batch: u64) {
    let first = log.next_offset();
    for start in (first..first + count).step_by(usize::try_from(batch).unwrap()) {
        let payloads: Vec<_> = (start..(start + batch).min(first + count)).map(payload).collect();
        let slices: Vec<_> = payloads.iter().map(Vec::as_slice).collect();
        let got = if batch == 1 { log.append(slices[0]) } else { log.append_batch(&slices) };
        assert_eq!(got.unwrap(), start);
    }
}

/// Singles and batches by turns, until so many records are there.
pub(crate) fn append_mixed(log: &Log, count: u64) {
    let end = log.next_offset() + count;
    let mut turn = 0;
    while log.next_offset() < end {
        let batch = [1, 3, 1, 1, 5, 2][turn % 6];
        append(log, batch.min(end - log.next_offset()), batch);
        turn += 1;
    }
}

/// Returns when all segments before the last have been synced and say so, which the log's own thread does.
pub(crate) fn settle(log: &Log, last_base: u64) {
    for _ in 0..10_000 {
        if log.stat().unwrap().durable_offset >= last_base {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the full segments were never synced");
}

/// Returns when the handle takes no more writes, which a failure in the log's own thread comes to, with what it says
/// then. Nothing is appended meanwhile.
pub(crate) fn until_poisoned(log: &Log) -> Error {
    for _ in 0..60_000 {
        match log.append_at(u64::MAX, b"") {
            Err(error) if error.status() == Status::Conflict => thread::sleep(std::time::Duration::from_millis(1)),
            result => return result.unwrap_err(),
        }
    }
    panic!("the failure never came to light");
}

// --- checks --------------------------------------------------------------------------------------------------------

/// Reads every record by offset, by cursor and by cursor in batches; returns the offsets that do not read back. Fails
/// on wrong data, on a status other than `LOG_E_CORRUPT`, and where the three ways disagree.
pub(crate) fn lost(log: &Log, expect: impl Fn(u64) -> Vec<u8>) -> Vec<u64> {
    let (first, next) = (log.first_offset(), log.next_offset());
    let mut lost = Vec::new();
    let mut time = 0;
    for offset in first..next {
        match log.read(offset, |bytes, timestamp| (bytes.to_vec(), timestamp)) {
            Ok((bytes, timestamp)) => {
                assert_eq!(bytes, expect(offset), "wrong data at {offset}");
                assert!(timestamp >= time, "time runs back at {offset}");
                time = timestamp;
            }
            Err(error) => {
                assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, offset), "{error}");
                lost.push(offset);
            }
        }
    }
    assert_eq!(log.read(next, |_, _| ()).unwrap_err().status(), Status::Beyond);
    let mut stepped = Vec::new();
    let mut cursor = Cursor::open(log, first).unwrap();
    let mut at = first;
    loop {
        match cursor.next() {
            Ok(None) => break,
            Ok(Some(record)) => {
                assert_eq!((record.offset, record.payload), (at, &expect(at)[..]), "a cursor gave wrong data");
            }
            Err(error) => {
                assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, at), "a cursor's error: {error}");
                stepped.push(at);
            }
        }
        at += 1;
        assert_eq!(cursor.offset(), at, "a cursor stands still");
    }
    assert_eq!(at, next, "a cursor ended early");
    assert_eq!(stepped, lost, "a cursor and reads by offset lose the same");
    let mut cursor = Cursor::open(log, first).unwrap();
    let (mut at, mut stepped) = (first, Vec::new());
    loop {
        match cursor.next_batch(7, |record| {
            assert_eq!((record.offset, record.payload), (at, &expect(at)[..]), "a cursor's batch gave wrong data");
            at += 1;
        }) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, at), "{error}");
                stepped.push(at);
                at += 1;
            }
        }
    }
    assert_eq!((at, stepped), (next, lost.clone()), "a cursor in batches and reads by offset lose the same");
    lost
}

/// Every record reads back.
pub(crate) fn check_whole(log: &Log, first: u64, next: u64) {
    assert_eq!((log.first_offset(), log.next_offset()), (first, next));
    assert_eq!(lost(log, payload), [0; 0], "lost records");
}

/// The log takes records, closes, opens again, says that all was clean, and has everything that it had. Returns what of
/// it does not read back.
pub(crate) fn check_goes_on(log: Log, dir: &Path, config: &Config, expect: impl Fn(u64) -> Vec<u8>) -> Vec<u64> {
    let (first, next) = (log.first_offset(), log.next_offset());
    let before = lost(&log, &expect);
    assert_eq!(log.append(&expect(next)).unwrap(), next);
    let batch = [expect(next + 1), expect(next + 2)];
    assert_eq!(log.append_batch(&[&batch[0], &batch[1]]).unwrap(), next + 1);
    log.close().unwrap();
    let log = Log::open(dir, config).unwrap();
    let stat = log.stat().unwrap();
    assert_eq!((stat.recovered_records, stat.dropped_bytes), (0, 0), "a closed log needs no recovery");
    assert_eq!((log.first_offset(), log.next_offset(), stat.durable_offset), (first, next + 3, next + 3));
    assert_eq!(lost(&log, &expect), before);
    log.close().unwrap();
    before
}

/// Runs `work` for each number, with a directory of its own a thread, on all processors.
#[allow(clippy::needless_pass_by_value, reason = "a range is given as it is")]
pub(crate) fn each(numbers: impl Iterator<Item = usize> + Clone + Send, work: impl Fn(usize, &Scratch) + marker::Sync) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for part in 0..threads {
            let (numbers, work) = (numbers.clone(), &work);
            scope.spawn(move || {
                let dir = Scratch::new();
                numbers.skip(part).step_by(threads).for_each(|number| work(number, &dir));
            });
        }
    });
}
