//! How little an open reads: no sealed segment, and nothing below the last durable mark. Each read is seen by the
//! fault hook; what is mapped could be read unseen, so no store may be mapped.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::faults::{Hook, Kind, Op};
use seglog::{Config, Log, Sync, flags};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
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

/// What an open of these files asks the kernel for.
fn ops(image: &Image, config: &Config, next: u64) -> Vec<Op> {
    let dir = Scratch::new();
    put_sparse(image, dir.path());
    let hook = Hook::new().recording();
    let log = hook.run(|| Log::open(dir.path(), config)).unwrap();
    assert_eq!(log.next_offset(), next);
    hook.ops()
}

/// Opens these files and says how many bytes the open asked for of each file.
fn reads(image: &Image, config: &Config, next: u64) -> BTreeMap<String, u64> {
    let mut reads = BTreeMap::new();
    for op in ops(image, config, next) {
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

/// The syncs of an open of these files.
fn syncs(image: &Image, next: u64) -> Vec<(Kind, String)> {
    let config = Config { flags: flags::NO_THREAD, ..small() };
    let syncs = ops(image, &config, next).into_iter().filter(|op| matches!(op.kind, Kind::SyncFile | Kind::SyncDir));
    syncs.map(|op| (op.kind, op.file)).collect()
}

#[test]
fn an_open_syncs_what_may_not_be_durable_and_no_more() {
    let image = |records, closed| {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &small()).unwrap();
        append_mixed(&log, records);
        // A log that is dropped behind this copy was killed.
        let killed = Image::of(dir.path());
        log.close().unwrap();
        if closed { Image::of(dir.path()) } else { killed }
    };
    let live = (Kind::SyncFile, "LIVE".to_owned());
    let dir = (Kind::SyncDir, String::new());
    for records in [10, 1000] {
        assert_eq!(syncs(&image(records, true), records), std::slice::from_ref(&live), "{records} records, closed");
    }
    // An empty log's own name may not be durable: its maker may have been killed before that.
    for closed in [true, false] {
        assert_eq!(syncs(&image(0, closed), 0), [dir.clone(), live.clone()], "closed: {closed}");
    }
    for records in [10, 1000] {
        let image = image(records, false);
        let synced = syncs(&image, records);
        let (stores, behind) = synced.split_at(synced.len() - 2);
        assert_eq!(behind, [dir.clone(), live.clone()]);
        let unsynced =
            image.stores().into_iter().filter(|name| Slot::of(&image.0[name]).is_none_or(|slot| slot.flags == 0));
        let unsynced: Vec<_> = unsynced.map(|name| (Kind::SyncFile, name)).collect();
        // And the one that says that all before it is durable.
        assert!(
            stores.ends_with(&unsynced) && stores.len() <= unsynced.len() + 1,
            "{records} records, killed: {stores:?}"
        );
    }
}

/// After the first sync past each 64 KiB or 100 ms, as docs/FORMAT.md says: from there on an open reads.
#[test]
fn a_durable_slot_is_written_when_it_is_due_and_no_oftener() {
    let config = Config { flags: flags::NO_THREAD, ..large() };
    let syncs = |dir: &Scratch, log: &Log, count: u64, bytes: usize| {
        for _ in 0..count {
            log.append(&vec![7; bytes]).unwrap();
            log.sync().unwrap();
        }
        // How many slots the only segment has had.
        let name = Image::without_live(dir.path()).last_store();
        let mut page = vec![0; FRAMES];
        fs::File::open(dir.join(&name)).unwrap().read_exact_at(&mut page, 0).unwrap();
        Slot::of(&page).map_or(0, |slot| slot.count)
    };
    // A try that took so long that a slot was due for that says nothing.
    let quick = (0..200).find_map(|_| {
        let (dir, began) = (Scratch::new(), Instant::now());
        let log = Log::open(dir.path(), &config).unwrap();
        let counts =
            [(0, 0), (9, 100), (1, 65 << 10), (9, 100), (1, 65 << 10)].map(|(n, bytes)| syncs(&dir, &log, n, bytes));
        (began.elapsed() < Duration::from_millis(100)).then(|| counts.map(|count| count - counts[0]))
    });
    assert_eq!(quick, Some([0, 0, 1, 1, 2]), "after few bytes, 65 KiB, few, 65 KiB");
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &config).unwrap();
    let before = syncs(&dir, &log, 1, 100);
    std::thread::sleep(Duration::from_millis(110));
    assert_eq!(syncs(&dir, &log, 1, 100), before + 1, "after 100 ms");
}
