//! What the writer knows of a record that the caller builds in place: who reserved, and where it is built. It knows
//! nothing of how that becomes a record.

use crate::work::Work;

/// A record that is being built in place.
pub(crate) struct Reservation {
    /// Of the thread that reserved.
    pub thread: u64,
    pub len: usize,
    pub place: Place,
    /// What making room for it has left to be done.
    pub work: Work,
}

/// Where it is built.
pub(crate) enum Place {
    /// Where it will stand.
    Ring,
    Buffer(Vec<u8>),
}
