//! Zeros ahead of the frames: a store of a log that syncs each append is written with zeros before it is written with
//! records, so that its syncs find space that the file system has nothing left to note of. Other logs' stores are not;
//! and nothing depends on it.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::faults::{Event, Fault, FileId, Hook, Kind, Op};
use seglog::{Config, Io, Log, Sync, flags};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Image, Scratch, check_whole, payload};

const BLOCK: u64 = 4096;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn config(sync: Sync, flags: u32) -> Config {
    Config { segment_max_bytes: 512 << 10, sync, flags, ..Config::default() }
}

/// Batches of 20 records, each synced as the policy says or, where that says nothing, by `log_sync`.
fn append_batches(log: &Log, batches: u64) {
    for _ in 0..batches {
        support::append(log, 20, 20);
        if log.stat().unwrap().durable_offset < log.next_offset() {
            log.sync().unwrap();
        }
    }
}

/// What was written to one store.
#[derive(Debug, Default)]
struct Written {
    /// Zeros, and where they end.
    zeros: Vec<(u64, u64)>,
    /// Writes of frames, and how many of them reached no further than space that was zeroed, but for the block that
    /// they begin in.
    frames: u64,
    in_zeros: u64,
    /// Where the frames end.
    end: u64,
    allocated: u64,
}

/// What was written to stores, by a history. Zeros over frames, or in space that was not allocated, fail the test.
fn written(history: &[Event]) -> Vec<Written> {
    let mut files: BTreeMap<FileId, Written> = BTreeMap::new();
    let mut stores = Vec::new();
    for event in history {
        match event {
            Event::Rename { to_name, .. } if support::is_store(to_name) => stores.push(to_name.clone()),
            Event::Allocate { file, at, len } => {
                let written = files.entry(*file).or_default();
                written.allocated = written.allocated.max(at + len);
            }
            Event::Write { file, at, bytes } if *at >= BLOCK => {
                let (written, end) = (files.entry(*file).or_default(), at + bytes.len() as u64);
                if bytes.iter().all(|byte| *byte == 0) {
                    assert!(*at >= written.end && at.is_multiple_of(BLOCK), "zeros at {at} over frames: {written:?}");
                    assert!(end <= written.allocated, "zeros up to {end}, where nothing is allocated: {written:?}");
                    written.zeros.push((*at, end));
                } else {
                    written.frames += 1;
                    let block = at.next_multiple_of(BLOCK);
                    let in_zeros = |at: u64| written.zeros.iter().any(|(from, to)| (*from..*to).contains(&at));
                    written.in_zeros += u64::from((block..end).step_by(4096).all(in_zeros));
                    written.end = end;
                }
            }
            _ => {}
        }
    }
    assert!(!stores.is_empty());
    files.into_values().filter(|written| written.frames > 1).collect()
}

/// The history of a log that took so many batches.
fn history(config: &Config, batches: u64) -> Vec<Event> {
    let (dir, hook) = (Scratch::new(), Hook::new().with_history());
    hook.run(|| {
        let log = Log::open(dir.path(), config).unwrap();
        append_batches(&log, batches);
        check_whole(&log, 0, 20 * batches);
        log.close().unwrap();
    });
    hook.take_history()
}

#[test]
fn durable_appends_go_to_space_that_was_written_with_zeros() {
    for flags in [0, flags::NO_THREAD] {
        // Over a roll.
        let stores = written(&history(&config(Sync::Always, flags), 400));
        assert!(stores.len() >= 2, "it was meant to roll");
        for store in stores {
            assert!((1..=8 * 16).contains(&store.zeros.len()), "{store:?}");
            // The first of a store is for itself, and one goes past each piece, which are ever larger.
            assert!(store.in_zeros + 6 >= store.frames && store.frames > 50, "{store:?}");
        }
    }
}

#[test]
fn other_logs_write_no_zeros() {
    let interval = Config { sync_interval_ms: 1, ..config(Sync::Interval, 0) };
    let unmapped = Config { io: Io::File, ..config(Sync::Always, 0) };
    for config in [config(Sync::Never, 0), config(Sync::Never, flags::NO_THREAD), interval, unmapped] {
        for store in written(&history(&config, 300)) {
            assert!(store.zeros.is_empty(), "{config:?}: {store:?}");
        }
    }
}

/// Calls that write zeros ahead are told by where they go: past all frames, 64 KiB each.
fn is_ahead(op: &Op) -> bool {
    op.kind == Kind::Write && support::is_store(&op.file) && op.at.is_multiple_of(BLOCK) && op.len == 64 << 10
}

/// A log's life, with the error that the caller gets, if one.
fn live(hook: &Hook) -> seglog::Result<()> {
    let (dir, config) = (Scratch::new(), config(Sync::Always, flags::NO_THREAD));
    let next = 2000;
    hook.run(|| {
        let log = Log::open(dir.path(), &config)?;
        for first in (0..next).step_by(20) {
            let payloads: Vec<_> = (first..first + 20).map(payload).collect();
            assert_eq!(log.append_batch(&payloads.iter().map(Vec::as_slice).collect::<Vec<_>>())?, first);
        }
        assert!(log.wait_durable(next - 1, Some(Duration::ZERO))?, "all of it is durable");
        let left = Image::of(dir.path()).place();
        log.close()?;
        check_whole(&Log::open(left.path(), &config)?, 0, next);
        Ok(())
    })?;
    check_whole(&Log::open(dir.path(), &config)?, 0, next);
    Ok(())
}

#[test]
fn zeros_that_cannot_be_written_cost_nothing() {
    // Stores are in the record, and are no calls.
    let calls = |hook: &Hook| hook.ops().into_iter().filter(|op| op.kind != Kind::Store).collect::<Vec<_>>();
    let ahead = |hook: &Hook| {
        let calls = (0..).zip(calls(hook));
        calls.filter(|(_, op)| is_ahead(op)).map(|(nth, _)| nth).collect::<Vec<u64>>()
    };
    let clean = Hook::new().recording();
    live(&clean).unwrap();
    let pieces = ahead(&clean).len();
    assert!(pieces >= 3, "{pieces}");
    for os_error in [ENOSPC, EIO] {
        for piece in 0..pieces {
            // A slot that is due by the clock gives what comes behind it another number: then it is tried again.
            let met = (0..500).any(|_| {
                let clean = Hook::new().recording();
                live(&clean).unwrap();
                let nth = ahead(&clean)[piece];
                let hook = Hook::new().recording().with(Fault::Fail { nth, os_error });
                let lived = live(&hook);
                let met = is_ahead(&calls(&hook)[usize::try_from(nth).unwrap()]);
                assert!(!met || lived.is_ok() && hook.failed() == 1, "piece {piece} fails with {os_error}: {lived:?}");
                met
            });
            assert!(met, "piece {piece} was never met");
        }
    }
}

#[test]
fn a_killed_log_goes_on_in_front_of_its_zeros() {
    let (dir, config) = (Scratch::new(), config(Sync::Always, flags::NO_THREAD));
    let log = Log::open(dir.path(), &config).unwrap();
    append_batches(&log, 30);
    let killed = Image::of(dir.path()).place();
    log.close().unwrap();
    for round in 0..2_u64 {
        let hook = Hook::new().with_history();
        hook.run(|| {
            let log = Log::open(killed.path(), &config).unwrap();
            let stat = log.stat().unwrap();
            assert_eq!((stat.dropped_bytes, stat.segment_count), (0, 1), "zeros are no torn tail");
            append_batches(&log, 30);
            check_whole(&log, 0, 1200 + 600 * round);
            log.close().unwrap();
        });
        let zeros = |event: &&Event| matches!(event, Event::Write { bytes, .. } if bytes.iter().all(|byte| *byte == 0));
        assert!(hook.take_history().iter().filter(zeros).count() > 0);
    }
}
