//! libseglog: a durable, ordered, segmented, append-only log in a directory. A log is a row of segments; a segment is a
//! store and its index; a store is a row of frames. The C ABI is in `ffi` (the header `include/seglog.h` is its
//! manual); the Rust API is [`Log`], [`Cursor`], [`Config`] and [`Error`]. docs/ARCHITECTURE.md is the map,
//! docs/FORMAT.md the files, docs/GUARANTEES.md the promises.

#[cfg(not(target_os = "linux"))]
compile_error!("libseglog is built for Linux: it rests on its page cache, flock, fallocate and directory syncs");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("libseglog maps whole segments and needs a 64-bit address space");

mod ahead;
mod backup;
mod batch;
mod checksum;
mod commit;
mod config;
mod control;
mod cursor;
mod direct;
mod ending;
mod ends;
mod entries;
mod error;
mod event;
pub mod ffi;
mod files;
mod follow;
mod fresh;
mod guess;
mod id;
mod in_place;
mod index;
mod keeper;
mod live;
mod log;
mod memory;
mod named;
mod names;
mod page;
mod position;
mod record;
mod recovery;
mod reservation;
mod retain;
mod rounds;
mod row;
mod run;
mod seeded;
mod segment;
mod slots;
mod start;
mod stat;
mod store;
mod stretch;
mod sync;
mod sys;
mod tail;
#[cfg(test)]
mod testing;
mod time;
mod upkeep;
mod view;
mod waiting;
mod waits;
mod walk;
mod work;
mod writer;
mod zeroed;

pub use config::{
    BATCH_LIMIT_BYTES, Config, INDEX_BYTES, INITIAL_OFFSET_LIMIT, Io, RECORD_LIMIT_BYTES, SEGMENT_BYTES, Sync, flags,
};
pub use cursor::Cursor;
pub use error::{Detail, Error, NO_OFFSET, Result, Status};
pub use files::remove;
pub use log::Log;
pub use record::Record;
pub use stat::{SegmentStat, Stat};
pub use view::Waited;

/// What the model of the threads tells `tests/races.rs` (feature `model`).
#[cfg(feature = "model")]
pub mod model {
    pub use crate::sync::branches;
}

/// The fault hooks, for tests (feature `faults`).
#[cfg(any(test, feature = "faults"))]
pub mod faults {
    pub use crate::sys::fault::{Fault, Hook, Kind, Op};
    pub use crate::sys::history::{Event, FileId};
}
