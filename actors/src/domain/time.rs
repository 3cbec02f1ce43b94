//! Points in time as the journal keeps them, on two scales: what the clock on the
//! wall said, and how long the server had listened.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z. On the wire ISO 8601 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text is not an ISO 8601 date and time within the years 0 to 9999.
#[derive(Debug, thiserror::Error)]
#[error("not an ISO 8601 date and time")]
pub struct BadTimestamp;

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this one; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This much earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// A point on the scale of heard time: milliseconds during which the server
/// listened. All silences and ages are measured on it, so that our own absence
/// is no silence of anybody's.
///
/// A new journal begins it at the wall time, and it goes on over restarts; by
/// itself a value means nothing, only the distance of two does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Heard(i64);

impl Heard {
    /// From milliseconds on this scale.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Where this scale begins, and where what was written before it existed stands on it.
    pub const fn of_wall(at: Timestamp) -> Self {
        Self(at.0)
    }

    /// Milliseconds on this scale.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long the server listened from `earlier` to this; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Timestamp(self.0).since(Timestamp(earlier.0))
    }

    /// After so much more listening.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(Timestamp(self.0).plus(duration).0)
    }
}

impl<'de> Deserialize<'de> for Heard {
    /// A number, or a time as it was written before there were two scales.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Heard(i64),
            Wall(Timestamp),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Heard(millis) => Self(millis),
            Written::Wall(at) => Self::of_wall(at),
        })
    }
}

/// A point in time on both scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Moment {
    /// What people see.
    pub at: Timestamp,
    /// What silences are measured by.
    pub heard: Heard,
}

impl Moment {
    /// A moment of which only the wall time is known: no absence before it counts.
    pub const fn of_wall(at: Timestamp) -> Self {
        Self {
            at,
            heard: Heard::of_wall(at),
        }
    }

    /// The later one on each scale.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            at: self.at.max(other.at),
            heard: self.heard.max(other.heard),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    /// Both, or one time as it was written before there were two scales.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Both { at: Timestamp, heard: Heard },
            Wall(Timestamp),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Both { at, heard } => Self { at, heard },
            Written::Wall(at) => Self::of_wall(at),
        })
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    /// ISO 8601; without an offset it is UTC.
    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let instant = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| {
                text.parse::<DateTime>()
                    .and_then(|local| local.to_zoned(TimeZone::UTC))
                    .map(|zoned| zoned.timestamp())
            })
            .map_err(|_| BadTimestamp)?;
        let millis = instant.as_millisecond();
        // what we print we must be able to read: four digits of year
        let years = -62_167_219_200_000..=253_402_207_199_999;
        if years.contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(BadTimestamp)
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_an_offset_is_utc() {
        let with: Timestamp = "2026-11-21T22:25:37.985Z".parse().unwrap();
        let without: Timestamp = "2026-11-21T22:25:37.985".parse().unwrap();

        assert_eq!(with, without);
        assert_eq!(with.to_string(), "2026-11-21T22:25:37.985Z");
    }

    #[test]
    fn an_offset_counts() {
        let japan: Timestamp = "2026-11-22T07:25:37.985+09:00".parse().unwrap();

        assert_eq!(japan.to_string(), "2026-11-21T22:25:37.985Z");
    }

    #[test]
    fn what_was_written_before_there_were_two_scales_is_read_as_the_same_on_both() {
        let moment: Moment = serde_json::from_str(r#""2026-11-21T22:25:37.985Z""#).unwrap();
        let heard: Heard = serde_json::from_str(r#""2026-11-21T22:25:37.985Z""#).unwrap();

        assert_eq!(moment.at.to_string(), "2026-11-21T22:25:37.985Z");
        assert_eq!(moment.heard, heard);
        assert_eq!(heard.as_millis(), moment.at.as_millis());
    }

    #[test]
    fn both_scales_are_read_back_as_written() {
        let moment = Moment {
            at: Timestamp::from_millis(1_800_000_000_000),
            heard: Heard::from_millis(1_799_999_000_000),
        };

        let text = serde_json::to_string(&moment).unwrap();

        assert_eq!(
            text,
            r#"{"at":"2027-01-15T08:00:00.000Z","heard":1799999000000}"#
        );
        assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "12345",
            "2026-11-21T25:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
