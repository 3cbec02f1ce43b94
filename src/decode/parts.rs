//! An event's object taken apart into the fields of the contract and the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::loose::{Loose, kept_key};
use super::{Code, Refused};

macro_rules! fields {
    ($($field:ident = $name:literal,)+) => {
        /// The fields of the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Field { $($field,)+ }

        impl Field {
            pub(super) const COUNT: usize = [$($name),+].len();

            pub(super) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$field),)+
                    _ => None,
                }
            }

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)+ }
            }
        }
    };
}

fields! {
    EventId = "eventId",
    EventType = "eventType",
    EventTime = "eventTime",
    EmailAddress = "emailAddress",
    UserId = "userId",
    UserName = "userName",
    TeamName = "teamName",
    SessionId = "sessionId",
    NotebookPath = "notebookPath",
    CellId = "cellId",
    CellIndex = "cellIndex",
    CellType = "cellType",
    Code = "code",
    ExecutionCount = "executionCount",
    HasError = "hasError",
    ErrorMessage = "errorMessage",
    Result = "result",
    ExecutionDurationMs = "executionDurationMs",
    Metadata = "metadata",
    Cut = "cut",
}

/// The fields that may be cut, in the order in which `cut` names them.
pub(super) const CUTTABLE: [Field; 3] = [Field::Code, Field::ErrorMessage, Field::Result];

/// An event taken apart, before anything is asked of its fields.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) fields: [Loose<'a>; Field::COUNT],
    /// What no field could take, by the names it came under.
    pub(super) strays: Map<String, Value>,
    /// Which of [`CUTTABLE`] were cut.
    pub(super) cut: [bool; CUTTABLE.len()],
}

enum Key {
    Known(Field),
    Unknown(String),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(Field::named(key).map_or_else(|| Key::Unknown(key.to_owned()), Key::Known))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartsVisitor;

        impl<'de> Visitor<'de> for PartsVisitor {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Parts::default();
                while let Some(key) = members.next_key()? {
                    let value: Loose<'de> = members.next_value()?;
                    match key {
                        Key::Known(field) => parts.fields[field as usize] = value,
                        Key::Unknown(name) => parts.set_stray(kept_key(name), value),
                    }
                }
                Ok(parts)
            }
        }

        deserializer.deserialize_map(PartsVisitor)
    }
}

impl<'a> Parts<'a> {
    /// The field as `convert` takes it; what it gives back is kept among the strays.
    pub(super) fn typed<T>(
        &mut self,
        field: Field,
        convert: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Option<T> {
        match convert(self.take(field).into_value()?) {
            Ok(converted) => Some(converted),
            Err(value) => {
                self.set_stray(field.name().to_owned(), Loose::Other(value));
                None
            }
        }
    }

    /// The field if it is a text; anything else is kept among the strays.
    pub(super) fn text(&mut self, field: Field) -> Option<Cow<'a, str>> {
        if !matches!(self.fields[field as usize], Loose::Text(_)) {
            self.set_aside(field);
        }
        match self.take(field) {
            Loose::Text(text) => Some(text),
            Loose::Absent | Loose::Other(_) => None,
        }
    }

    pub(super) fn set_aside(&mut self, field: Field) {
        if let Some(value) = self.take(field).into_value() {
            self.set_stray(field.name().to_owned(), Loose::Other(value));
        }
    }

    /// The last one counts; null takes back what was there.
    pub(super) fn set_stray(&mut self, name: String, value: Loose<'_>) {
        match value.into_value() {
            Some(value) => self.strays.insert(name, value),
            None => self.strays.remove(&name),
        };
    }

    pub(super) fn take(&mut self, field: Field) -> Loose<'a> {
        std::mem::take(&mut self.fields[field as usize])
    }

    pub(super) fn refuse(&self, code: Code, field: Field) -> Refused {
        let event_id = match &self.fields[Field::EventId as usize] {
            Loose::Text(id) => Some(id.clone().into_owned()),
            Loose::Absent | Loose::Other(_) => None,
        };
        Refused {
            code,
            field: Some(field.name()),
            event_id,
        }
    }
}
