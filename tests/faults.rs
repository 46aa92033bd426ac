//! Faults: every system call of a log's life fails once, from one on for good, or writes a part only. Whatever
//! happens, a call ends with a clean status, what was acknowledged as durable is there after the next open, and what
//! is found is exactly what was appended. An I/O error is tried at every call; most other faults at every third or so, not
//! at the same ones on each start, and with `SEGLOG_CAMPAIGN` set at every one, too.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::faults::{Fault, Hook, Kind};
use seglog::{Config, Cursor, Error, Log, Status, Sync};
use std::sync::atomic::{AtomicU64, Ordering};
use support::format::{FRAMES, frames};
use support::{Image, Scratch, each, payload, small};

const EIO: i32 = 5;
const EINTR: i32 = 4;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// Record `offset`: now and then one that is too long for the ring and for a segment.
fn record(offset: u64) -> Vec<u8> {
    if offset == 47 { vec![47; 270_000] } else { payload(offset) }
}

/// What is done with a log: (records of a batch, or 1; 0 for a sync). It rolls several times.
const STEPS: &[u64] = &[1, 3, 0, 1, 20, 1, 1, 1, 0, 1, 22, 1];

/// What may be believed of a log.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    /// So many records were appended, and found before.
    accepted: u64,
    /// So many of them were acknowledged as durable.
    durable: u64,
}

/// The statuses that a failed system call may come to.
fn check_clean(error: &Error) {
    let clean = [Status::Io, Status::NoSpace, Status::Memory, Status::Poisoned];
    assert!(clean.contains(&error.status()), "{:?}: {error}", error.status());
    assert!(!error.to_string().contains('\n'));
}

fn append(log: &Log, count: u64) -> seglog::Result<u64> {
    let first = log.next_offset();
    let records: Vec<_> = (first..first + count).map(record).collect();
    let slices: Vec<_> = records.iter().map(Vec::as_slice).collect();
    if count == 1 { log.append(slices[0]) } else { log.append_batch(&slices) }
}

/// Every record is there, by offset and by cursor, and no other one.
fn check_records(log: &Log, next: u64) {
    let mut cursor = Cursor::open(log, 0).unwrap();
    for offset in 0..next {
        let expected = record(offset);
        log.read(offset, |bytes, _| assert!(bytes == expected, "wrong data at {offset}")).unwrap();
        let found = cursor.next().unwrap().unwrap();
        assert!((found.offset, found.payload) == (offset, &expected[..]), "a cursor gives wrong data at {offset}");
    }
    assert!(cursor.next().unwrap().is_none());
}

impl Model {
    /// One step, and what may be believed after it.
    fn step(&mut self, log: &Log, sync: Sync, count: u64, hook: &Hook) -> Result<(), Error> {
        let result = hook.run(|| if count == 0 { log.sync().map(|()| 0) } else { append(log, count) });
        match &result {
            Ok(offset) => {
                assert!(count == 0 || *offset == self.accepted, "the offset that was given");
                self.accepted += count;
                if count == 0 || sync == Sync::Always {
                    self.durable = self.accepted;
                }
            }
            Err(error) => {
                check_clean(error);
                if let Some(offset) = error.detail().published {
                    assert_eq!(offset, self.accepted);
                    assert_ne!(
                        error.status(),
                        Status::NoSpace,
                        "what was appended must not be appended again: {error}"
                    );
                    self.accepted += count;
                }
            }
        }
        let says = log.stat().unwrap().next_offset;
        assert_eq!((log.next_offset(), says), (self.accepted, self.accepted), "{result:?}");
        result.map(drop)
    }

    /// A log's life: open, steps, reads, close.
    fn live(&mut self, dir: &Scratch, sync: Sync, hook: &Hook) {
        let config = Config { sync, ..small() };
        let log = hook.run(|| Log::open(dir.path(), &config)).or_else(|error| {
            check_clean(&error);
            Log::open(dir.path(), &config)
        });
        let log = log.unwrap_or_else(|error| panic!("the second try: {error}"));
        assert_eq!(log.next_offset(), self.accepted, "what the open found");
        self.durable = log.stat().unwrap().durable_offset;
        for count in STEPS {
            let Err(error) = self.step(&log, sync, *count, hook) else { continue };
            if error.status() == Status::NoSpace {
                let again = self.step(&log, sync, *count, &Hook::new());
                again.unwrap_or_else(|again| panic!("'{error}' promises that the same call works again: {again}"));
            }
        }
        // Outside of the hook: reads go on.
        check_records(&log, self.accepted);
        match hook.run(|| log.close()) {
            Ok(()) => self.durable = self.accepted,
            Err(error) => check_clean(&error),
        }
    }

    /// The machine goes on, and the log is opened again; or the machine is gone, and LIVE with it.
    fn check(&self, dir: &Scratch) {
        let gone = Image::without_live(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("after the fault: {error}"));
        assert_eq!((log.first_offset(), log.next_offset()), (0, self.accepted), "all that was appended is found");
        check_records(&log, self.accepted);
        assert_eq!(append(&log, 1).unwrap(), self.accepted);
        log.close().unwrap();
        if gone.stores().is_empty() {
            assert_eq!(self.durable, 0);
            return;
        }
        gone.put(dir.path());
        let log = Log::open(dir.path(), &small()).unwrap_or_else(|error| panic!("without LIVE: {error}"));
        let next = log.next_offset();
        assert!((self.durable..=self.accepted).contains(&next), "{next} records of {self:?}");
        check_records(&log, next);
    }
}

/// What a log is opened on, and how many records are in it.
fn starts() -> Vec<(&'static str, Image, u64)> {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    for count in [3, 9, 1, 20, 5, 7] {
        append(&log, count).unwrap();
    }
    let mut killed = Image::of(dir.path());
    log.close().unwrap();
    let closed = Image::of(dir.path());
    for store in killed.stores() {
        killed.file(&store)[2048..FRAMES].fill(0);
    }
    killed.0.insert("next-store.tmp".to_owned(), vec![1; 100]);
    let mut bare = killed.clone();
    bare.0.retain(|name, _| !name.contains(".index"));
    let mut torn = killed.clone();
    let store = torn.stores()[0].clone();
    let at = frames(&torn.0[&store]);
    let next = at[3].offset;
    torn.file(&store)[at[4].start + 9] ^= 4;
    vec![
        ("nothing", Image::default(), 0),
        ("a closed log", closed, 45),
        ("a killed log", killed, 45),
        ("a killed log without indexes", bare, 45),
        ("a torn log", torn, next),
    ]
}

/// The numbers of the calls of these kinds in a log's life without a fault.
fn calls(start: &Image, accepted: u64, sync: Sync, kinds: impl Fn(Kind) -> bool) -> Vec<u64> {
    let (dir, hook) = (start.place(), Hook::new().recording());
    Model { accepted, durable: 0 }.live(&dir, sync, &hook);
    assert_eq!(hook.failed(), 0);
    let ops = hook.ops().into_iter().filter(|op| op.kind != Kind::Store);
    (0..).zip(ops).filter(|(_, op)| kinds(op.kind)).map(|(nth, _)| nth).collect()
}

fn is_campaign() -> bool {
    std::env::var_os("SEGLOG_CAMPAIGN").is_some()
}

/// Lives a log's life on each start, once with the fault that `fault` makes of each of these calls; or of each
/// `step`-th, and not of the same ones on each start.
fn each_call_that(
    sync: Sync,
    kinds: impl Fn(Kind) -> bool,
    step: usize,
    fault: impl Fn(u64) -> Fault + std::marker::Sync,
) {
    let step = if is_campaign() { 1 } else { step };
    for (number, (what, start, accepted)) in starts().into_iter().enumerate() {
        let calls: Vec<_> =
            calls(&start, accepted, sync, &kinds).into_iter().skip(number % step).step_by(step).collect();
        let failed = AtomicU64::new(0);
        each(0..calls.len(), |n, dir| {
            start.put(dir.path());
            let fault = fault(calls[n]);
            let hook = Hook::new().recording().with(fault);
            let _context = Context(&hook, format!("{what}, {sync:?}, {fault:?}"));
            let mut model = Model { accepted, durable: 0 };
            model.live(dir, sync, &hook);
            failed.fetch_add(hook.failed().min(1), Ordering::Relaxed);
            model.check(dir);
        });
        // The log's own thread makes their order and number differ a little from run to run.
        assert!(failed.into_inner() as usize >= calls.len() * 9 / 10, "{what}: most faults were met");
    }
}

fn each_call(sync: Sync, step: usize, fault: impl Fn(u64) -> Fault + std::marker::Sync) {
    each_call_that(sync, |_| true, step, fault);
}

/// Says in a failed test which call was hit.
struct Context<'a>(&'a Hook, String);

impl Drop for Context<'_> {
    #[expect(clippy::print_stderr, reason = "a failed test says what it did")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ops: Vec<_> = self.0.ops().into_iter().filter(|op| op.kind != Kind::Store).collect();
            eprintln!("in {}", self.1);
            for (n, op) in ops.iter().enumerate() {
                eprintln!("{n:4} {op:?}");
            }
        }
    }
}

#[test]
fn a_call_that_fails_once_with_an_io_error_loses_nothing() {
    each_call(Sync::Always, 1, |nth| Fault::Fail { nth, os_error: EIO });
    each_call(Sync::Never, 4, |nth| Fault::Fail { nth, os_error: EIO });
}

#[test]
fn a_disk_that_is_full_for_a_moment_loses_nothing() {
    each_call(Sync::Always, 3, |nth| Fault::Fail { nth, os_error: ENOSPC });
    each_call(Sync::Never, 3, |nth| Fault::Fail { nth, os_error: ENOSPC });
}

#[test]
fn memory_or_descriptors_that_run_out_for_a_moment_lose_nothing() {
    each_call(Sync::Always, 5, |nth| Fault::Fail { nth, os_error: ENOMEM });
    each_call(Sync::Never, 5, |nth| Fault::Fail { nth, os_error: EMFILE });
}

#[test]
fn a_machine_that_goes_at_any_call_loses_nothing_that_was_durable() {
    each_call(Sync::Always, 3, |nth| Fault::FailFrom { nth, os_error: EIO });
    each_call(Sync::Never, 5, |nth| Fault::FailFrom { nth, os_error: EIO });
}

#[test]
fn a_write_torn_at_any_length_leaves_exactly_what_was_whole() {
    for keep in [0, 1, 8, 511, 4096] {
        let sync = if keep == 511 { Sync::Never } else { Sync::Always };
        each_call_that(sync, |kind| kind == Kind::Write, 4, |nth| Fault::Tear { nth, keep, os_error: EIO });
    }
}

#[test]
fn a_call_that_a_signal_interrupts_is_made_again() {
    let again = |kind| matches!(kind, Kind::Read | Kind::Write | Kind::Allocate | Kind::SetLen | Kind::Lock);
    for (what, start, accepted) in starts() {
        for nth in calls(&start, accepted, Sync::Always, again).into_iter().step_by(if is_campaign() { 1 } else { 3 }) {
            let dir = start.place();
            let hook = Hook::new().recording().with(Fault::Fail { nth, os_error: EINTR });
            let mut model = Model { accepted, durable: 0 };
            let life = hook.run(|| Log::open(dir.path(), &small())).and_then(|log| {
                STEPS.iter().try_for_each(|count| model.step(&log, Sync::Never, *count, &hook))?;
                hook.run(|| log.close())
            });
            let Err(error) = life else { continue };
            // The log's own thread may have come in between, so that a call of another kind was hit.
            let op = hook.ops().into_iter().filter(|op| op.kind != Kind::Store).nth(nth as usize).unwrap();
            assert!(!again(op.kind), "{what}: {op:?}: {error}");
        }
    }
}

/// The keeper, then the syncer: a log that may have them is not opened without.
#[test]
fn a_thread_that_cannot_be_started_fails_the_open_with_memory_and_leaves_the_log_to_the_next() {
    const EAGAIN: i32 = 11;
    let open = |dir: &Scratch| Log::open(dir.path(), &Config::default());
    let hook = Hook::new().recording();
    hook.run(|| open(&Scratch::new()).unwrap());
    let calls: Vec<_> = hook.ops().into_iter().filter(|op| op.kind != Kind::Store).collect();
    let spawns: Vec<u64> = (0..).zip(&calls).filter(|(_, op)| op.kind == Kind::Spawn).map(|(nth, _)| nth).collect();
    assert_eq!(spawns.len(), 2, "{calls:?}");
    for nth in spawns {
        let dir = Scratch::new();
        let hook = Hook::new().with(Fault::Fail { nth, os_error: EAGAIN });
        let error = hook.run(|| open(&dir).map(|_| ())).unwrap_err();
        assert_eq!((error.status(), error.detail().os_error), (Status::Memory, EAGAIN), "{error}");
        assert!(error.to_string().contains("raise the limit of threads"), "{error}");
        assert_eq!(open(&dir).unwrap().append(b"record").unwrap(), 0);
    }
}
