//! The one look at every byte of a body: is it JSON within bounds, and where are its events?
//!
//! `serde_json` reads the events afterwards; it is not asked here because it
//! skips what it does not build without looking at depth or at numbers, and
//! because it refuses lone surrogates, which real clients do send. A test
//! holds the two to the same judgement.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::{BODY_LEVELS, MAX_EVENTS};

/// Why a body is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It is not UTF-8.
    #[error("the body must be UTF-8")]
    NotUtf8,
    /// It is not JSON.
    #[error("the body must be JSON")]
    NotJson,
    /// It is nested too deep.
    #[error("the body must have fewer than 128 levels of nesting")]
    TooNested,
    /// A number in it is too large for a double.
    #[error("a number in the body is out of range")]
    NumberOutOfRange,
    /// It is JSON, but holds no list of events.
    #[error("the body must be an array of events, or an object with such an array as events")]
    NotEvents,
    /// It holds too many events; known as soon as the first one too many begins.
    #[error("the body must hold at most 500 events")]
    TooManyEvents,
}

/// The events of a body, not yet decoded.
#[derive(Debug)]
pub struct Events<'a> {
    /// In their order.
    pub elements: Vec<Element<'a>>,
    /// How many JSON values the body holds: what it takes in memory once it is decoded goes by this.
    pub values: usize,
}

/// One event as sent, known to be JSON.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    text: &'a str,
    levels: usize,
    is_odd: bool,
}

impl<'a> Element<'a> {
    /// As it was sent.
    pub fn as_sent(&self) -> &'a str {
        self.text
    }

    /// Whether it is an object.
    pub(super) fn is_object(&self) -> bool {
        self.text.starts_with('{')
    }

    /// Its levels of nesting, itself being the first.
    pub(super) fn levels(&self) -> usize {
        self.levels
    }

    /// Its JSON with U+FFFD in place of U+0000 and of lone surrogates, which
    /// neither UTF-8 nor a database can hold.
    pub(super) fn mended(&self) -> Cow<'a, str> {
        if self.is_odd {
            Cow::Owned(mend(self.text))
        } else {
            Cow::Borrowed(self.text)
        }
    }
}

/// Finds the events in a body and makes sure that all of it is JSON.
///
/// # Errors
/// Every fault but one is found in the order of the bytes;
/// [`BodyFault::TooManyEvents`] comes before a fault in the UTF-8 that is
/// further behind.
pub fn split(body: &[u8]) -> Result<Events<'_>, BodyFault> {
    match std::str::from_utf8(body) {
        Ok(text) => Scanner::new(text).events(),
        Err(error) => {
            let (valid, _) = body.split_at(error.valid_up_to());
            let before = std::str::from_utf8(valid).unwrap_or_default();
            match Scanner::new(before).events() {
                Err(BodyFault::TooManyEvents) => Err(BodyFault::TooManyEvents),
                Ok(_) | Err(_) => Err(BodyFault::NotUtf8),
            }
        }
    }
}

/// The levels of nesting of a text that is known to be JSON.
pub(super) fn levels(json: &str) -> usize {
    let mut scanner = Scanner::new(json);
    // a fault can't be: at worst the count ends early
    let _ = scanner.value();
    scanner.deepest
}

fn mend(json: &str) -> String {
    let mut mended = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let Some(escape) = Escape::at(rest.as_bytes(), at) else {
            break;
        };
        if escape.is_odd {
            mended.push_str(&rest[..at]);
            mended.push_str("\\ufffd");
        } else {
            mended.push_str(&rest[..at + escape.len]);
        }
        rest = &rest[at + escape.len..];
    }
    mended.push_str(rest);
    mended
}

/// What stands behind a backslash.
struct Escape {
    len: usize,
    /// It means U+0000 or a lone surrogate.
    is_odd: bool,
}

impl Escape {
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let is_odd = match bytes.get(at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                return Some(Self {
                    len: 2,
                    is_odd: false,
                });
            }
            b'u' => match code_unit(bytes, at)? {
                0x0000 | 0xDC00..=0xDFFF => true,
                0xD800..=0xDBFF => {
                    if let Some(0xDC00..=0xDFFF) = code_unit(bytes, at + 6) {
                        return Some(Self {
                            len: 12,
                            is_odd: false,
                        });
                    }
                    true
                }
                _ => false,
            },
            _ => return None,
        };
        Some(Self { len: 6, is_odd })
    }
}

/// The UTF-16 code unit written as `\uXXXX` at this place, if there is one.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

/// A recursive descent over RFC 8259; the recursion is bounded by [`BODY_LEVELS`].
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    deepest: usize,
    is_odd: bool,
    values: usize,
}

type Scan = Result<(), BodyFault>;

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            deepest: 0,
            is_odd: false,
            values: 0,
        }
    }

    fn events(mut self) -> Result<Events<'a>, BodyFault> {
        self.space();
        let elements = match self.peek() {
            Some(b'[') => Some(self.elements()?),
            Some(b'{') => self.member_events()?,
            Some(_) | None => {
                self.value()?;
                None
            }
        };
        self.space();
        if self.peek().is_some() {
            return Err(BodyFault::NotJson);
        }
        Ok(Events {
            elements: elements.ok_or(BodyFault::NotEvents)?,
            values: self.values,
        })
    }

    /// Of `{"events":[…]}`; other members are ignored, of two the last one counts.
    fn member_events(&mut self) -> Result<Option<Vec<Element<'a>>>, BodyFault> {
        let mut events = None;
        self.object(|scanner, key| {
            if !is_events(key) {
                return scanner.value();
            }
            if scanner.peek() == Some(b'[') {
                events = Some(scanner.elements()?);
                Ok(())
            } else {
                events = None;
                scanner.value()
            }
        })?;
        Ok(events)
    }

    fn elements(&mut self) -> Result<Vec<Element<'a>>, BodyFault> {
        let mut elements = Vec::new();
        self.array(|scanner| {
            if elements.len() == MAX_EVENTS {
                return Err(BodyFault::TooManyEvents);
            }
            elements.push(scanner.element()?);
            Ok(())
        })?;
        Ok(elements)
    }

    fn element(&mut self) -> Result<Element<'a>, BodyFault> {
        let start = self.at;
        self.deepest = self.depth;
        self.is_odd = false;
        self.value()?;
        Ok(Element {
            text: &self.text[start..self.at],
            levels: self.deepest - self.depth,
            is_odd: self.is_odd,
        })
    }

    fn value(&mut self) -> Scan {
        self.values += 1;
        match self.peek() {
            Some(b'{') => self.object(|scanner, _| scanner.value()),
            Some(b'[') => self.array(Self::value),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(_) | None => Err(BodyFault::NotJson),
        }
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self) -> Scan) -> Scan {
        self.enter()?;
        if self.take(b']') {
            return self.leave();
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            match self.next() {
                Some(b',') => {}
                Some(b']') => return self.leave(),
                Some(_) | None => return Err(BodyFault::NotJson),
            }
        }
    }

    /// `member` gets each key as sent, with its quotes, and reads the value.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Scan) -> Scan {
        self.enter()?;
        if self.take(b'}') {
            return self.leave();
        }
        loop {
            self.space();
            let start = self.at;
            self.string()?;
            let key = &self.text[start..self.at];
            self.space();
            if !self.take(b':') {
                return Err(BodyFault::NotJson);
            }
            self.space();
            member(self, key)?;
            self.space();
            match self.next() {
                Some(b',') => {}
                Some(b'}') => return self.leave(),
                Some(_) | None => return Err(BodyFault::NotJson),
            }
        }
    }

    fn enter(&mut self) -> Scan {
        self.at += 1;
        self.depth += 1;
        if self.depth >= BODY_LEVELS {
            return Err(BodyFault::TooNested);
        }
        self.deepest = self.deepest.max(self.depth);
        self.space();
        Ok(())
    }

    fn leave(&mut self) -> Scan {
        self.depth -= 1;
        Ok(())
    }

    fn string(&mut self) -> Scan {
        if !self.take(b'"') {
            return Err(BodyFault::NotJson);
        }
        let bytes = self.text.as_bytes();
        loop {
            self.at += plain_bytes(&bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let escape = Escape::at(bytes, self.at).ok_or(BodyFault::NotJson)?;
                    self.is_odd |= escape.is_odd;
                    self.at += escape.len;
                }
                Some(_) | None => return Err(BodyFault::NotJson),
            }
        }
    }

    fn number(&mut self) -> Scan {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        let mut may_overflow = self.at - start > 300;
        if self.take(b'e') || self.take(b'E') {
            may_overflow = true;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let number = &self.text[start..self.at];
        if may_overflow && serde_json::from_str::<f64>(number).is_err() {
            return Err(BodyFault::NumberOutOfRange);
        }
        Ok(())
    }

    fn digits(&mut self) -> Scan {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(BodyFault::NotJson);
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Scan {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(BodyFault::NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }
}

/// How many bytes of a string stand before its next quote, backslash or control character.
fn plain_bytes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
        .unwrap_or(bytes.len())
}

/// Whether a key as sent says `events`.
fn is_events(key: &str) -> bool {
    key == "\"events\""
        || (key.contains('\\')
            && serde_json::from_str::<String>(key).is_ok_and(|key| key == "events"))
}
