//! What a body must be declared as: JSON, as it is or in gzip.

use warp::http::{StatusCode, header};

use super::super::{ApiError, Head};

/// How a body is coded on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// One gzip member (RFC 1952).
    Gzip,
}

/// How the body is coded, if it is declared as JSON in a coding that is known.
pub(super) fn coding(head: &Head) -> Result<Coding, ApiError> {
    let is_json = head
        .header(header::CONTENT_TYPE.as_str())
        .is_some_and(is_json);
    if !is_json {
        return Err(unsupported(
            "unsupported_type",
            "Content-Type must be application/json or application/*+json",
        ));
    }
    declared_coding(head).ok_or_else(|| {
        unsupported(
            "unsupported_encoding",
            "Content-Encoding must be gzip or identity",
        )
    })
}

fn unsupported(code: &'static str, detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail)
}

fn is_json(content_type: &str) -> bool {
    let (essence, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let Some(subtype) = essence.strip_prefix("application/") else {
        return false;
    };
    let is_token = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    subtype == "json"
        || subtype
            .strip_suffix("+json")
            .is_some_and(|kind| !kind.is_empty() && is_token(kind))
}

fn declared_coding(head: &Head) -> Option<Coding> {
    let mut coding = Coding::Identity;
    for value in head.headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',') {
            match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" if coding == Coding::Identity => coding = Coding::Gzip,
                _ => return None,
            }
        }
    }
    Some(coding)
}
