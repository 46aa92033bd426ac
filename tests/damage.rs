//! Damage: small logs with each byte of each file flipped, files cut, extended, swapped, zeroed and missing. Never a
//! panic, never wrong data, and every record but the damaged one reads back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Io, Log, Status};
use support::format::{At, FRAMES, Header, SEAL, frames};
use support::{
    Image, Random, Scratch, append, append_mixed, check_goes_on, each, is_store, lost, payload, settle, sized, small,
};

const LONG: u64 = 52;
const NEXT: u64 = 75;

/// Record `LONG` is longer than a segment.
fn expect(offset: u64) -> Vec<u8> {
    if offset == LONG { sized(LONG, 4500) } else { payload(offset) }
}

/// A log of four segments: records and batches in two, a long record in one of its own, and again records and batches.
struct Sample {
    image: Image,
    /// Where each record stands: the store's name and the frame.
    places: Vec<(String, At)>,
}

impl Sample {
    fn new(close: bool) -> Self {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &small()).unwrap();
        append_mixed(&log, LONG);
        log.append(&expect(LONG)).unwrap();
        append(&log, 4, 4);
        append_mixed(&log, NEXT - LONG - 5);
        let mut image = Image::of(dir.path());
        settle(&log, Header::of(&image.0[&image.last_store()]).base);
        image = Image::of(dir.path());
        log.close().unwrap();
        let closed = Image::of(dir.path());
        let mut places = Vec::new();
        for name in closed.stores() {
            let records = frames(&closed.0[&name]).into_iter().filter(|frame| frame.flags & SEAL == 0);
            places.extend(records.map(|frame| (name.clone(), frame)));
        }
        assert_eq!((closed.stores().len(), places.len() as u64), (4, NEXT));
        if close {
            image = closed;
            // The library needs none after a clean close.
            image.0.remove("LIVE");
        }
        Self { image, places }
    }

    /// The offsets of the records that have a byte in this part of a store.
    fn touched(&self, name: &str, from: usize, to: usize) -> Vec<u64> {
        let here = |(store, at): &&(String, At)| store == name && at.start < to && at.end > from;
        self.places.iter().filter(here).map(|(_, at)| at.offset).collect()
    }

    /// Behind the last record of a store.
    fn end(&self, name: &str) -> usize {
        self.places.iter().rfind(|(store, _)| store == name).unwrap().1.end
    }
}

/// Opens a damaged log, which must succeed, checks that these records are lost and no others, and goes on with it.
fn check_lost(image: &Image, dir: &Scratch, expected: &[u64], context: &str) {
    image.put(dir.path());
    let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(log.next_offset(), NEXT, "{context}");
    assert_eq!(check_goes_on(log, dir.path(), &small(), expect), expected, "{context}: lost records");
}

/// It does not open, and nothing has changed.
fn check_corrupt(image: &Image, dir: &Scratch, context: &str) {
    image.put(dir.path());
    let error = Log::open(dir.path(), &small()).map(|log| log.next_offset()).expect_err(context);
    assert_eq!(error.status(), Status::Corrupt, "{context}: {error}");
    assert_eq!(image.kept().difference(&Image::of(dir.path()).kept()), "", "{context}: nothing was changed");
}

/// Flips a bit, or all of them.
fn flip(bytes: &mut [u8], at: usize, n: usize) {
    bytes[at] ^= if n.is_multiple_of(9) { 0xFF } else { 1 << (n % 8) };
}

fn check_flips(name_of: impl Fn(&Sample) -> String) {
    let sample = Sample::new(true);
    let name = name_of(&sample);
    let last = name == sample.image.last_store();
    let end = if is_store(&name) { sample.end(&name) } else { usize::MAX };
    each(0..sample.image.0[&name].len(), |at, dir| {
        let context = format!("byte {at} of {name} flipped");
        let mut image = sample.image.clone();
        flip(image.file(&name), at, at);
        let expected = if end < usize::MAX { sample.touched(&name, at, at + 1) } else { Vec::new() };
        assert!(expected.len() <= 1);
        image.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let stat = log.stat().unwrap();
        assert_eq!((stat.next_offset, stat.recovered_records), (NEXT, 0), "{context}");
        let dropped = if last && at >= end { at - end + 1 } else { 0 };
        assert_eq!(stat.dropped_bytes, dropped as u64, "{context}: what is no zero behind the end is a torn tail");
        if at % 16 == 3 {
            assert_eq!(check_goes_on(log, dir.path(), &small(), expect), expected, "{context}: lost records");
        } else {
            assert_eq!(lost(&log, expect), expected, "{context}: lost records");
        }
    });
}

#[test]
fn a_flipped_byte_of_a_full_store_costs_at_most_its_record() {
    check_flips(|sample| sample.image.stores()[0].clone());
}

#[test]
fn a_flipped_byte_of_a_long_record_costs_that_record() {
    check_flips(|sample| sample.image.stores()[2].clone());
}

#[test]
fn a_flipped_byte_of_the_last_store_costs_at_most_its_record() {
    check_flips(|sample| sample.image.last_store());
}

#[test]
fn a_flipped_byte_of_an_index_costs_nothing() {
    for n in [0, 1, 3] {
        check_flips(|sample| sample.image.stores()[n].replace(".store", ".index"));
    }
}

#[test]
fn a_flipped_byte_of_live_costs_nothing_after_a_clean_close() {
    let dir = Scratch::new();
    Sample::new(true).image.put(dir.path());
    Log::open(dir.path(), &small()).unwrap().close().unwrap();
    let closed = Image::of(dir.path());
    let mut random = Random(3);
    for n in 0..600 {
        let at = if n < 272 { n } else { (64 << 10) + random.below(20_000) };
        let mut image = closed.clone();
        flip(image.file("LIVE"), at, n);
        image.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap();
        assert_eq!((log.next_offset(), lost(&log, expect)), (NEXT, vec![]), "byte {at} of LIVE flipped");
    }
}

#[test]
fn a_flipped_byte_of_a_killed_log_leaves_a_prefix() {
    let sample = Sample::new(false);
    let (last, base) = (sample.image.last_store(), Header::of(&sample.image.0[&sample.image.last_store()]).base);
    let (start, end) = (sample.places[usize::try_from(base).unwrap()].1.start, sample.end(&last));
    let ring = 64 << 10;
    each(start..end, |at, dir| {
        let mut image = sample.image.clone();
        flip(image.file("LIVE"), ring + at, at);
        // The frames were in the ring only: what stands behind the damaged one was never durable.
        let hit = sample.touched(&last, at, at + 1)[0];
        let mut first = hit;
        while first > base && sample.places[usize::try_from(first - 1).unwrap()].1.flags & 2 != 0 {
            first -= 1;
        }
        image.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap();
        assert_eq!((log.next_offset(), lost(&log, expect)), (first, vec![]), "byte {at} of the ring flipped");
        if at % 16 == 3 {
            check_goes_on(log, dir.path(), &small(), expect);
        }
    });
    each((0..sample.image.0[&last].len()).step_by(5), |at, dir| {
        let mut image = sample.image.clone();
        flip(image.file(&last), at, at);
        image.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap();
        assert_eq!((log.next_offset(), lost(&log, expect)), (NEXT, vec![]), "byte {at} of {last} flipped");
        check_goes_on(log, dir.path(), &small(), expect);
    });
}

#[test]
fn a_zeroed_sector_or_page_costs_the_records_that_it_touches() {
    let sample = Sample::new(true);
    let dir = Scratch::new();
    for name in sample.image.stores() {
        for size in [512, 4096] {
            for at in (0..sample.image.0[&name].len()).step_by(size) {
                for with_index in [true, false] {
                    let context = format!("{size} bytes at {at} of {name} zeroed, index there: {with_index}");
                    let mut image = sample.image.clone();
                    let end = image.0[&name].len().min(at + size);
                    image.file(&name)[at..end].fill(0);
                    if !with_index {
                        image.0.remove(&name.replace(".store", ".index"));
                    }
                    let header = size == 4096 && at == 0;
                    if header && name == sample.image.last_store() {
                        check_corrupt(&image, &dir, &context);
                    } else {
                        let all = if header { usize::MAX } else { end };
                        check_lost(&image, &dir, &sample.touched(&name, at, all), &context);
                    }
                }
            }
        }
    }
}

#[test]
fn runs_of_junk_cost_the_records_that_they_touch() {
    let sample = Sample::new(true);
    each(0..1500, |n, dir| {
        let mut random = Random(n as u64);
        let mut image = sample.image.clone();
        let (mut expected, mut no_index) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(3) {
            let names = image.stores();
            let name = &names[random.below(names.len())];
            let at = FRAMES + random.below(sample.end(name) - FRAMES);
            let end = sample.end(name).min(at + 1 + random.below(300));
            // Nothing that these bytes had before, so that each is damaged.
            for byte in &mut image.file(name)[at..end] {
                *byte ^= u8::try_from(1 + random.below(255)).unwrap();
            }
            expected.extend(sample.touched(name, at, end));
            if random.below(2) == 0 {
                image.0.remove(&name.replace(".store", ".index"));
                no_index.push(name.clone());
            }
        }
        expected.sort_unstable();
        expected.dedup();
        // Without an index a record between two damaged ones is not found: a frame that is found by trying every
        // eighth byte counts only if the one behind it is good as well.
        for offset in 1..NEXT - 1 {
            let (name, _) = &sample.places[usize::try_from(offset).unwrap()];
            let alone = |other: u64| {
                sample.places[usize::try_from(other).unwrap()].0 == *name && expected.binary_search(&other).is_ok()
            };
            if no_index.contains(name) && alone(offset - 1) && alone(offset + 1) && !alone(offset) {
                expected.push(offset);
                expected.sort_unstable();
            }
        }
        check_lost(&image, dir, &expected, &format!("run {n}"));
    });
}

#[test]
fn an_index_that_is_gone_short_or_anothers_costs_nothing() {
    let sample = Sample::new(true);
    let dir = Scratch::new();
    let indexes: Vec<_> = sample.image.stores().iter().map(|name| name.replace(".store", ".index")).collect();
    for name in &indexes {
        let whole = &sample.image.0[name];
        let mut all = vec![("junk".to_owned(), sized(9, 500)), ("zeros".to_owned(), vec![0; whole.len()])];
        all.extend((0..whole.len()).step_by(3).map(|len| (format!("{len} bytes"), whole[..len].to_vec())));
        all.extend(indexes.iter().map(|other| (format!("that of {other}"), sample.image.0[other].clone())));
        all.push(("longer".to_owned(), [&whole[..], &sized(8, 100)].concat()));
        // The header is right, the entries are not.
        let entries = |entry: u32| entry.to_le_bytes().repeat((whole.len() - 64) / 4);
        for entry in [0, 1, 511, 512, 513, 600, 1023, 1024, u32::MAX / 8, u32::MAX] {
            all.push((format!("all {entry}"), [&whole[..64], &entries(entry)].concat()));
        }
        all.push(("shuffled".to_owned(), [&whole[..64], &sized(7, whole.len() - 64)].concat()));
        for (what, bytes) in all {
            let mut image = sample.image.clone();
            image.0.insert(name.clone(), bytes);
            check_lost(&image, &dir, &[], &format!("index {name}: {what}"));
        }
    }
    let mut image = sample.image.clone();
    image.0.retain(|name, _| is_store(name));
    check_lost(&image, &dir, &[], "no index at all");
    let after = Image::of(dir.path());
    assert!(indexes.iter().all(|name| after.0.contains_key(name)), "reading made the indexes anew");
}

#[test]
fn a_full_store_that_was_cut_costs_what_was_cut_off() {
    let sample = Sample::new(true);
    for name in &sample.image.stores()[..3] {
        let end = sample.image.0[name].len();
        each((0..end).step_by(37), |at, dir| {
            let mut image = sample.image.clone();
            image.file(name).truncate(at);
            let from = if at < FRAMES { 0 } else { at };
            check_lost(&image, dir, &sample.touched(name, from, usize::MAX), &format!("{name} cut at {at}"));
        });
    }
}

#[test]
fn junk_behind_a_store_costs_nothing() {
    let sample = Sample::new(true);
    let dir = Scratch::new();
    for name in sample.image.stores() {
        for len in [1, 7, 8, 100, 4096, 70_000] {
            let mut image = sample.image.clone();
            let junk = sized(len as u64, len);
            image.file(&name).extend(&junk);
            check_lost(&image, &dir, &[], &format!("{len} bytes behind {name}"));
        }
        // Its own frames once more.
        let mut image = sample.image.clone();
        let again = image.0[&name][FRAMES..].to_vec();
        image.file(&name).extend(&again);
        check_lost(&image, &dir, &[], &format!("{name} twice"));
    }
}

#[test]
fn files_that_changed_places_are_never_wrong_data() {
    let sample = Sample::new(true);
    let stores = sample.image.stores();
    let dir = Scratch::new();
    for (n, one) in stores.iter().enumerate() {
        for other in &stores[..n] {
            let context = format!("{one} and {other} changed places");
            let mut image = sample.image.clone();
            let (a, b) = (image.0[one].clone(), image.0[other].clone());
            image.0.insert(one.clone(), b);
            image.0.insert(other.clone(), a);
            if *one == stores[3] {
                check_corrupt(&image, &dir, &context);
            } else {
                let mut expected = sample.touched(other, 0, usize::MAX);
                expected.extend(sample.touched(one, 0, usize::MAX));
                check_lost(&image, &dir, &expected, &context);
            }
        }
    }
    // A segment of another log, of the same name.
    let stranger = Sample::new(true);
    for name in &stores {
        let mut image = sample.image.clone();
        image.0.insert(name.clone(), stranger.image.0[name].clone());
        if *name == stores[3] {
            // Which log is the right one, nobody can say at once; but no record is taken for another's.
            image.put(dir.path());
            match Log::open(dir.path(), &small()) {
                Ok(log) => {
                    assert_eq!(lost(&log, expect), (0..Header::of(&sample.image.0[name]).base).collect::<Vec<_>>());
                }
                Err(error) => assert_eq!(error.status(), Status::Corrupt),
            }
        } else {
            check_lost(&image, &dir, &sample.touched(name, 0, usize::MAX), &format!("{name} is of another log"));
        }
    }
}

#[test]
fn a_store_that_is_gone_costs_its_records() {
    let sample = Sample::new(true);
    let dir = Scratch::new();
    for name in &sample.image.stores()[1..3] {
        let mut image = sample.image.clone();
        image.0.remove(name);
        check_lost(&image, &dir, &sample.touched(name, 0, usize::MAX), &format!("{name} is gone"));
    }
}

#[test]
fn indexes_that_readers_make_anew_do_not_disturb_those_who_append() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, 6000);
    log.close().unwrap();
    for _ in 0..3 {
        let mut image = Image::of(dir.path());
        image.0.retain(|name, _| is_store(name));
        image.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap();
        let next = log.next_offset();
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let log = &log;
                scope.spawn(move || {
                    for offset in (0..6000).map(|n| (n + reader * 2000) % 6000).step_by(7) {
                        assert_eq!(log.read(offset, |bytes, _| bytes.to_vec()).unwrap(), payload(offset));
                    }
                });
            }
            append_mixed(&log, 3000);
        });
        assert_eq!(lost(&log, payload), [0; 0]);
        assert_eq!(log.next_offset(), next + 3000);
        log.close().unwrap();
    }
}

#[cfg(feature = "faults")]
#[test]
fn records_that_are_lost_together_are_looked_for_once() {
    use seglog::faults::{Hook, Kind};
    let config = seglog::Config { segment_max_bytes: 1 << 20, ..small() };
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config).unwrap();
    append(&log, 5000, 1);
    log.close().unwrap();
    let mut image = Image::of(dir.path());
    let name = image.last_store();
    let from = frames(&image.0[&name])[4000].start;
    image.file(&name)[from..].fill(0);
    image.0.retain(|name, _| is_store(name));
    image.put(dir.path());
    let log = Log::open(dir.path(), &config).unwrap();
    let hook = Hook::new().recording();
    let lost = hook.run(|| lost(&log, payload));
    assert_eq!(lost, (4000..5000).collect::<Vec<_>>());
    let read: u64 = hook.ops().iter().filter(|op| op.kind == Kind::Read).map(|op| op.len).sum();
    assert!(read < 8 << 20, "{read} bytes of a store of 1 MiB were read to find 1,000 lost records");
}

/// Of random bytes a fiftieth looks like the head of a frame, most of them of one that goes on for megabytes.
#[test]
fn random_bytes_in_a_large_segment_cost_only_the_records_in_them_though_the_index_is_gone() {
    let dir = Scratch::new();
    let config = seglog::Config { segment_max_bytes: 16 << 20, ..small() };
    let log = Log::open(dir.path(), &config).unwrap();
    for offset in 0..6000 {
        log.append(&sized(offset, 1000)).unwrap();
    }
    log.close().unwrap();
    let mut image = Image::of(dir.path());
    let name = image.last_store();
    let (from, upto) = (1 << 20, (1 << 20) + (192 << 10));
    let hit = |at: &&At| at.start < upto && at.end > from;
    let expected: Vec<_> = frames(&image.0[&name]).iter().filter(hit).map(|at| at.offset).collect();
    assert!((150..250).contains(&expected.len()));
    let mut random = Random(4);
    image.file(&name)[from..upto].fill_with(|| random.next() as u8);
    image.0.retain(|name, _| !name.ends_with(".index"));
    let dir = image.place();
    let log = Log::open(dir.path(), &config).unwrap();
    assert_eq!(lost(&log, |offset| sized(offset, 1000)), expected);
}

/// A full segment is opened when it is first read. Whose file was deleted meanwhile says which it is, and only its records are
/// lost.
#[test]
fn a_store_that_goes_while_the_log_is_open_costs_its_records_and_is_named() {
    for io in [Io::Mapped, Io::File] {
        let dir = Scratch::new();
        let config = Config { io, ..small() };
        let log = Log::open(dir.path(), &config).unwrap();
        append_mixed(&log, 200);
        log.close().unwrap();
        // By the names, since to ask a handle for its segments opens them.
        let stores = Image::without_live(dir.path()).stores();
        let [gone, next] = [&stores[2], &stores[3]].map(|name| name[..20].parse::<u64>().unwrap());
        let log = Log::open(dir.path(), &config).unwrap();
        std::fs::remove_file(dir.join(&stores[2])).unwrap();
        let error = log.read(gone, |_, _| ()).unwrap_err();
        assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, gone), "{error}");
        assert!(error.to_string().contains(&format!("{}' is gone", stores[2])), "{error}");
        assert_eq!(lost(&log, payload), (gone..next).collect::<Vec<_>>());
        append_mixed(&log, 50);
        log.close().unwrap();
    }
}

/// What a segment's header says that waits for its turn. No log has one before its last: a full one's header was synced.
#[test]
fn a_full_segment_whose_header_says_that_it_is_not_in_use_is_damage() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, 200);
    log.close().unwrap();
    let mut image = Image::of(dir.path());
    let stores = image.stores();
    let [own, next] = [2, 3].map(|n| Header::of(&image.0[&stores[n]]));
    let ahead = Header { base: 0, time_floor: 0, cause: 4, ..own };
    for at in [0, 1024] {
        image.file(&stores[2])[at..at + 80].copy_from_slice(&ahead.bytes());
    }
    image.put(dir.path());
    let log = Log::open(dir.path(), &small()).unwrap();
    let error = log.read(own.base, |_, _| ()).unwrap_err();
    assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, own.base), "{error}");
    assert!(error.to_string().contains("it holds no records, though others follow it"), "{error}");
    assert_eq!(lost(&log, payload), (own.base..next.base).collect::<Vec<_>>());
    log.close().unwrap();
}
