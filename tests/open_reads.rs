//! How little an open reads: no sealed segment, and nothing below the last durable mark. Each read is seen by the
//! fault hook; what is mapped could be read unseen, so no store may be mapped.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::faults::{Hook, Kind};
use seglog::{Config, Log, Sync};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::format::{FRAMES, Header, Slot};
use support::{Image, Scratch, append_mixed, settle, small};

/// What an open reads of LIVE: the ring, the control page up to its layout, and the layout once more.
const LIVE: u64 = (1 << 20) + 264 + 8;
/// What it reads of the last segment's index: the header.
const INDEX: u64 = 64;
/// What it reads of a store at once behind the durable mark: once for frames, and from the last good one on for
/// zeros.
const PIECE: u64 = 256 << 10;

fn large() -> Config {
    Config { segment_max_bytes: 1 << 20, sync: Sync::Never, ..Config::default() }
}

/// Puts these files into a directory with their holes.
fn put_sparse(image: &Image, dir: &Path) {
    for (name, bytes) in &image.0 {
        let file = fs::File::create(dir.join(name)).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (n, page) in (0..).zip(bytes.chunks(FRAMES)).filter(|(_, page)| page.iter().any(|byte| *byte != 0)) {
            file.write_all_at(page, n * FRAMES as u64).unwrap();
        }
    }
}

/// Opens these files and says how many bytes the open asked for of each file.
fn reads(image: &Image, config: &Config, next: u64) -> BTreeMap<String, u64> {
    let dir = Scratch::new();
    put_sparse(image, dir.path());
    let hook = Hook::new().recording();
    let log = hook.run(|| Log::open(dir.path(), config)).unwrap();
    assert_eq!(log.next_offset(), next);
    let mut reads = BTreeMap::new();
    for op in hook.ops() {
        if op.file.contains(".store") {
            assert_ne!(op.kind, Kind::Map, "{op:?}: what is mapped is read unseen");
            let durable = Slot::of(&image.0[&op.file]).map_or(0, |slot| slot.position);
            let below = op.kind == Kind::Read && op.at > 0 && op.at < durable;
            assert!(!below, "{op:?} is below the durable mark {durable}");
        }
        if op.kind == Kind::Read {
            *reads.entry(op.file).or_insert(0) += op.len;
        }
    }
    reads
}

/// The reads of an open that looks at no segment but the last one: `store` bytes of that.
fn only_last(image: &Image, store: u64) -> BTreeMap<String, u64> {
    let last = image.last_store();
    let index = last.replace(".store", ".index");
    [("LIVE".to_owned(), LIVE), (last, store), (index, INDEX)].into_iter().collect()
}

#[test]
fn an_open_after_a_clean_close_reads_the_last_segments_first_page_and_the_rest_of_its_last_one() {
    for records in [116, 1000, 5000] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &small()).unwrap();
        append_mixed(&log, records);
        log.close().unwrap();
        let image = Image::of(dir.path());
        let store = &image.0[&image.last_store()];
        assert!(image.stores().len() as u64 > records / 40);
        let rest = store.len() as u64 - Slot::of(store).unwrap().position;
        assert!(rest < FRAMES as u64);
        assert_eq!(reads(&image, &small(), records), only_last(&image, FRAMES as u64 + 2 * rest));
    }
}

#[test]
fn how_much_an_open_reads_after_a_clean_close_does_not_grow_with_the_bytes_stored() {
    for records in [1_000, 5_000, 20_000] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &large()).unwrap();
        append_mixed(&log, records);
        log.close().unwrap();
        let image = Image::of(dir.path());
        let store = &image.0[&image.last_store()];
        let rest = store.len() as u64 - Slot::of(store).unwrap().position;
        assert!(rest > PIECE, "there is a hole behind the end that is worth not reading");
        assert_eq!(reads(&image, &large(), records), only_last(&image, FRAMES as u64 + 2 * PIECE));
    }
}

#[test]
fn an_open_after_a_kill_reads_from_the_last_durable_mark_on() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &large()).unwrap();
    append_mixed(&log, 20_000);
    log.sync().unwrap();
    append_mixed(&log, 3_000);
    log.sync().unwrap();
    append_mixed(&log, 500);
    let mut image = Image::of(dir.path());
    let slot = Slot::of(&image.0[&image.last_store()]).unwrap();
    assert!(slot.next == 23_000 && slot.position > 2 * PIECE, "the mark lies in the middle of a segment: {slot:?}");
    // Records in the ring only, then in the store.
    assert_eq!(reads(&image, &large(), 23_500), only_last(&image, FRAMES as u64 + 2 * PIECE));
    image.write_out();
    assert_eq!(reads(&image, &large(), 23_500), only_last(&image, FRAMES as u64 + 2 * PIECE));
}

#[test]
fn an_open_after_a_kill_reads_only_the_segments_that_were_not_synced() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    append_mixed(&log, 1_000);
    settle(&log, Header::of(&Image::of(dir.path()).0[&Image::of(dir.path()).last_store()]).base);
    let mut image = Image::of(dir.path());
    image.write_out();
    let stores = image.stores();
    let doubtful = &stores[stores.len() - 4..];
    // The slots of the last four segments never reached the disk, so the one before them has the last mark.
    for store in doubtful {
        image.file(store)[2048..FRAMES].fill(0);
    }
    let reads = reads(&image, &small(), 1_000);
    let marked = &stores[stores.len() - 5];
    for (store, bytes) in reads.iter().filter(|(name, _)| name.contains(".store")) {
        assert!(store >= marked, "{store} was read, but {marked} has the last mark");
        assert!(*bytes <= 2 * image.0[store].len() as u64, "{bytes} bytes were read of {store}");
    }
    assert!(reads[marked] <= 2 * FRAMES as u64);
    assert_eq!(reads.len(), 5 + 2, "five stores, the last index, LIVE: {reads:?}");
}
