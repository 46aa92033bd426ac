//! An index file of any bytes beside a store that is whole: it is disposable, so every record reads back, for who only
//! reads and for who writes, and what is appended does too.
#![no_main]

mod shared;

use libfuzzer_sys::fuzz_target;
use seglog::{Config, Log, Sync, flags};
use shared::format::crc;
use shared::{Input, look, payload, samples, scratch};
use std::path::PathBuf;
use std::sync::LazyLock;

static DIR: LazyLock<PathBuf> = LazyLock::new(scratch);
static SAMPLES: LazyLock<Vec<samples::Sample>> = LazyLock::new(samples::all);

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let how = input.u8();
    // One segment, or three.
    let sample = &SAMPLES[1 + usize::from(how & 1)];
    let names: Vec<_> = sample.files.keys().filter(|name| name.ends_with(".index")).collect();
    let name = names[usize::from(how >> 1 & 3) % names.len()];
    let mut index = sample.files[name].clone();
    match how >> 3 & 3 {
        // Anything.
        0 => index = input.0.to_vec(),
        // Its header, and any entries.
        1 => {
            index.truncate(64);
            index.extend(input.0);
        }
        // Its own, and changes; then the header's checksum is made to fit.
        kind => {
            while !input.is_empty() {
                let (at, byte) = (usize::from(input.u16()) % 512, input.u8());
                match index.get_mut(at) {
                    Some(place) => *place = byte,
                    None => index.truncate(usize::from(byte) * 4),
                }
            }
            if kind == 3 && index.len() >= 36 {
                let sum = crc(&index[..32]);
                index[32..36].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
    let dir = &*DIR;
    shared::clear(dir);
    for (of, bytes) in &sample.files {
        std::fs::write(dir.join(of), if of == name { &index } else { bytes }).expect("a file is made");
    }
    let expect = |offset: u64, bytes: &[u8]| payload(0, offset) == bytes;
    let reading = Config { flags: flags::READ_ONLY, ..Config::default() };
    let log = Log::open(dir, &reading).expect("an index never keeps a log from being read");
    let seen = look(&log, &expect).expect("a log that is whole");
    assert_eq!((seen.first..seen.next, seen.lost), (sample.records.clone(), Vec::new()));
    drop(log);
    // For writing it costs more.
    if how >> 5 != 7 {
        return;
    }
    let writing = Config {
        segment_max_bytes: 4096,
        index_max_bytes: 256,
        sync: Sync::Never,
        flags: flags::NO_THREAD,
        ..Config::default()
    };
    let log = Log::open(dir, &writing).expect("an index never keeps a log from being written");
    let next = sample.records.end;
    let seen = look(&log, &expect).expect("a log that is whole");
    assert_eq!((seen.first..seen.next, seen.lost), (sample.records.clone(), Vec::new()));
    for offset in next..next + 3 {
        assert_eq!(log.append(&payload(0, offset)).expect("an append"), offset);
    }
    log.close().expect("a close");
    let log = Log::open(dir, &reading).expect("the log again");
    let seen = look(&log, &expect).expect("a log that is whole");
    assert_eq!((seen.first..seen.next, seen.lost), (sample.records.start..next + 3, Vec::new()));
});
