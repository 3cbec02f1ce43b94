//! A text that must not be seen.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// A secret text: prints as `***`, compares in constant time.
#[derive(Clone)]
pub struct Secret {
    text: Arc<str>,
    /// Hashes are compared, so that not even the length shows in the time taken.
    hash: [u8; 32],
}

impl Secret {
    /// Keeps the text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        Self { text, hash }
    }

    /// `prefix` and 128 random bits in hexadecimal.
    pub(super) fn random(prefix: &str) -> Self {
        let bytes: [u8; 16] = random_bytes();
        Self::new(format!("{prefix}{}", hex(&bytes)))
    }

    /// The text itself, for the few places that must write it down.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Is it this text? An empty secret matches nothing.
    pub fn matches(&self, text: &str) -> bool {
        let same = self.hash.ct_eq(blake3::hash(text.as_bytes()).as_bytes());
        bool::from(same) && !self.text.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a kernel that has booted always has random bytes to give");
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a String can't fail");
        text
    })
}

/// The bytes behind exactly `2 * N` lower-case hexadecimal digits.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(ascii: u8) -> Option<u8> {
    match ascii {
        b'0'..=b'9' => Some(ascii - b'0'),
        b'a'..=b'f' => Some(ascii - b'a' + 10),
        _ => None,
    }
}
