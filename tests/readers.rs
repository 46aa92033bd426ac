//! Readers that wait, in processes of their own, beside a writer at full speed in another one that rolls, whose old
//! segments are taken by retention, that trims, truncates and resets, closes and is killed. Readers start, stop and are
//! killed at random. Each proves that it sees every record that it should: in order, byte for byte, none left out but what
//! was taken away meanwhile, none of before a cut once it has seen one of behind it. All the time the segments take no
//! more on the disk than retention allows.
//! And the same where the reader may not write the log: `setpriv`, and a mount that is read-only.
//!
//! `SEGLOG_READERS_SECONDS` sets how long (8); `make campaign-follow` takes a minute.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what the other process says")]

mod common;
mod others;

use common::TempDir;
use others::{Other, Random, quick, reading};
use seglog::{Config, Cursor, Log, Status, Waited};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

// --- records ---------------------------------------------------------------------------------------------------------

fn record(offset: u64, version: u64) -> Vec<u8> {
    others::record(offset, version, |random| 16 + random.below(200) as usize)
}

/// The version of a record that must be the one of this offset, with its exact bytes.
fn version_of(payload: &[u8], offset: u64) -> u64 {
    others::version_of(payload, offset, record)
}

// --- the other processes ---------------------------------------------------------------------------------------------

/// What the other processes run; no test of its own.
#[test]
#[ignore = "started by the tests"]
fn the_other_process() {
    let Some((verb, dir, seed)) = others::asked() else { return };
    match verb.as_str() {
        "write" => write_on(&dir, seed),
        "read" => read_on(&dir, seed),
        "hear one" => hear_one(&dir),
        "sleep" => sleep_for(&dir, seed),
        other => panic!("no verb {other}"),
    }
}

/// Sets a flag when standard input ends: the one who started this asks it to end.
fn asked_to_end() -> &'static AtomicBool {
    static ASKED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        ASKED.store(true, Ordering::Relaxed);
    });
    &ASKED
}

/// Words beside the log: how many cuts were begun, which is the version of all records from then on, how many records
/// retention has taken, as far as the writer has seen it, and the version whose cut has ended.
struct Beside(fs::File);

impl Beside {
    const VERSION: u64 = 0;
    const TAKEN: u64 = 8;
    const ENDED: u64 = 16;

    fn create(dir: &Path) -> Self {
        fs::write(dir.with_extension("beside"), [0; 24]).unwrap();
        Self::open(dir)
    }

    fn open(dir: &Path) -> Self {
        Self(fs::OpenOptions::new().read(true).write(true).open(dir.with_extension("beside")).unwrap())
    }

    fn get(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, at).unwrap();
        u64::from_le_bytes(word)
    }

    fn set(&self, at: u64, word: u64) {
        self.0.write_all_at(&word.to_le_bytes(), at).unwrap();
    }

    fn add(&self, at: u64, count: u64) -> u64 {
        let sum = self.get(at) + count;
        self.set(at, sum);
        sum
    }

    /// The version, and whether no cut is on.
    fn version(&self) -> (u64, bool) {
        let ended = self.get(Self::ENDED);
        let version = self.get(Self::VERSION);
        (version, ended == version)
    }
}

const RETAIN_BYTES: u64 = 2 << 20;
const SEGMENTS: [u64; 3] = [64 << 10, 256 << 10, 512 << 10];

/// Appends as fast as it can, rolls, is cleaned up behind, trims, and now and then cuts, closes and opens again. Before each
/// cut it counts the version up, which is kept beside the log.
fn write_on(dir: &Path, seed: u64) {
    let beside = Beside::open(dir);
    let end = asked_to_end();
    let mut random = Random::new(seed);
    let mut version = beside.add(Beside::VERSION, 1);
    while !end.load(Ordering::Relaxed) {
        let config = Config { retain_bytes: RETAIN_BYTES, ..quick(SEGMENTS[random.below(3) as usize]) };
        let log = Log::open(dir, &config).unwrap();
        beside.set(Beside::ENDED, version);
        println!("begun .");
        let mut first = log.first_offset();
        for _ in 0..random.below(400) {
            let next = log.next_offset();
            let there = next - log.first_offset();
            let mut own = false;
            match random.below(60) {
                0 => {
                    version = beside.add(Beside::VERSION, 1);
                    log.truncate(next - random.below(there.min(500) + 1)).unwrap();
                    beside.set(Beside::ENDED, version);
                }
                1 if random.below(4) == 0 => {
                    version = beside.add(Beside::VERSION, 1);
                    log.reset((next + 50).saturating_sub(random.below(100))).unwrap();
                    beside.set(Beside::ENDED, version);
                    own = true;
                }
                2 => {
                    log.trim(next - random.below(there.min(20_000) + 1)).unwrap();
                    own = true;
                }
                3 => std::thread::sleep(Duration::from_millis(random.below(20))),
                4..12 => {
                    let batch: Vec<_> = (next..next + 100).map(|offset| record(offset, version)).collect();
                    log.append_batch(&batch.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
                }
                _ => {
                    for offset in next..next + random.below(2000) {
                        assert_eq!(log.append(&record(offset, version)).unwrap(), offset);
                    }
                }
            }
            if !own && log.first_offset() > first {
                beside.add(Beside::TAKEN, log.first_offset() - first);
            }
            first = log.first_offset();
        }
        log.close().unwrap();
    }
    println!("ended .");
}

/// Follows the log from some place on and waits at its end, until it is asked to end or killed.
fn read_on(dir: &Path, seed: u64) {
    let beside = Beside::open(dir);
    let end = asked_to_end();
    let mut random = Random::new(seed);
    let mut known = beside.version();
    let (log, mut cursor) = loop {
        let log = Log::open(dir, &reading()).unwrap();
        let from = if random.below(2) == 0 { log.first_offset() } else { log.next_offset() };
        // It may have been cut or trimmed since it was asked.
        if let Ok(cursor) = Cursor::open(&log, from) {
            break (log, cursor);
        }
    };
    println!("begun .");
    let (mut read, mut waited, mut last, mut passed) = (0_u64, 0_u64, 0, 0_u64);
    while !end.load(Ordering::Relaxed) {
        let expected = cursor.offset();
        let status = match cursor.next() {
            Ok(Some(record)) => {
                assert_eq!(record.offset, expected, "a record was left out");
                let version = version_of(record.payload, expected);
                assert!(version >= last, "record {expected} has version {version}, one before it had {last}");
                last = version;
                read += 1;
                continue;
            }
            Ok(None) => {
                waited += 1;
                match cursor.wait(Some(Duration::from_millis(1 + random.below(100)))) {
                    Ok(Waited::There) => continue,
                    Ok(Waited::TimeUp) => None,
                    Ok(Waited::Closed) => panic!("a reader's cursor goes on"),
                    Err(error) => Some(error.status()),
                }
            }
            Err(error) => Some(error.status()),
        };
        // What was removed is explained by where the log begins and ends now; or else a cut was on meanwhile, behind which
        // it may begin before that, or have grown again.
        let (first, next) = (log.first_offset(), log.next_offset());
        let version = beside.version();
        let uncut = known == (version.0, true);
        known = version;
        match status {
            None => assert!(!uncut || expected <= next, "it waits at {expected}, and the log ends at {next}"),
            Some(Status::Trimmed) => assert!(!uncut || expected < first, "record {expected} is there: {first}.."),
            Some(Status::Beyond) => assert!(!uncut, "record {expected} went without a cut: {first}..{next}"),
            Some(other) => panic!("{other:?} at {expected}"),
        }
        if expected < first || expected > next {
            passed += first.saturating_sub(expected);
            let _ = cursor.seek(if expected < first { first } else { next });
        }
    }
    println!("ended {read} {waited} {passed}");
}

/// Says where the log ends, then waits for a record there, and says what it has heard.
fn hear_one(dir: &Path) {
    let log = Log::open(dir, &reading()).unwrap();
    let next = log.next_offset();
    println!("begun {next}");
    assert!(log.wait(next, Some(Duration::from_secs(60))).unwrap());
    println!("heard {}", log.read(next, |payload, _| version_of(payload, next)).unwrap());
}

/// Waits so many milliseconds for what nobody appends, by a cursor, between two words that stand in a trace of this
/// process.
fn sleep_for(dir: &Path, milliseconds: u64) {
    let log = Log::open(dir, &reading()).unwrap();
    let mut cursor = Cursor::open(&log, log.next_offset()).unwrap();
    println!("begun .");
    assert_eq!(cursor.wait(Some(Duration::from_millis(milliseconds))).unwrap(), Waited::TimeUp);
    println!("ended .");
}

// --- tests -----------------------------------------------------------------------------------------------------------

/// What the segments take on the disk, measured until it is asked to stop: the most. A look during which files came, went or
/// were renamed does not count: it saw some of them before that and some behind it.
fn most_on_disk(dir: &Path, stop: &AtomicBool) -> u64 {
    let names = || {
        let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        entries.map(|entry| entry.file_name()).filter(|name| name != "LIVE" && name != "START").collect::<BTreeSet<_>>()
    };
    let mut most = 0;
    while !stop.load(Ordering::Acquire) {
        let before = names();
        let metas = before.iter().filter_map(|name| fs::metadata(dir.join(name)).ok());
        let bytes: u64 = metas.map(|meta| meta.blocks() * 512).sum();
        if before == names() {
            most = most.max(bytes);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}

#[test]
fn readers_that_come_and_go_see_every_record_beside_a_writer_that_does_all() {
    let seconds = std::env::var("SEGLOG_READERS_SECONDS").map_or(8, |number| number.parse().unwrap());
    let temp = TempDir::new("readers");
    let dir = temp.join("log");
    let beside = Beside::create(&dir);
    let stop = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let measured = scope.spawn(|| most_on_disk(&dir, &stop));
        let done = std::panic::catch_unwind(|| come_and_go(&dir, Duration::from_secs(seconds), &beside));
        stop.store(true, Ordering::Release);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        measured.join().unwrap()
    });
    // A store has its first page, and a sixteenth of it more is its index.
    let allowed = RETAIN_BYTES + 2 * (SEGMENTS[2] + SEGMENTS[2] / 16 + (8 << 10));
    println!("{most} of {allowed} bytes on the disk; retention took {} records", beside.get(Beside::TAKEN));
    assert!(most <= allowed, "{most} bytes on the disk, {allowed} are allowed");
    // What is left is whole, and no reader left anything in the directory.
    let log = Log::open(&dir, &quick(1 << 20)).unwrap();
    for offset in log.first_offset()..log.next_offset() {
        log.read(offset, |payload, _| version_of(payload, offset)).unwrap();
    }
    log.close().unwrap();
    for entry in fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let own = name.ends_with(".store") || name.ends_with(".index") || ["LIVE", "START", "lost"].contains(&&*name);
        assert!(own, "{name} was left");
    }
}

/// A writer and four readers, for so long; on a busy machine until that has come to something.
fn come_and_go(dir: &Path, time: Duration, beside: &Beside) {
    const READERS: usize = 4;
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = Random::new(seed);
    let mut writer = Other::start("write", dir, random.next());
    writer.wait_for("begun");
    let start = |random: &mut Random| Other::start("read", dir, random.next());
    let mut readers: Vec<_> = (0..READERS).map(|_| start(&mut random)).collect();
    let begun = Instant::now();
    let (mut killed, mut stopped, mut writers, mut sums) = (0, 0, 1, [0; 3]);
    let end = |reader: &mut Other, sums: &mut [u64; 3]| {
        let status = reader.stop();
        assert!(status.success(), "seed {seed}: a reader failed: {status}");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut reader.says, &mut rest).unwrap();
        let (_, counts) = rest.split_once("ended ").unwrap();
        for (sum, count) in sums.iter_mut().zip(counts.split_whitespace()) {
            *sum += count.parse::<u64>().unwrap();
        }
    };
    let is_something = |[read, waited, _]: [u64; 3]| read > 1000 && waited > 10 && beside.get(Beside::TAKEN) > 1000;
    while begun.elapsed() < if is_something(sums) { time } else { common::TIME_OUT } {
        std::thread::sleep(Duration::from_millis(20 + random.below(300)));
        let n = random.below(READERS as u64) as usize;
        if random.below(2) == 0 {
            let status = readers[n].kill();
            // It may have come to its end by itself, which it must not.
            assert_eq!(status.signal(), Some(9), "seed {seed}: a reader failed: {status}");
            killed += 1;
        } else {
            end(&mut readers[n], &mut sums);
            stopped += 1;
        }
        readers[n] = start(&mut random);
        if random.below(6) == 0 {
            let status = writer.kill();
            assert_eq!(status.signal(), Some(9), "seed {seed}: the writer failed: {status}");
            std::thread::sleep(Duration::from_millis(random.below(100)));
            writer = Other::start("write", dir, random.next());
            writers += 1;
        }
    }
    let status = writer.stop();
    assert!(status.success(), "seed {seed}: the writer failed: {status}");
    for reader in &mut readers {
        end(reader, &mut sums);
    }
    let [read, waited, passed] = sums;
    println!("seed {seed}: {read} records read, {passed} that were gone, {waited} waits");
    println!("{killed} readers killed, {stopped} stopped, {writers} writers");
    assert!(
        is_something(sums),
        "it came to nothing: {read} records, {waited} waits, {} taken",
        beside.get(Beside::TAKEN)
    );
}

/// A reader that was killed in its sleep leaves one word, which costs the writer one wake-up for nobody; and nobody else
/// sleeps longer for it.
#[test]
fn a_sleeper_that_is_killed_disturbs_nobody() {
    let temp = TempDir::new("readers");
    let dir = temp.join("log");
    let log = Log::open(&dir, &quick(1 << 20)).unwrap();
    for round in 0..5_u64 {
        log.append(&record(2 * round, 0)).unwrap();
        let mut killed = Other::start("hear one", &dir, 0);
        let mut other = Other::start("hear one", &dir, 0);
        assert_eq!(killed.wait_for("begun"), (2 * round + 1).to_string());
        other.wait_for("begun");
        std::thread::sleep(Duration::from_millis(100));
        killed.kill();
        log.append(&record(2 * round + 1, 7)).unwrap();
        assert_eq!(other.wait_for("heard"), "7");
        assert!(other.stop().success());
    }
    log.close().unwrap();
}

/// Ten seconds in which nobody appends are under twenty system calls of who waits, whether a writer is there or not; of
/// who may set no alarm, the last ten of fifteen.
#[test]
fn a_wait_with_nobody_appending_makes_hardly_a_system_call() {
    if !common::have("strace") {
        return;
    }
    let temp = TempDir::new("readers");
    let trace = |name: &str| temp.join(format!("{name}.trace"));
    let reads_only = "where it may only read";
    let started = ["beside a writer", "without a writer", reads_only].map(|name| {
        let dir = temp.join(name);
        let log = Log::open(&dir, &quick(64 << 10)).unwrap();
        log.append(&record(0, 0)).unwrap();
        let log = if name == "without a writer" { log.close().map(|()| None).unwrap() } else { Some(log) };
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-ttt", "-o"]).arg(trace(name));
        let program = std::env::current_exe().unwrap();
        let (seen, milliseconds) = if name != reads_only {
            strace.arg(program);
            (dir, 10_000)
        } else if let Some(mount) = ReadOnlyMount::of(&temp, &dir) {
            let command = mount.command(&program);
            strace.arg(command.get_program()).args(command.get_args());
            (mount.seen, 15_000)
        } else {
            return (name, log, None);
        };
        (name, log, Some(Other::start_by(strace, "sleep", &seen, milliseconds)))
    });
    for (name, log, sleeper) in started {
        let Some(mut sleeper) = sleeper else { continue };
        sleeper.wait_for("ended");
        assert!(sleeper.stop().success());
        drop(log);
        let text = fs::read_to_string(trace(name)).unwrap();
        let between = text.split_once("begun .").unwrap().1.split_once("ended .").unwrap().0;
        // The first line is what is left of the write, the last one the begin of the other.
        let lines: Vec<&str> = between.lines().skip(1).collect();
        let times = lines.iter().map(|line| line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap());
        let times: Vec<f64> = times.collect();
        let (end, before) = times.split_last().unwrap();
        let calls = before.iter().filter(|time| name != reads_only || end - *time < 10.0).count();
        println!("{name}: {calls} system calls, {} in all", before.len());
        assert!((1..20).contains(&calls), "{name}: {calls} system calls:\n{between}");
    }
}

/// Who may only read the log's files waits all the same: it looks by itself, and a writer that is killed and one that
/// comes are the same to it.
#[test]
fn a_reader_of_another_user_waits() {
    if !common::is_root() || !common::have("setpriv") {
        common::skip("only root can be another user");
        return;
    }
    let temp = TempDir::new("readers");
    // That user must reach the log, and this very program.
    let program = temp.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let dir = temp.join("log");
    let log = Log::open(&dir, &quick(64 << 10)).unwrap();
    log.append(&record(0, 0)).unwrap();
    for path in [temp.path(), &dir, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for entry in fs::read_dir(&dir).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o644)).unwrap();
    }
    hears(&log, || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        (command, dir.clone())
    });
    log.close().unwrap();
}

/// Where the log is mounted read-only, root itself may not set the alarm.
#[test]
fn a_reader_of_a_read_only_mount_waits() {
    let temp = TempDir::new("readers");
    let dir = temp.join("log");
    let log = Log::open(&dir, &quick(64 << 10)).unwrap();
    log.append(&record(0, 0)).unwrap();
    let Some(mount) = ReadOnlyMount::of(&temp, &dir) else { return };
    hears(&log, || (mount.command(&std::env::current_exe().unwrap()), mount.seen.clone()));
    log.close().unwrap();
}

/// A directory, mounted a second time where it can only be read, for each command that is run so.
struct ReadOnlyMount {
    dir: PathBuf,
    seen: PathBuf,
}

impl ReadOnlyMount {
    fn of(temp: &TempDir, dir: &Path) -> Option<Self> {
        let mount = Self { dir: dir.to_owned(), seen: temp.join("seen") };
        fs::create_dir(&mount.seen).unwrap();
        if !mount.command(Path::new("true")).output().is_ok_and(|done| done.status.success()) {
            common::skip("cannot mount");
            return None;
        }
        let touched = mount.command(Path::new("touch")).arg(mount.seen.join("x")).output().unwrap();
        assert!(!touched.status.success(), "it can be written");
        Some(mount)
    }

    fn command(&self, program: &Path) -> Command {
        let mount = "mount --bind \"$1\" \"$2\" && mount -o remount,bind,ro \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if !common::is_root() {
            command.arg("--map-root-user");
        }
        command.args(["sh", "-c", mount, "sh"]).arg(&self.dir).arg(&self.seen).arg(program);
        command
    }
}

/// One that is started so hears of a record that is appended while it waits; it has not set the alarm.
fn hears(log: &Log, by: impl Fn() -> (Command, PathBuf)) {
    for _ in 0..3 {
        let next = log.next_offset();
        let (command, dir) = by();
        let mut reader = Other::start_by(command, "hear one", &dir, 0);
        assert_eq!(reader.wait_for("begun"), next.to_string());
        std::thread::sleep(Duration::from_millis(60));
        let begun = Instant::now();
        log.append(&record(next, 5)).unwrap();
        assert_eq!(reader.wait_for("heard"), "5");
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
        assert!(reader.stop().success());
    }
}
