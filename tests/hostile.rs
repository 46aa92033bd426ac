//! Hostile contents: files made by hand with right checksums and wrong contents (support/format.rs follows
//! docs/FORMAT.md, so that this also proves the document). Each gets a status in bounded time and memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/exercise.rs"]
mod exercise;
#[path = "support/handmade.rs"]
mod handmade;
mod support;

use exercise::exercise;
use handmade::{one_file, one_segment, records};
use seglog::{Config, Log, Status};
use std::fs;
use support::format::{FRAME, FRAMES, Header, MORE, SEAL, Slot, frame, frame_head, index, seal};
use support::{Image, Random, Scratch, check_goes_on, check_whole, each, payload, small};

#[test]
fn a_log_made_by_hand_from_the_document_opens_and_reads() {
    let first = Header { created: 5, ..Header::default() };
    let mut records = records(0..12);
    for batched in &mut records[3..6] {
        batched.0 |= MORE;
    }
    let mut store = first.store(&[], &records);
    store.extend(seal(first.seed, 12, 11, [12, 600, 0, 11]));
    let full = Slot { count: 3, position: store.len() as u64, next: 12, time: 11, payload_bytes: 600, flags: 1 };
    store[2048..2096].copy_from_slice(&full.bytes(first.seed));
    let second = Header { base: 12, seed: 99, time_floor: 11, prior_bytes: 600, ..first };
    let tail = second.store(&[], &self::records(12..20));
    for mark in 0..4 {
        let mut tail = tail.clone();
        // Not synced, synced before its first record, in the middle, closed.
        let whole = support::format::frames(&tail);
        let position = [FRAMES, FRAMES, whole[3].start, tail.len()][mark];
        let next = 12 + [0, 0, 3, 8][mark];
        let slot = Slot { count: 2, position: position as u64, next, time: 11, payload_bytes: 0, flags: 0 };
        if mark > 0 {
            tail[3072..3120].copy_from_slice(&slot.bytes(second.seed));
        }
        let image = Image([(first.store_name(), store.clone()), (second.store_name(), tail)].into());
        let dir = image.place();
        let log = Log::open(dir.path(), &small()).unwrap();
        let stat = log.stat().unwrap();
        assert_eq!((stat.recovered_records, stat.dropped_bytes, stat.log_id), (20 - next, 0, first.log_id));
        assert_eq!(log.read(19, |_, time| time).unwrap(), 11 + 7);
        check_whole(&log, 0, 20);
        check_goes_on(log, dir.path(), &small(), payload);
    }
}

#[test]
fn what_the_library_writes_is_what_the_document_says() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { initial_offset: 7, ..small() }).unwrap();
    support::append_mixed(&log, 90);
    let stat = log.stat().unwrap();
    log.close().unwrap();
    let image = Image::of(dir.path());
    let (mut next, mut time, mut bytes) = (7, 0, 0);
    let stores = image.stores();
    for name in &stores {
        let (store, at) = (&image.0[name], image.0[name].as_slice());
        let header = Header::of(store);
        assert_eq!(header.bytes(), at[1024..1104], "the header's second copy");
        assert_eq!((header.store_name(), header.base, header.log_id), (name.clone(), next, stat.log_id));
        assert_eq!((header.version, header.epoch, header.floor_epoch, header.cause), (1, 0, 0, 0));
        assert_eq!((header.prior_bytes, header.time_floor), (bytes, time));
        assert_eq!(store.len(), FRAMES + 4096, "a store has its full size");
        let frames = support::format::frames(store);
        let mut positions = Vec::new();
        let mut own_bytes = 0;
        for frame in frames.iter().filter(|frame| frame.flags & SEAL == 0) {
            assert_eq!(frame.offset, next);
            assert_eq!(at[frame.start + 16..frame.start + 16 + payload(next).len()], payload(next));
            positions.push(frame.start as u64);
            own_bytes += payload(next).len() as u64;
            time = support::format::u64_at(at, frame.start + 8);
            next += 1;
        }
        let end = frames.last().unwrap();
        let is_last = name == stores.last().unwrap();
        if !is_last {
            let says = [next - header.base, own_bytes, support::format::u64_at(at, FRAMES + 8), time];
            assert_eq!(at[end.start..end.end], seal(header.seed, next, time, says), "the SEAL");
        }
        let slot = Slot::of(store).expect("every segment of a closed log says that it is durable");
        let flags = u32::from(!is_last);
        let expected =
            Slot { count: slot.count, position: end.end as u64, next, time, payload_bytes: own_bytes, flags };
        assert_eq!(slot, expected, "the durable slot of {name}");
        let table = &image.0[&header.index_name()];
        let capacity = support::format::u32_at(table, 28);
        let made = index(&header, capacity, &positions);
        assert_eq!(table[..made.len()], made, "the index");
        assert!(table[made.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(table.len(), (64 + 4 * capacity as usize).next_multiple_of(8));
        bytes += own_bytes;
    }
    assert_eq!((next, stat.payload_bytes), (97, bytes));
}

#[test]
fn a_log_from_the_future_keeps_the_order_of_time() {
    // The clock was set back since its last record.
    let header = Header { time_floor: 1 << 62, ..Header::default() };
    let dir = one_file(&header, header.store(&[], &records(0..10))).place();
    let log = Log::open(dir.path(), &small()).unwrap();
    support::append_mixed(&log, 90);
    let last = log.read(9, |_, time| time).unwrap();
    assert!(last >= 1 << 62);
    assert_eq!(log.read(99, |_, time| time).unwrap(), last, "over rolls, too");
    check_goes_on(log, dir.path(), &small(), payload);
}

#[test]
fn a_ring_made_by_hand_from_the_document_is_found() {
    let (header, _, store) = one_segment();
    let dir = one_file(&header, store[..FRAMES].to_vec()).place();
    let mut live = vec![0xEE; (64 << 10) + (1 << 20)];
    live[(64 << 10) + FRAMES..(64 << 10) + store.len()].copy_from_slice(&store[FRAMES..]);
    fs::write(dir.join("LIVE"), live).unwrap();
    let log = Log::open(dir.path(), &small()).unwrap();
    assert_eq!(log.stat().unwrap().recovered_records, 10);
    check_whole(&log, 0, 10);
    check_goes_on(log, dir.path(), &small(), payload);
}

#[test]
fn every_header_field_may_say_anything() {
    let (good, _, _) = one_segment();
    let numbers = [0, 1, 2, 3, 4, 5, 0x7FFF_FFFF, 0x8000_0000, u32::MAX - 1, u32::MAX];
    let words = [0, 1, 4096, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX - (1 << 32), u64::MAX - 1, u64::MAX];
    let mut headers = Vec::new();
    for n in numbers {
        headers.push(Header { version: n, ..good });
        headers.push(Header { epoch: n, ..good });
        headers.push(Header { floor_epoch: n, ..good });
        headers.push(Header { seed: n, ..good });
        headers.push(Header { cause: n, ..good });
    }
    for word in words {
        headers.push(Header { base: word, ..good });
        headers.push(Header { time_floor: word, ..good });
        headers.push(Header { created: word, ..good });
        headers.push(Header { prior_bytes: word, ..good });
        headers.push(Header { prior_bytes: word, time_floor: word, created: word, base: word, ..good });
    }
    for header in &headers {
        for named in [header, &good] {
            for torn in [false, true] {
                let mut store = header.store(&[], &records(0..10));
                if torn {
                    store.extend([0x77; 100]);
                }
                let dir = Image([(named.store_name(), store)].into()).place();
                let stat = exercise(dir.path());
                if named.store_name() != header.store_name() {
                    assert!(stat.is_err(), "the name and the header differ: {header:?}");
                }
                if header.version != 1 {
                    let expected = if header.version == 0 { Status::Corrupt } else { Status::Format };
                    assert_eq!(stat.unwrap_err().status(), expected, "{header:?}");
                }
            }
        }
    }
}

#[test]
fn a_slot_may_say_anything() {
    let (header, good, store) = one_segment();
    let end = store.len() as u64;
    let positions =
        [0, 8, 4088, 4095, 4096, 4097, 4120, end - 8, end, end + 8, 1 << 33, 1 << 40, 1 << 63, u64::MAX - 7];
    let nexts = [0, 1, 9, 10, 11, 1 << 32, u64::MAX - 1, u64::MAX];
    let others =
        [(1, 0, 0, 0), (2, u64::MAX, 0, 0), (3, 0, u64::MAX, 0), (4, 9, 0, 1), (5, 9, 5, u32::MAX), (0, 0, 0, 0)];
    let others = [&others[..], &[(u64::MAX, 9, 9, 0), (u64::MAX - 1, 9, 9, 1)]].concat();
    each(0..positions.len() * nexts.len() * others.len(), |n, dir| {
        let (count, time, payload_bytes, flags) = others[n % others.len()];
        let (position, next) =
            (positions[n / others.len() % positions.len()], nexts[n / others.len() / positions.len()]);
        let slot = Slot { count, position, next, time, payload_bytes, flags };
        let mut made = store.clone();
        made[..FRAMES].copy_from_slice(&header.page(&[slot]));
        let one = one_file(&header, made.clone());
        one.put(dir.path());
        let result = exercise(dir.path());
        if position > end && position % 8 == 0 && next < 11 && count > 0 {
            assert_eq!(result.unwrap_err().status(), Status::Corrupt, "{slot:?}");
        }
        // The same as the segment before another one.
        let second = Header { base: 10, ..header };
        let mut two = one;
        two.0.insert(second.store_name(), second.store(&[], &records(10..15)));
        two.put(dir.path());
        let _ = exercise(dir.path());
    });
    assert_eq!(good.next, 10);
}

#[test]
fn a_frame_may_say_anything() {
    let (header, _, store) = one_segment();
    let whole = support::format::frames(&store);
    let lengths = [0, 1, 7, 8, 16, 31, 32, 33, 200, 4096, 1 << 20, (1 << 28) - 1];
    let times = [0, 1, 1 << 63, u64::MAX];
    each(0..lengths.len() * 16 * times.len() * 3, |n, dir| {
        let (length, flags) = (lengths[n % lengths.len()], u32::try_from(n / lengths.len() % 16).unwrap());
        let (time, at) = (times[n / lengths.len() / 16 % times.len()], [0, 4, 9][n / lengths.len() / 16 / times.len()]);
        let frame_at = whole[at];
        let mut made = store[..frame_at.start].to_vec();
        let bytes = vec![0x5A; (length as usize).min(300)];
        made.extend(frame_head(header.seed, frame_at.offset, time, length << 4 | flags, support::format::crc(&bytes)));
        made.extend(&bytes);
        made.resize(made.len().next_multiple_of(8), 0);
        made.extend(frame(header.seed, frame_at.offset + 1, time, FRAME, b"behind it"));
        one_file(&header, made).put(dir.path());
        let _ = exercise(dir.path());
        // Sealed and synced with that in it: it is met by a reader, not by open.
        let slot = Slot { count: 1, position: store.len() as u64, next: 10, time: 9, payload_bytes: 1, flags: 1 };
        let mut made = store.clone();
        made[..FRAMES].copy_from_slice(&header.page(&[slot]));
        let head = frame_head(header.seed, frame_at.offset, time, length << 4 | flags, 0);
        made[frame_at.start..frame_at.start + 16].copy_from_slice(&head);
        one_file(&header, made).put(dir.path());
        let _ = exercise(dir.path());
    });
}

#[test]
fn an_index_may_say_anything() {
    let (header, slot, mut store) = one_segment();
    store[2048..2096].copy_from_slice(&slot.bytes(header.seed));
    let dir = Scratch::new();
    let mut random = Random(4);
    for n in 0..400 {
        let capacity = [10, 11, 64, 1, 0, 1000][n % 6];
        let entries: Vec<u64> = (0..capacity.min(64)).map(|_| (random.next() >> (random.next() % 64)) & !7).collect();
        let mut image = one_file(&header, store.clone());
        let mut table = index(&header, capacity, &entries);
        table.resize((64 + 4 * capacity as usize).next_multiple_of(8), 0);
        image.0.insert(header.index_name(), table);
        // As the last segment, and as one that another follows.
        if n % 2 == 0 {
            let second = Header { base: 10, ..header };
            image.0.insert(second.store_name(), second.store(&[], &[]));
        }
        image.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap();
        check_whole(&log, 0, 10);
        check_goes_on(log, dir.path(), &small(), payload);
    }
}

#[test]
fn the_last_epoch_can_be_used_but_not_passed() {
    let header = Header { epoch: u32::MAX, ..Header::default() };
    let dir = one_file(&header, header.store(&[], &records(0..10))).place();
    let log = Log::open(dir.path(), &small()).unwrap();
    check_whole(&log, 0, 10);
    check_goes_on(log, dir.path(), &small(), payload);
    let torn = [&header.store(&[], &records(0..10))[..], &[1; 50]].concat();
    let torn = one_file(&header, torn);
    torn.put(dir.path());
    assert_eq!(exercise(dir.path()).unwrap_err().status(), Status::Format, "there is no next epoch");
    assert_eq!(torn.difference(&Image::of(dir.path()).kept()), "");
}

#[test]
fn offsets_near_their_end_are_used_up_cleanly() {
    // No record's offset reaches this.
    const END: u64 = u64::MAX - (1 << 31) + 1;
    for base in [END, END - 1, END - 2, END - 5, END - 30] {
        for count in [0, 1, 2, 5, 28, 40] {
            let header = Header { base, ..Header::default() };
            let all: Vec<_> = (0..count).map(|n| (FRAME, vec![n; 20])).collect();
            let dir = one_file(&header, header.store(&[], &all)).place();
            let _ = exercise(dir.path());
            let Ok(log) = Log::open(dir.path(), &small()) else { continue };
            let mut appended = 0;
            let error = loop {
                match log.append(b"one") {
                    Ok(_) => appended += 1,
                    Err(error) => break error,
                }
                assert!(appended < 100, "the offsets never end");
            };
            assert_eq!(error.status(), Status::Argument, "{error}");
            assert!(log.next_offset() >= END);
            log.close().unwrap();
        }
    }
    for base in [END + 1, u64::MAX - 1, u64::MAX] {
        let header = Header { base, ..Header::default() };
        let dir = one_file(&header, header.store(&[], &[])).place();
        assert_eq!(exercise(dir.path()).unwrap().segment_count, 1, "a name that no segment can have is foreign");
        assert!(dir.join(&header.store_name()).exists());
    }
}
