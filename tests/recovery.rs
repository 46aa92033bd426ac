//! Recovery: what an open finds after a clean close, after a kill, with files missing, damaged, left over or foreign.
//! A copy of an open log's files at a quiet moment is what a killed process leaves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Log, Record};
use std::fs;
use std::path::Path;
use support::format::{FRAMES, Header, MORE, SEAL, Slot, frames, index};
use support::{Image, Scratch, append, append_mixed, check_goes_on, check_whole, payload, settle, small};

/// A log of several segments, still open.
fn open_log(records: u64) -> (Scratch, Log) {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, records);
    (dir, log)
}

/// The files of a log of several segments that was killed: the last segment's frames are only in the ring, the others
/// have been synced.
fn killed(records: u64) -> Image {
    let (dir, log) = open_log(records);
    settle(&log, Header::of(&Image::of(dir.path()).0[&Image::of(dir.path()).last_store()]).base);
    Image::of(dir.path())
}

/// The same after a clean close.
fn closed(records: u64) -> Image {
    let (dir, log) = open_log(records);
    log.close().unwrap();
    Image::of(dir.path())
}

/// The files of a killed one with nothing in the ring that is not in a store, and its stores.
fn killed_and_stored() -> (Image, Vec<String>) {
    let mut image = killed(200);
    image.write_out();
    let image = image.kept();
    let stores = image.stores();
    assert!(stores.len() >= 5);
    (image, stores)
}

/// How many records an open finds, how many of them behind the durable mark, and how many bytes it leaves out.
fn found(log: &Log) -> (u64, u64, u64) {
    let stat = log.stat().unwrap();
    assert_eq!(stat.durable_offset, stat.next_offset, "what recovery keeps is durable");
    (stat.next_offset, stat.recovered_records, stat.dropped_bytes)
}

/// Opens these files: all records below `next` are there, `recovered` of them behind the durable mark, and the log
/// goes on.
fn check(image: &Image, next: u64, recovered: u64, dropped: u64) -> Image {
    let dir = image.place();
    let log = Log::open(dir.path(), &small()).unwrap();
    assert_eq!(found(&log), (next, recovered, dropped));
    check_whole(&log, 0, next);
    check_goes_on(log, dir.path(), &small(), payload);
    Image::of(dir.path())
}

/// Up to where the last of these segments is durable.
fn mark(image: &Image) -> u64 {
    let store = &image.0[&image.last_store()];
    Slot::of(store).map_or(Header::of(store).base, |slot| slot.next)
}

/// As if no sync of these stores had ever been followed by a slot.
fn without_slots(image: &mut Image, stores: &[String]) {
    for store in stores {
        image.file(store)[2048..FRAMES].fill(0);
    }
}

fn index_of(store: &str) -> String {
    store.replace(".store", ".index")
}

#[test]
fn a_clean_close_leaves_nothing_to_recover() {
    for records in [0, 1, 7, 116] {
        let image = closed(records);
        let dir = image.place();
        let log = Log::open(dir.path(), &small()).unwrap();
        let index = index_of(&image.last_store());
        assert_eq!(Image::of(dir.path()).0[&index].len(), image.0[&index].len(), "the index is gone on in as it is");
        drop(log);
        check(&image, records, 0, 0);
        check(&image.kept(), records, 0, 0);
    }
}

#[test]
fn the_ring_has_every_record_of_a_killed_process() {
    for records in [1, 9, 50, 116, 200] {
        let image = killed(records);
        let unsynced = records - mark(&image);
        assert!(unsynced > 0);
        check(&image, records, unsynced, 0);
    }
}

#[test]
fn a_killed_process_that_has_rolled_without_a_sync_loses_nothing() {
    let mut image = killed(116);
    let stores = image.stores();
    assert!(stores.len() >= 4);
    without_slots(&mut image, &stores);
    check(&image, 116, 116, 0);
}

#[test]
fn a_process_killed_again_and_again_loses_nothing() {
    let mut image = killed(20);
    for round in 1..12 {
        let dir = image.place();
        let log = Log::open(dir.path(), &small()).unwrap();
        assert_eq!(found(&log).0, 20 * round);
        append_mixed(&log, 20);
        image = Image::of(dir.path());
    }
    check_whole(&Log::open(image.place().path(), &small()).unwrap(), 0, 240);
}

#[test]
fn half_a_batch_in_the_ring_is_dropped_whole() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 5, 1);
    append(&log, 4, 4);
    let image = Image::of(dir.path());
    let mut written = image.clone();
    written.write_out();
    let store = written.last_store();
    let at = frames(&written.0[&store]);
    assert_eq!(at.len(), 9);
    for broken in [5, 6, 8] {
        let mut torn = image.clone();
        let place = (64 << 10) + at[broken].start;
        torn.file("LIVE")[place + 5] ^= 1;
        check(&torn, 5, 5, 0);
        // The same with the batch's first frame in the store already.
        torn.file(&store)[..at[5].end].copy_from_slice(&written.0[&store][..at[5].end]);
        let dropped = (at[5].start..at[5].end).rev().find(|at| written.0[&store][*at] != 0).unwrap() + 1 - at[5].start;
        check(&torn, 5, 5, dropped as u64);
    }
    // A batch of which the store has a part is whole where the ring has all of it.
    let mut both = image.clone();
    both.file(&store)[..at[6].end].copy_from_slice(&written.0[&store][..at[6].end]);
    check(&both, 9, 9, 0);
}

#[test]
fn records_are_found_though_ring_and_store_each_lack_some_of_them() {
    // Found by `make crash`, a power loss within the recovery from another: the ring had a record that the store lacked,
    // the store those behind it, which the ring lacked. The first open took the one from the ring and looked no further;
    // killed before it had begun a new segment, it left a store in which the next open found all of them.
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 6, 1);
    let image = Image::of(dir.path());
    let mut written = image.clone();
    written.write_out();
    let store = written.last_store();
    let at = frames(&written.0[&store]);
    for in_store in 0..1 << 6 {
        let mut torn = image.clone();
        for (n, frame) in at.iter().enumerate() {
            if in_store & 1 << n != 0 {
                torn.file(&store)[frame.start..frame.end].copy_from_slice(&written.0[&store][frame.start..frame.end]);
                torn.file("LIVE")[(64 << 10) + frame.start + 5] ^= 1;
            }
        }
        check(&torn, 6, 6, 0);
    }
    // A batch ends the log where neither of the two has all of it.
    append(&log, 3, 3);
    append(&log, 1, 1);
    let mut torn = Image::of(dir.path());
    let mut written = torn.clone();
    written.write_out();
    let at = frames(&written.0[&store]);
    torn.file("LIVE")[(64 << 10) + at[7].start + 5] ^= 1;
    torn.file(&store)[at[7].start..at[9].end].copy_from_slice(&written.0[&store][at[7].start..at[9].end]);
    let dir = torn.place();
    let log = Log::open(dir.path(), &small()).unwrap();
    assert_eq!((log.next_offset(), log.stat().unwrap().dropped_bytes > 0), (6, true));
}

#[test]
fn half_a_batch_in_the_store_is_dropped_whole() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 5, 1);
    append(&log, 4, 4);
    let mut image = Image::of(dir.path());
    image.write_out();
    let mut image = image.kept();
    let store = image.last_store();
    let at = frames(&image.0[&store]);
    image.file(&store)[at[8].start..].fill(0);
    let left = &image.0[&store];
    let dropped = (0..left.len()).rev().find(|at| left[*at] != 0).unwrap() + 1 - at[5].start;
    check(&image, 5, 5, dropped as u64);
}

#[test]
fn a_copied_directory_without_live_has_all_that_is_in_the_stores() {
    let image = killed(116).kept();
    let last = Header::of(&image.0[&image.last_store()]).base;
    check(&image, last, 0, 0);
    check(&closed(116).kept(), 116, 0, 0);
}

#[test]
fn the_ring_of_another_log_is_not_taken_for_this_ones() {
    let mut image = killed(116).kept();
    let last = Header::of(&image.0[&image.last_store()]).base;
    image.0.insert("LIVE".to_owned(), killed(116).0.remove("LIVE").unwrap());
    check(&image, last, 0, 0);
}

#[test]
fn a_live_of_any_length_is_taken_for_what_it_is() {
    let image = killed(116);
    let last = Header::of(&image.0[&image.last_store()]).base;
    for len in [0, 1, 100, 64 << 10, (64 << 10) + FRAMES] {
        let mut short = image.clone();
        short.file("LIVE").truncate(len);
        check(&short, last, 0, 0);
    }
    let mut long = image.clone();
    long.file("LIVE").extend([0xA5; 5000]);
    check(&long, 116, 116 - mark(&image), 0);
}

/// The index that a store's frames ask for, up to its last used entry.
fn true_index(store: &[u8], capacity: u32) -> Vec<u8> {
    let positions: Vec<_> =
        frames(store).iter().filter(|frame| frame.flags & SEAL == 0).map(|frame| frame.start as u64).collect();
    index(&Header::of(store), capacity, &positions)
}

type Damage = fn(&mut Image, &str, &[u8]);

#[test]
fn an_index_that_is_missing_or_damaged_or_anothers_is_rebuilt() {
    let image = closed(116);
    let stores = image.stores();
    assert!(stores.len() >= 4);
    let other = image.0[&index_of(&stores[1])].clone();
    let damages: [(&str, Damage); 7] = [
        ("missing", |image, name, _| drop(image.0.remove(name))),
        ("empty", |image, name, _| image.file(name).clear()),
        ("cut", |image, name, _| image.file(name).truncate(70)),
        ("a bad header", |image, name, _| image.file(name)[20] ^= 1),
        ("no entries", |image, name, _| image.file(name)[64..].fill(0)),
        ("wrong entries", |image, name, _| image.file(name)[64..].chunks_mut(4).for_each(|entry| entry[0] ^= 2)),
        ("another's", |image, name, other| *image.file(name) = other.to_vec()),
    ];
    for store in [&stores[0], &stores[2], stores.last().unwrap()] {
        let name = index_of(store);
        for (what, damage) in damages {
            let mut damaged = image.clone();
            damage(&mut damaged, &name, &other);
            let dir = damaged.place();
            let log = Log::open(dir.path(), &small()).unwrap();
            assert_eq!(found(&log), (116, 0, 0), "{store}: {what}");
            check_whole(&log, 0, 116);
            log.close().unwrap();
            let after = Image::of(dir.path());
            let bytes = &after.0[&name];
            let good = true_index(&after.0[store], u32::from_le_bytes(bytes[28..32].try_into().unwrap()));
            assert_eq!(bytes[..good.len()], good[..], "{store}: {what}: the index on the disk is mended");
        }
    }
}

#[test]
fn every_index_can_be_deleted_at_any_time() {
    for mut image in [closed(116), killed(116)] {
        let recovered = 116 - mark(&image);
        image.0.retain(|name, _| !name.contains(".index"));
        check(&image, 116, recovered, 0);
    }
}

#[test]
fn files_of_a_segment_that_never_got_its_name_are_deleted() {
    let mut image = killed(116);
    let (next, recovered) = (116, 116 - mark(&image));
    let header = Header { base: next, seed: 99, ..Header::of(&image.0[&image.last_store()]) };
    for leftover in [Vec::new(), vec![0xA5; 5000], header.page(&[])] {
        image.0.insert("next-store.tmp".to_owned(), leftover.clone());
        image.0.insert("next-index.tmp".to_owned(), leftover);
        image.0.insert(header.index_name(), index(&header, 10, &[]));
        let dir = image.place();
        let log = Log::open(dir.path(), &small()).unwrap();
        assert_eq!(found(&log), (next, recovered, 0));
        let names = Image::of(dir.path());
        for name in ["next-store.tmp", "next-index.tmp", &header.index_name()] {
            assert!(!names.0.contains_key(name), "{name} is deleted");
        }
        check_whole(&log, 0, next);
        check_goes_on(log, dir.path(), &small(), payload);
    }
}

#[test]
fn a_next_segment_that_was_never_used_is_gone_on_in() {
    // Killed between the rename of the next segment and its first record: with and without its index, and with no
    // slot.
    let image = killed(116).kept();
    let store = image.last_store();
    let base = Header::of(&image.0[&store]).base;
    assert!(image.0[&store][FRAMES..].iter().all(|byte| *byte == 0));
    for (index, slot) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut unused = image.clone();
        if !index {
            unused.0.remove(&index_of(&store));
        }
        let mut recovered = 0;
        if !slot {
            let stores = unused.stores();
            without_slots(&mut unused, &stores[stores.len() - 2..]);
            recovered = base - Header::of(&unused.0[&stores[stores.len() - 2]]).base;
        }
        let after = check(&unused, base, recovered, 0);
        assert_eq!(after.stores(), unused.stores(), "no further segment is made");
    }
}

#[test]
fn behind_a_seal_the_log_goes_on_in_a_new_segment() {
    // Killed between the SEAL and the rename of the next segment.
    let mut image = killed(116).kept();
    let (store, stores) = (image.last_store(), image.stores());
    let base = Header::of(&image.0[&store]).base;
    let next = image.0.remove(&store).unwrap();
    image.0.remove(&index_of(&store));
    image.0.insert("next-store.tmp".to_owned(), next);
    let sealed = image.last_store();
    assert_ne!(frames(&image.0[&sealed]).last().unwrap().flags & SEAL, 0);
    let after = check(&image, base, 0, 0);
    assert_eq!(after.stores(), stores, "the next segment has the name that it was to get, and the same epoch");
    assert_eq!(after.0[&sealed][FRAMES..], image.0[&sealed][FRAMES..], "nothing is written behind a SEAL");
    // The same where the SEAL had not been synced.
    without_slots(&mut image, std::slice::from_ref(&sealed));
    let recovered = base - Header::of(&image.0[&sealed]).base;
    check(&image, base, recovered, 0);
}

#[test]
fn a_segment_whose_own_header_a_power_loss_took_is_out_of_the_row() {
    // A roll gives a segment that was made ahead of need its own header without a sync. Where that did not reach the
    // disk, none of its records was ever synced, whatever else of it did.
    let mut image = killed(116);
    image.write_out();
    let image = image.kept();
    let store = image.last_store();
    let own = Header::of(&image.0[&store]);
    let ahead = Header { base: 0, time_floor: 0, cause: 4, seed: 77, ..own };
    let dropped = image.0[&store][FRAMES..].iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = |copies: &[usize]| {
        let mut torn = image.clone();
        without_slots(&mut torn, std::slice::from_ref(&store));
        for at in copies {
            torn.file(&store)[*at..at + 80].copy_from_slice(&ahead.bytes());
        }
        torn
    };
    for copy in [0, 1024] {
        check(&torn(&[copy]), 116, 116 - own.base, 0);
    }
    let both = torn(&[0, 1024]);
    let after = check(&both, own.base, 0, dropped as u64);
    assert_eq!(after.0[&format!("lost/{store}")], both.0[&store], "it is in lost/ as it was");

    // With none before it, it is no torn tail: the first segment of a log is made with its own header.
    let mut alone = both.clone();
    alone.0.retain(|name, _| *name == store);
    let dir = alone.place();
    let error = Log::open(dir.path(), &small()).err().unwrap();
    assert_eq!(error.status(), seglog::Status::Corrupt);
    let mut left = Image::of(dir.path());
    left.0.remove("LIVE");
    assert_eq!(left, alone, "nothing is changed");
}

#[test]
fn records_of_the_ring_are_kept_though_a_name_without_a_header_stands_behind_them() {
    // After a power loss a segment's name was there without its header, and LIVE held records of the segment before it
    // that its store did not. They were written to a file that had been opened for reading, so the log did not open any
    // more: "Bad file descriptor".
    let mut image = killed(116);
    let store = image.last_store();
    let own = Header::of(&image.0[&store]);
    let recovered = 116 - mark(&image);
    assert!(recovered > 0, "there are records in the ring");
    let ahead = Header { base: 0, time_floor: 0, cause: 4, seed: 77, ..own };
    let mut unused = vec![0; image.0[&store].len()];
    unused[..80].copy_from_slice(&ahead.bytes());
    unused[1024..1104].copy_from_slice(&ahead.bytes());
    image.0.insert(Header { base: 116, ..own }.store_name(), unused);
    check(&image, 116, recovered, 0);
}

#[test]
fn foreign_files_stay_as_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let names: [&[u8]; 12] = [
        b"README",
        b"START.old",
        b"LIVE.old",
        b".hidden",
        b"next-store.tmp.1",
        b"0.store",
        b"00000000000000000000-00000000.store.bak",
        b"00000000000000000000-0000000A.store",
        b"00000000000000000000-00000000.Index",
        b"99999999999999999999-00000000.store",
        b"not utf-8 \xFF\xFE.store",
        b"meta",
    ];
    let path = |dir: &Path, name: &[u8]| dir.join(std::ffi::OsStr::from_bytes(name));
    let mut torn = killed(116);
    torn.write_out();
    let mut torn = torn.kept();
    let store = torn.last_store();
    let end = frames(&torn.0[&store]).last().unwrap().end;
    torn.file(&store)[end - 9] ^= 0x10;
    let dir = torn.place();
    let other = Scratch::new();
    fs::write(other.join("kept"), b"kept").unwrap();
    for name in names {
        fs::write(path(dir.path(), name), name).unwrap();
    }
    for name in ["positions", "lost", "a"] {
        fs::create_dir(dir.join(name)).unwrap();
        // No position has this name.
        fs::write(dir.path().join(name).join("mine!"), name).unwrap();
    }
    std::os::unix::fs::symlink(other.path(), dir.join("link")).unwrap();
    let check = |dir: &Path| {
        for name in names {
            assert_eq!(fs::read(path(dir, name)).unwrap(), name);
        }
        for name in ["positions", "lost", "a"] {
            assert_eq!(fs::read(dir.join(name).join("mine!")).unwrap(), name.as_bytes());
        }
        assert_eq!(fs::read(dir.join("link/kept")).unwrap(), b"kept");
    };
    let log = Log::open(dir.path(), &small()).unwrap();
    assert!(found(&log).2 > 0, "the tail was torn");
    append_mixed(&log, 100);
    check_goes_on(log, dir.path(), &small(), payload);
    check(dir.path());
    seglog::remove(dir.path()).unwrap();
    check(dir.path());
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, names.len() + 4, "all that was the log's is gone");
}

#[test]
fn behind_a_torn_segment_the_later_ones_go_to_lost_whole() {
    let (mut image, stores) = killed_and_stored();
    // What a power loss may leave where nothing behind the first segment was ever synced.
    without_slots(&mut image, &stores[1..]);
    let torn = &stores[1];
    let at = frames(&image.0[torn]);
    let (hit, end) = (at[at.len() / 2], at.last().unwrap().end);
    image.file(torn)[hit.start..hit.end].fill(0);
    let good = at.iter().rfind(|frame| frame.end <= hit.start && frame.flags & MORE == 0).unwrap();
    let next = good.offset + 1;
    let tail = |store: &[u8], from: usize| store.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1 - from);
    let dropped =
        tail(&image.0[torn], good.end) + stores[2..].iter().map(|name| tail(&image.0[name], FRAMES)).sum::<usize>();
    assert!(end > good.end);
    let slot = Slot::of(&image.0[&stores[0]]).unwrap();
    let after = check(&image, next, next - slot.next, dropped as u64);
    for name in &stores[2..] {
        for name in [name.clone(), index_of(name)] {
            assert!(!after.0.contains_key(&name), "{name} is out of the row");
            assert_eq!(after.0[&format!("lost/{name}")], image.0[&name], "{name} is in lost/ as it was");
        }
    }
    assert_eq!(after.0[torn][FRAMES..], image.0[torn][FRAMES..], "the torn segment is as it was, its dead tail too");
    let fresh = Header { base: next, epoch: 1, ..Header::of(&image.0[torn]) };
    assert!(after.0.contains_key(&fresh.store_name()), "the log goes on in a segment of the next epoch");

    // Killed before the later segments were moved: the next open does it.
    let mut again = after.clone();
    for name in stores[2..].iter().flat_map(|name| [name.clone(), index_of(name)]) {
        let file = again.0.remove(&format!("lost/{name}")).unwrap();
        again.0.insert(name, file);
    }
    let twice = check(&again, next + 3, 0, 0);
    for name in &stores[2..] {
        assert_eq!(twice.0[&format!("lost/{name}")], image.0[name]);
    }
}

#[test]
fn a_segment_whose_name_a_crash_has_lost_ends_the_log_there() {
    let (mut image, stores) = killed_and_stored();
    // No sync of the directory had covered the names from the third one on, and of these the third was lost.
    without_slots(&mut image, &stores[1..]);
    for name in [stores[2].clone(), index_of(&stores[2])] {
        image.0.remove(&name);
    }
    let next = frames(&image.0[&stores[1]]).iter().rfind(|frame| frame.flags & SEAL == 0).unwrap().offset + 1;
    let durable = Slot::of(&image.0[&stores[0]]).unwrap().next;
    let tail = |name: &String| image.0[name][FRAMES..].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let dropped: usize = stores[3..].iter().map(tail).sum();
    let after = check(&image, next, next - durable, dropped as u64);
    for name in &stores[3..] {
        assert_eq!(after.0[&format!("lost/{name}")], image.0[name], "{name} is in lost/ as it was");
    }
}

/// Without a crash nothing is lost so, and a file that is not there was taken away.
#[test]
fn a_segment_that_is_missing_in_the_boot_of_its_writer_is_damage() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, 200);
    log.close().unwrap();
    // LIVE stays the file that it was.
    let stores = Image::of(dir.path()).stores();
    for store in &stores[1..] {
        let file = fs::OpenOptions::new().write(true).open(dir.join(store)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; FRAMES - 2048], 2048).unwrap();
    }
    fs::remove_file(dir.join(&stores[2])).unwrap();
    let before = Image::of(dir.path());
    let error = Log::open(dir.path(), &small()).map(|log| log.next_offset()).unwrap_err();
    assert_eq!(error.status(), seglog::Status::Corrupt, "{error}");
    assert!(error.to_string().contains("are missing"), "{error}");
    assert_eq!(before.difference(&Image::of(dir.path())), "", "nothing was changed");
}

/// Story: tests/crash.rs found a record that came back after the next one had taken its place. Of two records that were only
/// in the ring the disk kept the second. Recovery ended the log before the first and went on in the same segment; the ring
/// was cleared in the page cache, but not on the disk. A new record as long as the first was made durable; at the next
/// power loss the old second record fitted behind it, place, offset and seed, and was there again.
#[cfg(feature = "faults")]
#[test]
fn what_the_ring_kept_of_a_lost_tail_never_fits_behind_new_records() {
    use seglog::faults::Hook;
    use support::disk::Disk;
    let dir = Scratch::new();
    let log = Log::open(dir.join("log"), &small()).unwrap();
    append(&log, 5, 1);
    log.sync().unwrap();
    let end = |image: &Image| u64::from_le_bytes(image.0["LIVE"][136..144].try_into().unwrap());
    let place = |position: u64| (64 << 10) + usize::try_from(position % (1 << 20)).unwrap();
    let mut ends = vec![end(&Image::of(&dir.join("log")))];
    for text in [b"lost", b"kept"] {
        log.append(text).unwrap();
        ends.push(end(&Image::of(&dir.join("log"))));
    }
    let mut image = Image::of(&dir.join("log"));
    drop(log);
    image.file("LIVE")[place(ends[0])..place(ends[1])].fill(0);
    image.put(&dir.join("log"));
    let (hook, mut disk) = (Hook::new().with_history().in_boot([2; 16]), Disk::of(&dir.join("log")));
    hook.run(|| {
        let log = Log::open(dir.join("log"), &small()).unwrap();
        assert_eq!(log.next_offset(), 5, "the record that is lost ends the log");
        log.append(b"newer").unwrap();
        log.sync().unwrap();
        hook.kill();
    });
    hook.take_history().iter().for_each(|event| disk.take(event));
    hook.revive();
    disk.least().put(&dir.join("log"), None);
    let log = Hook::new().in_boot([3; 16]).run(|| Log::open(dir.join("log"), &small())).unwrap();
    assert_eq!(log.next_offset(), 6);
    assert_eq!(log.read(5, |bytes, _| bytes.to_vec()).unwrap(), b"newer");
}

/// So that a disk that is full then can still take it.
#[test]
fn a_new_segment_has_space_for_its_seal_and_little_more() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    let store = Image::of(dir.path()).stores().remove(0);
    let allocated = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(dir.join(&store)).unwrap()) * 512;
    assert!((4096 + 48..64 << 10).contains(&allocated), "{allocated} bytes");
    log.close().unwrap();
}

/// The header of a segment that recovery begins tells why, and time and payload bytes go on in it where the records before it
/// ended: behind a torn tail, and where files were lost behind a trim.
#[test]
fn what_recovery_begins_goes_on_in_time_and_in_bytes() {
    const LATE: u64 = 1 << 62;
    let bytes = |next| (0..next).map(|offset| payload(offset).len() as u64).sum::<u64>();
    let begun = |image: &Image, first| {
        let dir = image.place();
        let log = Log::open(dir.path(), &small()).unwrap();
        let next = log.next_offset();
        assert_eq!((log.first_offset(), log.append(b"on").unwrap()), (first, next));
        let after = Image::of(dir.path());
        let header = Header::of(&after.0[&after.last_store()]);
        let time = log.read(next, |_, time| time).unwrap();
        assert!(time >= header.time_floor, "time runs back: {time}");
        (header.cause, header.base, header.time_floor, header.prior_bytes, log.stat().unwrap().payload_bytes)
    };
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 10, 1);
    log.append_records(&[Record { offset: 10, timestamp_ns: LATE, payload: &payload(10) }]).unwrap();
    let mut torn = Image::of(dir.path());
    torn.write_out();
    torn.0.remove("LIVE");
    let store = torn.last_store();
    let end = frames(&torn.0[&store]).last().unwrap().end;
    torn.file(&store)[end..end + 16].fill(0xFF);
    assert_eq!(begun(&torn, 0), (3, 11, LATE, bytes(11), bytes(11) + 2));

    let (dir, log) = open_log(200);
    log.close().unwrap();
    let before = Image::of(dir.path());
    let log = Log::open(dir.path(), &small()).unwrap();
    log.trim(150).unwrap();
    log.close().unwrap();
    let stores = before.stores();
    let start = Image::of(dir.path()).0["START"].clone();
    let lost = Image([(stores[0].clone(), before.0[&stores[0]].clone()), ("START".to_owned(), start)].into());
    let last_time = Header::of(&before.0[&stores[1]]).time_floor;
    assert_eq!(begun(&lost, 150), (3, 150, last_time, bytes(150), 2));
}
