//! Secrets: what may stand in them, and that none stands for two things.

use super::Auth;
use super::read::{self, Reader};
use crate::keys::Secret;

/// Characters of a secret that signs: even of hexadecimal digits these are 128 bits.
const LEAST_SIGNING_SECRET: usize = 32;

/// Characters of the token that may do everything: it can be guessed at as fast as we answer.
const LEAST_ADMIN_TOKEN: usize = 16;

/// What may stand in a header.
pub(super) const VISIBLE: SecretRule = SecretRule {
    rule: "empty, or at most 256 visible ASCII characters",
    allows: |c| c.is_ascii_graphic(),
};

/// What may stand in a path and in a query as it is.
const IN_ADDRESSES: SecretRule = SecretRule {
    rule: "empty, or at most 256 characters of A-Z a-z 0-9 . _ ~ = -, a letter or a digit among them",
    allows: |c| c.is_ascii_alphanumeric() || "._~=-".contains(c),
};

#[derive(Clone, Copy)]
pub(super) struct SecretRule {
    rule: &'static str,
    allows: fn(char) -> bool,
}

impl Auth {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let auth = Self {
            admin_token: secret(reader, "auth.admin_token", VISIBLE),
            ingest_key: secret(reader, "auth.ingest_key", IN_ADDRESSES),
            signing_secret: secret(reader, "auth.signing_secret", VISIBLE),
        };
        let signing = auth.signing_secret.as_ref();
        let is_short = |secret: &Option<Secret>, least| {
            let length = secret.as_ref().map(|secret| secret.expose().len());
            length.is_some_and(|length| length < least)
        };
        if is_short(&auth.signing_secret, LEAST_SIGNING_SECRET) {
            reader.fault(
                "auth.signing_secret",
                "empty, or 32 to 256 visible ASCII characters, best random ones",
                "it is shorter",
            );
        }
        if is_short(&auth.admin_token, LEAST_ADMIN_TOKEN) {
            reader.fault(
                "auth.admin_token",
                "empty, or 16 to 256 visible ASCII characters, best random ones",
                "it is shorter",
            );
        }
        for other in [&auth.admin_token, &auth.ingest_key].into_iter().flatten() {
            // who knows it could sign in as anybody
            if signing.is_some_and(|secret| secret.matches(other.expose())) {
                let rule = "another text than auth.admin_token and auth.ingest_key";
                reader.fault("auth.signing_secret", rule, "they are the same");
            }
        }
        let token = &reader.given("auth.admin_token").value;
        let key = &reader.given("auth.ingest_key").value;
        // every student's notebook holds the key: it must not open administration
        if token == key && token.as_str() != Some("") {
            reader.fault(
                "auth.ingest_key",
                "another text than auth.admin_token",
                "they are the same",
            );
        }
        auth
    }
}

pub(super) fn secret(reader: &mut Reader, key: &'static str, rule: SecretRule) -> Option<Secret> {
    reader.read(key, rule.rule, |given| {
        let text = read::text(given)?;
        if text.chars().count() > 256 {
            return Err("it is longer".to_owned());
        }
        if !text.chars().all(rule.allows) {
            return Err("it holds another character".to_owned());
        }
        if !text.is_empty() && !text.contains(|c: char| c.is_ascii_alphanumeric()) {
            return Err("it holds neither a letter nor a digit".to_owned());
        }
        Ok((!text.is_empty()).then(|| Secret::new(text.to_owned())))
    })
}
