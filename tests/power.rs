//! Power cuts on real ext4, XFS and btrfs: a C program works on a log through the release build of the shared library, on a disk
//! whose writes are all written down in their order (qemu's driver blklogwrites, served by FUSE, a loop device on it). It
//! notes how many writes there were at each acknowledgement. Then the disk is made once more as it was at some moment: what
//! came before the last flush is there, of what came behind it each write or each 4 KiB may be missing. That disk is
//! mounted, and the log must be what the acknowledged operations made, or those and some that were begun: exactly, record by record.
//!
//! `SEGLOG_POWER_CUTS` sets how many cuts on each file system (150), `SEGLOG_POWER_SEED` where chance begins. Needs root.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod disks;

use common::{Profile, TIME_OUT};
use disks::daemon::Daemon;
use disks::{Fs, Loop, Mount, Random, Workshop, number, ok};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const CUTS: u64 = 150;
const CUTS_A_LIFE: u64 = 25;
const OPERATIONS: u64 = 160;
const BLOCK: usize = 4096;

// --- what was written, in its order ----------------------------------------------------------------------------------

/// A write, by where its bytes are in the log of writes; one without is a discard.
#[derive(Debug, Clone, Copy)]
struct Written {
    block: u64,
    blocks: u64,
    is_flush: bool,
    bytes_at: Option<usize>,
}

/// The log that qemu's blklogwrites makes, which is that of the kernel's dm-log-writes.
struct Blocks {
    bytes: Vec<u8>,
    writes: Vec<Written>,
}

impl Blocks {
    fn read(log: &Path) -> Self {
        let bytes = fs::read(log).unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((word(0), word(8)), (0x006a_7366_7773_6872, 1), "a log of writes");
        assert_eq!(word(24) as u32 as usize, BLOCK, "its sectors");
        let (mut at, mut writes) = (BLOCK, Vec::new());
        for _ in 0..word(16) {
            let (block, blocks, flags) = (word(at), word(at + 8), word(at + 16));
            at += BLOCK;
            let has_bytes = flags & 4 == 0 && blocks > 0;
            writes.push(Written { block, blocks, is_flush: flags & 3 != 0, bytes_at: has_bytes.then_some(at) });
            at += if has_bytes { blocks as usize * BLOCK } else { 0 };
        }
        Self { bytes, writes }
    }
}

/// A disk's blocks, by where their bytes are; what is missing is zeros.
type Disk = BTreeMap<u64, usize>;

fn apply(disk: &mut Disk, write: Written, is_kept: impl Fn(u64) -> bool) {
    for n in (0..write.blocks).filter(|n| is_kept(*n)) {
        match write.bytes_at {
            Some(at) => drop(disk.insert(write.block + n, at + n as usize * BLOCK)),
            None => drop(disk.remove(&(write.block + n))),
        }
    }
}

/// What becomes of the writes behind the last flush.
#[derive(Debug, Clone, Copy)]
enum Fate {
    AllLost,
    AllThere,
    /// Each write is there or not.
    Some,
    /// Each block is there or not.
    Torn,
    /// One write is not there.
    OneLost(u64),
    /// One write is there.
    OneThere(u64),
}

impl Fate {
    fn draw(random: &mut Random, writes: u64) -> Self {
        match random.below(8) {
            0 => Self::AllLost,
            1 => Self::AllThere,
            2 | 3 => Self::Some,
            4 | 5 => Self::Torn,
            6 => Self::OneLost(random.below(writes)),
            _ => Self::OneThere(random.below(writes)),
        }
    }

    fn apply(self, disk: &mut Disk, number: u64, write: Written, random: &mut Random) {
        match self {
            Self::AllLost => {}
            Self::AllThere => apply(disk, write, |_| true),
            Self::Some => {
                let there = random.below(2) == 0;
                apply(disk, write, |_| there);
            }
            Self::Torn => {
                let salt = random.next();
                apply(disk, write, |n| Random(salt ^ n << 1).below(2) == 0);
            }
            Self::OneLost(lost) => apply(disk, write, |_| number != lost),
            Self::OneThere(there) => apply(disk, write, |_| number == there),
        }
    }
}

// --- a log's life ----------------------------------------------------------------------------------------------------

/// How `tests/c/disk_life.c` is run.
#[derive(Debug, Clone, Copy)]
struct Life {
    fs: Fs,
    seed: u64,
    sync: u32,
    segment_bytes: u64,
    flags: u32,
    /// Three of four syncs do nothing: a disk that lies.
    is_lying: bool,
}

const BEGUN: u8 = 0;
const DURABLE: u8 = 1;

/// What the program noted: an operation, begun or durable or returned, and how many writes there were.
#[derive(Debug, Clone, Copy)]
struct Note {
    kind: u8,
    operation: i64,
    writes: u64,
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("disk_life_power");
        let linking = common::shared_flags(common::library_dir_of(Profile::Release));
        let mut flags = vec!["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-g", "-pthread"];
        flags.extend(linking.iter().map(String::as_str));
        common::compile_c(&[&common::path("tests/c/disk_life.c")], &flags, &out);
        out
    })
}

/// A library that takes the place of libc's `fdatasync`, and mostly does nothing.
fn lies() -> &'static Path {
    static LIES: OnceLock<PathBuf> = OnceLock::new();
    LIES.get_or_init(|| {
        let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lies.c");
        let text = "#include <sys/syscall.h>\n#include <unistd.h>\nstatic int calls;\n\
            int fdatasync(int file) { return ++calls % 4 ? 0 : (int)syscall(SYS_fdatasync, file); }\n";
        fs::write(&source, text).unwrap();
        let out = source.with_extension("so");
        common::compile_c(&[&source], &["-shared", "-fPIC"], &out);
        out
    })
}

impl Life {
    /// Lives it on a disk that is written down.
    fn live(&self, shop: &Workshop) -> (Blocks, Vec<Note>) {
        let image = shop.image("disk", self.fs.image_bytes());
        let log = shop.image("writes", 0);
        let daemon = Daemon::writing_down(shop, &image, &log);
        let device = Loop::new(daemon.served());
        self.fs.make(device.path());
        let mount = Mount::new(self.fs, device.path(), &shop.join("mnt"));
        ok(Command::new("sync").arg("--file-system").arg(mount.path()));
        let mut command = Command::new(program());
        command.arg("run").arg(mount.path().join("log")).arg(shop.join("notes")).arg(&log);
        for number in [self.seed, OPERATIONS, self.sync.into(), self.segment_bytes, self.flags.into()] {
            command.arg(number.to_string());
        }
        if self.is_lying {
            command.env("LD_PRELOAD", lies());
        }
        let done = common::run_command(&mut command, TIME_OUT);
        assert!(done.success(), "{self:?}: {}", done.report());
        mount.unmount();
        drop(device);
        drop(daemon);
        let notes = fs::read(shop.join("notes")).unwrap();
        let notes = notes.as_chunks::<16>().0.iter().map(|note| Note {
            kind: note[0],
            operation: u32::from_le_bytes(note[4..8].try_into().unwrap()).into(),
            writes: u64::from_le_bytes(note[8..].try_into().unwrap()),
        });
        let notes: Vec<_> = notes.collect();
        let blocks = Blocks::read(&log);
        assert!(notes.last().is_some_and(|last| last.writes <= blocks.writes.len() as u64), "{self:?}: the notes fit");
        fs::remove_file(&log).unwrap();
        fs::remove_file(&image).unwrap();
        (blocks, notes)
    }

    /// Makes the disk as it was when `cut` writes had been made, and checks it. `Err` if the log is not what it must be.
    fn check(&self, shop: &Workshop, blocks: &Blocks, notes: &[Note], disk: &Disk, cut: u64) -> Result<(), String> {
        let by_then = |kind: u8| {
            let made = notes.iter().filter(|note| note.kind == kind && note.writes <= cut);
            made.map(|note| note.operation).max().unwrap_or(-1)
        };
        let image = shop.image("cut", self.fs.image_bytes());
        let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
        for (&block, &at) in disk {
            file.write_all_at(&blocks.bytes[at..at + BLOCK], block * BLOCK as u64).unwrap();
        }
        drop(file);
        let mount = Mount::new(self.fs, &image, &shop.join("mnt"));
        let mut command = Command::new(program());
        command.arg("check").arg(mount.path().join("log")).arg(self.seed.to_string());
        command.args([by_then(DURABLE), by_then(BEGUN).max(0)].map(|operation| operation.to_string()));
        let done = common::run_command(&mut command, TIME_OUT);
        mount.unmount();
        if done.success() { Ok(()) } else { Err(done.report()) }
    }
}

/// Cuts the power of one life at so many moments. `Err` at the first that the log does not stand.
fn cut_power(life: &Life, shop: &Workshop, cuts: u64) -> Result<(), String> {
    let (blocks, notes) = life.live(shop);
    let mut random = Random(life.seed);
    let (from, to) = (notes[0].writes, blocks.writes.len() as u64);
    assert!(to > from + OPERATIONS / 4, "{life:?}: it wrote");
    let mut moments: Vec<_> = (0..cuts).map(|_| from + random.below(to - from + 1)).collect();
    moments.sort_unstable();
    let (mut disk, mut done) = (Disk::new(), 0);
    for cut in moments {
        let made = &blocks.writes[..cut as usize];
        let flushed = made.iter().rposition(|write| write.is_flush).map_or(0, |flush| flush + 1);
        for write in &made[done.min(flushed)..flushed] {
            apply(&mut disk, *write, |_| true);
        }
        done = done.max(flushed);
        let fate = Fate::draw(&mut random, (made.len() - flushed) as u64);
        let mut left = disk.clone();
        for (n, write) in (0..).zip(&made[flushed..]) {
            fate.apply(&mut left, n, *write, &mut random);
        }
        life.check(shop, &blocks, &notes, &left, cut).map_err(|why| {
            format!("{life:?}, cut at write {cut} of {to}, {fate:?} of {}: {why}", made.len() - flushed)
        })?;
    }
    Ok(())
}

/// The lives that are lived on a file system, `seed` being chance's.
fn life(fs: Fs, seed: u64, n: u64) -> Life {
    let (sync, flags) = [(0, 0), (2, 0), (0, 4), (1, 0), (0, 0), (2, 4)][n as usize % 6];
    let segment_bytes = [4096, 65536, 16384][n as usize % 3];
    Life { fs, seed: seed.wrapping_mul(1000) + n + 1, sync, segment_bytes, flags, is_lying: false }
}

#[allow(clippy::print_stdout, reason = "what was done is the test's result")]
fn no_cut_loses_anything(fs: Fs) {
    if !disks::can_serve() {
        return;
    }
    let (cuts, seed) = (number("SEGLOG_POWER_CUTS", CUTS), number("SEGLOG_POWER_SEED", 1));
    let mut done = 0;
    for n in 0.. {
        if done >= cuts {
            break;
        }
        let shop = Workshop::new("power");
        let now = CUTS_A_LIFE.min(cuts - done);
        cut_power(&life(fs, seed, n), &shop, now).unwrap_or_else(|why| panic!("{why}"));
        done += now;
    }
    println!("{} power cuts on {}: nothing lost, nothing torn, nothing that was not issued", done, fs.name());
}

#[test]
fn no_power_cut_on_ext4_loses_what_was_acknowledged() {
    no_cut_loses_anything(Fs::Ext4);
}

#[test]
fn no_power_cut_on_xfs_loses_what_was_acknowledged() {
    no_cut_loses_anything(Fs::Xfs);
}

#[test]
fn no_power_cut_on_btrfs_loses_what_was_acknowledged() {
    no_cut_loses_anything(Fs::Btrfs);
}

/// These tests can fail: where syncs mostly do nothing, cuts lose records, and it is seen.
#[test]
fn where_syncs_do_nothing_power_cuts_lose_records_and_it_is_seen() {
    if !disks::can_serve() {
        return;
    }
    for fs in Fs::ALL {
        let shop = Workshop::new("lies");
        let told = cut_power(&Life { is_lying: true, ..life(fs, 1, 0) }, &shop, 40);
        let why = told.expect_err("a disk that does not keep what was synced");
        // Records are missing, the log does not open, or what the check does with it then meets a file that is damaged.
        let seen = ["were durable", "log_open of what is left", "LOG_E_CORRUPT"];
        assert!(seen.iter().any(|seen| why.contains(seen)), "{why}");
    }
}
