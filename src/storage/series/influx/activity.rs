//! Reads a range in few buckets: from whole hours that were counted before, the rest
//! counted by the server from points.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Position, Timestamp};
use serde_json::Value;

use super::super::SeriesError;
use super::super::buckets::{Bucket, beginning, empty, minute_of, minutes_of, shown, width};
use super::client::{Client, quoted_name, quoted_text};
use super::hour::{Counts, HOUR, Hour, Minutes, PIECE, short};
use super::hours::{self, Found, Stamp};
use super::points::{EVENTS, nanoseconds};
use super::remembered::Remembered;
use super::tags::of_classroom;

/// A reading, and a chart as a whole, that takes longer is broken off.
pub(super) const READING_LIMIT: Duration = Duration::from_secs(10);
/// It is worth a question where a longer range begins to have anything in it.
const LONG_MINUTES: i64 = 32 * 24 * HOUR;
/// Stretches between hours that are counted with one request.
const MOST_GAPS: usize = 6;
/// Hours that one chart has counted behind it: 400 days.
const MOST_MISSED: usize = 400 * 24;

/// These minutes of an hour.
struct Part {
    minutes: Range<i64>,
    hour: i64,
    counted_by: Stamp,
}

/// What a chart is made of.
pub(super) struct Plan {
    shown: Range<i64>,
    width: i64,
    hours: BTreeMap<i64, Arc<Hour>>,
    /// Parts of other hours that hold.
    parts: Vec<Part>,
    /// The minutes that are in none of all these.
    gaps: Vec<Range<i64>>,
    /// Hours that may be counted.
    pub(super) missed: Vec<i64>,
    /// What they would be counted by.
    pub(super) stamp: Option<Stamp>,
}

pub(super) async fn plan(
    client: &Client,
    remembered: &Remembered,
    classroom: &ClassroomId,
    range: Range<Timestamp>,
    now: Timestamp,
    most: usize,
) -> Result<Plan, SeriesError> {
    let asked = minutes_of(&range);
    let ahead = asked.start.max(minute_of(now).saturating_add(1))..asked.end;
    // of what lies ahead nothing is over
    let until = minute_of(now).saturating_add(HOUR).min(asked.end);
    let touched = touched_hours(&(asked.start..until.max(asked.start)));
    // what makes hours wrong while points are counted is seen: hours are asked for before
    let (newest, found) = tokio::try_join!(
        edge(client, classroom, &ahead, "LAST"),
        hours::find(client, classroom, &touched),
    )?;
    let shown = shown(asked, newest, now);
    let width = width(&shown, most);
    let mut plan = Plan {
        gaps: Vec::new(),
        hours: BTreeMap::new(),
        parts: Vec::new(),
        missed: Vec::new(),
        stamp: found.stamp,
        shown,
        width,
    };
    if !plan.shown.is_empty() {
        plan.look(client, remembered, classroom, &found).await?;
    }
    Ok(plan)
}

impl Plan {
    /// Takes what was counted before.
    async fn look(
        &mut self,
        client: &Client,
        remembered: &Remembered,
        classroom: &ClassroomId,
        found: &Found,
    ) -> Result<(), SeriesError> {
        let mut range = self.shown.clone();
        if self.width % PIECE != 0 {
            self.gaps = vec![range];
            return Ok(());
        }
        if range.end - range.start > LONG_MINUTES {
            // a range without a beginning has years in which there was nothing
            let oldest = oldest(client, remembered, classroom, &range, found).await?;
            range.start = oldest.unwrap_or(range.end).max(range.start);
        }
        let whole = whole_hours(&range);
        self.hours = hours::read(client, remembered, classroom, found, &whole).await?;
        let is_there = |hour: &i64| {
            let is_edge = !whole.contains(hour);
            self.hours.contains_key(hour) || is_edge && found.counted_by(*hour).is_some()
        };
        let missed = touched_hours(&range)
            .rev()
            .filter(|hour| !is_there(hour) && found.may_be_counted(*hour));
        self.missed = missed.take(MOST_MISSED).collect();
        self.missed.reverse();
        for gap in gaps(&range, &mut self.hours) {
            match part_of_an_hour(&gap, found) {
                Some(part) => self.parts.push(part),
                None => self.gaps.push(gap),
            }
        }
        Ok(())
    }

    /// Counts the rest.
    pub(super) async fn make(
        self,
        client: &Client,
        remembered: &Remembered,
        classroom: &ClassroomId,
    ) -> Result<Vec<Bucket>, SeriesError> {
        if self.shown.is_empty() {
            return Ok(Vec::new());
        }
        let mut sums = Sums::new(&self.shown, self.width);
        for (number, hour) in &self.hours {
            sums.add_hour(*number, hour);
        }
        for part in &self.parts {
            let minutes = minutes(client, remembered, classroom, part).await?;
            for (minute, counts) in minutes.counts(&part.minutes) {
                sums.add(minute, Counted::Events(counts));
            }
            for (minute, student) in minutes.students(&part.minutes) {
                sums.add(minute, Counted::Student(student));
            }
        }
        let is_all = self.hours.is_empty() && self.parts.is_empty();
        let rest = count(
            client,
            classroom,
            &self.gaps,
            self.width,
            READING_LIMIT,
            is_all,
        );
        for (minute, what) in rest.await? {
            sums.add(minute, what);
        }
        Ok(sums.buckets())
    }
}

/// The hours of which a minute is in these.
fn touched_hours(minutes: &Range<i64>) -> Range<i64> {
    let first = minutes.start.div_euclid(HOUR);
    first..(minutes.end + HOUR - 1).div_euclid(HOUR).max(first)
}

/// As which these minutes lie in one hour that holds.
fn part_of_an_hour(minutes: &Range<i64>, found: &Found) -> Option<Part> {
    let hour = minutes.start.div_euclid(HOUR);
    let is_within = minutes.end <= (hour + 1) * HOUR;
    let counted_by = found.counted_by(hour).filter(|_| is_within)?;
    Some(Part {
        minutes: minutes.clone(),
        hour,
        counted_by,
    })
}

/// All of the hour of this part, minute by minute: the next chart begins or ends at another.
async fn minutes(
    client: &Client,
    remembered: &Remembered,
    classroom: &ClassroomId,
    part: &Part,
) -> Result<Arc<Minutes>, SeriesError> {
    let (hour, by) = (part.hour, part.counted_by);
    if let Some(minutes) = remembered.minutes.find(classroom, hour, by).await {
        return Ok(minutes);
    }
    let all = hour * HOUR..(hour + 1) * HOUR;
    let counted = count(client, classroom, from_ref(&all), 1, READING_LIMIT, false);
    let mut minutes = Minutes::default();
    for (minute, what) in counted.await? {
        match what {
            Counted::Events(counts) => minutes.add(minute, counts),
            Counted::Student(student) => minutes.met(minute, student),
            Counted::Students(_) => {}
        }
    }
    let minutes = Arc::new(minutes);
    let kept = Arc::clone(&minutes);
    remembered.minutes.keep(classroom, hour, by, kept).await;
    Ok(minutes)
}

/// The hours that lie in these minutes from their beginning to their end.
fn whole_hours(minutes: &Range<i64>) -> Range<i64> {
    let first = (minutes.start + HOUR - 1).div_euclid(HOUR);
    first..minutes.end.div_euclid(HOUR).max(first)
}

/// The minutes that are in none of these hours. If those are too many stretches, the hours
/// between the nearest of them are not used.
fn gaps(part: &Range<i64>, hours: &mut BTreeMap<i64, Arc<Hour>>) -> Vec<Range<i64>> {
    let mut gaps: Vec<Range<i64>> = Vec::new();
    let mut open = part.start;
    for hour in hours.keys() {
        if hour * HOUR > open {
            gaps.push(open..hour * HOUR);
        }
        open = (hour + 1) * HOUR;
    }
    if open < part.end {
        gaps.push(open..part.end);
    }
    while gaps.len() > MOST_GAPS {
        let between = |nth: &usize| gaps[nth + 1].start - gaps[*nth].end;
        let nearest = (0..gaps.len() - 1).min_by_key(between).unwrap_or_default();
        let next = gaps.remove(nearest + 1);
        gaps[nearest].end = next.end;
    }
    hours.retain(|hour, _| !gaps.iter().any(|gap| gap.contains(&(hour * HOUR))));
    gaps
}

/// Buckets while they are filled.
struct Sums {
    width: i64,
    first: i64,
    buckets: Vec<Bucket>,
    people: Vec<Vec<u64>>,
}

impl Sums {
    fn new(shown: &Range<i64>, width: i64) -> Self {
        let buckets = empty(shown, width);
        Self {
            width,
            first: shown.start.div_euclid(width),
            people: vec![Vec::new(); buckets.len()],
            buckets,
        }
    }

    /// The bucket that holds this minute.
    fn number(&self, minute: i64) -> Option<usize> {
        let number = usize::try_from(minute.div_euclid(self.width) - self.first);
        number.ok().filter(|number| *number < self.buckets.len())
    }

    fn add(&mut self, minute: i64, what: Counted) {
        let Some(number) = self.number(minute) else {
            return;
        };
        let bucket = &mut self.buckets[number];
        match what {
            Counted::Events(counts) => {
                bucket.executions += counts.executions;
                bucket.errors += counts.errors;
                bucket.help += counts.help;
            }
            Counted::Student(student) => self.people[number].push(student),
            Counted::Students(active) => bucket.active += active,
        }
    }

    fn add_hour(&mut self, number: i64, hour: &Hour) {
        let begin = number * HOUR;
        for (minute, counts) in hour.pieces() {
            self.add(begin + minute, Counted::Events(counts));
        }
        if self.width >= HOUR {
            if let Some(number) = self.number(begin) {
                unite(&mut self.people[number], hour);
            }
            return;
        }
        for (student, bits) in hour.students() {
            for piece in (0..HOUR / PIECE).filter(|piece| bits >> piece & 1 == 1) {
                self.add(begin + piece * PIECE, Counted::Student(student));
            }
        }
    }

    fn buckets(mut self) -> Vec<Bucket> {
        for (bucket, people) in self.buckets.iter_mut().zip(&mut self.people) {
            people.sort_unstable();
            people.dedup();
            bucket.active += people.len() as u64;
        }
        self.buckets
    }
}

/// Adds the students of an hour to those of the hours before, in their order: mostly it is
/// the same people, hour by hour.
fn unite(people: &mut Vec<u64>, hour: &Hour) {
    let before = people.len();
    for (student, _) in hour.students() {
        if people[..before].binary_search(&student).is_err() {
            people.push(student);
        }
    }
    if people.len() > before {
        people.sort_unstable();
    }
}

/// A part of what is in a stretch of time.
pub(super) enum Counted {
    Events(Counts),
    /// One who had an event, by a [`short`] number.
    Student(u64),
    /// So many different ones, of a stretch that is counted at once.
    Students(u64),
}

/// What the points of these minutes are, by stretches of this width in minutes: when each
/// begins, and what is in it. Students are one by one, but if `is_all`: then
/// no stretch may be counted from anything else as well.
pub(super) async fn count(
    client: &Client,
    classroom: &ClassroomId,
    gaps: &[Range<i64>],
    width: i64,
    limit: Duration,
    is_all: bool,
) -> Result<Vec<(i64, Counted)>, SeriesError> {
    if gaps.is_empty() {
        return Ok(Vec::new());
    }
    let each = gaps.iter().map(|gap| {
        let within = within(classroom, gap);
        let within = format!("FROM {within} GROUP BY time({width}m) fill(none)");
        let events = "SELECT SUM(executions), SUM(errors), SUM(help)";
        if is_all {
            format!("{events}, COUNT(DISTINCT(student)) {within}")
        } else {
            format!("{events} {within}; SELECT DISTINCT(student) {within}")
        }
    });
    let questions = each.collect::<Vec<_>>().join("; ");
    let mut counted = Vec::new();
    for table in client.ask(&questions, limit).await? {
        let is_students = table.columns.get(1).is_some_and(|name| name == "distinct");
        for row in &table.values {
            let minute = minute_of(time_of(row)?);
            if is_students {
                let student = row.get(1).and_then(Value::as_str);
                counted.extend(student.map(|student| (minute, Counted::Student(short(student)))));
                continue;
            }
            let counts = Counts {
                executions: number(row, 1),
                errors: number(row, 2),
                help: number(row, 3),
            };
            counted.push((minute, Counted::Events(counts)));
            if is_all {
                counted.push((minute, Counted::Students(number(row, 4))));
            }
        }
    }
    Ok(counted)
}

/// The minute at which the hour begins before which there is nothing in this range.
/// `found` is of all of it, and from before.
async fn oldest(
    client: &Client,
    remembered: &Remembered,
    classroom: &ClassroomId,
    range: &Range<i64>,
    found: &Found,
) -> Result<Option<i64>, SeriesError> {
    if let Some(hour) = remembered.oldest(classroom, range.start, found).await {
        return Ok(Some(hour * HOUR));
    }
    let oldest = edge(client, classroom, range, "FIRST").await?;
    let oldest = oldest.map(|oldest| oldest.div_euclid(HOUR));
    if let Some(hour) = oldest {
        remembered
            .keep_oldest(classroom, range.start, hour, found)
            .await;
    }
    Ok(oldest.map(|hour| hour * HOUR))
}

/// The first or the last minute of the range in which anything happened.
async fn edge(
    client: &Client,
    classroom: &ClassroomId,
    range: &Range<i64>,
    which: &'static str,
) -> Result<Option<i64>, SeriesError> {
    if range.is_empty() {
        return Ok(None);
    }
    let statement = format!("SELECT {which}(position) FROM {}", within(classroom, range));
    let tables = client.ask(&statement, READING_LIMIT).await?;
    let row = tables.iter().flat_map(|table| &table.values).next();
    row.map(|row| time_of(row).map(minute_of)).transpose()
}

fn within(classroom: &ClassroomId, range: &Range<i64>) -> String {
    let [from, to] =
        [range.start, range.end].map(|minute| nanoseconds(beginning(minute), Position::ZERO));
    format!(
        "{} WHERE classroom = {} AND time >= {from} AND time < {to}",
        quoted_name(EVENTS),
        quoted_text(&of_classroom(classroom)),
    )
}

fn time_of(row: &[Value]) -> Result<Timestamp, SeriesError> {
    let nanoseconds = row.first().and_then(Value::as_i64);
    let nanoseconds = nanoseconds.ok_or_else(malformed)?;
    Ok(Timestamp::from_millis(nanoseconds.div_euclid(1_000_000)))
}

fn malformed() -> SeriesError {
    SeriesError::Away("its answer has no valid form".to_owned())
}

/// A column that no point of the bucket has is null.
fn number(row: &[Value], column: usize) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or(0)
}
