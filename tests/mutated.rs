//! Logs to whose files anything may have happened, by chance and with a fixed seed: statuses, never a panic, never
//! wrong data.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::Log;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::format::Header;
use support::{Image, Random, Scratch, each, payload, small};

#[test]
fn mutated_logs_give_statuses_and_never_wrong_data() {
    let dir = Scratch::new();
    let log = Log::open(dir.path(), &small()).unwrap();
    support::append_mixed(&log, 75);
    support::settle(&log, 60);
    let killed = Image::of(dir.path());
    log.close().unwrap();
    let mut closed = Image::of(dir.path());
    closed.0.remove("LIVE");
    let kept = AtomicUsize::new(0);
    each(0..3000, |n, dir| {
        let mut random = Random(n as u64);
        let mut image = if n % 8 == 0 { killed.clone() } else { closed.clone() };
        for _ in 0..=random.below(4) {
            mutate(&mut image, &mut random);
        }
        image.put(dir.path());
        let Ok(log) = Log::open(dir.path(), &small()) else { return };
        assert!(log.next_offset() <= 75, "run {n}: there are more records than were appended");
        let lost = support::lost(&log, payload);
        kept.fetch_add(usize::try_from(log.next_offset()).unwrap() - lost.len(), Ordering::Relaxed);
        let next = log.next_offset();
        support::append(&log, 3, 3);
        let closed = log.close();
        closed.unwrap();
        let log = Log::open(dir.path(), &small()).unwrap();
        assert_eq!((log.next_offset(), support::lost(&log, payload)), (next + 3, lost), "run {n}");
    });
    let kept = kept.into_inner();
    assert!(kept > 3000 * 75 / 2, "only {kept} records were ever read: LOG_E_CORRUPT for everything does not pass");
}

/// One thing that may happen to a directory.
fn mutate(image: &mut Image, random: &mut Random) {
    let names: Vec<_> = image.0.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = &names[random.below(names.len())];
    let other = &names[random.below(names.len())];
    let len = image.0[name].len();
    // Where something stands, more often than not.
    let at = if random.below(4) == 0 { random.below(len) } else { random.below(len.min(7000)) };
    let run = [1, 8, 64, 600][random.below(4)];
    let run = 1 + random.below(run);
    let end = len.min(at + run);
    match random.below(14) {
        0..=3 if len > 0 => image.file(name)[at] ^= 1 << random.below(8),
        4 => image.file(name)[at..end].fill(0),
        5 => image.file(name)[at..end].fill(0xFF),
        6 => image.file(name)[at..end].iter_mut().for_each(|byte| *byte = random.next().to_le_bytes()[0]),
        7 => image.file(name).truncate(at),
        8 => {
            let piece = image.0[name][at..end].to_vec();
            image.file(name).extend(piece);
        }
        9 => {
            // A piece of another place, or of another file.
            let from = image.0[other].clone();
            let start = random.below(from.len());
            let piece = &from[start..from.len().min(start + run)];
            let file = image.file(name);
            let fits = piece.len().min(file.len() - at.min(file.len()));
            file[at..at + fits].copy_from_slice(&piece[..fits]);
        }
        10 if random.below(3) == 0 => drop(image.0.remove(name)),
        11 if random.below(3) == 0 => {
            let file = image.0[other].clone();
            image.0.insert(name.clone(), file);
        }
        12 if random.below(3) == 0 => {
            // The same under another base or epoch.
            let header = Header {
                base: random.next() % 80,
                epoch: u32::try_from(random.next() % 3).unwrap(),
                ..Header::default()
            };
            let file = image.0[name].clone();
            image.0.insert(header.store_name(), file);
        }
        _ if len > 8 => {
            // Bytes that move up by a few.
            let by = 1 + random.below(8);
            let file = image.file(name);
            file.splice(at..at, vec![0; by]);
            file.truncate(len);
        }
        _ => {}
    }
}
