//! Real file systems for tests: images, loop devices, mounts, and qemu's storage daemon under them. All that is made here goes
//! away when it is dropped. It knows nothing of logs.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod daemon;

use crate::common::{self, TIME_OUT};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file system that is made on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fs {
    Ext4,
    Xfs,
    Btrfs,
}

impl Fs {
    pub(crate) const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest image that is made here: xfsprogs takes no smaller one.
    pub(crate) fn image_bytes(self) -> u64 {
        match self {
            Self::Ext4 => 64 << 20,
            Self::Xfs => 320 << 20,
            Self::Btrfs => 160 << 20,
        }
    }

    pub(crate) fn make(self, device: &Path) {
        let mut mkfs = Command::new(format!("mkfs.{}", self.name()));
        match self {
            Self::Ext4 => mkfs.args(["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"]),
            Self::Xfs => mkfs.args(["-q", "-f"]),
            Self::Btrfs => mkfs.args(["-q", "-f", "-m", "single", "-d", "single"]),
        };
        ok(mkfs.arg(device));
    }

    /// As `make`, for a disk that is to become full: a small btrfs keeps data and metadata together, so that all of it is
    /// used, and nothing is left for a copy.
    pub(crate) fn make_small(self, device: &Path) {
        if self == Self::Btrfs {
            sh("mkfs.btrfs", &["-q".as_ref(), "-f".as_ref(), "--mixed".as_ref(), device.as_os_str()]);
        } else {
            self.make(device);
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Ext4 => "noatime",
            // The same file system may be mounted twice, from two images.
            Self::Xfs => "noatime,nouuid",
            Self::Btrfs => "noatime,nodiscard",
        }
    }
}

/// Whether all is here that these tests need; says what is missing, and in CI fails.
pub(crate) fn can_mount() -> bool {
    if !common::is_root() {
        common::skip("only root can mount");
        return false;
    }
    let tools =
        ["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "btrfs", "btrfs-map-logical", "losetup", "mount", "umount", "filefrag"];
    if !tools.iter().all(|tool| have(tool)) {
        return false;
    }
    let devices = Path::new("/dev/loop-control").exists();
    if !devices {
        common::skip("there are no loop devices (/dev/loop-control)");
    }
    devices
}

/// The same for disks that qemu's storage daemon serves.
pub(crate) fn can_serve() -> bool {
    if !can_mount() || !have("qemu-storage-daemon") {
        return false;
    }
    let fuse = Path::new("/dev/fuse").exists();
    if !fuse {
        common::skip("there is no /dev/fuse");
    }
    fuse
}

/// As `common::have`, with root's own folders, which not every PATH has.
fn have(tool: &str) -> bool {
    ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(tool).is_file()) || common::have(tool)
}

/// Runs a command that must succeed; what it printed.
pub(crate) fn ok(command: &mut Command) -> String {
    let done = common::run_command(command, TIME_OUT);
    assert!(done.success(), "{command:?}: {}", done.report());
    done.stdout
}

/// `ok` of a program and its arguments.
pub(crate) fn sh<S: AsRef<OsStr>>(program: &str, args: &[S]) -> String {
    ok(Command::new(program).args(args))
}

/// A folder in memory: what is asked of these disks is order, not speed.
pub(crate) struct Workshop(PathBuf);

impl Workshop {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("seglog-{name}-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A new file of this size, all hole.
    pub(crate) fn image(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.join(name);
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What failed stays, to be looked at.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A loop device on a file, with sectors of 4 KiB.
pub(crate) struct Loop(PathBuf);

impl Loop {
    pub(crate) fn new(file: &Path) -> Self {
        let mut losetup = Command::new("losetup");
        losetup.args(["--sector-size", "4096", "--find", "--show"]).arg(file);
        Self(PathBuf::from(ok(&mut losetup).trim()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// A mounted file system.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts a device, or an image by a loop device of its own.
    pub(crate) fn new(fs: Fs, from: &Path, at: &Path) -> Self {
        Self::try_new(fs, from, at).unwrap_or_else(|why| panic!("{fs:?} on {}: {why}", from.display()))
    }

    pub(crate) fn try_new(fs: Fs, from: &Path, at: &Path) -> Result<Self, String> {
        if fs == Fs::Btrfs {
            // Another image of the same file system may have been seen.
            let _ = Command::new("btrfs").args(["device", "scan", "--forget"]).output();
        }
        let by_loop = if from.starts_with("/dev") && !from.starts_with("/dev/shm") { "" } else { ",loop" };
        let mut mount = Command::new("mount");
        mount.args(["-t", fs.name(), "-o", &format!("{}{by_loop}", fs.options())]).arg(from).arg(at);
        Self::with(&mut mount, at)
    }

    /// A file system in memory.
    pub(crate) fn tmpfs(bytes: u64, at: &Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(at);
        Self::with(&mut mount, at).unwrap()
    }

    /// What a container has: changes to one directory lie in another one.
    pub(crate) fn overlay(lower: &Path, upper: &Path, work: &Path, at: &Path) -> Result<Self, String> {
        let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        Self::with(Command::new("mount").args(["-t", "overlay", "-o", &layers, "overlay"]).arg(at), at)
    }

    /// A directory once more, by a process.
    pub(crate) fn fuse(below: &Path, at: &Path) -> Self {
        Self::with(Command::new("bindfs").arg(below).arg(at), at).unwrap()
    }

    fn with(mount: &mut Command, at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        let done = common::run_command(mount, TIME_OUT);
        if done.success() { Ok(Self(at.to_owned())) } else { Err(done.report()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn remount(&self, options: &str) {
        sh("mount", &["-o".as_ref(), format!("remount,{options}").as_ref(), self.0.as_os_str()]);
    }

    /// Unmounts, and fails if that does not go. A process that another test is just starting holds what this one had open, until
    /// it runs its own program.
    pub(crate) fn unmount(mut self) {
        let busy = |_: &u32| {
            let done = common::run_command(Command::new("umount").arg(&self.0), TIME_OUT);
            let busy = !done.success() && done.stderr.contains("busy");
            assert!(busy || done.success(), "umount {}: {}", self.0.display(), done.report());
            std::thread::sleep(std::time::Duration::from_millis(if busy { 50 } else { 0 }));
            busy
        };
        assert!((0..100).find(|n| !busy(n)).is_some(), "{} stays busy", self.0.display());
        self.0 = PathBuf::new();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        }
    }
}

/// Numbers that look random, and are the same again for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// How many, by an environment variable.
pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
