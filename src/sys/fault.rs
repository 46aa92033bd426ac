//! The fault hook: in test builds (the crate's own tests, or the feature `faults`) each system call and each store into
//! a mapping asks it first. It can let the call pass, make it fail, make a write short, and write down what was done.
//! In other builds it is nothing: [`guard`] inlines to the call itself.

use crate::sync;
use std::io;

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
    Unlink,
    RemoveDir,
    Lock,
    Map,
    Store,
    Random,
    Spawn,
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
}

#[cfg(not(any(test, feature = "faults")))]
#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the face of the hook that test builds have")]
mod hook {
    use super::{Op, Verdict, io};

    #[inline(always)]
    pub(crate) fn ask(_op: impl FnOnce() -> Op) -> io::Result<Verdict> {
        Ok(Verdict::Proceed)
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
    use super::{Kind, Op, Verdict, io};
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
    }

    #[derive(Default)]
    struct State {
        calls: u64,
        faults: Vec<Fault>,
        record: bool,
        ops: Vec<Op>,
        failed: u64,
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

        fn state(&self) -> MutexGuard<'_, State> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn ask(&self, op: Op) -> io::Result<Verdict> {
            let mut state = self.state();
            let (kind, len) = (op.kind, op.len);
            if state.record {
                state.ops.push(op);
            }
            if kind == Kind::Store {
                return Ok(Verdict::Proceed);
            }
            let call = state.calls;
            state.calls += 1;
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
                    Some(Ok(keep.min(usize::try_from(len).unwrap_or(usize::MAX))))
                }
                _ => None,
            });
            state.failed += u64::from(verdict.is_some());
            match verdict {
                None => Ok(Verdict::Proceed),
                Some(Ok(keep)) => Ok(Verdict::Short(keep)),
                Some(Err(os_error)) => Err(io::Error::from_raw_os_error(os_error)),
            }
        }
    }

    pub(crate) fn ask(op: impl FnOnce() -> Op) -> io::Result<Verdict> {
        let hook = HOOK.try_with(|hook| hook.borrow().clone()).ok().flatten();
        hook.map_or(Ok(Verdict::Proceed), |hook| hook.ask(op()))
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

pub(crate) use hook::inherit;
#[cfg(any(test, feature = "faults"))]
pub use hook::{Fault, Hook};

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
