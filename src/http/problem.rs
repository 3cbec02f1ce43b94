//! Errors as `application/problem+json` (RFC 9457): the one place that maps them to status and code.

use std::time::Duration;

use serde_json::{Map, Value, json};
use warp::http::{HeaderValue, StatusCode, header};

use super::Response;

/// What a handler refuses, and why.
///
/// The detail is for a person, says what would be right, and never echoes what
/// was sent.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The status of the answer.
    pub status: StatusCode,
    /// What went wrong, for programs; also the end of the problem's `type`.
    pub code: &'static str,
    /// What went wrong, for a person.
    pub detail: String,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// Methods that would be right, for 405.
    pub allow: Option<&'static str>,
    /// Further members of the problem document.
    pub members: Map<String, Value>,
}

/// Left in the extensions of every problem answer, for the service around all routes.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

impl ApiError {
    /// An error with this status, code and detail.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            allow: None,
            members: Map::new(),
        }
    }

    /// 404: nothing is at this path.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 405, with the methods that would be right, for example `"GET, POST"`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("this address takes {allow}"),
        );
        error.allow = Some(allow);
        error
    }

    /// 400: a parameter is wrong.
    pub fn bad_parameter(name: &str, rule: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_parameter",
            format!("the parameter {name} must be {rule}"),
        )
    }

    /// 401: no credential, or one that is worth nothing.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403: a good credential that may not do this, or a foreign origin.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 503: the server cannot take it now.
    pub fn unavailable(
        code: &'static str,
        detail: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        error.retry_after = Some(retry_after);
        error
    }

    /// 501: a later version will do this.
    pub fn not_yet(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_yet",
            format!("{what} is not in this version"),
        )
    }

    /// 500: our own fault; the log has the reason under the request's id.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log has the reason",
        )
    }

    /// With a further member in the problem document.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The problem document.
    pub(super) fn document(&self, request_id: &str) -> String {
        let mut body = json!({
            "type": format!("urn:mimamori:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": &self.detail,
            "requestId": request_id,
        });
        if let Some(document) = body.as_object_mut() {
            document.extend(self.members.clone());
        }
        body.to_string()
    }

    /// The answer. `request_id` is repeated in it, so that a person can name the request.
    pub fn into_response(self, request_id: &str) -> Response {
        let mut response = Response::new(self.document(request_id).into());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Refused {
            code: self.code,
            detail: self.detail,
        });
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"mimamori\""),
            );
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_secs().max(1)),
            );
        }
        response
    }
}
