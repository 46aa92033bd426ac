//! An open directory. Every file is reached through its descriptor, never followed through a symbolic link, never
//! waited for (a FIFO), and must be a regular file.

use super::fault::{self, Kind, Op};
use super::file::{File, Stat};
use crate::error::{Error, Result, Status};
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
}

const FILE_MODE: libc::c_uint = 0o600;
const DIR_MODE: libc::mode_t = 0o700;

fn c_string(bytes: &[u8]) -> io::Result<CString> {
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
            .map_err(|error| Error::from_io(format!("cannot open the directory '{}'", path.display()), &error))?;
        Ok(Self { fd, path: path.to_owned() })
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
        match fault::guard(|| Op::new(Kind::MakeDir, "", 0, 0), real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(
                Status::NotFound,
                format!(
                    "cannot make the directory '{}': its parent directory is missing; make it first",
                    path.display()
                ),
            )
            .with_os_error(libc::ENOENT)),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::from_io(format!("cannot make the directory '{}'", path.display()), &error))
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
        fault::guard(|| Op::new(Kind::SyncDir, "..", 0, 0), real).map_err(|error| {
            Error::from_io(format!("cannot sync the file system of '{}'", self.path.display()), &error)
        })
    }

    /// The path that it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(crate) fn path_of(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
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
        let file = File::new(fd, name, self.path_of(name));
        if file.stat()?.regular { Ok(file) } else { Err(self.no_regular_file(name)) }
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
        fault::guard(|| Op::new(Kind::Rename, to_name, 0, 0), real).map_err(|error| self.failed("rename", name, &error))
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
        match fault::guard(|| Op::new(kind, name, 0, 0), real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| self.failed("remove", name, &error)),
        }
    }

    /// Removes the directory itself, if it is empty. `false` if it is not.
    pub(crate) fn remove_itself(&self) -> Result<bool> {
        let real = || {
            let name = c_string(self.path.as_os_str().as_bytes())?;
            // SAFETY: `name` is a C string that lives through the call.
            zero_or_error(unsafe { libc::rmdir(name.as_ptr()) })
        };
        match fault::guard(|| Op::new(Kind::RemoveDir, "", 0, 0), real) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => Ok(false),
            Err(error) => Err(Error::from_io(format!("cannot remove the directory '{}'", self.path.display()), &error)),
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
            match fault::guard(|| Op::new(Kind::MakeDir, name, 0, 0), real) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(self.failed("make the directory", name, &error));
                }
                _ => {}
            }
        }
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match fault::guard(|| Op::new(Kind::Open, name, 0, 0), || open_at(self.fd.as_raw_fd(), &c_name, flags)) {
            Ok(fd) => Ok(Some(Self { fd, path: self.path.join(name) })),
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
        fault::guard(|| Op::new(Kind::SyncDir, "", 0, 0), real)
            .map_err(|error| Error::from_io(format!("cannot sync the directory '{}'", self.path.display()), &error))
    }

    /// Calls `each` with every name in it that is UTF-8 (all of the library's own are).
    pub(crate) fn list(&self, mut each: impl FnMut(&str)) -> Result<()> {
        let failed = |error: io::Error| Error::from_io(format!("cannot list '{}'", self.path.display()), &error);
        let open = || open_at(self.fd.as_raw_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY);
        let mut stream = fault::guard(|| Op::new(Kind::List, "", 0, 0), open).and_then(Stream::new).map_err(failed)?;
        while let Some(name) = stream.next().map_err(failed)? {
            match OsStr::from_bytes(name.to_bytes()).to_str() {
                None | Some("." | "..") => {}
                Some(name) => each(name),
            }
        }
        Ok(())
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
