//! The next segment, made ahead of need by the keeper, so that who rolls makes no file and waits for no disk.

use crate::error::Result;
use crate::fresh::{Plan, Unused};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::sys::Dir;

#[derive(Default)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a log")]
enum State {
    #[default]
    Nothing,
    /// It is being made, or being put into its place: its files' names are in use.
    Busy,
    Ready(Unused),
}

/// Where the next segment waits for its turn.
#[derive(Default)]
pub(crate) struct Ahead(Mutex<State>);

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one by `make`, unless there is one. That it fails, `false`, is no error: who rolls makes his own then, and
    /// says why he cannot.
    pub(crate) fn make(&self, make: impl FnOnce() -> Result<Unused>) -> bool {
        {
            let mut state = self.lock();
            if !matches!(*state, State::Nothing) {
                return true;
            }
            *state = State::Busy;
        }
        // Not under the lock: nobody who appends waits for it.
        let made = make();
        let is_made = made.is_ok();
        *self.lock() = made.map_or(State::Nothing, State::Ready);
        is_made
    }

    /// Takes it, if it is ready and has the room that is needed. `done` must follow when its files have their names, or
    /// never will.
    pub(crate) fn take(&self, plan: &Plan) -> Option<Unused> {
        let mut state = self.lock();
        match std::mem::take(&mut *state) {
            State::Ready(unused) if unused.fits(plan) => {
                *state = State::Busy;
                Some(unused)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// What was taken is in its place, or given up: the next one can be made.
    pub(crate) fn done(&self) {
        *self.lock() = State::Nothing;
    }

    /// Deletes it, if it is ready: the disk is full, or the log closes. `false` if there was nothing to delete.
    pub(crate) fn give_back(&self, dir: &Dir) -> bool {
        let mut state = self.lock();
        let ready = matches!(*state, State::Ready(_));
        if ready {
            *state = State::Nothing;
            Unused::delete(dir);
        }
        ready
    }
}
