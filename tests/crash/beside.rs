//! What is done beside the records: positions and meta are set, backups made. Each call is a task, which marks in the
//! history say to have begun and to have succeeded; a crash leaves what was set last, or something that was begun since,
//! and each backup that succeeded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::past::{Version, read};
use seglog::faults::{Event, Hook};
use seglog::{Config, Log, Result, Status, flags};
use std::collections::BTreeSet;
use std::path::Path;

/// One call.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    Position(u64),
    Meta(u64),
    /// Into a folder of the log's own directory, which is as good as any and on the same disk.
    Backup {
        folder: String,
        holds: Copy,
    },
}

/// What a backup holds: the log, and the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) version: Version,
    pub(crate) position: Option<u64>,
}

/// Which tasks have begun, in their order, and which have succeeded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    begun: usize,
    done: BTreeSet<usize>,
}

impl Progress {
    /// That of as many tasks, all done.
    pub(crate) fn all(tasks: usize) -> Self {
        Self { begun: tasks, done: (0..tasks).collect() }
    }

    pub(crate) fn take(&mut self, event: &Event) {
        if let Event::Said(word) = event {
            let task = usize::try_from(word / 2).unwrap();
            self.begun = self.begun.max(task + 1);
            if word % 2 == 1 {
                self.done.insert(task);
            }
        }
    }
}

/// Does a task.
pub(crate) fn work(hook: &Hook, tasks: &mut Vec<Task>, task: Task, call: impl FnOnce() -> Result<()>) -> Result<()> {
    let word = 2 * tasks.len() as u64;
    tasks.push(task);
    hook.mark(Event::Said(word));
    let result = hook.run(call);
    if result.is_ok() {
        hook.mark(Event::Said(word + 1));
    }
    result
}

const NAME: &str = "consumer";

pub(crate) fn save(log: &Log, position: u64) -> Result<()> {
    log.position_save(NAME, position)
}

pub(crate) fn set(log: &Log, word: u64) -> Result<()> {
    log.meta_set(NAME, &word.to_le_bytes())
}

fn there<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.status() == Status::NotFound => None,
        Err(error) => panic!("what was set does not read back: {error}"),
    }
}

pub(crate) fn position(log: &Log) -> Option<u64> {
    there(log.position_load(NAME))
}

/// What was found beside the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) position: Option<u64>,
    pub(crate) meta: Option<u64>,
    /// By task: what opens.
    backups: Vec<Option<Copy>>,
}

/// Looks for all that the tasks made.
pub(crate) fn find(tasks: &[Task], log: &Log, dir: &Path) -> Beside {
    let meta = there(log.meta_get(NAME)).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    let backup = |task: &Task| match task {
        Task::Backup { folder, .. } => open(&dir.join(folder)),
        _ => None,
    };
    Beside { position: position(log), meta, backups: tasks.iter().map(backup).collect() }
}

fn open(copy: &Path) -> Option<Copy> {
    let config = Config { flags: flags::NO_CREATE | flags::NO_THREAD, ..crate::support::small() };
    match Log::open(copy, &config) {
        Ok(log) => {
            let stat = log.stat().unwrap();
            assert_eq!((stat.recovered_records, stat.dropped_bytes), (0, 0), "a backup is a log that was closed");
            let holds = Copy { version: read(&log), position: position(&log) };
            log.close().unwrap();
            Some(holds)
        }
        Err(error) => {
            let broken_off = matches!(error.status(), Status::NotFound | Status::Corrupt);
            assert!(broken_off, "a backup that was broken off: {error}");
            None
        }
    }
}

impl Beside {
    /// Why this may not be, when so much has been done and the log ends at `next`.
    pub(crate) fn wrong(&self, tasks: &[Task], progress: &Progress, next: u64) -> Option<String> {
        let legal = |value: Option<u64>, word: &dyn Fn(&Task) -> Option<u64>| {
            let mut last = None;
            let mut legal = BTreeSet::from([None]);
            for (n, task) in tasks[..progress.begun].iter().enumerate() {
                let Some(word) = word(task) else { continue };
                if progress.done.contains(&n) {
                    last = Some(word);
                    legal.clear();
                }
                legal.insert(Some(word));
            }
            (!legal.contains(&value)).then(|| format!("{value:?} is none of {legal:?}; {last:?} was acknowledged"))
        };
        // A position behind the log's end is brought back to it.
        let position = |task: &Task| if let Task::Position(at) = task { Some((*at).min(next)) } else { None };
        let meta = |task: &Task| if let Task::Meta(word) = task { Some(*word) } else { None };
        if let Some(why) = legal(self.position, &position) {
            return Some(format!("the position {why}"));
        }
        if let Some(why) = legal(self.meta, &meta) {
            return Some(format!("the meta {why}"));
        }
        for (n, (task, found)) in tasks.iter().zip(&self.backups).enumerate() {
            let Task::Backup { folder, holds } = task else { continue };
            let is_done = progress.done.contains(&n);
            if found.map_or(is_done, |found| found != *holds) {
                return Some(format!("the backup {folder}, done: {is_done}: {found:?} for {holds:?}"));
            }
        }
        None
    }

    /// The tasks of a past that begins with this: all of them are done.
    pub(crate) fn tasks(&self, tasks: &[Task]) -> Vec<Task> {
        let kept = tasks.iter().zip(&self.backups).filter(|(_, found)| found.is_some()).map(|(task, _)| task.clone());
        self.position.map(Task::Position).into_iter().chain(self.meta.map(Task::Meta)).chain(kept).collect()
    }
}
