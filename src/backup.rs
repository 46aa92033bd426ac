//! A consistent copy of a log in another directory, made while appends go on: full segments are linked where that can
//! be, else copied; the active one is copied as far as it went at one moment. What is not durable is copied as it
//! reads, since a sync of it may have failed: then its pages are lost to every later sync, but not to readers. It knows
//! which files make a log, and nothing of how they are read or written.

use crate::error::{Error, Result, Status};
use crate::files::{self, BACKUP};
use crate::log::{Log, Side};
use crate::named::{META, POSITIONS};
use crate::row::copy_run;
use crate::seeded::{Bug, seeded};
use crate::segment::Segment;
use crate::start::Start;
use crate::store::Store;
use crate::sys::{Dir, File};
use crate::view::{Moment, View};
use std::path::Path;

/// A log whose files go away while they are copied is looked at anew so often.
const TRIES: u32 = 100;
/// So much is copied at once.
const PIECE_BYTES: u64 = 4 << 20;
const RUN_BYTES: u64 = 64 << 10;

impl Log {
    /// Makes a copy of the log, as it stands at one moment of this call, in a directory that is missing or empty. The
    /// copy is durable on return, and opens as a log that was closed.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        match self.side() {
            Side::Writer(inner) => backup(&**inner, to.as_ref()),
            Side::Follower(follower) => backup(&**follower, to.as_ref()),
        }
    }
}

fn backup(view: &impl View, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(Error::new(Status::Argument, "the backup's path is empty"));
    }
    let was_there = Dir::open(path).is_ok();
    let to = Dir::open_or_create(path)?;
    let mut is_empty = true;
    to.list(|_| {
        is_empty = false;
        Ok(())
    })?;
    if !is_empty {
        let text = format!("'{}' is not empty; a backup needs a directory of its own", to.shown());
        return Err(Error::new(Status::Exists, text));
    }
    let made = make(view, &to);
    if made.is_err() {
        // Best effort: what stays is not taken for a log as long as the mark is there.
        let _ = files::clear_backup(&to);
        if !was_there {
            let _ = to.remove_itself();
        }
    }
    made
}

fn make(view: &impl View, to: &Dir) -> Result<()> {
    // Whatever becomes of this process: without all of its files the copy is no log.
    to.create_anew(BACKUP)?.sync()?;
    to.sync()?;
    let mut tries = 0;
    loop {
        tries += 1;
        match copy(view, &view.moment()?, to) {
            // Trimmed, truncated or reset away meanwhile.
            Err(error) if error.status() == Status::NotFound && tries < TRIES => files::clear_segments(to)?,
            copied => break copied?,
        }
    }
    to.sync()?;
    to.unlink(BACKUP)?;
    to.sync()?;
    to.sync_in_parent()
}

fn copy(view: &impl View, moment: &Moment, to: &Dir) -> Result<()> {
    let Some((active, full)) = moment.segments.split_last() else {
        return Err(Error::new(Status::Bug, "a log has no segment"));
    };
    let from = view.dir();
    view.sync_full();
    for segment in full {
        let (store, index) = (segment.id.store_name(), segment.id.index_name());
        let durable = segment.limit() <= view.durable();
        if seeded(Bug::BackupLinksDoubtful) && !durable && from.link(&store, to)? {
            to.open_read(&store)?.sync()?;
        } else if !durable || !from.link(&store, to)? {
            copy_file(from, &store, to, durable)?;
        }
        match from.link(&index, to) {
            Ok(true) => {}
            Ok(false) => drop(copy_file(from, &index, to, false)),
            // It is made again when it is needed.
            Err(error) if error.status() == Status::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    copy_active(view, moment, active, to)?;
    if moment.first_payload_bytes > 0 || moment.first_offset > moment.segments[0].id.base_offset {
        let header = active.store()?.header();
        let (first_offset, prior_payload_bytes) = (moment.first_offset, moment.first_payload_bytes);
        let start = Start { epoch: header.epoch, first_offset, prior_payload_bytes, log_id: header.log_id };
        start.store(to, Error::clone)?;
    }
    // Behind the records: a position that went on meanwhile is brought back when the copy is opened.
    let log_id = view.log_id();
    POSITIONS.copy(from, to, log_id)?;
    META.copy(from, to, log_id)
}

/// A whole file; holes stay holes.
fn copy_file(from: &Dir, name: &str, to: &Dir, durable: bool) -> Result<()> {
    let (source, copy) = (from.open_read(name)?, to.create_anew(name)?);
    let bytes = source.stat()?.bytes;
    copy.grow_to(bytes)?;
    let mut at = 0;
    while let Some(data) = source.seek_data(at)?.filter(|data| *data < bytes) {
        let piece = PIECE_BYTES.min(bytes - data);
        copy_piece(&source, &copy, data, piece, durable)?;
        at = data + piece;
    }
    copy.sync()
}

fn copy_piece(from: &File, to: &File, at: u64, len: u64, durable: bool) -> Result<()> {
    if durable { from.copy_to(to, at, len) } else { from.copy_as_read(to, at, len) }
}

/// The active segment, as one that was closed where it stood; what is in the ring only comes from there.
fn copy_active(view: &impl View, moment: &Moment, active: &Segment, to: &Dir) -> Result<()> {
    let (name, end) = (active.id.store_name(), moment.end.position);
    let source = view.dir().open_read(&name)?;
    let (header, bytes) = (*active.store()?.header(), active.store()?.bytes().max(end));
    let mut slot = moment.end;
    slot.count = 1;
    let copy = Store::create(to, &name, header, Some(&slot), bytes, end)?;
    let file = copy.file()?;
    let mut at = crate::record::FRAMES_START;
    let mut run = Vec::new();
    while at < end {
        let stored = active.stored().min(end);
        if at < stored {
            copy_piece(&source, &file, at, stored - at, moment.end.next_offset <= view.durable())?;
            at = stored;
            continue;
        }
        let piece = RUN_BYTES.min(end - at);
        // Where that came too late, it is stored by now.
        if copy_run(active, view.tail(), at, piece, &mut run)? {
            file.write_at(&run, at)?;
            at += piece;
        }
    }
    slot.count = 2;
    copy.write_slot(&slot)?;
    file.sync()
}
