//! What every handler may know of a request besides its body.

use std::net::SocketAddr;

use warp::Filter;
use warp::http::{HeaderMap, Method};

/// Put into each request's extensions by the outermost service, before any route sees it.
#[derive(Debug, Clone)]
pub struct Context {
    /// Names this request in answers and logs.
    pub request_id: String,
    /// Who connected; behind a trusted proxy, whom the proxy named.
    pub peer: SocketAddr,
    /// The key in the path (`/k/KEY/…`), which was taken off before routing.
    pub path_key: Option<String>,
    /// Scheme, host and path under which the client reached us, without a final slash.
    pub base_url: String,
}

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path after `/k/KEY` and the public path were taken off.
    pub path: String,
    /// The query as sent; empty if there was none. May hold a secret: never logged.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// What the outermost service found out.
    pub context: Context,
}

/// Collects the [`Head`]; takes every request.
pub fn head() -> impl Filter<Extract = (Head,), Error = warp::Rejection> + Clone {
    warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Context>())
        .map(
            |method, path: warp::path::FullPath, query, headers, context| Head {
                method,
                path: path.as_str().to_owned(),
                query,
                headers,
                context,
            },
        )
}

impl Head {
    /// The value of a header, if it is there once or more and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first value of a parameter of the query, decoded; nothing if it is absent or not UTF-8.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key)? == name).then(|| decoded(value)).flatten()
        })
    }

    /// The token after `Bearer` in `Authorization`, if there is one.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }
}

/// `application/x-www-form-urlencoded` text, decoded.
fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let bytes = percent_encoding::percent_decode_str(&spaced);
    Some(bytes.decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
impl Context {
    /// A request from this machine to `http://127.0.0.1:8000`.
    pub(crate) fn for_tests() -> Self {
        Self {
            request_id: "test-1".to_owned(),
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            path_key: None,
            base_url: "http://127.0.0.1:8000".to_owned(),
        }
    }
}
