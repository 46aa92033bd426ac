//! A log, its cursors and the vector that it is compared with: each step is made with both.

use crate::model::vector::{Model, Time};
use crate::support::disk::{Disk, Fate};
use crate::{Setup, Step};
use proptest::test_runner::TestCaseError;
use seglog::faults::Hook;
use seglog::{Config, Cursor, Log, Record, Status, Sync, flags};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Outcome = Result<(), TestCaseError>;

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(TestCaseError::fail(format!($($text)*)));
        }
    };
}

fn status<T>(result: Result<T, seglog::Error>) -> Result<T, Option<Status>> {
    result.map_err(|error| Some(error.status()))
}

/// A directory that goes away. In memory where there is some: what a disk does is another test's matter.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("seglog-model-{}-{count}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A handle and a cursor of it.
struct Handle {
    log: Log,
    cursor: Cursor,
}

/// Makes the steps, and says which one did something else than a vector would.
pub(crate) fn run(setup: &Setup, steps: &[Step]) -> Outcome {
    let scratch = Scratch::new();
    let mut world = World::new(setup, &scratch.0.join("log"))?;
    for (n, step) in steps.iter().enumerate() {
        let done = world.hook.clone().run(|| world.step(n as u64, step));
        done.map_err(|error| TestCaseError::fail(format!("step {n}, {step:?}: {error}")))?;
    }
    let hook = world.hook.clone();
    hook.run(|| world.end()).map_err(|error| TestCaseError::fail(format!("at the end: {error}")))
}

struct World<'a> {
    setup: &'a Setup,
    dir: PathBuf,
    model: Model,
    /// What the writer's system calls ask.
    hook: Hook,
    /// `None` only for a moment.
    writer: Option<Handle>,
    /// A read-only handle beside it.
    reader: Option<Handle>,
    /// What a crash leaves rests on it.
    disk: Option<Disk>,
    boots: u8,
    /// How often the writer has opened it.
    opens: u64,
}

impl<'a> World<'a> {
    fn new(setup: &'a Setup, dir: &Path) -> Result<Self, TestCaseError> {
        let (hook, disk) =
            if setup.crashes { (Hook::new().with_history(), Some(Disk::of(dir))) } else { (Hook::new(), None) };
        let (dir, model) = (dir.to_owned(), Model::new(setup.initial));
        let mut world = Self { setup, dir, model, hook, writer: None, reader: None, disk, boots: 0, opens: 0 };
        world.hook.clone().run(|| world.open(setup.initial))?;
        Ok(world)
    }

    /// Opens for writing, with a cursor at this offset.
    fn open(&mut self, offset: u64) -> Outcome {
        let log = Log::open(&self.dir, &self.setup.config(self.opens));
        self.opens += 1;
        let log = log.map_err(|error| TestCaseError::fail(format!("open: {error}")))?;
        let cursor = Cursor::open(&log, offset).map_err(|error| TestCaseError::fail(format!("cursor: {error}")))?;
        self.writer = Some(Handle { log, cursor });
        Ok(())
    }

    fn log(&self) -> &Log {
        &self.writer.as_ref().unwrap().log
    }

    fn cursor(&mut self) -> (&mut Cursor, &Model) {
        (&mut self.writer.as_mut().unwrap().cursor, &self.model)
    }

    fn step(&mut self, n: u64, step: &Step) -> Outcome {
        self.make(n, step)?;
        let makes_durable = match step {
            Step::Append(_) | Step::Batch(_) | Step::AppendAt { .. } | Step::AppendRecords { .. } => {
                matches!(self.setup.config(0).sync, Sync::Always)
            }
            Step::Sync | Step::WaitDurable | Step::Reset(_) | Step::Reopen | Step::Kill => true,
            _ => false,
        };
        self.model.durable = if makes_durable {
            self.model.next()
        } else {
            // Truncated away, or begun behind it.
            self.model.durable.clamp(self.model.first, self.model.next())
        };
        Ok(())
    }

    fn make(&mut self, n: u64, step: &Step) -> Outcome {
        let next = self.model.next();
        match step {
            Step::Append(len) => {
                let payload = self.model.payload(*len);
                let offset = status(self.log().append(&payload));
                ensure!(offset == Ok(next), "{offset:?}");
                self.model.push(vec![payload]);
            }
            Step::Batch(lens) => {
                let payloads: Vec<_> = lens.iter().map(|len| self.model.payload(*len)).collect();
                let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                let offset = status(self.log().append_batch(&slices));
                ensure!(offset == Ok(next), "{offset:?}");
                self.model.push(payloads);
            }
            Step::AppendAt { delta, len } => self.append_at(next.wrapping_add_signed(*delta), *len)?,
            Step::AppendRecords { lens, gap, back } => self.append_records(n, lens, *gap, *back)?,
            Step::Trim(thousandth) => self.trim(self.model.offset_at(*thousandth))?,
            Step::Truncate(thousandth) => self.truncate(self.model.offset_at(*thousandth))?,
            Step::Reset(to) => {
                let to = self.setup.initial + to;
                ensure!(self.log().reset(to).is_ok(), "reset {to}");
                self.model.reset(to);
            }
            Step::Sync => ensure!(self.log().sync().is_ok(), "sync"),
            Step::WaitDurable => self.wait_durable()?,
            Step::Read(thousandth) => read(self.log(), &self.model, self.model.offset_at(*thousandth))?,
            Step::Next(count) => {
                let (cursor, model) = self.cursor();
                (0..*count).try_for_each(|_| go_on(cursor, model))?;
            }
            Step::NextBatch(capacity) => {
                let (cursor, model) = self.cursor();
                go_on_by(cursor, model, *capacity)?;
            }
            Step::Prev(count) => {
                let (cursor, model) = self.cursor();
                (0..*count).try_for_each(|_| go_back(cursor, model))?;
            }
            Step::Seek(thousandth) => {
                let offset = self.model.offset_at(*thousandth);
                let (cursor, model) = self.cursor();
                seek(cursor, model, offset)?;
            }
            Step::Stat => stat(self.log(), &self.model)?,
            Step::Segments => segments(self.log(), &self.model)?,
            Step::Watch(thousandth) => self.watch(*thousandth)?,
            Step::Unwatch => self.reader = None,
            Step::Reopen => {
                let closed = self.writer.take().unwrap();
                ensure!(closed.log.close().is_ok(), "close");
                // A cursor goes on where the log is closed.
                let mut cursor = closed.cursor;
                go_on(&mut cursor, &self.model)?;
                drop(cursor);
                self.open(self.model.first)?;
                self.expect_recovered(0)?;
            }
            Step::Crash(seed) if self.disk.is_some() => self.crash(*seed)?,
            Step::Kill | Step::Crash(_) => {
                self.kill();
                self.open(next)?;
                self.expect_recovered(u64::MAX)?;
            }
        }
        Ok(())
    }

    fn append_at(&mut self, at: u64, len: usize) -> Outcome {
        let payload = self.model.payload(len);
        let result = status(self.log().append_at(at, &payload));
        let fits = at == self.model.next();
        let expected = if fits { Ok(()) } else { Err(Some(Status::Conflict)) };
        ensure!(result == expected, "{at}: {result:?}");
        if fits {
            self.model.push(vec![payload]);
        }
        Ok(())
    }

    fn append_records(&mut self, n: u64, lens: &[usize], gap: bool, back: bool) -> Outcome {
        let next = self.model.next();
        let payloads: Vec<_> = lens.iter().map(|len| self.model.payload(*len)).collect();
        let late = 4_000_000_000_000_000_000 + n * 1000;
        let record = |i: usize| Record {
            offset: next + i as u64 + u64::from(gap && i + 1 == lens.len()),
            timestamp_ns: if back && i > 0 { late - 1 } else { late + i as u64 },
            payload: &payloads[i],
        };
        let records: Vec<_> = (0..lens.len()).map(record).collect();
        let result = status(self.log().append_records(&records));
        let refused = (gap && !lens.is_empty()) || (back && lens.len() > 1);
        ensure!(result.is_err() == refused, "{result:?}");
        if !refused {
            let times: Vec<_> = records.iter().map(|record| record.timestamp_ns).collect();
            self.model.push_at(times.into_iter().map(Time::Exactly).zip(payloads).collect());
        }
        Ok(())
    }

    fn trim(&mut self, before: u64) -> Outcome {
        let result = status(self.log().trim(before));
        let expected = if before > self.model.next() { Err(Some(Status::Beyond)) } else { Ok(()) };
        ensure!(result == expected, "{before}: {result:?}");
        if result.is_ok() {
            self.model.trim(before);
        }
        Ok(())
    }

    fn truncate(&mut self, from: u64) -> Outcome {
        let result = status(self.log().truncate(from));
        let expected = match from {
            from if from < self.model.first => Err(Some(Status::Trimmed)),
            from if from > self.model.next() => Err(Some(Status::Beyond)),
            _ => Ok(()),
        };
        ensure!(result == expected, "{from}: {result:?}");
        if result.is_ok() && from < self.model.next() {
            self.model.truncate(from);
            self.model.durable = from;
        }
        Ok(())
    }

    fn wait_durable(&self) -> Outcome {
        let next = self.model.next();
        if next > self.model.first {
            let done = status(self.log().wait_durable(next - 1, Some(Duration::from_secs(20))));
            ensure!(done == Ok(true), "{done:?}");
            let durable = self.log().stat().unwrap().durable_offset;
            ensure!(durable == next, "durable to {durable} of {next}");
        }
        let beyond = status(self.log().wait_durable(next, None));
        ensure!(beyond == Err(Some(Status::Beyond)), "beyond: {beyond:?}");
        Ok(())
    }

    /// Who follows sees what the writer sees.
    fn watch(&mut self, thousandth: u64) -> Outcome {
        let model = &self.model;
        if self.reader.is_none() {
            let config = Config { flags: flags::READ_ONLY, io: self.setup.io(2), ..Config::default() };
            let log = Log::open(&self.dir, &config);
            let log = log.map_err(|error| TestCaseError::fail(format!("read-only: {error}")))?;
            let cursor = Cursor::open(&log, model.first).unwrap();
            self.reader = Some(Handle { log, cursor });
        }
        let Handle { log, cursor } = self.reader.as_mut().unwrap();
        match thousandth % 4 {
            0 => stat(log, model)?,
            1 => segments(log, model)?,
            _ => ensure!(log.next_offset() == model.next(), "next {} of {}", log.next_offset(), model.next()),
        }
        read(log, model, model.offset_at(thousandth))?;
        go_on_by(cursor, model, 20)?;
        go_on(cursor, model)?;
        go_back(cursor, model)?;
        let refused = status(log.append(b"refused"));
        ensure!(refused == Err(Some(Status::ReadOnly)), "{refused:?}");
        Ok(())
    }

    /// What an open found: where the log begins and ends, and that nothing was lost.
    fn expect_recovered(&self, records_behind_mark: u64) -> Outcome {
        let stat = self.log().stat().unwrap();
        let (first, next) = (self.model.first, self.model.next());
        ensure!((stat.first_offset, stat.next_offset) == (first, next), "{stat:?} for {first}..{next}");
        ensure!(stat.recovered_records <= records_behind_mark && stat.dropped_bytes == 0, "{stat:?}");
        Ok(())
    }

    /// What SIGKILL does: its calls and stores are made no more; what was written and mapped stays.
    fn kill(&mut self) {
        self.hook.kill();
        self.writer = None;
        self.hook.revive();
    }

    /// The machine goes, and comes again with what its disk held: of what was not synced, any part.
    fn crash(&mut self, seed: u64) -> Outcome {
        let durable = self.log().stat().unwrap().durable_offset;
        ensure!(durable >= self.model.durable, "durable to {durable}, and {} was said", self.model.durable);
        self.model.durable = durable;
        self.hook.kill();
        // A file that is mapped is cut short below.
        (self.writer, self.reader) = (None, None);
        let mut disk = self.disk.take().unwrap();
        self.hook.take_history().iter().for_each(|event| disk.take(event));
        let fates = fates(seed, disk.open().len());
        disk.after(&fates).put(&self.dir, None);
        let tell = |error| TestCaseError::fail(format!("{error}; of what was open:\n{}", disk.describe(&fates)));
        self.boots += 1;
        self.hook = Hook::new().in_boot([self.boots; 16]).with_history();
        self.disk = Some(Disk::of(&self.dir));
        self.hook.clone().run(|| self.open(self.model.first)).map_err(tell)?;
        let stat = self.hook.clone().run(|| self.log().stat()).unwrap();
        ensure!(stat.first_offset == self.model.first, "{stat:?} for {}", self.model.first);
        self.model.lose_from(stat.next_offset).map_err(tell)?;
        self.hook.clone().run(|| self.end()).map_err(tell)
    }

    /// All of it, forwards.
    fn end(&mut self) -> Outcome {
        let mut cursor = Cursor::open(self.log(), self.model.first).unwrap();
        let mut time = 0;
        while cursor.offset() < self.model.next() {
            let (mut count, mut back) = (0, false);
            let mut wrong = Ok(());
            let done = cursor.next_batch(64, |record| {
                count += 1;
                back |= record.timestamp_ns < time;
                time = record.timestamp_ns;
                if wrong.is_ok() {
                    wrong = self.model.expect(&record);
                }
            });
            wrong?;
            ensure!(done.is_ok() && count > 0 && !back, "{count} records, time goes back: {back}: {done:?}");
        }
        Ok(())
    }
}

/// What becomes of so many changes that were not synced.
fn fates(seed: u64, count: usize) -> Vec<Fate> {
    let mut random = seed;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let (kind, kept) = (next() % 5, next() as usize % (count + 1));
    let fate = |n: usize| match kind {
        0 => Fate::There,
        1 if n < kept => Fate::There,
        1 | 2 => Fate::Lost,
        _ => match next() % 16 {
            0..6 => Fate::There,
            6..12 => Fate::Lost,
            12 => Fate::Torn { piece: 512, bits: next() << 31 | next() },
            13 => Fate::Torn { piece: 4096, bits: next() << 31 | next() },
            14 => Fate::SizeOnly,
            _ => Fate::Junk,
        },
    };
    (0..count).map(fate).collect()
}

fn read(log: &Log, model: &Model, offset: u64) -> Outcome {
    let checked = log.read(offset, |payload, timestamp_ns| model.expect(&Record { offset, timestamp_ns, payload }));
    match (model.get(offset), checked) {
        (Some(_), Ok(as_expected)) => as_expected,
        (None, Err(error)) => {
            let expected = if offset >= model.next() { Status::Beyond } else { Status::Trimmed };
            ensure!(error.status() == expected, "read {offset}: {error}");
            Ok(())
        }
        (_, other) => Err(TestCaseError::fail(format!("read {offset}: {other:?}"))),
    }
}

fn go_on(cursor: &mut Cursor, model: &Model) -> Outcome {
    let (at, first, next) = (cursor.offset(), model.first, model.next());
    match cursor.next() {
        Ok(Some(record)) => {
            ensure!(record.offset == at, "next gave {} at {at}", record.offset);
            model.expect(&record)?;
        }
        Ok(None) => ensure!(at >= next, "next ended at {at} of {first}..{next}"),
        Err(error) => ensure!(error.status() == Status::Trimmed && at < first, "next at {at}: {error}"),
    }
    Ok(())
}

fn go_on_by(cursor: &mut Cursor, model: &Model, capacity: usize) -> Outcome {
    let (at, first, next) = (cursor.offset(), model.first, model.next());
    let mut records = Vec::new();
    match cursor.next_batch(capacity, |record| records.push(record)) {
        Ok(0) => ensure!(at >= next, "next_batch ended at {at} of {first}..{next}"),
        Ok(count) => {
            ensure!(count == records.len() && count <= capacity, "next_batch counts {count} of {}", records.len());
            for (i, record) in records.iter().enumerate() {
                ensure!(record.offset == at + i as u64, "next_batch gave {} at {at} + {i}", record.offset);
                model.expect(record)?;
            }
        }
        Err(error) => ensure!(error.status() == Status::Trimmed && at < first, "next_batch at {at}: {error}"),
    }
    Ok(())
}

fn go_back(cursor: &mut Cursor, model: &Model) -> Outcome {
    let (at, first, next) = (cursor.offset(), model.first, model.next());
    match cursor.prev() {
        Ok(Some(record)) => {
            ensure!(record.offset + 1 == at, "prev gave {} at {at}", record.offset);
            model.expect(&record)?;
        }
        Ok(None) => ensure!(at == first, "prev ended at {at} of {first}..{next}"),
        Err(error) => {
            let expected = if at < first { Status::Trimmed } else { Status::Beyond };
            let is_outside = at < first || at > next;
            ensure!(error.status() == expected && is_outside, "prev at {at} of {first}..{next}: {error}");
        }
    }
    Ok(())
}

fn seek(cursor: &mut Cursor, model: &Model, offset: u64) -> Outcome {
    let result = status(cursor.seek(offset));
    let expected = match offset {
        offset if offset < model.first => Err(Some(Status::Trimmed)),
        offset if offset > model.next() => Err(Some(Status::Beyond)),
        _ => Ok(()),
    };
    ensure!(result == expected, "seek {offset}: {result:?}");
    Ok(())
}

fn stat(log: &Log, model: &Model) -> Outcome {
    let (stat, first, next) = (log.stat().unwrap(), model.first, model.next());
    ensure!((stat.first_offset, stat.next_offset) == (first, next), "{stat:?} for {first}..{next}");
    ensure!(stat.durable_offset <= next, "durable {} of {next}", stat.durable_offset);
    let bytes: u64 = model.records.iter().map(|kept| kept.payload.len() as u64).sum();
    ensure!(stat.payload_bytes == bytes, "payload_bytes {} for {bytes}", stat.payload_bytes);
    Ok(())
}

fn segments(log: &Log, model: &Model) -> Outcome {
    let mut expected = None;
    let mut index = 0;
    while let Some(segment) = log.segment_at(index).unwrap() {
        ensure!(expected.is_none_or(|base| base == segment.base_offset), "segments leave a gap");
        ensure!(index > 0 || segment.base_offset <= model.first, "the first segment begins too late");
        expected = Some(segment.next_offset);
        index += 1;
    }
    ensure!(expected == Some(model.next()), "segments end at {expected:?}, not {}", model.next());
    Ok(())
}
