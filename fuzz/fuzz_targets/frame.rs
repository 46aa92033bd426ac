//! The bytes of frames, headers, slots and SEALs: any bytes are decoded without a panic; what is encoded decodes to the
//! same; a frame passes only for its own seed and offset; what is accepted is exactly what would have been written.
#![no_main]
#![allow(dead_code, unfulfilled_lint_expectations, reason = "the library's own files, which need nothing else of it")]

#[path = "../../src/checksum.rs"]
mod checksum;
#[path = "../../src/record.rs"]
mod record;
#[path = "../../src/seeded.rs"]
mod seeded;

use checksum::crc32c;
mod shared;

use libfuzzer_sys::fuzz_target;
use record::{Cause, Check, FRAMES_START, Header, Kind, Seal, Slot};
use shared::Input;
use std::ops::ControlFlow;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.u8() % 4 {
        0 => any_bytes(&mut input),
        1 => frames(&mut input),
        2 => pages(&mut input),
        _ => walk(&mut input),
    }
});

/// Bytes that the fuzzer chooses, as each of the things.
fn any_bytes(input: &mut Input<'_>) {
    let (seed, offset) = (input.u32(), input.u64());
    let bytes = input.0;
    let _ = record::decode_head(bytes);
    let located = record::locate_frame(bytes);
    if let Some(frame) = &located {
        assert!(frame.head.frame_bytes() as usize <= bytes.len());
        assert_eq!(frame.payload.len(), frame.head.payload_len);
    }
    let trusted = record::take_frame(bytes, seed, offset, Check::Trust);
    assert_eq!(trusted.map(|frame| frame.head), located.map(|frame| frame.head));
    if let Some(frame) = record::take_frame(bytes, seed, offset, Check::Verify) {
        is_canonical(bytes, &frame, seed, offset);
    }
    page(bytes);
    let mut page_of_any = vec![0; FRAMES_START as usize];
    for (at, byte) in [0, 1024, 2048, 3072].into_iter().flat_map(|at| at..at + 80).zip(bytes) {
        page_of_any[at] = *byte;
    }
    page(&page_of_any);
}

/// A frame that was accepted is the one that would have been written, and is accepted nowhere else.
fn is_canonical(bytes: &[u8], frame: &record::Frame<'_>, seed: u32, offset: u64) {
    let head = frame.head;
    let (kind, time) = (head.kind, head.timestamp_ns);
    let again = record::encode_head(kind, seed, offset, time, frame.payload.len(), crc32c(0, frame.payload));
    assert_eq!(bytes[..16], again);
    let whole = head.frame_bytes() as usize;
    assert!(bytes[16 + frame.payload.len()..whole].iter().all(|byte| *byte == 0));
    // A CRC sees every error burst of up to 32 bits, so these are no matter of chance.
    for bit in 0..32 {
        assert!(record::decode_frame(bytes, seed ^ 1 << bit, offset).is_none());
    }
    for bit in 0..64 {
        assert!(record::decode_frame(bytes, seed, offset ^ 1 << bit).is_none());
    }
    assert!(record::decode_frame(&bytes[..whole - 1], seed, offset).is_none());
}

fn kind(byte: u8) -> Kind {
    match byte % 3 {
        0 => Kind::Record { more: false },
        1 => Kind::Record { more: true },
        _ => Kind::Seal,
    }
}

/// Frames that are made, and then one bit of them changed.
fn frames(input: &mut Input<'_>) {
    let (kind, seed, offset, time) = (kind(input.u8()), input.u32(), input.number(), input.number());
    let flipped = input.u16();
    let payload = input.0;
    let mut bytes = match kind {
        Kind::Seal => {
            let seal = Seal {
                records: input.number(),
                payload_bytes: input.number(),
                first_timestamp_ns: input.number(),
                last_timestamp_ns: time,
            };
            seal.encode(seed, offset).to_vec()
        }
        Kind::Record { .. } => {
            let mut bytes = record::encode_head(kind, seed, offset, time, payload.len(), crc32c(0, payload)).to_vec();
            bytes.extend(payload);
            bytes.resize(record::frame_bytes(payload.len()) as usize, 0);
            bytes
        }
    };
    let frame = record::decode_frame(&bytes, seed, offset).expect("what is encoded decodes");
    assert_eq!((frame.head.kind, frame.head.timestamp_ns), (kind, time));
    if kind != Kind::Seal {
        assert_eq!(frame.payload, payload);
    }
    is_canonical(&bytes, &frame, seed, offset);
    let bit = usize::from(flipped) % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    // Another length takes other bytes into the payload, of which a CRC may say anything.
    if !(4..32).contains(&bit) {
        assert!(record::decode_frame(&bytes, seed, offset).is_none(), "bit {bit}");
    }
}

/// A first page of any bytes: what it says, it would say again.
fn page(bytes: &[u8]) {
    let Ok(header) = Header::decode_page(bytes) else { return };
    assert_eq!(Header::decode_page(&header.encode_page(None)), Ok(header));
    if let Some(slot) = Slot::decode_page(bytes, &header) {
        let again = header.encode_page(Some(&slot));
        assert_eq!(Slot::decode_page(&again, &header), Some(slot));
        assert!(slot.position >= FRAMES_START && slot.next_offset >= header.base_offset);
    }
}

fn cause(byte: u8) -> Cause {
    match byte {
        0 => Cause::Roll,
        1 => Cause::Truncate,
        2 => Cause::Reset,
        3 => Cause::Recovery,
        4 => Cause::Ahead,
        other => Cause::Other(u32::from(other)),
    }
}

/// Pages that are made, and then a run of bytes of them changed.
fn pages(input: &mut Input<'_>) {
    let mut log_id = [0; 16];
    for (to, byte) in log_id.iter_mut().zip(input.bytes(16)) {
        *to = *byte;
    }
    let header = Header {
        epoch: input.u32(),
        base_offset: input.number(),
        floor_epoch: input.u32(),
        seed: input.u32(),
        timestamp_floor_ns: input.number(),
        created_ns: input.number(),
        log_id,
        prior_payload_bytes: input.number(),
        cause: cause(input.u8()),
    };
    let slot = Slot {
        count: input.number(),
        position: input.number(),
        next_offset: input.number(),
        last_timestamp_ns: input.number(),
        payload_bytes: input.number(),
        sealed: input.u8() % 2 == 1,
    };
    let mut bytes = header.encode_page(Some(&slot));
    assert_eq!(bytes.len() as u64, FRAMES_START);
    assert_eq!(Header::decode_page(&bytes), Ok(header));
    let frames = slot.position.checked_sub(FRAMES_START).filter(|frames| frames % 8 == 0);
    let records = slot.next_offset.checked_sub(header.base_offset);
    let plausible = frames.zip(records).is_some_and(|(frames, records)| records <= frames / 16);
    assert_eq!(Slot::decode_page(&bytes, &header), plausible.then_some(slot));
    let (at, xor) = (usize::from(input.u16()), u8::max(input.u8(), 1));
    if let Some(byte) = bytes.get_mut(at % 4096) {
        *byte ^= xor;
    }
    // One byte never costs the header, nor makes another slot of the one that is there.
    assert_eq!(Header::decode_page(&bytes), Ok(header));
    assert!(Slot::decode_page(&bytes, &header).is_none_or(|read| read == slot));
    for (at, byte) in (usize::from(input.u16()) % 4096..4096).zip(input.0) {
        bytes[at] = *byte;
    }
    page(&bytes);
    page(&bytes[..usize::from(input.u16()) % 4097]);
}

/// Frames in a row, read one behind the other as recovery does: it ends, and within the bytes.
fn walk(input: &mut Input<'_>) {
    let (seed, mut offset) = (input.u32(), input.number());
    let mut bytes = Vec::new();
    for n in 0..input.u8() % 8 {
        let payload = vec![n; usize::from(input.u8())];
        let kind = kind(input.u8());
        let at = offset.wrapping_add(u64::from(n));
        bytes.extend(record::encode_head(kind, seed, at, input.number(), payload.len(), crc32c(0, &payload)));
        bytes.extend(&payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    while !input.is_empty() {
        let (at, byte) = (usize::from(input.u16()), input.u8());
        match bytes.get_mut(at) {
            Some(place) => *place ^= byte,
            None => bytes.push(byte),
        }
    }
    let mut at = 0;
    let walked = (0..=bytes.len()).try_for_each(|_| match record::decode_frame(&bytes[at..], seed, offset) {
        Some(frame) => {
            at += frame.head.frame_bytes() as usize;
            offset = offset.wrapping_add(1);
            assert!(at <= bytes.len() && at % 8 == 0);
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    });
    assert!(walked.is_break(), "a walk goes on for ever");
}
