//! What a write leaves to be done when the writer's mutex is free again. It knows nobody who does it.

/// What an append leaves to be done when the mutex is free again. One byte: flags, stored one by one and loaded
/// together, were a store-forwarding stall in each append.
#[derive(Clone, Copy, Default)]
pub(crate) struct Work(u8);

impl Work {
    /// For the keeper: the ring fills up.
    pub(crate) const CALL: Self = Self(1);
    /// For the syncer: a segment became full.
    pub(crate) const ROLLED: Self = Self(2);
    /// So many full segments wait for their sync that whoever rolls must wait too.
    pub(crate) const MUST_WAIT: Self = Self(4);
    /// The log has an event fd: it is rung.
    pub(crate) const EVENT: Self = Self(8);

    /// It fills up faster than the keeper thought: who waits longer than a moment is woken.
    pub(crate) const HURRY: Self = Self(16);

    /// Whether this is to be done.
    #[inline(always)]
    pub(crate) fn has(self, what: Self) -> bool {
        self.0 & what.0 != 0
    }

    /// This, and that.
    #[inline(always)]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This too, if that holds.
    pub(crate) fn add_if(&mut self, what: Self, condition: bool) {
        self.0 |= if condition { what.0 } else { 0 };
    }
}
