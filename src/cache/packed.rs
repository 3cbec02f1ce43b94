//! A value as it stands in Redis: a byte that tells the form, a check, the value.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::LARGEST;
use super::name::Name;

const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;
const CHECK: usize = 8;
/// What is smaller is not worth it.
const WORTH_DEFLATING: usize = 2 * 1024;

/// Packs a value under its name.
pub(super) fn pack(name: &Name, value: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(value.len() / 4 + 64);
    packed.push(PLAIN);
    packed.extend_from_slice(&check(name, value));
    if value.len() >= WORTH_DEFLATING {
        packed[0] = DEFLATED;
        let mut encoder = DeflateEncoder::new(packed, Compression::fast());
        // into memory: neither can fail
        if encoder.write_all(value).is_ok()
            && let Ok(done) = encoder.finish()
        {
            return done;
        }
        return Vec::new();
    }
    packed.extend_from_slice(value);
    packed
}

/// The value; nothing if it is not what was packed under this name.
pub(super) fn unpack(name: &Name, packed: &[u8]) -> Option<Bytes> {
    let (form, rest) = packed.split_first()?;
    let (known, value) = rest.split_first_chunk::<CHECK>()?;
    let value = match *form {
        PLAIN => value.to_vec(),
        DEFLATED => inflate(value)?,
        _ => return None,
    };
    (*known == check(name, &value)).then(|| value.into())
}

fn inflate(value: &[u8]) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    // whatever stands there: no more than was ever packed comes out
    let mut bounded = DeflateDecoder::new(value).take(LARGEST as u64 + 1);
    bounded.read_to_end(&mut inflated).ok()?;
    (inflated.len() <= LARGEST).then_some(inflated)
}

fn check(name: &Name, value: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new_derive_key("mimamori 2026-11 kept answers in redis");
    hasher.update(&name.rest);
    hasher.update(value);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: Name = Name {
        classroom: 1,
        rest: [7; 24],
    };

    proptest! {
        #[test]
        fn what_was_packed_comes_out_and_nothing_else_does(
            value in prop::collection::vec(any::<u8>(), 0..6_000),
            at in any::<prop::sample::Index>(),
        ) {
            let packed = pack(&NAME, &value);
            let mut altered = packed.clone();
            altered[at.index(packed.len())] ^= 0x10;
            let other = Name { rest: [8; 24], ..NAME };

            prop_assert_eq!(unpack(&NAME, &packed), Some(value.clone().into()));
            prop_assert_eq!(unpack(&other, &packed), None);
            prop_assert!(unpack(&NAME, &altered).is_none_or(|it| it == value));
            prop_assert_eq!(unpack(&NAME, &packed[..packed.len() / 2]), None);
        }
    }

    #[test]
    fn text_is_deflated_and_a_bomb_does_not_go_off() {
        let page = "{\"eventId\":\"5c1a8d6e\",\"status\":\"ok\"}".repeat(1_000);
        let mut bomb = vec![DEFLATED; 1 + CHECK];
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&vec![0; 3 * LARGEST]).unwrap();
        bomb.extend(encoder.finish().unwrap());

        assert!(pack(&NAME, page.as_bytes()).len() < page.len() / 10);
        assert_eq!(unpack(&NAME, &bomb), None);
    }
}
