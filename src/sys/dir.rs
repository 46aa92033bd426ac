//! An open directory. Every file is reached through its descriptor, never followed through a symbolic link, never
//! waited for (a FIFO), and must be a regular file.

use super::fault::{self, Kind, Op, Tag};
use super::file::{File, Lockable, Stat, time_ns};
use super::history::Event;
use crate::error::{Error, Result, Status, shown};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open directory.
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// The same, for messages.
    shown: String,
    tag: Tag,
    /// Whether its files may be mapped.
    maps: bool,
}

const FILE_MODE: libc::c_uint = 0o600;
const DIR_MODE: libc::mode_t = 0o700;

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    if bytes.len() >= libc::PATH_MAX as usize {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn fd_or_error(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call that made this descriptor has just returned it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn zero_or_error(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The directory that a directory is in, and its name there, for the hook.
fn in_parent(path: &Path) -> (Tag, String) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (Tag::of_path(parent), path.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Whether a file system of this kind (`f_type` of statfs(2)) has its bytes elsewhere, or its code in a process: there
/// a page that is touched may not come, files change under a mapping, and mapped stores reach the others late or never.
/// An overlay is not among them: what is written there lies on a file system of the machine's own, and the containers
/// that most programs run in have nothing else. (The numbers are those of <linux/magic.h>, and of what coreutils' stat
/// calls remote.)
fn is_remote(kind: u64) -> bool {
    const REMOTE: [u64; 24] = [
        0x6969,      // NFS
        0x517B,      // SMB
        0xFE53_4D42, // SMB2
        0xFF53_4D42, // CIFS
        0x0102_1997, // 9p
        0x6573_5546, // FUSE, and so virtiofs
        0x00C3_6400, // Ceph
        0x0BD0_0BD0, // Lustre
        0x5346_414F, // AFS
        0x6B41_4653, // AFS, another client
        0x4750_4653, // GPFS
        0x7375_7245, // Coda
        0x564C,      // NCP
        0x7461_636F, // OCFS2
        0x0116_1970, // GFS2
        0x2003_0528, // OrangeFS
        0x1983_0326, // BeeGFS
        0xAAD7_AAEA, // PanFS
        0x6163_6673, // ACFS
        0xBEEF_DEAD, // SNFS
        0x786F_4256, // VirtualBox's shared folders
        0xBACB_ACBC, // VMware's
        0x7C7C_6673, // Parallels'
        0x00C0_FFEE, // User Mode Linux's
    ];
    REMOTE.contains(&(kind & 0xFFFF_FFFF))
}

/// Whether a file system of this kind may have no room for a store into a page that it holds already, which is SIGBUS:
/// btrfs copies on write, and takes room for its own metadata even where a file's bytes are written in place.
fn copies_on_write(kind: u64) -> bool {
    kind & 0xFFFF_FFFF == 0x9123_683E
}

fn open_at(at: RawFd, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    loop {
        // SAFETY: `name` is a C string that lives through the call; the mode is only read when a file is made.
        let fd = unsafe { libc::openat(at, name.as_ptr(), flags | libc::O_CLOEXEC, FILE_MODE) };
        match fd_or_error(fd) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Dir {
    /// Opens a directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let real =
            || open_at(libc::AT_FDCWD, &c_string(path.as_os_str().as_bytes())?, libc::O_RDONLY | libc::O_DIRECTORY);
        let fd = fault::guard(|| Op::new(Kind::Open, "", 0, 0), real)
            .map_err(|error| Error::from_io(format!("cannot open the directory '{}'", shown(path)), &error))?;
        Ok(Self::of(fd, path.to_owned()))
    }

    fn of(fd: OwnedFd, path: PathBuf) -> Self {
        let tag = Tag::of(&fd);
        let shown = shown(&path);
        Self { fd, path, shown, tag, maps: true }
    }

    /// Whether its files may be mapped; else they are read and written by calls only.
    pub(crate) fn maps(&self) -> bool {
        self.maps
    }

    /// Says whether files that are opened from now on may be mapped.
    pub(crate) fn set_maps(&mut self, maps: bool) {
        self.maps = maps;
    }

    /// Whether it lies on a file system of this machine's own kernel, as far as that can be told, and one that takes a
    /// store into a mapping when it is full.
    pub(crate) fn takes_mappings(&self) -> bool {
        if let Some(local) = fault::local_for_tests() {
            return local;
        }
        let real = || {
            let mut stat = MaybeUninit::<libc::statfs>::uninit();
            // SAFETY: `stat` is room for the answer and lives through the call.
            zero_or_error(unsafe { libc::fstatfs(self.fd.as_raw_fd(), stat.as_mut_ptr()) })?;
            // SAFETY: the call succeeded, so it filled the structure.
            Ok(unsafe { stat.assume_init() })
        };
        let kind = fault::guard(|| Op::new(Kind::Stat, "", 0, 0), real).map(|stat| stat.f_type.cast_unsigned());
        kind.is_ok_and(|kind| !is_remote(kind) && !copies_on_write(kind))
    }

    /// Opens a directory, and makes it (not its parents) where it is missing.
    pub(crate) fn open_or_create(path: &Path) -> Result<Self> {
        match Self::open(path) {
            Err(error) if error.detail().os_error == libc::ENOENT => {}
            result => return result,
        }
        let real = || {
            let name = c_string(path.as_os_str().as_bytes())?;
            // SAFETY: `name` is a C string that lives through the call.
            zero_or_error(unsafe { libc::mkdir(name.as_ptr(), DIR_MODE) })
        };
        let event = || {
            let (parent, name) = in_parent(path);
            Event::MakeDir { dir: parent.id(), name, made: Tag::of_path(path).id() }
        };
        match fault::change(|| Op::new(Kind::MakeDir, "", 0, 0), event, real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(
                Status::NotFound,
                format!("cannot make the directory '{}': its parent directory is missing; make it first", shown(path)),
            )
            .with_os_error(libc::ENOENT)),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::from_io(format!("cannot make the directory '{}'", shown(path)), &error))
            }
            _ => Self::open(path),
        }
    }

    /// Makes the directory's own entry in its parent durable.
    pub(crate) fn sync_in_parent(&self) -> Result<()> {
        let parent = match self.path.canonicalize() {
            Ok(real) => real.parent().map(Path::to_owned),
            Err(_) => None,
        };
        let Some(parent) = parent else { return self.sync() };
        match Self::open(&parent) {
            Ok(parent) => parent.sync(),
            // A parent that may be written but not read: the file system as a whole can be synced instead.
            Err(_) => self.sync_file_system(),
        }
    }

    fn sync_file_system(&self) -> Result<()> {
        let real = || {
            // SAFETY: a plain call on an open descriptor.
            zero_or_error(unsafe { libc::syncfs(self.fd.as_raw_fd()) })
        };
        let event = |began, ok| Event::SyncDir { dir: None, began, ok };
        fault::sync(|| Op::new(Kind::SyncDir, "..", 0, 0), event, real)
            .map_err(|error| Error::from_io(format!("cannot sync the file system of '{}'", self.shown), &error))
    }

    /// The path that it was opened by, for messages.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The path of a file in it, for messages.
    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.shown)
    }

    fn failed(&self, verb: &str, name: &str, error: &io::Error) -> Error {
        Error::from_io(format!("cannot {verb} '{}'", self.path_of(name)), error)
    }

    fn open_file(&self, name: &str, flags: libc::c_int, kind: Kind) -> Result<File> {
        let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let real = || open_at(self.fd.as_raw_fd(), &c_string(name.as_bytes())?, flags);
        let fd = fault::guard(|| Op::new(kind, name, 0, 0), real).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => {
                self.no_regular_file(name).with_os_error(error.raw_os_error().unwrap_or(0))
            }
            _ => self.failed("open", name, &error),
        })?;
        let file = File::new(fd, name, self.path_of(name), self.maps);
        if kind == Kind::Create {
            let (dir, id) = (self.tag.id(), file.tag().id());
            fault::note(|| Event::Create { dir, name: name.to_owned(), file: id });
        }
        let stat = file.stat()?;
        if !stat.regular {
            return Err(self.no_regular_file(name));
        }
        if kind == Kind::Create && stat.bytes == 0 {
            file.ask_for_writes_in_place();
        }
        Ok(file)
    }

    fn no_regular_file(&self, name: &str) -> Error {
        let path = self.path_of(name);
        Error::new(
            Status::Io,
            format!("'{path}' is no regular file; it was not followed: move it out of the log's directory"),
        )
    }

    /// Opens a file for reading.
    pub(crate) fn open_read(&self, name: &str) -> Result<File> {
        self.open_file(name, libc::O_RDONLY, Kind::Open)
    }

    /// Opens a file for reading and writing.
    pub(crate) fn open_write(&self, name: &str) -> Result<File> {
        self.open_file(name, libc::O_RDWR, Kind::Open)
    }

    /// Opens a file for reading and writing, and makes it where it is missing.
    pub(crate) fn open_or_create_file(&self, name: &str) -> Result<File> {
        self.open_file(name, libc::O_RDWR | libc::O_CREAT, Kind::Create)
    }

    /// Makes a new file; what had the name is unlinked first.
    pub(crate) fn create_anew(&self, name: &str) -> Result<File> {
        self.unlink(name)?;
        self.open_file(name, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, Kind::Create)
    }

    /// The file that has this name now, without opening it; `None` if there is none.
    pub(crate) fn stat(&self, name: &str) -> Result<Option<Stat>> {
        let real = || {
            let name = c_string(name.as_bytes())?;
            let mut stat = MaybeUninit::<libc::stat>::uninit();
            let fd = self.fd.as_raw_fd();
            // SAFETY: `name` is a C string and `stat` room for the answer, both of which live through the call.
            let result = unsafe { libc::fstatat(fd, name.as_ptr(), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW) };
            zero_or_error(result)?;
            // SAFETY: the call succeeded, so it filled the structure.
            Ok(unsafe { stat.assume_init() })
        };
        match fault::guard(|| Op::new(Kind::Stat, name, 0, 0), real) {
            Ok(stat) => Ok(Some(Stat {
                device: stat.st_dev,
                inode: stat.st_ino,
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
                disk_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
                regular: stat.st_mode & libc::S_IFMT == libc::S_IFREG,
                names: stat.st_nlink,
                modified_ns: time_ns(stat.st_mtime, stat.st_mtime_nsec),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("look at", name, &error)),
        }
    }

    /// Renames a file into `to` (this directory or another), over what had that name.
    pub(crate) fn rename(&self, name: &str, to: &Self, to_name: &str) -> Result<()> {
        let real = || {
            let (old, new) = (c_string(name.as_bytes())?, c_string(to_name.as_bytes())?);
            // SAFETY: both are C strings that live through the call.
            zero_or_error(unsafe { libc::renameat(self.fd.as_raw_fd(), old.as_ptr(), to.fd.as_raw_fd(), new.as_ptr()) })
        };
        let event = || Event::Rename {
            dir: self.tag.id(),
            name: name.to_owned(),
            to_dir: to.tag.id(),
            to_name: to_name.to_owned(),
        };
        fault::change(|| Op::new(Kind::Rename, to_name, 0, 0), event, real).map_err(|error| {
            match error.raw_os_error() {
                // What stands there already is the cause.
                Some(libc::EISDIR | libc::ENOTEMPTY | libc::EEXIST) => {
                    to.no_regular_file(to_name).with_os_error(error.raw_os_error().unwrap_or(0))
                }
                _ => self.failed("rename", name, &error),
            }
        })
    }

    /// Gives a file one more name, in another directory. `false` where that cannot be: on another file system, on one
    /// without links, with too many of them, or for want of rights.
    pub(crate) fn link(&self, name: &str, to: &Self) -> Result<bool> {
        let real = || {
            let name = c_string(name.as_bytes())?;
            let (from, to) = (self.fd.as_raw_fd(), to.fd.as_raw_fd());
            // SAFETY: `name` is a C string that lives through the call.
            zero_or_error(unsafe { libc::linkat(from, name.as_ptr(), to, name.as_ptr(), 0) })
        };
        let event = || {
            let file = Tag::of_path(&self.path.join(name)).id();
            Event::Create { dir: to.tag.id(), name: name.to_owned(), file }
        };
        match fault::change(|| Op::new(Kind::Link, name, 0, 0), event, real) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EXDEV | libc::EPERM | libc::EMLINK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EACCES) => {
                    Ok(false)
                }
                _ => Err(self.failed("link", name, &error)),
            },
        }
    }

    /// Removes a file; that there is none is fine.
    pub(crate) fn unlink(&self, name: &str) -> Result<()> {
        self.remove(name, 0, Kind::Unlink)
    }

    /// Removes an empty directory in this one. `false` if it is not empty; that there is none is fine.
    pub(crate) fn remove_dir(&self, name: &str) -> Result<bool> {
        match self.remove(name, libc::AT_REMOVEDIR, Kind::RemoveDir) {
            Err(error) if matches!(error.detail().os_error, libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR) => {
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    fn remove(&self, name: &str, flags: libc::c_int, kind: Kind) -> Result<()> {
        let real = || {
            let name = c_string(name.as_bytes())?;
            // SAFETY: `name` is a C string that lives through the call.
            zero_or_error(unsafe { libc::unlinkat(self.fd.as_raw_fd(), name.as_ptr(), flags) })
        };
        let (dir, name_of) = (self.tag.id(), || name.to_owned());
        let event = || match kind {
            Kind::RemoveDir => Event::RemoveDir { dir, name: name_of() },
            _ => Event::Unlink { dir, name: name_of() },
        };
        match fault::change(|| Op::new(kind, name, 0, 0), event, real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| self.failed("remove", name, &error)),
        }
    }

    /// Removes the directory itself, if it is empty. `false` if it is not, or is none that can be removed by this path.
    pub(crate) fn remove_itself(&self) -> Result<bool> {
        let real = || {
            let name = c_string(self.path.as_os_str().as_bytes())?;
            // SAFETY: `name` is a C string that lives through the call.
            zero_or_error(unsafe { libc::rmdir(name.as_ptr()) })
        };
        let event = || {
            let (parent, name) = in_parent(&self.path);
            Event::RemoveDir { dir: parent.id(), name }
        };
        match fault::change(|| Op::new(Kind::RemoveDir, "", 0, 0), event, real) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                // Not empty; or the path is a link's, or ends in a dot, or something is mounted there.
                Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR | libc::EINVAL | libc::EBUSY) => Ok(false),
                _ => Err(Error::from_io(format!("cannot remove the directory '{}'", self.shown), &error)),
            },
        }
    }

    /// Opens a directory in this one, and makes it where it is missing if `create`. It is not followed through a link.
    pub(crate) fn subdir(&self, name: &str, create: bool) -> Result<Option<Self>> {
        let c_name = c_string(name.as_bytes()).map_err(|error| self.failed("open", name, &error))?;
        if create {
            let real = || {
                // SAFETY: `c_name` is a C string that lives through the call.
                zero_or_error(unsafe { libc::mkdirat(self.fd.as_raw_fd(), c_name.as_ptr(), DIR_MODE) })
            };
            let event = || Event::MakeDir {
                dir: self.tag.id(),
                name: name.to_owned(),
                made: Tag::of_path(&self.path.join(name)).id(),
            };
            match fault::change(|| Op::new(Kind::MakeDir, name, 0, 0), event, real) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(self.failed("make the directory", name, &error));
                }
                _ => {}
            }
        }
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match fault::guard(|| Op::new(Kind::Open, name, 0, 0), || open_at(self.fd.as_raw_fd(), &c_name, flags)) {
            Ok(fd) => Ok(Some(Self { maps: self.maps, ..Self::of(fd, self.path.join(name)) })),
            Err(error)
                if !create && matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed("open the directory", name, &error)),
        }
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let real = || {
            // SAFETY: a plain call on an open descriptor.
            zero_or_error(unsafe { libc::fsync(self.fd.as_raw_fd()) })
        };
        let event = |began, ok| Event::SyncDir { dir: Some(self.tag.id()), began, ok };
        fault::sync(|| Op::new(Kind::SyncDir, "", 0, 0), event, real)
            .map_err(|error| Error::from_io(format!("cannot sync the directory '{}'", self.shown), &error))
    }

    /// Calls `each` with every name in it that is UTF-8 (all of the library's own are), until that fails.
    pub(crate) fn list(&self, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let failed = |error: io::Error| Error::from_io(format!("cannot list '{}'", self.shown), &error);
        let open = || open_at(self.fd.as_raw_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY);
        let mut stream = fault::guard(|| Op::new(Kind::List, "", 0, 0), open).and_then(Stream::new).map_err(failed)?;
        while let Some(name) = stream.next().map_err(failed)? {
            match OsStr::from_bytes(name.to_bytes()).to_str() {
                None | Some("." | "..") => {}
                Some(name) => each(name)?,
            }
        }
        Ok(())
    }
}

impl Lockable for Dir {
    fn try_lock(&self) -> Result<bool> {
        let real = || {
            // SAFETY: a plain call on an open descriptor.
            zero_or_error(unsafe { libc::flock(self.fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
        };
        loop {
            return match fault::guard(|| Op::new(Kind::Lock, "", 0, 0), real) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
                Err(error) => {
                    Err(Error::from_io(format!("cannot lock the directory '{}'", self.path.display()), &error))
                }
            };
        }
    }

    fn unlock(&self) {
        // SAFETY: a plain call on an open descriptor.
        unsafe { libc::flock(self.fd.as_raw_fd(), libc::LOCK_UN) };
    }

    fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn path(&self) -> String {
        self.shown().to_owned()
    }
}

/// An open directory stream.
struct Stream(std::ptr::NonNull<libc::DIR>);

impl Stream {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is open and a directory; on success the stream owns it.
        let stream = unsafe { libc::fdopendir(fd.as_raw_fd()) };
        let stream = std::ptr::NonNull::new(stream).ok_or_else(io::Error::last_os_error)?;
        std::mem::forget(fd);
        Ok(Self(stream))
    }

    fn next(&mut self) -> io::Result<Option<&CStr>> {
        // SAFETY: a plain call; the place that it names is the calling thread's own.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: errno is the calling thread's own; readdir tells an error from the end only by it.
        unsafe { *errno = 0 };
        // SAFETY: the stream is open, and only this thread uses it.
        let entry = unsafe { libc::readdir(self.0.as_ptr()) };
        if entry.is_null() {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(0) { Ok(None) } else { Err(error) };
        }
        // SAFETY: a non-null entry is valid until the next call on this stream, which `&mut self` holds off.
        let name = unsafe { &raw const (*entry).d_name };
        // SAFETY: the kernel ends each name with a NUL, and the entry lives as long as the borrow of `self`.
        Ok(Some(unsafe { CStr::from_ptr(name.cast()) }))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is open and is closed once.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}
