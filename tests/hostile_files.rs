//! Hostile files: names that are no files or no segments, files far too large, a LIVE that says anything. Each gets a
//! status in bounded time and memory, and what is foreign is left alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/exercise.rs"]
mod exercise;
#[path = "support/handmade.rs"]
mod handmade;
mod support;

use exercise::exercise;
use handmade::{one_file, one_segment, records};
use seglog::{Log, Status, remove};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use support::format::{FRAME, FRAMES, Header, MORE, Slot, frame, index, seal};
use support::{Image, Random, Scratch, check_goes_on, check_whole, payload, small};

const TERABYTE: u64 = 1 << 40;

#[test]
fn ten_thousand_foreign_files_are_left_alone() {
    let dir = Scratch::new();
    support::append_mixed(&Log::open(dir.path(), &small()).unwrap(), 80);
    let near = [
        "00000000000000000000-00000000.store.bak",
        "00000000000000000000-00000000.STORE",
        "0-0.store",
        "START.old",
        "live",
        "00000000000000000000-0000000.store",
        "00000000000000000000-00000000",
        "00000000000000000000_00000000.store",
        "000000000000000000000-00000000.store",
        "0000000000000000000a-00000000.store",
        "-0000000000000000001-00000000.store",
        "00000000000000000000-0000000G.store",
        "00000000000000000000-0000000A.store",
        "99999999999999999999-00000000.index",
        "next-store",
        "next-store.tmp2",
        "lost.store",
        " ",
        "\n",
        "%s%n",
        "\u{202e}store",
        ".hidden",
        "LIVE.lock",
    ];
    for n in 0..10_000 {
        let name =
            near.get(n).map_or_else(|| format!("foreign-{n}-{:x}", Random(n as u64).next()), ToString::to_string);
        fs::write(dir.join(&name), name.as_bytes()).unwrap();
    }
    let not_utf8: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xFF\xFE.store");
    fs::write(dir.path().join(not_utf8), b"x").unwrap();
    for name in ["a directory", "00000000000000000099-00000000.store.d"] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("file"), b"y").unwrap();
    }
    let foreign = || {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir.path()).unwrap().map(std::result::Result::unwrap) {
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| {
                name == "LIVE" || Path::new(name).extension().is_some_and(|end| end == "store" || end == "index")
            });
            if !ours || name.to_str().is_some_and(|name| near.contains(&name)) {
                let meta = entry.metadata().unwrap();
                all.push((name, meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
            }
        }
        all.sort();
        all
    };
    let before = foreign();
    assert!(before.len() > 10_000);
    assert_eq!(exercise(dir.path()).unwrap().next_offset, 80);
    assert_eq!(foreign(), before, "foreign files stay as they are");
    remove(dir.path()).unwrap();
    assert_eq!(foreign(), before, "foreign files stay when the log is removed");
    assert!(!dir.join("LIVE").exists());
}

#[test]
fn thousands_of_segments_that_were_never_synced_are_opened() {
    let dir = Scratch::new();
    let count = 1000;
    for n in 0..count {
        let header = Header { base: n * 2, seed: u32::try_from(n).unwrap(), time_floor: n * 2, ..Header::default() };
        fs::write(dir.join(&header.store_name()), header.store(&[], &records(n * 2..n * 2 + 2))).unwrap();
    }
    let log = Log::open(dir.path(), &small()).unwrap();
    assert_eq!(log.stat().unwrap().recovered_records, count * 2);
    check_whole(&log, 0, count * 2);
    check_goes_on(log, dir.path(), &small(), payload);
}

#[test]
fn live_may_be_anything() {
    let (header, slot, mut store) = one_segment();
    store[2048..2096].copy_from_slice(&slot.bytes(header.seed));
    let (dir, mut random) = (Scratch::new(), Random(5));
    let whole = (64 << 10) + (1 << 20);
    for n in 0..60 {
        let len =
            [0, 1, 7, 263, 264, 4096, 65_535, 65_536, 65_537, 70_000, whole - 1, whole, whole + 1, 3 << 20][n % 14];
        let bytes = match n % 3 {
            0 => vec![0xFF; len],
            1 => std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(len).collect(),
            _ => frame(header.seed, 10, 9, FRAME | MORE, &[1; 100]).into_iter().cycle().take(len).collect(),
        };
        one_file(&header, store.clone()).put(dir.path());
        fs::write(dir.join("LIVE"), bytes).unwrap();
        let log = Log::open(dir.path(), &small()).unwrap();
        check_whole(&log, 0, 10);
        check_goes_on(log, dir.path(), &small(), payload);
    }
    one_file(&header, store).put(dir.path());
    fs::File::create(dir.join("LIVE")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(exercise(dir.path()).unwrap().next_offset, 10);
}

#[test]
fn a_ring_that_never_ends_is_read_once() {
    let (header, _, _) = one_segment();
    // From wherever one begins, each frame is the next one, round and round, a frame past the ring among them.
    let ring: Vec<_> = (0..).flat_map(|n| frame(header.seed, n, 9, FRAME, &[7; 48])).take(1 << 20).collect();
    let mut live = vec![0; 64 << 10];
    live.extend(&ring[(1 << 20) - FRAMES..]);
    live.extend(&ring[..(1 << 20) - FRAMES]);
    let dir = one_file(&header, header.page(&[])).place();
    fs::write(dir.join("LIVE"), &live).unwrap();
    let stat = exercise(dir.path()).unwrap();
    assert_eq!((stat.next_offset, stat.dropped_bytes), (1 << 14, 0));
}

/// The page that a poisoned writer left in this very file.
fn poisoned(dir: &Scratch, log_id: [u8; 16], durable: u64) {
    let path = dir.join("LIVE");
    fs::write(&path, vec![0; (64 << 10) + (1 << 20)]).unwrap();
    let meta = fs::metadata(&path).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
    let mut page = b"\x8BSEGCTL\n".to_vec();
    page.extend(1_u32.to_le_bytes());
    page.extend((1_u32 << 20).to_le_bytes());
    page.extend((0..16).map(|n| u8::from_str_radix(&boot[2 * n..2 * n + 2], 16).unwrap()));
    page.extend(log_id);
    page.extend(meta.dev().to_le_bytes());
    page.extend(meta.ino().to_le_bytes());
    page.extend(u64::from(support::format::crc(&page)).to_le_bytes());
    page.resize(264, 0);
    page[200..208].copy_from_slice(&durable.to_le_bytes());
    page[232..240].copy_from_slice(&6_u64.to_le_bytes());
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&page, 0).unwrap();
}

#[test]
fn poison_may_name_any_offset() {
    let first = Header { base: 100, ..Header::default() };
    let mut store = first.store(&[], &records(100..110));
    store.extend(seal(first.seed, 110, 9, [10, 0, 0, 9]));
    let full = Slot { count: 1, position: store.len() as u64, next: 110, time: 9, payload_bytes: 0, flags: 1 };
    store[2048..2096].copy_from_slice(&full.bytes(first.seed));
    let second = Header { base: 110, time_floor: 9, ..first };
    let tail = second.store(&[], &records(110..120));
    let image = Image([(first.store_name(), store), (second.store_name(), tail)].into());
    for durable in [0, 1, 99, 100, 101, 105, 109, 110, 111, 119, 120, 121, 1 << 40, u64::MAX - 1, u64::MAX] {
        let dir = image.place();
        poisoned(&dir, first.log_id, durable);
        let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("durable offset {durable}: {error}"));
        let anew = Image::of(dir.path()).stores().iter().any(|name| name.contains("-00000001"));
        assert_eq!(anew, durable < 120, "durable offset {durable}: what is doubted is written anew");
        check_whole(&log, 100, 120);
        check_goes_on(log, dir.path(), &small(), payload);
    }
}

/// Makes the store of this segment a terabyte long, nearly all of it a hole.
fn stretch(dir: &Scratch, of: &Header) -> fs::File {
    let file = fs::File::options().write(true).open(dir.join(&of.store_name())).unwrap();
    file.set_len(TERABYTE).unwrap();
    file
}

/// The first segment with this first page, a terabyte long, and perhaps another one behind it.
fn terabyte(page: &[u8], damaged: bool, followed: bool) -> Scratch {
    let (header, _, mut store) = one_segment();
    let second = Header { base: 10, ..header };
    store[..FRAMES].copy_from_slice(page);
    store[FRAMES + 20] ^= u8::from(damaged);
    let mut image = one_file(&header, store);
    if followed {
        image.0.insert(second.store_name(), second.store(&[], &records(10..15)));
    }
    let dir = image.place();
    stretch(&dir, &header);
    dir
}

#[test]
fn a_store_of_a_terabyte_is_opened_in_bounded_time_and_memory() {
    let (header, slot, store) = one_segment();
    // Closed, and not.
    for slots in [vec![], vec![slot]] {
        let dir = terabyte(&header.page(&slots), false, false);
        let stat = exercise(dir.path()).unwrap();
        assert_eq!((stat.next_offset, stat.dropped_bytes), (10, 0));
    }
    // Something at its very end: a torn tail, a terabyte long.
    let dir = terabyte(&header.page(&[]), false, false);
    stretch(&dir, &header).write_all_at(b"x", TERABYTE - 1).unwrap();
    let stat = exercise(dir.path()).unwrap();
    assert_eq!((stat.next_offset, stat.dropped_bytes), (10, TERABYTE - store.len() as u64));
}

#[test]
fn a_damaged_record_of_a_terabyte_of_hole_is_told_in_bounded_time() {
    // A full store with a damaged record, and no index.
    let (header, slot, _) = one_segment();
    let dir = terabyte(&header.page(&[Slot { flags: 1, ..slot }]), true, true);
    exercise(dir.path()).unwrap();
}

#[test]
fn records_that_a_terabyte_of_hole_should_hold_are_told_in_bounded_time() {
    // Durable up to its end, with no index, and no more records or a million that are not there.
    for next in [10, 1 << 20] {
        let (header, slot, _) = one_segment();
        let dir = terabyte(&header.page(&[Slot { position: TERABYTE, next, ..slot }]), false, false);
        let _ = exercise(dir.path());
    }
}

#[test]
fn a_huge_index_takes_bounded_time_and_space() {
    const CAPACITY: u32 = 1 << 28;
    let (header, slot, mut store) = one_segment();
    store[2048..2096].copy_from_slice(&slot.bytes(header.seed));
    let second = Header { base: 10, ..header };
    for followed in [true, false] {
        let mut image = one_file(&header, store.clone());
        if followed {
            image.0.insert(second.store_name(), second.store(&[], &[]));
        }
        let dir = image.place();
        let table = fs::File::create(dir.join(&header.index_name())).unwrap();
        table.write_all_at(&index(&header, CAPACITY, &[]), 0).unwrap();
        table.set_len(64 + 4 * u64::from(CAPACITY)).unwrap();
        let log = Log::open(dir.path(), &small()).unwrap();
        let disk = fs::metadata(dir.join(&header.index_name())).map_or(0, |meta| meta.blocks() * 512);
        assert!(disk < 64 << 20, "the index takes {disk} bytes on the disk");
        drop(log);
        exercise(dir.path()).unwrap();
    }
}

#[test]
fn names_that_are_no_files_are_refused_or_passed_over() {
    let (header, slot, mut store) = one_segment();
    store[2048..2096].copy_from_slice(&slot.bytes(header.seed));
    let second = Header { base: 10, ..header };
    let whole = Image(
        [(header.store_name(), store.clone()), (second.store_name(), second.store(&[], &records(10..15)))].into(),
    );
    let elsewhere = Scratch::new();
    fs::write(elsewhere.join("file"), &store).unwrap();
    let names = [
        "LIVE".to_owned(),
        "next-store.tmp".to_owned(),
        "next-index.tmp".to_owned(),
        "lost".to_owned(),
        header.store_name(),
        header.index_name(),
        second.store_name(),
        second.index_name(),
        Header { base: 15, ..header }.store_name(),
        Header { base: 15, ..header }.index_name(),
    ];
    for name in &names {
        for what in
            ["directory", "full directory", "fifo", "link to a file", "link to nothing", "link to a device", "socket"]
        {
            let dir = whole.place();
            let path = dir.join(name);
            let _ = fs::remove_file(&path);
            match what {
                "directory" => fs::create_dir(&path).unwrap(),
                "full directory" => fs::create_dir_all(path.join("more")).unwrap(),
                "fifo" => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
                "link to a file" => symlink(elsewhere.join("file"), &path).unwrap(),
                "link to nothing" => symlink(elsewhere.join("nothing"), &path).unwrap(),
                "link to a device" => symlink("/dev/zero", &path).unwrap(),
                _ => drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
            }
            let result = exercise(dir.path());
            let statuses = [Status::Io, Status::Corrupt, Status::Format, Status::NotFound];
            if let Err(error) = &result {
                assert!(statuses.contains(&error.status()), "{name} is a {what}: {error}");
            }
            let index = Path::new(name).extension().is_some_and(|end| end == "index");
            if index && !name.starts_with("next") && what != "directory" && what != "full directory" {
                assert!(result.is_ok(), "{name} is a {what}: an index is not needed: {result:?}");
            }
            assert_eq!(fs::read(elsewhere.join("file")).unwrap(), store, "{name} is a {what}: it was followed");
            assert!(!elsewhere.join("nothing").exists(), "{name} is a {what}: it was followed");
            let _ = remove(dir.path());
            assert_eq!(fs::read(elsewhere.join("file")).unwrap(), store, "{name} is a {what}: it was followed");
        }
    }
}

/// A segment that is there twice: a copy of a store under another base, another epoch, or both. No name says what its header does
/// not, so a copy is told; nothing is read twice, nothing wrong, and nothing is deleted.
#[test]
fn a_segment_that_stands_there_twice_is_told_and_never_wrong_data() {
    let (header, _, _) = one_segment();
    let first = Header { base: 0, ..header };
    let second = Header { base: 10, ..header };
    let third = Header { base: 15, ..header };
    let store = |header: &Header, from, to| header.store(&[], &records(from..to));
    let whole =
        Image([(first.store_name(), store(&first, 0, 10)), (second.store_name(), store(&second, 10, 15))].into());
    assert!(exercise(whole.place().path()).is_ok(), "the log itself is good");
    for (from, name) in [
        // The same segment in another place, before and behind its own.
        (&first, third.store_name()),
        (&first, Header { base: 5, ..header }.store_name()),
        (&second, third.store_name()),
        (&second, Header { base: 5, ..header }.store_name()),
        // The same base in another epoch.
        (&first, Header { epoch: 1, ..first }.store_name()),
        (&second, Header { epoch: 1, ..second }.store_name()),
        (&second, Header { epoch: 1, base: 12, ..second }.store_name()),
        (&first, Header { epoch: 7, base: 12, ..second }.store_name()),
        // Another's base and epoch over it.
        (&first, second.store_name()),
        (&second, first.store_name()),
    ] {
        let mut image = whole.clone();
        image.0.insert(name.clone(), whole.0[&from.store_name()].clone());
        let dir = image.place();
        match exercise(dir.path()) {
            Ok(_) => {
                let log = Log::open(dir.path(), &small()).unwrap();
                for offset in 0..15.min(log.next_offset()) {
                    let read = log.read(offset, |bytes, _| assert!(bytes == payload(offset), "{name}: {offset}"));
                    assert!(read.is_ok() || read.unwrap_err().status() == Status::Corrupt);
                }
            }
            Err(error) => {
                assert!(matches!(error.status(), Status::Corrupt | Status::Format), "{name}: {error}");
                let after = Image::of(dir.path());
                for (file, bytes) in &image.0 {
                    assert!(after.0.get(file) == Some(bytes), "{file} is as it was: {name}: {error}");
                }
            }
        }
    }
}

/// What stands where `lost/` should be when a segment is to go there. It stays in the directory then, out of the row; nothing
/// is followed, nothing deleted.
#[test]
fn a_lost_that_is_no_folder_keeps_segments_where_they_are() {
    for what in ["file", "fifo", "link to a folder", "link to nothing", "folder"] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &small()).unwrap();
        support::append_mixed(&log, 116);
        let mut image = Image::of(dir.path());
        drop(log);
        // Torn in the middle, without a slot that says what was durable.
        image.0.remove("LIVE");
        let stores: Vec<_> = image.0.keys().filter(|name| support::is_store(name)).cloned().collect();
        for name in &stores {
            image.file(name)[2048..3072].fill(0);
        }
        let torn = &stores[stores.len() - 2];
        let len = image.0[torn].len();
        image.file(torn)[FRAMES..len].fill(0);
        let dir = image.place();
        let elsewhere = Scratch::new();
        let lost = dir.join("lost");
        match what {
            "file" => fs::write(&lost, b"mine").unwrap(),
            "fifo" => assert!(Command::new("mkfifo").arg(&lost).status().unwrap().success()),
            "link to a folder" => symlink(elsewhere.path(), &lost).unwrap(),
            "link to nothing" => symlink(elsewhere.join("nothing"), &lost).unwrap(),
            _ => fs::create_dir(&lost).unwrap(),
        }
        let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let next = log.next_offset();
        assert!(next > 0 && next < 116, "{what}: {next}");
        check_whole(&log, 0, next);
        log.close().unwrap();
        let last = stores.last().unwrap();
        let moved = what.starts_with("folder");
        let at = if moved { lost.join(last) } else { dir.join(last) };
        assert_eq!(fs::read(at).unwrap(), image.0[last], "{what}: it is kept as it was");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "{what}: nothing is followed");
        let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("{what}: once more: {error}"));
        check_whole(&log, 0, next);
        check_goes_on(log, dir.path(), &small(), payload);
        let removed = remove(dir.path());
        assert!(removed.is_ok(), "{what}: {removed:?}");
        assert_eq!(lost.symlink_metadata().is_ok(), !moved, "{what}: what is not the log's stays");
    }
}
