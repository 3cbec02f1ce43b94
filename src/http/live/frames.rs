//! Frames that belong to a connection and to no classroom.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::message::{Reference, Refusal};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Frame<'a> {
    #[serde(rename_all = "camelCase")]
    Hello {
        heartbeat_ms: u128,
    },
    Ack {
        r#ref: &'a Reference,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<&'a Reference>,
        code: &'a str,
        detail: &'a str,
    },
}

/// The first frame after sign-in.
pub(super) fn hello(heartbeat: Duration) -> Bytes {
    text(&Frame::Hello {
        heartbeat_ms: heartbeat.as_millis(),
    })
}

/// A message was taken.
pub(super) fn ack(reference: &Reference) -> Bytes {
    text(&Frame::Ack { r#ref: reference })
}

/// A message was not taken; the connection stays.
pub(super) fn error(refusal: &Refusal) -> Bytes {
    text(&Frame::Error {
        r#ref: refusal.reference.as_ref(),
        code: refusal.code,
        detail: &refusal.detail,
    })
}

fn text(frame: &Frame<'_>) -> Bytes {
    serde_json::to_vec(frame)
        .expect("structs of text and numbers always serialise")
        .into()
}
