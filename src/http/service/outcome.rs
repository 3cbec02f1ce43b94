//! What becomes of an answer on its way out: completed, counted, logged.

use jiff::fmt::rfc2822::DateTimePrinter;
use mimamori_actors::domain::Timestamp;
use warp::http::{HeaderValue, Method, StatusCode, header};

use super::Asked;
use crate::http::problem::Refused;
use crate::http::refusals::{Refusal, Wanted};
use crate::http::{ApiError, Response};

/// Which part of the front end a path belongs to: the label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Events,
    Live,
    Session,
    Connect,
    Reading,
    Admin,
    Health,
    Metrics,
    OtherApi,
    Page,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        // the routes take a final slash for nothing, too
        match path.strip_suffix('/').unwrap_or(path) {
            "/api/v1/events" => Route::Events,
            "/api/v1/live" => Route::Live,
            "/api/v1/session" => Route::Session,
            "/api/v1/connect" => Route::Connect,
            "/livez" | "/readyz" => Route::Health,
            "/metrics" => Route::Metrics,
            _ if path.starts_with("/api/v1/classrooms") => Route::Reading,
            _ if path.starts_with("/api/v1/admin/") => Route::Admin,
            _ if path.starts_with("/api/v1/health/") => Route::Admin,
            _ if path.starts_with("/api/") => Route::OtherApi,
            _ => Route::Page,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Route::Events => "events",
            Route::Live => "live",
            Route::Session => "session",
            Route::Connect => "connect",
            Route::Reading => "reading",
            Route::Admin => "admin",
            Route::Health => "health",
            Route::Metrics => "metrics",
            Route::OtherApi => "other_api",
            Route::Page => "page",
        }
    }

    /// Whether the page asks for it.
    pub(super) fn is_read_by_people(self) -> bool {
        match self {
            Route::Session | Route::Connect | Route::Reading | Route::Admin => true,
            Route::Events
            | Route::Live
            | Route::Health
            | Route::Metrics
            | Route::OtherApi
            | Route::Page => false,
        }
    }
}

/// A rejection that no handler turned into a problem still becomes one.
pub(super) fn as_problem(response: Response, request_id: &str) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<Refused>().is_some() {
        return response;
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_text = content_type.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !is_text {
        return response;
    }
    let code = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        _ if status.is_server_error() => "internal",
        _ => "bad_request",
    };
    ApiError::new(status, code, "this request is not understood here").into_response(request_id)
}

/// Counts a head that was refused before it became a request, and says why.
pub(super) fn refused_head(status: StatusCode, request_id: &str) -> String {
    metrics::counter!(
        "mimamori_http_requests_total",
        "route" => "none",
        "status" => status.as_str().to_owned()
    )
    .increment(1);
    let (code, detail) = match status {
        StatusCode::URI_TOO_LONG => ("uri_too_long", "the address is too long"),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "headers_too_large",
            "the address and the headers may take 32 KiB together, and there may be 100 headers",
        ),
        _ => ("malformed_request", "this is no request of HTTP/1.1"),
    };
    tracing::debug!(
        status = status.as_u16(),
        request.id = request_id,
        "refused a head that is no request"
    );
    ApiError::new(status, code, detail).document(request_id)
}

pub(super) fn complete_headers(response: &mut Response, route: Route, request_id: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if route == Route::Events {
        // an answer that the handler did not make, after a panic say, must reach the page too
        headers
            .entry(header::ACCESS_CONTROL_ALLOW_ORIGIN)
            .or_insert(HeaderValue::from_static("*"));
    }
}

/// Ages are shown by the date of the answer: it must be by the clock that the times in it are of.
pub(super) fn date(response: &mut Response, now: Timestamp) {
    let date = jiff::Timestamp::from_millisecond(now.as_millis())
        .and_then(|now| DateTimePrinter::new().timestamp_to_rfc9110_string(&now));
    if let Ok(Ok(date)) = date.map(HeaderValue::try_from) {
        response.headers_mut().insert(header::DATE, date);
    }
}

impl Asked {
    /// What the request wanted, if it was refused in a way that the Connect page should tell.
    pub(super) fn was_refused(&self, status: StatusCode) -> Option<Wanted> {
        let is_refusal = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
        let is_lost =
            status == StatusCode::NOT_FOUND && (self.has_key || self.method == Method::POST);
        match self.route {
            Route::Events => is_refusal.then_some(Wanted::Events),
            Route::Live => (status == StatusCode::FORBIDDEN).then_some(Wanted::Live),
            Route::OtherApi | Route::Page => is_lost.then_some(Wanted::NoSuchAddress),
            Route::Session
            | Route::Connect
            | Route::Reading
            | Route::Admin
            | Route::Health
            | Route::Metrics => None,
        }
    }

    pub(super) fn refusal(
        &self,
        at: Timestamp,
        wanted: Wanted,
        status: StatusCode,
        refused: Option<Refused>,
    ) -> Refusal {
        let (code, detail) = match refused {
            Some(refused) => (refused.code.to_owned(), refused.detail),
            None => (String::new(), String::new()),
        };
        Refusal {
            at,
            wanted,
            status: status.as_u16(),
            code,
            detail,
            origin: self.origin.clone(),
            count: 1,
        }
    }

    /// Counts and logs the request.
    pub(super) fn note(&self, status: StatusCode) {
        let route = self.route.name();
        let took = self.began.elapsed();
        metrics::counter!(
            "mimamori_http_requests_total",
            "route" => route,
            "status" => status.as_str().to_owned()
        )
        .increment(1);
        metrics::histogram!("mimamori_http_request_duration_seconds", "route" => route)
            .record(took.as_secs_f64());
        if self.route == Route::Page {
            return;
        }
        tracing::debug!(
            method = %self.method,
            route,
            path = self.loggable_path(status),
            status = status.as_u16(),
            duration_ms = took.as_secs_f64() * 1_000.0,
            request.id = self.request_id,
            "answered a request"
        );
    }

    /// Where nothing was found the path may be anything, a secret in the wrong place too.
    fn loggable_path(&self, status: StatusCode) -> &str {
        if status == StatusCode::NOT_FOUND {
            "-"
        } else {
            &self.path
        }
    }
}
