//! What takes records away: a trim at the front, a truncation at the end, a reset of all. Each has one moment at which
//! it is done, a file's name or a synced slot, and undoes nothing that a reader holds. Whoever comes here leads the
//! commit, so that nobody else takes records away meanwhile; a cut is made under the writer's mutex as well.

use crate::commit::Mark;
use crate::error::{Error, Result, Status};
use crate::fresh::{Plan, Prepared, fresh_header};
use crate::id::{Id, OFFSET_END};
use crate::record::{Cause, FRAMES_START, Header};
use crate::row::{Room, Row};
use crate::run::payload_before;
use crate::seeded::{Bug, seeded};
use crate::segment::Segment;
use crate::start::{START, Start};
use crate::sync::{Arc, Mutex, Ordering, PoisonError};
use crate::sys::Dir;
use crate::writer::{Parts, Writer};
use std::ops::Range;

/// A log that begins later.
pub(crate) struct Beginning {
    offset: u64,
    /// Payload bytes of all records before it, since the log was made or reset.
    payload_bytes: u64,
    /// The last segment of which all is durable, its header too.
    durable: Id,
    room: Room,
}

impl Beginning {
    /// Makes it durable that the log begins at `before`. All up to `mark` is durable, and that is not before it.
    pub(crate) fn make_durable(parts: &Parts<'_>, mark: &Mark, before: u64) -> Result<Self> {
        let (row, room) = (parts.rows.newest(), parts.rows.room()?);
        let payload_bytes = payload_before(segment_of(&row, before)?, before)?;
        let Header { log_id, epoch, .. } = *mark.segment.store()?.header();
        if seeded(Bug::StartAfterUnlink) {
            row.segments.iter().filter(|segment| segment.limit() <= before).for_each(|gone| remove(parts.dir, gone));
        }
        let start = Start { epoch, first_offset: before, prior_payload_bytes: payload_bytes, log_id };
        start.store(parts.dir, |error| parts.commit.fail(parts.control, error))?;
        Ok(Self { offset: before, payload_bytes, durable: mark.segment.id, room })
    }

    /// Lets readers know, and deletes the segments that lie before it whole.
    pub(crate) fn take_place(self, parts: &Parts<'_>, writer: &Mutex<Writer>) {
        {
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            parts.begin_at(&writer, self.offset, self.payload_bytes);
            // The ring goes on as it is, so this is no `change`: who meets one that was broken off passes the ring by.
            parts.control.note_change();
        }
        drop_from_row(parts, self.room, None, |segments| {
            // One that is durable stays, though it be empty: those behind it may not have their headers on the disk.
            let goes = |segment: &Arc<Segment>| segment.limit() <= self.offset && segment.id != self.durable;
            0..segments.partition_point(goes)
        });
    }
}

/// A cut at the log's end.
pub(crate) struct Cut {
    /// Where the log goes on.
    offset: u64,
    /// Whether nothing of before stays.
    all: bool,
    /// Of the records that stay, and of those that were trimmed before them.
    payload_bytes: u64,
}

impl Cut {
    /// Drops the records from `from` on, one of which there is. All before it is durable.
    pub(crate) fn at(parts: &Parts<'_>, from: u64) -> Result<Self> {
        let row = parts.rows.newest();
        Ok(Self { offset: from, all: false, payload_bytes: payload_before(segment_of(&row, from)?, from)? })
    }

    /// Drops all records and goes on at `next_offset`.
    pub(crate) fn all(next_offset: u64) -> Result<Self> {
        if next_offset > OFFSET_END {
            let text = format!("a log cannot go on at offset {next_offset}; 2^64 - 2^31 is the highest");
            return Err(Error::new(Status::Argument, text));
        }
        Ok(Self { offset: next_offset, all: true, payload_bytes: 0 })
    }
}

impl Writer {
    /// Makes a cut. Everything that was appended is durable.
    pub(crate) fn cut(&mut self, parts: &Parts<'_>, cut: &Cut) -> Result<()> {
        let old = Arc::clone(&self.active);
        let header = *old.store()?.header();
        let epoch = header.epoch.checked_add(1).ok_or_else(|| {
            Error::new(Status::Argument, "the log's epochs are used up; copy its records into a new log")
        })?;
        let header = Header {
            epoch,
            base_offset: cut.offset,
            floor_epoch: if cut.all && !seeded(Bug::ResetWithoutFloor) { epoch } else { header.floor_epoch },
            timestamp_floor_ns: if seeded(Bug::TimeForgotten) { 0 } else { self.last_timestamp_ns },
            prior_payload_bytes: cut.payload_bytes,
            cause: if cut.all { Cause::Reset } else { Cause::Truncate },
            ..fresh_header(&header)?
        };
        let room = parts.rows.room()?;
        // From before the new name is there: who finds this broken off believes the directory alone.
        let change = parts.control.change();
        if let Some(error) = parts.control.failure() {
            return Err(parts.commit.fail(parts.control, error));
        }
        let fresh = Arc::new(make_segment(parts, header)?);
        // The name is in the directory: from here on there is no way back.
        if !seeded(Bug::CutNotNamed) {
            parts.dir.sync().map_err(|error| parts.commit.fail(parts.control, &error))?;
        }
        let (end, next_offset) = (self.end, self.next_offset);
        // A reader that finds an offset missing asks again, and must then find it beyond the end, or before the first.
        parts.published.fetch_min(cut.offset, Ordering::AcqRel);
        if cut.all {
            parts.begin_at(self, cut.offset, 0);
        }
        self.next_offset = cut.offset;
        self.go_on_in(&change, &fresh, cut.payload_bytes, FRAMES_START)?;
        parts.control.publish(cut.offset, FRAMES_START, cut.payload_bytes);
        drop(change);
        parts.commit.cut_at(parts.control, cut.offset);
        let stays = |segment: &Segment| !cut.all && segment.id.base_offset < cut.offset;
        if stays(&old) {
            // It takes no more records. What was dropped stays behind its last one, since views may look at that; what
            // was allocated ahead goes back, before the row shows it as full: retention notes then what it takes.
            old.punch_behind(end, next_offset - old.id.base_offset);
        }
        drop_from_row(parts, room, Some((fresh, cut.offset)), |segments| {
            segments.partition_point(|segment| stays(segment))..segments.len()
        });
        parts.published.store(cut.offset, Ordering::Release);
        if cut.all {
            // The floor has made it void.
            let _ = parts.dir.unlink(START);
        } else if stays(&old) {
            old.store()?.release_file();
            parts.rows.note_open();
        }
        Ok(())
    }
}

fn segment_of(row: &Row, offset: u64) -> Result<&Segment> {
    let found = row.segment_of(offset).map(Arc::as_ref);
    found.ok_or_else(|| Error::new(Status::Bug, format!("no segment holds offset {offset}")))
}

fn make_segment(parts: &Parts<'_>, header: Header) -> Result<Segment> {
    let plan = Plan {
        header,
        store_bytes: FRAMES_START + parts.limits.segment_bytes.next_multiple_of(8),
        allocated: FRAMES_START,
        index_records: parts.limits.index_records,
        all_before_is_durable: true,
    };
    Segment::publish(parts.dir, Prepared::make(parts.dir, &plan)?)
}

/// Takes segments out of the row, then deletes their files. Views and mappings of them stay. With `then`, the row ends
/// at that offset and goes on with that segment.
fn drop_from_row(
    parts: &Parts<'_>,
    room: Room,
    then: Option<(Arc<Segment>, u64)>,
    which: impl FnOnce(&[Arc<Segment>]) -> Range<usize>,
) {
    let mut gone = 0..0;
    let before = parts.rows.replace(room, |segments| {
        gone = which(segments);
        for segment in segments.drain(gone.clone()) {
            // Whoever looks in a row of before finds nothing there.
            segment.set_limit(segment.id.base_offset);
        }
        if let Some((fresh, end)) = then {
            // The one in the row, which need not be the one that anybody else knows.
            if let Some(last) = segments.last_mut() {
                last.set_limit(end);
                if !parts.dir.maps() {
                    last.keep_index(end - last.id.base_offset, false);
                    *last = Arc::new(last.closed_twin());
                }
            }
            segments.push(fresh);
        }
    });
    // Their space comes back when nobody has them mapped any more.
    parts.rows.forget();
    for segment in before.segments.get(gone).unwrap_or_default() {
        remove(parts.dir, segment);
    }
}

/// Deletes a segment's files. What fails is left for the next open: nothing depends on it.
fn remove(dir: &Dir, segment: &Segment) {
    let _ = dir.unlink(&segment.id.store_name());
    let _ = dir.unlink(&segment.id.index_name());
}
