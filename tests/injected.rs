//! Every system call of a log's life fails once with each of five errors, and the process is killed at every one: a C program
//! (`tests/c/disk_life.c`) with the release build of the library, under strace. The calls are the kernel's own, those of libc
//! and std among them; the hook of `tests/faults.rs` knows only the library's. Real short writes come by libfiu.
//!
//! With `SEGLOG_CAMPAIGN` set: three more errors, threads beside, and two faults at once, `SEGLOG_TWO_FAULTS` (5,000) times.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod disks;

use common::{Profile, TIME_OUT};
use disks::{Random, Workshop, number};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;

const OPERATIONS: u32 = 22;
const ERRORS: [&str; 5] = ["EIO", "ENOSPC", "EACCES", "EMFILE", "EINTR"];
const MORE_ERRORS: [&str; 3] = ["EDQUOT", "EROFS", "ENOMEM"];

/// What is no part of the log's work: the program's own words, its start and its end, and what libc has no answer to.
const NOT_THESE: &[&str] = &[
    "write",
    "execve",
    "exit",
    "exit_group",
    "brk",
    "futex",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "getpid",
    "rt_sigprocmask",
    "rt_sigaction",
    "prctl",
    "getcwd",
    "mprotect",
];

/// `log_config_t.sync` and `.flags`.
#[derive(Debug, Clone, Copy)]
struct Way {
    sync: u32,
    flags: u32,
}

const DURABLE: Way = Way { sync: 0, flags: 4 };
const UNSYNCED: Way = Way { sync: 2, flags: 4 };
const THREADS: Way = Way { sync: 2, flags: 0 };
const DURABLE_THREADS: Way = Way { sync: 0, flags: 0 };

fn build(linking: &[String], name: &str) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut flags = vec!["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-g", "-pthread"];
    flags.extend(linking.iter().map(String::as_str));
    common::compile_c(&[&common::path("tests/c/disk_life.c")], &flags, &out);
    out
}

/// Wholly static: no dynamic loader, whose calls would be positions too.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut linking = common::static_flags(common::library_dir_of(Profile::Release));
        linking.push("-static".to_owned());
        build(&linking, "disk_life_injected")
    })
}

/// A fault of one call: `error=EIO` or `signal=KILL`, at the `when`th of each thread.
#[derive(Debug, Clone)]
struct Fault {
    call: String,
    what: String,
    when: u32,
}

impl Fault {
    fn kills(&self) -> bool {
        self.what == "signal=KILL"
    }
}

/// What a run with faults came to.
struct Lived {
    trace: String,
    was_killed: bool,
}

/// Lives the short life in this folder.
fn live(place: &Path, way: Way, faults: &[Fault]) -> Result<Lived, String> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(place.join("trace"));
    if !faults.is_empty() {
        let calls: Vec<_> = faults.iter().map(|fault| fault.call.as_str()).collect();
        strace.arg("-e").arg(format!("trace={}", calls.join(",")));
    }
    for Fault { call, what, when } in faults {
        strace.arg("-e").arg(format!("inject={call}:{what}:when={when}"));
    }
    strace.arg(program()).arg("run").arg(place.join("log")).arg(place.join("notes")).args(["-", "0"]);
    strace.args([OPERATIONS.to_string(), way.sync.to_string(), "8192".to_owned(), way.flags.to_string()]);
    let done = common::run_command(&mut strace, TIME_OUT);
    let was_killed = done.status.code().is_none();
    let was_to_be = done.success() || was_killed && !done.timed_out && faults.iter().any(Fault::kills);
    if !was_to_be {
        return Err(done.report());
    }
    let trace = fs::read(place.join("trace")).unwrap();
    Ok(Lived { trace: String::from_utf8_lossy(&trace).into_owned(), was_killed })
}

/// Opens what is left: all that returned is there, and of the rest at most what was begun.
fn check(place: &Path) -> Result<(), String> {
    let notes = fs::read(place.join("notes")).unwrap_or_default();
    let last = |kind: u8| {
        let made = notes.as_chunks::<16>().0.iter().filter(|note| note[0] == kind);
        made.map(|note| i64::from(u32::from_le_bytes(note[4..8].try_into().unwrap()))).max().unwrap_or(-1)
    };
    let mut command = Command::new(program());
    command.arg("check").arg(place.join("log")).arg("0").args([last(2), last(0).max(0)].map(|n| n.to_string()));
    let done = common::run_command(&mut command, TIME_OUT);
    if done.success() { Ok(()) } else { Err(done.report()) }
}

/// How many calls of each name a thread makes at most in a life without a fault.
fn calls(way: Way) -> BTreeMap<String, u32> {
    let shop = Workshop::new("injected");
    let lived = live(shop.path(), way, &[]).unwrap();
    let mut by_thread: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for line in lived.trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        if let Some((name, _)) = rest.trim_start().split_once('(').filter(|(name, _)| !name.contains(' ')) {
            *by_thread.entry((thread, name)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, u32> = BTreeMap::new();
    for ((_, name), count) in by_thread.into_iter().filter(|((_, name), _)| !NOT_THESE.contains(name)) {
        let there = most.entry(name.to_owned()).or_default();
        *there = (*there).max(count);
    }
    for name in ["openat", "pwrite64", "pread64", "fdatasync", "fsync", "fallocate", "renameat", "unlinkat", "mmap"] {
        assert!(most.contains_key(name), "a life without {name}: {most:?}");
    }
    most
}

/// Each call at each of its positions.
fn positions(way: Way) -> Vec<(String, u32)> {
    calls(way).into_iter().flat_map(|(name, count)| (1..=count).map(move |when| (name.clone(), when))).collect()
}

/// Lives a life with each of these, several at once; how many faults were met. Fails with all that went wrong.
fn each(way: Way, cases: &[Vec<Fault>]) -> usize {
    let (next, met, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let shop = Workshop::new("injected");
    let work = |worker: usize| {
        while let Some(faults) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let place = shop.join(&format!("{worker}"));
            fs::create_dir(&place).unwrap();
            let lived = live(&place, way, faults);
            let result = lived.and_then(|lived| {
                let was_met = lived.was_killed || lived.trace.contains("(INJECTED)");
                met.fetch_add(usize::from(was_met), Ordering::Relaxed);
                check(&place)
            });
            if let Err(why) = result {
                wrong.lock().unwrap().push(format!("{way:?}, {faults:?}: {why}"));
            }
            fs::remove_dir_all(&place).unwrap();
        }
    };
    thread::scope(|scope| {
        for worker in 0..thread::available_parallelism().map_or(2, usize::from) {
            let work = &work;
            scope.spawn(move || work(worker));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let mut text = String::new();
    for why in wrong.iter().take(10) {
        let _ = writeln!(text, "{why}");
    }
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{text}", wrong.len(), cases.len());
    met.into_inner()
}

fn is_campaign() -> bool {
    std::env::var_os("SEGLOG_CAMPAIGN").is_some()
}

fn cases(way: Way, whats: &[String]) -> Vec<Vec<Fault>> {
    let positions = positions(way);
    let fault =
        |what: &String, (call, when): &(String, u32)| Fault { call: call.clone(), what: what.clone(), when: *when };
    whats.iter().flat_map(|what| positions.iter().map(move |position| vec![fault(what, position)])).collect()
}

#[allow(clippy::print_stdout, reason = "what was done is the test's result")]
fn say(text: &str) {
    println!("{text}");
}

/// In two tests, since they run side by side.
#[test]
fn each_system_call_that_fails_with_each_error_leaves_a_clean_status_and_loses_nothing() {
    fail_each(&ERRORS[..3], &[]);
}

#[test]
fn each_system_call_that_fails_with_the_other_errors_does_so_too() {
    fail_each(&ERRORS[3..], &MORE_ERRORS);
}

/// With each of these errors, and in the campaign with more.
fn fail_each(errors: &[&str], in_campaign: &[&str]) {
    if !common::can_trace() {
        return;
    }
    let (mut errors, mut ways) = (errors.to_vec(), vec![DURABLE]);
    if is_campaign() {
        errors.extend(in_campaign);
        ways.extend([UNSYNCED, THREADS, DURABLE_THREADS]);
    }
    let errors: Vec<_> = errors.iter().map(|error| format!("error={error}")).collect();
    for way in ways {
        let cases = cases(way, &errors);
        let met = each(way, &cases);
        say(&format!(
            "{} positions, {} errors each, {way:?}: {met} faults met",
            cases.len() / errors.len(),
            errors.len()
        ));
        assert!(met * 10 > cases.len() * 9, "{met} of {} faults were met", cases.len());
    }
}

#[test]
fn killed_at_each_system_call_nothing_that_returned_is_lost() {
    if !common::can_trace() {
        return;
    }
    let mut ways = vec![DURABLE, THREADS];
    if is_campaign() {
        ways.extend([UNSYNCED, DURABLE_THREADS]);
    }
    for way in ways {
        let cases = cases(way, &["signal=KILL".to_owned()]);
        let met = each(way, &cases);
        say(&format!("{} positions, {way:?}: {met} kills", cases.len()));
        assert!(met * 10 > cases.len() * 8, "{met} of {} kills", cases.len());
    }
}

#[test]
fn two_faults_lose_nothing() {
    if !common::can_trace() {
        return;
    }
    let count = number("SEGLOG_TWO_FAULTS", if is_campaign() { 5000 } else { 50 });
    let mut random = Random(number("SEGLOG_SEED", 1));
    for way in [DURABLE, THREADS] {
        let positions = positions(way);
        let mut draw = |may_kill: bool| {
            let (call, when) = positions[random.below(positions.len() as u64) as usize].clone();
            let errors: Vec<_> = ERRORS.iter().chain(&MORE_ERRORS).collect();
            let error = errors[random.below(errors.len() as u64) as usize];
            let kill = may_kill && random.below(3) == 0;
            Fault { call, what: if kill { "signal=KILL".to_owned() } else { format!("error={error}") }, when }
        };
        let pairs: Vec<_> = (0..count / 2).map(|_| vec![draw(false), draw(true)]).collect();
        // strace knows one fault for each name of a call.
        let pairs: Vec<_> = pairs.into_iter().filter(|pair| pair[0].call != pair[1].call).collect();
        let met = each(way, &pairs);
        say(&format!("{} pairs of faults, {way:?}: {met} met", pairs.len()));
    }
}

#[test]
fn short_writes_are_gone_on_with() {
    if !common::can_trace() || !common::have("fiu-run") {
        return;
    }
    let linking = common::shared_flags(common::library_dir_of(Profile::Release));
    let program = build(&linking, "disk_life_short");
    for (seed, way) in [(1, DURABLE), (2, THREADS), (3, UNSYNCED), (4, DURABLE_THREADS)] {
        let shop = Workshop::new("short");
        let (log, trace) = (shop.join("log"), shop.join("trace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=pwrite64", "-o"]).arg(&trace).args(["fiu-run", "-x", "-c"]);
        command.arg("enable_random name=posix/io/rw/pwrite/reduce,probability=0.5").arg(&program).arg("run").arg(&log);
        command.arg(shop.join("notes")).args([
            "-".to_owned(),
            seed.to_string(),
            "300".to_owned(),
            way.sync.to_string(),
        ]);
        command.args(["16384".to_owned(), way.flags.to_string()]);
        common::run_command(&mut command, TIME_OUT).expect_success("a life with short writes");
        let mut check = Command::new(&program);
        check.arg("check").arg(&log).args([seed.to_string(), "300".to_owned(), "300".to_owned()]);
        common::run_command(&mut check, TIME_OUT).expect_success("the log behind short writes");
        // A write that goes on where the one before it ended, in the same file: that one was cut short.
        let trace = fs::read(&trace).unwrap();
        let trace = String::from_utf8_lossy(&trace);
        let odd = |line: &&str| line.rsplit("= ").next().is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n % 8 != 0));
        let short = trace.lines().filter(odd).count();
        assert!(short > 50, "only {short} writes were cut short: does libfiu get in?");
    }
}
