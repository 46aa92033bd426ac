//! Contenders of the bench that are Rust crates, behind the `struct peer` of benches/peers/peer.h. What a peer is says
//! the trait [`Peer`]; each is a file. A peer that fails panics: at a C boundary that ends the bench with its message.

mod commitlog;
mod fjall;
mod okaywal;
mod raft_engine;
mod redb;
mod seglog;
mod walrus;

use std::ffi::{CStr, CString, c_char, c_void};
use std::fs::File;
use std::path::Path;
use std::ptr::null;
use std::slice::{Chunks, from_raw_parts, from_raw_parts_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const IN_PROCESS: u32 = 1;
pub(crate) const IN_KERNEL: u32 = 2;
pub(crate) const ON_DISK: u32 = 4;

/// `struct opening`, with Rust's types.
pub(crate) struct Opening<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) durability: u32,
    /// Many small segments, of 4 KiB where the peer can.
    pub(crate) segments: bool,
    /// Bytes of each record.
    pub(crate) payload: u64,
}

pub(crate) trait Peer: Sync + Sized + 'static {
    const NAME: &'static CStr;
    /// The name of its package in Cargo.lock.
    const PACKAGE: &'static str;
    const APPENDS: u32;
    const SEGMENTS: bool = false;
    /// It can be read from its first record to its last.
    const SCANS: bool = true;
    /// Any record can be read by its number.
    const READS: bool = true;

    type Reader: 'static;

    fn open(opening: &Opening) -> Self;
    fn append(&self, data: &[u8]);
    fn append_batch(&self, records: Chunks<u8>);
    /// How many records there are; one byte of each was looked at by [`look`].
    fn scan(&self) -> u64 {
        unreachable!("it does not scan")
    }
    /// How many records the open found, where it does not scan.
    fn found(&self) -> u64 {
        unreachable!("it scans")
    }
    /// Untimed, before another scan.
    fn rewind(&self) {}
    fn reader(&'static self) -> Self::Reader {
        unreachable!("it does not read")
    }
    fn read(_reader: &mut Self::Reader, _n: u64, _buffer: &mut [u8]) {
        unreachable!("it does not read")
    }
    fn close(self);
}

/// What a scan looked at, so that it is not optimised away.
static SINK: AtomicU32 = AtomicU32::new(0);

pub(crate) fn look(byte: u32) {
    SINK.store(byte, Ordering::Relaxed);
}

/// What a peer wrote ahead when it was opened is not for its first append to sync.
pub(crate) fn sync_files(dir: &Path) {
    for file in std::fs::read_dir(dir).expect("read_dir") {
        File::open(file.expect("a file").path()).and_then(|file| file.sync_all()).expect("sync");
    }
}

#[repr(C)]
struct COpening {
    dir: *const c_char,
    durability: u32,
    segments: u32,
    payload: u64,
    readers: u32,
}

#[repr(C)]
struct CPeer {
    name: *const c_char,
    version: *const c_char,
    appends: u32,
    segments: u32,
    open: extern "C" fn(*const COpening) -> *mut c_void,
    append: extern "C" fn(*mut c_void, *const c_void, usize),
    append_batch: extern "C" fn(*mut c_void, *const c_void, usize, usize),
    scan: Option<extern "C" fn(*mut c_void) -> u64>,
    found: Option<extern "C" fn(*mut c_void) -> u64>,
    rewind: Option<extern "C" fn(*mut c_void)>,
    reader: Option<extern "C" fn(*mut c_void) -> *mut c_void>,
    read: Option<extern "C" fn(*mut c_void, u64, *mut c_void, usize)>,
    reader_close: Option<extern "C" fn(*mut c_void)>,
    close: extern "C" fn(*mut c_void),
}

/// The log behind a handle. It lives until `close`, which the bench calls last.
fn log_of<P: Peer>(log: *mut c_void) -> &'static P {
    // SAFETY: the bench gives what `open` returned, and nothing after `close`.
    unsafe { &*log.cast::<P>() }
}

extern "C" fn open<P: Peer>(opening: *const COpening) -> *mut c_void {
    // SAFETY: the bench gives an opening with a string that ends with a NUL.
    let (opening, dir) = unsafe { (&*opening, CStr::from_ptr((*opening).dir)) };
    let log = P::open(&Opening {
        dir: Path::new(dir.to_str().expect("a path of UTF-8")),
        durability: opening.durability,
        segments: opening.segments != 0,
        payload: opening.payload,
    });
    Box::into_raw(Box::new(log)).cast()
}

extern "C" fn append<P: Peer>(log: *mut c_void, data: *const c_void, len: usize) {
    // SAFETY: `len` bytes, as peer.h says.
    log_of::<P>(log).append(unsafe { from_raw_parts(data.cast(), len) });
}

extern "C" fn append_batch<P: Peer>(log: *mut c_void, data: *const c_void, len: usize, count: usize) {
    // SAFETY: `count` records of `len` bytes each, as peer.h says.
    let all: &[u8] = unsafe { from_raw_parts(data.cast(), len * count) };
    log_of::<P>(log).append_batch(all.chunks(len));
}

extern "C" fn scan<P: Peer>(log: *mut c_void) -> u64 {
    log_of::<P>(log).scan()
}

extern "C" fn found<P: Peer>(log: *mut c_void) -> u64 {
    log_of::<P>(log).found()
}

extern "C" fn rewind<P: Peer>(log: *mut c_void) {
    log_of::<P>(log).rewind();
}

extern "C" fn reader<P: Peer>(log: *mut c_void) -> *mut c_void {
    Box::into_raw(Box::new(log_of::<P>(log).reader())).cast()
}

extern "C" fn read<P: Peer>(reader: *mut c_void, n: u64, buffer: *mut c_void, len: usize) {
    // SAFETY: what `reader` returned, one thread's, and a buffer of `len` bytes.
    let (reader, buffer) = unsafe { (&mut *reader.cast::<P::Reader>(), from_raw_parts_mut(buffer.cast::<u8>(), len)) };
    P::read(reader, n, buffer);
}

extern "C" fn reader_close<P: Peer>(reader: *mut c_void) {
    // SAFETY: what `reader` returned, for the last time.
    drop(unsafe { Box::from_raw(reader.cast::<P::Reader>()) });
}

extern "C" fn close<P: Peer>(log: *mut c_void) {
    // SAFETY: what `open` returned, for the last time.
    let log = unsafe { Box::from_raw(log.cast::<P>()) };
    log.close();
}

/// The version that Cargo.lock says, since that is what was built.
fn version_of(package: &str) -> &'static CStr {
    let name = format!("name = \"{package}\"\nversion = \"");
    let rest = include_str!("../Cargo.lock").split_once(&name).map_or("?", |(_, rest)| rest);
    let version = rest.split('"').next().unwrap_or("?");
    Box::leak(CString::new(version).expect("no NUL in a version").into_boxed_c_str())
}

fn table<P: Peer>() -> &'static CPeer {
    Box::leak(Box::new(CPeer {
        name: P::NAME.as_ptr(),
        version: version_of(P::PACKAGE).as_ptr(),
        appends: P::APPENDS,
        segments: P::SEGMENTS.into(),
        open: open::<P>,
        append: append::<P>,
        append_batch: append_batch::<P>,
        scan: P::SCANS.then_some(scan::<P>),
        found: (!P::SCANS).then_some(found::<P>),
        rewind: Some(rewind::<P>),
        reader: P::READS.then_some(reader::<P>),
        read: P::READS.then_some(read::<P>),
        reader_close: P::READS.then_some(reader_close::<P>),
        close: close::<P>,
    }))
}

struct Peers([&'static CPeer; 7]);

// SAFETY: tables of constant strings and functions, never changed.
unsafe impl Send for Peers {}
// SAFETY: the same.
unsafe impl Sync for Peers {}

/// The contenders of this library: an array of `*count` pointers, which lives as long as the process.
#[unsafe(no_mangle)]
extern "C" fn rust_peers(count: *mut usize) -> *const &'static CPeer {
    static PEERS: OnceLock<Peers> = OnceLock::new();
    let peers = PEERS.get_or_init(|| {
        Peers([
            table::<okaywal::Okaywal>(),
            table::<raft_engine::RaftEngine>(),
            table::<fjall::Fjall>(),
            table::<redb::Redb>(),
            table::<walrus::Walrus>(),
            table::<seglog::Seglog>(),
            table::<commitlog::Commitlog>(),
        ])
    });
    if count.is_null() {
        return null();
    }
    // SAFETY: the caller's own variable.
    unsafe { *count = peers.0.len() };
    peers.0.as_ptr()
}
