//! Cursors: where a list goes on, opaque to clients.
//!
//! A cursor holds the key of the last item and the range of the first page
//! (the last 24 hours go on, the pages of a list do not), and a check over
//! both and over what was asked for: one that was altered, cut, or taken from
//! another list is refused.

use mimamori_actors::domain::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::ApiError;
use crate::storage::records::TimeRange;

/// Bytes of the check.
const CHECK: usize = 8;
/// No cursor of ours is longer: one may hold two names of 1 KiB, spelled out in hexadecimal twice.
const LONGEST: usize = 9_216;

#[derive(Serialize, Deserialize)]
struct Content<K> {
    /// From and to of the range, in milliseconds.
    r: Option<(i64, Option<i64>)>,
    /// The key of the last item.
    k: K,
}

/// Writes and reads the cursors of one list as it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursors<'a> {
    /// The path of the list and what narrows it: all that must not change from page to page.
    pub(super) list: &'a str,
}

impl Cursors<'_> {
    /// The cursor of a list that goes on after the item with this key.
    pub(super) fn write<K: Serialize>(self, range: Option<TimeRange>, key: K) -> Option<String> {
        let range = range.map(|range| (range.from.as_millis(), range.to.map(Timestamp::as_millis)));
        let content = serde_json::to_vec(&Content { r: range, k: key }).ok()?;
        let mut bytes = self.check(&content).to_vec();
        bytes.extend_from_slice(&content);
        Some(to_hex(&bytes))
    }

    /// The range and the key in a cursor.
    pub(super) fn read<K: DeserializeOwned>(
        self,
        cursor: &str,
    ) -> Result<(Option<TimeRange>, K), ApiError> {
        self.content(cursor)
            .map(|Content { r, k }| {
                let range = r.map(|(from, to)| TimeRange {
                    from: Timestamp::from_millis(from),
                    to: to.map(Timestamp::from_millis),
                });
                (range, k)
            })
            .ok_or_else(|| {
                ApiError::bad_parameter(
                    "cursor",
                    "one that this very list gave, with the same filters",
                )
            })
    }

    fn content<K: DeserializeOwned>(self, cursor: &str) -> Option<Content<K>> {
        if cursor.len() > LONGEST {
            return None;
        }
        let bytes = from_hex(cursor)?;
        let (check, content) = bytes.split_first_chunk::<CHECK>()?;
        if *check != self.check(content) {
            return None;
        }
        serde_json::from_slice(content).ok()
    }

    fn check(self, content: &[u8]) -> [u8; CHECK] {
        let mut hasher = blake3::Hasher::new_derive_key("mimamori 2026-11 cursors of reading");
        hasher.update(&(self.list.len() as u64).to_le_bytes());
        hasher.update(self.list.as_bytes());
        hasher.update(content);
        let mut check = [0; CHECK];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
        check
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Cursors<'_> = Cursors { list: "help" };

    fn range() -> TimeRange {
        TimeRange {
            from: Timestamp::from_millis(-5),
            to: None,
        }
    }

    #[test]
    fn a_cursor_gives_back_range_and_key() {
        let cursor = LIST.write(Some(range()), (1_i64, "hlp_1")).unwrap();

        let (known, key): (_, (i64, String)) = LIST.read(&cursor).unwrap();

        assert_eq!(known, Some(range()));
        assert_eq!(key, (1, "hlp_1".to_owned()));
    }

    #[test]
    fn a_cursor_that_is_altered_or_of_another_list_is_refused() {
        let cursor = LIST.write(None, 7_i64).unwrap();

        for at in 0..cursor.len() {
            let mut altered = cursor.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(LIST.read::<i64>(&altered).is_err(), "{at}");
        }
        for other in ["", "0", "zz", "课题", &cursor[..20], &cursor[2..]] {
            assert!(LIST.read::<i64>(other).is_err(), "{other}");
        }
        assert!(Cursors { list: "lessons" }.read::<i64>(&cursor).is_err());
    }
}
