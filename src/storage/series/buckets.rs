//! The buckets of an answer: how wide they are, and where they begin. Pure.

use std::ops::Range;
use std::time::Duration;

use mimamori_actors::domain::Timestamp;

const MINUTE_MS: i64 = 60_000;
const DAY: i64 = 24 * 60;
/// Widths in minutes that read well on an axis. Beyond them, whole days.
const WIDTHS: [i64; 16] = [
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    2 * 60,
    3 * 60,
    6 * 60,
    12 * 60,
    DAY,
    2 * DAY,
    5 * DAY,
    10 * DAY,
];

/// How much happened in one stretch of time; all buckets of an answer are equally wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its beginning, a multiple of its width.
    pub at: Timestamp,
    /// Runs: ok, error and interrupted.
    pub executions: u64,
    /// Runs that failed.
    pub errors: u64,
    /// Requests for help that opened.
    pub help: u64,
    /// Students with an event.
    pub active: u64,
}

/// Minutes since 1970: this one's beginning is at or before `time`.
pub(super) fn minute_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(MINUTE_MS)
}

/// When a minute begins.
pub(super) fn beginning(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute.saturating_mul(MINUTE_MS))
}

/// The minutes that a range touches, up to the one that holds its last millisecond.
pub(super) fn minutes_of(range: &Range<Timestamp>) -> Range<i64> {
    if range.is_empty() {
        return 0..0;
    }
    let last = range.end.minus(Duration::from_millis(1));
    minute_of(range.start)..minute_of(last).saturating_add(1)
}

/// What is shown of the minutes that were asked for: up to now, or to the newest in which
/// anything happened; nothing if that is before them.
pub(super) fn shown(asked: Range<i64>, newest: Option<i64>, now: Timestamp) -> Range<i64> {
    let last = newest.unwrap_or(i64::MIN).max(minute_of(now));
    asked.start..asked.end.min(last + 1)
}

/// The smallest width that needs no more than `most` buckets.
pub(super) fn width(range: &Range<i64>, most: usize) -> i64 {
    let most = i64::try_from(most).unwrap_or(i64::MAX).max(2);
    let fits = |width: &i64| buckets_of(range, *width) <= most;
    WIDTHS.into_iter().find(fits).unwrap_or_else(|| {
        // one bucket may be lost to the alignment
        let minutes = (range.end - range.start) / (most - 1) + 1;
        minutes.div_euclid(DAY) * DAY + DAY
    })
}

fn buckets_of(range: &Range<i64>, width: i64) -> i64 {
    (range.end - 1).div_euclid(width) - range.start.div_euclid(width) + 1
}

/// Buckets without gaps, all of this width in minutes, in which nothing happened.
pub(super) fn empty(range: &Range<i64>, width: i64) -> Vec<Bucket> {
    let first = range.start.div_euclid(width) * width;
    (first..range.end)
        .step_by(usize::try_from(width).unwrap_or(usize::MAX))
        .map(|begin| Bucket {
            at: beginning(begin),
            executions: 0,
            errors: 0,
            help: 0,
            active: 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_fits_into_the_buckets_allowed() {
        for minutes in [1, 5, 299, 300, 301, 1440, 10_000, 525_600, 1_000_000_000] {
            for start in [0, 7, 1_439, 29_500_123] {
                let range = start..start + minutes;

                let width = width(&range, 300);

                assert!(buckets_of(&range, width) <= 300, "{minutes} {start}");
            }
        }
    }
}
