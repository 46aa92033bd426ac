//! The whole API of one process against a plain vector: random operations, reopens, kills, power losses, and a reader beside
//! them. What fails is shrunk and printed as a C program that does the same, but for the power losses.
//! `SEGLOG_MODEL_CASES` sets how many sequences are run, `SEGLOG_MODEL_SEED` which.

#![cfg(feature = "faults")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod support;
mod model {
    pub(crate) mod program;
    pub(crate) mod vector;
    pub(crate) mod world;
}

use model::program;
use model::world::{self, Scratch};
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, RngSeed, TestCaseError, TestRunner};
use seglog::{Config, Io, Sync, flags};

/// One step. Fractions are thousandths of the range that they choose from.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Batch(Vec<usize>),
    AppendAt {
        delta: i64,
        len: usize,
    },
    AppendRecords {
        lens: Vec<usize>,
        gap: bool,
        back: bool,
    },
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
    /// By a read-only handle, which stays.
    Watch(u64),
    Unwatch,
    Reopen,
    Kill,
    /// Power loss. The number chooses what is left of what was not synced.
    Crash(u64),
}

#[derive(Debug, Clone)]
struct Setup {
    segment_bytes: u64,
    index_bytes: u64,
    sync: u8,
    no_thread: bool,
    no_verify: bool,
    /// Crashes are crashes, else kills: what they rest on costs.
    crashes: bool,
    initial: u64,
    /// Which opens map nothing: the writer's first, third and so on (bit 0), its others (bit 1), the reader's (bit 2).
    unmapped: u8,
}

/// With the small ring, which has a 64th of the bytes, what is long is shorter too.
const LESS: usize = if cfg!(feature = "small") { 8 } else { 1 };
/// Longer than what goes through the ring.
const LARGE: usize = 290_000 / LESS;

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..300_usize, 2 => 300..3000_usize / LESS, 1 => 3000 / LESS..40_000 / LESS]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => lens().prop_map(Step::Append),
        4 => prop::collection::vec(lens(), 0..12).prop_map(Step::Batch),
        1 => prop::collection::vec(Just(LARGE), 1..3).prop_map(Step::Batch),
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
        2 => (0..1010_u64).prop_map(Step::Watch),
        1 => Just(Step::Unwatch),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![Just(4096_u64), Just(9000), Just(65_536), Just(600_000 / LESS as u64)],
        prop_oneof![Just(0_u64), Just(40)],
        0..3_u8,
        // Threads are most of what an open costs.
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop_oneof![Just(0_u64), Just(1_000_000)],
        0..8_u8,
    )
        .prop_map(|(segment_bytes, index_bytes, sync, no_thread, no_verify, crashes, initial, unmapped)| Setup {
            segment_bytes,
            index_bytes,
            sync,
            no_thread: no_thread && sync != 1,
            no_verify,
            crashes,
            initial,
            unmapped,
        })
}

impl Setup {
    /// What the writer's open with this number, from 0, is given.
    fn config(&self, open: u64) -> Config {
        Config {
            io: self.io(open % 2),
            segment_max_bytes: self.segment_bytes,
            index_max_bytes: self.index_bytes,
            initial_offset: self.initial,
            sync: [Sync::Always, Sync::Interval, Sync::Never][usize::from(self.sync)],
            sync_interval_ms: u32::from(self.sync == 1),
            flags: self.flags(),
            ..Config::default()
        }
    }

    fn io(&self, bit: u64) -> Io {
        if self.unmapped >> bit & 1 == 1 { Io::File } else { Io::Mapped }
    }

    fn flags(&self) -> u32 {
        let flag = |set, flag| if set { flag } else { 0 };
        flag(self.no_thread, flags::NO_THREAD) | flag(self.no_verify, flags::NO_VERIFY)
    }
}

/// A number that the environment sets.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is no number: '{n}'")))
}

#[test]
fn any_sequence_of_calls_does_what_a_vector_would() {
    let cases = number("SEGLOG_MODEL_CASES").unwrap_or(300);
    let mut runner = TestRunner::new(RunnerConfig {
        cases: u32::try_from(cases).unwrap(),
        max_shrink_iters: 2000,
        failure_persistence: None,
        rng_seed: number("SEGLOG_MODEL_SEED").map_or(RngSeed::Random, RngSeed::Fixed),
        ..RunnerConfig::default()
    });
    let strategy = (setup(), prop::collection::vec(step(), 1..200));
    let result = runner.run(&strategy, |(setup, steps)| {
        world::run(&setup, &steps).map_err(|error| {
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
    let setup = Setup {
        segment_bytes: 9000,
        index_bytes: 0,
        sync: 1,
        no_thread: false,
        no_verify: true,
        crashes: true,
        initial: 1_000_000,
        unmapped: 2,
    };
    let steps = [
        Step::Append(100),
        Step::Batch(vec![0, 300, LARGE]),
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
        Step::Watch(500),
        Step::Reopen,
        Step::Watch(500),
        Step::Unwatch,
        Step::Reset(7),
        Step::Append(20),
    ];
    world::run(&setup, &steps).unwrap();
    let scratch = Scratch::new();
    let (source, program) = (scratch.0.join("failed.c"), scratch.0.join("failed"));
    std::fs::write(&source, program::of(&setup, &steps)).unwrap();
    let flags = common::shared_flags(common::library_dir());
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["-Wall", "-Wextra", "-Werror"]);
    common::compile_c(&[&source], &flags, &program);
    let log = scratch.0.join("log");
    let ended = common::run(program.to_str().unwrap(), &[log.to_str().unwrap()]);
    ended.expect_success("the printed program");
    assert!(ended.stdout.contains("log_reset"), "{}", ended.stdout);
}
