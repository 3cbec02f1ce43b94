//! JSON values of a type that nobody promised.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A field's value: a text if it is one, for that is what most fields should be.
#[derive(Debug, Default)]
pub(super) enum Loose<'a> {
    /// Not there, or null, which is the same.
    #[default]
    Absent,
    /// A text; borrowed from the body where it has no escapes.
    Text(Cow<'a, str>),
    /// Anything else.
    Other(Value),
}

impl Loose<'_> {
    /// As a value that can be kept; nothing if it is absent.
    pub(super) fn into_value(self) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Text(text) => Some(Value::String(text.into_owned())),
            Self::Other(value) => Some(value),
        }
    }
}

/// Any JSON value.
///
/// `serde_json::Value` itself must not read what a client sent: it takes an
/// object whose key is a private name of `serde_json` for something else than
/// an object, and so hides nesting from our limits, or fails when the journal
/// is read again. Here such keys begin with U+FFFD instead.
#[derive(Debug)]
pub(super) struct Kept(pub(super) Value);

/// A key under which a value can be kept and read again.
pub(super) fn kept_key(key: String) -> String {
    match key.strip_prefix('$') {
        Some(rest) if rest.starts_with("serde_json::private::") => format!("\u{fffd}{rest}"),
        Some(_) | None => key,
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeptVisitor).map(Self)
    }
}

struct KeptVisitor;

impl<'de> Visitor<'de> for KeptVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Kept(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Kept(value))) = members.next_entry()? {
            object.insert(kept_key(key), value);
        }
        Ok(Value::Object(object))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KeptVisitor.expecting(f)
    }

    fn visit_unit<E>(self) -> Result<Loose<'de>, E> {
        Ok(Loose::Absent)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose<'de>, E> {
        Ok(Loose::Other(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose<'de>, E> {
        Ok(Loose::Other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose<'de>, E> {
        Ok(Loose::Other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose<'de>, E> {
        Ok(Loose::Other(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Loose<'de>, A::Error> {
        KeptVisitor.visit_seq(items).map(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Loose<'de>, A::Error> {
        KeptVisitor.visit_map(members).map(Loose::Other)
    }
}
