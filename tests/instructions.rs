//! What an append, a random read, a cursor's step and a record of a batch cost in instructions, by callgrind: the same
//! on any machine, so that a call that got longer is seen where no clock can be trusted. The release library, as a C
//! program loads it. What stalls, or locks, or misses a cache counts as one instruction here: docs/performance.md has the
//! times.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::TempDir;
use std::path::Path;
use std::process::Command;

/// Calls of the shorter run; the longer one has twice as many, so that what comes once falls out.
const CALLS: u64 = 20_000;

/// Instructions of `function` and of all that it calls, in a run with so many calls of it.
fn collected(program: &Path, dir: &Path, function: &str, calls: u64) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--fair-sched=yes"])
        .arg(format!("--toggle-collect={function}"))
        .args([program.as_os_str(), calls.to_string().as_ref(), dir.as_os_str()]);
    let done = common::run_command(&mut valgrind, common::TIME_OUT);
    assert!(done.success(), "{function}: {}", done.report());
    let line = done.stderr.lines().find_map(|line| line.split_once("Collected :")).unwrap().1;
    line.trim().parse().unwrap()
}

/// `measured` may be a tenth above what it was when this was written (rustc 1.95, x86-64): another compiler may choose otherwise. Far
/// below it is no fault, but then the number here says too much.
fn check(program: &Path, function: &str, expected: u64) {
    let temp = TempDir::new("instructions");
    let [shorter, longer] = [1, 2].map(|n| collected(program, &temp.join(n.to_string()), function, n * CALLS));
    let measured = (longer - shorter) / CALLS;
    assert!(measured > 50, "{function}: {measured}: nothing was counted");
    assert!(measured <= expected + expected / 10, "{function}: {measured} instructions, where it took {expected}");
    assert!(
        measured >= expected - expected / 4,
        "{function}: {measured} instructions; say so here, where {expected} stands"
    );
}

#[test]
fn appends_reads_and_steps_take_no_more_instructions_than_they_did() {
    if !common::have("valgrind") || !cfg!(target_arch = "x86_64") {
        return;
    }
    let temp = TempDir::new("instructions");
    let program = temp.join("instructions");
    let flags = common::shared_flags(common::library_dir_of(common::Profile::Release));
    let flags: Vec<&str> = ["-O1", "-Wall"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    common::compile_c(&[&common::path("tests/c/instructions.c")], &flags, &program);
    let calls = [("log_append", 428), ("log_read", 290), ("log_cursor_next", 226), ("log_append_batch", 225)];
    for (function, expected) in calls {
        check(&program, function, expected);
    }
}
