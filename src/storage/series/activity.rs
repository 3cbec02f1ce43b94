//! Reads a range in few buckets.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use fjall::Keyspace;
use mimamori_actors::domain::{ClassroomId, Timestamp};
use tokio::time::Instant;

use super::SeriesError;
use super::counts::Counts;
use super::keys::{Level, begin_and_student, beginning, minute_of, prefix};

/// A reading that takes longer is broken off.
const READING_LIMIT: Duration = Duration::from_secs(10);
/// How many cells pass between two looks at the clock.
const CELLS_A_LOOK: usize = 4096;

const DAY: i64 = Level::Day.minutes();
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

pub(super) fn read(
    counts: &Keyspace,
    classroom: &ClassroomId,
    range: Range<Timestamp>,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Bucket>, SeriesError> {
    let from = minute_of(range.start);
    // up to the minute that holds the last millisecond
    let mut to = minute_of(range.end.minus(Duration::from_millis(1))).saturating_add(1);
    let newest = newest_minute(counts, classroom, from..to)?;
    to = to.min(newest.unwrap_or(i64::MIN).max(minute_of(now)) + 1);
    if range.is_empty() || to <= from {
        return Ok(Vec::new());
    }
    let width = width(&(from..to), most);
    let mut buckets = Buckets::new(&(from..to), width);
    let deadline = Instant::now() + READING_LIMIT;
    for (level, part) in parts(from..to, coarsest(width)) {
        let keys = prefix(level, classroom, part.start)..prefix(level, classroom, part.end);
        for (number, cell) in counts.range(keys).enumerate() {
            if number % CELLS_A_LOOK == 0 && Instant::now() > deadline {
                return Err(SeriesError::TooSlow);
            }
            let (key, value) = cell.into_inner()?;
            let (begin, student) = begin_and_student(&key, classroom)?;
            buckets.add(begin, student, Counts::from_bytes(&value)?);
        }
    }
    Ok(buckets.finish())
}

/// The last minute of the range in which anything happened.
fn newest_minute(
    counts: &Keyspace,
    classroom: &ClassroomId,
    range: Range<i64>,
) -> Result<Option<i64>, SeriesError> {
    if range.is_empty() {
        return Ok(None);
    }
    let keys =
        prefix(Level::Minute, classroom, range.start)..prefix(Level::Minute, classroom, range.end);
    match counts.range(keys).next_back() {
        Some(cell) => Ok(Some(begin_and_student(&cell.key()?, classroom)?.0)),
        None => Ok(None),
    }
}

/// The smallest width that needs no more than `most` buckets.
fn width(range: &Range<i64>, most: usize) -> i64 {
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

/// The longest cells that lie wholly within buckets of this width.
fn coarsest(width: i64) -> Level {
    Level::ALL
        .into_iter()
        .rev()
        .find(|level| width % level.minutes() == 0)
        .unwrap_or(Level::Minute)
}

/// Cuts a range into parts of cells: the longest in the middle, shorter ones towards its ends.
fn parts(range: Range<i64>, level: Level) -> Vec<(Level, Range<i64>)> {
    if range.is_empty() {
        return Vec::new();
    }
    let Some(finer) = level.finer() else {
        return vec![(level, range)];
    };
    let length = level.minutes();
    let begin = (range.start + length - 1).div_euclid(length) * length;
    let end = range.end.div_euclid(length) * length;
    if begin >= end {
        return parts(range, finer);
    }
    let mut all = parts(range.start..begin, finer);
    all.push((level, begin..end));
    all.extend(parts(end..range.end, finer));
    all
}

/// Buckets in the making; cells come in the order of time.
struct Buckets {
    width: i64,
    first: i64,
    done: Vec<Bucket>,
    /// Who was active in the bucket that `current` numbers.
    students: HashSet<Box<[u8]>>,
    current: usize,
}

impl Buckets {
    fn new(range: &Range<i64>, width: i64) -> Self {
        let first = range.start.div_euclid(width) * width;
        let empty = (first..range.end)
            .step_by(usize::try_from(width).unwrap_or(usize::MAX))
            .map(|begin| Bucket {
                at: beginning(begin),
                executions: 0,
                errors: 0,
                help: 0,
                active: 0,
            })
            .collect();
        Self {
            width,
            first,
            done: empty,
            students: HashSet::new(),
            current: 0,
        }
    }

    fn add(&mut self, begin: i64, student: &[u8], counts: Counts) {
        let number = usize::try_from((begin - self.first) / self.width).unwrap_or(usize::MAX);
        if number != self.current {
            self.students.clear();
            self.current = number;
        }
        let Some(bucket) = self.done.get_mut(number) else {
            return;
        };
        bucket.executions += u64::from(counts.executions);
        bucket.errors += u64::from(counts.errors);
        bucket.help += u64::from(counts.help);
        if counts.events > 0 && !self.students.contains(student) {
            self.students.insert(student.into());
            bucket.active += 1;
        }
    }

    fn finish(self) -> Vec<Bucket> {
        self.done
    }
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

    #[test]
    fn parts_cover_a_range_once_with_long_cells_in_the_middle() {
        let range = 1_433..(3 * DAY + 75);

        let parts = parts(range.clone(), Level::Day);

        let mut reached = range.start;
        for (level, part) in &parts {
            assert_eq!(part.start, reached);
            assert_eq!(part.start % level.minutes(), 0);
            assert_eq!(part.end % level.minutes(), 0);
            reached = part.end;
        }
        assert_eq!(reached, range.end);
        assert!(parts.contains(&(Level::Day, DAY..3 * DAY)));
    }
}
