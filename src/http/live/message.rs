//! What a console says.

use mimamori_actors::domain::{ClassroomId, Cursor};
use serde::Serialize;
use serde_json::{Map, Number, Value};

/// The longest `ref` that is repeated in an answer.
const MAX_REFERENCE_BYTES: usize = 128;

/// A console's own name for its message, repeated in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Reference {
    Text(String),
    Number(Number),
}

/// A message that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Auth {
        token: String,
    },
    Subscribe {
        classroom: ClassroomId,
        since: Option<Cursor>,
        reference: Option<Reference>,
    },
    Unsubscribe {
        classroom: ClassroomId,
        reference: Option<Reference>,
    },
    /// One that a later version will take.
    NotYet {
        reference: Option<Reference>,
    },
}

/// Why a message is not taken. The detail never repeats what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reference: Option<Reference>,
    pub(super) code: &'static str,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(reference: Option<Reference>, code: &'static str, detail: &str) -> Self {
        Self {
            reference,
            code,
            detail: detail.to_owned(),
        }
    }
}

/// Reads a text frame.
pub(super) fn parse(text: &str) -> Result<Message, Refusal> {
    let bad = |reference, detail| Refusal::new(reference, "bad_message", detail);
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Err(bad(None, "not JSON"));
    };
    let Value::Object(message) = value else {
        return Err(bad(None, "a message is a JSON object"));
    };
    let reference = reference(&message);
    let Some(kind) = message.get("type").and_then(Value::as_str) else {
        return Err(bad(reference, "a message has a type"));
    };
    match kind {
        "auth" => match text_of(&message, "token") {
            Some(token) => Ok(Message::Auth { token }),
            None => Err(bad(reference, "auth needs a token")),
        },
        "subscribe" => match classroom(&message) {
            Some(classroom) => Ok(Message::Subscribe {
                classroom,
                since: since(&message),
                reference,
            }),
            None => Err(bad(reference, "subscribe needs a classroom")),
        },
        "unsubscribe" => match classroom(&message) {
            Some(classroom) => Ok(Message::Unsubscribe {
                classroom,
                reference,
            }),
            None => Err(bad(reference, "unsubscribe needs a classroom")),
        },
        "help.claim" | "help.resolve" | "message" => Ok(Message::NotYet { reference }),
        _ => Err(Refusal::new(
            reference,
            "unknown_type",
            "no such message is known",
        )),
    }
}

fn reference(message: &Map<String, Value>) -> Option<Reference> {
    match message.get("ref")? {
        Value::String(text) => {
            (text.len() <= MAX_REFERENCE_BYTES).then(|| Reference::Text(text.clone()))
        }
        Value::Number(number) => Some(Reference::Number(number.clone())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn classroom(message: &Map<String, Value>) -> Option<ClassroomId> {
    text_of(message, "classroom").map(ClassroomId::new)
}

/// Where the console stands. What can't be understood is a place that no classroom knows: it begins anew.
fn since(message: &Map<String, Value>) -> Option<Cursor> {
    let since = message.get("since").filter(|since| !since.is_null())?;
    let read = || {
        Some(Cursor {
            epoch: since.get("epoch")?.as_str()?.to_owned(),
            seq: since.get("seq")?.as_u64()?,
        })
    };
    Some(read().unwrap_or_else(|| Cursor {
        epoch: String::new(),
        seq: 0,
    }))
}

fn text_of(message: &Map<String, Value>, name: &str) -> Option<String> {
    Some(message.get(name)?.as_str()?.to_owned())
}
