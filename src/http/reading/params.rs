//! What a reading call may be given in its query, checked.

use std::time::Duration;

use mimamori_actors::domain::Timestamp;
use percent_encoding::percent_decode_str;

use crate::http::ApiError;
use crate::storage::records::TimeRange;

/// Items a page, where nothing else was asked for.
const USUAL_LIMIT: usize = 100;
/// Items a page at most.
const HIGHEST_LIMIT: usize = 1_000;
/// The range, where none was asked for.
const USUAL_RANGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters that may be searched for.
const LONGEST_QUERY: usize = 256;
/// Bytes of any other parameter: ids, names and paths have at most 1 KiB.
const LONGEST_PARAMETER: usize = 1_024;

/// The query of a request, decoded. Unknown parameters are ignored; of repeated ones the first counts.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn of(query: &str) -> Self {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            as_stored(&percent_decode_str(&spaced).decode_utf8_lossy())
        };
        Self(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// A parameter as sent; an empty one is as good as none.
    fn raw(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A parameter as it was sent, for telling one list from another.
    pub(super) fn as_sent(&self, name: &str) -> Option<&str> {
        self.raw(name)
    }

    /// Where to go on; whoever reads it limits its length.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.raw("cursor")
    }

    /// A text of at most 1 KiB.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.raw(name) {
            Some(value) if value.len() > LONGEST_PARAMETER => {
                Err(ApiError::bad_parameter(name, "at most 1 KiB long"))
            }
            value => Ok(value),
        }
    }

    /// What to search for.
    pub(super) fn search(&self) -> Result<Option<&str>, ApiError> {
        match self.raw("query") {
            Some(value) if value.chars().count() > LONGEST_QUERY => Err(ApiError::bad_parameter(
                "query",
                "at most 256 characters long",
            )),
            value => Ok(value),
        }
    }

    /// How many items a page may have.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let Some(value) = self.raw("limit") else {
            return Ok(USUAL_LIMIT);
        };
        match value.parse() {
            Ok(limit) if (1..=HIGHEST_LIMIT).contains(&limit) => Ok(limit),
            Ok(_) | Err(_) => Err(ApiError::bad_parameter(
                "limit",
                "a whole number from 1 to 1000",
            )),
        }
    }

    /// A position; before the first one if it is absent.
    pub(super) fn since(&self) -> Result<u64, ApiError> {
        let Some(value) = self.raw("since") else {
            return Ok(0);
        };
        value.parse().map_err(|_| {
            ApiError::bad_parameter("since", "a position: a whole number that is not negative")
        })
    }

    /// Whether a range was asked for.
    pub(super) fn has_range(&self) -> bool {
        self.raw("from").is_some() || self.raw("to").is_some()
    }

    /// The range that was asked for; the last 24 hours if none was.
    ///
    /// A range without an end has none: a client whose clock is a minute fast
    /// would otherwise be missing from it for a minute.
    pub(super) fn range(&self, now: Timestamp) -> Result<TimeRange, ApiError> {
        let to = self.time("to")?;
        let from = match (self.time("from")?, to) {
            (Some(from), _) => from,
            (None, Some(to)) => to.minus(USUAL_RANGE),
            // by whole minutes: what was read a moment ago is what is asked for again
            (None, None) => whole_minute(now.minus(USUAL_RANGE)),
        };
        if to.is_some_and(|to| to < from) {
            return Err(ApiError::bad_parameter("to", "no earlier than from"));
        }
        Ok(TimeRange { from, to })
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(value) = self.raw(name) else {
            return Ok(None);
        };
        // a plus that was not escaped has become a space: `…T09:00:00+09:00`
        value
            .parse()
            .or_else(|_| value.replace(' ', "+").parse())
            .map(Some)
            .map_err(|_| {
                ApiError::bad_parameter(name, "an ISO 8601 time, for example 2026-04-01T09:00:00Z")
            })
    }
}

/// The beginning of the minute.
pub(super) fn whole_minute(time: Timestamp) -> Timestamp {
    const MINUTE: i64 = 60_000;
    Timestamp::from_millis(time.as_millis().div_euclid(MINUTE).saturating_mul(MINUTE))
}

/// A segment of a path, decoded; nothing if it is no text.
pub(super) fn segment(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(as_stored(&decoded))
}

/// U+0000 is read as U+FFFD, as in events. In a question SQLite would end there, and
/// PostgreSQL refuse it.
fn as_stored(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_zero_is_asked_for_as_what_it_is_stored_as() {
        let params = Params::of("query=x%00y");

        assert_eq!(params.as_sent("query"), Some("x\u{FFFD}y"));
        assert_eq!(segment("x%00y").as_deref(), Some("x\u{FFFD}y"));
    }

    #[test]
    fn without_a_range_it_is_the_last_24_hours() {
        let range = Params::of("").range(now()).unwrap();

        assert_eq!(range.from.to_string(), "2026-11-21T00:00:00.000Z");
        assert_eq!(range.to, None);
    }

    #[test]
    fn an_offset_counts_with_its_plus_escaped_or_not() {
        for query in [
            "from=2026-11-22T09:00:00%2B09:00",
            "from=2026-11-22T09:00:00+09:00",
        ] {
            let range = Params::of(query).range(now()).unwrap();

            assert_eq!(range.from, now(), "{query}");
        }
    }

    #[test]
    fn what_is_no_range_limit_or_position_is_refused() {
        for query in ["from=yesterday", "to=12", "from=2026-11-22&to=2026-11-21"] {
            assert!(Params::of(query).range(now()).is_err(), "{query}");
        }
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=ten"] {
            assert!(Params::of(query).limit().is_err(), "{query}");
        }
        assert!(Params::of("since=-1").since().is_err());
        assert!(
            Params::of(&format!("query={}", "a".repeat(257)))
                .search()
                .is_err()
        );
    }

    #[test]
    fn texts_are_decoded_and_empty_ones_are_none() {
        let params = Params::of("notebook=week1%2F%E8%AA%B2%E9%A1%8C+1.ipynb&cell=&=&x&%ff=%ff");

        assert_eq!(params.text("notebook").unwrap(), Some("week1/課題 1.ipynb"));
        assert_eq!(params.text("cell").unwrap(), None);
    }
}
