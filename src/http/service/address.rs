//! Under which address a request reached us, and what of it is for the routes.

use std::net::{IpAddr, SocketAddr};

use percent_encoding::percent_decode_str;
use warp::http::uri::PathAndQuery;
use warp::http::{HeaderMap, Method, Request, Uri, header};

use super::FrontOptions;
use crate::http::auth::{Origin, is_authority};
use crate::networks::Networks;

/// What a trusted proxy may say; taken off once it was heard, so that what is
/// still there later was said by somebody who is not trusted.
const FORWARDED: [&str; 4] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
];

#[derive(Debug)]
pub(super) struct Address {
    /// Without a final slash.
    public_url: Option<String>,
    /// The path of the public address: empty, or `/a/b`.
    prefix: String,
    trusted: Networks,
}

/// What was found out about a request.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) peer: SocketAddr,
    pub(super) path_key: Option<String>,
    pub(super) base_url: String,
    /// Where the client should go instead.
    pub(super) redirect: Option<String>,
}

impl Address {
    pub(super) fn new(options: FrontOptions) -> Self {
        let public_url = options
            .public_url
            .map(|url| url.trim_end_matches('/').to_owned())
            .filter(|url| !url.is_empty());
        let prefix = public_url.as_deref().map_or("", path_of).to_owned();
        Self {
            public_url,
            prefix,
            trusted: options.trusted_proxies,
        }
    }

    /// Finds out who asks and how, and leaves in the request what the routes know.
    pub(super) fn resolve<B>(&self, request: &mut Request<B>, peer: SocketAddr) -> Found {
        let is_trusted = self.trusted.contains(peer.ip());
        let base_url = self.base_url(request, is_trusted);
        let found_peer = if is_trusted {
            self.forwarded_for(request.headers()).unwrap_or(peer)
        } else {
            peer
        };
        if is_trusted {
            for name in FORWARDED {
                request.headers_mut().remove(name);
            }
        }
        let (path_key, redirect) = self.take_off(request, &base_url);
        Found {
            peer: found_peer,
            path_key,
            base_url,
            redirect,
        }
    }

    fn base_url<B>(&self, request: &Request<B>, is_trusted: bool) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let said = |name| first_of(request.headers(), name).filter(|_| is_trusted);
        let scheme = match said("x-forwarded-proto") {
            Some("https") => "https",
            _ => "http",
        };
        let host = said("x-forwarded-host")
            .or_else(|| first_of(request.headers(), header::HOST.as_str()))
            .or_else(|| Some(request.uri().authority()?.as_str()))
            .filter(|host| is_authority(host))
            .unwrap_or("localhost");
        format!("{scheme}://{host}")
    }

    /// The address that the nearest proxies we trust were asked from.
    fn forwarded_for(&self, headers: &HeaderMap) -> Option<SocketAddr> {
        let lines: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|line| line.to_str().ok())
            .collect();
        let mut nearest = None;
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(ip) = hop_address(hop) else { break };
            nearest = Some(SocketAddr::new(ip, 0));
            if !self.trusted.contains(ip) {
                break;
            }
        }
        nearest
    }

    /// Takes the public path and `/k/KEY` off the path.
    fn take_off<B>(
        &self,
        request: &mut Request<B>,
        base_url: &str,
    ) -> (Option<String>, Option<String>) {
        let path = request.uri().path();
        let inner = match path.strip_prefix(self.prefix.as_str()) {
            // the page's own addresses are relative: they need the final slash
            Some("") if !self.prefix.is_empty() && is_reading(request.method()) => {
                return (None, Some(format!("{base_url}/")));
            }
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) | None => path,
        };
        let (key, inner) = match inner.strip_prefix("/k/") {
            Some(rest) => {
                let (key, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                (Some(key), if rest.is_empty() { "/" } else { rest })
            }
            None => (None, inner),
        };
        if inner.len() != path.len() || request.uri().scheme().is_some() {
            let inner = inner.to_owned();
            replace_path(request, &inner);
        }
        (key, None)
    }
}

fn replace_path<B>(request: &mut Request<B>, path: &str) {
    let path_and_query = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // a tail of a valid path that begins with a slash is a valid path
    if let Ok(parsed) = path_and_query.parse::<PathAndQuery>() {
        *request.uri_mut() = Uri::from(parsed);
    }
}

fn is_reading(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// The first of a list in a header: what the proxy nearest to the client said.
fn first_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let first = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
    (!first.is_empty()).then_some(first)
}

/// An address, possibly with a port, as proxies write it.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    hop.parse()
        .or_else(|_| hop.parse::<SocketAddr>().map(|with_port| with_port.ip()))
        .or_else(|_| hop.trim_matches(['[', ']']).parse())
        .ok()
}

/// The cookie's path: where the public address leads.
pub(in crate::http) fn cookie_path(base_url: &str) -> &str {
    match path_of(base_url) {
        "" => "/",
        path => path,
    }
}

/// Is the server reached over TLS?
pub(in crate::http) fn is_https(base_url: &str) -> bool {
    Origin::of_address(base_url).is_ok_and(|origin| origin.to_string().starts_with("https:"))
}
