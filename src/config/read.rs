//! Turns what was given into what is meant.

use std::str::FromStr;
use std::time::Duration;

use toml::Value;

use super::fault::Fault;
use super::source::{Gathered, Given, KEYS};

/// Reads key after key and keeps what is wrong, so that all of it is told at once.
pub(super) struct Reader {
    given: Gathered,
    defaults: Gathered,
}

impl Reader {
    pub(super) fn new(given: Gathered) -> Self {
        Self {
            given,
            defaults: Gathered::defaults(),
        }
    }

    /// The key's value; if it is wrong, that is kept and the default taken, so that reading goes on.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        parse: impl Fn(&Given) -> Result<T, String>,
    ) -> T {
        let given = self.given(key).clone();
        parse(&given).unwrap_or_else(|reason| {
            self.given.fault(
                key,
                Some(shown(key, &given.value)),
                rule,
                reason,
                given.origin,
            );
            let default = self.defaults.values.get(key);
            let parsed = default.map(parse).and_then(Result::ok);
            parsed.expect("config/default.toml is complete and right: a test reads it")
        })
    }

    /// What was given for the key.
    pub(super) fn given(&self, key: &'static str) -> &Given {
        let value = self.given.values.get(key);
        value.expect("config/default.toml has every key: a test compares")
    }

    /// A fault of this key that another key's value makes.
    pub(super) fn fault(&mut self, key: &'static str, rule: &str, reason: &str) {
        let given = self.given(key).clone();
        self.given.fault(
            key,
            Some(shown(key, &given.value)),
            rule,
            reason,
            given.origin,
        );
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.given.faults
    }
}

/// A value for a person to read: on one line, without secrets.
pub(super) fn shown(key: &str, value: &Value) -> String {
    const MAX_CHARS: usize = 80;
    let is_secret = KEYS
        .iter()
        .any(|known| known.name == key && known.is_secret);
    let is_empty = value.as_str() == Some("");
    let text = value.to_string();
    // an address may carry a password where none belongs
    let carries_password = text.contains('@') && text.contains("://");
    if (is_secret || carries_password) && !is_empty {
        return "\"…\" (not shown)".to_owned();
    }
    let text = text.replace(['\n', '\r'], " ");
    if text.chars().count() > MAX_CHARS {
        let cut: String = text.chars().take(MAX_CHARS).collect();
        return format!("{cut}…");
    }
    text
}

/// Text, which may be empty.
pub(super) fn text(given: &Given) -> Result<&str, String> {
    given.value.as_str().ok_or_else(|| kind_of(&given.value))
}

/// Text that is read by its type's own rule; empty text is nothing.
pub(super) fn optional<T: FromStr<Err: ToString>>(given: &Given) -> Result<Option<T>, String> {
    match text(given)? {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|error: T::Err| error.to_string()),
    }
}

/// Texts; in the environment separated by commas.
pub(super) fn list<T>(
    given: &Given,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    texts(given)?
        .into_iter()
        .map(|text| parse(text).map_err(|reason| format!("{text:?}: {reason}")))
        .collect()
}

fn texts(given: &Given) -> Result<Vec<&str>, String> {
    if let Some(text) = given.environment_text() {
        let items = text.split(',').map(str::trim);
        return Ok(items.filter(|item| !item.is_empty()).collect());
    }
    let items = given
        .value
        .as_array()
        .ok_or_else(|| kind_of(&given.value))?;
    items
        .iter()
        .map(|item| {
            item.as_str()
                .ok_or_else(|| format!("in the list {}", kind_of(item)))
        })
        .collect()
}

/// A whole number within the range.
pub(super) fn whole(given: &Given, least: u64, most: u64) -> Result<u64, String> {
    if let Some(text) = given.environment_text() {
        let number = text.trim().parse();
        let number = number.map_err(|_| "it is not a whole number".to_owned())?;
        return within(number, least, most);
    }
    let number = given
        .value
        .as_integer()
        .ok_or_else(|| kind_of(&given.value))?;
    let number = u64::try_from(number).map_err(|_| "it is negative".to_owned())?;
    within(number, least, most)
}

fn within(number: u64, least: u64, most: u64) -> Result<u64, String> {
    if number < least {
        return Err(format!("{number} is less than {least}"));
    }
    if number > most {
        return Err(format!("{number} is more than {most}"));
    }
    Ok(number)
}

/// Bytes: a number, or one with a unit.
pub(super) fn size(given: &Given, least: u64) -> Result<u64, String> {
    /// What fits the file systems of today, and an i64 with room.
    const MOST: u64 = 1 << 60;
    let bytes = match given.value.as_str() {
        Some(text) => parse_size(text)?,
        None => whole(given, 0, u64::MAX)?,
    };
    within(bytes, least, MOST)
}

fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        other => return Err(format!("{other:?} is not a unit of size")),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| "it is too large".to_owned())
}

/// `true` or `false`.
pub(super) fn flag(given: &Given) -> Result<bool, String> {
    match (given.environment_text(), &given.value) {
        (Some(text), _) => text.trim().parse().map_err(|_| "it is neither".to_owned()),
        (None, Value::Boolean(flag)) => Ok(*flag),
        (None, other) => Err(kind_of(other)),
    }
}

/// A number of whole days up to a hundred years; empty text is nothing.
pub(super) fn days(given: &Given) -> Result<Option<Duration>, String> {
    const MOST_DAYS: u64 = 36_500;
    if given.value.is_integer() {
        return Err("it has no unit".to_owned());
    }
    let text = text(given)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    match number_and_unit(text)? {
        (days, "d") => {
            let days = within(days, 1, MOST_DAYS)?;
            Ok(Some(Duration::from_secs(days * 24 * 60 * 60)))
        }
        (_, "") => Err("it has no unit".to_owned()),
        (_, other) => Err(format!("{other:?} is not the unit d")),
    }
}

/// A time with its unit, from 10 ms to 1 h: no time-out of ours is sensible outside.
pub(super) fn duration(given: &Given) -> Result<Duration, String> {
    if given.value.is_integer() {
        return Err("it has no unit".to_owned());
    }
    let (number, unit) = number_and_unit(text(given)?)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err("it has no unit".to_owned()),
        other => return Err(format!("{other:?} is not a unit of time")),
    };
    let millis = number
        .checked_mul(factor)
        .ok_or_else(|| "it is too long".to_owned())?;
    match millis {
        0..10 => Err(format!("{millis} ms is less than 10 ms")),
        10..=3_600_000 => Ok(Duration::from_millis(millis)),
        _ => Err("it is more than 1 h".to_owned()),
    }
}

fn number_and_unit(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err("it does not begin with a whole number".to_owned());
    }
    let number = digits
        .parse()
        .map_err(|_| "the number is too large".to_owned())?;
    Ok((number, unit.trim_start()))
}

/// What a value is, where it should have been something else.
fn kind_of(value: &Value) -> String {
    let kind = match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    format!("it is {kind}")
}
