//! Every system call and every mapping of the library, each behind its fault hook. Nothing above this module talks to
//! the operating system, and nothing here knows what a record or a segment is.
#![expect(unsafe_code, reason = "system calls and mappings; each block says why it holds")]

mod barrier;
mod dir;
pub(crate) mod fault;
mod file;
mod fork;
mod futex;
pub(crate) mod history;
mod map;
mod os;
mod places;
mod window;

pub(crate) use dir::Dir;
pub(crate) use file::{File, Lockable, Stat};
pub(crate) use fork::{ForkSafe, LockFile, last_stamp, place_for_ever, stamp, stamp_here};
pub(crate) use futex::Slept;
pub(crate) use map::{DoubleMap, ReadMap, WordMap, read_maps, takes_no_mapping};
pub(crate) use os::{
    EventFd, Worker, boot_id, clock_coarse_ns, is_panicking, let_others_run, pause, process_id, process_lives,
    random_bytes, thread_id,
};
pub(crate) use places::Places;
pub(crate) use window::Window;
