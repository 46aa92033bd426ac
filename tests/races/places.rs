//! Readers' places: more threads than there are places, beside one who empties them. In the model a thread's store that it
//! is in its place may stay unseen until it leaves, or until a barrier.

use super::schedule::{explore, pick};
use crate::support::Scratch;
use crate::{answers_only, append_many, open, proved};
use seglog::{Log, Sync, flags};
use shuttle::thread;
use std::path::Path;

const UNSEEN: &str = "places: a store that nobody sees yet";
const TOO_LATE: &str = "places: a number that was stored too late";

/// How often schedules came to this branch.
fn count(branch: &str) -> u64 {
    seglog::model::branches().get(branch).copied().unwrap_or(0)
}

fn read(log: &Log, times: u64) {
    for _ in 0..times {
        let (first, next) = (log.first_offset(), log.next_offset());
        let offset = first + pick(next - first);
        let read = log.read(offset, |payload, _| {
            // A read within a read, in the place of the same thread.
            if pick(8) == 0 {
                let _ =
                    log.read(next - 1, |payload, _| proved(next - 1, payload)).map_err(|error| answers_only(&error));
            }
            proved(offset, payload)
        });
        let _ = read.map_err(|error| answers_only(&error));
    }
}

/// Stores of this directory that are deleted and mapped still.
fn deleted_and_mapped(dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let here = |line: &&str| line.contains(dir.to_str().unwrap());
    maps.lines().filter(here).filter(|line| line.ends_with(".store (deleted)")).count()
}

#[test]
fn readers_come_and_go_beside_one_who_empties_their_places() {
    explore(2000, || {
        let before = count(TOO_LATE);
        let dir = Scratch::new();
        let log = open(dir.path(), 4096, Sync::Never, flags::NO_THREAD);
        append_many(&log, 1, 14);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| read(&log, 1 + pick(4)));
            }
            scope.spawn(|| {
                for _ in 0..2 {
                    log.trim(log.first_offset() + pick(6)).unwrap();
                }
            });
        });
        // Such a store keeps a place from being emptied until its owner comes again.
        if count(TOO_LATE) == before {
            assert_eq!(deleted_and_mapped(dir.path()), 0, "who read keeps what was trimmed");
        }
        log.close().unwrap();
    });
    assert!(count(UNSEEN) > 0 && count(TOO_LATE) > 0, "{:#?}", seglog::model::branches());
}
