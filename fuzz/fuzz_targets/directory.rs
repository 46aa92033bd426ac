//! A whole directory: a log made by hand, to whose files anything happens. Opened to read, opened to write, read in every
//! way, appended to, cut, closed, opened again: no panic, no hang, and never wrong data, unless a change made checksums of
//! its own.
#![no_main]

mod shared;

use libfuzzer_sys::fuzz_target;
use seglog::{Config, Io, Log, Sync, flags};
use shared::format::{Header, Slot, crc, frame, frames};
use shared::samples::{self, Files, LIVES};
use shared::{Input, Seen, clear, look, look_trusting, payload, scratch};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const EISDIR: i32 = 21;

static DIR: LazyLock<PathBuf> = LazyLock::new(scratch);
static SAMPLES: LazyLock<Vec<samples::Sample>> = LazyLock::new(samples::all);
/// What may ever stand at an offset.
static RECORDS: LazyLock<Vec<Vec<Vec<u8>>>> =
    LazyLock::new(|| (0..200).map(|offset| (0..LIVES).map(|life| payload(life, offset)).collect()).collect());

/// A directory as it will be laid out.
#[derive(Default)]
struct Plan {
    files: Files,
    /// Lengths that files get at the end: holes.
    grown: BTreeMap<String, u64>,
    /// Names that are no files: 0 a directory, 1 a link, 2 a link to nowhere.
    others: BTreeMap<String, u8>,
    /// A change made a checksum of its own, so records may be anything.
    forged: bool,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let how = input.u8();
    let which = input.u8();
    let sample = &SAMPLES[usize::from(which & 7) % SAMPLES.len()];
    let mut plan = Plan { files: sample.files.clone(), ..Plan::default() };
    let unchanged = input.is_empty();
    while !input.is_empty() {
        change(&mut plan, &mut input);
    }
    let dir = &*DIR;
    clear(dir);
    plan.lay_out(dir, how & 1 == 0);
    let forged = plan.forged;
    let expect = move |offset: u64, bytes: &[u8]| {
        forged
            || usize::try_from(offset)
                .ok()
                .and_then(|offset| RECORDS.get(offset))
                .is_some_and(|lives| lives.iter().any(|life| life == bytes))
    };
    let followed = how & 2 == 0;
    let seen = if followed { follow(dir, &expect, how & 4 != 0, io(which >> 4)) } else { None };
    let written = write(dir, &expect, how, which);
    if unchanged && !sample.files.is_empty() {
        let written = written.expect("a log to which nothing happened");
        assert_eq!((written.first..written.next, &written.lost), (sample.records.clone(), &Vec::new()));
    }
    if unchanged && followed && !sample.files.is_empty() {
        assert!(seen.is_some());
    }
});

/// Mapped, or without any mapping.
fn io(bit: u8) -> Io {
    if bit & 1 == 0 { Io::Mapped } else { Io::File }
}

fn follow(dir: &Path, expect: &dyn Fn(u64, &[u8]) -> bool, trusting: bool, io: Io) -> Option<Seen> {
    let flags = flags::READ_ONLY | if trusting { flags::NO_VERIFY } else { 0 };
    let log = Log::open(dir, &Config { flags, io, ..Config::default() }).ok()?;
    // Who verifies nothing may be given anything, by his own wish.
    if trusting { look_trusting(&log) } else { look(&log, expect) }
}

/// Opens to write, looks, appends, closes, and finds the same again. Returns what the first look saw.
fn write(dir: &Path, expect: &dyn Fn(u64, &[u8]) -> bool, how: u8, which: u8) -> Option<Seen> {
    let config = Config {
        io: io(which >> 3),
        segment_max_bytes: 4096,
        index_max_bytes: if how & 8 == 0 { 256 } else { 32 },
        sync: if how & 16 == 0 { Sync::Never } else { Sync::Always },
        flags: if how & 32 == 0 { flags::NO_THREAD } else { 0 },
        ..Config::default()
    };
    let log = Log::open(dir, &config).ok()?;
    let before = look(&log, expect)?;
    let first = before.next;
    // Forged: its offsets may be used up, its times at their end.
    let mut appended = 0;
    for n in 0..3 {
        if log.append(&ours(first + n)).is_ok_and(|at| at == first + n) {
            appended += 1;
        }
    }
    if appended < 3 {
        return Some(before);
    }
    // Whatever they say of what was there: what is saved holds, once a damaged one has been removed.
    let _ = (log.position_load("x"), log.meta_get("x"));
    if log.position_save("x", first + 1).is_err() {
        match log.position_remove("x") {
            // A directory stands there, which nobody made by this library.
            Err(error) if error.detail().os_error == EISDIR => return Some(before),
            removed => removed.expect("a damaged one can be removed"),
        }
        log.position_save("x", first + 1).expect("a position");
    }
    let batch = [ours(first + 3), ours(first + 4)];
    assert_eq!(log.append_batch(&[&batch[0], &batch[1]]).map_err(|error| error.to_string()), Ok(first + 3));
    let mut next = first + 5;
    let mut kept = before.first;
    match how >> 6 {
        1 => {
            if log.trim(first + 1).is_ok() {
                kept = first + 1;
            }
        }
        2 => {
            if log.truncate(first + 2).is_ok() {
                next = first + 2;
            }
        }
        3 => {
            if log.reset(first).is_ok() {
                (kept, next) = (first, first);
            }
        }
        _ => {}
    }
    let expect = |offset: u64, bytes: &[u8]| {
        if offset >= first { bytes == ours(offset) } else { expect(offset, bytes) }
    };
    let seen = look(&log, &expect).expect("a log that was open");
    assert_eq!((seen.first, seen.next), (kept, next));
    log.close().expect("a close where no disk fails");
    let log = match Log::open(dir, &Config { io: io(which >> 5), ..config }) {
        Ok(log) => log,
        // Who mapped nothing needed no index; who maps needs its name, and a directory stands there.
        Err(error) if error.detail().os_error == EISDIR && config.io == Io::File => return Some(before),
        Err(error) => panic!("a log that was closed does not open: {error}"),
    };
    let stat = log.stat().expect("its stat");
    assert_eq!((stat.recovered_records, stat.dropped_bytes), (0, 0), "a closed log needs no recovery");
    let again = look(&log, &expect).expect("a log that was open");
    assert_eq!(again, seen);
    assert!(seen.lost.iter().all(|offset| *offset < first), "what was appended is lost: {seen:?}");
    Some(before)
}

/// What is appended here.
fn ours(offset: u64) -> Vec<u8> {
    format!("appended at {offset}").into_bytes()
}

impl Plan {
    /// Makes the directory. A writer that was killed has LIVE's device and inode in its page.
    fn lay_out(&self, dir: &Path, adopt: bool) {
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            if name.contains('/') {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
            }
            std::fs::write(&path, bytes).expect("a file is made");
            if let Some(len) = self.grown.get(name) {
                let file = std::fs::File::options().write(true).open(&path).expect("a file is there");
                file.set_len(*len).expect("a hole costs nothing");
            }
            if adopt && name == "LIVE" && bytes.len() >= 72 && bytes.starts_with(b"\x8BSEGCTL\n") {
                let stat = std::fs::metadata(&path).expect("a file is there");
                let mut page = bytes.clone();
                page[16..32].copy_from_slice(&*BOOT_ID);
                page[48..56].copy_from_slice(&stat.dev().to_le_bytes());
                page[56..64].copy_from_slice(&stat.ino().to_le_bytes());
                let sum = u64::from(crc(&page[..64]));
                page[64..72].copy_from_slice(&sum.to_le_bytes());
                let file = std::fs::File::options().write(true).open(&path).expect("a file is there");
                std::os::unix::fs::FileExt::write_all_at(&file, &page[..72], 0).expect("a page is written");
            }
        }
        for (name, kind) in &self.others {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
            let _ = std::fs::remove_file(&path);
            match kind {
                0 => std::fs::create_dir(&path),
                1 => std::os::unix::fs::symlink("/dev/zero", &path),
                _ => std::os::unix::fs::symlink("nowhere", &path),
            }
            .expect("another thing is made");
        }
    }

    fn name(&self, pick: u8) -> Option<String> {
        self.files.keys().nth(usize::from(pick) % self.files.len().max(1)).cloned()
    }
}

static BOOT_ID: LazyLock<[u8; 16]> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    std::array::from_fn(|n| {
        let pair = std::str::from_utf8(&digits[2 * n..2 * n + 2]).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    })
});

/// One thing that happens to the directory.
fn change(plan: &mut Plan, input: &mut Input<'_>) {
    let kind = input.u8() % 22;
    let pick = input.u8();
    let Some(name) = plan.name(pick) else {
        // An empty directory gets a file of any bytes.
        let name = a_name(pick);
        let count = usize::from(input.u16()) % 6000;
        plan.files.insert(name, input.bytes(count).to_vec());
        return;
    };
    let other = |plan: &Plan, input: &mut Input<'_>| plan.name(input.u8()).map(|name| plan.files[&name].clone());
    let file = plan.files.get_mut(&name).expect("a name of the plan");
    let at = usize::from(input.u16()) % file.len().max(1);
    match kind {
        0 | 1 => {
            let bit = input.u8() % 8;
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        2 => {
            let count = usize::from(input.u8());
            for (to, byte) in file.iter_mut().skip(at).zip(input.bytes(count)) {
                *to = *byte;
            }
        }
        3 => {
            let (count, with) = (usize::from(input.u16()), input.u8());
            file.iter_mut().skip(at).take(count).for_each(|byte| *byte = with);
        }
        4 => file.truncate(at),
        5 => {
            let by = 1 + usize::from(input.u8());
            file.resize((file.len() + by).min(64 << 10), input.u8());
        }
        6 => {
            plan.grown.insert(name, input.number() % (1 << 41));
        }
        7 => {
            // A piece of another place, or of another file.
            let (Some(from), count) = (other(plan, input), usize::from(input.u16())) else { return };
            let start = usize::from(input.u16()) % from.len().max(1);
            let file = plan.files.get_mut(&name).expect("a name of the plan");
            for (to, byte) in file.iter_mut().skip(at).zip(&from[start..]).take(count) {
                *to = *byte;
            }
        }
        8 => drop(plan.files.remove(&name)),
        9 => {
            let Some(from) = other(plan, input) else { return };
            plan.files.insert(name, from);
        }
        10 => {
            // The same under another name.
            let file = file.clone();
            plan.files.insert(a_name(input.u8()), file);
        }
        11 => {
            // Bytes that move up by a few.
            let (by, len) = (1 + usize::from(input.u8() % 16), file.len());
            if at < len {
                file.splice(at..at, vec![0; by]);
                file.truncate(len);
            }
        }
        12 => {
            // A file of another log.
            let sample = &SAMPLES[usize::from(input.u8()) % SAMPLES.len()];
            let Some((name, file)) = sample.files.iter().nth(usize::from(input.u8()) % sample.files.len().max(1))
            else {
                return;
            };
            plan.files.insert(name.clone(), file.clone());
        }
        13 => {
            plan.others.insert(name, input.u8() % 3);
        }
        14 => {
            plan.others.insert(a_name(input.u8()), input.u8() % 3);
        }
        15 => {
            let count = usize::from(input.u16()) % 6000;
            plan.files.insert(name, input.bytes(count).to_vec());
        }
        _ => plan.forge(&name, kind, input),
    }
}

/// A name of the log's own, or a foreign one.
fn a_name(pick: u8) -> String {
    let header = Header { base: u64::from(pick >> 4) * 5, epoch: u32::from(pick >> 2 & 3), ..Header::default() };
    match pick & 3 {
        0 => header.store_name(),
        1 => header.index_name(),
        _ => ["LIVE", "START", "START.tmp", "next-store.tmp", "next-index.tmp", "positions/x", "meta/x", "lost"]
            [usize::from(pick >> 2) % 8]
            .to_owned(),
    }
}

impl Plan {
    /// Changes with checksums that fit: what only a program that means it would write.
    fn forge(&mut self, name: &str, kind: u8, input: &mut Input<'_>) {
        let Some(file) = self.files.get_mut(name) else { return };
        if name == "START" {
            let mut id = [0; 16];
            id.copy_from_slice(&file.get(40..56).unwrap_or(&[7; 16])[..16]);
            let slot = samples::start_slot(id, input.u8().into(), input.number(), input.number(), input.number());
            let at = usize::from(input.u8() % 2) * 512;
            if file.len() >= at + 64 {
                file[at..at + 64].copy_from_slice(&slot);
            }
            self.forged = true;
            return;
        }
        if name == "LIVE" {
            // A word of the control page; it has no checksum.
            let at = 128 + 8 * usize::from(input.u8() % 20);
            let word = input.number();
            if file.len() >= at + 8 {
                file[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            return;
        }
        if name.ends_with(".index") {
            // An entry, or the capacity.
            let n = 64 + 4 * usize::from(input.u8());
            let (at, word) = if input.u8() % 4 == 0 { (28, input.number()) } else { (n, input.number()) };
            if file.len() >= at.max(36) + 4 {
                file[at..at + 4].copy_from_slice(&(word as u32).to_le_bytes());
                let sum = crc(&file[..32]);
                file[32..36].copy_from_slice(&sum.to_le_bytes());
            }
            return;
        }
        if file.len() < 4096 {
            return;
        }
        let seed = u32::from_le_bytes([file[28], file[29], file[30], file[31]]);
        match kind {
            16 | 17 => {
                // A field of the header, in both copies or in one.
                let fields = [8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 72];
                let at = fields[usize::from(input.u8()) % fields.len()];
                let word = input.number().to_le_bytes();
                let width = if [16, 32, 40, 48, 64].contains(&at) { 8 } else { 4 };
                let copies: &[usize] = [&[0, 1024][..], &[0], &[1024]][usize::from(input.u8()) % 3];
                for copy in copies {
                    file[copy + at..copy + at + width].copy_from_slice(&word[..width]);
                    let sum = crc(&file[*copy..copy + 76]);
                    file[copy + 76..copy + 80].copy_from_slice(&sum.to_le_bytes());
                }
            }
            18 | 19 => {
                let slot = Slot {
                    count: input.number(),
                    position: input.number().wrapping_mul(if kind == 18 { 8 } else { 1 }),
                    next: input.number(),
                    time: input.number(),
                    payload_bytes: input.number(),
                    flags: input.u8().into(),
                };
                let at = if slot.count % 2 == 1 { 2048 } else { 3072 };
                file[at..at + 48].copy_from_slice(&slot.bytes(seed));
            }
            _ => {
                // A frame, in the place of one that is there or anywhere.
                let base = u64::from_le_bytes(std::array::from_fn(|n| file[16 + n]));
                let n = input.u8();
                let whole = Header::is_whole(file);
                let at = whole.then(|| frames(file)).and_then(|there| there.get(usize::from(n)).copied());
                let (offset, start) = match at {
                    Some(at) => (at.offset, at.start),
                    None => (base.wrapping_add(u64::from(n)), 4096 + 8 * usize::from(input.u8())),
                };
                let offset = offset.wrapping_add(input.number());
                let (time, flags) = (input.number(), u32::from(input.u8() % 16));
                let count = usize::from(input.u8());
                let bytes = frame(seed, offset, time, flags, input.bytes(count));
                let end = (start + bytes.len()).min(64 << 10);
                if file.len() < end {
                    file.resize(end, 0);
                }
                let fits = end.saturating_sub(start).min(bytes.len());
                file[start..start + fits].copy_from_slice(&bytes[..fits]);
            }
        }
        self.forged = true;
    }
}

trait Whole {
    fn is_whole(store: &[u8]) -> bool;
}

impl Whole for Header {
    /// Whether the header can be taken apart without a complaint.
    fn is_whole(store: &[u8]) -> bool {
        store.len() >= 4096
            && store.starts_with(b"\x8BSEGLOG\n")
            && crc(&store[..76]).to_le_bytes() == store[76..80]
            && store[8..12] == [1, 0, 0, 0]
    }
}
