//! A trace that strace wrote, as calls with a beginning and an end, and what must come before an acknowledgement in it.
//! It knows the log's format only as far as a record's place goes, and runs nothing.

use std::ops::Range;
use std::path::Path;

/// Where the frames of a store begin, and what its SEAL takes (docs/FORMAT.md).
const FRAMES_START: u64 = 4096;
const SEAL_BYTES: u64 = 48;
/// Both copies of a store's header lie here.
const HEADERS: Range<u64> = 0..1104;
/// The length of each record.
pub(crate) const LENGTH: u64 = 100;
/// A frame of that: 16 bytes before it, padding to 8 behind it.
const FRAME_BYTES: u64 = 120;

/// One system call. strace prints `started` before the kernel does it, and `completed` before the thread goes on.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) thread: String,
    pub(crate) name: String,
    /// What stands between the parentheses.
    pub(crate) args: String,
    pub(crate) started: usize,
    /// `usize::MAX` for one that never came back.
    pub(crate) completed: usize,
    pub(crate) result: i64,
    pub(crate) injected: bool,
}

impl Call {
    /// The path of its first argument, a file descriptor.
    pub(crate) fn path(&self) -> &str {
        self.args.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path)
    }

    /// The strings among its arguments.
    fn strings(&self) -> Vec<&str> {
        self.args.split('"').skip(1).step_by(2).collect()
    }

    /// Where a pwrite64 wrote.
    fn range(&self) -> Range<u64> {
        let position: u64 = self.args.rsplit(", ").next().and_then(|word| word.parse().ok()).unwrap();
        position..position + u64::try_from(self.result).unwrap_or(0)
    }

    /// No frame begins with four zeros: a write of zeros ahead of them.
    fn is_of_zeros(&self) -> bool {
        self.strings().first().is_some_and(|bytes| bytes.starts_with("\\0\\0\\0\\0"))
    }

    pub(crate) fn is_sync(&self) -> bool {
        self.name == "fdatasync" || self.name == "fsync"
    }
}

fn parse_calls(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some((_, tail)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let begun = calls.iter_mut().rev().find(|call| call.thread == thread && call.completed == usize::MAX);
            complete(begun.unwrap(), tail, number);
        } else if let Some((name, tail)) = rest.split_once('(').filter(|_| !rest.starts_with(['+', '-'])) {
            let (thread, name, args) = (thread.to_owned(), name.to_owned(), String::new());
            let mut call =
                Call { thread, name, args, started: number, completed: usize::MAX, result: -1, injected: false };
            match tail.strip_suffix(" <unfinished ...>") {
                Some(args) => args.clone_into(&mut call.args),
                None => complete(&mut call, tail, number),
            }
            calls.push(call);
        }
    }
    calls
}

/// `tail` is the rest of the arguments and the result.
fn complete(call: &mut Call, tail: &str, number: usize) {
    let Some((args, result)) = tail.rsplit_once(" = ") else { return };
    let args = args.trim_end();
    call.args.push_str(args.strip_suffix(')').unwrap_or(args));
    call.result = result.split([' ', '<']).next().and_then(|word| word.parse().ok()).unwrap_or(-1);
    call.injected = result.contains("(INJECTED)");
    call.completed = number;
}

/// What the program did with its log, and what it said.
pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
    /// The log's directory.
    pub(crate) log: String,
}

/// A store, from the moment that it has its name.
pub(crate) struct Store<'a> {
    pub(crate) base: u64,
    pub(crate) path: String,
    pub(crate) renamed: &'a Call,
}

impl Trace {
    pub(crate) fn new(text: &str, log: &str) -> Self {
        Self { calls: parse_calls(text), log: log.to_owned() }
    }

    /// The lines that the program wrote, and when.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&str, usize)> {
        let lines = self.calls.iter().filter(|call| call.name == "write" && call.path().ends_with("/acks"));
        lines.map(|call| (call.strings()[0].trim_end_matches("\\n"), call.started))
    }

    pub(crate) fn words(&self) -> Vec<&str> {
        self.said().map(|(line, _)| line).collect()
    }

    /// The offsets of appends that returned, and when.
    pub(crate) fn acks(&self) -> Vec<(u64, usize)> {
        self.said().filter_map(|(line, at)| Some((line.strip_prefix("ack ")?.parse().ok()?, at))).collect()
    }

    fn on<'a>(&'a self, name: &'a str, path: &'a str) -> impl Iterator<Item = &'a Call> {
        self.calls.iter().filter(move |call| call.name == name && call.path() == path)
    }

    /// The stores that had their names at some moment, in their order.
    pub(crate) fn stores(&self, by: usize) -> Vec<Store<'_>> {
        let renames = self.calls.iter().filter(|call| call.name.starts_with("rename") && call.completed < by);
        let stores = renames.filter(|call| call.result == 0).filter_map(|renamed| {
            let name = renamed.strings().pop()?;
            let base = name.strip_suffix("-00000000.store")?.parse().ok()?;
            Some(Store { base, path: format!("{}/{name}", self.log), renamed })
        });
        stores.collect()
    }

    /// Between the two moments, some sync of the file began after writes that cover the range had returned, and
    /// returned. No write there came later.
    fn is_synced(&self, path: &str, range: &Range<u64>, since: usize, by: usize) -> bool {
        let touches = |call: &&Call| call.range().start < range.end && call.range().end > range.start;
        let mut writes: Vec<_> = self.on("pwrite64", path).filter(|call| (since..by).contains(&call.started)).collect();
        writes.retain(|call| touches(call) && !call.is_of_zeros());
        writes.sort_by_key(|call| call.range().start);
        let covered = writes
            .iter()
            .fold(range.start, |to, call| if call.range().start <= to { to.max(call.range().end) } else { to });
        let last = writes.iter().map(|call| call.completed).max().unwrap_or(usize::MAX);
        let mut syncs = self.on("fdatasync", path).filter(|call| call.result == 0);
        covered >= range.end && syncs.any(|sync| sync.started > last && sync.completed < by)
    }

    /// Where stores were written with zeros.
    pub(crate) fn zeros(&self) -> Vec<Range<u64>> {
        let writes = self.calls.iter().filter(|call| call.name == "pwrite64" && call.path().ends_with(".store"));
        writes.filter(|call| call.is_of_zeros()).map(Call::range).collect()
    }

    /// The directory was synced after one moment and before the other.
    fn directory_is_synced(&self, path: &str, since: usize, by: usize) -> bool {
        self.on("fsync", path).any(|sync| sync.result == 0 && sync.started > since && sync.completed < by)
    }

    /// The record of this offset, all before it, and their files' names survive power loss at the moment `by`.
    fn check_durable(&self, offset: u64, by: usize) -> Result<(), String> {
        let said =
            |what: &str, path: &str| Err(format!("line {}, offset {offset}: {path}: {what}", by.wrapping_add(1)));
        let parent = Path::new(&self.log).parent().unwrap().to_str().unwrap();
        let mut made = self.calls.iter().filter(|call| call.name.starts_with("mkdir") && call.result == 0);
        let made = made.find(|call| call.strings().contains(&self.log.as_str()));
        if !made.is_some_and(|made| self.directory_is_synced(parent, made.completed, by)) {
            return said("the new log's name was not synced", parent);
        }
        let mut stores = self.stores(by);
        stores.retain(|store| store.base <= offset);
        if stores.is_empty() {
            return said("no segment has a place for it", &self.log);
        }
        for (number, Store { base, path, renamed }) in stores.iter().enumerate() {
            if let Err(what) = self.check_header(path, renamed, by) {
                return said(what, path);
            }
            if !self.directory_is_synced(&self.log, renamed.completed, by) {
                return said("its name was not synced", path);
            }
            let range = if let Some(next) = stores.get(number + 1) {
                FRAMES_START..FRAMES_START + FRAME_BYTES * (next.base - base) + SEAL_BYTES
            } else {
                let position = FRAMES_START + FRAME_BYTES * (offset - base);
                position..position + FRAME_BYTES
            };
            if !self.is_synced(path, &range, 0, by) {
                return said(&format!("bytes {range:?} were not synced"), path);
            }
        }
        Ok(())
    }

    /// A store had a header on the disk before it got its name, and has its own by now. (One that was made ahead says
    /// so in its header; its own is written when it gets its name, and synced with the first record.)
    fn check_header(&self, path: &str, renamed: &Call, by: usize) -> Result<(), &'static str> {
        let made_as = format!("{}/{}", self.log, renamed.strings()[0]);
        let earlier = |call: &&Call| call.name == renamed.name && call.completed < renamed.started;
        let same = |call: &&Call| call.strings()[0] == renamed.strings()[0];
        let since = self.calls.iter().filter(earlier).rfind(same).map_or(0, |call| call.completed);
        let mut headers = self.on("pwrite64", &made_as).filter(|call| (since..renamed.started).contains(&call.started));
        let Some(first) = headers.find(|call| call.range().start == 0 && call.range().end >= HEADERS.end) else {
            return Err("it got its name without a header");
        };
        let last = headers.last().unwrap_or(first);
        let is_synced = |name: &str, from: &Call, to: usize| {
            let mut syncs = self.on("fdatasync", name).filter(|call| call.result == 0);
            syncs.any(|sync| sync.started > from.completed && sync.completed < to)
        };
        if !is_synced(&made_as, first, renamed.started) {
            return Err("it got its name before it had a header on the disk");
        }
        if is_synced(&made_as, last, renamed.started) || is_synced(path, last, by) {
            return Ok(());
        }
        Err("its own header was not synced")
    }

    /// Every append that returned was durable then.
    pub(crate) fn check_acks(&self) -> Result<(), String> {
        self.acks().iter().try_for_each(|(offset, at)| self.check_durable(*offset, *at))
    }

    /// When a `log_sync` or the `log_close` returned, all that had been appended before was durable; in between, no
    /// active store was synced. Gives how many such returns there were.
    pub(crate) fn check_barriers(&self) -> Result<usize, String> {
        let (mut barriers, mut before, mut from) = (0, 0, None);
        for (line, at) in self.said() {
            match line {
                "opened" => from = Some(at),
                "syncing" | "closing" => {
                    let begun = from.take().ok_or("two barriers at once")?;
                    self.check_no_active_sync(begun, at)?;
                    before = at;
                }
                "synced LOG_OK" | "closed LOG_OK" => {
                    for (offset, _) in self.acks().iter().filter(|(_, acked)| *acked < before) {
                        self.check_durable(*offset, at)?;
                    }
                    barriers += 1;
                    from = Some(at);
                }
                _ => {}
            }
        }
        Ok(barriers)
    }

    fn check_no_active_sync(&self, from: usize, to: usize) -> Result<(), String> {
        let syncs = self.calls.iter().filter(|call| call.name == "fdatasync" && (from..to).contains(&call.started));
        for sync in syncs {
            if self.stores(sync.started).last().is_some_and(|active| active.path == sync.path()) {
                return Err(format!("line {}: the active store was synced, and nobody asked for it", sync.started + 1));
            }
        }
        Ok(())
    }
}
