//! Power loss: every state that a disk may be in after a crash at any moment of a log's life, enumerated in process from
//! what the fault hook wrote down (tests/support/disk.rs says what a disk may do). Each must open, hold exactly what was
//! acknowledged and perhaps some of what came behind it, and go on. `SEGLOG_CRASH_STATES` says how many states,
//! `SEGLOG_CRASH_SECONDS` after what time it ends before it has so many; CI and campaigns build the library with the feature
//! `small`.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod crash {
    pub(crate) mod beside;
    pub(crate) mod explore;
    pub(crate) mod past;
}
mod support;

use crash::explore::{Counts, Explorer};
use crash::past::{Run, Step, threads};
use seglog::{Config, Io, Sync, flags};
use std::io::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use support::disk::Disk;
use support::{Random, small};

/// The oldest segments go: by bytes, and those that a position has passed.
const RETENTION: &str = "retention";
const RETENTION_KEEPS: &str = "retention of what was consumed";

/// What a workload chooses from, each named once for each time that it is as likely.
const MIXES: &[(&str, Sync, &[Step])] = {
    use Step::{
        Append, Backup, Batch, Close, FailCall, FailSync, Import, Kill, Large, LargeBatch, Reserve, Reset, Save, Set,
        Sync as Do, Trim, Truncate,
    };
    &[
        ("durable appends", Sync::Always, &[Append]),
        ("appends and syncs", Sync::Never, &[Append, Append, Append, Do]),
        ("batches", Sync::Always, &[Append, Batch, Batch, Large, LargeBatch, Import]),
        ("unsynced batches", Sync::Never, &[Append, Batch, Batch, Do, LargeBatch, Large]),
        ("trims", Sync::Never, &[Append, Batch, Batch, Trim, Do]),
        ("cuts", Sync::Never, &[Append, Batch, Truncate, Append, Batch]),
        ("resets", Sync::Always, &[Append, Batch, Batch, Append, Reset]),
        ("both ends", Sync::Never, &[Append, Batch, Large, Batch, Trim, Truncate, Append, Batch, Reset, Do, Import]),
        ("closed and killed", Sync::Never, &[Append, Batch, Close, Kill, Do, Large]),
        ("failed syncs", Sync::Always, &[Append, Batch, FailSync, Append, Close]),
        ("failed calls", Sync::Never, &[Append, Batch, FailSync, FailCall, Kill, Do, Large, Trim, Truncate, Reset]),
        ("reservations", Sync::Always, &[Reserve, Reserve, Append, Batch, Close, Kill]),
        ("unsynced reservations", Sync::Never, &[Reserve, Reserve, Append, Large, Do, FailSync, FailCall]),
        ("positions and meta", Sync::Never, &[Append, Batch, Save, Save, Set, Do, Kill, Trim]),
        (
            "positions over failures",
            Sync::Always,
            &[Append, Batch, Save, Save, Set, FailSync, FailSync, FailCall, Close],
        ),
        ("backups", Sync::Never, &[Append, Batch, Large, Save, Backup, Trim, Do]),
        ("backups over failures", Sync::Always, &[Append, Batch, Save, Backup, FailSync, FailCall, Close]),
        // Only rolls sync, so it is full segments whose sync fails.
        ("backups over failed rolls", Sync::Never, &[Batch, LargeBatch, Large, Backup, FailSync]),
        (RETENTION, Sync::Never, &[Append, Batch, Batch, Large, Do, Close, Kill, Truncate]),
        (RETENTION, Sync::Always, &[Append, Batch, Batch, LargeBatch, Reserve, Truncate]),
        (RETENTION_KEEPS, Sync::Never, &[Append, Batch, Batch, Batch, Large, Save, Do, Kill]),
        (
            "everything",
            Sync::Never,
            &[
                Append, Append, Batch, Batch, Large, LargeBatch, Import, Do, Trim, Truncate, Reset, Close, Kill,
                FailSync, FailCall,
            ],
        ),
    ]
};

/// These, and threads of two kinds.
const KINDS: u64 = MIXES.len() as u64 + 2;

fn look(explorer: &mut Explorer, seed: u64) {
    let mut random = Random(seed);
    let dir = explorer.workload_dir();
    let disk = Disk::of(&dir);
    let mix = (seed % KINDS) as usize;
    let past = if let Some((name, sync, steps)) = MIXES.get(mix) {
        let retains = [RETENTION, RETENTION_KEEPS].contains(name);
        // Some with the library's own threads, which make the next segment ahead and sync full ones. With them nobody knows when
        // retention takes something away.
        let mut flags = if random.below(4) == 0 && !retains { 0 } else { flags::NO_THREAD };
        if *name == RETENTION_KEEPS {
            flags |= flags::KEEP_UNCONSUMED;
        }
        let retain_bytes = if retains { 9000 + 4000 * random.below(3) as u64 } else { 0 };
        let initial_offset = [0, 0, 1000][random.below(3)];
        let config = Config { flags, sync: *sync, initial_offset, retain_bytes, ..small() };
        let mut run = Run::new(&dir, &config, seed);
        run.backs_up = steps.contains(&Step::Backup);
        for _ in 0..if retains { 30 } else { 8 + random.below(16) } {
            run.step(steps[random.below(steps.len())]);
        }
        run.end()
    } else {
        let io = [Io::Mapped, Io::File][random.below(2)];
        let config = if mix == MIXES.len() {
            Config { sync: Sync::Always, io, ..small() }
        } else {
            Config { sync: Sync::Interval, sync_interval_ms: 1, io, ..small() }
        };
        threads(&dir, &config, seed)
    };
    explorer.explore(&past, &disk);
}

/// Until there are so many states, or it is so late and each kind of workload has been.
fn explore(states: u64, first_seed: u64, until: Option<Instant>) -> Counts {
    let workers = thread::available_parallelism().map_or(1, usize::from).max(2) as u64;
    let all = Mutex::new(Counts::default());
    thread::scope(|scope| {
        for worker in 0..workers {
            let all = &all;
            scope.spawn(move || {
                let mut explorer = Explorer::new(first_seed + worker, states / workers);
                let mut seed = first_seed + worker;
                let in_time = || until.is_none_or(|until| Instant::now() < until);
                while explorer.counts.states < explorer.until && (in_time() || seed < first_seed + KINDS) {
                    look(&mut explorer, seed);
                    seed += workers;
                }
                let (counts, mut all) = (explorer.counts, all.lock().unwrap());
                all.states += counts.states;
                all.within_recovery += counts.within_recovery;
                all.moments += counts.moments;
                all.pasts += counts.pasts;
                all.known += counts.known;
            });
        }
    });
    all.into_inner().unwrap()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn nothing_acknowledged_is_lost_in_any_crash() {
    let states = number("SEGLOG_CRASH_STATES").unwrap_or(20_000);
    let began = Instant::now();
    let until = number("SEGLOG_CRASH_SECONDS").map(|seconds| began + Duration::from_secs(seconds));
    let counts = explore(states, number("SEGLOG_CRASH_SEED").unwrap_or(0), until);
    let seconds = began.elapsed().as_secs_f64();
    // Past the harness, which keeps what a test prints to itself where it passes.
    let _ = writeln!(
        std::io::stderr(),
        "crash states: {} distinct ({} of them within a recovery), at {} moments of {} workloads, in {seconds:.0} s",
        counts.states,
        counts.within_recovery,
        counts.moments,
        counts.pasts
    );
    let ended = until.is_some_and(|until| Instant::now() >= until);
    if ended {
        let _ = writeln!(std::io::stderr(), "crash states: the time was up before there were {states}");
    }
    assert!(counts.states > 0 && (ended || counts.states + 2 >= states));
}
