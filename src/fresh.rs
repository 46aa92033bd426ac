//! A new segment's files, before they have a place in the log: made when they are needed, or ahead of need.

use crate::checksum::crc32c;
use crate::error::Result;
use crate::id::{Id, NEXT_INDEX, NEXT_STORE, temporary_name};
use crate::index::{Index, Owner};
use crate::record::{Cause, FRAMES_START, Header, Slot};
use crate::store::Store;
use crate::sys::{self, Dir};

/// The header of a new segment of the same log and epoch; the caller sets what differs.
pub(crate) fn fresh_header(of: &Header) -> Result<Header> {
    Ok(Header { seed: fresh_seed()?, created_ns: sys::clock_coarse_ns(), ..*of })
}

/// A seed that no other segment has, but by chance.
pub(crate) fn fresh_seed() -> Result<u32> {
    Ok(u32::from_le_bytes(sys::random_bytes()?))
}

/// What makes a segment.
pub(crate) struct Plan {
    pub header: Header,
    /// Bytes of the store's file.
    pub store_bytes: u64,
    /// Bytes of it that are allocated at once.
    pub allocated: u64,
    pub index_records: u32,
    /// All before it is durable: its first slot says so.
    pub all_before_is_durable: bool,
}

/// A segment whose files were made, but have no names in the log yet.
pub(crate) struct Prepared {
    pub store: Store,
    pub index: Index,
    /// How many durable slots have been written.
    pub slots: u64,
    /// The names that they have.
    names: [String; 2],
}

impl Prepared {
    /// Makes the files, the store synced.
    pub(crate) fn make(dir: &Dir, plan: &Plan) -> Result<Self> {
        let header = plan.header;
        let id = Id { base_offset: header.base_offset, epoch: header.epoch };
        let names = [id.store_name(), id.index_name()].map(|name| temporary_name(&name));
        let slot = plan.first_slot();
        let store = Store::create(dir, &names[0], header, slot.as_ref(), plan.store_bytes, plan.allocated)?;
        let index = Index::make(dir, &names[1], Owner::of(&header), plan.index_records).inspect_err(|_| {
            let _ = dir.unlink(&names[0]);
        })?;
        Ok(Self { store, index, slots: u64::from(slot.is_some()), names })
    }

    /// Gives the files their names in the log; the store's is the moment at which the segment is there.
    pub(crate) fn name(&mut self, dir: &Dir) -> Result<()> {
        let header = self.store.header();
        let id = Id { base_offset: header.base_offset, epoch: header.epoch };
        let [store_name, index_name] = &self.names;
        let name_them = || {
            if self.index.is_file() {
                dir.rename(index_name, dir, &id.index_name())?;
            }
            dir.rename(store_name, dir, &id.store_name())
        };
        name_them().inspect_err(|_| {
            // Their space is given back at once; what cannot be unlinked now is unlinked by the next open.
            for name in [store_name, index_name] {
                let _ = dir.unlink(name);
            }
        })?;
        self.store.set_name(dir, &id.store_name());
        Ok(())
    }
}

/// So many entries of an index that is made ahead are seen to, and of a small one such a part.
const POPULATED_RECORDS: u32 = 64 << 10;
const POPULATED_PART: u32 = 16;

/// A segment that was made ahead of need: empty, of no place in the log.
pub(crate) struct Unused {
    store: Store,
    index: Index,
    allocated: u64,
}

impl Unused {
    /// Makes the files, synced, for the log of this header.
    pub(crate) fn make(dir: &Dir, of: &Header, store_bytes: u64, allocated: u64, index_records: u32) -> Result<Self> {
        let header = Header { base_offset: 0, timestamp_floor_ns: 0, cause: Cause::Ahead, ..*of };
        let store = Store::create(dir, NEXT_STORE, header, None, store_bytes, allocated)?;
        let index = Index::make(dir, NEXT_INDEX, Owner::of(&header), index_records).inspect_err(|_| {
            let _ = dir.unlink(NEXT_STORE);
        })?;
        // The first appends there find it in memory.
        index.populate(0, u64::from(POPULATED_RECORDS.min(index_records / POPULATED_PART)));
        Ok(Self { store, index, allocated })
    }

    /// Deletes what `make` made; what cannot be deleted now is deleted by the next open.
    pub(crate) fn delete(dir: &Dir) {
        for name in [NEXT_STORE, NEXT_INDEX] {
            let _ = dir.unlink(name);
        }
    }

    /// Whether it has the room that is needed.
    pub(crate) fn fits(&self, plan: &Plan) -> bool {
        self.store.bytes() >= plan.store_bytes && self.index.capacity() >= plan.index_records
    }

    /// So many bytes of its store have their place on the disk.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Gives it its place, without any sync: that of its first record makes the header durable too.
    pub(crate) fn settle(mut self, plan: &Plan) -> Result<Prepared> {
        let slot = plan.first_slot();
        // As random as the one that it was made with, and another: should power be lost before the first sync, no frame
        // fits the header that says that there are none. The kernel need not be asked for more of them.
        let made_with = self.store.header().seed.to_le_bytes();
        let seed = crc32c(crc32c(0, &made_with), &plan.header.base_offset.to_le_bytes());
        let header = Header { seed, ..plan.header };
        self.store.settle(header, slot.as_ref())?;
        self.index.set_owner(Owner::of(&header));
        let names = [NEXT_STORE, NEXT_INDEX].map(str::to_owned);
        Ok(Prepared { store: self.store, index: self.index, slots: u64::from(slot.is_some()), names })
    }
}

impl Plan {
    fn first_slot(&self) -> Option<Slot> {
        self.all_before_is_durable.then_some(Slot {
            count: 1,
            position: FRAMES_START,
            next_offset: self.header.base_offset,
            last_timestamp_ns: self.header.timestamp_floor_ns,
            payload_bytes: 0,
            sealed: false,
        })
    }
}
