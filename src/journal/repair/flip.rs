//! Finds the one bit of a frame that changed.
//!
//! A CRC is linear: the checksum of damaged bytes differs from that of the good
//! ones by the checksum of the damage alone. The damage of one bit is a value
//! that only this bit's place gives (the polynomial's order is 2^32 - 1 bits,
//! more than a frame has), so the place is found by going through all of them
//! once. Bytes that are damaged otherwise look like one bit in about one case of
//! 2^32 / (bits of the frame): whoever uses this looks at more than the checksum.

use crate::journal::frame::{self, Check, HEADER_BYTES};

/// The polynomial of CRC-32, reflected.
const POLYNOMIAL: u32 = 0xEDB8_8320;
/// Bytes of the header under the checksum, behind the payload in its order.
const CHECKED_HEADER_BYTES: usize = frame::CRC_AT;

/// The frame that these bytes were, all of them, before one bit of them changed.
pub(super) fn put_right(bytes: &[u8]) -> Option<Vec<u8>> {
    let difference = frame::crc_difference(bytes)?;
    let mut right = bytes.to_vec();
    if difference.count_ones() == 1 {
        // it is the checksum itself that changed
        let stored = frame::u32_at(bytes, frame::CRC_AT) ^ difference;
        right[frame::CRC_AT..HEADER_BYTES].copy_from_slice(&stored.to_le_bytes());
    } else {
        let (byte, bit) = place_of(difference, bytes.len())?;
        right[byte] ^= 1 << bit;
    }
    match frame::check(&right) {
        Check::Whole(header) if header.frame_bytes() == right.len() => Some(right),
        Check::Whole(_) | Check::Short { .. } | Check::Bad | Check::UnknownVersion(_) => None,
    }
}

/// Which byte of a frame of so many bytes, and which bit of it, makes this difference.
fn place_of(difference: u32, frame_bytes: usize) -> Option<(usize, u32)> {
    let checked = frame_bytes - (HEADER_BYTES - CHECKED_HEADER_BYTES);
    let mut made = 1;
    for from_end in 0..checked {
        for bit in (0..8).rev() {
            made = (made >> 1) ^ if made & 1 == 1 { POLYNOMIAL } else { 0 };
            if made == difference {
                return Some((byte_of(from_end, frame_bytes), bit));
            }
        }
    }
    None
}

/// The payload comes first under the checksum, and then the header.
fn byte_of(from_end: usize, frame_bytes: usize) -> usize {
    match from_end.checked_sub(CHECKED_HEADER_BYTES) {
        None => CHECKED_HEADER_BYTES - 1 - from_end,
        Some(in_payload) => frame_bytes - 1 - in_payload,
    }
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{Heard, Position, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::journal::frame::FrameHeader;

    fn frame_of(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES];
        frame.extend_from_slice(&[7; 32]);
        frame.extend_from_slice(payload);
        let crc = frame::payload_crc(&frame[HEADER_BYTES..]);
        frame.extend_from_slice(&[0; 8]);
        let header = FrameHeader {
            version: frame::VERSION,
            payload_bytes: u32::try_from(frame.len() - HEADER_BYTES).unwrap(),
            entries: 1,
            first: Position(7),
            received_at: Timestamp::from_millis(1),
            heard_at: Heard::from_millis(2),
        };
        header.seal(&mut frame, crc);
        frame
    }

    #[test]
    fn any_one_bit_of_a_frame_is_found() {
        let good = frame_of(b"[{\"a\":1}]");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);

            assert_eq!(put_right(&bad).as_ref(), Some(&good), "bit {bit}");
        }
    }

    #[test]
    fn an_undamaged_frame_and_what_is_too_short_for_one_are_nothing_to_put_right() {
        assert_eq!(put_right(&frame_of(b"[1]")), None);
        assert_eq!(put_right(&[0xFF; 20]), None);
        assert_eq!(put_right(&[]), None);
    }

    proptest! {
        #[test]
        fn two_bits_are_not_taken_for_one(
            payload in proptest::collection::vec(any::<u8>(), 1..300),
            one in any::<prop::sample::Index>(),
            other in any::<prop::sample::Index>(),
        ) {
            let good = frame_of(&payload);
            let bits = good.len() * 8;
            let (one, other) = (one.index(bits), other.index(bits));
            prop_assume!(one != other);
            let mut bad = good;
            bad[one / 8] ^= 1 << (one % 8);
            bad[other / 8] ^= 1 << (other % 8);

            prop_assert_eq!(put_right(&bad), None);
        }
    }
}
