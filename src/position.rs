//! What a consumer has done, by name: the offset of the next record that it is to consume. A position is saved with the
//! log's epoch. So a log that was cut since then tells, by the segments that have a higher one, where its records were
//! dropped, and a position beyond that is brought back to it: no cut has to look for positions. It knows nothing of how
//! a value is stored, nor of who writes the log.

use crate::error::{Error, Result, Status};
use crate::named::{POSITIONS, check_name};
use crate::segment::Segment;
use crate::slots::Value;
use crate::sync::Arc;
use crate::sys::Dir;
use crate::view::{LOOKS, View};

/// Saves a position, durably.
pub(crate) fn save(view: &impl View, name: &str, offset: u64) -> Result<()> {
    check_name(name)?;
    // A log that is gone has no positions.
    view.published()?;
    let log_id = view.log_id();
    POSITIONS.set(view.dir(), log_id, name, |_| {
        // The epoch is asked for before the end is. A cut in between leaves an offset at or before it, or an epoch that
        // brings it back.
        let epoch = view.rows().newest().segments.last().map_or(0, |segment| segment.id.epoch);
        let next = view.published_past(offset)?;
        if offset > next {
            let text = format!("position '{name}' cannot be {offset}: the log's next offset is {next}");
            return Err(Error::new(Status::Beyond, text).at(offset));
        }
        Ok(Some(Value { epoch, first: offset, log_id, ..Value::default() }))
    })
}

/// The position, no further than to where the log was cut since it was saved.
pub(crate) fn load(view: &impl View, name: &str) -> Result<u64> {
    check_name(name)?;
    view.published()?;
    let value = POSITIONS.load(view.dir(), view.log_id(), name)?;
    // Behind it: a cut that comes meanwhile is seen.
    let next = view.published_past(value.first)?;
    Ok(brought_back(&view.rows().newest().segments, &value, next))
}

/// Removes a position.
pub(crate) fn remove(view: &impl View, name: &str) -> Result<()> {
    check_name(name)?;
    view.published()?;
    POSITIONS.remove(view.dir(), name)
}

/// The position of this number, by name; `None` behind the last.
pub(crate) fn at(view: &impl View, index: usize) -> Result<Option<(String, u64)>> {
    view.published()?;
    for _ in 0..LOOKS {
        let Some(name) = POSITIONS.names(view.dir())?.into_iter().nth(index) else { return Ok(None) };
        match load(view, &name) {
            // It was removed meanwhile.
            Err(error) if error.status() == Status::NotFound => view.published().map(|_| ())?,
            loaded => return loaded.map(|offset| Some((name, offset))),
        }
    }
    Ok(None)
}

/// What the consumer that is furthest behind has not passed; `None` where there is no position.
pub(crate) fn lowest(view: &impl View) -> Result<Option<u64>> {
    let mut lowest = None;
    for name in POSITIONS.names(view.dir())? {
        match load(view, &name) {
            Err(error) if error.status() == Status::NotFound => view.published().map(|_| ())?,
            loaded => lowest = Some(loaded?.min(lowest.unwrap_or(u64::MAX))),
        }
    }
    Ok(lowest)
}

/// Where records were dropped since the value was saved: the first segment of a higher epoch begins there. (Before one
/// is trimmed away, it has brought back what lay beyond it.) Never behind the log's end.
fn brought_back(segments: &[Arc<Segment>], value: &Value, next: u64) -> u64 {
    // Epochs never go down along the row.
    let since = segments.partition_point(|segment| segment.id.epoch <= value.epoch);
    let cut = segments.get(since).map_or(u64::MAX, |segment| segment.id.base_offset);
    value.first.min(cut).min(next)
}

/// Brings back, durably, what lies beyond a cut, or beyond the log's end when it is opened: a power loss took records
/// that had been consumed, and others will get their offsets. Before anything is appended, and before the segments go
/// that tell of the cut. One that cannot be read stays: nobody gets an offset from it.
pub(crate) fn bring_back(dir: &Dir, log_id: [u8; 16], segments: &[Arc<Segment>], next: u64) -> Result<()> {
    if !POSITIONS.is_there(dir)? {
        return Ok(());
    }
    let epoch = segments.last().map_or(0, |segment| segment.id.epoch);
    for name in POSITIONS.names(dir)? {
        let brought = |value: &Value| {
            let first = brought_back(segments, value, next);
            (first < value.first).then(|| Value { epoch, first, ..value.clone() })
        };
        let result = match POSITIONS.load(dir, log_id, &name) {
            Ok(value) if brought(&value).is_some() => {
                POSITIONS.set(dir, log_id, &name, |old| Ok(old.and_then(brought)))
            }
            loaded => loaded.map(|_| ()),
        };
        match result {
            Err(error) if !matches!(error.status(), Status::Corrupt | Status::Format | Status::NotFound) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}
