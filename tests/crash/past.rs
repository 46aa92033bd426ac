//! What was done with a log, and what of it may be there after a crash: the versions of its content in their order. A
//! mark in the history says up to which version all was acknowledged as durable, and up to which one it was asked for;
//! what is found after a crash must be one of those between.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "a caller writes where a reservation said")]

use super::beside::{self, Copy, Progress, Task};
use crate::support::{Random, sized};
use seglog::faults::{Event, Fault, Hook, Kind};
use seglog::{Config, Cursor, Io, Log, Record, Status, Sync, flags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// A log's content, as far as two of them can be told apart: first offset, next offset, and a sum over all records'
/// offsets, bytes and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) sum: u128,
}

/// The same, without these of its records that lie before `first`.
fn without(version: Version, records: &BTreeMap<u64, u128>, first: u64) -> Version {
    let gone = records.range(..first).fold(0_u128, |sum, (_, print)| sum.wrapping_add(*print));
    Version { first: version.first.max(first), sum: version.sum.wrapping_sub(gone), ..version }
}

/// What stands for a record in a version's sum.
pub(crate) fn print_of(offset: u64, time: u64, bytes: &[u8]) -> u128 {
    let mut hash = u128::from(offset) << 64 | u128::from(time) ^ bytes.len() as u128;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    for word in words.iter().chain([&last, &[1; 8]]) {
        hash = (hash ^ u128::from(u64::from_le_bytes(*word))).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
        hash ^= hash >> 61;
    }
    hash
}

/// Reads a whole log.
pub(crate) fn read(log: &Log) -> Version {
    let (first, next) = (log.first_offset(), log.next_offset());
    let (mut sum, mut at, mut last) = (0_u128, first, 0);
    let mut cursor = Cursor::open(log, first).unwrap();
    while let Some(record) = cursor.next().unwrap_or_else(|error| panic!("record {at} does not read back: {error}")) {
        assert_eq!(record.offset, at, "a cursor leaves records out");
        assert!(record.timestamp_ns >= last, "time runs back at {at}");
        sum = sum.wrapping_add(print_of(at, record.timestamp_ns, record.payload));
        (at, last) = (at + 1, record.timestamp_ns);
    }
    assert_eq!(at, next, "a cursor ends early");
    Version { first, next, sum }
}

/// Whether a handle takes no more writes.
fn is_poisoned(log: &Log) -> bool {
    log.append_at(u64::MAX, b"").unwrap_err().status() == Status::Poisoned
}

/// What was done, for the exploration.
pub(crate) struct Past {
    pub(crate) versions: Vec<Version>,
    /// Versions that no crash may leave: amid a batch.
    pub(crate) illegal: BTreeSet<usize>,
    pub(crate) events: Vec<Event>,
    /// How the log was opened.
    pub(crate) config: Config,
    /// What was done, in words.
    pub(crate) story: Vec<String>,
    /// What was done beside the records, and how much of it before the first event.
    pub(crate) tasks: Vec<Task>,
    pub(crate) progress: Progress,
}

/// What a workload does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Append,
    Batch,
    Large,
    LargeBatch,
    Import,
    Sync,
    Trim,
    Truncate,
    Reset,
    Close,
    Kill,
    /// The next sync of a file or directory fails, in one of the calls that follow.
    FailSync,
    /// Another call fails: a write, an allocation, a rename.
    FailCall,
    /// A record that is built in place, or given up.
    Reserve,
    /// A position is saved, a meta set.
    Save,
    Set,
    Backup,
}

/// A log and what was done with it so far.
pub(crate) struct Run {
    dir: PathBuf,
    config: Config,
    hook: Hook,
    log: Option<Log>,
    versions: Vec<Version>,
    /// The records that are there, each with what stands for it in the sum.
    records: BTreeMap<u64, u128>,
    first: u64,
    next: u64,
    acknowledged: usize,
    /// A call that failed and may have been done all the same led to this.
    doubted: Option<(Version, BTreeMap<u64, u128>)>,
    attempts: u64,
    random: Random,
    story: Vec<String>,
    tasks: Vec<Task>,
    position: u64,
    /// Whether backups are among what is done.
    pub(crate) backs_up: bool,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl Run {
    /// A log is made in a directory, which is not there yet.
    pub(crate) fn new(dir: &Path, config: &Config, seed: u64) -> Self {
        let mut run = Self {
            dir: dir.to_owned(),
            config: config.clone(),
            hook: Hook::new().with_history().in_boot([1; 16]),
            log: None,
            versions: vec![Version { first: config.initial_offset, next: config.initial_offset, sum: 0 }],
            records: BTreeMap::new(),
            first: config.initial_offset,
            next: config.initial_offset,
            acknowledged: 0,
            doubted: None,
            attempts: seed << 32,
            random: Random(seed),
            story: Vec::new(),
            tasks: Vec::new(),
            position: config.initial_offset,
            backs_up: false,
        };
        run.open();
        run
    }

    fn version(&self) -> Version {
        let sum = self.records.values().fold(0_u128, |sum, print| sum.wrapping_add(*print));
        Version { first: self.first, next: self.next, sum }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn open(&mut self) {
        let (hook, dir) = (self.hook.clone(), self.dir.clone());
        let config = Config { io: [Io::Mapped, Io::File][self.random.below(2)], ..self.config.clone() };
        // A fault that was planted before may be met here; each is met once.
        let mut failed = hook.failed();
        let log = loop {
            match hook.run(|| Log::open(&dir, &config)) {
                Ok(log) => break log,
                Err(_) if hook.failed() > failed => failed = hook.failed(),
                Err(error) => panic!("{:?}: {error}", self.story),
            }
        };
        let found = read(&log);
        self.log = Some(log);
        if let Some((version, records)) = self.doubted.take().filter(|(version, records)| {
            *version == found || self.config.retain_bytes > 0 && without(*version, records, found.first) == found
        }) {
            (self.first, self.next, self.records) = (version.first, version.next, records);
        }
        if found.first != self.first {
            // Without a thread the open asks retention.
            self.check_retained(found.first);
            self.begin_at(found.first);
        }
        assert_eq!(found, self.version(), "a process that ends loses nothing: {:?}", self.story);
        // All that an open has found is durable when it returns, and what it has not found is gone.
        self.hook.mark(Event::Issued(self.versions.len() as u64));
        self.versions.push(found);
        assert_eq!(self.log().stat().unwrap().durable_offset, found.next, "{:?}", self.story);
        self.acknowledge(self.versions.len() - 1);
    }

    fn acknowledge(&mut self, version: usize) {
        self.acknowledged = self.acknowledged.max(version);
        self.hook.mark(Event::Acknowledged(self.acknowledged as u64));
    }

    /// What `durable_offset` says is durable.
    fn acknowledge_durable(&mut self) {
        let stat = self.hook.clone().run(|| self.log().stat());
        let Ok(stat) = stat else { return };
        assert!(stat.durable_offset <= stat.next_offset);
        let reached = |n: &usize| self.versions[*n].next >= stat.durable_offset;
        let version = (self.acknowledged..self.versions.len()).find(reached).unwrap();
        self.acknowledge(version);
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.attempts += 1;
        sized(self.attempts, len)
    }

    /// Records were appended, or not.
    fn appended(&mut self, payloads: &[Vec<u8>], result: &Result<u64, seglog::Error>) {
        let published = match result {
            Ok(offset) => Some(*offset),
            Err(error) => error.detail().published,
        };
        if let Some(offset) = published {
            assert_eq!(offset, self.next);
            for (at, payload) in (offset..).zip(payloads) {
                let log = self.log.as_ref().unwrap();
                let print = log.read(at, |bytes, time| {
                    assert!(bytes == payload, "wrong data at {at}");
                    print_of(at, time, bytes)
                });
                self.records.insert(at, print.unwrap());
            }
            self.next += payloads.len() as u64;
        }
        let kept_from = self.retained();
        let version = self.version();
        self.versions.push(version);
        if result.is_ok() && self.config.sync == Sync::Always {
            self.acknowledge(self.versions.len() - 1);
        }
        if let Some(first) = kept_from {
            self.begin_at(first);
            let version = self.version();
            self.versions.push(version);
        }
    }

    /// Where the log begins now, if retention took something away. It did so before the append that found too much was
    /// there, or behind it or behind a cut: each is a version of its own.
    fn retained(&mut self) -> Option<u64> {
        let first = self.log().first_offset();
        if first == self.first {
            return None;
        }
        self.check_retained(first);
        let before = self.versions[self.versions.len() - 1];
        self.versions.push(without(before, &self.records, first));
        Some(first)
    }

    fn begin_at(&mut self, first: u64) {
        self.records = self.records.split_off(&first);
        self.first = first;
    }

    fn check_retained(&self, first: u64) {
        assert!(self.config.retain_bytes > 0 && first > self.first, "{:?}: it begins at {first}", self.story);
        let keeps = self.config.flags & flags::KEEP_UNCONSUMED != 0 && !self.tasks.is_empty();
        assert!(!keeps || first <= self.position, "{:?}: it begins at {first}", self.story);
    }

    /// Something that leaves the log as this version was done, or not.
    fn cut(&mut self, first: u64, next: u64, work: impl FnOnce(&Log) -> seglog::Result<()>) {
        let kept = self.records.range(first..next.max(first)).map(|(at, print)| (*at, *print)).collect();
        let before = (self.first, self.next, std::mem::replace(&mut self.records, kept));
        (self.first, self.next) = (first, next);
        let version = self.version();
        let result = self.hook.clone().run(|| work(self.log()));
        match result {
            Ok(()) => {
                self.versions.push(version);
                self.acknowledge(self.versions.len() - 1);
                // A truncation begins a segment, for which there may be no room.
                if let Some(first) = self.retained() {
                    self.begin_at(first);
                }
            }
            Err(error) => {
                let records = std::mem::take(&mut self.records);
                (self.first, self.next, self.records) = before;
                if error.status() == Status::Poisoned {
                    let version = self.version();
                    self.versions.push(version);
                } else {
                    self.versions.push(version);
                    self.doubted = Some((version, records));
                    // The handle still has what was there before.
                    self.hook.mark(Event::Issued(self.versions.len() as u64));
                    let version = self.version();
                    self.versions.push(version);
                    assert!(read(self.log()) == version, "{:?}: {error}: the handle shows neither", self.story);
                }
            }
        }
    }

    /// Does one thing.
    pub(crate) fn step(&mut self, step: Step) {
        self.story.push(format!("{step:?} at {}..{}", self.first, self.next));
        let more = if self.config.retain_bytes > 0 { 2 } else { 0 };
        self.hook.mark(Event::Issued(self.versions.len() as u64 + more));
        let (first, next, hook) = (self.first, self.next, self.hook.clone());
        let below = |random: &mut Random, count: u64| random.below(usize::try_from(count).unwrap()) as u64;
        match step {
            Step::Append | Step::Large => {
                let len = if step == Step::Large { 4200 + self.random.below(3000) } else { self.length() };
                let payload = self.payload(len);
                let result = hook.run(|| self.log().append(&payload));
                self.appended(&[payload], &result);
            }
            Step::Batch | Step::LargeBatch | Step::Import => {
                let count = 2 + self.random.below(4);
                let long = if step == Step::LargeBatch { 1500 } else { 0 };
                let payloads: Vec<_> = (0..count)
                    .map(|_| {
                        let len = long + self.length();
                        self.payload(len)
                    })
                    .collect();
                let slices: Vec<_> = payloads.iter().map(Vec::as_slice).collect();
                let result = if step == Step::Import {
                    // Later than all that a clock says meanwhile.
                    let time = (1 << 62) + (self.attempts & 0xFFFF_FFFF) * 1000;
                    let records: Vec<_> = (next..)
                        .zip(&slices)
                        .map(|(offset, payload)| Record { offset, timestamp_ns: time, payload })
                        .collect();
                    hook.run(|| self.log().append_records(&records)).map(|()| next)
                } else {
                    hook.run(|| self.log().append_batch(&slices))
                };
                self.appended(&payloads, &result);
            }
            Step::Sync => {
                let result = hook.run(|| self.log().sync());
                self.versions.push(self.version());
                if result.is_ok() {
                    self.acknowledge(self.versions.len() - 1);
                }
            }
            Step::Trim if next > first => {
                let at = first + 1 + below(&mut self.random, next - first);
                self.cut(at, next, |log| log.trim(at));
            }
            Step::Truncate if next > first => {
                let at = first + below(&mut self.random, next - first);
                self.cut(first, at, |log| log.truncate(at));
            }
            Step::Reset => {
                let at = [0, first, next, next + 10, first / 2][self.random.below(5)];
                self.cut(at, at, |log| log.reset(at));
            }
            Step::Trim | Step::Truncate => self.versions.push(self.version()),
            Step::Close => {
                let log = self.log.take().unwrap();
                let result = hook.run(|| log.close());
                self.versions.push(self.version());
                if result.is_ok() {
                    self.acknowledge(self.versions.len() - 1);
                }
                self.open();
            }
            Step::Kill => {
                self.versions.push(self.version());
                hook.kill();
                let log = self.log.take();
                hook.run(|| drop(log));
                hook.revive();
                self.open();
            }
            Step::Reserve => self.reserve(),
            Step::Save | Step::Set | Step::Backup => self.beside(step),
            Step::FailSync => {
                self.versions.push(self.version());
                let kinds = [Kind::SyncFile, Kind::SyncFile, Kind::SyncFile, Kind::WriteBack, Kind::SyncDir];
                hook.fail_next(kinds[self.random.below(5)], EIO);
            }
            Step::FailCall => {
                self.versions.push(self.version());
                let nth = hook.calls() + below(&mut self.random, 25);
                let os_error = [EIO, ENOSPC][self.random.below(2)];
                let _ = hook.with(Fault::Fail { nth, os_error });
            }
        }
        if self.log.is_some() {
            self.acknowledge_durable();
        }
        // Whoever meets poison opens again.
        let poisoned = self.log.as_ref().is_some_and(|log| is_poisoned(log) || self.doubted.is_some());
        if poisoned && step != Step::Close && step != Step::Kill {
            // What a handle still shows that writes no more can be saved from it.
            let saves = self.backs_up && step != Step::Backup && self.doubted.is_none();
            self.step(if saves { Step::Backup } else { Step::Close });
        }
    }

    /// A record that is built in place, or given up.
    fn reserve(&mut self) {
        let hook = self.hook.clone();
        let len = self.length();
        let payload = self.payload(len);
        let gives_up = self.random.below(4) == 0;
        let result = hook.run(|| {
            let place = self.log().reserve(len)?;
            // SAFETY: so many bytes may be written there until the commit.
            unsafe { place.copy_from_nonoverlapping(NonNull::from(payload.as_slice()).cast(), len) };
            if gives_up { self.log().abort().map(|()| None) } else { self.log().commit(len).map(Some) }
        });
        match result {
            Ok(None) => self.versions.push(self.version()),
            Ok(Some(offset)) => self.appended(&[payload], &Ok(offset)),
            Err(error) => {
                // A reservation that could not be committed stays.
                let _ = hook.run(|| self.log().abort());
                self.appended(&[payload], &Err(error));
            }
        }
    }

    /// What is no record.
    fn beside(&mut self, step: Step) {
        let (first, next, hook) = (self.first, self.next, self.hook.clone());
        if step == Step::Backup {
            let version = self.version();
            self.versions.push(version);
            let log = self.log.as_ref().unwrap();
            let folder = format!("copy-{}", self.tasks.len());
            let path = self.dir.join(&folder);
            let holds = Copy { version, position: beside::position(log) };
            let _ = beside::work(&hook, &mut self.tasks, Task::Backup { folder, holds }, || log.backup(&path));
            return;
        }
        self.versions.push(self.version());
        let log = self.log.as_ref().unwrap();
        let _ = if step == Step::Save {
            let from = self.position.max(first);
            self.position = from + self.random.below(usize::try_from(next - from + 1).unwrap()) as u64;
            let at = self.position;
            beside::work(&hook, &mut self.tasks, Task::Position(at), || beside::save(log, at))
        } else {
            let word = self.tasks.len() as u64 + 1000;
            beside::work(&hook, &mut self.tasks, Task::Meta(word), || beside::set(log, word))
        };
    }

    fn length(&mut self) -> usize {
        [0, 5, 20, 60, 100, 150, 300, 700, 1300][self.random.below(9)]
    }

    /// The log is closed, and its past told.
    pub(crate) fn end(mut self) -> Past {
        let log = self.log.take();
        self.hook.mark(Event::Issued(self.versions.len() as u64));
        let closed = self.hook.run(|| log.unwrap().close());
        let version = self.version();
        self.versions.push(version);
        if closed.is_ok() {
            self.acknowledge(self.versions.len() - 1);
        }
        Past {
            versions: self.versions,
            illegal: BTreeSet::new(),
            events: self.hook.take_history(),
            config: self.config,
            story: self.story,
            tasks: self.tasks,
            progress: Progress::default(),
        }
    }
}

/// Threads that append at once, each record durable when its call returns, beside one that syncs: versions are numbers
/// of records.
pub(crate) fn threads(dir: &Path, config: &Config, seed: u64) -> Past {
    let hook = Hook::new().with_history().in_boot([1; 16]);
    // How much was asked for at each moment, nobody has said: all of it from the beginning.
    hook.mark(Event::Issued(u64::MAX));
    let log = hook.run(|| Log::open(dir, config)).unwrap();
    let batches = std::sync::Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (hook, log, batches) = (&hook, &log, &batches);
            scope.spawn(move || {
                let mut random = Random(seed << 8 | thread);
                for n in 0..8 {
                    let key = seed << 16 | thread << 8 | n;
                    let payload = sized(key, [5, 40, 200, 900][random.below(4)]);
                    let count = 1 + random.below(3) as u64;
                    let slices = vec![payload.as_slice(); usize::try_from(count).unwrap()];
                    let first = hook.run(|| log.append_batch(&slices)).unwrap();
                    if config.sync == Sync::Always || random.below(3) == 0 {
                        hook.run(|| log.sync()).unwrap();
                        hook.mark(Event::Acknowledged(first + count));
                    }
                    batches.lock().unwrap().extend(first + 1..first + count);
                }
            });
        }
    });
    let mut versions = vec![Version { first: 0, next: 0, sum: 0 }];
    for offset in 0..log.next_offset() {
        let print = log.read(offset, |bytes, time| print_of(offset, time, bytes)).unwrap();
        let last = versions[versions.len() - 1];
        versions.push(Version { next: offset + 1, sum: last.sum.wrapping_add(print), ..last });
    }
    let all = versions.len() as u64 - 1;
    hook.run(|| log.close()).unwrap();
    hook.mark(Event::Acknowledged(all));
    let illegal = batches.into_inner().unwrap().into_iter().map(|offset| usize::try_from(offset).unwrap()).collect();
    let events = hook.take_history();
    let config = Config { flags: flags::NO_THREAD, sync: Sync::Always, sync_interval_ms: 0, ..config.clone() };
    let (tasks, progress) = (Vec::new(), Progress::default());
    Past { versions, illegal, events, config, story: vec![format!("threads {seed}")], tasks, progress }
}
