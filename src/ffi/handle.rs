//! A handle as C has it: a shell with a tag, which tells a log from a cursor, an open one from one that was closed, and
//! this process's own from its parent's. Shells are never freed and are used again late, so that who comes with a
//! handle that was closed finds a tag that says so. It knows nothing of what is in a shell.
#![expect(
    unsafe_code,
    reason = "pointers of the C caller's; each block says which part of the header's contract it rests on"
)]

use crate::error::{Error, Result, Status};
use crate::sys::{self, ForkSafe};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// So many shells of a kind wait before the one that was closed first is used again.
const RESTING: usize = 256;

/// What has a shell.
pub(super) trait Handle: Sized + 'static {
    /// What it is called, and how its shells are told.
    const KIND: Kind;
    /// The shells that are closed.
    fn closed() -> &'static Closed;
}

/// A kind of handles. The tag of one that is open is `open` plus the process's stamp.
pub(super) struct Kind {
    name: &'static str,
    open: u64,
    closed: u64,
}

// Numbers that stand nowhere by chance.
pub(super) const LOG: Kind = Kind { name: "log", open: 0x8B5E_C106_3D91_A000, closed: 0x8B5E_C106_C105_ED00 };
pub(super) const CURSOR: Kind = Kind { name: "cursor", open: 0x8B5E_C0C5_72E4_6000, closed: 0x8B5E_C0C5_C105_ED00 };

/// What C points to.
#[repr(C)]
struct Shell<T> {
    tag: AtomicU64,
    /// A call that needs it alone is running.
    busy: AtomicBool,
    inner: UnsafeCell<MaybeUninit<T>>,
}

/// Shells that are closed, in the order in which they were.
pub(super) struct Closed(ForkSafe<Shells>);

struct Shells {
    resting: VecDeque<Place>,
    /// How many there are, open ones too.
    made: usize,
}

struct Place(NonNull<()>);

// SAFETY: the address of memory that stays; what is in there is touched as atomics, or by who opened it.
unsafe impl Send for Place {}

impl Closed {
    pub(super) const fn new() -> Self {
        Self(ForkSafe::new(Shells { resting: VecDeque::new(), made: 0 }))
    }

    fn take<T: Handle>(&self) -> Result<NonNull<Shell<T>>> {
        let found = self.0.with(|shells| {
            if shells.resting.len() > RESTING {
                return shells.resting.pop_front().map(|place| place.0.cast());
            }
            // When it is closed, it must find room here.
            shells.resting.try_reserve(shells.made + 1 - shells.resting.len()).ok()?;
            let place = sys::place_for_ever::<Shell<T>>()?;
            shells.made += 1;
            Some(place)
        });
        let name = T::KIND.name;
        found.ok_or_else(|| Error::new(Status::Memory, format!("out of memory for a {name}; free some and try again")))
    }

    fn put<T>(&self, shell: NonNull<Shell<T>>) {
        self.0.with(|shells| shells.resting.push_back(Place(shell.cast())));
    }
}

/// The tag that an open handle of this process has. No stamp is 0, so before the first open none has it.
#[inline(always)]
fn open_tag(kind: &Kind) -> u64 {
    kind.open.wrapping_add(sys::stamp())
}

/// The tag at this pointer; `None` where no shell can be.
#[inline(always)]
fn tag_of<T>(pointer: *const T) -> Option<&'static AtomicU64> {
    let shell = pointer.cast::<Shell<T>>();
    if shell.is_null() || !shell.is_aligned() {
        return None;
    }
    // SAFETY: the caller gives a handle, whose shell is never freed. Whoever gives other memory that can be read is
    // told so; what cannot be read is the caller's fault, as the header says.
    Some(unsafe { &(*shell).tag })
}

#[inline(always)]
fn is_open<T: Handle>(pointer: *const T) -> bool {
    tag_of(pointer).is_some_and(|tag| tag.load(Ordering::Acquire) == open_tag(&T::KIND))
}

/// A handle that is open in this process.
#[inline(always)]
pub(super) fn shared<'a, T: Handle>(pointer: *const T, name: &str) -> Result<&'a T> {
    if !is_open(pointer) {
        return Err(no_handle(pointer, name));
    }
    // SAFETY: the tag says that this is a shell of an open handle, which no close call frees while another call runs.
    let inner = unsafe { &(*pointer.cast::<Shell<T>>()).inner };
    // SAFETY: who has it alone changes it, and then it is not shared.
    let inner = unsafe { &*inner.get() };
    // SAFETY: in an open shell it was written.
    Ok(unsafe { inner.assume_init_ref() })
}

/// A handle that only this call uses now.
pub(super) struct Exclusive<'a, T> {
    inner: &'a mut T,
    busy: &'a AtomicBool,
}

/// The handle for one thread at a time. Two that come at once are seen if they overlap for longer than a few
/// instructions: the flag is no lock, which would cost each call more than the rest of it.
#[inline(always)]
pub(super) fn exclusive<'a, T: Handle>(pointer: *mut T, name: &str) -> Result<Exclusive<'a, T>> {
    if !is_open(pointer) {
        return Err(no_handle(pointer, name));
    }
    let shell = pointer.cast::<Shell<T>>();
    // SAFETY: as in `shared`.
    let busy = unsafe { &(*shell).busy };
    if busy.load(Ordering::Acquire) {
        return Err(in_use(name));
    }
    busy.store(true, Ordering::Relaxed);
    // SAFETY: as in `shared`.
    let inner = unsafe { &(*shell).inner };
    // SAFETY: the header says that one thread at a time uses it.
    let inner = unsafe { &mut *inner.get() };
    // SAFETY: in an open shell it was written.
    Ok(Exclusive { inner: unsafe { inner.assume_init_mut() }, busy })
}

impl<T> Deref for Exclusive<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        self.inner
    }
}

impl<T> DerefMut for Exclusive<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        self.inner
    }
}

impl<T> Drop for Exclusive<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.busy.store(false, Ordering::Release);
    }
}

/// Gives a handle to C: writes it to `out`, which is not NULL.
pub(super) fn give<T: Handle>(out: *mut *mut T, handle: T) -> Result<()> {
    let stamp = sys::stamp_here()?;
    let shell = T::closed().take::<T>()?;
    let made = Shell {
        tag: AtomicU64::new(T::KIND.open.wrapping_add(stamp)),
        busy: AtomicBool::new(false),
        inner: UnsafeCell::new(MaybeUninit::new(handle)),
    };
    // SAFETY: memory for a shell, which nobody else uses: it was made by `take`, or closed and has rested.
    unsafe { shell.write(made) };
    // SAFETY: the caller gave a place for the handle, which `required` has checked for NULL.
    unsafe { out.write(shell.as_ptr().cast()) };
    Ok(())
}

/// Takes a handle back from C, which is closed by that. NULL is no handle. One of before a fork is closed as well, but
/// what is in it stays as it is: other threads of the parent may have been changing it when they were gone.
pub(super) fn take_back<T: Handle>(pointer: *mut T, name: &str) -> Result<Option<T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    let Some(tag) = tag_of(pointer) else { return Err(no_handle(pointer, name)) };
    let found = tag.load(Ordering::Acquire);
    let own = found == open_tag(&T::KIND);
    if !own && !is_of_before_a_fork(&T::KIND, found) {
        return Err(no_handle(pointer, name));
    }
    let shell = pointer.cast::<Shell<T>>();
    // SAFETY: as in `shared`.
    let busy = unsafe { &(*shell).busy };
    if own && busy.load(Ordering::Acquire) {
        return Err(in_use(name));
    }
    if tag.compare_exchange(found, T::KIND.closed, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return Err(closed(name));
    }
    // SAFETY: as in `shared`.
    let inner = unsafe { &(*shell).inner };
    // SAFETY: no call uses it any more: this one alone has closed it.
    let inner = unsafe { &*inner.get() };
    // SAFETY: it was open until now, so it was written; nobody reads it again.
    let handle = own.then(|| unsafe { inner.assume_init_read() });
    if let Some(shell) = NonNull::new(shell) {
        T::closed().put(shell);
    }
    if own { Ok(handle) } else { Err(forked(name)) }
}

/// Whether a tag is that of a handle which a process had that this one was forked from.
fn is_of_before_a_fork(kind: &Kind, tag: u64) -> bool {
    let stamp = tag.wrapping_sub(kind.open);
    (1..=sys::last_stamp()).contains(&stamp) && stamp != sys::stamp()
}

/// Why this is no open handle of this kind.
#[cold]
fn no_handle<T: Handle>(pointer: *const T, name: &str) -> Error {
    if pointer.is_null() {
        return Error::new(Status::Argument, format!("{name} is NULL"));
    }
    let tag = tag_of(pointer).map_or(0, |tag| tag.load(Ordering::Acquire));
    if is_of_before_a_fork(&T::KIND, tag) {
        return forked(name);
    }
    if tag == T::KIND.closed {
        return closed(name);
    }
    for other in [LOG, CURSOR] {
        if tag == other.closed || tag == open_tag(&other) || is_of_before_a_fork(&other, tag) {
            let (is, wanted) = (other.name, T::KIND.name);
            return Error::new(Status::Argument, format!("{name} is a {is}, and a {wanted} is wanted"));
        }
    }
    let text = format!("{name} is no handle of this library: it was never opened, or its memory was written over");
    Error::new(Status::Argument, text)
}

fn closed(name: &str) -> Error {
    Error::new(Status::Argument, format!("{name} was closed; a handle is not used any more once it was closed"))
}

#[cold]
fn in_use(name: &str) -> Error {
    Error::new(Status::Argument, format!("{name} is in use by another thread; each thread opens a cursor of its own"))
}

fn forked(name: &str) -> Error {
    let text = format!("{name} was opened before fork() by a parent of this process, which must open the log itself");
    Error::new(Status::Forked, text)
}
