//! The address under which others reach the server.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// Scheme, host and path of the server as others see it, without a final slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    path: String,
}

/// Why a text is no public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not a URL at all.
    #[error("it is no URL")]
    Syntax,
    /// Neither http nor https.
    #[error("it does not begin with http:// or https://")]
    Scheme,
    /// A name or a password stands before the host.
    #[error("it carries a name or a password")]
    Credentials,
    /// `?…` or `#…`.
    #[error("it carries a query or a fragment")]
    Query,
    /// Something follows the host where nothing may.
    #[error("it carries a path")]
    Path,
}

impl PublicUrl {
    /// Scheme, host and, unless it is the scheme's own, port: what browsers send as `Origin`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path without a final slash; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether browsers reach us by TLS, so that cookies must be `Secure`.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https:")
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl FromStr for PublicUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let url = Url::parse(text).map_err(|_| BadUrl::Syntax)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadUrl::Query);
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// An origin in the form in which browsers send it.
///
/// # Errors
/// The text is no URL, or is more than scheme, host and port.
pub(super) fn parse_origin(text: &str) -> Result<String, BadUrl> {
    let url: PublicUrl = text.parse()?;
    if url.path.is_empty() {
        Ok(url.origin)
    } else {
        Err(BadUrl::Path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_may_carry_a_path() {
        let url: PublicUrl = "https://Hub.example:443/services/mimamori/"
            .parse()
            .unwrap();

        assert_eq!(url.origin(), "https://hub.example");
        assert_eq!(url.path(), "/services/mimamori");
        assert_eq!(url.to_string(), "https://hub.example/services/mimamori");
        assert!(url.is_https());
    }

    #[test]
    fn the_root_has_an_empty_path() {
        for text in ["http://192.0.2.1:8000", "http://192.0.2.1:8000/"] {
            let url: PublicUrl = text.parse().unwrap();

            assert_eq!(url.path(), "");
            assert_eq!(url.to_string(), "http://192.0.2.1:8000");
        }
    }

    #[test]
    fn an_origin_carries_no_path() {
        assert_eq!(
            parse_origin("https://hub.example/").unwrap(),
            "https://hub.example"
        );
        assert_eq!(parse_origin("https://hub.example/hub"), Err(BadUrl::Path));
        assert_eq!(parse_origin("null"), Err(BadUrl::Syntax));
    }
}
