//! The tests can fail: each bug of `src/seeded.rs` is put into the library in turn, and a test of the promise that it
//! breaks must notice. No test is written for a bug. Orders of threads that are wrong are planted by
//! `tests/races/planted.rs`.
#![cfg(feature = "seeded")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

/// The crash test, with the small ring, on so many states of workloads from this seed on.
const CRASH: Catcher = Catcher { features: "faults,small,seeded", test: "crash", name: "nothing_acknowledged" };

/// A test that notices.
#[derive(Clone, Copy)]
struct Catcher {
    features: &'static str,
    test: &'static str,
    name: &'static str,
}

const fn by(test: &'static str, name: &'static str) -> Catcher {
    Catcher { features: "faults,seeded", test, name }
}

/// Each bug, and who notices it.
const BUGS: &[(&str, Catcher)] = &[
    ("RollNotNamed", CRASH),
    ("LogNotNamed", CRASH),
    ("CutNotNamed", CRASH),
    ("AcknowledgedUnsynced", CRASH),
    ("SyncedBeforeWritten", CRASH),
    ("FullSegmentNotSynced", CRASH),
    ("SlotBeforeSync", CRASH),
    ("SyncRetried", CRASH),
    ("PoisonNotNoted", CRASH),
    ("LengthNotChecked", by("golden", "")),
    ("PayloadNotChecked", by("damage", "")),
    // The crash test notices too, but not always within so few states.
    ("SeedNotChecked", by("recovery", "")),
    ("OffsetNotChecked", by("damage", "")),
    ("MoreIgnored", by("torn_tail", "")),
    ("TornTailGoneOn", by("torn_tail", "")),
    ("RecoveredUnsynced", CRASH),
    ("HeaderNotSynced", CRASH),
    ("StartAfterUnlink", CRASH),
    ("StartNotSynced", CRASH),
    ("ResetWithoutFloor", CRASH),
    ("OldRingLeft", by("recovery", "")),
    ("TimeForgotten", by("find_time", "")),
    ("BackupLinksDoubtful", CRASH),
    ("ZerosOverFrames", CRASH),
];

/// Runs a test with a bug, or without. Whether it passed, and what it printed.
fn run(catcher: Catcher, bug: Option<&str>) -> (bool, String) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("SEGLOG_CAMPAIGN").env("RUST_BACKTRACE", "0");
    cargo.args(["test", "--quiet", "--locked", "--features", catcher.features, "--test", catcher.test]);
    // Most are noticed within a few thousand states; without a bug, `make crash` looks at more than anything here.
    cargo.args(["--", catcher.name]).env("SEGLOG_CRASH_STATES", if bug.is_some() { "100000" } else { "5000" });
    if let Some(bug) = bug {
        cargo.env("SEGLOG_SEEDED", bug);
    }
    let output = cargo.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The bugs that the source names.
fn all() -> Vec<String> {
    let source = include_str!("../src/seeded.rs");
    let body = source.split_once("enum Bug {").unwrap().1.split_once('}').unwrap().0;
    let lines = body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("///"));
    lines.map(|line| line.trim_end_matches(',').to_owned()).collect()
}

#[test]
fn each_seeded_bug_is_caught() {
    assert_eq!(all(), BUGS.iter().map(|(bug, _)| *bug).collect::<Vec<_>>(), "each bug has its catcher");
    let mut missed = Vec::new();
    // One build after the other: what another one needs is built anew each time.
    for build in [CRASH.features, by("", "").features] {
        for (bug, catcher) in BUGS.iter().filter(|(_, catcher)| catcher.features == build) {
            let began = Instant::now();
            let (passed, text) = run(*catcher, Some(bug));
            // A test that does not build, or is not there, has caught nothing.
            let ran = text.contains("test result: FAILED");
            assert!(passed || ran, "{bug}: {} did not run:\n{text}", catcher.test);
            let seconds = began.elapsed().as_secs_f64();
            let by = if passed { "by nobody" } else { catcher.test };
            let _ = writeln!(std::io::stderr(), "seeded bug {bug}: caught by {by}, {seconds:.1} s");
            if passed {
                missed.push(*bug);
            }
        }
        // Without a bug they pass. (The others do in `make check`.)
        for catcher in [CRASH, by("golden", ""), by("recovery", "")] {
            if catcher.features == build {
                let (passed, text) = run(catcher, None);
                assert!(passed, "{} fails without a bug:\n{text}", catcher.test);
            }
        }
    }
    assert!(missed.is_empty(), "no test notices {missed:?}");
}
