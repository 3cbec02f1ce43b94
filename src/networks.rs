//! Sets of addresses, as the configuration names them.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Addresses that are trusted with something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// The text names no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("addresses are `loopback`, one like 10.0.0.7, or a network like 10.0.0.0/8")]
pub struct BadNetwork;

impl Networks {
    /// This machine itself.
    pub fn loopback() -> Self {
        Self(vec![
            IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
            IpNet::from(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)),
        ])
    }

    /// All that the texts name.
    ///
    /// # Errors
    /// When one of them names no addresses.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, BadNetwork> {
        let mut all = Self::default();
        for text in texts {
            all.0.extend(text.as_ref().parse::<Self>()?.0);
        }
        Ok(all)
    }

    /// Is the address among them? An IPv4 address in IPv6 clothes counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromIterator<Self> for Networks {
    fn from_iter<T: IntoIterator<Item = Self>>(sets: T) -> Self {
        Self(sets.into_iter().flat_map(|set| set.0).collect())
    }
}

impl FromStr for Networks {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let text = text.trim();
        if text == "loopback" {
            return Ok(Self::loopback());
        }
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse::<IpNet>());
        Ok(Self(vec![network.map_err(|_| BadNetwork)?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(networks: &Networks, address: &str) -> bool {
        networks.contains(address.parse().unwrap())
    }

    #[test]
    fn loopback_is_this_machine_in_both_families() {
        let networks = Networks::parse(&["loopback"]).unwrap();

        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(has(&networks, own), "{own}");
        }
        assert!(!has(&networks, "10.0.0.1"));
        assert!(!has(&networks, "::2"));
    }

    #[test]
    fn a_network_and_an_address_are_told_apart() {
        let networks = Networks::parse(&["10.0.0.0/8", "192.0.2.7"]).unwrap();

        assert!(has(&networks, "10.255.0.1"));
        assert!(has(&networks, "192.0.2.7"));
        assert!(!has(&networks, "192.0.2.8"));
        assert!(!has(&Networks::default(), "127.0.0.1"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "local", "10.0.0.0/33", "10.0.0"] {
            assert_eq!(Networks::parse(&[text]), Err(BadNetwork), "{text}");
        }
    }
}
