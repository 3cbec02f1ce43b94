//! Each client's wire form becomes the one `Event`: pure functions, one file a client.
//!
//! A request's body goes through two steps. [`split`] looks at every byte
//! once: is it UTF-8, is it JSON, is it an array of events or
//! `{"events":[…]}`? What fails here fails the whole request
//! ([`BodyFault`]). Then each event is decoded on its own, by
//! [`cell_monitor::decode`], and what fails here ([`Refused`]) costs no other
//! event its place.
//!
//! Both steps take hostile input: depth, numbers and lengths are bounded
//! before anything is built from them, and no refusal repeats what was sent.

pub mod cell_monitor;
mod loose;
mod parts;
mod scan;
#[cfg(test)]
mod tests;

use mimamori_actors::domain::Event;

pub use scan::{BodyFault, Element, Events, split};

/// As many events as one request may hold.
pub const MAX_EVENTS: usize = 500;
/// From this many levels of nesting on, a body is refused as a whole.
pub const BODY_LEVELS: usize = 128;
/// As deep as objects and arrays may be nested in an event, the event itself being the first level.
pub const EVENT_LEVELS: usize = 32;
/// As long as an id, a name or a path may be, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// As long as code, result and error message may be, in bytes; what is longer is cut.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;
/// What is kept of a refused event, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// Why an event is refused, for programs (contract, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// It is not a JSON object.
    NotAnObject,
    /// Its type is absent or none of ours.
    UnknownType,
    /// It does not say whose it is.
    MissingStudent,
    /// It does not say when.
    MissingTime,
    /// Its time is not ISO 8601.
    BadTime,
    /// An id, a name or a path is over its limit.
    TooLong,
    /// It is nested too deep.
    TooDeep,
    /// Its id was taken before, by another content.
    Conflict,
}

impl Code {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnObject => "not_an_object",
            Self::UnknownType => "unknown_type",
            Self::MissingStudent => "missing_student",
            Self::MissingTime => "missing_time",
            Self::BadTime => "bad_time",
            Self::TooLong => "too_long",
            Self::TooDeep => "too_deep",
            Self::Conflict => "conflict",
        }
    }

    /// What would be right, for a person; repeats nothing of what was sent.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NotAnObject => "an event must be a JSON object",
            Self::UnknownType => {
                "eventType must be one of notebook_opened, notebook_saved, notebook_closed, \
                 cell_executed, help, help_stop"
            }
            Self::MissingStudent => "emailAddress (or userId) must be a text that is not empty",
            Self::MissingTime => "eventTime is needed",
            Self::BadTime => "eventTime must be an ISO 8601 date and time",
            Self::TooLong => "ids, names and paths must have at most 1024 bytes of UTF-8",
            Self::TooDeep => "an event must have fewer than 32 levels of nesting in it",
            Self::Conflict => "this student's eventId was taken before with another content",
        }
    }
}

/// An event that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: Code,
    /// The field at fault, by its name in the contract; nothing if it is the event as a whole.
    pub field: Option<&'static str>,
    /// What the client called it, if it said so by a text. Hostile text.
    pub event_id: Option<String>,
}

/// The JSON of an event that hashes are computed over: its wire form, fields in one order, keys sorted.
pub fn canonical(event: &Event) -> Vec<u8> {
    let mut json = Vec::with_capacity(512);
    write_canonical(&mut json, event);
    json
}

/// Adds [`canonical`] to what there is.
pub(crate) fn write_canonical(json: &mut Vec<u8>, event: &Event) {
    serde_json::to_writer(json, event)
        .expect("an event holds only texts, numbers and maps with texts as keys");
}

/// At most `limit` bytes of the text, cut between two characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
