//! What others do to a log's files and its process while it is open: a writer that is stopped while its lock file is taken away, files
//! that are cut, deleted or replaced by anything, a directory that is copied, moved, or restored from an old copy, a clock
//! that jumps back. Each answer is a status in one sentence, never a crash, a hang or wrong bytes, and no record that another
//! writer acknowledged is overwritten.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Profile, TempDir};
use seglog::{Config, Cursor, Log, Status, Sync};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SIGBUS: i32 = 7;
const SEGMENT: u64 = 8192;

fn record(offset: u64) -> Vec<u8> {
    (0..38).flat_map(|n: u64| offset.wrapping_mul(1_000_003).wrapping_add(n).to_le_bytes()).collect()
}

fn config(sync: Sync) -> Config {
    Config { sync, segment_max_bytes: SEGMENT, ..Config::default() }
}

fn append(log: &Log, count: u64) {
    for _ in 0..count {
        let next = log.next_offset();
        assert_eq!(log.append(&record(next)).unwrap(), next);
    }
}

fn check_whole(log: &Log, next: u64) {
    assert_eq!((log.first_offset(), log.next_offset()), (0, next));
    let mut cursor = Cursor::open(log, 0).unwrap();
    for offset in 0..next {
        log.read(offset, |bytes, _| assert!(bytes == record(offset), "record {offset}")).unwrap();
        assert!(cursor.next().unwrap().unwrap().payload == record(offset));
    }
}

/// `tests/c/commands.c`: a log in a process of its own, that does what it is told.
struct Other {
    child: Child,
    said: BufReader<ChildStdout>,
    /// What it answered to the open.
    opened: String,
}

impl Other {
    fn program() -> &'static Path {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        PROGRAM.get_or_init(|| {
            let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands");
            let linking = common::shared_flags(common::library_dir_of(Profile::Release));
            let mut flags = vec!["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-g", "-pthread"];
            flags.extend(linking.iter().map(String::as_str));
            common::compile_c(&[&common::path("tests/c/commands.c")], &flags, &out);
            out
        })
    }

    fn start(dir: &Path, sync: u32, io: u32) -> Self {
        Self::start_with(Command::new(Self::program()), dir, sync, io)
    }

    fn start_with(mut command: Command, dir: &Path, sync: u32, io: u32) -> Self {
        command.arg(dir).args([sync, io, 0].map(|number| number.to_string())).arg(SEGMENT.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut other = Self { child, said, opened: String::new() };
        other.opened = other.answer();
        other
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert!(!line.starts_with("WRONG"), "{line}");
        line.trim_end().to_owned()
    }

    /// What it answers to this; nothing where it has died.
    fn tell(&mut self, command: &str) -> String {
        let _ = writeln!(self.child.stdin.as_ref().unwrap(), "{command}");
        self.answer()
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// By which signal it died, if it did.
    fn died_by(&mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().signal()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// --- two writers -----------------------------------------------------------------------------------------------------

/// A writer was stopped for so long that somebody took its lock file away, and another one opened the log. When it went on, it wrote its
/// frames over the other's, which had been acknowledged as durable, and said `LOG_OK`.
#[test]
fn a_stopped_writer_whose_lock_file_was_removed_overwrites_nothing() {
    for sync in [0, 2] {
        for how in ["removed", "replaced"] {
            let temp = TempDir::new("meddled");
            let dir = temp.join("log");
            let mut first = Other::start(&dir, sync, 0);
            assert_eq!(first.opened, "LOG_OK 0");
            assert_eq!(first.tell("append 10"), "LOG_OK 10");
            assert_eq!(first.tell("sync"), "LOG_OK 0");
            first.signal("STOP");
            if how == "removed" {
                fs::remove_file(dir.join("LIVE")).unwrap();
            } else {
                fs::write(dir.join("new"), b"").unwrap();
                fs::rename(dir.join("new"), dir.join("LIVE")).unwrap();
            }
            let second = Log::open(&dir, &config(Sync::Always)).unwrap();
            append(&second, 40);
            first.signal("CONT");
            let mut said = first.tell("append 1");
            if sync == 2 {
                // Into its own memory; it may not reach the files.
                said = first.tell("sync");
            }
            assert!(said.starts_with("LOG_E_IO") && said.contains("LIVE"), "{said}");
            assert!(first.tell("append 100").starts_with("LOG_E_POISONED"));
            assert!(first.tell("truncate 3").starts_with("LOG_E_POISONED"));
            assert!(first.tell("close").starts_with("LOG_E_POISONED"));
            check_whole(&second, 50);
            append(&second, 40);
            second.close().unwrap();
            let log = Log::open(&dir, &config(Sync::Always)).unwrap();
            check_whole(&log, 90);
        }
    }
}

/// `LIVE` is replaced after a writer has opened it and before he locks it: he must not lock a file that nobody else sees.
#[test]
fn a_live_that_is_replaced_before_it_is_locked_is_not_taken() {
    if !common::have("strace") {
        return;
    }
    for io in [1, 2] {
        // Where the machine kept this process waiting for longer than that, he had locked it before.
        assert!((0..20).any(|_| replaces_live_in_time(io)), "never in time");
    }
}

/// The test, with files that are mapped or not. `false` where LIVE was locked before it was replaced: that tells
/// nothing.
fn replaces_live_in_time(io: u32) -> bool {
    let temp = TempDir::new("meddled");
    let dir = temp.join("log");
    append(&Log::open(&dir, &config(Sync::Always)).unwrap(), 10);
    let old = fs::metadata(dir.join("LIVE")).unwrap().ino();
    let mut command = Command::new("strace");
    // Its first lock comes a second late.
    command.args(["-f", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:delay_enter=1000000:when=1"]);
    command.arg(Other::program());
    let opens = thread::spawn({
        let dir = dir.clone();
        move || Other::start_with(command, &dir, 0, io)
    });
    let begun = Instant::now();
    while !has_open(&dir.join("LIVE")) {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(2));
    }
    fs::write(dir.join("new"), b"").unwrap();
    fs::rename(dir.join("new"), dir.join("LIVE")).unwrap();
    let was_locked = is_locked(old);
    let mut other = opens.join().unwrap();
    if was_locked {
        return false;
    }
    assert_eq!(other.opened, "LOG_OK 10");
    assert_ne!(fs::metadata(dir.join("LIVE")).unwrap().ino(), old);
    assert_eq!(Log::open(&dir, &config(Sync::Always)).err().unwrap().status(), Status::Locked);
    assert_eq!(other.tell("append 10"), "LOG_OK 20");
    assert_eq!(other.tell("close"), "LOG_OK 0");
    check_whole(&Log::open(&dir, &config(Sync::Always)).unwrap(), 20);
    true
}

/// Whether the kernel tells of a lock on a file of this inode.
fn is_locked(inode: u64) -> bool {
    let is_inode = |word: &str| word.parse() == Ok(inode);
    fs::read_to_string("/proc/locks").unwrap().lines().any(|line| line.split([' ', ':']).any(is_inode))
}

/// Whether any process but this one has the file open.
fn has_open(path: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let others = processes.filter(|process| process.file_name() != Some(std::process::id().to_string().as_ref()));
    let files = others.filter_map(|process| fs::read_dir(process.join("fd")).ok()).flatten();
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|file| file == path))
}

#[test]
fn a_stopped_writer_keeps_its_lock() {
    let temp = TempDir::new("meddled");
    let dir = temp.join("log");
    let mut first = Other::start(&dir, 0, 0);
    assert_eq!(first.tell("append 10"), "LOG_OK 10");
    first.signal("STOP");
    assert_eq!(Log::open(&dir, &config(Sync::Always)).err().unwrap().status(), Status::Locked);
    first.signal("CONT");
    assert_eq!(first.tell("append 10"), "LOG_OK 20");
    first.signal("KILL");
    let _ = first.died_by();
    check_whole(&Log::open(&dir, &config(Sync::Always)).unwrap(), 20);
}

// --- the directory ---------------------------------------------------------------------------------------------------

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // What is gone by now, or what is a folder, is not copied.
        let _ = fs::copy(entry.path(), to.join(entry.file_name()));
    }
}

#[test]
fn a_directory_that_was_copied_while_it_was_written_is_a_prefix_or_says_that_it_is_damaged() {
    for sync in [Sync::Always, Sync::Never] {
        let temp = TempDir::new("meddled");
        let dir = temp.join("log");
        let log = Log::open(&dir, &config(sync)).unwrap();
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    append(&log, 1);
                    if log.next_offset().is_multiple_of(64) {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
            let mut whole = 0;
            for n in 0..20 {
                let copy = temp.join(format!("copy-{n}"));
                let before = log.stat().unwrap().durable_offset;
                copy_dir(&dir, &copy);
                match Log::open(&copy, &config(sync)) {
                    Ok(log) => {
                        whole += 1;
                        let next = log.next_offset();
                        let lost = (0..next).filter(|offset| {
                            let read =
                                log.read(*offset, |bytes, _| assert!(bytes == record(*offset), "record {offset}"));
                            assert!(
                                read.as_ref().err().is_none_or(|error| error.status() == Status::Corrupt),
                                "{read:?}"
                            );
                            read.is_err()
                        });
                        let lost = lost.count() as u64;
                        assert!(
                            next - lost >= before.min(next),
                            "{lost} of {next} cannot be read, {before} were durable"
                        );
                        append(&log, 1);
                        log.close().unwrap();
                    }
                    Err(error) => assert_eq!(error.status(), Status::Corrupt, "{error}"),
                }
                fs::remove_dir_all(&copy).unwrap();
            }
            is_done.store(true, Ordering::Relaxed);
            assert!(whole > 0, "no copy opened");
        });
        let next = log.next_offset();
        check_whole(&log, next);
        log.close().unwrap();
        check_whole(&Log::open(&dir, &config(sync)).unwrap(), next);
    }
}

#[test]
fn a_directory_that_is_moved_while_it_is_open_goes_on() {
    let temp = TempDir::new("meddled");
    let (dir, moved) = (temp.join("log"), temp.join("moved"));
    for sync in [Sync::Always, Sync::Never] {
        let log = Log::open(&dir, &config(sync)).unwrap();
        append(&log, 30);
        fs::rename(&dir, &moved).unwrap();
        append(&log, 200);
        check_whole(&log, 230);
        assert_eq!(Log::open(&moved, &config(sync)).err().unwrap().status(), Status::Locked);
        let error = Log::open(&dir, &Config { flags: 2, ..config(sync) }).err().unwrap();
        assert_eq!(error.status(), Status::NotFound, "{error}");
        log.truncate(225).unwrap();
        log.trim(0).unwrap();
        append(&log, 5);
        log.close().unwrap();
        let log = Log::open(&moved, &config(sync)).unwrap();
        check_whole(&log, 230);
        log.close().unwrap();
        fs::remove_dir_all(&moved).unwrap();
    }
}

/// An old copy put back, under the same boot: into a new directory, or over the files (so that LIVE is the very file, and its page is
/// believed as far as its identity goes). Also only the old LIVE. The old LIVE is one of a writer that was killed: its ring is full.
#[test]
fn an_old_copy_that_is_restored_under_the_same_boot_is_the_old_log() {
    for sync in [Sync::Always, Sync::Never] {
        for what in ["moved", "over", "live only"] {
            let temp = TempDir::new("meddled");
            let (dir, old) = (temp.join("log"), temp.join("old"));
            let log = Log::open(&dir, &config(sync)).unwrap();
            append(&log, 30);
            copy_dir(&dir, &old);
            log.truncate(20).unwrap();
            append(&log, 5);
            append(&log, 40);
            log.close().unwrap();
            let expected = match what {
                "moved" => {
                    fs::remove_dir_all(&dir).unwrap();
                    fs::rename(&old, &dir).unwrap();
                    // LIVE is another file now, and its ring is not believed: what had not been synced is gone.
                    (if sync == Sync::Always { 30 } else { 0 })..=30
                }
                "over" => {
                    let keep: Vec<_> = fs::read_dir(&old).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                    for entry in fs::read_dir(&dir).unwrap() {
                        let entry = entry.unwrap();
                        if !keep.contains(&entry.file_name()) {
                            fs::remove_file(entry.path()).unwrap();
                        }
                    }
                    for name in keep {
                        fs::copy(old.join(&name), dir.join(&name)).unwrap();
                    }
                    30..=30
                }
                _ => {
                    fs::copy(old.join("LIVE"), dir.join("LIVE")).unwrap();
                    65..=65
                }
            };
            let log = Log::open(&dir, &config(sync)).unwrap_or_else(|error| panic!("{sync:?}, {what}: {error}"));
            let next = log.next_offset();
            assert!(expected.contains(&next), "{sync:?}, {what}: {next} records");
            check_whole(&log, next);
            append(&log, 50);
            log.close().unwrap();
            check_whole(&Log::open(&dir, &config(sync)).unwrap(), next + 50);
        }
    }
}

// --- the files -------------------------------------------------------------------------------------------------------

const MEDDLINGS: [&str; 7] = ["cut", "halve", "delete", "directory", "symlink", "fifo", "junk"];

fn meddle(path: &Path, how: &str) {
    let open = || fs::OpenOptions::new().write(true).open(path).unwrap();
    match how {
        "cut" => open().set_len(0).unwrap(),
        "halve" => open().set_len(fs::metadata(path).unwrap().len() / 2).unwrap(),
        "junk" => fs::write(path, vec![0xa5; 20_000]).unwrap(),
        _ => {
            fs::remove_file(path).unwrap();
            match how {
                "directory" => fs::create_dir(path).unwrap(),
                "symlink" => symlink("/dev/zero", path).unwrap(),
                "fifo" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
                _ => {}
            }
        }
    }
}

/// The files of an open log that are meddled with: the first store and index (sealed), the last ones (in use), LIVE, and what
/// was made ahead.
fn victims(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let of = |ending: &str| -> Vec<PathBuf> {
        names.iter().filter(|name| name.to_str().unwrap().ends_with(ending)).cloned().collect()
    };
    let (stores, indexes) = (of(".store"), of(".index"));
    let mut victims = vec![stores[0].clone(), indexes[0].clone(), dir.join("LIVE")];
    victims.extend(stores.last().into_iter().chain(indexes.last()).cloned());
    victims.extend(of(".tmp"));
    victims
}

/// Does everything to a log one file of which was meddled with, in a process of its own; all answers are statuses.
fn meddled(io: u32, sync: u32, how: &str, which: usize) {
    let temp = TempDir::new("meddled");
    let dir = temp.join("log");
    let mut other = Other::start(&dir, sync, io);
    assert_eq!(other.opened, "LOG_OK 0");
    assert_eq!(other.tell("append 100"), "LOG_OK 100");
    assert_eq!(other.tell("read"), "LOG_OK 100");
    let Some(victim) = victims(&dir).into_iter().nth(which) else { return };
    let what = format!("{} of {}, io {io}, sync {sync}", how, victim.file_name().unwrap().display());
    meddle(&victim, how);
    let mut said = Vec::new();
    for command in
        ["read", "append 3", "sync", "stat", "append 60", "read", "trim 30", "truncate 90", "append 3", "close"]
    {
        said.push(other.tell(command));
    }
    let signal = other.died_by();
    // Where files are mapped, a page that is no more is a SIGBUS, as the manual says.
    let may_die = io != 2 && matches!(how, "cut" | "halve" | "junk");
    assert!(signal.is_none() || may_die && signal == Some(SIGBUS), "{what}: it died by {signal:?}: {said:#?}");
    if signal.is_none() {
        assert!(said.iter().all(|answer| answer.starts_with("LOG_")), "{what}: {said:#?}");
    }
    for _ in 0..2 {
        let mut other = Other::start(&dir, sync, io);
        let ok = ["LOG_OK", "LOG_E_CORRUPT", "LOG_E_IO", "LOG_E_FORMAT", "LOG_E_NOT_FOUND"];
        assert!(ok.iter().any(|status| other.opened.starts_with(status)), "{what}: opened again: {}", other.opened);
        if other.opened.starts_with("LOG_OK") {
            let said = ["read", "append 3", "read", "close"].map(|command| other.tell(command));
            assert!(said.iter().all(|answer| answer.starts_with("LOG_")), "{what}: {said:#?}");
        }
        assert_eq!(other.died_by(), None, "{what}: opened again");
    }
}

fn meddle_with_all(io: u32) {
    let cases: Vec<_> =
        MEDDLINGS.iter().flat_map(|how| (0..8).flat_map(move |which| [0, 2].map(|sync| (*how, which, sync)))).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((how, which, sync)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    meddled(io, *sync, how, *which);
                }
            });
        }
    });
}

#[test]
fn files_that_others_cut_delete_or_replace_are_told_by_statuses() {
    meddle_with_all(1);
}

/// Then there is no SIGBUS either.
#[test]
fn files_that_others_cut_delete_or_replace_are_told_by_statuses_without_mappings() {
    meddle_with_all(2);
}

// --- the clock -------------------------------------------------------------------------------------------------------

#[test]
fn a_clock_that_jumps_back_takes_no_timestamp_back() {
    if !common::have("faketime") {
        return;
    }
    let temp = TempDir::new("meddled");
    let (dir, clock) = (temp.join("log"), temp.join("clock"));
    let times = |from: u64, to: u64| -> Vec<u64> {
        let log = Log::open(&dir, &Config { flags: 1, ..Config::default() }).unwrap();
        (from..to).map(|offset| log.read(offset, |_, time| time).unwrap()).collect()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    fs::write(&clock, "+2d").unwrap();
    // By the file, a running process's clock can be set.
    let mut command = Command::new("faketime");
    command.args(["-f", "+0d"]).env("FAKETIME_NO_CACHE", "1").env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.args(["env", "-u", "FAKETIME"]).arg(Other::program());
    let mut other = Other::start_with(command, &dir, 0, 0);
    assert_eq!(other.opened, "LOG_OK 0");
    assert_eq!(other.tell("append 10"), "LOG_OK 10");
    let before = times(0, 10);
    let day = 86_400_000_000_000;
    assert!(before[9] > now + day, "libfaketime sets the clock");
    fs::write(&clock, "-2d").unwrap();
    assert_eq!(other.tell("append 30"), "LOG_OK 40");
    assert_eq!(other.tell("close"), "LOG_OK 0");
    // A new process, with the clock as it is, which is two days behind.
    let mut other = Other::start(&dir, 0, 0);
    assert_eq!(other.tell("append 10"), "LOG_OK 50");
    assert_eq!(other.tell("close"), "LOG_OK 0");
    let all = times(0, 50);
    assert!(all.is_sorted() && all[49] >= before[9], "{all:?}");
}
