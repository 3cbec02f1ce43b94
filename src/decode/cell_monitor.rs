//! The wire form of `cell-monitor`, an existing JupyterLab extension, and of our own API.
//!
//! An event is a JSON object (contract, section 3). Three fields are needed:
//!
//! | field | rule |
//! |---|---|
//! | `eventType` | `notebook_opened`, `notebook_saved`, `notebook_closed`, `cell_executed`, `help`, `help_stop` |
//! | `emailAddress`, else `userId` | who; trimmed and in lower case, not empty then |
//! | `eventTime` | ISO 8601; without an offset it is UTC |
//!
//! All others are optional, for a client that is told 4xx loses the event:
//!
//! | field | type | when it is over its limit |
//! |---|---|---|
//! | `eventId`, `userName`, `teamName`, `sessionId`, `notebookPath`, `cellId` | text | over 1 KiB the event is refused |
//! | `code`, `errorMessage` | text | cut at 256 KiB and named in `cut` |
//! | `result` | text, or array of texts | cut at 256 KiB in all, a byte more counted for each text, and named in `cut` |
//! | `cellIndex`, `executionCount` | whole number within ±2^63 (`3.0` is one, within ±2^53) | |
//! | `executionDurationMs` | number | |
//! | `hasError` | boolean | |
//! | `cellType` | `code`, `markdown`, `raw` | |
//! | `metadata` | object | by the limit of the body |
//! | `cut` | array of `code`, `errorMessage`, `result` | what we add when we cut; read back so that an exported event can be sent again |
//!
//! - null is the same as absent, and of two fields with the same name the last one counts.
//! - An unknown field, and an optional one of another type than the table's,
//!   is kept in `metadata` under its own name. Where the client's own
//!   `metadata` has that name already, both stay: the field is kept as
//!   `name#2`, or the next number that is free. `metadata` that is no object
//!   is kept as `metadata.metadata`.
//! - With both `emailAddress` and `userId`, the first that is a text and not
//!   empty is the student, and a `userId` beside a good address is kept in `metadata`.
//! - An `eventId` that is absent, empty or no text gets replaced by `evt_` and a hash of the content.
//! - An event may be nested 32 levels deep, itself being the first and
//!   `metadata` the second, for what is kept there too.
//! - U+0000 and lone surrogates (`\ud800`) are read as U+FFFD, in keys too.
//! - A field that is refused is told by a pointer `/index/field`, in a body of
//!   the form `{"events":[…]}` too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mimamori_actors::domain::{CellType, Event, EventId, EventKind, Output, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::loose::Loose;
use super::parts::{CUTTABLE, Field, Parts};
use super::scan::levels;
use super::{Code, EVENT_LEVELS, Element, MAX_NAME_BYTES, MAX_TEXT_BYTES, Refused, canonical, cut};

/// Longer than any ISO 8601 time; what is longer is not even looked at.
const MAX_TIME_BYTES: usize = 128;
/// Up to here a double holds every whole number.
const EXACT_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Decodes one event.
///
/// # Errors
/// The first fault that is found; the event's type, student and time are looked at first.
pub fn decode(element: &Element<'_>) -> Result<Event, Refused> {
    if !element.is_object() {
        return Err(refused_as_a_whole(Code::NotAnObject));
    }
    let json = element.mended();
    if element.levels() >= EVENT_LEVELS {
        check_depth(&json)?;
    }
    // it is JSON, an object, and not deep: it can't fail
    let parts: Parts<'_> =
        serde_json::from_str(&json).map_err(|_| refused_as_a_whole(Code::NotAnObject))?;
    parts.into_event()
}

fn refused_as_a_whole(code: Code) -> Refused {
    Refused {
        code,
        field: None,
        event_id: None,
    }
}

/// Looks at one level of the event only. What is kept in `metadata` is a level
/// deeper there: that level counts too, so that what is taken can be given back.
fn check_depth(json: &str) -> Result<(), Refused> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let is_deep = |(key, value): &(&String, &&RawValue)| {
        let is_metadata = *key == Field::Metadata.name() && value.get().starts_with('{');
        let kept_below = if is_metadata { 1 } else { 2 };
        levels(value.get()) + kept_below > EVENT_LEVELS
    };
    let Some((key, _)) = members.iter().find(is_deep) else {
        return Ok(());
    };
    Err(Refused {
        code: Code::TooDeep,
        field: Field::named(key).map(Field::name),
        event_id: members
            .get(Field::EventId.name())
            .and_then(|id| serde_json::from_str(id.get()).ok()),
    })
}

/// Ids, names and paths; the address is looked at when it is in lower case.
const NAMES: [Field; 6] = [
    Field::EventId,
    Field::UserName,
    Field::TeamName,
    Field::SessionId,
    Field::NotebookPath,
    Field::CellId,
];

impl<'a> Parts<'a> {
    fn into_event(mut self) -> Result<Event, Refused> {
        let kind = self.kind()?;
        let address = self.address()?;
        let time = self.time()?;
        self.check_names()?;
        let mut event = Event {
            id: EventId::new(self.text(Field::EventId).unwrap_or_default()),
            kind,
            time,
            address,
            name: self.text(Field::UserName).map(Cow::into_owned),
            team: self.text(Field::TeamName).map(Cow::into_owned),
            client_session: self.text(Field::SessionId).map(Cow::into_owned),
            notebook: self.text(Field::NotebookPath).map(Cow::into_owned),
            cell_id: self.text(Field::CellId).map(Cow::into_owned),
            cell_index: self.typed(Field::CellIndex, |value| whole(&value).ok_or(value)),
            cell_type: self.cell_type(),
            code: self.long_text(Field::Code),
            execution_count: self.typed(Field::ExecutionCount, |value| whole(&value).ok_or(value)),
            has_error: self.typed(Field::HasError, |value| value.as_bool().ok_or(value)),
            error_message: self.long_text(Field::ErrorMessage),
            result: self.output(),
            execution_duration_ms: self.typed(Field::ExecutionDurationMs, |value| {
                value.as_f64().ok_or(value)
            }),
            cut: self.cut(),
            // last, because what the others could not take is in it
            metadata: self.metadata(),
        };
        if event.id.as_str().is_empty() {
            event.id = computed_id(&event);
        }
        Ok(event)
    }

    fn kind(&self) -> Result<EventKind, Refused> {
        let Loose::Text(text) = &self.fields[Field::EventType as usize] else {
            return Err(self.refuse(Code::UnknownType, Field::EventType));
        };
        EventKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| self.refuse(Code::UnknownType, Field::EventType))
    }

    /// The student's address, from the first of the two fields that holds one.
    fn address(&mut self) -> Result<String, Refused> {
        for field in [Field::EmailAddress, Field::UserId] {
            let Some(text) = self.text(field) else {
                continue;
            };
            let address = text.trim().to_lowercase();
            if address.len() > MAX_NAME_BYTES {
                return Err(self.refuse(Code::TooLong, field));
            }
            if !address.is_empty() {
                self.set_aside(Field::UserId);
                return Ok(address);
            }
        }
        Err(self.refuse(Code::MissingStudent, Field::EmailAddress))
    }

    fn time(&self) -> Result<Timestamp, Refused> {
        let text = match &self.fields[Field::EventTime as usize] {
            Loose::Text(text) if text.len() <= MAX_TIME_BYTES => text,
            Loose::Absent => return Err(self.refuse(Code::MissingTime, Field::EventTime)),
            Loose::Text(_) | Loose::Other(_) => {
                return Err(self.refuse(Code::BadTime, Field::EventTime));
            }
        };
        text.parse()
            .map_err(|_| self.refuse(Code::BadTime, Field::EventTime))
    }

    fn check_names(&self) -> Result<(), Refused> {
        let is_too_long = |field: &Field| match &self.fields[*field as usize] {
            Loose::Text(text) => text.len() > MAX_NAME_BYTES,
            Loose::Absent | Loose::Other(_) => false,
        };
        match NAMES.into_iter().find(is_too_long) {
            Some(field) => Err(self.refuse(Code::TooLong, field)),
            None => Ok(()),
        }
    }

    fn cell_type(&mut self) -> Option<CellType> {
        self.typed(Field::CellType, |value| match value.as_str() {
            Some("code") => Ok(CellType::Code),
            Some("markdown") => Ok(CellType::Markdown),
            Some("raw") => Ok(CellType::Raw),
            Some(_) | None => Err(value),
        })
    }

    fn long_text(&mut self, field: Field) -> Option<String> {
        let mut text = self.text(field)?.into_owned();
        if text.len() > MAX_TEXT_BYTES {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
            self.mark_cut(field);
        }
        Some(text)
    }

    fn output(&mut self) -> Option<Output> {
        if let Loose::Other(_) = self.fields[Field::Result as usize] {
            let texts = self.typed(Field::Result, texts)?;
            return Some(Output::Many(self.cut_texts(texts)));
        }
        self.long_text(Field::Result).map(Output::One)
    }

    fn cut_texts(&mut self, texts: Vec<String>) -> Vec<String> {
        let mut left = MAX_TEXT_BYTES;
        let mut kept = Vec::new();
        for mut text in texts {
            // a byte for the text itself, so that empty ones are bounded too
            if text.len() < left {
                left -= text.len() + 1;
                kept.push(text);
                continue;
            }
            self.mark_cut(Field::Result);
            if let Some(room) = left.checked_sub(1) {
                text.truncate(cut(&text, room).len());
                kept.push(text);
            }
            break;
        }
        kept
    }

    fn mark_cut(&mut self, field: Field) {
        for (mark, cuttable) in self.cut.iter_mut().zip(CUTTABLE) {
            *mark |= cuttable == field;
        }
    }

    fn cut(&mut self) -> Vec<String> {
        let said = self
            .typed(Field::Cut, |value| texts(value).and_then(only_cuttable))
            .unwrap_or_default();
        CUTTABLE
            .iter()
            .zip(self.cut)
            .map(|(field, is_cut)| (field.name(), is_cut))
            .filter(|(name, is_cut)| *is_cut || said.iter().any(|said| said == name))
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// What the client sent as such, and everything that no field could take.
    fn metadata(&mut self) -> Map<String, Value> {
        let mut metadata = self
            .typed(Field::Metadata, |value| {
                if let Value::Object(object) = value {
                    Ok(object)
                } else {
                    Err(value)
                }
            })
            .unwrap_or_default();
        for (name, value) in std::mem::take(&mut self.strays) {
            let name = free_name(&metadata, name);
            metadata.insert(name, value);
        }
        metadata
    }
}

/// The id of an event that came without one; `event` has an empty one.
pub(crate) fn computed_id(event: &Event) -> EventId {
    let hash = blake3::hash(&canonical(event)).to_hex();
    EventId::new(format!("evt_{}", &hash[..32]))
}

/// The name itself, or with the first number behind it that nothing else has.
fn free_name(taken: &Map<String, Value>, name: String) -> String {
    if !taken.contains_key(&name) {
        return name;
    }
    (2_u64..)
        .map(|number| format!("{name}#{number}"))
        .find(|numbered| !taken.contains_key(numbered))
        .unwrap_or(name)
}

fn whole(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    let float = value.as_f64()?;
    (value.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT_WHOLE).then_some(float as i64)
}

fn texts(value: Value) -> Result<Vec<String>, Value> {
    let Value::Array(items) = value else {
        return Err(value);
    };
    if !items.iter().all(Value::is_string) {
        return Err(Value::Array(items));
    }
    let into_text = |item| {
        if let Value::String(text) = item {
            Some(text)
        } else {
            None
        }
    };
    Ok(items.into_iter().filter_map(into_text).collect())
}

fn only_cuttable(names: Vec<String>) -> Result<Vec<String>, Value> {
    let is_cuttable = |name: &String| CUTTABLE.iter().any(|field| field.name() == name);
    if names.iter().all(is_cuttable) {
        Ok(names)
    } else {
        Err(Value::from(names))
    }
}
