//! CRC-32C (Castagnoli, RFC 3720 appendix B.4). A plain loop of the processor's instruction for short input, the
//! `crc32c` crate for long input and for processors without it; the crate is the oracle in tests too.

/// Up to this length the plain loop beats the crate's three interleaved streams (docs/ARCHITECTURE.md, measured).
const SHORT_BYTES: usize = 512;

/// The CRC-32C of `bytes`, going on from `crc` (0 to begin).
#[inline(always)]
pub(crate) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    if bytes.len() <= SHORT_BYTES { short(crc, bytes) } else { crc32c::crc32c_append(crc, bytes) }
}

/// The CRC-32C of 28 bytes given as words in memory order: what a frame's checksum covers. They stay in registers;
/// bytes written and read back as words would stall each other.
#[inline(always)]
pub(crate) fn crc32c_words(words: [u64; 3], last: u32) -> u32 {
    registers(words, last).unwrap_or_else(|| in_memory(words, last))
}

/// The CRC-32C of what a frame's checksum covers, given its words and its payload: as [`crc32c_words`] of the payload's
/// own CRC. The two run side by side, and the processor is asked once what it can do.
#[inline(always)]
pub(crate) fn crc32c_frame(words: [u64; 3], payload: &[u8]) -> u32 {
    if payload.len() <= SHORT_BYTES
        && let Some(crc) = frame_in_registers(words, payload)
    {
        return crc;
    }
    crc32c_words(words, crc32c(0, payload))
}

#[cold]
fn in_memory(words: [u64; 3], last: u32) -> u32 {
    let mut bytes = [0; 28];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    bytes[24..].copy_from_slice(&last.to_le_bytes());
    crc32c(0, &bytes)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "calling a function compiled for SSE4.2 needs the check that stands beside it")]
fn registers(words: [u64; 3], last: u32) -> Option<u32> {
    // SAFETY: called only if the processor has SSE4.2; the function has no other precondition.
    std::arch::is_x86_feature_detected!("sse4.2").then(|| unsafe { registers_sse42(words, last) })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[inline]
fn registers_sse42(words: [u64; 3], last: u32) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u32, _mm_crc32_u64};
    let state = words.iter().fold(0xFFFF_FFFF, |state, word| _mm_crc32_u64(state, *word));
    !_mm_crc32_u32(state as u32, last)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "calling a function compiled for SSE4.2 needs the check that stands beside it")]
fn frame_in_registers(words: [u64; 3], payload: &[u8]) -> Option<u32> {
    // SAFETY: called only if the processor has SSE4.2; the function has no other precondition.
    std::arch::is_x86_feature_detected!("sse4.2").then(|| unsafe { frame_sse42(words, payload) })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn frame_sse42(words: [u64; 3], payload: &[u8]) -> u32 {
    registers_sse42(words, short_sse42(0, payload))
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "calling a function compiled for the CRC extension needs the check that stands beside it"
)]
fn registers(words: [u64; 3], last: u32) -> Option<u32> {
    // SAFETY: called only if the processor has the CRC extension; the function has no other precondition.
    std::arch::is_aarch64_feature_detected!("crc").then(|| unsafe { registers_armv8(words, last) })
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
#[inline]
fn registers_armv8(words: [u64; 3], last: u32) -> u32 {
    use std::arch::aarch64::{__crc32cd, __crc32cw};
    !__crc32cw(words.iter().fold(0xFFFF_FFFF, |state, word| __crc32cd(state, *word)), last)
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "calling a function compiled for the CRC extension needs the check that stands beside it"
)]
fn frame_in_registers(words: [u64; 3], payload: &[u8]) -> Option<u32> {
    // SAFETY: called only if the processor has the CRC extension; the function has no other precondition.
    std::arch::is_aarch64_feature_detected!("crc").then(|| unsafe { frame_armv8(words, payload) })
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
fn frame_armv8(words: [u64; 3], payload: &[u8]) -> u32 {
    registers_armv8(words, short_armv8(0, payload))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn frame_in_registers(_words: [u64; 3], _payload: &[u8]) -> Option<u32> {
    None
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers(_words: [u64; 3], _last: u32) -> Option<u32> {
    None
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "calling a function compiled for SSE4.2 needs the check that stands beside it")]
fn short(crc: u32, bytes: &[u8]) -> u32 {
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE4.2, as was just asked; the function has no other precondition.
        return unsafe { short_sse42(crc, bytes) };
    }
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[inline]
fn short_sse42(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let mut state = u64::from(!crc);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = _mm_crc32_u64(state, u64::from_le_bytes(*word));
    }
    let mut state = state as u32;
    for byte in rest {
        state = _mm_crc32_u8(state, *byte);
    }
    !state
}

#[cfg(target_arch = "aarch64")]
#[inline]
#[expect(
    unsafe_code,
    reason = "calling a function compiled for the CRC extension needs the check that stands beside it"
)]
fn short(crc: u32, bytes: &[u8]) -> u32 {
    if std::arch::is_aarch64_feature_detected!("crc") {
        // SAFETY: the processor has the CRC extension, as was just asked; the function has no other precondition.
        return unsafe { short_armv8(crc, bytes) };
    }
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
#[inline]
fn short_armv8(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::aarch64::{__crc32cb, __crc32cd};
    let mut state = !crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = __crc32cd(state, u64::from_le_bytes(*word));
    }
    for byte in rest {
        state = __crc32cb(state, *byte);
    }
    !state
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn short(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3720_vectors() {
        assert_eq!(crc32c(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(0, &[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
    }

    #[test]
    fn words_in_registers_are_the_same_bytes() {
        let words = [0x0123_4567_89AB_CDEF, u64::MAX, 0x8000_0000_0000_0001];
        assert_eq!(crc32c_words(words, 0xDEAD_BEEF), in_memory(words, 0xDEAD_BEEF));
        assert_eq!(in_memory([0; 3], 0), crc32c(0, &[0; 28]));
    }

    #[test]
    fn a_frames_words_and_payload_at_once_are_the_same_as_one_after_the_other() {
        let words = [0x0123_4567_89AB_CDEF, u64::MAX, 0x8000_0000_0000_0001];
        let bytes: Vec<u8> = (0..1200_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in (0..600).chain([1024, 1200]) {
            let payload = &bytes[..len];
            assert_eq!(crc32c_frame(words, payload), in_memory(words, crc32c::crc32c(payload)), "length {len}");
        }
    }

    #[test]
    fn every_length_and_split_agrees_with_the_crate() {
        let bytes: Vec<u8> = (0..2000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in (0..600).chain([1024, 1999]) {
            let expected = crc32c::crc32c(&bytes[..len]);
            assert_eq!(crc32c(0, &bytes[..len]), expected, "length {len}");
            let cut = len / 3;
            assert_eq!(crc32c(crc32c(0, &bytes[..cut]), &bytes[cut..len]), expected, "length {len} in two");
        }
    }
}
