//! The address of a database of InfluxDB.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::address::{FRAGMENT, Faults, SYNTAX, host_of, shows_its_place, url_of};
use crate::keys::Secret;

/// `http://HOST:8086/?db=NAME`, checked; a user and a password in it are never shown.
#[derive(Clone)]
pub struct InfluxUrl {
    /// Without a user, a password and parameters; its path ends with a slash.
    base: Url,
    database: String,
    login: Option<(String, Secret)>,
    shown: String,
}

/// Why a text is no such address. None of these repeats a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadInfluxUrl {
    /// Not a URL at all.
    #[error("{}", SYNTAX)]
    Syntax,
    /// Another scheme.
    #[error("it does not begin with http:// or https://")]
    Scheme,
    /// A user without a password, a password without a user, or one that is no UTF-8.
    #[error("it carries a user or a password without the other, or one that is no text")]
    Login,
    /// `#…`.
    #[error("{}", FRAGMENT)]
    Fragment,
    /// No database.
    #[error("it names no database: ?db=NAME follows the host")]
    Database,
    /// A name that is none for us.
    #[error("its database is not named with 1 to 64 of the characters A-Z a-z 0-9 . _ - /")]
    Name,
    /// A parameter that is none of ours.
    #[error("it carries a parameter other than db (a token goes into series.token)")]
    Parameter,
}

impl InfluxUrl {
    /// The address of a route, such as `write`.
    pub fn route(&self, name: &str) -> Url {
        let route = self.base.join(name);
        route.expect("a base that ends with a slash takes any name")
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A user and the password, if the address carries them.
    pub fn login(&self) -> Option<(&str, &Secret)> {
        let login = self.login.as_ref();
        login.map(|(user, password)| (user.as_str(), password))
    }
}

shows_its_place!(InfluxUrl);

impl FromStr for InfluxUrl {
    type Err = BadInfluxUrl;

    fn from_str(text: &str) -> Result<Self, BadInfluxUrl> {
        let faults = Faults {
            syntax: BadInfluxUrl::Syntax,
            scheme: BadInfluxUrl::Scheme,
            fragment: BadInfluxUrl::Fragment,
        };
        let mut base = url_of(text, &["http", "https"], faults)?;
        // an address of these schemes without a host is none for the parser
        let host = host_of(&base).ok_or(BadInfluxUrl::Syntax)?.to_owned();
        let port = base.port_or_known_default().unwrap_or(8086);
        let database = database_of(&base)?;
        let login = login_of(&base)?;
        base.set_query(None);
        // neither can fail where there is a host
        let _ = base.set_username("");
        let _ = base.set_password(None);
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        Ok(Self {
            shown: format!("InfluxDB database {database} at {host}:{port}"),
            base,
            database,
            login,
        })
    }
}

fn database_of(url: &Url) -> Result<String, BadInfluxUrl> {
    let mut database = None;
    for (name, value) in url.query_pairs() {
        if name != "db" || database.is_some() {
            return Err(BadInfluxUrl::Parameter);
        }
        database = Some(value.into_owned());
    }
    let database = database.ok_or(BadInfluxUrl::Database)?;
    let is_ours = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !(1..=64).contains(&database.len()) || !database.chars().all(is_ours) {
        return Err(BadInfluxUrl::Name);
    }
    Ok(database)
}

fn login_of(url: &Url) -> Result<Option<(String, Secret)>, BadInfluxUrl> {
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(String::from).map_err(|_| BadInfluxUrl::Login)
    };
    let user = decoded(url.username())?;
    let password = decoded(url.password().unwrap_or_default())?;
    if user.is_empty() != password.is_empty() {
        return Err(BadInfluxUrl::Login);
    }
    Ok((!user.is_empty()).then(|| (user, Secret::new(password))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_place_and_never_its_password() {
        let text = "https://mimamori:hidden%40@influx.example/behind/proxy?db=class-2026";

        let url = text.parse::<InfluxUrl>().unwrap();

        assert_eq!(
            url.to_string(),
            "InfluxDB database class-2026 at influx.example:443"
        );
        assert_eq!(
            url.route("write").as_str(),
            "https://influx.example/behind/proxy/write"
        );
        let (user, password) = url.login().unwrap();
        assert_eq!((user, password.expose()), ("mimamori", "hidden@"));
        assert!(!format!("{url:?}").contains("hidden"));
    }

    #[test]
    fn the_shortest_address_is_enough() {
        let url = "http://localhost:8086/?db=m".parse::<InfluxUrl>().unwrap();

        assert_eq!(url.route("query").as_str(), "http://localhost:8086/query");
        assert_eq!(url.database(), "m");
        assert!(url.login().is_none());
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        for (text, reason) in [
            ("influx.example/?db=m", BadInfluxUrl::Syntax),
            ("influx:8086/?db=m", BadInfluxUrl::Scheme),
            ("http:///?db=m", BadInfluxUrl::Syntax),
            ("http://h:8086", BadInfluxUrl::Database),
            ("http://h:8086/m", BadInfluxUrl::Database),
            ("http://h:8086/?db=", BadInfluxUrl::Name),
            ("http://h:8086/?db=a%22b", BadInfluxUrl::Name),
            ("http://h:8086/?db=m#x", BadInfluxUrl::Fragment),
            ("http://h:8086/?db=m&token=x", BadInfluxUrl::Parameter),
            ("http://h:8086/?db=m&db=n", BadInfluxUrl::Parameter),
            ("http://user@h:8086/?db=m", BadInfluxUrl::Login),
            ("http://:secret@h:8086/?db=m", BadInfluxUrl::Login),
        ] {
            assert_eq!(text.parse::<InfluxUrl>().unwrap_err(), reason, "{text}");
        }
    }
}
