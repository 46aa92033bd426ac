//! Golden files: logs of format version 1 as the library once wrote them, under tests/data/. Every later version must
//! open them, and find what expected.txt says. The worked example of docs/FORMAT.md shows the bytes of one of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Log, Sync};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use support::format::{FRAMES, Header, MORE, SEAL, Slot, crc, frames};
use support::{Image, Scratch, payload};

const EXAMPLE: &str = "v1-example";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn data() -> PathBuf {
    root().join("tests/data")
}

/// Small segments, and an index so small that it fills some of them.
fn config() -> Config {
    Config { segment_max_bytes: 4096, index_max_bytes: 64, sync: Sync::Never, ..Config::default() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What an open of these files finds: how many records behind the durable mark, how many bytes left out, and of each
/// record its offset, timestamp, length, CRC and first bytes.
fn found(log: &Log) -> String {
    let stat = log.stat().unwrap();
    let (first, next) = (stat.first_offset, stat.next_offset);
    let mut text = format!("first {first}\nnext {next}\n");
    let _ = writeln!(text, "recovered {}\ndropped {}", stat.recovered_records, stat.dropped_bytes);
    let _ = writeln!(text, "log id {}\npayload bytes {}", hex(&stat.log_id), stat.payload_bytes);
    for offset in first..next {
        let of = |bytes: &[u8], time: u64| {
            format!("{offset} {time} {} {:08x} {}", bytes.len(), crc(bytes), hex(&bytes[..bytes.len().min(32)]))
        };
        let by_offset = log.read(offset, of).unwrap();
        let mut cursor = Cursor::open(log, offset).unwrap();
        let by_cursor = cursor.next().unwrap().map(|record| of(record.payload, record.timestamp_ns)).unwrap();
        assert_eq!(by_offset, by_cursor);
        let _ = writeln!(text, "{}", by_offset.trim_end());
    }
    text
}

#[test]
fn every_golden_log_opens_has_its_records_and_goes_on() {
    let mut names = Vec::new();
    for entry in fs::read_dir(data()).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        let image = Image::of(&entry.path());
        assert!(!image.0.contains_key("LIVE"));
        let expected = String::from_utf8(image.0["expected.txt"].clone()).unwrap();
        let dir = image.place();
        let log = Log::open(dir.path(), &config()).unwrap();
        let found = found(&log);
        assert_eq!(found, expected, "{}", names.last().unwrap());
        let next = log.next_offset();
        for n in 0..60 {
            assert_eq!(log.append(&payload(n)).unwrap(), next + n);
        }
        log.close().unwrap();
        let log = Log::open(dir.path(), &config()).unwrap();
        let stat = log.stat().unwrap();
        assert_eq!((stat.next_offset, stat.recovered_records, stat.dropped_bytes), (next + 60, 0, 0));
        let again = self::found(&log);
        let records = expected.lines().skip(6).collect::<Vec<_>>();
        assert_eq!(again.lines().skip(6).take(records.len()).collect::<Vec<_>>(), records);
        for n in 0..60 {
            assert!(log.read(next + n, |bytes, _| bytes == payload(n)).unwrap());
        }
        let after = Image::of(dir.path());
        for (name, store) in image.0.iter().filter(|(name, _)| name.ends_with(".store") && **name != image.last_store())
        {
            assert_eq!(after.0[name], *store, "{name}: a store that is not the last one is never changed");
        }
    }
    names.sort();
    assert_eq!(names, [EXAMPLE, "v1-rolls", "v1-torn", "v1-unclean"]);
}

#[test]
fn the_golden_logs_have_what_the_format_knows() {
    let stores = |name: &str| {
        let image = Image::of(&data().join(name));
        image.stores().into_iter().map(|store| image.0[&store].clone()).collect::<Vec<_>>()
    };
    let flags = |store: &[u8]| frames(store).iter().fold(0, |flags, frame| flags | frame.flags);
    let rolls = stores("v1-rolls");
    assert!(rolls.len() >= 4 && Header::of(&rolls[0]).base == 1000);
    assert!(rolls[..rolls.len() - 1].iter().all(|store| flags(store) & SEAL != 0), "all but the last one are sealed");
    assert!(rolls.iter().any(|store| flags(store) & MORE != 0), "there is a batch");
    assert!(rolls.iter().any(|store| store.len() > FRAMES + 4096), "there is a record longer than a segment");
    assert!(rolls.iter().any(|store| frames(store).len() == 17), "there is a segment whose index is full");
    let torn = stores("v1-torn");
    let epochs: Vec<_> = torn.iter().map(|store| Header::of(store).epoch).collect();
    assert_eq!(epochs, [0, 1], "a segment of the next epoch follows the torn one");
    let end = frames(&torn[0]).last().unwrap().end;
    assert!(torn[0][end..].iter().any(|byte| *byte != 0), "the dead tail is still there");
    let unclean = stores("v1-unclean");
    assert!(Slot::of(&unclean[0]).unwrap().next < 10, "records stand behind the durable mark");
}

/// The hex bytes of the worked example, by file and position.
fn printed() -> BTreeMap<String, BTreeMap<usize, u8>> {
    let text = fs::read_to_string(root().join("docs/FORMAT.md")).unwrap();
    let part = text.split_once("<!-- example -->").and_then(|(_, rest)| rest.split_once("<!-- /example -->"));
    let (part, _) = part.expect("docs/FORMAT.md has an example between its two marks");
    let (mut files, mut file): (BTreeMap<String, BTreeMap<usize, u8>>, _) = (BTreeMap::new(), String::new());
    for line in part.lines() {
        if let Some(name) = line.split('`').find(|part| part.ends_with(".store") || part.ends_with(".index")) {
            name.clone_into(&mut file);
        }
        let mut columns = line.trim_start().splitn(3, "  ").map(str::trim);
        let (Some(Ok(position)), Some(bytes)) = (columns.next().map(str::parse::<usize>), columns.next()) else {
            continue;
        };
        for (n, byte) in bytes.split_whitespace().enumerate() {
            let byte = u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("'{byte}' in '{line}'"));
            assert!(files.entry(file.clone()).or_default().insert(position + n, byte).is_none(), "twice: {line}");
        }
    }
    files
}

#[test]
fn the_example_in_the_format_document_is_a_real_log() {
    let image = Image::of(&data().join(EXAMPLE));
    let printed = printed();
    for (name, bytes) in image.0.iter().filter(|(name, _)| *name != "expected.txt") {
        let shown = printed.get(name).unwrap_or_else(|| panic!("docs/FORMAT.md does not show {name}"));
        for (position, byte) in shown {
            assert_eq!(Some(byte), bytes.get(*position), "{name}, byte {position}");
        }
        for (position, byte) in bytes.iter().enumerate() {
            // The header's second copy need not be printed.
            let copy = name.ends_with(".store") && (1024..1104).contains(&position);
            assert!(!copy || *byte == bytes[position - 1024]);
            assert!(*byte == 0 || copy || shown.contains_key(&position), "{name}: byte {position} is not shown");
        }
    }
    assert_eq!(printed.len(), 2, "a store and its index");
}

// --- how they were made --------------------------------------------------------------------------------------------

/// Keeps what is in a directory but LIVE as the golden log of this name. It never takes the place of one that exists.
fn keep(dir: &Scratch, name: &str) {
    let to = data().join(name);
    assert!(!to.exists(), "{name} exists; what was written once must be read for ever");
    let mut image = Image::of(dir.path());
    image.write_out();
    let image = image.kept();
    fs::create_dir_all(&to).unwrap();
    image.put(&to);
    let copy = image.place();
    let log = Log::open(copy.path(), &config()).unwrap();
    fs::write(to.join("expected.txt"), found(&log)).unwrap();
}

fn many(log: &Log, lengths: &[usize]) {
    for len in lengths {
        let byte = u8::try_from(log.next_offset() % 251).unwrap();
        log.append(&vec![byte; *len]).unwrap();
    }
}

#[test]
#[ignore = "it makes the golden files, once for each version of the format"]
fn make_golden_logs() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { index_max_bytes: 32, ..config() }).unwrap();
    log.append(b"hello").unwrap();
    log.append_batch(&[b"a", b"b"]).unwrap();
    log.close().unwrap();
    keep(&dir, EXAMPLE);

    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { initial_offset: 1000, ..config() }).unwrap();
    many(&log, &[0, 1, 7, 8, 9, 15, 16, 17, 0, 100, 255, 256, 1000]);
    log.append_batch(&[b"first", b"", b"third"]).unwrap();
    many(&log, &[2, 1500, 1500, 900, 1]);
    many(&log, &[5000, 3]);
    log.sync().unwrap();
    log.append_batch(&[b"x", b"y", b"z"]).unwrap();
    log.close().unwrap();
    keep(&dir, "v1-rolls");

    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    many(&log, &[10, 20, 30, 40]);
    log.append_batch(&[b"lost", b"with", b"the tail"]).unwrap();
    let mut image = Image::of(dir.path());
    drop(log);
    image.write_out();
    let store = image.last_store();
    let at = frames(&image.0[&store])[6];
    image.file(&store)[at.start + 16] ^= 1;
    image.kept().put(dir.path());
    let log = Log::open(dir.path(), &config()).unwrap();
    assert_eq!(log.next_offset(), 4);
    many(&log, &[50, 0, 60]);
    log.close().unwrap();
    keep(&dir, "v1-torn");

    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config()).unwrap();
    many(&log, &[3, 0, 300]);
    log.append_batch(&[b"one", b"two"]).unwrap();
    many(&log, &[1; 6]);
    keep(&dir, "v1-unclean");
}
