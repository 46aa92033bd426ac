//! A file system that becomes read-only: by an administrator while the log is closed or only read, by itself under a writer.
//! Reads go on, writes are refused in one sentence, and nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod disks;
mod support;

use disks::{Fs, Loop, Mount, Workshop, sh};
use seglog::{Config, Io, Log, Status, Sync, flags};
use std::fs;
use std::process::Command;
use support::{append, check_whole, payload};

const EROFS: i32 = 30;

fn config(sync: Sync, io: Io) -> Config {
    Config { sync, io, segment_max_bytes: 8 << 10, ..Config::default() }
}

#[test]
fn a_disk_that_is_remounted_read_only_is_read_and_refuses_writers() {
    if !disks::can_mount() {
        return;
    }
    for fs in Fs::ALL {
        let shop = Workshop::new("read-only");
        let image = shop.image("disk", fs.image_bytes());
        fs.make(&image);
        let mount = Mount::new(fs, &image, &shop.join("mnt"));
        for (io, name) in [(Io::Auto, "auto"), (Io::File, "file")] {
            let dir = mount.path().join(name);
            let log = Log::open(&dir, &config(Sync::Always, io)).unwrap();
            append(&log, 200, 1);
            // Nobody takes the disk from an open log: Linux refuses, and it goes on.
            let refused = Command::new("mount").args(["-o", "remount,ro"]).arg(mount.path()).output().unwrap();
            assert!(!refused.status.success(), "{}: a file is open for writing", fs.name());
            append(&log, 10, 1);
            log.close().unwrap();
        }
        mount.remount("ro");
        for (io, name) in [(Io::Auto, "auto"), (Io::File, "file")] {
            let dir = mount.path().join(name);
            let error = Log::open(&dir, &config(Sync::Always, io)).err().unwrap();
            assert_eq!((error.status(), error.detail().os_error), (Status::Io, EROFS), "{}: {error}", fs.name());
            assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
            let removed = seglog::remove(&dir).unwrap_err();
            assert_eq!((removed.status(), removed.detail().os_error), (Status::Io, EROFS), "{}: {removed}", fs.name());
            let made = Log::open(mount.path().join("new"), &config(Sync::Always, io)).err().unwrap();
            assert_eq!((made.status(), made.detail().os_error), (Status::Io, EROFS), "{}: {made}", fs.name());
            let log = Log::open(&dir, &Config { io, flags: flags::READ_ONLY, ..Config::default() }).unwrap();
            check_whole(&log, 0, 210);
            let saved = log.position_save("a", 5).unwrap_err();
            assert_eq!((saved.status(), saved.detail().os_error), (Status::Io, EROFS), "{}: {saved}", fs.name());
            log.close().unwrap();
        }
        mount.remount("rw");
        for (io, name) in [(Io::File, "auto"), (Io::Auto, "file")] {
            let log = Log::open(mount.path().join(name), &config(Sync::Always, io)).unwrap();
            assert_eq!(log.stat().unwrap().dropped_bytes, 0);
            append(&log, 100, 1);
            check_whole(&log, 0, 310);
            log.close().unwrap();
        }
        mount.unmount();
    }
}

/// As ext4 does by itself (`errors=remount-ro`) when it finds an error of its own. It maps nothing from then on, not even for
/// reading: full segments, whose file was closed or that had not been read yet, could not be read, with `LOG_E_IO`, though
/// reads were to go on.
#[test]
fn an_ext4_that_becomes_read_only_under_a_writer_loses_nothing_acknowledged() {
    if !disks::can_mount() {
        return;
    }
    for (io, sync) in
        [(Io::Auto, Sync::Always), (Io::File, Sync::Always), (Io::Auto, Sync::Never), (Io::File, Sync::Never)]
    {
        let shop = Workshop::new("read-only");
        let image = shop.image("disk", Fs::Ext4.image_bytes());
        Fs::Ext4.make(&image);
        sh("tune2fs", &["-e".as_ref(), "remount-ro".as_ref(), image.as_os_str()]);
        let device = Loop::new(&image);
        let mount = Mount::new(Fs::Ext4, device.path(), &shop.join("mnt"));
        let dir = mount.path().join("log");
        let log = Log::open(&dir, &config(sync, io)).unwrap();
        append(&log, 100, 1);
        log.sync().unwrap();
        let promised = log.next_offset();
        append(&log, 20, 1);
        let name = device.path().file_name().unwrap().to_str().unwrap();
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        if fs::write(&trigger, "1").is_err() {
            common::skip(&format!("no {trigger}"));
            return;
        }
        let mut acknowledged = if sync == Sync::Always { 120 } else { promised };
        let error = loop {
            let next = log.next_offset();
            match log.append(&payload(next)) {
                Ok(_) => acknowledged = if sync == Sync::Always { next + 1 } else { acknowledged },
                Err(error) => break error,
            }
            assert!(next < 100_000, "it goes on without a disk");
        };
        let what = format!("{io:?}, {sync:?}: {error}");
        assert!(matches!(error.status(), Status::Io | Status::Poisoned), "{what}");
        assert!([EROFS, 5].contains(&error.detail().os_error), "{what}");
        let next = log.next_offset();
        check_whole(&log, 0, next);
        // Where only the next segment could not be made, a shorter record may still have room in the ring.
        assert!(log.sync().is_err() || log.stat().unwrap().durable_offset == next, "{what}");
        assert!(log.truncate(3).is_err() && log.trim(3).is_err(), "{what}");
        check_whole(&log, 0, next);
        let _ = log.close();
        // Who opens it only now must say that nothing is to be mapped.
        let reader = Log::open(&dir, &Config { flags: flags::READ_ONLY, io: Io::File, ..Config::default() }).unwrap();
        (0..acknowledged).for_each(|offset| reader.read(offset, |bytes, _| assert!(bytes == payload(offset))).unwrap());
        reader.close().unwrap();
        mount.unmount();
        // It says 1 where it mended something.
        let checked = Command::new("e2fsck").args(["-p", "-f"]).arg(device.path()).output().unwrap();
        assert!(checked.status.code().is_some_and(|code| code < 4), "{checked:?}");
        let mount = Mount::new(Fs::Ext4, device.path(), &shop.join("mnt"));
        let log = Log::open(&dir, &config(sync, io)).unwrap();
        let found = log.next_offset();
        assert!(found >= acknowledged, "{what}: {found} of {acknowledged} acknowledged records are there");
        check_whole(&log, 0, found);
        append(&log, 100, 1);
        log.close().unwrap();
        mount.unmount();
    }
}
