//! A fence with two unlike sides: what is done often costs nothing, what is done seldom is a system call that makes
//! every running thread of the process pass a fence (membarrier(2)). Where the kernel does not offer that, both sides
//! are fences. It knows nothing of what it orders.
//!
//! Who stands on the light side stores a word, calls [`Barrier::light`], then loads another. Who stands on the heavy
//! side stores that other word, calls [`Barrier::heavy`], then loads the first. One of the two sees what the other
//! stored (Dekker's order): the kernel makes the light side's thread pass a fence at some point of its program while
//! the call runs. Either that point stands behind its store, which the heavy side then sees; or before it, and so
//! before its load, which then sees what the heavy side stored before the call.

use crate::sync::{Ordering, compiler_fence, fence};

// linux/membarrier.h
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// How one pair of sides is ordered. Both ask the same one, which is made before either comes, and does not change: not
/// by a fork either, since no child uses what its parent opened.
pub(crate) struct Barrier {
    by_kernel: bool,
}

impl Barrier {
    /// The cheapest that this process can have. (The first of a process that has threads may take some milliseconds.)
    pub(crate) fn new() -> Self {
        // ThreadSanitizer knows nothing of the call, and the model keeps stores back by itself.
        let may = !cfg!(any(feature = "tsan", feature = "model"));
        Self { by_kernel: may && membarrier(REGISTER_PRIVATE_EXPEDITED) }
    }

    /// As where the kernel offers nothing.
    #[cfg(test)]
    pub(crate) fn of_fences() -> Self {
        Self { by_kernel: false }
    }

    #[inline(always)]
    pub(crate) fn light(&self) {
        if self.by_kernel { compiler_fence(Ordering::SeqCst) } else { fence(Ordering::SeqCst) }
    }

    /// `false` if there is none: the kernel has taken back what it offered (a sandbox may make it), and what the light
    /// side has stored may not be seen yet.
    pub(crate) fn heavy(&self) -> bool {
        fence(Ordering::SeqCst);
        !self.by_kernel || membarrier(PRIVATE_EXPEDITED)
    }
}

/// Whether the kernel did it. No fault hook stands before it: it touches no file, and nobody fails where it fails.
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: a plain call with numbers only; it changes nothing but the order in which threads see each other.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    done == 0
}
