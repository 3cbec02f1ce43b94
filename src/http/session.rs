//! `/api/v1/session`: a console signs in and out.
//!
//! The page gets a sign-in token in the fragment of its address, where no
//! server and no log sees it, and gives it here once for a cookie that no
//! script can read.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use mimamori_actors::domain::Timestamp;
use serde::Deserialize;
use serde_json::json;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, StatusCode, header};
use warp::{Buf, Filter};

use super::auth::COOKIE;
use super::body::read_small;
use super::request::head;
use super::service::{cookie_path, is_https};
use super::{Access, ApiError, Head, Response};
use crate::keys::{SESSION_LASTS, Secret};

const MAX_BODY_BYTES: usize = 4 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a console sends to sign in.
#[derive(Deserialize)]
struct SignIn {
    token: String,
}

/// `/api/v1/session`.
pub fn routes(access: Arc<Access>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "v1" / "session")
        .and(head())
        .and(warp::body::stream())
        .and(warp::any().map(move || Arc::clone(&access)))
        .then(async |head: Head, body, access: Arc<Access>| {
            let answered = answer(&head, body, &access).await;
            answered.unwrap_or_else(|error| error.into_response(&head.context.request_id))
        })
        .boxed()
}

async fn answer<S, B>(head: &Head, body: S, access: &Access) -> Result<Response, ApiError>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    match head.method {
        Method::GET | Method::HEAD => who_am_i(head, access),
        Method::POST => {
            access.refuse_foreign(head)?;
            require_json(head)?;
            sign_in(
                head,
                &read_small(body, MAX_BODY_BYTES, BODY_TIMEOUT).await?,
                access,
            )
        }
        Method::DELETE => sign_out(head, access).await,
        _ => Err(ApiError::method_not_allowed("GET, HEAD, POST, DELETE")),
    }
}

fn who_am_i(head: &Head, access: &Access) -> Result<Response, ApiError> {
    let viewer = access.viewer(head)?;
    Ok(json_answer(&json!({
        "viewer": viewer.name(),
        "expires": access.session_expires(head),
    })))
}

fn sign_in(head: &Head, body: &[u8], access: &Access) -> Result<Response, ApiError> {
    let SignIn { token } = serde_json::from_slice(body).map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "bad_json",
            "the body must be {\"token\":\"…\"}",
        )
    })?;
    let (cookie, session) = access.sign_in(&token)?;
    tracing::info!(request.id = head.context.request_id, "a console signed in");
    let mut response = json_answer(&json!({
        "viewer": "instructor",
        "expires": session.expires,
    }));
    set_cookie(&mut response, head, cookie.expose(), SESSION_LASTS)?;
    Ok(response)
}

async fn sign_out(head: &Head, access: &Access) -> Result<Response, ApiError> {
    access.refuse_foreign(head)?;
    access.sign_out(head).await;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    set_cookie(&mut response, head, "", Duration::ZERO)?;
    Ok(response)
}

fn require_json(head: &Head) -> Result<(), ApiError> {
    let kind = head.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not_json",
        "the Content-Type must be application/json",
    ))
}

fn set_cookie(
    response: &mut Response,
    head: &Head,
    value: &str,
    lasts: Duration,
) -> Result<(), ApiError> {
    let base_url = &head.context.base_url;
    let cookie = format!(
        "{COOKIE}={value}; Path={}; Max-Age={}; HttpOnly; SameSite=Lax{}",
        cookie_path(base_url),
        lasts.as_secs(),
        if is_https(base_url) { "; Secure" } else { "" },
    );
    let mut cookie = HeaderValue::from_str(&cookie).map_err(|_| ApiError::internal())?;
    cookie.set_sensitive(true);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(())
}

/// An answer of JSON with status 200.
pub(super) fn json_answer(value: &impl serde::Serialize) -> Response {
    // our own documents: no map with other keys than text, nothing that fails to serialise
    let body = serde_json::to_vec(value).expect("plain values always serialise");
    let mut response = Response::new(body.into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A fresh sign-in link for the console at this address; the fragment never reaches a server.
pub fn sign_in_link(base_url: &str, access: &Access) -> (Secret, Timestamp) {
    let (token, expires) = access.new_link();
    let base = base_url.trim_end_matches('/');
    (
        Secret::new(format!("{base}/#token={}", token.expose())),
        expires,
    )
}

#[cfg(test)]
mod tests;
