//! Many threads on one handle: writers, followers from the beginning and readers at random, over many segments and
//! many laps of the ring. Each record says who wrote it and as which one, so that every reader can check it alone:
//! its bytes, the order of each writer, no gap, no repeat, batches whole.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Log, Stat, Sync};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use support::{Random, Scratch};

const WRITERS: usize = 3;
/// What a record says of itself takes so many bytes.
const TAG_BYTES: usize = 16;
/// Frames that are longer do not go through the ring.
const THROUGH_RING: usize = 256 << 10;

/// Who wrote a record, as its how-manieth, and how many records of its batch stand behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    writer: usize,
    number: u64,
    behind: usize,
}

impl Tag {
    /// The record: the tag, then bytes that no other record has.
    fn record(self, len: usize) -> Vec<u8> {
        let who = (self.writer as u64) << 48 | self.number;
        let how = (self.behind as u64) << 32 | len as u64;
        let mut bytes = [who.to_le_bytes(), how.to_le_bytes()].concat();
        bytes.resize(len.max(TAG_BYTES), 0);
        for (piece, word) in bytes[TAG_BYTES..].chunks_mut(8).zip(filler(who, how)) {
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
        bytes
    }

    /// What this record says, after a look at all of its bytes.
    fn of(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= TAG_BYTES, "a record of {} bytes", bytes.len());
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (who, how) = (word(0), word(8));
        let tag = Self {
            writer: usize::try_from(who >> 48).unwrap(),
            number: who & ((1 << 48) - 1),
            behind: usize::try_from(how >> 32).unwrap(),
        };
        assert_eq!(how & 0xFFFF_FFFF, bytes.len() as u64, "the length of {tag:?}");
        for (n, (piece, word)) in bytes[TAG_BYTES..].chunks(8).zip(filler(who, how)).enumerate() {
            assert!(piece == &word.to_le_bytes()[..piece.len()], "the bytes of {tag:?} at word {n}");
        }
        tag
    }
}

fn filler(who: u64, how: u64) -> impl Iterator<Item = u64> {
    let mut word = (who ^ how << 17).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::iter::repeat_with(move || {
        word = word.wrapping_add(0xBF58_476D_1CE4_E5B9);
        word
    })
}

/// Lengths as they come: mostly short ones, some of kilobytes, now and then one that is too long for the ring.
fn length(random: &mut Random) -> usize {
    match random.below(600) {
        0 => THROUGH_RING - 40 + random.below(80_000),
        1..=20 => random.below(30_000),
        21..=120 => random.below(3000),
        _ => random.below(200),
    }
    .max(TAG_BYTES)
}

/// Appends so many bytes, alone and in batches; returns the offset of each record. What was acknowledged can be read, and
/// is durable where the policy says so.
fn write(log: &Log, writer: usize, bytes: usize, sync: Sync) -> Vec<u64> {
    let mut random = Random(writer as u64 + 77);
    let (mut offsets, mut written) = (Vec::new(), 0);
    while written < bytes {
        let count = match random.below(100) {
            0 => 400 + random.below(2000),
            1..=10 => 1 + random.below(20),
            _ => 1,
        };
        let number = offsets.len() as u64;
        let tags = (0..count).map(|n| Tag { writer, number: number + n as u64, behind: count - 1 - n });
        let records: Vec<_> = tags.map(|tag| tag.record(length(&mut random).min(300_000 / count + 200))).collect();
        let slices: Vec<_> = records.iter().map(Vec::as_slice).collect();
        let first = if count == 1 { log.append(slices[0]) } else { log.append_batch(&slices) }.unwrap();
        let next = first + count as u64;
        assert!(log.next_offset() >= next, "what was acknowledged is there");
        assert!(offsets.last().is_none_or(|last| *last < first), "one thread's appends keep their order");
        if sync == Sync::Always && number.is_multiple_of(64) {
            assert!(log.stat().unwrap().durable_offset >= next, "what was acknowledged is durable");
        }
        offsets.extend(first..next);
        written += records.iter().map(Vec::len).sum::<usize>();
    }
    offsets
}

/// What a reader of all records has seen.
#[derive(Default)]
struct Seen {
    next: u64,
    time: u64,
    /// How many records of each writer.
    of: [u64; WRITERS],
    /// The batch that it is in: who wrote it, and how many records of it follow.
    batch: Option<(usize, usize)>,
}

impl Seen {
    fn see(&mut self, offset: u64, time: u64, bytes: &[u8]) {
        assert_eq!(offset, self.next, "a gap, or a record seen again");
        assert!(time >= self.time, "time runs back at {offset}");
        let tag = Tag::of(bytes);
        assert_eq!(tag.number, self.of[tag.writer], "writer {}'s order at {offset}", tag.writer);
        if let Some(expected) = self.batch {
            assert_eq!((tag.writer, tag.behind), expected, "a batch lies together, at {offset}");
        }
        self.batch = tag.behind.checked_sub(1).map(|left| (tag.writer, left));
        self.of[tag.writer] += 1;
        self.time = time;
        self.next += 1;
    }

    fn at_the_end(&self) {
        assert_eq!(self.batch, None, "a batch that is not whole, before {}", self.next);
    }
}

/// Steps through all records, from the first to the last that there will be.
fn follow(log: &Log, over: &AtomicBool, step: impl Fn(&mut Cursor, &mut Seen) -> usize) -> Seen {
    let (mut cursor, mut seen) = (Cursor::open(log, 0).unwrap(), Seen::default());
    loop {
        let was_over = over.load(Ordering::Acquire);
        if step(&mut cursor, &mut seen) == 0 {
            seen.at_the_end();
            if was_over {
                return seen;
            }
            thread::yield_now();
        }
    }
}

fn by_next(cursor: &mut Cursor, seen: &mut Seen) -> usize {
    let Some(record) = cursor.next().unwrap() else { return 0 };
    seen.see(record.offset, record.timestamp_ns, record.payload);
    1
}

/// In batches of 1 to 300; all views of a batch are looked at when the last one has been given.
fn by_batch(cursor: &mut Cursor, seen: &mut Seen) -> usize {
    let capacity = 1 + usize::try_from(seen.next * 7 % 300).unwrap();
    let mut views = Vec::new();
    let count = cursor.next_batch(capacity, |record| views.push(record)).unwrap();
    assert!(count == views.len() && count <= capacity);
    for view in &views {
        seen.see(view.offset, view.timestamp_ns, view.payload);
    }
    count
}

/// Reads at random, half of it among the last records; returns what stood where.
fn read_at_random(log: &Log, over: &AtomicBool, seed: u64) -> Vec<(u64, Tag)> {
    let (mut random, mut found) = (Random(seed), Vec::new());
    while !over.load(Ordering::Acquire) {
        let next = log.next_offset();
        let back = if random.next() % 2 == 0 { next } else { next.min(100) };
        if let Some(back) = random.next().checked_rem(back) {
            let offset = next - 1 - back;
            found.push((offset, log.read(offset, |bytes, _| Tag::of(bytes)).unwrap()));
        }
    }
    found
}

/// Lets writers and readers loose on a new log; afterwards, and after a reopen, all of it is as it was acknowledged.
fn loose(sync: Sync, segment_max_bytes: u64, bytes_each: usize) -> Stat {
    let dir = Scratch::new();
    let config = Config { segment_max_bytes, sync, ..Config::default() };
    let log = Log::open(dir.path(), &config).unwrap();
    let over = AtomicBool::new(false);
    let passes = AtomicU64::new(0);
    let (offsets, seen, found) = thread::scope(|scope| {
        let (log, over, passes) = (&log, &over, &passes);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(log, writer, bytes_each, sync))).collect();
        let followers = [
            scope.spawn(|| follow(log, over, by_next)),
            scope.spawn(|| follow(log, over, by_batch)),
            scope.spawn(|| {
                // Begins again and again, so that segments are opened that had been let go.
                while !over.load(Ordering::Acquire) {
                    follow(log, &AtomicBool::new(true), by_batch);
                    passes.fetch_add(1, Ordering::Relaxed);
                }
                follow(log, over, by_next)
            }),
        ];
        let readers = [1, 2].map(|seed| scope.spawn(move || read_at_random(log, over, seed)));
        let syncer = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let next = log.next_offset();
                log.sync().unwrap();
                let stat = log.stat().unwrap();
                assert!((next..=stat.next_offset).contains(&stat.durable_offset));
                thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let _over = Over(over);
        let offsets: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        over.store(true, Ordering::Release);
        syncer.join().unwrap();
        let found: Vec<_> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        (offsets, followers.map(|follower| follower.join().unwrap()), found)
    });
    let counts: Vec<_> = offsets.iter().map(|offsets| offsets.len() as u64).collect();
    let next = counts.iter().sum::<u64>();
    for seen in &seen {
        assert_eq!((seen.next, &seen.of[..]), (next, &counts[..]), "a follower ended early");
    }
    assert!(passes.into_inner() > 0 && !found.is_empty());
    for (offset, tag) in &found {
        assert_eq!(offsets[tag.writer][usize::try_from(tag.number).unwrap()], *offset, "{tag:?} was read elsewhere");
    }
    let stat = log.stat().unwrap();
    assert_eq!((stat.next_offset, stat.appends), (next, next));
    log.close().unwrap();
    let log = Log::open(dir.path(), &config).unwrap();
    assert_eq!(log.next_offset(), next);
    follow(&log, &AtomicBool::new(true), |cursor, seen| {
        let offset = cursor.offset();
        let Some(record) = cursor.next().unwrap() else { return 0 };
        let tag = Tag::of(record.payload);
        assert_eq!(offsets[tag.writer][usize::try_from(tag.number).unwrap()], offset, "the offset of {tag:?}");
        seen.see(record.offset, record.timestamp_ns, record.payload);
        1
    });
    assert_eq!(log.stat().unwrap().payload_bytes, stat.payload_bytes);
    stat
}

/// Ends the others where a writer has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn threads_over_hundreds_of_segments_see_every_record_once_and_in_order() {
    let stat = loose(Sync::Never, 32 << 10, 24 << 20);
    assert!(stat.segment_count > 2 * 256, "only {} segments", stat.segment_count);
}

#[test]
fn threads_over_many_laps_of_the_ring_see_every_record_once_and_in_order() {
    let stat = loose(Sync::Never, 8 << 20, 40 << 20);
    assert!((8..32).contains(&stat.segment_count), "{} segments", stat.segment_count);
}

#[test]
fn threads_that_append_durably_see_every_record_once_and_in_order() {
    let stat = loose(Sync::Always, 64 << 10, 16 << 20);
    assert!(stat.segment_count > 256, "only {} segments", stat.segment_count);
    assert!(stat.syncs_shared > 0, "no sync was ever shared");
}
