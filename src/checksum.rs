//! CRC-32C (Castagnoli, RFC 3720 appendix B.4). A plain loop of the processor's instruction for short input, the
//! `crc32c` crate for long input and for processors without it; the crate is the oracle in tests too.

#![cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(unused_unsafe, reason = "where no function needs the instruction, none is unsafe to call")
)]

/// Up to this length the plain loop beats the crate's three interleaved streams (docs/ARCHITECTURE.md, measured).
const SHORT_BYTES: usize = 512;

/// The CRC-32C of `bytes`, going on from `crc` (0 to begin).
#[inline(always)]
#[expect(unsafe_code, reason = "calling what is compiled for the instruction needs the check that stands beside it")]
pub(crate) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    if bytes.len() <= SHORT_BYTES && instruction::is_there() {
        // SAFETY: the processor has the instruction, as was just asked; the function has no other precondition.
        return unsafe { short(crc, bytes) };
    }
    crc32c::crc32c_append(crc, bytes)
}

/// The CRC-32C of 28 bytes given as words in memory order: what a frame's checksum covers. They stay in registers;
/// bytes written and read back as words would stall each other.
#[inline(always)]
#[expect(unsafe_code, reason = "as above")]
pub(crate) fn crc32c_words(words: [u64; 3], last: u32) -> u32 {
    if instruction::is_there() {
        // SAFETY: the processor has the instruction, as was just asked; the function has no other precondition.
        return unsafe { registers(words, last) };
    }
    let [first, second, third] = words;
    in_memory(first, second, third, last)
}

/// The CRC-32C of what a frame's checksum covers, given its words and its payload: as [`crc32c_words`] of the payload's
/// own CRC. The two run side by side, and the processor is asked once what it can do.
#[inline(always)]
#[expect(unsafe_code, reason = "as above")]
pub(crate) fn crc32c_frame(words: [u64; 3], payload: &[u8]) -> u32 {
    if payload.len() <= SHORT_BYTES && instruction::is_there() {
        // SAFETY: the processor has the instruction, as was just asked; the function has no other precondition.
        return unsafe { frame(words, payload) };
    }
    crc32c_words(words, crc32c(0, payload))
}

/// Does work that takes many checksums: what is inlined into it is compiled for the instruction as well, so that no
/// checksum is a call.
#[inline(always)]
#[expect(unsafe_code, reason = "as above")]
pub(crate) fn taking_checksums<R>(work: impl FnOnce() -> R) -> R {
    if instruction::is_there() {
        // SAFETY: the processor has the instruction, as was just asked; the function has no other precondition.
        unsafe { instruction::run(work) }
    } else {
        work()
    }
}

/// In registers up to here, so that nothing is stored for a call that is not made.
#[cold]
fn in_memory(first: u64, second: u64, third: u64, last: u32) -> u32 {
    let mut bytes = [0; 28];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip([first, second, third]) {
        *to = word.to_le_bytes();
    }
    bytes[24..].copy_from_slice(&last.to_le_bytes());
    crc32c(0, &bytes)
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse4.2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "crc"))]
#[inline]
fn short(crc: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(u64::from(!crc), |state, word| instruction::take_8(state, u64::from_le_bytes(*word)));
    !(rest.iter().fold(state, |state, byte| instruction::take_1(state, *byte)) as u32)
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse4.2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "crc"))]
#[inline]
fn registers(words: [u64; 3], last: u32) -> u32 {
    let state = words.iter().fold(0xFFFF_FFFF, |state, word| instruction::take_8(state, *word));
    !(instruction::take_4(state, last) as u32)
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse4.2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "crc"))]
fn frame(words: [u64; 3], payload: &[u8]) -> u32 {
    registers(words, short(0, payload))
}

/// The processor's instruction. A state is 32 bits; it stays in a register as wide as what is taken in.
#[cfg(target_arch = "x86_64")]
mod instruction {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};

    #[inline(always)]
    pub(super) fn is_there() -> bool {
        std::arch::is_x86_feature_detected!("sse4.2")
    }

    #[target_feature(enable = "sse4.2")]
    pub(super) fn run<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    pub(super) fn take_8(state: u64, word: u64) -> u64 {
        _mm_crc32_u64(state, word)
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    pub(super) fn take_4(state: u64, half: u32) -> u64 {
        u64::from(_mm_crc32_u32(state as u32, half))
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    pub(super) fn take_1(state: u64, byte: u8) -> u64 {
        u64::from(_mm_crc32_u8(state as u32, byte))
    }
}

#[cfg(target_arch = "aarch64")]
mod instruction {
    use std::arch::aarch64::{__crc32cb, __crc32cd, __crc32cw};

    #[inline(always)]
    pub(super) fn is_there() -> bool {
        std::arch::is_aarch64_feature_detected!("crc")
    }

    #[target_feature(enable = "crc")]
    pub(super) fn run<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    #[target_feature(enable = "crc")]
    #[inline]
    pub(super) fn take_8(state: u64, word: u64) -> u64 {
        u64::from(__crc32cd(state as u32, word))
    }

    #[target_feature(enable = "crc")]
    #[inline]
    pub(super) fn take_4(state: u64, half: u32) -> u64 {
        u64::from(__crc32cw(state as u32, half))
    }

    #[target_feature(enable = "crc")]
    #[inline]
    pub(super) fn take_1(state: u64, byte: u8) -> u64 {
        u64::from(__crc32cb(state as u32, byte))
    }
}

/// There is none: nobody takes anything in by it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod instruction {
    pub(super) fn is_there() -> bool {
        false
    }

    pub(super) unsafe fn run<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    pub(super) fn take_8(state: u64, word: u64) -> u64 {
        take(state, &word.to_le_bytes())
    }

    pub(super) fn take_4(state: u64, half: u32) -> u64 {
        take(state, &half.to_le_bytes())
    }

    pub(super) fn take_1(state: u64, byte: u8) -> u64 {
        take(state, &[byte])
    }

    fn take(state: u64, bytes: &[u8]) -> u64 {
        u64::from(!crc32c::crc32c_append(!(state as u32), bytes))
    }
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
        assert_eq!(crc32c_words(words, 0xDEAD_BEEF), in_memory(words[0], words[1], words[2], 0xDEAD_BEEF));
        assert_eq!(in_memory(0, 0, 0, 0), crc32c(0, &[0; 28]));
    }

    #[test]
    fn a_frames_words_and_payload_at_once_are_the_same_as_one_after_the_other() {
        let words = [0x0123_4567_89AB_CDEF, u64::MAX, 0x8000_0000_0000_0001];
        let bytes: Vec<u8> = (0..1200_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in (0..600).chain([1024, 1200]) {
            let payload = &bytes[..len];
            assert_eq!(
                crc32c_frame(words, payload),
                in_memory(words[0], words[1], words[2], crc32c::crc32c(payload)),
                "length {len}"
            );
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
