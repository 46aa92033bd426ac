//! An append costs its thread no system call, no page fault and no allocation, however many there are, and a roll no more
//! calls than docs/performance.md says: `tests/c/steady.c` on the release library, its appending thread's calls told by
//! strace, its faults by getrusage(2), its allocations by an allocator of its own.
//!
//! The library's threads must keep up for that: who outruns them waits for the disk, as he should. So the appends come
//! in bursts, behind each of which the keeper gets time. A busy machine may put it or the appender off for so long that
//! one of them has to wake the other, or may just have written the mappings back: then all is run again, and each burst,
//! which stands at the same place of the log each time, costs no more than it did at its cheapest.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::TempDir;
use seglog::{Config, Log};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// `LOG_NO_THREAD`.
const NO_THREAD: u32 = 4;

/// What is appended: so many records, in batches, with a rest after each `burst` of them.
#[derive(Debug, Clone, Copy)]
struct Work {
    payload_bytes: u64,
    batch: u64,
    records: u64,
    burst: u64,
    segment_bytes: u64,
    flags: u32,
}

const SHORT: Work =
    Work { payload_bytes: 128, batch: 1, records: 300_000, burst: 512, segment_bytes: 256 << 20, flags: 0 };

/// What a burst of appends costs its thread, or all of them.
#[derive(Debug, Default, Clone)]
struct Cost {
    calls: BTreeMap<String, u64>,
    faults: u64,
    allocations: u64,
}

impl Cost {
    /// The less of both.
    fn least(&self, other: &Self) -> Self {
        let calls = self.calls.iter().map(|(call, count)| (call.clone(), other.of(call).min(*count)));
        Self {
            calls: calls.filter(|(_, count)| *count > 0).collect(),
            faults: self.faults.min(other.faults),
            allocations: self.allocations.min(other.allocations),
        }
    }

    fn sum(bursts: &[Self]) -> Self {
        let mut sum = Self::default();
        for burst in bursts {
            for (call, count) in &burst.calls {
                *sum.calls.entry(call.clone()).or_default() += count;
            }
            sum.faults += burst.faults;
            sum.allocations += burst.allocations;
        }
        sum
    }

    fn is_nothing(&self) -> bool {
        self.calls.is_empty() && (self.faults, self.allocations) == (0, 0)
    }

    fn of(&self, call: &str) -> u64 {
        self.calls.get(call).copied().unwrap_or(0)
    }
}

fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("steady");
        let flags = common::shared_flags(common::library_dir_of(common::Profile::Release));
        let flags: Vec<&str> = ["-O1", "-Wall"].into_iter().chain(flags.iter().map(String::as_str)).collect();
        common::compile_c(&[&common::path("tests/c/steady.c")], &flags, &program);
        program
    })
}

/// What each burst costs. One run at a time, so that none takes another's keeper the processor.
fn costs(work: Work) -> Vec<Cost> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let temp = TempDir::new("steady");
    let trace = temp.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace).arg(program()).arg(temp.join("log"));
    let Work { payload_bytes, batch, records, burst, segment_bytes, flags } = work;
    strace.args([payload_bytes, batch, records, burst, segment_bytes, flags.into()].map(|n| n.to_string()));
    let done = common::run_command(&mut strace, common::TIME_OUT);
    assert!(done.success(), "{work:?}: {}", done.report());
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{}", done.report()));
    let of_burst = |line: &str| {
        let (faults, allocations) = line.split_once(' ').unwrap();
        Cost { faults: number(faults), allocations: number(allocations), ..Cost::default() }
    };
    let mut costs: Vec<_> = done.stdout.lines().map(of_burst).collect();
    // The first call of getrusage, by the thread that appends, begins the first burst; the second ends it, and so on.
    let (mut thread, mut marks) = (None, 0);
    for line in std::fs::read_to_string(trace).unwrap().lines() {
        let (who, what) = line.split_once(' ').unwrap();
        let Some((call, _)) = what.trim_start().split_once('(') else { continue };
        if call == "getrusage" {
            (thread, marks) = (Some(who.to_owned()), marks + 1);
        } else if marks % 2 == 1 && thread.as_deref() == Some(who) && !call.starts_with('<') {
            *costs[marks / 2].calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(marks, 2 * costs.len(), "{work:?}: each burst has its beginning and end in the trace");
    costs
}

/// So often it may be that the machine had no time.
const TRIES: usize = 12;

/// What all bursts cost must do.
fn check(work: Work, will_do: impl Fn(&Cost) -> bool) {
    let mut least = costs(work);
    for _ in 1..TRIES {
        if will_do(&Cost::sum(&least)) {
            return;
        }
        least = least.iter().zip(costs(work)).map(|(cost, other)| cost.least(&other)).collect();
    }
    let sum = Cost::sum(&least);
    assert!(will_do(&sum), "{work:?}: {sum:#?}");
}

#[test]
fn an_append_within_a_segment_makes_no_system_call_no_page_fault_and_no_allocation() {
    if !common::can_trace() {
        return;
    }
    check(SHORT, Cost::is_nothing);
    check(Work { payload_bytes: 16 << 10, records: 3000, burst: 4, ..SHORT }, Cost::is_nothing);
}

/// What the tests above look for is seen where it is: without its threads the library does all of it in the appends.
#[test]
fn without_the_librarys_threads_appends_make_the_calls_and_take_the_faults() {
    if !common::can_trace() {
        return;
    }
    let cost = Cost::sum(&costs(Work { flags: NO_THREAD, segment_bytes: 16 << 20, burst: 0, ..SHORT }));
    let seen = ["pwrite64", "fallocate", "fdatasync", "renameat"].map(|call| cost.of(call) > 0);
    assert!(seen == [true; 4] && cost.faults > 0 && cost.allocations > 0, "{cost:#?}");
}

/// What docs/performance.md says of a roll: one look whether LIVE is still this handle's; what waits in the ring, the SEAL and the
/// next segment's header written; two files renamed; the syncer called.
/// (And the keeper, each time that it had gone to sleep, or was put off by the machine: on a busy one that is often.)
const OF_A_ROLL: [(&str, u64); 4] = [("statx", 1), ("pwrite64", 3), ("renameat", 2), ("futex", 4)];

#[test]
fn a_roll_makes_no_more_calls_than_the_documented_seven() {
    if !common::can_trace() {
        return;
    }
    let work = Work { records: 150_000, segment_bytes: 4 << 20, ..SHORT };
    check(work, |cost| {
        let rolls = cost.of("renameat") / 2;
        let is_said = |(call, count): (&String, &u64)| {
            OF_A_ROLL.iter().any(|(said, most)| call == said && *count <= most * rolls)
        };
        assert!(rolls >= 4, "{cost:#?}");
        cost.calls.iter().all(is_said) && cost.faults <= 4 * rolls
    });
}

/// Space is then written with zeros, by the keeper ahead of the appends or by these: never over a frame.
#[test]
fn on_a_file_system_without_fallocate_every_record_stays_what_it_was() {
    if !common::can_trace() {
        return;
    }
    for burst in [0, 512] {
        let temp = TempDir::new("steady");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o"]).arg(temp.join("trace"));
        strace.args(["-e", "trace=fallocate", "-e", "inject=fallocate:error=EOPNOTSUPP"]).arg(program());
        strace.arg(temp.join("log")).args(["1024", "1", "40000"]);
        strace.args([burst.to_string(), (32 << 20).to_string(), "0".to_owned()]);
        let done = common::run_command(&mut strace, common::TIME_OUT);
        assert!(done.success(), "{}", done.report());
        let refused = std::fs::read_to_string(temp.join("trace")).unwrap().matches("EOPNOTSUPP").count();
        assert!(refused > 4, "only {refused} calls of fallocate");
        let log = Log::open(temp.join("log"), &Config::default()).unwrap();
        assert_eq!((log.next_offset(), log.stat().unwrap().dropped_bytes), (80_000, 0));
        for offset in 0..80_000_u64 {
            let is_whole = |payload: &[u8], _| payload[..8] == (offset % 40_000).to_le_bytes() && payload.len() == 1024;
            assert!(log.read(offset, is_whole).unwrap(), "record {offset}");
        }
    }
}
