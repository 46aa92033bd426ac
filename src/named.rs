//! Values with names, each in a file of its own: the folders `positions/` and `meta/`. Any process that may write the
//! directory sets them, beside each other and beside the log's writer: a lock on the file makes those who set one wait
//! for each other, a lock on the folder those who make and remove names. Readers take none. It knows no segments.

use crate::error::{Error, Result, Status};
use crate::memory;
use crate::slots::{self, Kind, Slots, Value};
use crate::sys::{self, Dir, File, LockFile, Lockable};
use std::time::{Duration, Instant};

/// The longest name in bytes.
pub(crate) const NAME_LIMIT: usize = 100;
/// The longest data of a meta in bytes.
pub(crate) const DATA_LIMIT: usize = 4096;

/// What is being made, or was when its maker was killed. No name has a `~`.
const FRESH: &str = "~new";
/// Who holds a lock syncs a file or two meanwhile. One that is held for longer is somebody's who was stopped.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSES: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(1));
/// A name that others make and remove all the time is tried so often.
const TRIES: u32 = 1000;

/// A folder of named values.
pub(crate) struct Folder {
    name: &'static str,
    /// What one of its values is.
    what: &'static str,
    kind: Kind,
}

/// How far consumers are.
pub(crate) const POSITIONS: Folder = Folder {
    name: "positions",
    what: "position",
    kind: Kind {
        what: "the position",
        advice: "remove it with log_position_remove and save it anew",
        magic: *b"\x8BSEGPOS\n",
        second_at: 512,
        data_max: 0,
    },
};

/// Small facts.
pub(crate) const META: Folder = Folder {
    name: "meta",
    what: "meta",
    kind: Kind {
        what: "the meta",
        advice: "remove it with log_meta_remove and set it anew",
        magic: *b"\x8BSEGMET\n",
        second_at: 8192,
        data_max: DATA_LIMIT,
    },
};

/// Refuses what is no name: it is a file's, and nothing else.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".." {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_LIMIT).collect();
    let text = format!("name is '{shown}'; it must have 1 to 100 characters of [A-Za-z0-9._-], and not be '.' or '..'");
    Err(Error::new(Status::Argument, text))
}

fn is_missing(error: &Error) -> bool {
    error.status() == Status::NotFound
}

/// Opens what is to be locked, and waits for its lock.
fn lock<T: Lockable>(open: impl FnOnce() -> Result<T>) -> Result<LockFile<T>> {
    wait_for(LockFile::open(open)?)
}

/// Waits for a lock, but not for ever. It is held while what is given lives, and by no child that was forked meanwhile.
fn wait_for<T: Lockable>(what: LockFile<T>) -> Result<LockFile<T>> {
    let (mut pause, longest) = PAUSES;
    let began = Instant::now();
    while !what.file().try_lock()? {
        if began.elapsed() > PATIENCE {
            let path = what.file().path();
            let text = format!("another process has held the lock of '{path}' for 10 s; see what stopped it");
            return Err(Error::new(Status::Locked, text));
        }
        sys::pause(pause);
        pause = (2 * pause).min(longest);
    }
    Ok(what)
}

fn listed(folder: &Dir) -> Result<Vec<String>> {
    let mut names = Vec::new();
    folder.list(|name| match check_name(name) {
        Ok(()) => memory::push(&mut names, name.to_owned(), "a list of names"),
        Err(_) => Ok(()),
    })?;
    names.sort_unstable();
    Ok(names)
}

impl Folder {
    /// The folder, open; `None` where nothing was ever named.
    fn open(&self, dir: &Dir) -> Result<Option<Dir>> {
        let folder = dir.subdir(self.name, false)?;
        if folder.is_none() && dir.stat(self.name)?.is_some() {
            let path = dir.path_of(self.name);
            let text = format!("'{path}' is no directory; it was not followed: move it out of the log's directory");
            return Err(Error::new(Status::Io, text));
        }
        Ok(folder)
    }

    fn folder(&self, dir: &Dir) -> Result<Dir> {
        self.open(dir)?.ok_or_else(|| self.not_found(dir, ""))
    }

    /// The folder once more, locked for those who make and remove names.
    fn lock(&self, dir: &Dir) -> Result<LockFile<Dir>> {
        lock(|| self.folder(dir))
    }

    fn not_found(&self, dir: &Dir, name: &str) -> Error {
        let (what, path) = (self.what, dir.shown());
        Error::new(Status::NotFound, format!("there is no {what} '{name}' in '{path}'"))
    }

    fn whose<'a>(&self, slots: &'a Slots, file: &File, log_id: [u8; 16]) -> Result<&'a Value> {
        let value = slots.newest(file, &self.kind)?;
        if value.log_id == log_id {
            return Ok(value);
        }
        let (what, path, advice) = (self.what, file.path(), self.kind.advice);
        Err(Error::new(Status::Corrupt, format!("'{path}' is a {what} of another log; {advice}")))
    }

    /// Reads a value of this log.
    pub(crate) fn load(&self, dir: &Dir, log_id: [u8; 16], name: &str) -> Result<Value> {
        check_name(name)?;
        let folder = self.open(dir)?.ok_or_else(|| self.not_found(dir, name))?;
        let no_name = |error: Error| if is_missing(&error) { self.not_found(dir, name) } else { error };
        let file = folder.open_read(name).map_err(no_name)?;
        let mut slots = Slots::read(&file, &self.kind)?;
        if slots.is_damaged() {
            // Unless it is written all the time: while the lock is held, nobody does.
            let file = lock(|| folder.open_read(name).map_err(no_name))?;
            slots = Slots::read(file.file(), &self.kind)?;
        }
        self.whose(&slots, &file, log_id).cloned()
    }

    /// Sets a value, durably; `value` is asked for it while nobody else sets or removes that name.
    pub(crate) fn set(
        &self,
        dir: &Dir,
        log_id: [u8; 16],
        name: &str,
        value: impl Fn(Option<&Value>) -> Result<Option<Value>>,
    ) -> Result<()> {
        check_name(name)?;
        for _ in 0..TRIES {
            let folder = match self.open(dir)? {
                Some(folder) => folder,
                None => dir.subdir(self.name, true)?.ok_or_else(|| self.not_found(dir, name))?,
            };
            let locked = match lock(|| folder.open_write(name)) {
                Ok(locked) => locked,
                Err(error) if is_missing(&error) => {
                    if self.make(dir, &folder, name, &value)? {
                        return Ok(());
                    }
                    // Somebody else has.
                    continue;
                }
                Err(error) => return Err(error),
            };
            let file = locked.file();
            let stat = file.stat()?;
            let there = folder.stat(name)?;
            if there.is_none_or(|there| !there.is_same_file(&stat)) {
                // It was removed before it was locked.
                continue;
            }
            let slots = Slots::read(file, &self.kind)?;
            let old = self.whose(&slots, file, log_id)?;
            let Some(value) = value(Some(old))? else { return Ok(()) };
            if slots.newest_count() <= 1 {
                // Its maker may have been killed before the name was durable.
                folder.sync()?;
                dir.sync()?;
            }
            return slots.replace(file, &self.kind, &value);
        }
        let (what, path) = (self.what, dir.shown());
        Err(Error::new(Status::Locked, format!("the {what} '{name}' in '{path}' is made and removed all the time")))
    }

    /// Makes a value's file, and its name durable. `false` if it is there.
    fn make(
        &self,
        dir: &Dir,
        folder: &Dir,
        name: &str,
        value: &impl Fn(Option<&Value>) -> Result<Option<Value>>,
    ) -> Result<bool> {
        let _locked = self.lock(dir)?;
        if folder.stat(name)?.is_some() {
            return Ok(false);
        }
        let Some(value) = value(None)? else { return Ok(true) };
        slots::make(folder, FRESH, name, &self.kind, &value)?;
        folder.sync().and_then(|()| dir.sync()).inspect_err(|_| {
            // As well as can be: it was not set.
            let _ = folder.unlink(name);
        })?;
        Ok(true)
    }

    /// Removes a name, durably.
    pub(crate) fn remove(&self, dir: &Dir, name: &str) -> Result<()> {
        check_name(name)?;
        let folder = self.open(dir)?.ok_or_else(|| self.not_found(dir, name))?;
        let _locked = self.lock(dir)?;
        let missing = folder.stat(name)?.is_none();
        if !missing {
            // Who is setting it has done so before it goes. What is no file has nobody who does.
            let file = LockFile::open(|| folder.open_write(name)).ok();
            let _locked = file.map(wait_for).transpose()?;
            folder.unlink(name)?;
        }
        // Where it is gone already, whoever removed it may have been killed before that was durable.
        folder.sync()?;
        if missing { Err(self.not_found(dir, name)) } else { Ok(()) }
    }

    /// All names, in order.
    pub(crate) fn names(&self, dir: &Dir) -> Result<Vec<String>> {
        let Some(folder) = self.open(dir)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for name in listed(&folder)? {
            // What is planted under a name is none.
            if folder.stat(&name)?.is_some_and(|stat| stat.regular) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether there may be names.
    pub(crate) fn is_there(&self, dir: &Dir) -> Result<bool> {
        Ok(dir.subdir(self.name, false)?.is_some())
    }

    /// Copies all values of this log to a directory that becomes a copy of it, durably but for the folder's own name.
    /// One that is damaged stays behind.
    pub(crate) fn copy(&self, dir: &Dir, to: &Dir, log_id: [u8; 16]) -> Result<()> {
        let names = if self.is_there(dir)? { self.names(dir)? } else { Vec::new() };
        if names.is_empty() {
            return Ok(());
        }
        let Some(folder) = to.subdir(self.name, true)? else { return Err(self.not_found(to, "")) };
        for name in names {
            match self.load(dir, log_id, &name) {
                Ok(value) => slots::make(&folder, FRESH, &name, &self.kind, &value)?,
                Err(error) if matches!(error.status(), Status::NotFound | Status::Corrupt | Status::Format) => {}
                Err(error) => return Err(error),
            }
        }
        folder.sync()
    }

    /// Removes what is left of a name whose maker was killed. Nothing depends on it.
    pub(crate) fn clean(&self, dir: &Dir) {
        let Ok(folder) = LockFile::open(|| self.folder(dir)) else { return };
        if folder.file().try_lock().unwrap_or(false) {
            let _ = folder.file().unlink(FRESH);
        }
    }

    /// Removes all names, durably, and the folder if it is empty then.
    pub(crate) fn remove_all(&self, dir: &Dir) -> Result<()> {
        let Some(folder) = dir.subdir(self.name, false)? else { return Ok(()) };
        {
            let _locked = self.lock(dir)?;
            for name in listed(&folder)? {
                folder.unlink(&name)?;
            }
            folder.unlink(FRESH)?;
            folder.sync()?;
        }
        dir.remove_dir(self.name)?;
        Ok(())
    }
}
