//! qemu's storage daemon: a disk whose writes are written down, or which fails when told to. It serves the disk as a file by FUSE.

use super::Workshop;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon. The disk is the file `served`.
pub(crate) struct Daemon {
    child: Child,
    served: PathBuf,
    monitor: Option<BufReader<UnixStream>>,
}

impl Daemon {
    /// A disk of this image, with each write and flush written down in the file `log`.
    pub(crate) fn writing_down(shop: &Workshop, image: &Path, log: &Path) -> Self {
        let blklog =
            "driver=blklogwrites,node-name=top,file=disk,log=log,log-sector-size=4096,log-super-update-interval=1";
        Self::start(shop, &[&file("disk", image), &file("log", log), blklog])
    }

    /// A disk that fails when told to ([`Daemon::fail`]).
    pub(crate) fn that_can_fail(shop: &Workshop, image: &Path) -> Self {
        let mut daemon = Self::start(shop, &[&file("disk", image), "driver=raw,node-name=top,file=disk"]);
        let stream = wait_for(|| UnixStream::connect(shop.join("monitor")).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        daemon.monitor = Some(BufReader::new(stream));
        daemon.say(r#"{"execute": "qmp_capabilities"}"#);
        daemon
    }

    fn start(shop: &Workshop, nodes: &[&str]) -> Self {
        let served = shop.image("served", 0);
        let mut command = Command::new("qemu-storage-daemon");
        for node in nodes {
            command.args(["--blockdev", node]);
        }
        let export = format!("type=fuse,id=export,node-name=top,mountpoint={},writable=on", served.display());
        let socket = format!("socket,id=monitor,path={},server=on,wait=off", shop.join("monitor").display());
        command.args(["--chardev", &socket, "--monitor", "chardev=monitor", "--export", &export]);
        let said = fs::File::create(shop.join("daemon.txt")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let mut daemon = Self { child, served, monitor: None };
        let begun = Instant::now();
        // The empty file has the disk's size when the disk is mounted over it.
        while fs::metadata(&daemon.served).unwrap().len() == 0 {
            let ended = daemon.child.try_wait().unwrap();
            let said = || fs::read_to_string(shop.join("daemon.txt")).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "qemu-storage-daemon: {}", said());
            thread::sleep(Duration::from_millis(2));
        }
        daemon
    }

    /// The disk.
    pub(crate) fn served(&self) -> &Path {
        &self.served
    }

    /// From now on reads or writes fail with this error number: all, or those that touch this sector of 512 bytes. Of flushes
    /// the next one fails alone, since the daemon makes one itself when it heals.
    pub(crate) fn fail(&mut self, io_type: &str, os_error: i32, sector: Option<u64>) {
        let sector = sector.map_or(String::new(), |sector| format!(r#", "sector": {sector}"#));
        let once = io_type == "flush";
        self.say(&format!(
            r#"{{"execute": "blockdev-add", "arguments": {{"driver": "blkdebug", "node-name": "bad", "image": "disk",
                "inject-error": [{{"event": "none", "iotype": "{io_type}", "errno": {os_error}, "once": {once}{sector}}}]}}}}"#
        ));
        self.put_on("bad");
    }

    /// The disk is well again.
    pub(crate) fn heal(&mut self) {
        self.put_on("disk");
        self.say(r#"{"execute": "blockdev-del", "arguments": {"node-name": "bad"}}"#);
    }

    fn put_on(&mut self, node: &str) {
        self.say(&format!(
            r#"{{"execute": "blockdev-reopen", "arguments": {{"options": [{{"driver": "raw", "node-name": "top", "file": "{node}"}}]}}}}"#
        ));
    }

    /// One command to the monitor, which must do it.
    fn say(&mut self, command: &str) {
        let monitor = self.monitor.as_mut().unwrap();
        monitor.get_mut().write_all(command.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            monitor.read_line(&mut line).unwrap();
            assert!(!line.is_empty() && !line.contains("\"error\""), "{command}: {line}");
            if line.contains("\"return\"") {
                return;
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.served).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file(node: &str, path: &Path) -> String {
    // What must survive is the log of the writes, not this machine.
    format!("driver=file,node-name={node},filename={},cache.no-flush=on,discard=unmap", path.display())
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}
