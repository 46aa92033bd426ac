//! `Io::File`: no file of the log is mapped, and every promise holds all the same. What the other tests hold with
//! mapped files they hold so too where `SEGLOG_TEST_IO=file` is set (docs/testing.md); here stands what is between the
//! two, and what only the one without mappings promises.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Io, Log, Status, Sync, flags};
use std::fs;
use std::path::Path;
use support::{Image, Random, Scratch, append, append_mixed, check_goes_on, check_whole, lost, payload, small};

fn by(io: Io) -> Config {
    Config { io, ..small() }
}

fn following(io: Io) -> Config {
    Config { io, flags: flags::READ_ONLY, ..Config::default() }
}

const WAYS: [Io; 2] = [Io::Mapped, Io::File];

/// Fails if a file below `dir` is mapped by this process.
fn check_nothing_is_mapped(dir: &Path) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let dir = dir.canonicalize().unwrap();
    let mapped: Vec<_> = maps.lines().filter(|line| line.contains(dir.to_str().unwrap())).collect();
    assert!(mapped.is_empty(), "{mapped:#?}");
}

/// All that there is to do with a log, with `look` asked in between.
fn work(dir: &Path, io: Io, look: impl Fn()) {
    let log = Log::open(dir, &Config { flags: flags::NO_THREAD, ..by(io) }).unwrap();
    append_mixed(&log, 300);
    log.append(&vec![7; 300_000]).unwrap();
    look();
    let reader = Log::open(dir, &following(io)).unwrap();
    let mut cursors = [&log, &reader].map(|log| Cursor::open(log, 250).unwrap());
    for cursor in &mut cursors {
        cursor.prev().unwrap();
        while cursor.next_batch(9, |_| ()).unwrap() > 0 {}
    }
    look();
    log.trim(20).unwrap();
    log.truncate(250).unwrap();
    append_mixed(&log, 30);
    log.append_records(&[seglog::Record { offset: 280, timestamp_ns: u64::MAX >> 1, payload: b"x" }]).unwrap();
    log.sync().unwrap();
    look();
    for log in [&log, &reader] {
        (20..281).for_each(|offset| log.read(offset, |_, _| ()).unwrap());
        log.stat().unwrap();
        assert!((0..100).map_while(|n| log.segment_at(n).unwrap()).count() > 3);
    }
    log.reset(1000).unwrap();
    append_mixed(&log, 100);
    assert_eq!(reader.next_offset(), 1100);
    look();
    log.close().unwrap();
    look();
}

#[test]
fn no_file_of_the_log_is_ever_mapped() {
    let dir = Scratch::on_disk();
    work(dir.path(), Io::File, || check_nothing_is_mapped(dir.path()));
    let seen = std::panic::catch_unwind(|| {
        let dir = Scratch::on_disk();
        work(dir.path(), Io::Mapped, || check_nothing_is_mapped(dir.path()));
    });
    assert!(seen.is_err(), "the check sees mappings where there are some");
}

#[cfg(feature = "faults")]
#[test]
fn no_call_maps_a_file() {
    use seglog::faults::{Hook, Kind};
    let mapped = |io| {
        let dir = Scratch::new();
        let hook = Hook::new().recording();
        hook.run(|| work(dir.path(), io, || {}));
        let ops = hook.ops();
        ops.into_iter().filter(|op| matches!(op.kind, Kind::Map | Kind::Store) && !op.file.is_empty()).count()
    };
    assert_eq!(mapped(Io::File), 0);
    assert!(mapped(Io::Mapped) > 0);
}

#[test]
fn stat_says_which_way_was_chosen() {
    let dir = Scratch::on_disk();
    for io in WAYS {
        let log = Log::open(dir.path(), &by(io)).unwrap();
        assert_eq!(log.stat().unwrap().io, io);
        for other in WAYS {
            assert_eq!(Log::open(dir.path(), &following(other)).unwrap().stat().unwrap().io, other);
        }
    }
}

/// Each open goes on with what the one before left, be it closed or killed, and finds its indexes good.
#[test]
fn each_open_may_have_the_other_way() {
    let mut random = Random(11);
    for round in 0..12 {
        let mut dir = Scratch::new();
        let mut next = 0;
        let mut ways = String::new();
        for _ in 0..12 {
            let io = WAYS[random.below(2)];
            let size = [4096, 65536][random.below(2)];
            let log = Log::open(dir.path(), &Config { segment_max_bytes: size, ..by(io) }).unwrap();
            ways += [" mapped", " file"][usize::from(io == Io::File)];
            assert_eq!((log.first_offset(), log.next_offset()), (0, next), "round {round}:{ways}");
            for _ in 0..random.below(4) {
                append_mixed(&log, random.below(90) as u64);
            }
            if random.below(8) == 0 {
                append(&log, 2000, 1000);
            }
            next = log.next_offset();
            assert_eq!(lost(&log, payload), [0; 0], "round {round}:{ways}");
            if random.below(2) == 0 {
                log.close().unwrap();
                ways += " closed";
            } else {
                let image = Image::of(dir.path());
                let killed = image.place();
                drop(log);
                dir = killed;
                ways += " killed";
            }
        }
        // Who follows sees no ring of a copied directory.
        Log::open(dir.path(), &by(WAYS[round % 2])).unwrap().close().unwrap();
        for io in WAYS {
            let log = Log::open(dir.path(), &following(io)).unwrap();
            check_whole(&log, 0, next);
        }
    }
}

/// A record's place in an index file, as docs/FORMAT.md draws it.
fn entries(index: &[u8]) -> Vec<u32> {
    index[64..].as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

/// The index that is written when a segment is sealed, or the log is closed, says of each record what the one that is
/// mapped says.
#[test]
fn both_ways_write_the_same_index() {
    let known = WAYS.map(|io| {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &by(io)).unwrap();
        append_mixed(&log, 200);
        log.close().unwrap();
        let image = Image::of(dir.path());
        let names: Vec<_> = image.0.keys().filter(|name| name.ends_with(".index")).cloned().collect();
        let known = names.iter().map(|name| {
            let entries = entries(&image.0[name]);
            (name.clone(), entries.into_iter().take_while(|entry| *entry != 0).collect::<Vec<_>>())
        });
        known.collect::<Vec<_>>()
    });
    assert!(known[0].len() > 5 && known[0].iter().map(|(_, entries)| entries.len()).sum::<usize>() == 200);
    assert_eq!(known[0], known[1]);
}

/// A reader and a writer need not do it the same way: what is appended is there at once, and nothing else.
#[test]
fn a_follower_of_either_way_follows_a_writer_of_either_way() {
    for (writes, reads) in [(Io::File, Io::File), (Io::File, Io::Mapped), (Io::Mapped, Io::File)] {
        let dir = Scratch::new();
        let config = Config { segment_max_bytes: 65536, ..by(writes) };
        let log = Log::open(dir.path(), &config).unwrap();
        let reader = Log::open(dir.path(), &following(reads)).unwrap();
        let mut cursor = Cursor::open(&reader, 0).unwrap();
        let mut random = Random(5);
        for _ in 0..150 {
            append_mixed(&log, 1 + random.below(30) as u64);
            let (first, next) = (log.first_offset(), log.next_offset());
            assert_eq!((reader.first_offset(), reader.next_offset()), (first, next));
            for offset in [first, next - 1, first + (next - first) / 2] {
                assert_eq!(reader.read(offset, |bytes, _| bytes.to_vec()).unwrap(), payload(offset));
            }
            assert_eq!(reader.read(next, |_, _| ()).unwrap_err().status(), Status::Beyond);
            if cursor.offset() < first || cursor.offset() > next {
                cursor.seek(first).unwrap();
            }
            while let Some(record) = cursor.next().unwrap() {
                assert_eq!(record.payload, payload(record.offset));
            }
            assert_eq!(cursor.offset(), next);
            for _ in 0..random.below(20).min((next - first) as usize) {
                let record = cursor.prev().unwrap().unwrap();
                assert_eq!(record.payload, payload(record.offset));
            }
            match random.below(12) {
                0 => log.truncate(next - (next - first) / 3).unwrap(),
                1 => log.trim(first + (next - first) / 3).unwrap(),
                2 => log.reset(next + 7).unwrap(),
                _ => {}
            }
        }
        let (first, next) = (log.first_offset(), log.next_offset());
        check_whole(&reader, first, next);
        log.close().unwrap();
        check_whole(&reader, first, next);
        let log = Log::open(dir.path(), &config).unwrap();
        append_mixed(&log, 50);
        check_whole(&reader, first, next + 50);
    }
}

/// With files that are mapped a sleeper is woken; without, it looks by itself.
#[test]
fn who_waits_hears_of_a_record_whichever_way_it_is_done() {
    use std::time::{Duration, Instant};
    for (writes, reads) in [(Io::File, Io::File), (Io::File, Io::Mapped), (Io::Mapped, Io::File)] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &by(writes)).unwrap();
        let reader = Log::open(dir.path(), &following(reads)).unwrap();
        for waits in [&log, &reader] {
            let next = log.next_offset();
            assert!(!waits.wait(next, Some(Duration::from_millis(20))).unwrap());
            let began = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(30));
                    append(&log, 1, 1);
                });
                assert!(waits.wait(next, Some(Duration::from_secs(30))).unwrap());
            });
            assert!(began.elapsed() < Duration::from_secs(10), "{writes:?} {reads:?}: {:?}", began.elapsed());
        }
        log.sync().unwrap();
        assert!(reader.wait_durable(0, Some(Duration::from_secs(30))).unwrap());
    }
}

/// Nothing of a kill is lost: each append is in its store when it returns. LIVE is not needed.
#[test]
fn what_was_appended_is_in_the_store_without_live() {
    for sync in [Sync::Never, Sync::Always] {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &Config { sync, ..by(Io::File) }).unwrap();
        for count in [1, 5, 200] {
            append_mixed(&log, count);
            let mut image = Image::of(dir.path());
            image.0.remove("LIVE");
            for io in WAYS {
                let killed = image.place();
                let copy = Log::open(killed.path(), &by(io)).unwrap();
                assert_eq!(copy.stat().unwrap().dropped_bytes, 0);
                check_whole(&copy, 0, log.next_offset());
                check_goes_on(copy, killed.path(), &by(io), payload);
            }
        }
    }
}

/// What the last megabyte of a killed process that had mapped its files holds is found by one that maps nothing.
#[test]
fn the_ring_of_a_killed_process_is_found() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &Config { segment_max_bytes: 1 << 20, ..by(Io::Mapped) }).unwrap();
    append_mixed(&log, 500);
    let killed = Image::of(dir.path()).place();
    let copy = Log::open(killed.path(), &by(Io::File)).unwrap();
    assert_eq!(copy.stat().unwrap().recovered_records, 500);
    check_whole(&copy, 0, 500);
}

/// Cuts a file short as another program would.
fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// With mapped files this would be SIGBUS, and the end of the host.
#[test]
fn a_store_that_another_program_cuts_is_corrupt_from_there_on_and_no_signal() {
    let dir = Scratch::on_disk();
    let log = Log::open(dir.path(), &Config { segment_max_bytes: 1 << 20, ..by(Io::File) }).unwrap();
    append(&log, 3000, 1);
    let reader = Log::open(dir.path(), &following(Io::File)).unwrap();
    // It knows the file's whole size, as whoever opens it before the cut does.
    reader.read(0, |_, _| ()).unwrap();
    let mut cursors = [&log, &reader].map(|log| Cursor::open(log, 0).unwrap());
    let store = dir.join(&Image::of(dir.path()).last_store());
    for at in [200_000, 4096 + 8, 4096, 0] {
        cut(&store, at);
        for (log, cursor) in [&log, &reader].into_iter().zip(&mut cursors) {
            let lost = lost(log, payload);
            let all = 0..log.next_offset();
            assert_eq!(lost, all.clone().filter(|offset| lost.contains(offset)).collect::<Vec<_>>());
            assert!(lost.len() > 1000 && lost.last() == Some(&2999) && lost[0] < 2999);
            assert!(lost.windows(2).all(|pair| pair[1] == pair[0] + 1), "all before the cut is there");
            assert!(at != 0 || lost.len() == 3000);
            cursor.seek(lost[0]).unwrap();
            let error = cursor.next().map(|_| ()).unwrap_err();
            assert_eq!((error.status(), error.detail().offset), (Status::Corrupt, lost[0]));
            assert!(error.to_string().contains(".store"), "{error}");
        }
    }
    // What is appended now is where it belongs.
    append(&log, 10, 1);
    for log in [&log, &reader] {
        let lost = lost(log, payload);
        assert_eq!((lost.len(), lost[0], lost[lost.len() - 1]), (3000, 0, 2999));
    }
}

#[test]
fn a_live_or_an_index_that_another_program_cuts_is_missed_by_nobody() {
    let dir = Scratch::on_disk();
    let log = Log::open(dir.path(), &by(Io::File)).unwrap();
    append_mixed(&log, 500);
    let reader = Log::open(dir.path(), &following(Io::File)).unwrap();
    check_whole(&reader, 0, 500);
    for bytes in [100_000, 200, 130, 0] {
        cut(&dir.join("LIVE"), bytes);
        for (name, _) in Image::of(dir.path()).0.iter().filter(|(name, _)| name.ends_with(".index")) {
            cut(&dir.join(name), bytes.min(70));
        }
        append_mixed(&log, 20);
        let next = log.next_offset();
        check_whole(&log, 0, next);
        // A page that is gone tells nothing: then the files do, which are looked at now and then.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while reader.next_offset() < next && std::time::Instant::now() < deadline {
            let _ = reader.read(next - 1, |_, _| ());
        }
        check_whole(&reader, 0, next);
    }
    log.close().unwrap();
    let log = Log::open(dir.path(), &by(Io::Mapped)).unwrap();
    check_whole(&log, 0, 580);
}

#[cfg(feature = "faults")]
mod faults {
    use super::*;
    use seglog::faults::{Fault, Hook, Kind};

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    /// A bad sector.
    #[test]
    fn a_read_that_fails_is_an_io_error_for_its_record_and_the_others_are_read() {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &Config { segment_max_bytes: 65536, ..by(Io::File) }).unwrap();
        append(&log, 300, 1);
        let fails = |at: u64, calls: u64| {
            (at..at + calls).fold(Hook::new(), |hook, nth| hook.with(Fault::Fail { nth, os_error: EIO }))
        };
        // What fails once is read once more.
        let read = |offset| log.read(offset, |bytes, _| bytes.to_vec());
        assert_eq!(fails(0, 1).run(|| read(7)).unwrap(), payload(7));
        let error = fails(0, 2).run(|| read(7)).unwrap_err();
        assert_eq!((error.status(), error.detail().os_error, error.detail().offset), (Status::Io, EIO, 7), "{error}");
        assert_eq!([6, 7, 8].map(|offset| read(offset).unwrap()), [6, 7, 8].map(payload));
        let scan = || {
            let mut cursor = Cursor::open(&log, 0).unwrap();
            let mut errors = 0;
            for next in 0..300 {
                match cursor.next() {
                    Ok(record) => assert_eq!(record.unwrap().payload, payload(next)),
                    // The cursor stays, since a file system may recover. Whoever wants to pass by seeks.
                    Err(error) => {
                        assert_eq!((error.status(), error.detail().offset), (Status::Io, next), "{error}");
                        assert_eq!(cursor.offset(), next);
                        cursor.seek(next + 1).unwrap();
                        errors += 1;
                    }
                }
            }
            errors
        };
        let hook = Hook::new().recording();
        assert_eq!(hook.run(scan), 0);
        assert!(hook.calls() > 2 && hook.ops().iter().all(|op| op.kind == Kind::Read));
        for nth in 0..hook.calls() {
            // A run, its first record alone, and both of them once more.
            assert_eq!(fails(nth, 4).run(scan), 1, "from call {nth} on");
            assert_eq!(fails(nth, 3).run(scan), 0, "from call {nth} on");
        }
        let reader = Log::open(dir.path(), &following(Io::File)).unwrap();
        reader.read(7, |_, _| ()).unwrap();
        let error =
            Hook::new().with(Fault::FailFrom { nth: 0, os_error: EIO }).run(|| reader.read(7, |_, _| ())).unwrap_err();
        assert_eq!((error.status(), error.detail().os_error), (Status::Io, EIO), "{error}");
        assert_eq!(lost(&reader, payload), [0; 0]);
        assert_eq!(lost(&log, payload), [0; 0]);
    }

    /// A word of the page that could not be read was 0, as if the page said so: then a record that there is was beyond the
    /// end, and a backup had a wrong sum of bytes. Now the layout comes by the same call.
    #[test]
    fn a_page_that_cannot_be_read_says_nothing() {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &Config { segment_max_bytes: 65536, ..by(Io::File) }).unwrap();
        append(&log, 100, 1);
        log.trim(5).unwrap();
        let expected = log.stat().unwrap();
        let reader = Log::open(dir.path(), &following(Io::File)).unwrap();
        for nth in 0.. {
            let hook = Hook::new().with(Fault::Fail { nth, os_error: EIO });
            hook.run(|| {
                for offset in [5, 50, 99] {
                    match reader.read(offset, |bytes, _| bytes.to_vec()) {
                        Ok(bytes) => assert_eq!(bytes, payload(offset)),
                        Err(error) => assert_eq!(error.status(), Status::Io, "call {nth}: {error}"),
                    }
                }
                if let Ok(stat) = reader.stat() {
                    let of = |stat: seglog::Stat| (stat.first_offset, stat.next_offset, stat.payload_bytes);
                    assert_eq!(of(stat), of(expected), "call {nth}");
                }
            });
            if hook.failed() == 0 {
                assert!(nth > 10);
                break;
            }
        }
    }

    /// A scan of many records is a few large reads.
    #[test]
    fn a_cursor_reads_many_records_by_one_call() {
        let dir = Scratch::new();
        let log = Log::open(dir.path(), &Config { segment_max_bytes: 1 << 20, ..by(Io::File) }).unwrap();
        append(&log, 5000, 1);
        let reader = Log::open(dir.path(), &following(Io::File)).unwrap();
        for (log, per_record) in [(&log, 0), (&reader, 1)] {
            let hook = Hook::new().recording();
            hook.run(|| {
                let mut cursor = Cursor::open(log, 0).unwrap();
                for offset in 0..5000 {
                    assert_eq!(cursor.next().unwrap().unwrap().payload, payload(offset));
                }
            });
            let ops = hook.ops();
            let reads = ops.iter().filter(|op| op.file.ends_with(".store")).count();
            assert!(reads < 20, "{reads} reads of the store");
            // Who follows has one look at the page for each record.
            let others = ops.len() - reads;
            assert!(others <= 5000 * per_record + 60, "{others} other calls");
        }
        let hook = Hook::new().recording();
        hook.run(|| {
            let mut cursor = Cursor::open(&log, 5000).unwrap();
            for offset in (0..5000).rev() {
                assert_eq!(cursor.prev().unwrap().unwrap().payload, payload(offset));
            }
        });
        assert!(hook.ops().len() < 40, "{} calls backwards", hook.ops().len());
    }

    /// Refused whole: no byte of it counts, nothing was acknowledged, and the same call works again.
    #[test]
    fn a_full_disk_changes_nothing_and_the_same_handle_goes_on() {
        for kind in [Kind::Write, Kind::Allocate, Kind::Create, Kind::SetLen] {
            let failed = std::cell::Cell::new(0);
            for nth in 0.. {
                let dir = Scratch::new();
                let config = Config { flags: flags::NO_THREAD, ..by(Io::File) };
                let log = Log::open(dir.path(), &config).unwrap();
                append_mixed(&log, 19);
                let grow = || {
                    let next = log.next_offset();
                    let batch: Vec<_> = (next..next + 20).map(payload).collect();
                    let slices: Vec<_> = batch.iter().map(Vec::as_slice).collect();
                    (next, log.append_batch(&slices))
                };
                let hook = Hook::new().recording();
                hook.run(grow).1.unwrap();
                let ops: Vec<_> = hook.ops().into_iter().filter(|op| op.kind != Kind::Store).collect();
                drop(log);
                let Some((at, op)) = ops.iter().enumerate().filter(|(_, op)| op.kind == kind).nth(nth) else { break };
                let dir = Scratch::new();
                let log = Log::open(dir.path(), &config).unwrap();
                append_mixed(&log, 19);
                let grow = || {
                    let batch: Vec<_> = (19..39).map(payload).collect();
                    let slices: Vec<_> = batch.iter().map(Vec::as_slice).collect();
                    log.append_batch(&slices)
                };
                match Hook::new().with(Fault::Fail { nth: at as u64, os_error: ENOSPC }).run(grow) {
                    Err(error) if error.status() == Status::NoSpace => {
                        failed.set(failed.get() + 1);
                        check_whole(&log, 0, 19);
                        assert_eq!(grow().unwrap(), 19, "after {op:?} failed");
                    }
                    // Not its own write failed, but that of the page, or a sync: it exists, and this handle is done.
                    Err(error) => {
                        assert_eq!(
                            (error.status(), error.detail().published),
                            (Status::Io, Some(19)),
                            "{op:?}: {error}"
                        );
                        assert!(op.file == "LIVE" || op.at < 4096, "{op:?}");
                    }
                    // An index can be done without, and the page's failure is told by the next append.
                    Ok(_) => assert!(op.file.ends_with(".index.tmp") || op.file == "LIVE", "{op:?}"),
                }
                check_whole(&log, 0, 39);
                drop(log);
                // The failed page may have poisoned the handle, so that it was closed without a sync.
                let log = Log::open(dir.path(), &config).unwrap();
                check_whole(&log, 0, 39);
            }
            assert!(kind == Kind::SetLen || failed.get() > 0, "{kind:?}");
        }
    }
}
