//! Torn tails: what a log that was neither synced nor closed has left when its last segment is cut at every byte, and
//! that a cut below the durable mark is no torn tail but corruption, which changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Log, Status, Sync, flags};
use std::thread;
use std::time::Duration;
use support::format::{At, FRAMES, Header, MORE, SEAL, Slot, frames};
use support::{Image, Random, Scratch, append, append_mixed, check_goes_on, check_whole, each, payload, settle, small};

/// What a cut leaves behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The file ends.
    Short,
    /// Zeros, as of blocks that never reached the disk.
    Zeros,
    /// Something else.
    Junk,
}

fn cut(store: &mut Vec<u8>, at: usize, how: Cut) {
    match how {
        Cut::Short => store.truncate(at),
        Cut::Zeros => store[at..].fill(0),
        Cut::Junk => {
            let end = store.len().min(at + 100);
            store[at..end].fill(0xA5);
        }
    }
}

/// A log's files as a kill leaves them, and what stands in the last segment.
struct Killed {
    image: Image,
    store: String,
    header: Header,
    /// The first offset that is not durable.
    mark: u64,
    frames: Vec<At>,
}

impl Killed {
    fn new(log: &Log, dir: &Scratch) -> Self {
        let mut image = Image::of(dir.path());
        let header = Header::of(&image.0[&image.last_store()]);
        settle(log, header.base);
        image = Image::of(dir.path());
        image.write_out();
        Self::of(image)
    }

    fn of(image: Image) -> Self {
        let store = image.last_store();
        let (header, frames) = (Header::of(&image.0[&store]), frames(&image.0[&store]));
        let mark = Slot::of(&image.0[&store]).map_or(header.base, |slot| slot.next);
        Self { image, store, header, mark, frames }
    }

    fn end(&self) -> usize {
        self.frames.last().unwrap().end
    }

    /// Up to where the last segment is durable.
    fn durable(&self) -> usize {
        Slot::of(&self.image.0[&self.store]).map_or(FRAMES, |slot| usize::try_from(slot.position).unwrap())
    }

    /// Behind the last whole record or batch that `left` still has of the last store: its offset and position.
    fn kept(&self, left: &[u8]) -> (u64, usize) {
        let there = |frame: &&At| left.get(..frame.end) == Some(&self.image.0[&self.store][..frame.end]);
        let whole = self.frames.iter().take_while(there).filter(|frame| frame.flags & MORE == 0).last();
        whole.map_or((self.header.base, FRAMES), |frame| (frame.offset + u64::from(frame.flags & SEAL == 0), frame.end))
    }

    /// Opens what a cut at `at` leaves, and checks all that is promised of it.
    fn check_cut(&self, dir: &Scratch, at: usize, how: Cut) {
        let context = format!("cut at byte {at}, {how:?}");
        let mut torn = self.image.clone();
        cut(torn.file(&self.store), at, how);
        let left = &torn.0[&self.store];
        let (next, good) = self.kept(left);
        let tail = left.get(good..).unwrap_or_default();
        let dropped = tail.iter().rposition(|byte| *byte != 0).map_or(0, |n| n as u64 + 1);
        torn.put(dir.path());

        let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let stat = log.stat().unwrap();
        assert_eq!(log.next_offset(), next, "{context}: exactly the whole frames and batches before the cut");
        assert_eq!(
            (stat.recovered_records, stat.dropped_bytes),
            (next - self.mark, dropped),
            "{context}: what stat says"
        );
        assert_eq!((stat.first_offset, stat.durable_offset), (0, next), "{context}: what recovery keeps is durable");
        assert_eq!(check_goes_on(log, dir.path(), &small(), payload), [0; 0], "{context}: lost records");
        let after = Image::of(dir.path());
        let fresh = Header { base: next, epoch: self.header.epoch + 1, ..self.header }.store_name();
        assert_eq!(after.0.contains_key(&fresh), dropped > 0, "{context}: a torn tail is followed by the next epoch");
        if dropped > 0 {
            let moved = next == self.header.base;
            let old = after.0.get(&if moved { format!("lost/{}", self.store) } else { self.store.clone() });
            let old = old.unwrap_or_else(|| panic!("{context}: the torn store is gone"));
            assert_eq!(old[..left.len()], left[..], "{context}: nothing is written to a store with a torn tail");
        }
    }

    /// Opens what a cut at `at` leaves: it is corrupt, and no file of the log has changed.
    fn check_corrupt(&self, dir: &Scratch, at: usize, how: Cut) {
        let mut torn = self.image.clone();
        cut(torn.file(&self.store), at, how);
        torn.put(dir.path());
        let error = Log::open(dir.path(), &small()).map(|log| log.next_offset()).expect_err(&format!("cut at {at}"));
        assert_eq!(error.status(), Status::Corrupt, "cut at byte {at}, {how:?}: {error}");
        let difference = torn.kept().difference(&Image::of(dir.path()).kept());
        assert_eq!(difference, "", "cut at byte {at}, {how:?}: what is corrupt is left as it is");
    }
}

/// Several segments, the last one neither synced nor closed.
fn killed(records: u64) -> Killed {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, records);
    let killed = Killed::new(&log, &dir);
    assert!(killed.image.stores().len() >= 4, "the log has several segments");
    assert!(killed.frames.iter().any(|frame| frame.flags & MORE != 0), "the last segment has a batch");
    killed
}

#[test]
fn a_cut_at_every_byte_leaves_exactly_what_is_whole_before_it() {
    let mut killed = killed(116);
    assert_eq!(killed.mark, killed.header.base, "nothing of the last segment is durable");
    // The ring would heal the cut.
    killed.image.0.remove("LIVE");
    each(FRAMES..killed.end() + 9, |at, dir| killed.check_cut(dir, at, Cut::Short));
    each(FRAMES..killed.end() + 9, |at, dir| killed.check_cut(dir, at, Cut::Zeros));
    each((FRAMES..killed.end() + 9).step_by(7), |at, dir| killed.check_cut(dir, at, Cut::Junk));
}

#[test]
fn the_ring_of_a_killed_process_heals_a_cut() {
    let killed = killed(116);
    each((FRAMES..killed.end()).step_by(23), |at, dir| {
        for how in [Cut::Short, Cut::Zeros] {
            let mut torn = killed.image.clone();
            cut(torn.file(&killed.store), at, how);
            torn.put(dir.path());
            let log = Log::open(dir.path(), &small()).unwrap();
            let stat = log.stat().unwrap();
            assert_eq!((stat.recovered_records, stat.dropped_bytes), (116 - killed.mark, 0), "cut at byte {at}");
            check_whole(&log, 0, 116);
            check_goes_on(log, dir.path(), &small(), payload);
        }
    });
}

#[test]
fn a_cut_inside_the_header_page_is_corrupt_and_changes_nothing() {
    let mut killed = killed(116);
    killed.image.0.remove("LIVE");
    each(0..FRAMES, |at, dir| killed.check_corrupt(dir, at, Cut::Short));
    let closed = closed(116);
    each((0..FRAMES).step_by(5), |at, dir| closed.check_corrupt(dir, at, Cut::Short));
}

/// The same log, closed; where it ends is durable.
fn closed(records: u64) -> Killed {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, records);
    log.close().unwrap();
    let closed = Killed::of(Image::of(dir.path()));
    assert_eq!(
        (closed.mark, closed.durable()),
        (records, closed.end()),
        "a clean close says exactly where the log ends"
    );
    closed
}

#[test]
fn a_closed_log_that_was_cut_is_corrupt_and_unchanged() {
    let mut closed = closed(116);
    for with_live in [true, false] {
        let step = if with_live { 9 } else { 1 };
        each((FRAMES..closed.end()).step_by(step), |at, dir| closed.check_corrupt(dir, at, Cut::Short));
        each((closed.end()..=closed.image.0[&closed.store].len()).step_by(97), |at, dir| {
            closed.check_cut(dir, at, Cut::Short);
        });
        closed.image.0.remove("LIVE");
    }
}

#[test]
fn a_cut_below_a_sync_is_corrupt_and_one_above_is_a_torn_tail() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, 105);
    // A slot is due 100 ms after the one before.
    thread::sleep(Duration::from_millis(120));
    log.sync().unwrap();
    append_mixed(&log, 16);
    let mut killed = Killed::new(&log, &dir);
    killed.image.0.remove("LIVE");
    assert_eq!(killed.mark, 105, "the sync left a slot in the last segment");
    let durable = killed.durable();
    assert!(durable > FRAMES + 100 && durable + 100 < killed.end(), "the mark stands amid the frames");
    each(0..durable, |at, dir| killed.check_corrupt(dir, at, Cut::Short));
    each(durable..killed.end() + 9, |at, dir| killed.check_cut(dir, at, Cut::Short));
    each((durable..killed.end() + 9).step_by(3), |at, dir| killed.check_cut(dir, at, Cut::Zeros));
}

#[test]
fn a_log_that_syncs_each_append_is_cut_no_lower_than_its_last_slot() {
    let dir = Scratch::new();
    let config = Config { sync: Sync::Always, ..small() };
    let log = Log::open(dir.path(), &config).unwrap();
    append_mixed(&log, 100);
    let mut killed = Killed::new(&log, &dir);
    killed.image.0.remove("LIVE");
    let durable = killed.durable();
    each((FRAMES..killed.end() + 9).step_by(5), |at, dir| {
        if at < durable { killed.check_corrupt(dir, at, Cut::Short) } else { killed.check_cut(dir, at, Cut::Short) }
    });
}

#[test]
fn a_torn_seal_costs_no_record() {
    let mut image = killed(116).image;
    image.0.remove("LIVE");
    let last = image.last_store();
    image.0.remove(&last.replace(".store", ".index"));
    image.0.remove(&last);
    let full = image.last_store();
    // As if the process had been killed before the full segment was synced.
    image.file(&full)[2048..FRAMES].fill(0);
    let killed = Killed::of(image);
    assert_eq!(killed.frames.last().unwrap().flags & SEAL, SEAL);
    for how in [Cut::Short, Cut::Zeros, Cut::Junk] {
        each(killed.end() - 150..killed.end() + 9, |at, dir| killed.check_cut(dir, at, how));
    }
}

#[test]
fn half_a_batch_in_the_ring_is_dropped_whole() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 3, 1);
    append(&log, 15, 15);
    let whole = Killed::new(&log, &dir);
    let stored = Image::of(dir.path());
    // The frames of the batch one after the other: the store has nothing yet, the ring has them up to here.
    for frame in &whole.frames[3..] {
        for at in [frame.start, frame.start + 4, frame.start + 8, frame.start + 12] {
            let mut image = stored.clone();
            image.file("LIVE")[(64 << 10) + at..].fill(0);
            let dir = image.place();
            let log = Log::open(dir.path(), &small()).unwrap();
            let stat = log.stat().unwrap();
            assert_eq!(log.next_offset(), 3, "the ring ends at {at}");
            assert_eq!((stat.recovered_records, stat.dropped_bytes), (stat.next_offset, 0));
            check_goes_on(log, dir.path(), &small(), payload);
        }
    }
}

#[test]
fn a_batch_that_stands_in_the_store_and_goes_on_in_the_ring_is_whole() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append(&log, 2, 1);
    append(&log, 20, 20);
    let whole = Killed::new(&log, &dir);
    for frame in &whole.frames {
        let mut image = whole.image.clone();
        image.file(&whole.store)[frame.start..].fill(0);
        // The ring holds a batch whole until all of it is in the store.
        image.file("LIVE")[64 << 10..(64 << 10) + frame.start.min(whole.frames[2].start)].fill(0);
        let dir = image.place();
        let log = Log::open(dir.path(), &small()).unwrap();
        check_whole(&log, 0, 22);
        check_goes_on(log, dir.path(), &small(), payload);
    }
}

#[test]
fn half_of_a_batch_that_went_to_the_store_directly_is_dropped_whole() {
    let config = Config { segment_max_bytes: 4 << 20, sync: Sync::Never, ..Config::default() };
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config).unwrap();
    append_mixed(&log, 50);
    append(&log, 4000, 4000);
    let mut killed = Killed::new(&log, &dir);
    let first = killed.frames[50].start;
    assert!(killed.end() - first > 256 << 10, "the batch is larger than what goes through the ring");
    assert_eq!(Image::of(dir.path()).0[&killed.store], killed.image.0[&killed.store], "it is in the store unasked");
    killed.image.0.remove("LIVE");
    drop(log);
    let mut random = Random(1);
    let places = (0..40).map(|n| match n {
        0 => first + 1,
        1 => killed.end() - 1,
        _ => {
            let frame = killed.frames[50 + random.below(4000)];
            [frame.start, frame.end, frame.start + 16, frame.start + random.below(frame.end - frame.start)][n % 4]
        }
    });
    for (n, at) in places.enumerate() {
        let mut torn = killed.image.clone();
        cut(torn.file(&killed.store), at, [Cut::Short, Cut::Zeros][n % 2]);
        let (expected, _) = killed.kept(&torn.0[&killed.store]);
        assert!(expected <= 50 || expected == 4050, "all of the batch or nothing");
        let dir = torn.place();
        let log = Log::open(dir.path(), &config).unwrap();
        assert_eq!(log.next_offset(), expected, "cut at byte {at}");
        check_goes_on(log, dir.path(), &config, payload);
    }
}

#[test]
fn frames_that_the_log_wrote_out_unasked_are_found_without_live() {
    // By who appends, so that something is left in the ring.
    let config = Config { segment_max_bytes: 4 << 20, sync: Sync::Never, flags: flags::NO_THREAD, ..Config::default() };
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config).unwrap();
    append_mixed(&log, 9000);
    let mut image = Image::of(dir.path());
    let whole = Killed::new(&log, &dir);
    let (next, good) = whole.kept(&image.0[&whole.store]);
    assert!(next > 4000 && next < 9000, "a part is in the store, a part only in the ring: {next}");
    let live = image.place();
    let log_with_ring = Log::open(live.path(), &config).unwrap();
    check_whole(&log_with_ring, 0, 9000);
    image.0.remove("LIVE");
    let killed = Killed { image, ..whole };
    let mut random = Random(2);
    for n in 0..30 {
        let at = if n == 0 { good } else { FRAMES + random.below(good - FRAMES) };
        killed.check_cut(&Scratch::new(), at, [Cut::Short, Cut::Zeros, Cut::Junk][n % 3]);
    }
}

#[test]
fn each_torn_tail_begins_an_epoch_and_all_of_them_read_as_one_log() {
    let mut image = killed(116).image;
    let (dir, mut expected) = (Scratch::new(), 116);
    for epoch in 1..=12_u32 {
        image.0.remove("LIVE");
        let last = image.last_store();
        let frames = frames(&image.0[&last]);
        let torn = frames.iter().rfind(|frame| frame.flags & SEAL == 0).expect("a record");
        cut(image.file(&last), torn.start + 9, Cut::Zeros);
        image.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap();
        assert!(log.next_offset() < expected && log.next_offset() + 5 >= expected, "one record or batch less");
        expected = log.next_offset();
        check_whole(&log, 0, expected);
        append_mixed(&log, 6);
        expected += 6;
        image = Image::of(dir.path());
        assert_eq!(Header::of(&image.0[&image.last_store()]).epoch, epoch);
        image.write_out();
    }
    image.put(dir.path());
    let log = Log::open(dir.path(), &small()).unwrap();
    check_whole(&log, 0, expected);
    check_goes_on(log, dir.path(), &small(), payload);
}
