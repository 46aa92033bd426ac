//! The whole API of one process against a plain vector: random operations, reopens and kills. What fails is shrunk and printed as
//! a C program that does the same. `SEGLOG_MODEL_CASES` sets how many sequences are run.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod model {
    pub(crate) mod program;
}

use model::program;
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseError, TestRunner};
use seglog::{Config, Cursor, Log, Record, Status, Sync, flags};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One step. Fractions are thousandths of the range that they choose from.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Batch(Vec<usize>),
    AppendAt { delta: i64, len: usize },
    AppendRecords { lens: Vec<usize>, gap: bool, back: bool },
    Trim(u64),
    Truncate(u64),
    Reset(u64),
    Sync,
    WaitDurable,
    Read(u64),
    Next(usize),
    NextBatch(usize),
    Prev(usize),
    Seek(u64),
    Stat,
    Segments,
    Reopen,
    Kill,
}

#[derive(Debug, Clone)]
struct Setup {
    segment_bytes: u64,
    index_bytes: u64,
    sync: u8,
    no_thread: bool,
    initial: u64,
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..300_usize, 2 => 300..3000_usize, 1 => 3000..40_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => lens().prop_map(Step::Append),
        4 => prop::collection::vec(lens(), 0..12).prop_map(Step::Batch),
        1 => prop::collection::vec(Just(290_000_usize), 1..3).prop_map(Step::Batch),
        3 => (-2..3_i64, lens()).prop_map(|(delta, len)| Step::AppendAt { delta, len }),
        3 => (prop::collection::vec(lens(), 0..6), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(lens, gap, back)| Step::AppendRecords { lens, gap, back }),
        2 => (0..1010_u64).prop_map(Step::Trim),
        2 => (0..1010_u64).prop_map(Step::Truncate),
        1 => (0..3000_u64).prop_map(Step::Reset),
        2 => Just(Step::Sync),
        1 => Just(Step::WaitDurable),
        6 => (0..1010_u64).prop_map(Step::Read),
        4 => (1..20_usize).prop_map(Step::Next),
        4 => (1..40_usize).prop_map(Step::NextBatch),
        4 => (1..20_usize).prop_map(Step::Prev),
        2 => (0..1010_u64).prop_map(Step::Seek),
        1 => Just(Step::Stat),
        1 => Just(Step::Segments),
        2 => Just(Step::Reopen),
        2 => Just(Step::Kill),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![Just(4096_u64), Just(9000), Just(65_536), Just(600_000)],
        prop_oneof![Just(0_u64), Just(40)],
        0..3_u8,
        any::<bool>(),
        prop_oneof![Just(0_u64), Just(1_000_000)],
    )
        .prop_map(|(segment_bytes, index_bytes, sync, no_thread, initial)| Setup {
            segment_bytes,
            index_bytes,
            sync,
            no_thread: no_thread && sync != 1,
            initial,
        })
}

impl Setup {
    fn config(&self) -> Config {
        Config {
            segment_max_bytes: self.segment_bytes,
            index_max_bytes: self.index_bytes,
            initial_offset: self.initial,
            sync: [Sync::Always, Sync::Interval, Sync::Never][usize::from(self.sync)],
            sync_interval_ms: u32::from(self.sync == 1),
            flags: if self.no_thread { flags::NO_THREAD } else { 0 },
            ..Config::default()
        }
    }
}

/// What the log should hold.
struct Model {
    first: u64,
    records: Vec<(Option<u64>, Vec<u8>)>,
    payload_count: u64,
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.payload_count += 1;
        let seed = self.payload_count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..len as u64).map(|n| (seed.rotate_left((n % 63) as u32) ^ n) as u8).collect()
    }

    fn offset_at(&self, thousandth: u64) -> u64 {
        let span = self.records.len() as u64 + 2;
        (self.first + span * thousandth / 1000).saturating_sub(1)
    }

    fn get(&self, offset: u64) -> Option<&(Option<u64>, Vec<u8>)> {
        self.records.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }
}

/// Memory where there is some: 10,000 logs are made here, and what a disk does is another test's matter.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

struct Dirs {
    base: PathBuf,
    count: u32,
}

impl Dirs {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("seglog-model-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { base: scratch().join(name), count: 0 }
    }

    fn next(&mut self) -> PathBuf {
        self.count += 1;
        std::fs::create_dir_all(&self.base).unwrap();
        self.base.join(self.count.to_string())
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

/// Copies what has been written, not the holes.
fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        let file = std::fs::File::create(&to).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (n, piece) in bytes.chunks(4096).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                file.write_at(piece, n as u64 * 4096).unwrap();
            }
        }
    }
}

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

fn expect_record(model: &Model, record: &Record<'_>) -> Result<(), TestCaseError> {
    let Some((time, payload)) = model.get(record.offset) else {
        return Err(TestCaseError::fail(format!("record {} should not be there", record.offset)));
    };
    ensure!(record.payload == payload, "record {} has other bytes", record.offset);
    ensure!(time.is_none_or(|time| time == record.timestamp_ns), "record {} has another time", record.offset);
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "an arm a call")]
fn run(setup: &Setup, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut dirs = Dirs::new();
    let mut dir = dirs.next();
    let open =
        |dir: &Path| Log::open(dir, &setup.config()).map_err(|error| TestCaseError::fail(format!("open: {error}")));
    let mut log = open(&dir)?;
    let mut model = Model { first: setup.initial, records: Vec::new(), payload_count: 0 };
    let mut cursor = Cursor::open(&log, model.first).unwrap();
    for (n, step) in steps.iter().enumerate() {
        let (first, next) = (model.first, model.next());
        match step {
            Step::Append(len) => {
                let payload = model.payload(*len);
                ensure!(log.append(&payload).ok() == Some(next), "step {n}: append");
                model.records.push((None, payload));
            }
            Step::Batch(lens) => {
                let payloads: Vec<_> = lens.iter().map(|len| model.payload(*len)).collect();
                let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                ensure!(log.append_batch(&slices).ok() == Some(next), "step {n}: batch");
                model.records.extend(payloads.into_iter().map(|payload| (None, payload)));
            }
            Step::AppendAt { delta, len } => {
                let payload = model.payload(*len);
                let at = next.wrapping_add_signed(*delta);
                let result = status(log.append_at(at, &payload));
                let expected = if *delta == 0 { Ok(()) } else { Err(Some(Status::Conflict)) };
                ensure!(result == expected, "step {n}: append_at {at}: {result:?}");
                if *delta == 0 {
                    model.records.push((None, payload));
                }
            }
            Step::AppendRecords { lens, gap, back } => {
                let payloads: Vec<_> = lens.iter().map(|len| model.payload(*len)).collect();
                let late = 4_000_000_000_000_000_000 + n as u64 * 1000;
                let record = |i: usize| Record {
                    offset: next + i as u64 + u64::from(*gap && i + 1 == lens.len()),
                    timestamp_ns: if *back && i > 0 { late - 1 } else { late + i as u64 },
                    payload: &payloads[i],
                };
                let records: Vec<_> = (0..lens.len()).map(record).collect();
                let result = status(log.append_records(&records));
                let refused = (*gap && !lens.is_empty()) || (*back && lens.len() > 1);
                ensure!(result.is_err() == refused, "step {n}: append_records: {result:?}");
                if !refused {
                    let times: Vec<_> = records.iter().map(|record| record.timestamp_ns).collect();
                    model.records.extend(times.into_iter().map(Some).zip(payloads));
                }
            }
            Step::Trim(thousandth) => {
                let before = model.offset_at(*thousandth);
                let result = status(log.trim(before));
                let expected = if before > next { Err(Some(Status::Beyond)) } else { Ok(()) };
                ensure!(result == expected, "step {n}: trim {before} of {first}..{next}: {result:?}");
                if result.is_ok() && before > first {
                    model.records.drain(..(before - first) as usize);
                    model.first = before;
                }
            }
            Step::Truncate(thousandth) => {
                let from = model.offset_at(*thousandth);
                let result = status(log.truncate(from));
                let expected = match from {
                    from if from < first => Err(Some(Status::Trimmed)),
                    from if from > next => Err(Some(Status::Beyond)),
                    _ => Ok(()),
                };
                ensure!(result == expected, "step {n}: truncate {from} of {first}..{next}: {result:?}");
                if result.is_ok() {
                    model.records.truncate((from - first) as usize);
                }
            }
            Step::Reset(to) => {
                let to = setup.initial + to;
                ensure!(log.reset(to).is_ok(), "step {n}: reset {to}");
                model.records.clear();
                model.first = to;
            }
            Step::Sync => ensure!(log.sync().is_ok(), "step {n}: sync"),
            Step::WaitDurable => {
                if next > first {
                    let done = log.wait_durable(next - 1, Some(std::time::Duration::from_secs(20))).ok();
                    ensure!(done == Some(true), "step {n}: wait_durable");
                }
                ensure!(status(log.wait_durable(next, None)) == Err(Some(Status::Beyond)), "step {n}: wait beyond");
            }
            Step::Read(thousandth) => {
                let offset = model.offset_at(*thousandth);
                let result = log.read(offset, |payload, time| (payload.to_vec(), time));
                match (model.get(offset), result) {
                    (Some((time, payload)), Ok(got)) => {
                        ensure!(*payload == got.0, "step {n}: read {offset}: other bytes");
                        ensure!(time.is_none_or(|time| time == got.1), "step {n}: read {offset}: other time");
                    }
                    (None, Err(error)) => {
                        let expected = if offset >= next { Status::Beyond } else { Status::Trimmed };
                        ensure!(error.status() == expected, "step {n}: read {offset}: {error}");
                    }
                    (_, result) => ensure!(false, "step {n}: read {offset} of {first}..{next}: {result:?}"),
                }
            }
            Step::Next(count) => {
                for _ in 0..*count {
                    let at = cursor.offset();
                    match cursor.next() {
                        Ok(Some(record)) => {
                            ensure!(record.offset == at, "step {n}: next gave {} at {at}", record.offset);
                            expect_record(&model, &record)?;
                        }
                        Ok(None) => ensure!(at >= next, "step {n}: next ended at {at} of {first}..{next}"),
                        Err(error) => {
                            ensure!(error.status() == Status::Trimmed && at < first, "step {n}: next at {at}: {error}");
                        }
                    }
                }
            }
            Step::NextBatch(capacity) => {
                let at = cursor.offset();
                let mut records = Vec::new();
                match cursor.next_batch(*capacity, |record| records.push(record)) {
                    Ok(0) => ensure!(at >= next, "step {n}: next_batch ended at {at} of {first}..{next}"),
                    Ok(_) => {
                        for (i, record) in records.iter().enumerate() {
                            ensure!(record.offset == at + i as u64, "step {n}: next_batch order");
                            expect_record(&model, record)?;
                        }
                    }
                    Err(error) => {
                        ensure!(
                            error.status() == Status::Trimmed && at < first,
                            "step {n}: next_batch at {at}: {error}"
                        );
                    }
                }
            }
            Step::Prev(count) => {
                for _ in 0..*count {
                    let at = cursor.offset();
                    match cursor.prev() {
                        Ok(Some(record)) => {
                            ensure!(record.offset + 1 == at, "step {n}: prev gave {} at {at}", record.offset);
                            expect_record(&model, &record)?;
                        }
                        Ok(None) => ensure!(at == first, "step {n}: prev ended at {at} of {first}..{next}"),
                        Err(error) => {
                            let expected = if at < first { Status::Trimmed } else { Status::Beyond };
                            ensure!(
                                error.status() == expected && (at < first || at > next),
                                "step {n}: prev at {at} of {first}..{next}: {error}"
                            );
                        }
                    }
                }
            }
            Step::Seek(thousandth) => {
                let offset = model.offset_at(*thousandth);
                let result = status(cursor.seek(offset));
                let expected = match offset {
                    offset if offset < first => Err(Some(Status::Trimmed)),
                    offset if offset > next => Err(Some(Status::Beyond)),
                    _ => Ok(()),
                };
                ensure!(result == expected, "step {n}: seek {offset}: {result:?}");
            }
            Step::Stat => {
                let stat = log.stat().unwrap();
                ensure!((stat.first_offset, stat.next_offset) == (first, next), "step {n}: stat {stat:?}");
                ensure!(stat.durable_offset <= next, "step {n}: durable {} of {next}", stat.durable_offset);
                let bytes: u64 = model.records.iter().map(|(_, payload)| payload.len() as u64).sum();
                ensure!(stat.payload_bytes == bytes, "step {n}: payload_bytes {} for {bytes}", stat.payload_bytes);
            }
            Step::Segments => {
                let mut expected = None;
                let mut index = 0;
                while let Some(segment) = log.segment_at(index).unwrap() {
                    ensure!(expected.is_none_or(|base| base == segment.base_offset), "step {n}: segments leave a gap");
                    ensure!(index > 0 || segment.base_offset <= first, "step {n}: first segment");
                    expected = Some(segment.next_offset);
                    index += 1;
                }
                ensure!(expected == Some(next), "step {n}: segments end at {expected:?}, not {next}");
            }
            Step::Reopen => {
                ensure!(log.close().is_ok(), "step {n}: close");
                log = open(&dir)?;
                let stat = log.stat().unwrap();
                ensure!((stat.recovered_records, stat.dropped_bytes) == (0, 0), "step {n}: not clean: {stat:?}");
                ensure!(
                    (stat.first_offset, stat.next_offset) == (first, next),
                    "step {n}: reopened {stat:?} for {first}..{next}"
                );
                cursor = Cursor::open(&log, first).unwrap();
            }
            Step::Kill => {
                let to = dirs.next();
                copy_dir(&dir, &to);
                drop(log);
                let _ = std::fs::remove_dir_all(&dir);
                dir = to;
                log = open(&dir)?;
                let stat = log.stat().unwrap();
                ensure!(
                    (stat.first_offset, stat.next_offset) == (first, next),
                    "step {n}: after a kill {stat:?} for {first}..{next}"
                );
                ensure!(stat.dropped_bytes == 0, "step {n}: a kill dropped {} bytes", stat.dropped_bytes);
                cursor = Cursor::open(&log, next).unwrap();
            }
        }
    }
    Ok(())
}

/// The same steps in C, as far as they change the log.
#[test]
fn any_sequence_of_calls_does_what_a_vector_would() {
    let cases = std::env::var("SEGLOG_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let mut runner = TestRunner::new(RunnerConfig {
        cases,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..RunnerConfig::default()
    });
    let strategy = (setup(), prop::collection::vec(step(), 1..200));
    let result = runner.run(&strategy, |(setup, steps)| {
        run(&setup, &steps).map_err(|error| {
            TestCaseError::fail(format!("{error}\n{setup:?}\n{steps:?}\n{}", program::of(&setup, &steps)))
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Each step once, so that what is printed for a failure is known to be a program that runs.
#[test]
fn the_program_that_a_failure_prints_compiles_and_does_the_same() {
    let setup = Setup { segment_bytes: 9000, index_bytes: 0, sync: 1, no_thread: false, initial: 1_000_000 };
    let steps = [
        Step::Append(100),
        Step::Batch(vec![0, 300, 290_000]),
        Step::Batch(Vec::new()),
        Step::AppendAt { delta: 0, len: 9 },
        Step::AppendAt { delta: -1, len: 9 },
        Step::AppendRecords { lens: vec![5, 6], gap: false, back: false },
        Step::AppendRecords { lens: vec![5, 6], gap: true, back: false },
        Step::AppendRecords { lens: vec![5, 6], gap: false, back: true },
        Step::Read(500),
        Step::Next(3),
        Step::NextBatch(2),
        Step::Prev(2),
        Step::Seek(400),
        Step::Trim(300),
        Step::Kill,
        Step::Truncate(800),
        Step::Sync,
        Step::WaitDurable,
        Step::Stat,
        Step::Segments,
        Step::Reopen,
        Step::Reset(7),
        Step::Append(20),
    ];
    run(&setup, &steps).unwrap();
    let dirs = Dirs::new();
    std::fs::create_dir_all(&dirs.base).unwrap();
    let (source, program) = (dirs.base.join("failed.c"), dirs.base.join("failed"));
    std::fs::write(&source, program::of(&setup, &steps)).unwrap();
    let flags = common::shared_flags(common::library_dir());
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["-Wall", "-Wextra", "-Werror"]);
    common::compile_c(&[&source], &flags, &program);
    let log = dirs.base.join("log");
    let ended = common::run(program.to_str().unwrap(), &[log.to_str().unwrap()]);
    ended.expect_success("the printed program");
    assert!(ended.stdout.contains("log_reset"), "{}", ended.stdout);
}
