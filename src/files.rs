//! The files of a log in a directory, told apart by their names: which segments live, which are dead whole, what is
//! litter. It takes out of the directory what is no part of the row, and removes a whole log. It reads no records.

use crate::config::Io;
use crate::control::{self, LIVE, Lock};
use crate::error::{Error, Result, Status};
use crate::id::{Id, temporary_name};
use crate::memory;
use crate::named::{META, POSITIONS};
use crate::record::Cause;
use crate::segment::Segment;
use crate::start::START;
use crate::sync::Arc;
use crate::sys::Dir;
use std::path::Path;

/// Stands in a directory while a backup is made in it: without all of its files that is no log.
pub(crate) const BACKUP: &str = "BACKUP";
/// What memory is for here.
const NAMES: &str = "the names of the directory's files";
/// Where whole segments go that recovery takes out of the row.
const LOST: &str = "lost";

/// The files of a log in a directory.
pub(crate) struct Files {
    /// Segments that live, by base offset.
    pub live: Vec<Id>,
    /// Segments that are dead whole.
    dead: Vec<Id>,
    /// What is to be deleted: files that never got their name, indexes without a store.
    litter: Vec<String>,
    /// A backup that was broken off.
    is_unfinished: bool,
}

impl Files {
    /// Looks through a directory. Foreign names are passed over.
    pub(crate) fn list(dir: &Dir) -> Result<Self> {
        let (mut stores, mut indexes, mut litter) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_unfinished = false;
        dir.list(|name| match Id::parse(name) {
            Some((id, true)) => memory::push(&mut stores, id, NAMES),
            Some((id, false)) => memory::push(&mut indexes, id, NAMES),
            None if Id::is_temporary(name) || name == temporary_name(START) => {
                memory::push(&mut litter, name.to_owned(), NAMES)
            }
            None => {
                is_unfinished |= name == BACKUP;
                Ok(())
            }
        })?;
        stores.sort_unstable();
        indexes.retain(|id| stores.binary_search(id).is_err());
        memory::reserve(&mut litter, indexes.len(), NAMES)?;
        litter.extend(indexes.into_iter().map(Id::index_name));
        let (live, dead) = split(&stores)?;
        Ok(Self { live, dead, litter, is_unfinished })
    }

    /// As [`Files::list`], of a directory that is to be opened as a log.
    pub(crate) fn list_whole(dir: &Dir) -> Result<Self> {
        let files = Self::list(dir)?;
        if files.is_unfinished {
            let path = dir.shown();
            let text = format!("the backup in '{path}' was broken off, so it is no log; remove it and make it again");
            return Err(Error::new(Status::NotFound, text));
        }
        Ok(files)
    }

    /// The segments that live where this one is the active one, which is the last of them; those that were made later
    /// are not in use yet. `None` if it is not there.
    pub(crate) fn row_of(dir: &Dir, active: Id) -> Result<Option<Vec<Id>>> {
        let mut stores = Vec::new();
        // Epochs never go down, and within one neither do bases.
        let made_before = |id: &Id| (id.epoch, id.base_offset) <= (active.epoch, active.base_offset);
        dir.list(|name| match Id::parse(name) {
            Some((id, true)) if made_before(&id) => memory::push(&mut stores, id, NAMES),
            _ => Ok(()),
        })?;
        stores.sort_unstable();
        let (live, _) = split(&stores)?;
        Ok(Some(live).filter(|live| live.last() == Some(&active)))
    }

    /// The last segment's header says that a reset made all segments of an epoch below this one dead. Returns how many.
    pub(crate) fn end_below(&mut self, floor_epoch: u32) -> Result<usize> {
        // Epochs never go down along the row.
        let below = self.live.partition_point(|id| id.epoch < floor_epoch);
        memory::reserve(&mut self.dead, below, NAMES)?;
        self.dead.extend(self.live.drain(..below));
        Ok(below)
    }

    /// Takes what is no part of the row out of the directory: into `lost/` where recovery ended it, else for good.
    /// Nothing depends on it, so what fails is left for the next open.
    pub(crate) fn bury(&self, dir: &Dir, row: &[Arc<Segment>], floor_epoch: u32, first_offset: u64) {
        for name in &self.litter {
            let _ = dir.unlink(name);
        }
        POSITIONS.clean(dir);
        META.clean(dir);
        let lives = |id: &Id| {
            let found = row.binary_search_by_key(&id.base_offset, |segment| segment.id.base_offset);
            found.is_ok_and(|n| row[n].id == *id)
        };
        let gone = || self.dead.iter().chain(&self.live).filter(|id| !lives(id));
        // What ended them may have been named by somebody who was killed before the name was durable: were they gone
        // and the name too, what they ended would be whole again.
        if gone().next().is_none() || dir.sync().is_err() {
            return;
        }
        for id in gone() {
            let trimmed = id.epoch < floor_epoch || id.base_offset < first_offset;
            let keep = !trimmed && must_be_kept(row, *id);
            for name in [id.store_name(), id.index_name()] {
                match keep.then(|| dir.subdir(LOST, true)) {
                    None => drop(dir.unlink(&name)),
                    Some(Ok(Some(lost))) => drop(dir.rename(&name, &lost, &name)),
                    Some(_) => {}
                }
            }
        }
    }
}

/// A segment of a higher epoch ends every segment of a lower epoch at its base: those whose base is not lower are dead.
fn split(sorted: &[Id]) -> Result<(Vec<Id>, Vec<Id>)> {
    let mut highest = 0;
    let (mut live, mut dead) = (Vec::new(), Vec::new());
    for same_base in sorted.chunk_by(|a, b| a.base_offset == b.base_offset) {
        highest = same_base.iter().map(|id| id.epoch).fold(highest, u32::max);
        for id in same_base {
            memory::push(if id.epoch < highest { &mut dead } else { &mut live }, *id, NAMES)?;
        }
    }
    Ok((live, dead))
}

/// Whether a segment that is no part of the row holds what recovery has dropped; else it was truncated or reset away.
/// The first segment of the row that ends it tells, since it was the first to be made; one that came of a roll does not
/// know, and then the files are kept.
fn must_be_kept(row: &[Arc<Segment>], id: Id) -> bool {
    // Epochs never go down along the row.
    let ends_it = row.get(row.partition_point(|segment| segment.id.epoch <= id.epoch));
    let ends_it = ends_it.filter(|segment| segment.id.base_offset <= id.base_offset);
    let cause = ends_it.and_then(|segment| Some(segment.store().ok()?.header().cause));
    !matches!(cause, Some(Cause::Truncate | Cause::Reset))
}

/// Opens the directory of a log, whose files are mapped or not; where there is none, with `create` it is made.
pub(crate) fn open_dir(path: &Path, create: bool, io: Io) -> Result<Dir> {
    let mut dir = if create { Dir::open_or_create(path) } else { Dir::open(path) }?;
    let maps = match io {
        Io::Auto => dir.takes_mappings(),
        Io::Mapped => true,
        Io::File => false,
    };
    dir.set_maps(maps);
    if create {
        return Ok(dir);
    }
    if Files::list_whole(&dir)?.live.is_empty() {
        return Err(no_log(dir.shown()));
    }
    Ok(dir)
}

/// How the files of this directory are read and written.
pub(crate) fn io_of(dir: &Dir) -> Io {
    if dir.maps() { Io::Mapped } else { Io::File }
}

/// The error for a directory without a log.
pub(crate) fn no_log(shown: &str) -> Error {
    Error::new(Status::NotFound, format!("there is no log in '{shown}'"))
}

/// Deletes the log in a directory, and the directory if it is then empty.
pub fn remove(dir: impl AsRef<Path>) -> Result<()> {
    let path = dir.as_ref();
    if path.as_os_str().is_empty() {
        return Err(Error::new(Status::Argument, "the directory's path is empty"));
    }
    let dir = Dir::open(path)?;
    let files = Files::list(&dir)?;
    if files.is_unfinished {
        clear_backup(&dir)?;
        dir.remove_itself()?;
        return Ok(());
    }
    if files.live.is_empty() {
        return Err(no_log(dir.shown()));
    }
    let lock = Lock::take(&dir, true)?;
    control::end_session(lock.file());
    let removed = remove_files(&dir)?;
    drop(lock);
    if !removed {
        return Err(no_log(dir.shown()));
    }
    dir.remove_itself()?;
    Ok(())
}

/// Deletes what a backup that was broken off has left.
pub(crate) fn clear_backup(dir: &Dir) -> Result<()> {
    clear_segments(dir)?;
    // Of one who tried to open it.
    dir.unlink(LIVE)?;
    dir.unlink(BACKUP)?;
    dir.sync()
}

/// Deletes what a backup has copied so far.
pub(crate) fn clear_segments(dir: &Dir) -> Result<()> {
    let files = Files::list(dir)?;
    for id in files.live.iter().chain(&files.dead) {
        dir.unlink(&id.store_name())?;
        dir.unlink(&id.index_name())?;
    }
    for name in &files.litter {
        dir.unlink(name)?;
    }
    POSITIONS.remove_all(dir)?;
    META.remove_all(dir)?;
    dir.unlink(START)
}

/// Deletes a log's own files from a directory, newest segments first, so that what is left after a crash is a shorter
/// log. `false` if there was no log.
fn remove_files(dir: &Dir) -> Result<bool> {
    let files = Files::list(dir)?;
    if files.live.is_empty() {
        return Ok(false);
    }
    // First, and durably: a log that is made here later is not to find them.
    POSITIONS.remove_all(dir)?;
    META.remove_all(dir)?;
    let stores = files.dead.iter().chain(files.live.iter().rev());
    for id in stores {
        dir.unlink(&id.store_name())?;
        dir.unlink(&id.index_name())?;
    }
    for name in &files.litter {
        dir.unlink(name)?;
    }
    if let Some(lost) = dir.subdir(LOST, false)? {
        let mut names = Vec::new();
        lost.list(|name| match Id::parse(name) {
            Some(found) => memory::push(&mut names, found, NAMES),
            None => Ok(()),
        })?;
        for (id, is_store) in names {
            lost.unlink(&if is_store { id.store_name() } else { id.index_name() })?;
        }
        dir.remove_dir(LOST)?;
    }
    dir.unlink(START)?;
    dir.unlink(LIVE)?;
    dir.sync()?;
    Ok(true)
}
