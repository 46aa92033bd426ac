//! Which way `LOG_IO_AUTO` takes on which file system, and what a log without mappings does, both seen from outside: by
//! real mounts, and by strace.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod disks;

use common::{Profile, TempDir};
use disks::{Fs, Mount, Workshop};
use seglog::{Config, Io, Log, Sync, flags};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn config(io: Io) -> Config {
    Config { io, sync: Sync::Never, segment_max_bytes: 8192, flags: flags::NO_THREAD, ..Config::default() }
}

/// What is chosen here, by a writer and by who follows; and that such a log works, over a close and a kill.
fn chosen(dir: &Path) -> Io {
    let mut ways = Vec::new();
    let log = Log::open(dir, &config(Io::Auto)).unwrap();
    ways.push(log.stat().unwrap().io);
    for n in 0..100_u64 {
        assert_eq!(log.append(&[n.to_le_bytes(), [3; 8]].concat().repeat(30)).unwrap(), n);
    }
    let follower = Log::open(dir, &Config { flags: flags::READ_ONLY, ..Config::default() }).unwrap();
    ways.push(follower.stat().unwrap().io);
    log.sync().unwrap();
    let check = |log: &Log| {
        assert_eq!((log.first_offset(), log.next_offset()), (0, 100));
        (0..100).for_each(|n| log.read(n, |bytes, _| assert_eq!(bytes[..8], n.to_le_bytes())).unwrap());
    };
    check(&log);
    check(&follower);
    drop(follower);
    log.close().unwrap();
    let log = Log::open(dir, &config(Io::Auto)).unwrap();
    assert_eq!(log.stat().unwrap().dropped_bytes, 0);
    check(&log);
    ways.push(log.stat().unwrap().io);
    log.close().unwrap();
    assert!(ways.iter().all(|way| *way == ways[0]), "{ways:?}");
    ways[0]
}

#[test]
fn auto_maps_on_this_machines_own_file_systems_and_nothing_on_btrfs() {
    if !disks::can_mount() {
        return;
    }
    let shop = Workshop::new("auto");
    for fs in Fs::ALL {
        let image = shop.image(fs.name(), fs.image_bytes());
        fs.make(&image);
        let mount = Mount::new(fs, &image, &shop.join(&format!("on-{}", fs.name())));
        let expected = if fs == Fs::Btrfs { Io::File } else { Io::Mapped };
        assert_eq!(chosen(&mount.path().join("log")), expected, "{}", fs.name());
        mount.unmount();
    }
    let mount = Mount::tmpfs(32 << 20, &shop.join("memory"));
    assert_eq!(chosen(&mount.path().join("log")), Io::Mapped);
}

/// A container's own file system lies on one of the machine's.
#[test]
fn auto_maps_on_an_overlay() {
    if !disks::can_mount() {
        return;
    }
    let shop = Workshop::new("auto");
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| shop.join(name));
    for dir in [&lower, &upper, &work] {
        fs::create_dir(dir).unwrap();
    }
    let mount = Mount::overlay(&lower, &upper, &work, &shop.join("over")).unwrap();
    assert_eq!(chosen(&mount.path().join("log")), Io::Mapped);
}

/// The code of such a file system is another process, as that of a network's is another machine.
#[test]
fn auto_maps_nothing_on_fuse() {
    if !common::is_root() || !Path::new("/dev/fuse").exists() {
        common::skip("only root can mount, and /dev/fuse is needed");
        return;
    }
    if !common::have("bindfs") {
        return;
    }
    let shop = Workshop::new("auto");
    let below = shop.join("below");
    fs::create_dir(&below).unwrap();
    let mount = Mount::fuse(&below, &shop.join("fuse"));
    assert_eq!(chosen(&mount.path().join("log")), Io::File);
    // Who insists gets it.
    let log = Log::open(mount.path().join("log"), &config(Io::Mapped)).unwrap();
    assert_eq!((log.stat().unwrap().io, log.next_offset()), (Io::Mapped, 100));
    log.close().unwrap();
    mount.unmount();
}

fn program() -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands-of-auto-io");
    let linking = common::shared_flags(common::library_dir_of(Profile::Release));
    let mut flags = vec!["-std=gnu11", "-O2"];
    flags.extend(linking.iter().map(String::as_str));
    common::compile_c(&[&common::path("tests/c/commands.c")], &flags, &out);
    out
}

/// The calls by which a process maps files of a log, as strace tells them.
fn mapping_calls(program: &Path, io: u32) -> Vec<String> {
    let temp = TempDir::new("auto");
    let (dir, trace, input) = (temp.join("the-log"), temp.join("trace"), temp.join("input"));
    for commands in [
        "append 200\nread\nsync\ntrim 50\ntruncate 150\nappend 20\nread\nstat\nclose\n",
        "read\nappend 200\nread\nstat\nclose\n",
    ] {
        fs::write(&input, commands).unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-A", "-e", "trace=mmap", "-o"]).arg(&trace).arg(program).arg(&dir);
        strace.args([0, io, 0, 8192].map(|number: u32| number.to_string()));
        let child = strace.stdin(fs::File::open(&input).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
        let said = child.wait_with_output().unwrap().stdout;
        let said = String::from_utf8_lossy(&said);
        let fine = said.lines().filter(|answer| answer.starts_with("LOG_OK")).count();
        assert_eq!(fine, commands.lines().count() + 1, "{said}");
    }
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("libseglog"), "strace sees mappings of files: {trace}");
    trace.lines().filter(|line| line.contains("/the-log/")).map(str::to_owned).collect()
}

#[test]
fn a_process_without_mappings_maps_no_file_of_the_log() {
    if !common::have("strace") {
        return;
    }
    let program = program();
    let mapped = mapping_calls(&program, 1);
    assert!(mapped.iter().any(|line| line.contains("LIVE")) && mapped.iter().any(|line| line.contains(".store")));
    assert_eq!(mapping_calls(&program, 2), [""; 0]);
}
