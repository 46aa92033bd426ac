//! The history that the fault hook writes down is enough to rebuild the files, whoever changed them: calls, stores into
//! mappings, the library's own threads. What a kill leaves and what a machine that is started again is told are as they
//! should be, since the crash tests rest on these.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::faults::{Event, Fault, Hook, Kind};
use seglog::{Config, Log, Record, Status, Sync, flags};
use std::rc::Rc;
use support::disk::{Disk, State};
use support::{Image, Random, Scratch, append, payload, settle, sized, small};

/// What stands in the directory, as the model of the disk would say it.
fn real(scratch: &Scratch) -> State {
    let dir = scratch.join("log");
    State(dir.exists().then(|| Image::of(&dir).0.into_iter().map(|(name, bytes)| (name, Rc::new(bytes))).collect()))
}

fn differing(a: &State, b: &State) -> Vec<String> {
    let (Some(a), Some(b)) = (&a.0, &b.0) else { return vec!["the directory".to_owned()] };
    let names = a.keys().chain(b.keys());
    names.filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

/// Does something with the log, by chance.
fn step(log: &Log, random: &mut Random) {
    let (first, next) = (log.first_offset(), log.next_offset());
    let len = [10, 100, 1000, 5000][random.below(4)];
    match random.below(12) {
        0 => log.trim(first + random.below((next - first + 1) as usize) as u64).unwrap(),
        1 if next > first => log.truncate(first + random.below((next - first) as usize) as u64).unwrap(),
        2 => log.reset(next + 7).unwrap(),
        3 => log.sync().unwrap(),
        4 => append(log, 5, 5),
        5 => {
            // Where the last record was truncated away, its time still holds.
            let time = log.read(next.max(first + 1) - 1, |_, time| time).unwrap_or(1 << 61);
            let bytes = payload(next);
            let records = [Record { offset: next, timestamp_ns: time, payload: &bytes }];
            let imported = log.append_records(&records);
            assert!(imported.is_ok_and(|()| log.next_offset() == next + 1) || log.next_offset() == next);
        }
        _ => assert_eq!(log.append(&sized(next, len)).unwrap(), next),
    }
}

#[test]
fn the_history_rebuilds_the_very_files() {
    let configs = [
        Config { flags: flags::NO_THREAD, ..small() },
        small(),
        Config { sync: Sync::Always, ..small() },
        Config { segment_max_bytes: 1 << 20, ..small() },
    ];
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let (scratch, mut random) = (Scratch::new(), Random(seed));
        let config = &configs[seed as usize % configs.len()];
        let dir = scratch.join("log");
        let (hook, mut disk) = (Hook::new().with_history(), Disk::of(&dir));
        for _ in 0..6 {
            hook.run(|| {
                let log = Log::open(&dir, config).unwrap();
                (0..random.below(60)).for_each(|_| step(&log, &mut random));
                if random.below(2) == 0 {
                    log.close().unwrap();
                } else {
                    hook.kill();
                    drop(log);
                    hook.revive();
                }
            });
            for event in hook.take_history() {
                seen.insert(format!("{event:?}").split(['(', ' ']).next().unwrap().to_owned());
                disk.take(&event);
            }
            let (found, made) = (disk.now(), real(&scratch));
            assert_eq!(differing(&found, &made), [""; 0], "seed {seed}");
        }
    }
    let all = "Allocate Create MakeDir Punch Rename SetLen Store SyncDir SyncFile Unlink Write WriteBack";
    assert_eq!(seen.into_iter().collect::<Vec<_>>().join(" "), all, "each kind of event was met");
}

#[test]
fn a_frame_that_comes_round_in_the_ring_is_written_down_where_it_stands() {
    let scratch = Scratch::new();
    let dir = scratch.join("log");
    let (hook, mut disk) = (Hook::new().with_history(), Disk::of(&dir));
    let log = hook.run(|| Log::open(&dir, &Config { flags: flags::NO_THREAD, ..Config::default() })).unwrap();
    hook.run(|| (0..700).for_each(|n| assert_eq!(log.append_batch(&[&sized(n, 3001)]).unwrap(), n)));
    hook.take_history().iter().for_each(|event| disk.take(event));
    assert_eq!(differing(&disk.now(), &real(&scratch)), [""; 0]);
}

#[test]
fn a_killed_process_changes_nothing_more() {
    let scratch = Scratch::new();
    let hook = Hook::new().with_history();
    for config in [small(), Config { flags: flags::NO_THREAD, ..small() }] {
        let log = hook.run(|| Log::open(scratch.path(), &config)).unwrap();
        hook.run(|| append(&log, 30, 1));
        hook.run(|| settle(&log, 0));
        hook.kill();
        assert!(!hook.take_history().is_empty());
        let before = Image::of(scratch.path());
        hook.run(|| {
            assert_eq!(log.sync().unwrap_err().status(), Status::Io);
            drop(log);
        });
        assert_eq!(hook.take_history(), [], "nothing is written down, no failed sync either");
        assert_eq!(Image::of(scratch.path()).difference(&before), "");
        hook.revive();
        let log = hook.run(|| Log::open(scratch.path(), &config)).unwrap();
        assert_eq!(log.next_offset() % 30, 0, "what was in the ring is there");
        assert!(log.next_offset() > 0);
    }
}

#[test]
fn a_failed_sync_is_written_down_and_a_dropped_one_is_not() {
    for fault in [Fault::Fail { nth: 1, os_error: 5 }, Fault::Drop { nth: 1 }] {
        let scratch = Scratch::new();
        let log = Log::open(scratch.path(), &Config { sync: Sync::Always, ..small() }).unwrap();
        append(&log, 1, 1);
        let hook = Hook::new().recording().with_history().with(fault);
        let appended = hook.run(|| log.append(b"x"));
        let calls: Vec<_> = hook.ops().iter().map(|op| op.kind).filter(|kind| *kind != Kind::Store).collect();
        assert_eq!(calls[..2], [Kind::Write, Kind::SyncFile]);
        let history = hook.take_history();
        let syncs: Vec<_> = history.iter().filter(|event| matches!(event, Event::SyncFile { .. })).collect();
        match fault {
            Fault::Drop { .. } => assert_eq!((appended.is_ok(), syncs.len()), (true, 0)),
            _ => assert!(appended.is_err() && matches!(syncs[..], [Event::SyncFile { ok: false, .. }])),
        }
    }
}

#[test]
fn another_boot_is_told_by_the_hook() {
    let scratch = Scratch::new();
    let config = Config { sync: Sync::Always, ..small() };
    let log = Log::open(scratch.path(), &config).unwrap();
    append(&log, 3, 1);
    let hook = Hook::new().with(Fault::Fail { nth: 1, os_error: 5 });
    assert!(hook.run(|| log.append(&payload(3))).is_err());
    let _ = log.close();
    let segments = |hook: Hook| {
        let image = Image::of(scratch.path());
        let log = hook.run(|| Log::open(scratch.path(), &config)).unwrap();
        let segments = log.stat().unwrap().segment_count;
        hook.kill();
        hook.run(|| drop(log));
        // As it was: the same files, so that the page is believed.
        for (name, bytes) in &image.0 {
            std::fs::write(scratch.join(name), bytes).unwrap();
        }
        for name in Image::of(scratch.path()).0.into_keys().filter(|name| !image.0.contains_key(name)) {
            std::fs::remove_file(scratch.join(&name)).unwrap();
        }
        segments
    };
    assert_eq!(segments(Hook::new().in_boot([9; 16])), 1, "a poison of another boot is not believed");
    assert_eq!(segments(Hook::new()), 2, "that of this boot is");
}
