//! The address of a Redis server.

use std::str::FromStr;

use super::address::{FRAGMENT, Faults, SYNTAX, host_of, shows_its_place, url_of};
use crate::keys::Secret;

/// `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS, checked; its password is never shown.
#[derive(Clone)]
pub struct RedisUrl {
    text: Secret,
    shown: String,
}

/// Why a text is no such address. None of these repeats a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRedisUrl {
    /// Not a URL at all.
    #[error("{}", SYNTAX)]
    Syntax,
    /// Another scheme.
    #[error("it begins with neither redis:// nor rediss:// (TLS)")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    Host,
    /// Something else than a number where the database stands.
    #[error("what follows the host is not the number of a database, such as /0")]
    Database,
    /// `#…`.
    #[error("{}", FRAGMENT)]
    Fragment,
    /// `?…`.
    #[error("it carries a parameter, and none is known")]
    Parameter,
}

impl RedisUrl {
    /// The address itself, for whoever connects.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

shows_its_place!(RedisUrl);

impl FromStr for RedisUrl {
    type Err = BadRedisUrl;

    fn from_str(text: &str) -> Result<Self, BadRedisUrl> {
        let faults = Faults {
            syntax: BadRedisUrl::Syntax,
            scheme: BadRedisUrl::Scheme,
            fragment: BadRedisUrl::Fragment,
        };
        let url = url_of(text, &["redis", "rediss"], faults)?;
        if url.query().is_some() {
            return Err(BadRedisUrl::Parameter);
        }
        let host = host_of(&url).ok_or(BadRedisUrl::Host)?;
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse::<u16>().map_err(|_| BadRedisUrl::Database)?,
        };
        let port = url.port().unwrap_or(6379);
        let tls = if url.scheme() == "rediss" {
            " with TLS"
        } else {
            ""
        };
        Ok(Self {
            shown: format!("Redis database {database} at {host}:{port}{tls}"),
            text: Secret::new(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_place_and_never_its_password() {
        let texts = [
            "redis://:hidden%40@cache.example:6380/3",
            "rediss://mimamori:hidden@[::1]",
        ];

        let [plain, tls] = texts.map(|text| text.parse::<RedisUrl>().unwrap());

        assert_eq!(plain.to_string(), "Redis database 3 at cache.example:6380");
        assert_eq!(tls.to_string(), "Redis database 0 at [::1]:6379 with TLS");
        assert!(!format!("{plain:?}{tls:?}").contains("hidden"));
        assert_eq!(plain.expose(), texts[0]);
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        for (text, reason) in [
            ("cache.example", BadRedisUrl::Syntax),
            ("http://cache", BadRedisUrl::Scheme),
            ("redis:///0", BadRedisUrl::Host),
            ("redis://cache/first", BadRedisUrl::Database),
            ("redis://cache/0/1", BadRedisUrl::Database),
            ("redis://cache/0#1", BadRedisUrl::Fragment),
            ("rediss://cache/#insecure", BadRedisUrl::Fragment),
            ("redis://cache/0?protocol=resp3", BadRedisUrl::Parameter),
        ] {
            assert_eq!(text.parse::<RedisUrl>().unwrap_err(), reason, "{text}");
        }
    }
}
