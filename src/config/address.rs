//! What the addresses of stores have in common: what is wrong with any URL, and that of a
//! good one only the place is ever shown.

use reqwest::Url;

/// Not a URL at all.
pub(super) const SYNTAX: &str = "it is no URL (characters such as @ : / ? # % in a password are written as %40 %3A %2F %3F %23 %25)";
/// `#…`.
pub(super) const FRAGMENT: &str = "it carries a fragment (a # in a password is written as %23)";

/// How a kind of address calls what is wrong with any URL.
pub(super) struct Faults<E> {
    pub(super) syntax: E,
    pub(super) scheme: E,
    pub(super) fragment: E,
}

/// The URL, if it is one with one of these schemes and without a fragment.
pub(super) fn url_of<E>(text: &str, schemes: &[&str], faults: Faults<E>) -> Result<Url, E> {
    let url = Url::parse(text).map_err(|_| faults.syntax)?;
    if !schemes.contains(&url.scheme()) {
        return Err(faults.scheme);
    }
    if url.fragment().is_some() {
        return Err(faults.fragment);
    }
    Ok(url)
}

/// The host, which a URL of an unknown scheme may lack.
pub(super) fn host_of(url: &Url) -> Option<&str> {
    url.host_str().filter(|host| !host.is_empty())
}

/// `Display` and `Debug` of an address: its field `shown`, what may stand in a log.
macro_rules! shows_its_place {
    ($address:ident) => {
        impl std::fmt::Display for $address {
            /// The database and the host: what may stand in a log.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.shown)
            }
        }

        impl std::fmt::Debug for $address {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($address), "({})"), self.shown)
            }
        }
    };
}

pub(super) use shows_its_place;
