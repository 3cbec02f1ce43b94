//! The addresses under which people reach the server.

use std::net::{IpAddr, SocketAddr};

use crate::config::PublicUrl;
use crate::keys::Secret;

/// Where ingest is, after the base and the key.
const EVENTS: &str = "/api/v1/events";

/// The base addresses of a server that listens here, best first; never none.
///
/// A server that listens on every address is reached by those of this machine
/// that others see.
pub(super) fn bases(listening: SocketAddr, public_url: Option<&PublicUrl>) -> Vec<String> {
    if let Some(url) = public_url {
        return vec![url.to_string()];
    }
    if !listening.ip().is_unspecified() {
        return vec![format!("http://{listening}")];
    }
    let mut others: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|address| is_reachable(*address, listening.is_ipv6()))
        .collect();
    others.sort();
    if others.is_empty() {
        others.push(loopback(listening));
    }
    others
        .into_iter()
        .map(|address| format!("http://{}", SocketAddr::new(address, listening.port())))
        .collect()
}

/// A console's address that signs in: the fragment never reaches a server or its log.
pub(super) fn sign_in(base: &str, link: &Secret) -> String {
    format!("{base}/#token={}", link.expose())
}

/// The address that an extension is given, with the key in its path.
pub(super) fn ingest(base: &str, key: &Secret) -> String {
    format!("{base}/k/{}{EVENTS}", key.expose())
}

fn is_reachable(address: IpAddr, takes_ipv6: bool) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => {
            takes_ipv6 && !address.is_loopback() && !address.is_unicast_link_local()
        }
    }
}

fn loopback(listening: SocketAddr) -> IpAddr {
    match listening {
        SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        SocketAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    }
}
