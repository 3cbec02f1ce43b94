//! Which page sent a request.

use std::fmt;
use std::str::FromStr;

use crate::http::Head;

/// Scheme, host and port, as browsers write them: lower case, without the default port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// The text is not `http(s)://host[:port]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin is http:// or https://, a host, and a port if it is not the usual one")]
pub struct BadOrigin;

/// Whether a request comes from one of our pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginCheck {
    /// Not from a page: browsers name the origin of whatever a page changes, programs name none.
    Absent,
    /// From the address under which we were reached, or one in `http.origins`.
    Ours,
    /// From elsewhere, or it hides where.
    Foreign,
}

impl Origin {
    /// The origin of an absolute address: what follows the host and port is left out.
    ///
    /// # Errors
    /// When the address has no http scheme or no host.
    pub fn of_address(address: &str) -> Result<Self, BadOrigin> {
        let (scheme, rest) = address.split_once("://").ok_or(BadOrigin)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        format!("{scheme}://{authority}").parse()
    }

    /// Host and port, without the scheme.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, rest)| rest)
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(BadOrigin)?;
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(BadOrigin),
        };
        if !is_authority(authority) {
            return Err(BadOrigin);
        }
        let host = authority.strip_suffix(default_port).unwrap_or(authority);
        Ok(Self(format!("{scheme}://{host}")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Host and optional port; no user, no path.
pub(in crate::http) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
        Some((address, port)) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            (if is_address { "v6" } else { "" }, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("80")),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_name);
    is_host && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

pub(super) fn check(head: &Head, further: &[Origin]) -> OriginCheck {
    let mut named = head.headers.get_all("origin").iter();
    let Some(first) = named.next() else {
        return OriginCheck::Absent;
    };
    let origin = match (first.to_str().map(Origin::from_str), named.next()) {
        (Ok(Ok(origin)), None) => origin,
        _ => return OriginCheck::Foreign,
    };
    let own = Origin::of_address(&head.context.base_url);
    if own.as_ref() == Ok(&origin) || further.contains(&origin) {
        OriginCheck::Ours
    } else {
        OriginCheck::Foreign
    }
}
