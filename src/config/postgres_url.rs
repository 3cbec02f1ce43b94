//! The address of a PostgreSQL database.

use std::str::FromStr;

use super::address::{FRAGMENT, Faults, SYNTAX, host_of, shows_its_place, url_of};
use crate::keys::Secret;

/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, checked; its password is never shown.
#[derive(Clone)]
pub struct PostgresUrl {
    text: Secret,
    shown: String,
}

/// Why a text is no such address. None of these repeats a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPostgresUrl {
    /// Not a URL at all.
    #[error("{}", SYNTAX)]
    Syntax,
    /// Another scheme.
    #[error("it does not begin with postgres://")]
    Scheme,
    /// No host, and no directory of a socket.
    #[error("it names no host")]
    Host,
    /// No role.
    #[error("it names no user")]
    User,
    /// No database.
    #[error("it names no database: /NAME follows the host")]
    Database,
    /// `#…`.
    #[error("{}", FRAGMENT)]
    Fragment,
    /// A parameter that is none of ours.
    #[error("it carries a parameter other than sslmode, sslrootcert, sslcert, sslkey and host")]
    Parameter,
    /// No mode of libpq.
    #[error("its sslmode is none of disable, allow, prefer, require, verify-ca and verify-full")]
    SslMode,
}

const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

impl PostgresUrl {
    /// The address itself, for whoever connects.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Whether the other is the same database at the same place, whoever signs in. One place may
    /// have two names: that is seen when they are asked.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        self.shown.eq_ignore_ascii_case(&other.shown)
    }
}

shows_its_place!(PostgresUrl);

impl FromStr for PostgresUrl {
    type Err = BadPostgresUrl;

    fn from_str(text: &str) -> Result<Self, BadPostgresUrl> {
        let faults = Faults {
            syntax: BadPostgresUrl::Syntax,
            scheme: BadPostgresUrl::Scheme,
            fragment: BadPostgresUrl::Fragment,
        };
        let url = url_of(text, &["postgres", "postgresql"], faults)?;
        let mut socket = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "sslmode" if SSL_MODES.contains(&&*value) => {}
                "sslmode" => return Err(BadPostgresUrl::SslMode),
                "host" if value.starts_with('/') => socket = Some(value.into_owned()),
                "sslrootcert" | "sslcert" | "sslkey" => {}
                _ => return Err(BadPostgresUrl::Parameter),
            }
        }
        let place = match (&socket, host_of(&url)) {
            (Some(socket), _) => socket.clone(),
            (None, Some(host)) => format!("{host}:{}", url.port().unwrap_or(5432)),
            (None, None) => return Err(BadPostgresUrl::Host),
        };
        if url.username().is_empty() {
            return Err(BadPostgresUrl::User);
        }
        let database = url.path().trim_start_matches('/');
        if database.is_empty() || database.contains('/') {
            return Err(BadPostgresUrl::Database);
        }
        Ok(Self {
            shown: format!("PostgreSQL database {database} at {place}"),
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
            "postgres://mimamori:hidden%40@db.example/records?sslmode=verify-full",
            "postgresql://mimamori:hidden@localhost/records?host=/run/postgresql",
        ];

        let [network, socket] = texts.map(|text| text.parse::<PostgresUrl>().unwrap());

        assert_eq!(
            network.to_string(),
            "PostgreSQL database records at db.example:5432"
        );
        assert_eq!(
            socket.to_string(),
            "PostgreSQL database records at /run/postgresql"
        );
        assert!(!format!("{network:?}{socket:?}").contains("hidden"));
        assert_eq!(network.expose(), texts[0]);
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        for (text, reason) in [
            ("db.example/records", BadPostgresUrl::Syntax),
            ("mysql://u@db/records", BadPostgresUrl::Scheme),
            ("postgres:///records", BadPostgresUrl::Host),
            ("postgres://db/records", BadPostgresUrl::User),
            ("postgres://u:p@db", BadPostgresUrl::Database),
            ("postgres://u:p@db/a/b", BadPostgresUrl::Database),
            ("postgres://u@db/r#x", BadPostgresUrl::Fragment),
            ("postgres://u@db/r?timeout=3", BadPostgresUrl::Parameter),
            ("postgres://u@db/r?sslmode=maybe", BadPostgresUrl::SslMode),
        ] {
            assert_eq!(text.parse::<PostgresUrl>().unwrap_err(), reason, "{text}");
        }
    }
}
