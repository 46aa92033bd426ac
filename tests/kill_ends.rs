//! A log is killed at every system call that changes files while it trims, truncates, resets and rolls
//! (`tests/c/kill_ends.c`, under strace). When it is opened again, each operation is done or not done, never half, and what
//! was dropped never comes back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Profile, TIME_OUT, TempDir};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every call by which the library changes a file, a directory or a mapping.
const CALLS: &[&str] = &[
    "openat",
    "pwrite64",
    "fdatasync",
    "fsync",
    "fallocate",
    "ftruncate",
    "renameat",
    "renameat2",
    "rename",
    "unlinkat",
    "mmap",
];

/// A folder in memory, removed when dropped: a kill asks nothing of the disk, and every operation here is synced.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = parent.join(format!("seglog-kill-ends-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// More of one call than the program makes.
const POINTS_MAX: u32 = 2000;

fn build(temp: &TempDir) -> PathBuf {
    let out = temp.join("kill_ends");
    // Wholly static: no dynamic loader, whose calls would be points too.
    let linking = common::static_flags(common::library_dir_of(Profile::Release));
    let mut flags = vec!["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", "-static"];
    flags.extend(linking.iter().map(String::as_str));
    common::compile_c(&[&common::path("tests/c/kill_ends.c")], &flags, &out);
    out
}

/// Runs the program, killed at the `when`th such call. Whether it came to its end.
fn run_killed(program: &Path, place: &Path, sync: &str, call: &str, when: u32) -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
    strace.arg("-e").arg(format!("inject={call}:signal=KILL:when={when}"));
    strace.arg(program).arg("run").arg(place.join("log")).arg(place.join("acks")).arg(sync);
    let done = common::run_command(&mut strace, TIME_OUT);
    assert!(done.status.code().is_none_or(|code| code == 0), "{call} {when}: {}", done.report());
    done.success()
}

/// Kills at each point of each call; returns how many points there were.
fn kill_everywhere(sync: &str) -> u32 {
    let temp = TempDir::new("kill-ends");
    let program = build(&temp);
    let scratch = Scratch::new(sync);
    let mut points = 0;
    for call in CALLS {
        for when in 1..POINTS_MAX {
            let place = scratch.0.join(format!("{call}-{when}"));
            fs::create_dir(&place).unwrap();
            let ended = run_killed(&program, &place, sync, call, when);
            let mut check = Command::new(&program);
            check.arg("check").arg(place.join("log")).arg(place.join("acks")).arg(sync);
            let checked = common::run_command(&mut check, TIME_OUT);
            assert!(checked.success(), "killed at {call} number {when}, sync {sync}: {}", checked.report());
            fs::remove_dir_all(&place).unwrap();
            if ended {
                break;
            }
            points += 1;
        }
    }
    points
}

#[test]
fn killed_at_any_call_it_is_done_or_not_done_when_synced() {
    if common::have("strace") {
        let points = kill_everywhere("0");
        assert!(points > 100, "only {points} points were reached: does strace inject?");
    }
}

#[test]
fn killed_at_any_call_it_is_done_or_not_done_when_not_synced() {
    if common::have("strace") {
        let points = kill_everywhere("2");
        assert!(points > 100, "only {points} points were reached: does strace inject?");
    }
}
