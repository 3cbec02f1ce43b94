//! The address of a Redis server.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

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
    #[error(
        "it is no URL (characters such as @ : / ? # % in a password are written as %40 %3A %2F %3F %23 %25)"
    )]
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
    #[error("it carries a fragment (a # in a password is written as %23)")]
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

impl fmt::Display for RedisUrl {
    /// The database and the host: what may stand in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.shown)
    }
}

impl FromStr for RedisUrl {
    type Err = BadRedisUrl;

    fn from_str(text: &str) -> Result<Self, BadRedisUrl> {
        let url = Url::parse(text).map_err(|_| BadRedisUrl::Syntax)?;
        let tls = match url.scheme() {
            "redis" => "",
            "rediss" => " with TLS",
            _ => return Err(BadRedisUrl::Scheme),
        };
        if url.fragment().is_some() {
            return Err(BadRedisUrl::Fragment);
        }
        if url.query().is_some() {
            return Err(BadRedisUrl::Parameter);
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or(BadRedisUrl::Host)?;
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse::<u16>().map_err(|_| BadRedisUrl::Database)?,
        };
        let port = url.port().unwrap_or(6379);
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
