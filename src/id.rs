//! What the files of a log are called: a segment's base offset and epoch, and the names of what is not in the log yet.

/// No record's offset reaches this: 2^64 - 2^31, so that an offset in a segment never overflows.
pub(crate) const OFFSET_END: u64 = u64::MAX - (1 << 31) + 1;

/// The names of the files that are made ahead of need.
pub(crate) const NEXT_STORE: &str = "next-store.tmp";
pub(crate) const NEXT_INDEX: &str = "next-index.tmp";

/// The name under which a file is made that is to get this name.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}.tmp")
}

/// What tells one segment of a log from another, and gives it its files' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub base_offset: u64,
    pub epoch: u32,
}

impl Id {
    /// The store's file name.
    pub(crate) fn store_name(self) -> String {
        format!("{:020}-{:08x}.store", self.base_offset, self.epoch)
    }

    /// The index's file name.
    pub(crate) fn index_name(self) -> String {
        format!("{:020}-{:08x}.index", self.base_offset, self.epoch)
    }

    /// The segment whose file has this name, and whether it is the store; `None` for a foreign name.
    pub(crate) fn parse(name: &str) -> Option<(Self, bool)> {
        let (stem, is_store) = match name.strip_suffix(".store") {
            Some(stem) => (stem, true),
            None => (name.strip_suffix(".index")?, false),
        };
        let (base, epoch) = (stem.get(..20)?, stem.get(21..)?);
        let id = Self { base_offset: base.parse().ok()?, epoch: u32::from_str_radix(epoch, 16).ok()? };
        let written = if is_store { id.store_name() } else { id.index_name() };
        (written == name && id.base_offset <= OFFSET_END).then_some((id, is_store))
    }

    /// Whether this is the name of a file that is no part of a log yet.
    pub(crate) fn is_temporary(name: &str) -> bool {
        let made_for = |name: &str| Self::parse(name).is_some();
        name == NEXT_STORE || name == NEXT_INDEX || name.strip_suffix(".tmp").is_some_and(made_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_base_and_epoch() {
        let id = Id { base_offset: 42, epoch: 0xAB };
        assert_eq!(id.store_name(), "00000000000000000042-000000ab.store");
        assert_eq!(Id::parse(&id.store_name()), Some((id, true)));
        assert_eq!(Id::parse(&id.index_name()), Some((id, false)));
        let last = Id { base_offset: OFFSET_END, epoch: u32::MAX };
        assert_eq!(Id::parse(&last.store_name()), Some((last, true)));
    }

    #[test]
    fn foreign_names_are_foreign() {
        for name in [
            "",
            ".store",
            "1-0.store",
            "00000000000000000042-000000AB.store",
            "+0000000000000000042-000000ab.store",
            "99999999999999999999-00000000.store",
            "18446744073709551615-00000000.store",
            "00000000000000000042_000000ab.store",
            "00000000000000000042-000000ab.store.bak",
            "000000000000000000é-000000ab.store",
        ] {
            assert_eq!(Id::parse(name), None, "{name}");
        }
    }
}
