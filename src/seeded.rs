//! Bugs that a test build (feature `seeded`) has on purpose, one at a time, chosen by the environment when the process
//! starts: each breaks a promise, and a test of that promise must notice (`tests/seeded.rs`). In every other build
//! there is none of them. It knows nothing of what it breaks.

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The directory is not synced after a roll.
    RollNotNamed,
    /// A new log's own directory is not made durable.
    LogNotNamed,
    /// A truncation or reset is done before its name is durable.
    CutNotNamed,
    /// An append is acknowledged, and no sync covers it.
    AcknowledgedUnsynced,
    /// The sync comes before the write that it is for.
    SyncedBeforeWritten,
    /// A full segment is not synced, and what comes behind it counts as durable.
    FullSegmentNotSynced,
    /// The durable slot is written before the sync that it speaks of.
    SlotBeforeSync,
    /// A failed sync is tried again.
    SyncRetried,
    /// Poison is not noted for the next writer.
    PoisonNotNoted,
    /// A frame's length and flags are in no checksum.
    LengthNotChecked,
    /// Its payload is in none.
    PayloadNotChecked,
    /// A frame of another segment is taken for this one's.
    SeedNotChecked,
    /// A frame of an earlier lap is taken for the one that should stand there.
    OffsetNotChecked,
    /// A tail that ends inside a batch is kept.
    MoreIgnored,
    /// The log goes on in the same file behind a torn tail.
    TornTailGoneOn,
    /// What recovery found counts as durable and is not synced.
    RecoveredUnsynced,
    /// A new segment gets its name before its header is on the disk.
    HeaderNotSynced,
    /// A trim deletes, then says where the log begins.
    StartAfterUnlink,
    /// START is not synced.
    StartNotSynced,
    /// A reset leaves what was before alive.
    ResetWithoutFloor,
    /// What the ring held before a power loss stays on the disk.
    OldRingLeft,
    /// A cut forgets what time it was.
    TimeForgotten,
    /// A backup links a full segment that is not durable, and syncs it, though a sync of it may have failed.
    BackupLinksDoubtful,
    /// Zeros that are written ahead begin where frames stand.
    ZerosOverFrames,
}

/// Whether this build is broken so.
#[cfg(not(feature = "seeded"))]
#[inline(always)]
pub(crate) const fn seeded(_bug: Bug) -> bool {
    false
}

/// Whether this process is broken so.
#[cfg(feature = "seeded")]
pub(crate) fn seeded(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("SEGLOG_SEEDED").ok());
    chosen.as_ref().is_some_and(|chosen| *chosen == format!("{bug:?}"))
}
