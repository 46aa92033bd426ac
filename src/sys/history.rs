//! What test builds write down of each change to files, in one order for all threads: enough to rebuild what a disk may
//! hold after a crash at any moment. It says what was done, and leaves it to the tests what becomes of it.

/// A file or directory, by its inode: names change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(not(any(test, feature = "faults")), expect(unreachable_pub, reason = "public in test builds only"))]
pub struct FileId(pub u64);

/// A change that was made, a sync that ended, or a mark that a test has set. A call that failed is not among them, but
/// for syncs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(any(test, feature = "faults")), expect(unreachable_pub, reason = "public in test builds only"))]
pub enum Event {
    /// A file was opened under a name, and made if there was none.
    Create {
        /// The directory.
        dir: FileId,
        /// Its name in there.
        name: String,
        /// The file.
        file: FileId,
    },
    /// A directory was made.
    MakeDir {
        /// The directory that it is in.
        dir: FileId,
        /// Its name in there.
        name: String,
        /// The new one.
        made: FileId,
    },
    /// A file got another name, over what had that name.
    Rename {
        /// The directory that it was in.
        dir: FileId,
        /// Its old name.
        name: String,
        /// The directory that it is in now.
        to_dir: FileId,
        /// Its new name.
        to_name: String,
    },
    /// A file lost its name.
    Unlink {
        /// The directory.
        dir: FileId,
        /// The name.
        name: String,
    },
    /// A directory was removed.
    RemoveDir {
        /// The directory that it was in.
        dir: FileId,
        /// Its name in there.
        name: String,
    },
    /// A `pwrite` returned.
    Write {
        /// The file.
        file: FileId,
        /// The position.
        at: u64,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// A store into a mapping was made: it may reach the disk at any time from now on.
    Store {
        /// The file.
        file: FileId,
        /// The position.
        at: u64,
        /// What was stored.
        bytes: Vec<u8>,
    },
    /// A range was allocated; what was behind the file's end is zeros.
    Allocate {
        /// The file.
        file: FileId,
        /// The position.
        at: u64,
        /// The length in bytes.
        len: u64,
    },
    /// The file got another size.
    SetLen {
        /// The file.
        file: FileId,
        /// The size in bytes.
        bytes: u64,
    },
    /// A range was given back, and reads as zeros.
    Punch {
        /// The file.
        file: FileId,
        /// The position.
        at: u64,
        /// The length in bytes.
        len: u64,
    },
    /// A sync of a file ended.
    SyncFile {
        /// The file.
        file: FileId,
        /// How many events there were when it began: it covers no later ones.
        began: usize,
        /// Whether it succeeded. If not, what it should have covered may be lost, whatever a later sync says.
        ok: bool,
    },
    /// A range was written back, which makes nothing durable.
    WriteBack {
        /// The file.
        file: FileId,
        /// How many events there were when it began.
        began: usize,
        /// Whether it succeeded; if not, as for a sync.
        ok: bool,
    },
    /// A sync of a directory ended.
    SyncDir {
        /// The directory; `None` is the whole file system.
        dir: Option<FileId>,
        /// How many events there were when it began.
        began: usize,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A test says that so much was acknowledged as durable.
    #[cfg(any(test, feature = "faults"))]
    Acknowledged(u64),
    /// A test says that so much was asked for.
    #[cfg(any(test, feature = "faults"))]
    Issued(u64),
    /// A test says something of its own.
    #[cfg(any(test, feature = "faults"))]
    Said(u64),
}
