//! Memory that is asked for with care: what a caller or a file decides the size of is an error where it is not to be
//! had. (A small piece of a fixed size that is not to be had ends the process, as Rust's allocator does.)

use crate::error::{Error, Result, Status};

fn none(what: &str) -> Error {
    Error::new(Status::Memory, format!("out of memory for {what}; free some and try again"))
}

/// Room for so many more.
pub(crate) fn reserve<T>(to: &mut Vec<T>, more: usize, what: &str) -> Result<()> {
    to.try_reserve(more).map_err(|_| none(what))
}

/// One more.
#[inline]
pub(crate) fn push<T>(to: &mut Vec<T>, item: T, what: &str) -> Result<()> {
    if to.len() == to.capacity() {
        reserve(to, 1, what)?;
    }
    to.push(item);
    Ok(())
}

/// So many zeros.
pub(crate) fn zeros(len: usize, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| none(what))?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// So many of them, in a piece of their own.
pub(crate) fn array<T: Default, const N: usize>(what: &str) -> Result<Box<[T; N]>> {
    let mut all = Vec::new();
    all.try_reserve_exact(N).map_err(|_| none(what))?;
    all.resize_with(N, T::default);
    all.into_boxed_slice().try_into().map_err(|_| none(what))
}

/// Room for a list of `count` of what is in a piece of its own each: also that those pieces are likely to be had.
pub(crate) fn list_of_pieces<T, P>(count: usize, what: &str) -> Result<Vec<T>> {
    let mut pieces = Vec::<P>::new();
    pieces.try_reserve_exact(count).map_err(|_| none(what))?;
    // Else the compiler may see that nobody uses it.
    std::hint::black_box(&mut pieces);
    let mut list = Vec::new();
    reserve(&mut list, count, what)?;
    Ok(list)
}
