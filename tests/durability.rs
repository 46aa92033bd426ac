//! What is acknowledged has been synced, shown with strace: a C program appends, says in a file what it was told, and
//! the trace of its system calls must have, before each such word, the writes and syncs that make it true. Also: what
//! a failed sync does to a handle. The checker itself is tested with traces made by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "durability/trace.rs"]
mod trace;

use common::TempDir;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use trace::{Call, LENGTH, Trace};

const CALLS: &str = "trace=pwrite64,fdatasync,fsync,write,rename,renameat,renameat2,openat,mkdir,mkdirat,futex";

// --- the program ---------------------------------------------------------------------------------------------------

/// How `tests/c/strace_writer.c` is run.
struct Run {
    sync: &'static str,
    segment_bytes: u64,
    threads: u64,
    records: u64,
    sync_every: u64,
    /// What strace is to do to the calls.
    inject: Option<String>,
}

impl Run {
    fn new(sync: &'static str) -> Self {
        Self { sync, segment_bytes: 1 << 20, threads: 1, records: 10, sync_every: 0, inject: None }
    }

    fn trace(&self) -> Trace {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| {
            let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("durability_writer");
            let flags = common::static_flags(common::library_dir());
            let flags: Vec<&str> = ["-O1", "-Wall"].into_iter().chain(flags.iter().map(String::as_str)).collect();
            common::compile_c(&[&common::path("tests/c/strace_writer.c")], &flags, &out);
            out
        });
        let temporary = TempDir::new("durability");
        let dir = fs::canonicalize(temporary.path()).unwrap();
        let (log, trace) = (dir.join("log"), dir.join("trace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "64", "-e", CALLS, "-o"]).arg(&trace);
        if let Some(inject) = &self.inject {
            command.args(["-e", &format!("inject={inject}")]);
        }
        command.arg(program).arg(&log).arg(dir.join("acks")).arg(self.sync);
        for number in [self.segment_bytes, self.threads, self.records, LENGTH, self.sync_every] {
            command.arg(number.to_string());
        }
        common::run_command(&mut command, common::TIME_OUT).expect_success("strace of strace_writer");
        Trace::new(&String::from_utf8_lossy(&fs::read(&trace).unwrap()), log.to_str().unwrap())
    }
}

#[test]
fn every_acknowledgement_comes_after_a_sync_that_covers_it() {
    if !common::can_trace() {
        return;
    }
    let trace = Run { segment_bytes: 4096, records: 120, ..Run::new("always") }.trace();
    assert_eq!(trace.acks().iter().map(|ack| ack.0).collect::<Vec<_>>(), (0..120).collect::<Vec<_>>());
    assert!(trace.stores(usize::MAX).len() > 3, "it was meant to roll");
    assert_eq!(trace.check_acks(), Ok(()));
    assert_eq!(trace.words().last(), Some(&"closed LOG_OK"));
}

#[test]
fn every_acknowledgement_in_space_that_was_zeroed_comes_after_a_sync_that_covers_it() {
    if !common::can_trace() {
        return;
    }
    let trace = Run { records: 700, ..Run::new("always") }.trace();
    assert_eq!(trace.check_acks(), Ok(()));
    let zeros = trace.zeros();
    assert_eq!(zeros.iter().map(|range| range.end - range.start).sum::<u64>(), (64 + 128) << 10, "{zeros:?}");
    let end = 4096 + 120 * 700;
    assert!(zeros[0].start == 8192 && zeros[1].start > zeros[0].end - 4096 && zeros[1].end > end, "{zeros:?}");
    let trace = Run { records: 100, sync_every: 10, ..Run::new("never") }.trace();
    assert_eq!(trace.zeros(), [], "who syncs when asked to writes none");
}

#[test]
fn a_durable_append_with_nobody_beside_it_writes_and_syncs_and_wakes_nobody() {
    if !common::can_trace() {
        return;
    }
    let trace = Run { records: 60, ..Run::new("always") }.trace();
    let said = |line: &str| trace.said().find(|(said, _)| *said == line).unwrap().1;
    let (from, to) = (said("ack 10"), said("ack 50"));
    let first = &trace.calls[0].thread;
    let calls = trace.calls.iter().filter(|call| call.thread == *first && (from..to).contains(&call.started));
    let count = |name| calls.clone().filter(|call| call.name == name).count();
    assert_eq!((count("fdatasync"), count("futex")), (40, 0));
    // A slot is written each 100 ms.
    assert!((40..=80).contains(&count("pwrite64")), "{}", count("pwrite64"));
}

#[test]
fn threads_share_syncs_and_none_is_acknowledged_before_its_own() {
    if !common::can_trace() {
        return;
    }
    // A slow disk, so that those who wait pile up.
    let inject = Some("fdatasync:delay_enter=2000".to_owned());
    let trace = Run { segment_bytes: 4096, threads: 4, records: 50, inject, ..Run::new("always") }.trace();
    let mut offsets: Vec<u64> = trace.acks().iter().map(|ack| ack.0).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..200).collect::<Vec<_>>());
    assert!(trace.stores(usize::MAX).len() > 5, "it was meant to roll");
    assert_eq!(trace.check_acks(), Ok(()));
    let syncs = trace.calls.iter().filter(|call| call.name == "fdatasync").count();
    assert!(syncs < offsets.len(), "{syncs} syncs for {} appends", offsets.len());
}

#[test]
fn with_sync_never_log_sync_and_log_close_are_the_barriers() {
    if !common::can_trace() {
        return;
    }
    for segment_bytes in [4096, 1 << 20] {
        let trace = Run { segment_bytes, records: 140, sync_every: 50, ..Run::new("never") }.trace();
        assert_eq!(trace.acks().len(), 140);
        assert_eq!(trace.check_barriers(), Ok(3), "two log_sync and one log_close");
        assert!(trace.check_acks().is_err(), "with LOG_SYNC_NEVER an append waits for no sync");
    }
}

#[test]
fn a_failed_sync_is_told_once_with_the_offset_and_never_tried_again() {
    if !common::can_trace() {
        return;
    }
    let poisoned = ["failed LOG_E_POISONED -1 5", "read LOG_OK"];
    for (name, offset) in [("fdatasync", 5), ("fsync", 0)] {
        let (trace, call) = fail_last_before(&Run::new("always"), name, &format!("ack {offset}"));
        let failed = format!("failed LOG_E_IO {offset} 5");
        let acks: Vec<String> = (0..offset).map(|offset| format!("ack {offset}")).collect();
        let mut expected = vec!["opened"];
        expected.extend(acks.iter().map(String::as_str).chain([failed.as_str(), "read LOG_OK"]));
        expected.extend(poisoned.repeat(2).into_iter().chain(["closing", "closed LOG_E_POISONED"]));
        assert_eq!(trace.words(), expected, "{name} {call} failed");
        assert_eq!(trace.check_acks(), Ok(()));
    }
    let run = Run { sync_every: 5, ..Run::new("never") };
    let (trace, _) = fail_last_before(&run, "fdatasync", "synced LOG_OK");
    let words = trace.words();
    assert_eq!(words[6..10], ["syncing", "synced LOG_E_IO", poisoned[0], poisoned[1]]);
    assert_eq!(words.last(), Some(&"closed LOG_E_POISONED"));
}

/// Runs once to find the last call of this name that the first thread does before it says `line`, and once more with
/// that call failing, alone. No file of the log may be synced after it. Gives the trace, and the call's number.
fn fail_last_before(run: &Run, name: &str, line: &str) -> (Trace, usize) {
    let clean = run.trace();
    let (_, by) = clean.said().find(|(said, _)| *said == line).unwrap();
    let first = &clean.calls[0].thread;
    let number = clean.calls.iter().filter(|c| c.name == name && c.thread == *first && c.started < by).count();
    // Only this one: a second try would succeed, and must not be made.
    let inject = Some(format!("{name}:error=EIO:when={number}"));
    let trace = Run { inject, ..*run }.trace();
    let injected: Vec<&Call> = trace.calls.iter().filter(|call| call.injected).collect();
    assert_eq!(injected.len(), 1, "{injected:?}");
    assert!(injected[0].path().starts_with(&trace.log), "{injected:?}");
    let mut later = trace.calls.iter().filter(|call| call.is_sync() && call.started > injected[0].started);
    let again = later.find(|call| call.path().starts_with(&trace.log));
    assert!(again.is_none(), "synced after a failure: {again:?}");
    (trace, number)
}

// --- the checker ---------------------------------------------------------------------------------------------------

/// A new log at `/t/log` with its first segment, then these lines, where `STORE` is that one's store.
fn made_by_hand(lines: &[&str]) -> Trace {
    let mut text = String::new();
    let opening = [
        r#"1 mkdir("/t/log", 0700)   = 0"#,
        r#"1 pwrite64(6</t/log/next-store.tmp>, "SEGLOG\") = 1, 2"..., 4096, 0) = 4096"#,
        "1 fdatasync(6</t/log/next-store.tmp>) = 0",
        r#"1 renameat(4</t/log>, "next-store.tmp", 4</t/log>, "00000000000000000000-00000000.store") = 0"#,
        "1 fsync(4</t/log>) = 0",
        "1 fsync(7</t>) = 0",
    ];
    for line in opening.iter().chain(lines) {
        writeln!(text, "{}", line.replace("STORE", "/t/log/00000000000000000000-00000000.store")).unwrap();
    }
    Trace::new(&text, "/t/log")
}

const WRITE: &str = r#"1 pwrite64(6<STORE>, "rr"..., 120, 4096) = 120"#;
const SYNC: &str = "1 fdatasync(6<STORE>) = 0";
const ACK: &str = r#"1 write(3</t/acks>, "ack 0\n", 6) = 6"#;

#[test]
fn the_checker_takes_what_is_right() {
    assert_eq!(made_by_hand(&[WRITE, SYNC, ACK]).check_acks(), Ok(()));
    let (begun, done) = ("2 fdatasync(6<STORE> <unfinished ...>", "2 <... fdatasync resumed>) = 0");
    assert_eq!(made_by_hand(&[WRITE, begun, "1 +++ exited with 0 +++", done, ACK]).check_acks(), Ok(()));
}

#[test]
fn the_checker_refuses_what_is_wrong() {
    let (begun, done) = ("2 fdatasync(6<STORE> <unfinished ...>", "2 <... fdatasync resumed>) = 0");
    let written = r#"1 pwrite64(6<STORE>, "rr"..., 120, 4096 <unfinished ...>"#;
    let zeros = WRITE.replace("rr", r"\0\0\0\0\0\0");
    let wrong: [(&str, &[&str]); 9] = [
        ("synced after the acknowledgement", &[WRITE, ACK, SYNC]),
        ("synced from before the write on", &[begun, WRITE, done, ACK]),
        ("synced from before the write's end on", &[written, begun, "1 <... pwrite64 resumed>) = 120", done, ACK]),
        ("acknowledged during the sync", &[WRITE, begun, ACK, done]),
        ("the sync failed", &[WRITE, "1 fdatasync(6<STORE>) = -1 EIO (Input/output error) (INJECTED)", ACK]),
        ("another file synced", &[WRITE, "1 fdatasync(6</t/log/LIVE>) = 0", ACK]),
        ("written in part", &[r#"1 pwrite64(6<STORE>, "rr"..., 120, 4096) = 119"#, SYNC, ACK]),
        ("never written", &[SYNC, ACK]),
        ("written with zeros", &[&zeros, SYNC, ACK]),
    ];
    for (what, lines) in wrong {
        assert!(made_by_hand(lines).check_acks().is_err(), "{what}");
    }
    // Each line of the opening is needed.
    for missing in 0..6 {
        let mut trace = made_by_hand(&[WRITE, SYNC, ACK]);
        trace.calls.remove(missing);
        assert!(trace.check_acks().is_err(), "without call {missing}");
    }
    let said = |line: &str| format!(r#"1 write(3</t/acks>, "{line}\n", 9) = 9"#);
    let (opened, syncing, synced) = (said("opened"), said("syncing"), said("synced LOG_OK"));
    assert_eq!(made_by_hand(&[&opened, ACK, &syncing, WRITE, SYNC, &synced]).check_barriers(), Ok(1));
    assert!(made_by_hand(&[&opened, ACK, WRITE, SYNC, &syncing, &synced]).check_barriers().is_err());
    assert!(made_by_hand(&[&opened, ACK, &syncing, WRITE, &synced, SYNC]).check_barriers().is_err());
}
