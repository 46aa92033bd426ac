//! SIGKILL under load: a C program with three threads appends, rolls and acknowledges through a pipe until it is killed
//! at a random time; then the log is opened again. No acknowledged record is lost, none is out of order or there twice,
//! and no batch is torn. A run in which no kill fell into an append fails: it would show nothing.
//!
//! `SEGLOG_KILLS` sets how many kills (100), half of them for each policy. With `cargo test --release` the program
//! links the release build. The directory of a run that failed stays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Profile, TempDir, compile_c, library_dir_of, path, shared_flags};
use seglog::{Config, Cursor, Log, Sync};
use std::fs;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const THREADS: usize = 3;
const KILLS: u64 = 100;
/// After so many kills a new directory is taken, and the whole of the old one is read.
const KILLS_A_DIRECTORY: u64 = 10;
const SIGKILL: i32 = 9;

// --- the records, as killed_writer.c makes them ----------------------------------------------------------------------

const HEAD: usize = 16;
const SMALL: u64 = 2000;
const LARGE: usize = 300_000;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hash(thread: usize, seq: u64) -> u64 {
    mix((thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seq))
}

fn record_length(thread: usize, seq: u64) -> usize {
    if seq % 200 == 199 { LARGE } else { HEAD + (hash(thread, seq) % (SMALL + 1)) as usize }
}

/// How many records the call has that begins with this one.
fn count_of(thread: usize, seq: u64) -> u16 {
    let draw = mix(hash(thread, seq));
    if draw.is_multiple_of(8) { 2 + (draw / 8 % 7) as u16 } else { 1 }
}

/// The bytes that records are filled with: each takes a part that its numbers choose.
struct Filler(Vec<u8>);

impl Filler {
    fn new() -> Self {
        Self((0..LARGE as u64 + 65_536).map(|n| mix(n) as u8).collect())
    }

    /// Fails unless these are the bytes of this record, the `index`-th of `count` of its batch.
    fn check(&self, payload: &[u8], offset: u64, thread: usize, seq: u64, index: u16, count: u16) {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&u32::try_from(thread).unwrap().to_le_bytes());
        head[4..6].copy_from_slice(&index.to_le_bytes());
        head[6..8].copy_from_slice(&count.to_le_bytes());
        head[8..].copy_from_slice(&seq.to_le_bytes());
        let what = format_args!("record {offset}: thread {thread}, seq {seq}, {index} of {count}");
        assert_eq!(payload.len(), record_length(thread, seq), "{what}: its length");
        assert_eq!(payload[..HEAD], head, "{what}: another record, or out of order");
        let start = (hash(thread, seq) >> 48) as usize;
        assert!(payload[HEAD..] == self.0[start..][..payload.len() - HEAD], "{what}: its bytes have changed");
    }
}

// --- a log, read in order --------------------------------------------------------------------------------------------

/// How far a log has been read and found right.
#[derive(Debug, Default, PartialEq, Eq)]
struct Walk {
    /// The next record's.
    offset: u64,
    /// Each thread's next sequence number.
    next: [u64; THREADS],
}

impl Walk {
    /// Reads on to the log's end. Each record must be the next one of its thread, with its exact bytes, and each batch
    /// must be whole and without another thread's records in it.
    fn read_on(&mut self, log: &Log, filler: &Filler) {
        let mut cursor = Cursor::open(log, self.offset).unwrap();
        let (mut index, mut count, mut thread) = (0, 0, 0);
        while let Some(record) = cursor.next().unwrap() {
            assert_eq!(record.offset, self.offset, "offsets have no holes");
            if index == count {
                let named = record.payload.first_chunk().map(|&bytes| u32::from_le_bytes(bytes) as usize);
                thread = named.filter(|&thread| thread < THREADS).expect("a record begins with its thread's number");
                (index, count) = (0, count_of(thread, self.next[thread]));
            }
            filler.check(record.payload, self.offset, thread, self.next[thread], index, count);
            self.next[thread] += 1;
            self.offset += 1;
            index += 1;
        }
        assert_eq!(index, count, "the log ends in a batch: at {} of thread {thread}", self.offset);
        assert_eq!(self.offset, log.next_offset(), "a cursor reaches the log's end");
    }
}

// --- the program that is killed --------------------------------------------------------------------------------------

/// A call that returned before the kill.
#[derive(Debug, Clone, Copy)]
struct Ack {
    offset: u64,
    seq: u64,
    thread: usize,
    count: u16,
}

impl Ack {
    fn all(bytes: &[u8]) -> Vec<Self> {
        assert_eq!(bytes.len() % 24, 0, "a write of less than PIPE_BUF is whole or not there");
        let long = |ack: &[u8], at: usize| u64::from_le_bytes(ack[at..at + 8].try_into().unwrap());
        let short = |ack: &[u8], at: usize| u32::from_le_bytes(ack[at..at + 4].try_into().unwrap());
        let ack = |ack: &[u8]| Self {
            offset: long(ack, 0),
            seq: long(ack, 8),
            thread: short(ack, 16) as usize,
            count: u16::try_from(short(ack, 20)).unwrap(),
        };
        bytes.chunks_exact(24).map(ack).collect()
    }
}

/// What one thread of the program had noted when it was killed.
#[derive(Debug, Clone, Copy)]
struct Note {
    in_append: bool,
    /// The sequence number behind the last one that was given to a call.
    asked: u64,
}

impl Note {
    fn all(file: &Path) -> [Self; THREADS] {
        let bytes = fs::read(file).unwrap();
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        std::array::from_fn(|thread| Self { in_append: long(thread * 64) == 1, asked: long(thread * 64 + 8) })
    }
}

/// Kills the program when it is dropped, however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads all that comes through the pipe until every writer is gone; says so when the first bytes have come.
fn collect(mut pipe: ChildStdout, begun: &mpsc::Sender<()>) -> Vec<u8> {
    let (mut all, mut part) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match pipe.read(&mut part).unwrap() {
            0 => return all,
            len => all.extend_from_slice(&part[..len]),
        }
        let _ = begun.send(());
    }
}

/// Runs the program on this log and kills it this long after its first acknowledgement.
fn run_and_kill(program: &Path, dir: &Path, notes: &Path, sync: Sync, from: &Walk, pause: Duration) -> Vec<Ack> {
    let mut command = Command::new(program);
    command.arg(dir).arg(if sync == Sync::Always { "0" } else { "2" }).arg(notes);
    command.args(from.next.iter().map(u64::to_string));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().unwrap());
    let pipe = child.0.stdout.take().unwrap();
    let (begun, first) = mpsc::channel();
    let acks = thread::spawn(move || collect(pipe, &begun));
    let in_time = first.recv_timeout(Duration::from_secs(120));
    thread::sleep(pause);
    child.0.kill().unwrap();
    let status = child.0.wait().unwrap();
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(in_time.is_ok() && status.signal() == Some(SIGKILL), "the writer ended with {status}: {said}");
    Ack::all(&acks.join().expect("the pipe was read"))
}

// --- the loop --------------------------------------------------------------------------------------------------------

/// What the kills of one policy came to.
#[derive(Debug, Default)]
struct Count {
    kills: u64,
    /// Kills at which at least one thread was in an append.
    in_append: u64,
    /// Kills after which there was a record that had not been acknowledged: they fell between the two.
    between: u64,
    /// Kills that left a torn tail.
    torn: u64,
    acknowledged: u64,
    records: u64,
    segments: u64,
}

struct Bench {
    program: PathBuf,
    filler: Filler,
    random: u64,
}

impl Bench {
    fn pause(&mut self) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Duration::from_micros(1_000 + mix(self.random) % 24_000)
    }

    /// Opens the log after a kill and checks what the kill could have harmed: the part that is new, from `walk` on.
    fn check(&self, log: &Log, walk: &mut Walk, acks: &[Ack], notes: [Note; THREADS], count: &mut Count) {
        let stat = log.stat().unwrap();
        let before = walk.offset;
        let mut acknowledged = walk.next;
        for ack in acks {
            let end = ack.offset + u64::from(ack.count);
            assert!(stat.next_offset >= end, "{ack:?} is lost: the log ends at {}", stat.next_offset);
            assert_eq!(ack.seq, acknowledged[ack.thread], "{ack:?}: acknowledgements of a thread are in order");
            acknowledged[ack.thread] += u64::from(ack.count);
            for index in 0..ack.count {
                let (offset, seq) = (ack.offset + u64::from(index), ack.seq + u64::from(index));
                let check = |payload: &[u8], _| {
                    self.filler.check(payload, offset, ack.thread, seq, index, ack.count);
                };
                log.read(offset, check).unwrap_or_else(|error| panic!("{ack:?}: {error}"));
            }
            count.acknowledged += u64::from(ack.count);
        }
        walk.read_on(log, &self.filler);
        for (thread, note) in notes.iter().enumerate() {
            let (there, sure) = (walk.next[thread], acknowledged[thread]);
            assert!(there >= sure, "thread {thread}: {there} records are there, {sure} were acknowledged");
            assert!(there <= note.asked, "thread {thread}: {there} records are there, it asked for {}", note.asked);
            assert!(note.in_append || there == note.asked, "thread {thread}: a call had returned; {there}, {note:?}");
        }
        count.kills += 1;
        count.in_append += u64::from(notes.iter().any(|note| note.in_append));
        count.between += u64::from(walk.next != acknowledged);
        count.torn += u64::from(stat.dropped_bytes > 0);
        count.records += walk.offset - before;
    }

    fn kill_loop(&mut self, sync: Sync, kills: u64) -> Count {
        let mut count = Count::default();
        let config = Config { segment_max_bytes: 256 << 10, sync, ..Config::default() };
        while count.kills < kills {
            // Kept where the test fails.
            let dir = ManuallyDrop::new(TempDir::new("kill"));
            let (log_dir, notes) = (dir.join("log"), dir.join("notes"));
            let mut walk = Walk::default();
            for _ in 0..KILLS_A_DIRECTORY.min(kills - count.kills) {
                let pause = self.pause();
                let acks = run_and_kill(&self.program, &log_dir, &notes, sync, &walk, pause);
                let log = Log::open(&log_dir, &config)
                    .unwrap_or_else(|error| panic!("{} after a kill: {error}", log_dir.display()));
                self.check(&log, &mut walk, &acks, Note::all(&notes), &mut count);
                log.close().unwrap();
            }
            let log = Log::open(&log_dir, &config).unwrap();
            let mut whole = Walk::default();
            whole.read_on(&log, &self.filler);
            assert_eq!(whole, walk, "{}: the whole log is what its parts were", log_dir.display());
            count.segments += u64::from(log.stat().unwrap().segment_count);
            log.close().unwrap();
            drop(ManuallyDrop::into_inner(dir));
        }
        count
    }
}

#[test]
fn no_acknowledged_record_is_lost_or_out_of_order_after_sigkill() {
    let kills = std::env::var("SEGLOG_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let built = TempDir::new("kill-writer");
    let program = built.join("killed_writer");
    let profile = if cfg!(debug_assertions) { Profile::Debug } else { Profile::Release };
    let link = shared_flags(library_dir_of(profile));
    let mut flags = vec!["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"];
    flags.extend(link.iter().map(String::as_str));
    compile_c(&[&path("tests/c/killed_writer.c")], &flags, &program);
    let random = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut bench = Bench { program, filler: Filler::new(), random };

    let counts =
        [(Sync::Always, kills.div_ceil(2)), (Sync::Never, kills / 2)].map(|(sync, kills)| bench.kill_loop(sync, kills));
    let sum = |of: fn(&Count) -> u64| counts.iter().map(of).sum::<u64>();
    println!(
        "{} kills, {} of them in an append ({} between a record and its acknowledgement, {} left a torn tail); \
         {} acknowledged records checked, {} in all, in {} segments",
        sum(|count| count.kills),
        sum(|count| count.in_append),
        sum(|count| count.between),
        sum(|count| count.torn),
        sum(|count| count.acknowledged),
        sum(|count| count.records),
        sum(|count| count.segments),
    );
    for count in &counts {
        assert!(count.kills == 0 || count.in_append > 0, "no kill fell into an append: {count:?}");
    }
}
