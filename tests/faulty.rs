//! System calls that fail, and what a kill leaves after them: an append that was refused does not exist, one that was
//! acknowledged is there, whatever failed before it. A kill is a copy of the files as they stand: that is what SIGKILL leaves.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::TempDir;
use seglog::faults::{Fault, Hook, Kind, Op};
use seglog::{Config, Cursor, Log, Status, Sync};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;

/// What SIGKILL leaves of a log whose handle is still open: its files, in a directory of their own.
fn killed(log_dir: &Path, temp: &TempDir) -> PathBuf {
    let copy = temp.join("killed");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(log_dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Everything that should be in the log is, and nothing else: by offset and by cursor.
fn check(log: &Log, records: &[Vec<u8>]) -> Result<(), String> {
    if log.next_offset() != records.len() as u64 {
        return Err(format!("the next offset is {} after {} records", log.next_offset(), records.len()));
    }
    for (offset, record) in (0..).zip(records) {
        match log.read(offset, |payload, _| payload == record) {
            Ok(true) => {}
            Ok(false) => return Err(format!("record {offset} has other bytes")),
            Err(error) => return Err(format!("record {offset}: {error}")),
        }
    }
    let mut cursor = Cursor::open(log, 0).map_err(|error| error.to_string())?;
    for record in records {
        let offset = cursor.offset();
        match cursor.next() {
            Ok(Some(found)) if found.payload == record => {}
            Ok(Some(_)) => return Err(format!("the cursor gave other bytes for record {offset}")),
            Ok(None) => return Err(format!("the cursor ended at {offset}")),
            Err(error) => return Err(format!("the cursor at {offset}: {error}")),
        }
    }
    match cursor.next() {
        Ok(None) => Ok(()),
        other => Err(format!("behind the last record the cursor gave {other:?}")),
    }
}

/// A log that holds these records after a kill, and takes one more.
fn check_killed(log_dir: &Path, temp: &TempDir, config: &Config, records: &[Vec<u8>]) -> Result<(), String> {
    let log = Log::open(killed(log_dir, temp), config).map_err(|error| format!("open after the kill: {error}"))?;
    check(&log, records).map_err(|what| format!("after the kill {what}"))?;
    log.append(b"one more").map(|_| ()).map_err(|error| format!("append after the kill: {error}"))
}

/// Story: a record went through the ring because there was room, whatever its length; readers held that nothing of more than
/// a quarter of the ring can be there, called it damaged, and cursors stepped over it.
#[test]
fn a_large_record_reads_back_at_once_behind_a_small_one() {
    for sync in [Sync::Never, Sync::Always] {
        let temp = TempDir::new("large");
        let config = Config { segment_max_bytes: 8 << 20, sync, ..Config::default() };
        let log = Log::open(temp.join("log"), &config).unwrap();
        let mut records = Vec::new();
        for len in [5, 262_120, 262_128, 262_136, 300_000, 1, 400_000, 9, 500_000, 524_000, 7, 1_100_000, 0, 262_129] {
            log.append(&vec![7; len]).unwrap();
            records.push(vec![7; len]);
            check(&log, &records).unwrap();
        }
        check_killed(&temp.join("log"), &temp, &config, &records).unwrap();
    }
}

/// Story: a roll wrote its SEAL and then could not make the next segment's files; a smaller append that followed still
/// fitted the old segment's room and went behind the SEAL, where no recovery looks.
#[test]
fn an_append_after_a_failed_roll_survives_a_kill() {
    for sync in [Sync::Never, Sync::Always] {
        for os_error in [ENOSPC, EMFILE, EIO] {
            for nth in 0.. {
                let temp = TempDir::new("roll");
                let config = Config { segment_max_bytes: 65536, sync, ..Config::default() };
                let log = Log::open(temp.join("log"), &config).unwrap();
                let mut records = vec![vec![1; 4000]; 15];
                for record in &records {
                    log.append(record).unwrap();
                }
                let hook = Hook::new().with(Fault::Fail { nth, os_error });
                append(&log, &hook, vec![2; 6000], &mut records);
                for n in 0..3 {
                    append(&log, &Hook::new(), vec![n; 10], &mut records);
                }
                let what = format!("{sync:?}, error {os_error} at call {nth}");
                check(&log, &records).unwrap_or_else(|why| panic!("{what}: {why}"));
                check_killed(&temp.join("log"), &temp, &config, &records).unwrap_or_else(|why| panic!("{what}: {why}"));
                if hook.failed() == 0 {
                    break;
                }
            }
        }
    }
}

/// Story: the disk was full in the middle of a batch that goes to the store directly. The frames that it left were taken for the
/// log's when the next writer opened it, and the records that had been acknowledged since were not looked for.
#[test]
fn an_append_after_a_failed_batch_survives_a_kill() {
    for small in [10, 100_000] {
        for nth in 0.. {
            let temp = TempDir::new("batch");
            let config = Config { segment_max_bytes: 2 << 20, sync: Sync::Never, ..Config::default() };
            let log = Log::open(temp.join("log"), &config).unwrap();
            let mut records = vec![vec![1; 4000]; 5];
            for record in &records {
                log.append(record).unwrap();
            }
            let hook = Hook::new().with(Fault::Fail { nth, os_error: ENOSPC });
            append_batch(&log, &hook, vec![vec![2; 100_000]; 6], &mut records);
            for n in 0..3 {
                append(&log, &Hook::new(), vec![n; small], &mut records);
            }
            check(&log, &records).unwrap_or_else(|why| panic!("call {nth}: {why}"));
            check_killed(&temp.join("log"), &temp, &config, &records).unwrap_or_else(|why| panic!("call {nth}: {why}"));
            if hook.failed() == 0 {
                break;
            }
        }
    }
}

/// Story: the last write of a long record, its padding, failed. The append was refused without an offset, and the
/// record stood in the log after the next open.
#[test]
fn a_refused_record_does_not_come_back() {
    for os_error in [EIO, ENOSPC] {
        for nth in 0.. {
            let temp = TempDir::new("refused");
            let config = Config { segment_max_bytes: 2 << 20, sync: Sync::Never, ..Config::default() };
            let log = Log::open(temp.join("log"), &config).unwrap();
            let mut records = vec![b"first".to_vec()];
            log.append(b"first").unwrap();
            let hook = Hook::new().with(Fault::Fail { nth, os_error });
            append(&log, &hook, vec![2; 600_001], &mut records);
            check_killed(&temp.join("log"), &temp, &config, &records)
                .unwrap_or_else(|why| panic!("error {os_error} at call {nth}: {why}"));
            if hook.failed() == 0 {
                break;
            }
        }
    }
}

/// A status that says "nothing was changed, call again" must hold.
#[test]
fn a_full_disk_never_poisons() {
    for nth in 0.. {
        let temp = TempDir::new("no-space");
        let config = Config { segment_max_bytes: 65536, sync: Sync::Never, ..Config::default() };
        let log = Log::open(temp.join("log"), &config).unwrap();
        for _ in 0..15 {
            log.append(&[1; 4000]).unwrap();
        }
        let hook = Hook::new().with(Fault::Fail { nth, os_error: ENOSPC });
        match hook.run(|| log.append(&[2; 6000])) {
            Err(error) if error.status() == Status::NoSpace => {
                log.append(&[2; 6000]).unwrap_or_else(|next| panic!("call {nth}: {error}, and then: {next}"));
            }
            Err(error) => panic!("call {nth}: {error}"),
            Ok(_) => {}
        }
        if hook.failed() == 0 {
            break;
        }
    }
}

/// Appends under the hook; the record counts where it was acknowledged, or said to exist.
fn append(log: &Log, hook: &Hook, record: Vec<u8>, records: &mut Vec<Vec<u8>>) -> Option<Status> {
    count(hook.run(|| log.append(&record)), vec![record], records)
}

fn append_batch(log: &Log, hook: &Hook, batch: Vec<Vec<u8>>, records: &mut Vec<Vec<u8>>) -> Option<Status> {
    let parts: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
    let appended = hook.run(|| log.append_batch(&parts));
    count(appended, batch, records)
}

fn count(appended: seglog::Result<u64>, batch: Vec<Vec<u8>>, records: &mut Vec<Vec<u8>>) -> Option<Status> {
    let (offset, status) = match appended {
        Ok(offset) => (Some(offset), None),
        Err(error) => (error.detail().published, Some(error.status())),
    };
    if let Some(offset) = offset {
        assert_eq!(offset, records.len() as u64);
        records.extend(batch);
    }
    status
}

/// Marsaglia's xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn record(&mut self) -> Vec<u8> {
        let len = match self.below(20) {
            0 => 0,
            1..=9 => self.below(100),
            10..=16 => self.below(3000),
            17 | 18 => self.below(70_000),
            _ => 200_000 + self.below(200_000),
        };
        vec![self.below(256) as u8; len as usize]
    }
}

/// A log that is opened three times under random faults, each time with random appends, reads and syncs, and a kill.
fn random_faults(seed: u64, temp: &TempDir) -> Result<u64, String> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let config = Config {
        segment_max_bytes: [4096, 65536, 65536, 1 << 20, 3 << 20][random.below(5) as usize],
        index_max_bytes: if random.below(4) == 0 { 64 } else { 0 },
        sync: if random.below(2) == 0 { Sync::Always } else { Sync::Never },
        ..Config::default()
    };
    let dir = temp.join(format!("log-{seed}"));
    let mut records = Vec::new();
    let mut failed = 0;
    for _ in 0..3 {
        let mut hook = Hook::new();
        for _ in 0..=random.below(3) {
            let os_error = [EIO, ENOSPC, EMFILE, ENOMEM, EDQUOT, EROFS, EACCES][random.below(7) as usize];
            hook = hook.with(Fault::Fail { nth: random.below(250), os_error });
        }
        let mut story = String::new();
        let log = match hook.run(|| Log::open(&dir, &config)) {
            Ok(log) => log,
            Err(error) if matches!(error.status(), Status::Corrupt | Status::Bug) => return Err(error.to_string()),
            Err(_) => Log::open(&dir, &config).map_err(|error| format!("open after a failed open: {error}"))?,
        };
        check(&log, &records).map_err(|what| format!("reopened: {what}"))?;
        for _ in 0..60 {
            let status = match random.below(9) {
                0..=5 => append(&log, &hook, random.record(), &mut records),
                6 | 7 => {
                    let batch = (0..=random.below(11)).map(|_| random.record()).collect();
                    append_batch(&log, &hook, batch, &mut records)
                }
                _ => hook.run(|| log.sync()).err().map(|error| error.status()),
            };
            if let Some(status) = status.filter(|status| *status != Status::Poisoned) {
                let _ = write!(story, " {status:?} at {}", records.len());
            }
        }
        failed += hook.failed();
        check(&log, &records).map_err(|what| format!("{what};{story}"))?;
        let payload_bytes = records.iter().map(|record| record.len() as u64).sum::<u64>();
        let stat = log.stat().map_err(|error| error.to_string())?;
        if stat.payload_bytes != payload_bytes {
            return Err(format!("{} payload bytes, not {payload_bytes};{story}", stat.payload_bytes));
        }
        check_killed(&dir, temp, &config, &records).map_err(|what| format!("{what};{story}"))?;
        let _ = log.close();
    }
    fs::remove_dir_all(&dir).unwrap();
    Ok(failed)
}

#[test]
fn random_faults_lose_nothing_acknowledged_and_leave_nothing_refused() {
    let seeds = if std::env::var_os("SEGLOG_CAMPAIGN").is_some() { 3000 } else { 30 };
    let temp = TempDir::new("random-faults");
    let failed: u64 =
        (1..=seeds).map(|seed| random_faults(seed, &temp).unwrap_or_else(|why| panic!("seed {seed}: {why}"))).sum();
    assert!(failed > seeds, "only {failed} calls failed");
}

/// Story: `Log::stat` read the next offset first and the durable one last, while others appended.
#[test]
fn durable_offset_never_passes_next_offset() {
    let temp = TempDir::new("stat");
    let log = Log::open(temp.join("log"), &Config { segment_max_bytes: 1 << 20, ..Config::default() }).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    log.append(b"x").unwrap();
                }
            });
        }
        let wrong = (0..20_000).map(|_| log.stat().unwrap()).find(|stat| stat.durable_offset > stat.next_offset);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
    });
}

/// Whether these calls, in their order, made the records of this store below `end` durable, and its name.
fn is_synced(ops: &[Op], store: &str, end: u64) -> Result<(), &'static str> {
    let named = ops.iter().position(|op| op.kind == Kind::Rename && op.file == store).ok_or("it has no name")?;
    if !ops[named..].iter().any(|op| op.kind == Kind::SyncDir && op.file.is_empty()) {
        return Err("its name was not synced");
    }
    let touches = |op: &Op| op.kind == Kind::Write && op.file == store && (4096..end).contains(&op.at);
    let written = ops.iter().rposition(touches).ok_or("it was not written")?;
    // A write-back of a range has a length, and is no sync of the file.
    let synced = ops[written..].iter().any(|op| op.kind == Kind::SyncFile && op.file == store);
    if synced { Ok(()) } else { Err("it was not synced behind its last write") }
}

/// The order of calls is that in which they began, so this sees a sync that is missing, not one that is too early.
#[test]
fn durable_offset_passes_no_store_or_name_that_was_not_synced() {
    let temp = TempDir::new("durable");
    let config = Config { segment_max_bytes: 4096, sync: Sync::Never, ..Config::default() };
    let hook = Hook::new().recording();
    let log = hook.run(|| Log::open(temp.join("log"), &config)).unwrap();
    let mut passed = 0;
    for n in 0..700_u64 {
        hook.run(|| log.append(&[7; 100])).unwrap();
        if n % 97 == 50 {
            hook.run(|| log.sync()).unwrap();
        }
        let durable = log.stat().unwrap().durable_offset;
        let ops = hook.ops();
        let stores = ops.iter().filter(|op| op.kind == Kind::Rename && op.file.ends_with(".store"));
        for store in stores.map(|op| op.file.as_str()) {
            let base: u64 = store[..20].parse().unwrap();
            if base < durable {
                // A frame of 100 bytes takes 120.
                let end = 4096 + (120 * (durable - base)).min(4096);
                is_synced(&ops, store, end).unwrap_or_else(|why| panic!("{durable} is durable, but {store}: {why}"));
                passed += 1;
            }
        }
    }
    assert!(passed > 700, "only {passed} stores were ever durable");
}

#[test]
fn a_failure_that_ends_a_handle_says_so_whatever_it_was() {
    let temp = TempDir::new("last-words");
    let large = vec![7; 600_000];
    for os_error in [EIO, ENOMEM, EACCES, EMFILE, EROFS] {
        let mut ended = 0;
        for nth in 0.. {
            let config = Config { sync: Sync::Always, ..Config::default() };
            let log = Log::open(temp.join(format!("{os_error}-{nth}")), &config).unwrap();
            log.append(b"before").unwrap();
            let hook = Hook::new().with(Fault::Fail { nth, os_error });
            let result = hook.run(|| log.append(&large));
            if hook.failed() == 0 {
                break;
            }
            let Err(error) = result else { continue };
            if let Err(next) = log.append(b"behind") {
                assert_eq!(next.status(), Status::Poisoned, "{next}");
                assert!(error.to_string().ends_with("close and open the log again"), "call {nth}, {os_error}: {error}");
                ended += 1;
            }
        }
        assert!(ended > 0, "no failure {os_error} ended the handle");
    }
}
