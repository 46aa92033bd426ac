//! Recovery: what an open finds after a clean close, after a kill, with files missing, damaged, left over or foreign.
//! A copy of an open log's files at a quiet moment is what a killed process leaves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::Log;
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
        fs::write(dir.path().join(name).join("mine"), name).unwrap();
    }
    std::os::unix::fs::symlink(other.path(), dir.join("link")).unwrap();
    let check = |dir: &Path| {
        for name in names {
            assert_eq!(fs::read(path(dir, name)).unwrap(), name);
        }
        for name in ["positions", "lost", "a"] {
            assert_eq!(fs::read(dir.join(name).join("mine")).unwrap(), name.as_bytes());
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
    let mut image = killed(200);
    image.write_out();
    let mut image = image.kept();
    let stores = image.stores();
    assert!(stores.len() >= 5);
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
