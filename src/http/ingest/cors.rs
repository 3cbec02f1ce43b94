//! Pages of any origin may send events and read the answers; none with credentials.

use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::super::{Head, Response};
use super::ALLOW;

/// How long a browser need not ask again, in seconds: as long as browsers agree to.
const MAX_AGE: &str = "7200";
const REQUEST_HEADERS: &str = "content-type, authorization, content-encoding, x-request-id";
const ANSWER_HEADERS: &str = "X-Request-Id, Retry-After";

/// Lets a page read the answer, whatever it is.
pub(super) fn allow_any_origin(response: &mut Response) {
    let headers = response.headers_mut();
    set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        ANSWER_HEADERS,
    );
}

/// The answer to a browser that asks whether it may send. It needs no key: a preflight carries none.
pub(super) fn preflight(head: &Head) -> Response {
    let mut response = Response::new(String::new().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    set(headers, header::ALLOW, ALLOW);
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW);
    set(
        headers,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        REQUEST_HEADERS,
    );
    set(headers, header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    // a public page that sends to a classroom's own network asks for this too
    if head.header("access-control-request-private-network") == Some("true") {
        let name = HeaderName::from_static("access-control-allow-private-network");
        set(headers, name, "true");
    }
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
