//! What a log's users look up, by name (positions, meta) or by time, with a handle that writes the log or with one that
//! follows it.

use crate::error::{Error, Result, Status};
use crate::log::{Log, Side};
use crate::named::{DATA_LIMIT, META};
use crate::position;
use crate::slots::Value;
use crate::time;
use crate::view::View;

/// Calls a function of a view on either side of a log.
macro_rules! on_side {
    ($log:expr, $view:ident => $call:expr) => {
        match $log.side() {
            Side::Writer(inner) => {
                let $view = inner.as_ref();
                $call
            }
            Side::Follower(follower) => {
                let $view = follower.as_ref();
                $call
            }
        }
    };
}

impl Log {
    /// Offset of the first record whose time is `timestamp_ns` or later; [`Error::Beyond`] where there is none yet. A
    /// damaged record has no time, and is passed over.
    pub fn find_time(&self, timestamp_ns: u64) -> Result<u64> {
        on_side!(self, view => time::find(view, timestamp_ns))
    }

    /// Saves a consumer's position, durably: the offset of the next record that it is to consume. A read-only handle
    /// can, if it may write the directory.
    pub fn position_save(&self, name: &str, offset: u64) -> Result<()> {
        on_side!(self, view => position::save(view, name, offset))
    }

    /// The position that was saved last; where the log was cut before it since then, the offset of the cut.
    pub fn position_load(&self, name: &str) -> Result<u64> {
        on_side!(self, view => position::load(view, name))
    }

    /// Removes a position, durably.
    pub fn position_remove(&self, name: &str) -> Result<()> {
        on_side!(self, view => position::remove(view, name))
    }

    /// The position of this number, by name, 0 being the first; `None` behind the last.
    pub fn position_at(&self, index: usize) -> Result<Option<(String, u64)>> {
        on_side!(self, view => position::at(view, index))
    }

    /// Sets a meta, durably: at most 4096 bytes that are replaced as a whole. A read-only handle can, if it may write
    /// the directory.
    pub fn meta_set(&self, name: &str, data: &[u8]) -> Result<()> {
        if data.len() > DATA_LIMIT {
            let text = format!("meta '{name}' would have {} bytes; {DATA_LIMIT} is the limit", data.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        on_side!(self, view => {
            view.published()?;
            let log_id = view.log_id();
            let value = Value { first: data.len() as u64, log_id, data: data.to_vec(), ..Value::default() };
            META.set(view.dir(), log_id, name, |_| Ok(Some(value.clone())))
        })
    }

    /// What was set last.
    pub fn meta_get(&self, name: &str) -> Result<Vec<u8>> {
        on_side!(self, view => {
            view.published()?;
            Ok(META.load(view.dir(), view.log_id(), name)?.data)
        })
    }

    /// Removes a meta, durably.
    pub fn meta_remove(&self, name: &str) -> Result<()> {
        on_side!(self, view => {
            view.published()?;
            META.remove(view.dir(), name)
        })
    }

    /// The name of the meta of this number, by name, 0 being the first; `None` behind the last.
    pub fn meta_at(&self, index: usize) -> Result<Option<String>> {
        on_side!(self, view => {
            view.published()?;
            Ok(META.names(view.dir())?.into_iter().nth(index))
        })
    }
}
