//! The opening handshake: RFC 6455, section 4.2.

use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::SUBPROTOCOL;
use super::sign_in::{Credential, SignIn};
use crate::http::auth::{COOKIE, OriginCheck};
use crate::http::{ApiError, Head, Response};

/// How the second subprotocol begins that carries a token.
const BEARER_PROTOCOL: &str = "bearer.";

/// A handshake that was found good.
pub(super) struct Accepted {
    pub(super) upgrade: OnUpgrade,
    pub(super) accept_key: String,
    pub(super) credential: Credential,
}

/// Checks a handshake in the order of the contract: 405, 403, 400.
///
/// Credentials are only taken out here: a wrong one is answered on the open
/// socket, because a browser hides the status of a refused handshake from its page.
pub(super) fn check(
    head: Head,
    upgrade: Option<OnUpgrade>,
    sign_in: &dyn SignIn,
) -> Result<Accepted, ApiError> {
    if head.method != Method::GET {
        return Err(ApiError::method_not_allowed("GET"));
    }
    let origin = sign_in.origin(&head);
    if origin == OriginCheck::Foreign {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "this page's origin is not the server's own and not in http.origins",
        ));
    }
    let upgrade = upgrade
        .filter(|_| {
            names(&head.headers, "upgrade").any(|name| name.eq_ignore_ascii_case("websocket"))
        })
        .ok_or_else(|| upgrade_required("this address speaks WebSocket"))?;
    if head.header("sec-websocket-version") != Some("13") {
        return Err(upgrade_required(
            "this address speaks version 13 of WebSocket",
        ));
    }
    let key = head
        .header("sec-websocket-key")
        .filter(|key| is_handshake_key(key))
        .ok_or_else(|| bad_handshake("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    if !names(&head.headers, "sec-websocket-protocol").any(|name| name == SUBPROTOCOL) {
        return Err(bad_handshake("offer the subprotocol mimamori.v1"));
    }
    Ok(Accepted {
        upgrade,
        accept_key: derive_accept_key(key.as_bytes()),
        credential: credential(head, origin),
    })
}

/// 101. Only our subprotocol is named, never the one with the token.
pub(super) fn switching_protocols(accept_key: &str) -> Response {
    let mut response = Response::new(String::new().into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    headers.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        HeaderValue::from_str(accept_key).expect("base64 is a header value"),
    );
    response
}

/// The problem document; with 426 go the headers that RFC 6455 and 9110 ask for.
pub(super) fn refused(refusal: ApiError, request_id: &str) -> Response {
    let mut response = refusal.into_response(request_id);
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
    }
    response
}

/// The first that is shown counts: a wrong token is not healed by a good cookie.
fn credential(mut head: Head, origin: OriginCheck) -> Credential {
    if let Some(token) = bearer(&head) {
        return Credential::Token(token.to_owned());
    }
    let in_protocol = names(&head.headers, "sec-websocket-protocol")
        .find_map(|name| name.strip_prefix(BEARER_PROTOCOL));
    if let Some(token) = in_protocol {
        return Credential::Token(token.to_owned());
    }
    // a browser adds the cookie to whatever page asks, so without our Origin it says nothing
    if origin == OriginCheck::Ours && has_cookie(&head) {
        head.headers = cookies_of(&head.headers);
        return Credential::Cookie(Box::new(head));
    }
    Credential::FirstFrame
}

fn bearer(head: &Head) -> Option<&str> {
    let value = head.header("authorization")?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn has_cookie(head: &Head) -> bool {
    head.headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .any(|(name, _)| name == COOKIE)
}

/// What is needed to look at the cookie again later, and no more: it is kept as long as the connection.
fn cookies_of(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for line in headers.get_all(header::COOKIE) {
        kept.append(header::COOKIE, line.clone());
    }
    kept
}

/// The members of a header that is a list, over all its lines.
fn names<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

/// 16 bytes in base64: 22 characters and two signs of filling.
fn is_handshake_key(key: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.len() == 24
        && key
            .strip_suffix("==")
            .is_some_and(|text| text.bytes().all(is_base64))
}

fn bad_handshake(detail: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_handshake", detail)
}

fn upgrade_required(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
}
