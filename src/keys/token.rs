//! Signed tokens that need no memory: sign-in links and consoles' cookies.
//!
//! `lnk_` or `ses_`, then in hexadecimal: expiry (8 bytes, milliseconds since
//! 1970, big endian), a random id (16) and a keyed BLAKE3 hash over kind,
//! expiry and id, cut to 16 bytes.

use mimamori_actors::domain::Timestamp;
use subtle::ConstantTimeEq;

use super::Secret;
use super::secret::{from_hex, hex, random_bytes};

const EXPIRY: usize = 8;
const ID: usize = 16;
const MAC: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Link,
    Session,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Kind::Link => "lnk_",
            Kind::Session => "ses_",
        }
    }
}

/// What a console's cookie is recognised by; holds nothing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionToken {
    /// Random; names the sign-in.
    pub id: [u8; ID],
    /// From then on it is worth nothing.
    pub expires: Timestamp,
}

impl SessionToken {
    /// The id as text.
    pub fn id_hex(&self) -> String {
        hex(&self.id)
    }

    /// The id that [`SessionToken::id_hex`] gave.
    pub fn id_from_hex(text: &str) -> Option<[u8; ID]> {
        from_hex(text)
    }
}

/// Why a token is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// We never gave it away.
    #[error("unknown token")]
    Unknown,
    /// We did, but its time is over.
    #[error("expired token")]
    Expired,
}

pub(super) fn sign(key: &[u8; 32], kind: Kind, expires: Timestamp) -> (Secret, SessionToken) {
    let token = SessionToken {
        id: random_bytes(),
        expires,
    };
    let mut bytes = Vec::with_capacity(EXPIRY + ID + MAC);
    bytes.extend(expires.as_millis().to_be_bytes());
    bytes.extend(token.id);
    bytes.extend(mac(key, kind, token));
    let text = format!("{}{}", kind.prefix(), hex(&bytes));
    (Secret::new(text), token)
}

pub(super) fn verify(
    key: &[u8; 32],
    text: &str,
    now: Timestamp,
) -> Result<(Kind, SessionToken), BadToken> {
    let (kind, digits) = [Kind::Link, Kind::Session]
        .into_iter()
        .find_map(|kind| Some((kind, text.strip_prefix(kind.prefix())?)))
        .ok_or(BadToken::Unknown)?;
    let bytes: [u8; EXPIRY + ID + MAC] = from_hex(digits).ok_or(BadToken::Unknown)?;
    let (mut expires, mut id, mut sent) = ([0; EXPIRY], [0; ID], [0; MAC]);
    expires.copy_from_slice(&bytes[..EXPIRY]);
    id.copy_from_slice(&bytes[EXPIRY..EXPIRY + ID]);
    sent.copy_from_slice(&bytes[EXPIRY + ID..]);
    let token = SessionToken {
        id,
        expires: Timestamp::from_millis(i64::from_be_bytes(expires)),
    };
    if !bool::from(mac(key, kind, token).ct_eq(&sent)) {
        return Err(BadToken::Unknown);
    }
    if now >= token.expires {
        return Err(BadToken::Expired);
    }
    Ok((kind, token))
}

fn mac(key: &[u8; 32], kind: Kind, token: SessionToken) -> [u8; MAC] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(kind.prefix().as_bytes());
    hasher.update(&token.expires.as_millis().to_be_bytes());
    hasher.update(&token.id);
    let mut cut = [0; MAC];
    cut.copy_from_slice(&hasher.finalize().as_bytes()[..MAC]);
    cut
}
