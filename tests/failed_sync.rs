//! After a failed sync nothing may be believed that only the page cache shows: the handle writes no more, and the
//! next open in the same boot writes the doubtful records anew. After a full disk, all goes on.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::faults::{Fault, Hook, Kind, Op};
use seglog::{Config, Cursor, Log, Status, Sync};
use support::format::{FRAMES, Header, MORE, SEAL, Slot, crc, frames};
use support::{Image, Scratch, append, check_goes_on, check_whole, payload, small, until_poisoned};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn always() -> Config {
    Config { sync: Sync::Always, ..small() }
}

/// A hook under which the first sync of a file fails, and nothing else.
fn fail_sync(log: &Log, work: impl Fn(&Log) -> seglog::Result<()>) -> seglog::Error {
    // An append under `Sync::Always` writes its frame, then syncs.
    let hook = Hook::new().recording().with(Fault::Fail { nth: 1, os_error: EIO });
    let error = hook.run(|| work(log)).unwrap_err();
    let kinds: Vec<_> = hook.ops().iter().map(|op| op.kind).filter(|kind| *kind != Kind::Store).collect();
    assert_eq!(kinds[..2], [Kind::Write, Kind::SyncFile]);
    error
}

fn timestamps(log: &Log) -> Vec<u64> {
    (log.first_offset()..log.next_offset()).map(|offset| log.read(offset, |_, time| time).unwrap()).collect()
}

/// Five durable records, and from the sixth on what a failed sync left in doubt: one record.
fn poisoned() -> (Scratch, Log) {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &always()).unwrap();
    append(&log, 5, 1);
    let error = fail_sync(&log, |log| log.append(&payload(5)).map(drop));
    assert_eq!((error.status(), error.detail().os_error), (Status::Io, EIO), "{error}");
    assert_eq!(error.detail().published, Some(5), "the record exists and must not be appended again");
    (dir, log)
}

#[test]
fn after_a_failed_sync_the_handle_writes_no_more_and_reads_go_on() {
    let (_dir, log) = poisoned();
    for _ in 0..2 {
        for error in
            [log.append(b"x").unwrap_err(), log.append_batch(&[b"x", b"y"]).unwrap_err(), log.sync().unwrap_err()]
        {
            assert_eq!((error.status(), error.detail().os_error), (Status::Poisoned, EIO), "{error}");
            assert_eq!(error.detail().published, None, "nothing was appended");
        }
    }
    check_whole(&log, 0, 6);
    assert_eq!(log.stat().unwrap().durable_offset, 5);
    let mut cursor = Cursor::open(&log, 4).unwrap();
    assert_eq!(log.close().unwrap_err().status(), Status::Poisoned, "close says so");
    assert_eq!(cursor.next().unwrap().unwrap().payload, payload(4));
}

#[test]
fn the_next_open_writes_the_doubtful_records_anew_in_the_next_epoch() {
    let (dir, log) = poisoned();
    let times = timestamps(&log);
    let _ = log.close();
    let before = Image::of(dir.path());
    let log = Log::open(dir.path(), &always()).unwrap();
    let stat = log.stat().unwrap();
    assert_eq!((stat.durable_offset, stat.segment_count, stat.dropped_bytes), (6, 2, 0));
    assert_eq!(timestamps(&log), times, "the same timestamps");
    check_whole(&log, 0, 6);
    let after = Image::of(dir.path());
    let old = before.last_store();
    let new = Header { base: 5, epoch: 1, ..Header::of(&before.0[&old]) }.store_name();
    assert_eq!(after.stores(), [old.clone(), new.clone()]);
    let header = Header::of(&after.0[&new]);
    let bytes = |next| (0..next).map(|offset| payload(offset).len() as u64).sum::<u64>();
    assert_eq!((header.cause, header.prior_bytes, stat.payload_bytes), (3, bytes(5), bytes(6)));
    assert_eq!(after.0[&old][FRAMES..], before.0[&old][FRAMES..], "the old store is left as it is");
    assert_eq!(frames(&after.0[&new]).len(), 1);
    assert_eq!(Slot::of(&after.0[&new]).unwrap().next, 6, "what was written anew is durable");
    check_goes_on(log, dir.path(), &always(), payload);
    assert_eq!(Image::of(dir.path()).stores(), after.stores(), "the poison is gone with the open that met it");
}

#[test]
fn doubtful_batches_of_several_segments_are_written_anew_as_batches() {
    let dir = Scratch::new();
    let hook = Hook::new();
    let log = hook.run(|| Log::open(dir.path(), &small())).unwrap();
    append(&log, 4, 1);
    log.sync().unwrap();
    // From now on the log's own thread, which syncs full segments, fails.
    let _ = hook.clone().with(Fault::FailFrom { nth: hook.calls(), os_error: EIO });
    // Not so many segments that who appends would have to sync them.
    while log.stat().unwrap().segment_count < 4 {
        let first = log.next_offset();
        let records: Vec<_> = (first..first + 3).map(payload).collect();
        let slices: Vec<_> = records.iter().map(Vec::as_slice).collect();
        if log.append_batch(&slices).is_err() {
            break;
        }
    }
    assert_eq!(until_poisoned(&log).status(), Status::Poisoned);
    let next = log.next_offset();
    let stat = log.stat().unwrap();
    assert!(stat.segment_count >= 2 && stat.durable_offset == 4, "{stat:?}");
    let times = timestamps(&log);
    assert_eq!(log.close().unwrap_err().status(), Status::Poisoned);
    // What the ring holds is found all the same, and every record from the durable one on is in the new segment.
    let log = Log::open(dir.path(), &small()).unwrap();
    check_whole(&log, 0, next);
    assert_eq!(timestamps(&log), times);
    let after = Image::of(dir.path());
    let new = &after.0[&after.last_store()];
    assert_eq!((Header::of(new).base, Header::of(new).epoch), (4, 1));
    let flags: Vec<_> = frames(new).iter().map(|frame| frame.flags & (MORE | SEAL)).collect();
    assert_eq!(flags, [MORE, MORE, 0].repeat((next - 4) as usize / 3), "batches stay batches");
    check_goes_on(log, dir.path(), &small(), payload);
}

#[test]
fn poison_of_another_boot_or_file_is_not_believed() {
    let (dir, log) = poisoned();
    let _ = log.close();
    // A copied directory: the pages of its files are its own.
    let image = Image::of(dir.path());
    let copy = image.place();
    let log = Log::open(copy.path(), &always()).unwrap();
    check_whole(&log, 0, 6);
    assert_eq!(Image::of(copy.path()).stores(), image.stores(), "no new segment");
    drop(log);
    // The machine was started again: what is read now is what the disk holds.
    let live = dir.join("LIVE");
    let mut bytes = std::fs::read(&live).unwrap();
    bytes[16] ^= 1;
    let sum = crc(&bytes[..64]);
    bytes[64..68].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&live, bytes).unwrap();
    let log = Log::open(dir.path(), &always()).unwrap();
    check_whole(&log, 0, 6);
    assert_eq!(Image::of(dir.path()).stores(), image.stores(), "no new segment");
}

#[test]
fn an_open_that_fails_amid_writing_anew_leaves_it_to_the_next_one() {
    for nth in 0.. {
        let (dir, log) = poisoned();
        let _ = log.close();
        let hook = Hook::new().with(Fault::Fail { nth, os_error: EIO });
        let met = hook.run(|| Log::open(dir.path(), &always()));
        let failed = hook.failed() > 0;
        drop(met);
        let log = Log::open(dir.path(), &always()).unwrap();
        check_whole(&log, 0, 6);
        let last = Image::of(dir.path()).last_store();
        assert!(!last.contains("-00000000"), "call {nth}: the doubtful record is in a new segment, not in {last}");
        check_goes_on(log, dir.path(), &always(), payload);
        if !failed {
            assert!(nth > 20);
            break;
        }
    }
}

#[test]
fn a_sync_that_fails_while_a_log_is_recovered_leaves_its_records_in_doubt() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 10, 1);
    let killed = Image::of(dir.path());
    drop(log);
    for nth in 0.. {
        killed.put(dir.path());
        let hook = Hook::new().recording().with(Fault::Fail { nth, os_error: EIO });
        let opened = hook.run(|| Log::open(dir.path(), &small()));
        if hook.failed() == 0 {
            break;
        }
        let op = hook.ops().into_iter().filter(|op| op.kind != Kind::Store).nth(nth as usize).unwrap();
        if op.kind != Kind::SyncFile {
            continue;
        }
        assert_eq!(opened.map(|log| log.next_offset()).unwrap_err().status(), Status::Io);
        if op.file == "LIVE" {
            // The stores were synced before, so nothing is in doubt but what the disk holds of the ring: frames of it
            // that are long dropped could come back at a power loss. So LIVE is written and synced once more.
            let hook = Hook::new().recording();
            let log = hook.run(|| Log::open(dir.path(), &small())).unwrap();
            check_whole(&log, 0, 10);
            let of_live = |op: &&Op| op.file == "LIVE" && matches!(op.kind, Kind::Write | Kind::SyncFile);
            let kinds: Vec<_> = hook.ops().iter().filter(of_live).map(|op| op.kind).collect();
            let synced = kinds.iter().rposition(|kind| *kind == Kind::SyncFile);
            assert!(synced.is_some_and(|at| kinds[..at].contains(&Kind::Write)), "{kinds:?}");
            continue;
        }
        // The page cache shows the records, the disk may not hold them, and a second sync would say that all is well.
        let log = Log::open(dir.path(), &small()).unwrap();
        check_whole(&log, 0, 10);
        let last = Image::of(dir.path()).last_store();
        assert!(last.ends_with("-00000001.store"), "{op:?}: the records are written anew, not just in {last}");
    }
}

#[test]
fn nothing_is_appended_behind_a_seal() {
    // A roll had written the SEAL and could not make the next segment: the disk was full. It left room behind the
    // SEAL for a small record, which was acknowledged there, and which the next recovery, ending at the SEAL, would
    // not have found.
    for os_error in [ENOSPC, EIO] {
        for nth in 0.. {
            let dir = Scratch::new();
            let log = Log::open(dir.path(), &small()).unwrap();
            let long = vec![7; 2000];
            assert_eq!(log.append(&long).unwrap(), 0);
            let hook = Hook::new().with(Fault::Fail { nth, os_error });
            let result = hook.run(|| log.append(&vec![8; 3000]));
            if hook.failed() == 0 {
                assert!(nth > 10, "the second record rolls");
                break;
            }
            let mut next = log.next_offset();
            match &result {
                Ok(offset) => assert_eq!(*offset, 1),
                Err(_) => assert_eq!(next, 1, "call {nth}: what failed is not there"),
            }
            for small in [&b""[..], b"small"] {
                match log.append(small) {
                    Ok(offset) => {
                        assert_eq!(offset, next);
                        next += 1;
                    }
                    Err(error) => {
                        assert_eq!((error.status(), os_error), (Status::Poisoned, EIO), "call {nth}: {error}");
                    }
                }
            }
            for image in [Image::of(dir.path()), {
                let _ = log.close();
                Image::of(dir.path())
            }] {
                let copy = image.place();
                let log = Log::open(copy.path(), &small()).unwrap();
                assert_eq!(log.next_offset(), next, "call {nth}: every acknowledged record is found");
                for store in image.stores().iter().map(|name| &image.0[name]) {
                    let seal = frames(store).into_iter().find(|frame| frame.flags & SEAL != 0);
                    let behind = seal.map_or(store.len(), |seal| seal.end);
                    assert!(store[behind..].iter().all(|byte| *byte == 0), "call {nth}: nothing stands behind a SEAL");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_changes_nothing_and_the_same_call_works_again() {
    // Each way to need space: in the segment, for the next one, for a record that is longer than a segment.
    for (before, len, calls) in [(0, 100, 0), (2000, 3000, 12), (2000, 300_000, 12), (0, 300_000, 6)] {
        let mut full = 0;
        for nth in 0.. {
            let dir = Scratch::new();
            let log = Log::open(dir.path(), &small()).unwrap();
            let mut records = Vec::new();
            if before > 0 {
                records.push(vec![1; before]);
                log.append(&records[0]).unwrap();
            }
            let next = log.next_offset();
            records.push(vec![2; len]);
            let hook = Hook::new().recording().with(Fault::Fail { nth, os_error: ENOSPC });
            let result = hook.run(|| log.append(&records[records.len() - 1]));
            if hook.failed() == 0 {
                break;
            }
            if let Err(error) = result {
                let op = hook.ops().into_iter().filter(|op| op.kind != Kind::Store).nth(nth as usize).unwrap();
                // A large record goes to the store directly; what of it was written must never be taken for a record.
                let direct = op.kind == Kind::Write && error.status() == Status::Io;
                assert!(error.status() == Status::NoSpace || direct, "{op:?}: {error}");
                assert_eq!(log.next_offset(), next);
                if direct {
                    continue;
                }
                full += 1;
                assert_eq!(log.append(&records[records.len() - 1]).unwrap(), next, "{op:?}: the same call works again");
            }
            records.push(b"small".to_vec());
            assert_eq!(log.append(b"small").unwrap(), next + 1);
            log.close().unwrap();
            let log = Log::open(dir.path(), &small()).unwrap();
            check_records(&log, &records);
        }
        assert!(full >= calls, "{full} calls of an append of {len} bytes behind {before} met the full disk");
    }
}

fn check_records(log: &Log, records: &[Vec<u8>]) {
    assert_eq!(log.next_offset(), records.len() as u64);
    for (offset, record) in (0..).zip(records) {
        assert!(log.read(offset, |bytes, _| bytes == record).unwrap(), "wrong data at {offset}");
    }
}
