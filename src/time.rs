//! Finding a record by its time. Times never run back, so this is a binary search: over the segments by their headers,
//! each of which says what time its records are not before, then over the records that are left. What is damaged has no
//! time: the search goes on with the next one behind it that has. It knows nothing of how a record is read.

use crate::error::{Error, Result, Status};
use crate::row::Row;
use crate::view::{LOOKS, View};

/// What a look at one place came to.
enum Seen {
    Time(u64),
    /// It is damaged, and so is all up to here.
    Unknown(u64),
}

/// The first place from `low` to `high` (not in it) whose time is `time_ns` or later; `high` if there is none that
/// can be told. Of n places, about log2 n are looked at, and each damaged one on the way twice at most.
fn first_at(low: u64, high: u64, time_ns: u64, look: impl Fn(u64) -> Result<Seen>) -> Result<u64> {
    let (mut low, mut high, mut found) = (low, high, high);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut at = middle;
        let seen = loop {
            match look(at)? {
                Seen::Time(time) => break Some(time),
                Seen::Unknown(next) => at = next.max(at + 1),
            }
            if at >= high {
                break None;
            }
        };
        match seen {
            Some(time) if time < time_ns => low = at + 1,
            Some(_) => (high, found) = (middle, at),
            None => high = middle,
        }
    }
    Ok(found)
}

/// The first record of this time or a later one.
pub(crate) fn find(view: &impl View, time_ns: u64) -> Result<u64> {
    for _ in 0..LOOKS {
        let next = view.published()?;
        let row = view.rows().newest();
        let first = view.first_offset();
        match find_in(view, &row, first, next, time_ns) {
            Ok(offset) if offset < next => return Ok(offset),
            Ok(_) => {
                // More care is taken where there is no more.
                let now = view.published_past(next)?;
                if now == next {
                    let path = view.dir().shown();
                    let text = format!("'{path}' has no record of that time or later yet; the next one will be {next}");
                    return Err(Error::new(Status::Beyond, text).at(next));
                }
            }
            // Both ends move meanwhile.
            Err(error) if matches!(error.status(), Status::Trimmed | Status::Beyond) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(Status::Bug, "the log's ends have moved all the time while a record was looked for by its time"))
}

fn find_in(view: &impl View, row: &Row, first: u64, next: u64, time_ns: u64) -> Result<u64> {
    let segments = &row.segments;
    // No record before a segment is later than its floor, and none in it is earlier.
    let look_at_floor = |n: u64| {
        let segment = usize::try_from(n).ok().and_then(|n| segments.get(n));
        match segment.map_or(Ok(0), |segment| segment.timestamp_floor_ns()) {
            Ok(floor) => Ok(Seen::Time(floor)),
            Err(error) if error.status() == Status::Corrupt => Ok(Seen::Unknown(n + 1)),
            // Its files have gone, or cannot be read.
            Err(error) => Err(error),
        }
    };
    let count = segments.len() as u64;
    let behind = first_at(0, count, time_ns, look_at_floor)?;
    // The record lies in the last segment before that one, or is its first.
    let before = (0..behind).rev().find(|n| matches!(look_at_floor(*n), Ok(Seen::Time(floor)) if floor < time_ns));
    let base = |n: u64| segments.get(usize::try_from(n).unwrap_or(usize::MAX)).map(|segment| segment.id.base_offset);
    let low = before.and_then(base).unwrap_or(0).max(first);
    if low > next {
        // The row is a newer one than the end: the log has rolled or was reset meanwhile.
        return Err(view.beyond(low, next));
    }
    let high = base(behind).unwrap_or(next).clamp(low, next);
    let look = |offset: u64| match view.read_record(offset, |_, timestamp_ns| timestamp_ns) {
        Ok(time) => Ok(Seen::Time(time)),
        Err(error) if matches!(error.status(), Status::Corrupt | Status::Lost) => {
            // Where a segment's files cannot be opened, none of its records has a time.
            let unopened = row.segment_of(offset).filter(|segment| !segment.is_open());
            Ok(Seen::Unknown(unopened.map_or(offset + 1, |segment| segment.limit())))
        }
        Err(error) => Err(error),
    };
    let found = first_at(low, high, time_ns, look)?;
    if found < high || high == next {
        return Ok(found);
    }
    // All that is left is late enough, but for what is damaged.
    let mut at = high;
    while at < next {
        match look(at)? {
            Seen::Time(time) if time >= time_ns => break,
            Seen::Time(_) => at += 1,
            Seen::Unknown(behind) => at = behind.max(at + 1),
        }
    }
    Ok(at.min(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Against a plain walk, for every time and with any of the places damaged.
    #[test]
    fn the_first_that_is_late_enough_is_found_past_damage() {
        const TIMES: [u64; 9] = [5, 5, 7, 7, 7, 8, 20, 20, 21];
        for damaged in 0..1_u32 << TIMES.len() {
            let is_damaged = |n: u64| damaged >> n & 1 == 1;
            for time_ns in 0..23 {
                let look =
                    |n: u64| Ok(if is_damaged(n) { Seen::Unknown(n + 1) } else { Seen::Time(TIMES[n as usize]) });
                let found = first_at(0, TIMES.len() as u64, time_ns, look).unwrap();
                let walked = (0..).zip(TIMES).find(|(n, time)| !is_damaged(*n) && *time >= time_ns);
                assert_eq!(found, walked.map_or(TIMES.len() as u64, |(n, _)| n), "{damaged:b}, {time_ns}");
            }
        }
    }

    #[test]
    fn a_hundred_million_places_take_twenty_seven_looks() {
        for time_ns in [0, 1, 77, 99_999_999, 100_000_000, 12_345_678, u64::MAX] {
            let looks = Cell::new(0);
            let found = first_at(0, 100_000_000, time_ns, |n| {
                looks.set(looks.get() + 1);
                Ok(Seen::Time(n))
            });
            assert_eq!(found.unwrap(), time_ns.min(100_000_000));
            assert!(looks.get() <= 27, "{} looks", looks.get());
        }
    }

    /// A run of a million damaged ones costs two looks each.
    #[test]
    fn a_damaged_run_is_passed_in_time_by_its_length() {
        let looks = Cell::new(0_u64);
        let found = first_at(0, 1 << 20, 5, |n| {
            looks.set(looks.get() + 1);
            Ok(if n == (1 << 20) - 1 { Seen::Time(9) } else { Seen::Unknown(n + 1) })
        });
        assert_eq!(found.unwrap(), (1 << 20) - 1);
        assert!(looks.get() <= 2 << 20, "{} looks", looks.get());
    }
}
