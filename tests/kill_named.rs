//! A program is killed at every system call that changes files while it saves and removes positions and metas
//! (`tests/c/kill_named.c`, under strace): what is found then is what was acknowledged, or that and the one step more,
//! and never half of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Profile, TIME_OUT, TempDir};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Every call by which a named value is changed.
const CALLS: &[&str] =
    &["openat", "mkdirat", "pwrite64", "fdatasync", "fsync", "renameat", "renameat2", "rename", "unlinkat", "flock"];

/// More of one call than the program makes.
const POINTS_MAX: u32 = 500;

#[test]
fn killed_at_any_call_a_named_value_is_the_old_or_the_new_one() {
    if !common::have("strace") {
        return;
    }
    let temp = TempDir::new("kill-named");
    let program = temp.join("kill_named");
    // Wholly static: no dynamic loader, whose calls would be points too.
    let linking = common::static_flags(common::library_dir_of(Profile::Release));
    let mut flags = vec!["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", "-static"];
    flags.extend(linking.iter().map(String::as_str));
    common::compile_c(&[&common::path("tests/c/kill_named.c")], &flags, &program);
    // In memory where there is a place for that: a kill asks nothing of the disk.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let scratch = parent.join(format!("seglog-kill-named-{}", std::process::id()));
    let mut points = 0;
    for call in CALLS {
        for when in 1..POINTS_MAX {
            fs::create_dir(&scratch).unwrap();
            let (log, acks) = (scratch.join("log"), scratch.join("acks"));
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            strace.arg("-e").arg(format!("inject={call}:signal=KILL:when={when}"));
            strace.arg(&program).arg("run").arg(&log).arg(&acks);
            let done = common::run_command(&mut strace, TIME_OUT);
            assert!(done.status.code().is_none_or(|code| code == 0), "{call} {when}: {}", done.report());
            let mut check = Command::new(&program);
            let checked = common::run_command(check.arg("check").arg(&log).arg(&acks), TIME_OUT);
            assert!(checked.success(), "killed at {call} number {when}: {}", checked.report());
            fs::remove_dir_all(&scratch).unwrap();
            if done.success() {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 100, "only {points} points were reached: does strace inject?");
}
