//! Reads a range in few buckets.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use fjall::Keyspace;
use mimamori_actors::domain::{ClassroomId, Timestamp};
use tokio::time::Instant;

use super::counts::Counts;
use super::keys::{Level, begin_and_student, prefix};
use crate::storage::series::SeriesError;
use crate::storage::series::buckets::{Bucket, empty, minutes_of, shown, width};

/// A reading that takes longer is broken off.
const READING_LIMIT: Duration = Duration::from_secs(10);
/// How many cells pass between two looks at the clock.
const CELLS_A_LOOK: usize = 4096;

pub(super) fn read(
    counts: &Keyspace,
    classroom: &ClassroomId,
    range: Range<Timestamp>,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Bucket>, SeriesError> {
    let asked = minutes_of(&range);
    let newest = newest_minute(counts, classroom, asked.clone())?;
    let shown = shown(asked, newest, now);
    if shown.is_empty() {
        return Ok(Vec::new());
    }
    let width = width(&shown, most);
    let mut buckets = Buckets::new(&shown, width);
    let deadline = Instant::now() + READING_LIMIT;
    for (level, part) in parts(shown, coarsest(width)) {
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
        Self {
            width,
            first: range.start.div_euclid(width) * width,
            done: empty(range, width),
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

    const DAY: i64 = Level::Day.minutes();

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
