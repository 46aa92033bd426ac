//! The files of a log in a directory, told apart by their names: which segments live, which are dead whole, what is
//! litter. It takes out of the directory what is no part of the row, and removes a whole log. It reads no records.

use crate::control::{self, LIVE, Lock};
use crate::error::{Error, Result, Status};
use crate::id::{Id, temporary_name};
use crate::named::START;
use crate::record::Cause;
use crate::segment::Segment;
use crate::sync::Arc;
use crate::sys::Dir;
use std::path::Path;

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
}

impl Files {
    /// Looks through a directory. Foreign names are passed over.
    pub(crate) fn list(dir: &Dir) -> Result<Self> {
        let (mut stores, mut indexes, mut litter) = (Vec::new(), Vec::new(), Vec::new());
        dir.list(|name| match Id::parse(name) {
            Some((id, true)) => stores.push(id),
            Some((id, false)) => indexes.push(id),
            None if Id::is_temporary(name) || name == temporary_name(START) => litter.push(name.to_owned()),
            None => {}
        })?;
        stores.sort_unstable();
        indexes.retain(|id| stores.binary_search(id).is_err());
        litter.extend(indexes.into_iter().map(Id::index_name));
        let (live, dead) = split(&stores);
        Ok(Self { live, dead, litter })
    }

    /// The segments that live where this one is the active one, which is the last of them; those that were made later
    /// are not in use yet. `None` if it is not there.
    pub(crate) fn row_of(dir: &Dir, active: Id) -> Result<Option<Vec<Id>>> {
        let mut stores = Vec::new();
        // Epochs never go down, and within one neither do bases.
        let made_before = |id: &Id| (id.epoch, id.base_offset) <= (active.epoch, active.base_offset);
        dir.list(|name| {
            stores.extend(Id::parse(name).filter(|(id, store)| *store && made_before(id)).map(|(id, _)| id));
        })?;
        stores.sort_unstable();
        let (live, _) = split(&stores);
        Ok(Some(live).filter(|live| live.last() == Some(&active)))
    }

    /// The last segment's header says that a reset made all segments of an epoch below this one dead. Returns how many.
    pub(crate) fn end_below(&mut self, floor_epoch: u32) -> usize {
        // Epochs never go down along the row.
        let below = self.live.partition_point(|id| id.epoch < floor_epoch);
        self.dead.extend(self.live.drain(..below));
        below
    }

    /// Takes what is no part of the row out of the directory: into `lost/` where recovery ended it, else for good.
    /// Nothing depends on it, so what fails is left for the next open.
    pub(crate) fn bury(&self, dir: &Dir, row: &[Arc<Segment>], floor_epoch: u32, first_offset: u64) {
        for name in &self.litter {
            let _ = dir.unlink(name);
        }
        let lives = |id: &&Id| row.iter().any(|segment| segment.id == **id);
        let gone: Vec<_> = self.dead.iter().chain(&self.live).filter(|id| !lives(id)).collect();
        // What ended them may have been named by somebody who was killed before the name was durable: were they gone
        // and the name too, what they ended would be whole again.
        if gone.is_empty() || dir.sync().is_err() {
            return;
        }
        for id in gone {
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
fn split(sorted: &[Id]) -> (Vec<Id>, Vec<Id>) {
    let mut highest = 0;
    let (mut live, mut dead) = (Vec::new(), Vec::new());
    for same_base in sorted.chunk_by(|a, b| a.base_offset == b.base_offset) {
        highest = same_base.iter().map(|id| id.epoch).fold(highest, u32::max);
        for id in same_base {
            if id.epoch < highest { dead.push(*id) } else { live.push(*id) }
        }
    }
    (live, dead)
}

/// Whether a segment that is no part of the row holds what recovery has dropped; else it was truncated or reset away.
/// The first segment of the row that ends it tells, since it was the first to be made; one that came of a roll does not
/// know, and then the files are kept.
fn must_be_kept(row: &[Arc<Segment>], id: Id) -> bool {
    let mut ends_it =
        row.iter().filter(|segment| segment.id.epoch > id.epoch && segment.id.base_offset <= id.base_offset);
    let cause = ends_it.next().and_then(|segment| Some(segment.store().ok()?.header().cause));
    !matches!(cause, Some(Cause::Truncate | Cause::Reset))
}

/// Opens the directory of a log; where there is none, with `create` it is made.
pub(crate) fn open_dir(path: &Path, create: bool) -> Result<Dir> {
    if create {
        return Dir::open_or_create(path);
    }
    let dir = Dir::open(path)?;
    if Files::list(&dir)?.live.is_empty() {
        return Err(no_log(path));
    }
    Ok(dir)
}

/// The error for a directory without a log.
pub(crate) fn no_log(path: &Path) -> Error {
    Error::new(Status::NotFound, format!("there is no log in '{}'", path.display()))
}

/// Deletes the log in a directory, and the directory if it is then empty.
pub fn remove(dir: impl AsRef<Path>) -> Result<()> {
    let path = dir.as_ref();
    if path.as_os_str().is_empty() {
        return Err(Error::new(Status::Argument, "the directory's path is empty"));
    }
    let dir = Dir::open(path)?;
    if Files::list(&dir)?.live.is_empty() {
        return Err(no_log(path));
    }
    let lock = Lock::take(&dir, true)?;
    control::end_session(lock.file());
    let removed = remove_files(&dir)?;
    drop(lock);
    if !removed {
        return Err(no_log(path));
    }
    dir.remove_itself()?;
    Ok(())
}

/// Deletes a log's own files from a directory, newest segments first, so that what is left after a crash is a shorter
/// log. `false` if there was no log.
fn remove_files(dir: &Dir) -> Result<bool> {
    let files = Files::list(dir)?;
    if files.live.is_empty() {
        return Ok(false);
    }
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
        lost.list(|name| names.extend(Id::parse(name).map(|_| name.to_owned())))?;
        for name in names {
            lost.unlink(&name)?;
        }
        dir.remove_dir(LOST)?;
    }
    dir.unlink(START)?;
    dir.unlink(LIVE)?;
    dir.sync()?;
    Ok(true)
}
