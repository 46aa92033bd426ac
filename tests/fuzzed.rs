//! What the fuzz targets found, each as a test that begins with its story. The inputs are in `fuzz/seeds`, under the
//! tests' names.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/handmade.rs"]
mod handmade;
mod support;

use handmade::{one_file, one_segment};
use seglog::{Config, Cursor, Io, Log, Status, flags};
use std::os::unix::fs::FileExt;
use support::format::{FRAME, SEAL, Slot, frame, frames, index, seal};
use support::{Scratch, append, is_store, payload, settle, small};

/// A writer and a follower, with mappings and without.
const EACH_WAY: [(Io, u32); 4] =
    [(Io::File, 0), (Io::Mapped, 0), (Io::File, flags::READ_ONLY), (Io::Mapped, flags::READ_ONLY)];

/// `directory`: the first store of a log with a writer was gone (a directory stood in its place). Who followed the log by
/// the writer's page was told by `log_read` that "record 0 was removed; the first one is 0", as if somebody had trimmed
/// it, and by a cursor that the log ended there. Nothing of what is below the first offset is missing by right: it is
/// damage.
#[test]
fn a_first_segment_that_is_gone_is_damage_to_who_follows_the_log() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 100, 1);
    settle(&log, 60);
    let second = log.segment_at(1).unwrap().unwrap().base_offset;
    let mut stores: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| is_store(name))
        .collect();
    stores.sort();
    std::fs::remove_file(dir.join(&stores[0])).unwrap();
    let follower = Log::open(dir.path(), &Config { flags: flags::READ_ONLY, ..Config::default() }).unwrap();
    assert_eq!((follower.first_offset(), follower.next_offset()), (0, 100));
    let mut cursor = Cursor::open(&follower, 0).unwrap();
    for offset in 0..second {
        let error = follower.read(offset, |_, _| ()).unwrap_err();
        assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, offset), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
        let error = cursor.next().unwrap_err();
        assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, offset), "{error}");
        assert_eq!(cursor.offset(), offset + 1);
    }
    for offset in second..100 {
        assert_eq!(follower.read(offset, |bytes, _| bytes.to_vec()).unwrap(), payload(offset));
        assert_eq!(cursor.next().unwrap().unwrap().payload, payload(offset));
    }
    for offset in (0..100).rev() {
        match cursor.prev() {
            Ok(record) => assert_eq!(record.unwrap().payload, payload(offset)),
            Err(error) => assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, offset), "{error}"),
        }
        assert_eq!(cursor.offset(), offset);
    }
}

/// `directory`: a frame with checksums of its own said that it was shorter than it had been. Where nothing is mapped, a cursor
/// looked for the next record where that one ended, and called it damaged; `log_read` asked the index, and read it.
#[test]
fn a_frame_that_lies_about_its_length_costs_a_cursor_no_other_record() {
    let (header, slot, mut store) = one_segment();
    let places: Vec<u64> = frames(&store).iter().map(|frame| frame.start as u64).collect();
    let lie = frame(header.seed, 4, 0, FRAME, b"short");
    let at = places[4] as usize;
    assert!(lie.len() < (places[5] - places[4]) as usize);
    store[at..at + lie.len()].copy_from_slice(&lie);
    store[2048..2048 + 48].copy_from_slice(&slot.bytes(header.seed));
    for (io, read_only) in
        [(Io::File, 0), (Io::Mapped, 0), (Io::File, flags::READ_ONLY), (Io::Mapped, flags::READ_ONLY)]
    {
        let dir = Scratch::new();
        one_file(&header, store.clone()).put(dir.path());
        let mut entries = index(&header, 64, &places);
        entries.resize(64 + 4 * 64, 0);
        std::fs::write(dir.join(&header.index_name()), entries).unwrap();
        let log = Log::open(dir.path(), &Config { io, flags: read_only, ..small() }).unwrap();
        let mut cursor = Cursor::open(&log, 0).unwrap();
        for offset in (0..10).filter(|offset| *offset != 4) {
            assert_eq!(log.read(offset, |bytes, _| bytes.to_vec()).unwrap(), payload(offset));
            let mut record = cursor.next().unwrap().unwrap();
            if record.offset == 4 {
                record = cursor.next().unwrap().unwrap();
            }
            assert_eq!((record.offset, record.payload), (offset, &*payload(offset)), "{io:?} {read_only}");
        }
        for offset in (0..10).rev().filter(|offset| *offset != 4) {
            let mut record = cursor.prev().unwrap().unwrap();
            if record.offset == 4 {
                record = cursor.prev().unwrap().unwrap();
            }
            assert_eq!((record.offset, record.payload), (offset, &*payload(offset)), "{io:?} {read_only}");
        }
    }
}

/// `directory`: the frames of a store had moved up by 16 bytes, the last one over the end, and the index had not. A walk found the
/// others again; but where the last one had stood told a read by `pread` that the frame before it had 8 bytes, so it looked at 8,
/// and called a good record damaged.
#[test]
fn an_index_entry_that_leaves_no_room_for_a_frame_costs_the_record_before_it_nothing() {
    let (header, slot, mut store) = one_segment();
    let mut places: Vec<u64> = frames(&store).iter().map(|frame| frame.start as u64).collect();
    store[2048..2048 + 48].copy_from_slice(&slot.bytes(header.seed));
    store[places[9] as usize + 16] ^= 1;
    for room in [0, 8, 16] {
        places[9] = places[8] + room;
        let mut entries = index(&header, 64, &places);
        entries.resize(64 + 4 * 64, 0);
        for (io, read_only) in EACH_WAY {
            let dir = Scratch::new();
            one_file(&header, store.clone()).put(dir.path());
            std::fs::write(dir.join(&header.index_name()), &entries).unwrap();
            let log = Log::open(dir.path(), &Config { io, flags: read_only, ..small() }).unwrap();
            for offset in 0..9 {
                let read = log.read(offset, |bytes, _| bytes.to_vec());
                assert_eq!(read.unwrap(), payload(offset), "{io:?} {read_only}, room for {room} bytes");
            }
            assert_eq!(log.read(9, |_, _| ()).unwrap_err().status(), Status::Corrupt);
        }
    }
}

/// `directory`: a frame that is written as a SEAL should be, in the place of a full segment's first record. It ended the walk that
/// looks for the others, and all records of the segment were called damaged.
#[test]
fn a_seal_before_a_full_segments_end_costs_its_record_and_no_other() {
    let (header, _, mut store) = one_segment();
    let all = frames(&store);
    let lie = frame(header.seed, 0, 0, FRAME | SEAL, b"");
    assert!(lie.len() <= all[1].start - all[0].start);
    store[all[0].start..all[0].start + lie.len()].copy_from_slice(&lie);
    let says = [10, 0, 0, 9];
    store.extend(seal(header.seed, 10, 9, says));
    let payload_bytes = (0..10).map(|offset| payload(offset).len() as u64).sum();
    let slot = Slot { count: 1, position: store.len() as u64, next: 10, time: 9, payload_bytes, flags: 1 };
    store[2048..2048 + 48].copy_from_slice(&slot.bytes(header.seed));
    for (io, read_only) in EACH_WAY {
        let dir = Scratch::new();
        one_file(&header, store.clone()).put(dir.path());
        let log = Log::open(dir.path(), &Config { io, ..small() }).unwrap();
        append(&log, 1, 1);
        log.close().unwrap();
        let log = Log::open(dir.path(), &Config { io, flags: read_only, ..small() }).unwrap();
        assert_eq!(log.read(0, |_, _| ()).unwrap_err().status(), Status::Corrupt);
        for offset in 1..11 {
            let read = log.read(offset, |bytes, _| bytes.to_vec()).map_err(|error| error.to_string());
            assert_eq!(read, Ok(payload(offset)), "{io:?} {read_only}");
        }
    }
}

/// The same in the last segment, which takes more records, where there is no index.
#[test]
fn a_seal_before_the_last_segments_end_costs_its_record_and_no_other() {
    let (header, slot, mut store) = one_segment();
    let first = frames(&store)[0].start;
    let lie = frame(header.seed, 0, 0, FRAME | SEAL, b"");
    store[first..first + lie.len()].copy_from_slice(&lie);
    store[2048..2048 + 48].copy_from_slice(&slot.bytes(header.seed));
    for (io, read_only) in EACH_WAY {
        let dir = Scratch::new();
        one_file(&header, store.clone()).put(dir.path());
        let log = Log::open(dir.path(), &Config { io, flags: read_only, ..small() }).unwrap();
        assert_eq!(log.read(0, |_, _| ()).unwrap_err().status(), Status::Corrupt);
        for offset in 1..10 {
            let read = log.read(offset, |bytes, _| bytes.to_vec()).map_err(|error| error.to_string());
            assert_eq!(read, Ok(payload(offset)), "{io:?} {read_only}");
        }
    }
}

/// `directory`: the same for who follows its writer: a walk ended at the SEAL, and the records that were in the ring still
/// were called damaged.
#[test]
fn a_seal_in_the_segment_that_is_written_costs_who_follows_its_record_and_no_other() {
    let dir = Scratch::new();
    let log =
        Log::open(dir.path(), &Config { segment_max_bytes: 1 << 20, flags: flags::NO_THREAD, ..small() }).unwrap();
    append(&log, 30, 1);
    log.sync().unwrap();
    append(&log, 30, 1);
    let path = dir.join("00000000000000000000-00000000.store");
    let bytes = std::fs::read(&path).unwrap();
    let seed = u32::from_le_bytes(*bytes[28..].first_chunk().unwrap());
    let lie = frame(seed, 0, 0, FRAME | SEAL, b"");
    let (first, second) = (frames(&bytes)[0], frames(&bytes)[1]);
    assert!(first.start + lie.len() <= second.start);
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&lie, first.start as u64).unwrap();
    std::fs::remove_file(path.with_extension("index")).unwrap();
    // The ring, a MiB at LIVE's end, has gone on since.
    let live = std::fs::File::options().write(true).open(dir.join("LIVE")).unwrap();
    let ring = live.metadata().unwrap().len() - (1 << 20);
    live.write_all_at(&[0; 16], ring + first.start as u64).unwrap();
    for io in [Io::File, Io::Mapped] {
        let reader = Log::open(dir.path(), &Config { io, flags: flags::READ_ONLY, ..Config::default() }).unwrap();
        assert_eq!(reader.read(0, |_, _| ()).unwrap_err().status(), Status::Corrupt);
        let mut cursor = Cursor::open(&reader, 1).unwrap();
        for offset in (1..60).rev() {
            let read = reader.read(offset, |bytes, _| bytes.to_vec()).map_err(|error| error.to_string());
            assert_eq!(read, Ok(payload(offset)), "{io:?}");
        }
        for offset in 1..60 {
            assert_eq!(cursor.next().unwrap().unwrap().payload, payload(offset), "{io:?}");
        }
    }
}

/// `directory`: LIVE's page said that the first record is one behind the next one, and who followed the log said so too.
#[test]
fn a_page_whose_first_record_is_behind_its_next_one_is_not_believed() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 30, 1);
    let live = std::fs::File::options().write(true).open(dir.join("LIVE")).unwrap();
    live.write_all_at(&70_u64.to_le_bytes(), 208).unwrap();
    let follower = Log::open(dir.path(), &Config { flags: flags::READ_ONLY, ..Config::default() });
    if let Ok(stat) = follower.and_then(|follower| follower.stat()) {
        assert!(stat.first_offset <= stat.next_offset, "{stat:?}");
    }
}
