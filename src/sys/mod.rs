//! Every system call and every mapping of the library, each behind its fault hook. Nothing above this module talks to
//! the operating system, and nothing here knows what a record or a segment is.
#![expect(unsafe_code, reason = "system calls and mappings; each block says why it holds")]

mod dir;
pub(crate) mod fault;
mod file;
mod map;
mod os;

pub(crate) use dir::Dir;
pub(crate) use file::{File, Stat};
pub(crate) use map::{DoubleMap, ReadMap, WordMap};
pub(crate) use os::{Worker, boot_id, clock_coarse_ns, is_panicking, pause, process_id, process_lives, random_bytes};
