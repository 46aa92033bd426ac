//! The fault hook: in test builds (the crate's own tests, or the feature `faults`) each system call and each store into
//! a mapping asks it first. It can let the call pass, make it fail, make a write short, let a call seem to succeed that
//! does nothing, and write down what was asked and what was done. In other builds it is nothing: [`guard`] inlines to
//! the call itself.

use super::history::{Event, FileId};
use crate::sync;
use std::io;
use std::os::fd::AsRawFd;
#[cfg(any(test, feature = "faults"))]
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a system call is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(any(test, feature = "faults")), expect(unreachable_pub, reason = "public in test builds only"))]
pub struct Op {
    /// Which call.
    pub kind: Kind,
    /// The file's name within its directory (empty for the directory itself).
    pub file: String,
    /// The position in the file, 0 where there is none.
    pub at: u64,
    /// The length in bytes, 0 where there is none.
    pub len: u64,
}

/// The kinds of system calls, and stores into mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(any(test, feature = "faults"), expect(missing_docs, reason = "each is the call of its name"))]
#[cfg_attr(not(any(test, feature = "faults")), expect(unreachable_pub, reason = "public in test builds only"))]
pub enum Kind {
    Open,
    Create,
    MakeDir,
    List,
    Stat,
    Read,
    Write,
    Allocate,
    SetLen,
    Punch,
    SeekData,
    WriteBack,
    SyncFile,
    SyncDir,
    Rename,
    Link,
    Copy,
    Unlink,
    RemoveDir,
    Lock,
    Map,
    Populate,
    Store,
    Random,
    Spawn,
    Sleep,
    Wake,
    Event,
}

impl Kind {
    /// Whether such a call changes files, or makes changes durable.
    #[cfg(any(test, feature = "faults"))]
    fn changes(self) -> bool {
        use Kind::{Allocate, MakeDir, Punch, RemoveDir, Rename, SetLen, SyncDir, SyncFile, Unlink, Write, WriteBack};
        matches!(
            self,
            MakeDir | Write | Allocate | SetLen | Punch | WriteBack | SyncFile | SyncDir | Rename | Unlink | RemoveDir
        )
    }
}

impl Op {
    pub(crate) fn new(kind: Kind, file: &str, at: u64, len: u64) -> Self {
        Self { kind, file: file.to_owned(), at, len }
    }
}

/// How a write is to go on.
pub(crate) enum Verdict {
    /// Do it.
    Proceed,
    /// Write only so many bytes.
    #[cfg_attr(not(any(test, feature = "faults")), expect(dead_code, reason = "only a hook makes a write short"))]
    Short(usize),
    /// Do nothing, and say that it is done.
    #[cfg_attr(not(any(test, feature = "faults")), expect(dead_code, reason = "only a hook drops a call"))]
    Drop,
}

#[cfg(not(any(test, feature = "faults")))]
#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the face of the hook that test builds have")]
mod hook {
    use super::{AsRawFd, Event, FileId, Op, Path, Verdict, io};

    #[inline(always)]
    pub(crate) fn ask(_op: impl FnOnce() -> Op) -> io::Result<Verdict> {
        Ok(Verdict::Proceed)
    }

    #[inline(always)]
    pub(crate) fn note(_event: impl FnOnce() -> Event) {}

    #[inline(always)]
    pub(crate) fn note_all<const N: usize>(_events: impl FnOnce() -> [Event; N]) {}

    #[inline(always)]
    pub(crate) fn events() -> usize {
        0
    }

    #[inline(always)]
    pub(crate) fn boot_id() -> Option<[u8; 16]> {
        None
    }

    /// Which file it is, in test builds.
    #[derive(Clone, Copy)]
    pub(crate) struct Tag;

    impl Tag {
        #[inline(always)]
        pub(crate) fn of(_file: &impl AsRawFd) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn of_path(_path: &Path) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn none() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn id(self) -> FileId {
            FileId(0)
        }
    }

    pub(crate) fn local_for_tests() -> Option<bool> {
        None
    }

    pub(crate) struct Inherited;

    pub(crate) fn inherit() -> Inherited {
        Inherited
    }

    impl Inherited {
        pub(crate) fn install(self) {}
    }
}

#[cfg(any(test, feature = "faults"))]
mod hook {
    use super::{AsRawFd, Event, FileId, Kind, MetadataExt, Op, Path, Verdict, io};
    use std::cell::RefCell;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// One fault to be made. Calls are counted from 0, stores into mappings left out.
    #[derive(Debug, Clone, Copy)]
    pub enum Fault {
        /// Call `nth` fails with this error number; nothing is done.
        Fail {
            /// Which call.
            nth: u64,
            /// The error number.
            os_error: i32,
        },
        /// Every call from `nth` on fails: the machine is gone.
        FailFrom {
            /// The first call that fails.
            nth: u64,
            /// The error number.
            os_error: i32,
        },
        /// If call `nth` is a write, only `keep` bytes of it are written; each later call fails with `os_error`.
        Tear {
            /// Which call.
            nth: u64,
            /// Bytes that are written.
            keep: usize,
            /// The error number of all later calls.
            os_error: i32,
        },
        /// Call `nth` panics, as a defect of the library would.
        Panic {
            /// Which call.
            nth: u64,
        },
        /// If call `nth` changes a file or a directory, or syncs one, it does nothing and says that it has: a disk that
        /// lies.
        Drop {
            /// Which call.
            nth: u64,
        },
    }

    #[derive(Default)]
    struct State {
        calls: u64,
        faults: Vec<Fault>,
        record: bool,
        ops: Vec<Op>,
        failed: u64,
        history: Option<Vec<Event>>,
        boot_id: Option<[u8; 16]>,
        killed: bool,
        fail_next: Option<(Kind, i32)>,
    }

    /// A hook for the calling thread, and for the threads that the library starts from it.
    #[derive(Clone, Default)]
    pub struct Hook(Arc<Mutex<State>>);

    impl Hook {
        /// A hook that counts calls and lets them pass.
        pub fn new() -> Self {
            Self::default()
        }

        /// The same, writing down each operation.
        #[must_use]
        pub fn recording(self) -> Self {
            self.state().record = true;
            self
        }

        /// The same, writing down each change with all that is needed to rebuild the files. Files that were opened
        /// without a hook are told by it all the same, mappings and threads made before are not.
        #[must_use]
        pub fn with_history(self) -> Self {
            self.state().history = Some(Vec::new());
            self
        }

        /// The same on a machine that was started again: the kernel's boot id is this one.
        #[must_use]
        pub fn in_boot(self, boot_id: [u8; 16]) -> Self {
            self.state().boot_id = Some(boot_id);
            self
        }

        /// The same with one more fault.
        #[must_use]
        pub fn with(self, fault: Fault) -> Self {
            self.state().faults.push(fault);
            self
        }

        /// Runs `work` under this hook.
        pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
            struct Restore(Option<Hook>);
            impl Drop for Restore {
                fn drop(&mut self) {
                    HOOK.with(|hook| hook.replace(self.0.take()));
                }
            }
            let _restore = Restore(HOOK.with(|hook| hook.replace(Some(self.clone()))));
            work()
        }

        /// How many calls there were.
        pub fn calls(&self) -> u64 {
            self.state().calls
        }

        /// How many of them were made to fail or cut short.
        pub fn failed(&self) -> u64 {
            self.state().failed
        }

        /// What was written down.
        pub fn ops(&self) -> Vec<Op> {
            self.state().ops.clone()
        }

        /// The changes that were written down, in their order; those that follow begin anew.
        pub fn take_history(&self) -> Vec<Event> {
            self.state().history.as_mut().map(std::mem::take).unwrap_or_default()
        }

        /// Sets a mark in the history.
        pub fn mark(&self, mark: Event) {
            if let Some(history) = self.state().history.as_mut() {
                history.push(mark);
            }
        }

        /// The next call of this kind fails with this error number.
        pub fn fail_next(&self, kind: Kind, os_error: i32) {
            self.state().fail_next = Some((kind, os_error));
        }

        /// The process is killed here: from now on no call and no store into a mapping is made, and each call fails. So
        /// the handles can be dropped, which gives their locks up, and the files stay as they are.
        pub fn kill(&self) {
            self.state().killed = true;
        }

        /// Calls are made again: what runs now is another process.
        pub fn revive(&self) {
            self.state().killed = false;
        }

        fn state(&self) -> MutexGuard<'_, State> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn ask(&self, op: Op) -> io::Result<Verdict> {
            let mut state = self.state();
            let (kind, len) = (op.kind, op.len);
            if state.killed {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            if state.record {
                state.ops.push(op);
            }
            if kind == Kind::Store {
                return Ok(Verdict::Proceed);
            }
            let call = state.calls;
            state.calls += 1;
            if let Some((_, os_error)) = state.fail_next.take_if(|(next, _)| *next == kind) {
                state.failed += 1;
                return Err(io::Error::from_raw_os_error(os_error));
            }
            if state.faults.iter().any(|fault| matches!(*fault, Fault::Panic { nth } if call == nth)) {
                state.failed += 1;
                drop(state);
                panic!("a planted defect");
            }
            let verdict = state.faults.iter().find_map(|fault| match *fault {
                Fault::Fail { nth, os_error } if call == nth => Some(Err(os_error)),
                Fault::FailFrom { nth, os_error } if call >= nth => Some(Err(os_error)),
                Fault::Tear { nth, os_error, .. } if call > nth => Some(Err(os_error)),
                Fault::Tear { nth, keep, .. } if call == nth && kind == Kind::Write => {
                    Some(Ok(Verdict::Short(keep.min(usize::try_from(len).unwrap_or(usize::MAX)))))
                }
                Fault::Drop { nth } if call == nth && kind.changes() => Some(Ok(Verdict::Drop)),
                _ => None,
            });
            state.failed += u64::from(verdict.is_some());
            verdict.unwrap_or(Ok(Verdict::Proceed)).map_err(io::Error::from_raw_os_error)
        }
    }

    /// Which file it is.
    #[derive(Clone, Copy)]
    pub(crate) struct Tag(FileId);

    impl Tag {
        pub(crate) fn of(file: &impl AsRawFd) -> Self {
            let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
            // SAFETY: the descriptor is open, and `stat` is room for the answer.
            if unsafe { libc::fstat(file.as_raw_fd(), stat.as_mut_ptr()) } == -1 {
                return Self::none();
            }
            // SAFETY: the call succeeded, so it filled the structure.
            Self(FileId(unsafe { stat.assume_init() }.st_ino))
        }

        pub(crate) fn of_path(path: &Path) -> Self {
            std::fs::metadata(path).map_or(Self::none(), |meta| Self(FileId(meta.ino())))
        }

        pub(crate) fn none() -> Self {
            Self(FileId::default())
        }

        pub(crate) fn id(self) -> FileId {
            self.0
        }
    }

    fn with_hook<T>(work: impl FnOnce(&Hook) -> T) -> Option<T> {
        HOOK.try_with(|hook| hook.borrow().clone()).ok().flatten().map(|hook| work(&hook))
    }

    /// Writes a change down.
    pub(crate) fn note(event: impl FnOnce() -> Event) {
        note_all(|| [event()]);
    }

    /// Writes changes down, but for empty stores, and syncs that fail because the process was killed: nobody made them.
    pub(crate) fn note_all<const N: usize>(events: impl FnOnce() -> [Event; N]) {
        with_hook(|hook| {
            let mut state = hook.state();
            let killed = state.killed;
            if let Some(history) = state.history.as_mut() {
                let is_none = |event: &Event| match event {
                    Event::Store { bytes, .. } => bytes.is_empty(),
                    Event::SyncFile { ok, .. } | Event::WriteBack { ok, .. } | Event::SyncDir { ok, .. } => {
                        killed && !ok
                    }
                    _ => false,
                };
                history.extend(events().into_iter().filter(|event| !is_none(event)));
            }
        });
    }

    /// How many changes were written down.
    pub(crate) fn events() -> usize {
        with_hook(|hook| hook.state().history.as_ref().map_or(0, Vec::len)).unwrap_or(0)
    }

    /// The boot id that the hook gives.
    pub(crate) fn boot_id() -> Option<[u8; 16]> {
        with_hook(|hook| hook.state().boot_id).flatten()
    }

    pub(crate) fn ask(op: impl FnOnce() -> Op) -> io::Result<Verdict> {
        with_hook(|hook| hook.ask(op())).unwrap_or(Ok(Verdict::Proceed))
    }

    /// What file systems are taken for: tests of one way to do input and output become tests of the other by this.
    pub(crate) fn local_for_tests() -> Option<bool> {
        std::env::var_os("SEGLOG_TEST_IO").map(|io| io != "file")
    }

    pub(crate) struct Inherited(Option<Hook>);

    pub(crate) fn inherit() -> Inherited {
        Inherited(HOOK.with(|hook| hook.borrow().clone()))
    }

    impl Inherited {
        pub(crate) fn install(self) {
            HOOK.with(|hook| hook.replace(self.0));
        }
    }
}

#[cfg(any(test, feature = "faults"))]
pub use hook::{Fault, Hook};
pub(crate) use hook::{Tag, boot_id, inherit, local_for_tests, note};

/// Asks the hook whether the call may be made.
#[inline(always)]
pub(crate) fn ask(op: impl FnOnce() -> Op) -> io::Result<Verdict> {
    sync::step();
    hook::ask(op)
}

/// Does `real`, unless the hook makes it fail.
#[inline(always)]
pub(crate) fn guard<T>(op: impl FnOnce() -> Op, real: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    ask(op)?;
    real()
}

/// Does `real`, which changes files, unless the hook makes it fail or drops it; then the change is written down.
#[inline(always)]
pub(crate) fn change(
    op: impl FnOnce() -> Op,
    event: impl FnOnce() -> Event,
    real: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if let Verdict::Drop = ask(op)? {
        return Ok(());
    }
    real()?;
    note(event);
    Ok(())
}

/// Does `real`, a sync, likewise. It is written down where it fails, too; `event` is told how many changes there were
/// when it began, and whether it succeeded.
#[inline(always)]
pub(crate) fn sync(
    op: impl FnOnce() -> Op,
    event: impl FnOnce(usize, bool) -> Event,
    real: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let began = hook::events();
    let result = match ask(op) {
        Ok(Verdict::Drop) => return Ok(()),
        Ok(_) => real(),
        Err(error) => Err(error),
    };
    note(|| event(began, result.is_ok()));
    result
}

/// Makes a store into a mapping, unless the process was killed. It is written down as these pieces, if they have bytes.
#[inline(always)]
pub(crate) fn store<const N: usize>(
    op: impl FnOnce() -> Op,
    events: impl FnOnce() -> [Event; N],
    store: impl FnOnce(),
) {
    if ask(op).is_ok() {
        store();
        hook::note_all(events);
    }
}
