//! What the Connect page shows: the ingest address, and the last requests that were refused.

use std::fmt;
use std::sync::Arc;

use mimamori_actors::domain::Timestamp;
use mimamori_actors::ports::Clock;
use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::Method;

use super::refusals::Refusals;
use super::request::head;
use super::session::{json_answer, sign_in_link};
use super::{Access, ApiError, Head, Response};

/// When the last event was accepted, if any was since the start.
pub type LastAccepted = Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>;

/// What the Connect page is made of.
#[derive(Clone)]
pub struct Connect {
    /// Who may see it, and the key to show.
    pub access: Arc<Access>,
    /// Filled by the service around all routes.
    pub refusals: Arc<Refusals>,
    /// Tells that events do arrive.
    pub last_accepted: LastAccepted,
    /// The clock that the times shown are of.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").finish_non_exhaustive()
    }
}

/// `GET /api/v1/connect` and `POST /api/v1/admin/links`.
pub fn routes(connect: Connect) -> BoxedFilter<(Response,)> {
    let links = links(Arc::clone(&connect.access));
    let connect = Arc::new(connect);
    let page = warp::path!("api" / "v1" / "connect")
        .and(head())
        .map(move |head: Head| answered(&head, show(&head, &connect)));
    page.or(links).unify().boxed()
}

/// `POST /api/v1/admin/links`.
pub(super) fn links(access: Arc<Access>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "v1" / "admin" / "links")
        .and(head())
        .map(move |head: Head| answered(&head, new_link(&head, &access)))
        .boxed()
}

fn answered(head: &Head, result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|error| error.into_response(&head.context.request_id))
}

fn show(head: &Head, connect: &Connect) -> Result<Response, ApiError> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(ApiError::method_not_allowed("GET, HEAD"));
    }
    connect.access.viewer(head)?;
    let base = &head.context.base_url;
    let key = connect.access.keys().ingest_key().expose();
    Ok(json_answer(&json!({
        "classroom": "default",
        "key": key,
        "ingestUrl": ingest_address(base, key),
        "ingestUrlWithQuery": format!("{base}/api/v1/events?key={}", in_address(key)),
        "eventsUrl": format!("{base}/api/v1/events"),
        "lastAccepted": (connect.last_accepted)(),
        "lastRefusals": connect.refusals.last(),
        "now": connect.clock.now(),
    })))
}

fn new_link(head: &Head, access: &Access) -> Result<Response, ApiError> {
    if head.method != Method::POST {
        return Err(ApiError::method_not_allowed("POST"));
    }
    access.admin(head)?;
    tracing::info!(
        request.id = head.context.request_id,
        "a sign-in link was made"
    );
    let (link, expires) = sign_in_link(&head.context.base_url, access);
    Ok(json_answer(
        &json!({ "link": link.expose(), "expires": expires }),
    ))
}

/// The address that an extension is given: with its key inside, because it can be given nothing else.
pub fn ingest_address(base_url: &str, key: &str) -> String {
    let base = base_url.trim_end_matches('/');
    format!("{base}/k/{}/api/v1/events", in_address(key))
}

/// A configured key may hold what an address may not.
fn in_address(key: &str) -> percent_encoding::PercentEncode<'_> {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(key, KEPT)
}

#[cfg(test)]
mod tests;
