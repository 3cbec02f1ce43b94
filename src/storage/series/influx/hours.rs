//! Whole hours, counted once they are over: a chart of a month reads its hours, not its points.
//!
//! Whoever reads may count: an hour is what its points are, and nothing is ever added to it.
//! It is kept with what makes it wrong when that changes:
//!
//! - `heard`: until when it had heard who wrote the points that were there when it was
//!   counted. What comes into an hour that was over for the writer, and so may have been
//!   counted, is told in [`LATE`] before it is written.
//! - `era`: points that were there went, or came without a time of receipt in the journal;
//!   another era of the classroom ([`ERAS`]) or of everything ([`REACH`]) begins then.
//!
//! All of this may be lost: it follows from the points.
//!
//! An hour is its texts for ever, as long as it holds: who reads asks which ones hold, and
//! for the texts of those alone that it has not [read before](Remembered).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use influxdb::WriteQuery;
use mimamori_actors::domain::{ClassroomId, Entry, JournalId, Position, Timestamp};
use serde_json::Value;

use super::super::SeriesError;
use super::super::buckets::{beginning, minute_of};
use super::client::{Client, Table, quoted_name, quoted_text};
use super::hour::{HOUR, Hour};
use super::points::{self, Side, nanoseconds, new};
use super::remembered::Remembered;
use super::tags::{KEPT_AT, of_classroom};

/// Where the hours are.
const HOURS: &str = "mimamori_hours";
/// Where it is told what came into hours that were over.
const LATE: &str = "mimamori_late";
/// Where it stands which era of a classroom it is, and since when anything of it is kept.
const ERAS: &str = "mimamori_eras";
/// Where it stands how far the writer is, for who counts.
const REACH: &str = "mimamori_reach";
/// An hour is over so long after its end: nearly all that belongs into it has come by then.
const GRACE: Duration = Duration::from_secs(2 * 60);
/// Of an hour it is told once in so long that something came: until then it is not counted.
const TOLD_FOR_MS: i64 = 10 * 60 * 1_000;
/// Hours of which it is remembered that it was told; told again if there are more.
const MOST_TOLD: usize = 10_000;
/// For a question or an order about hours.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// The texts of so many hours are asked for at once: 15 MB, if each has all the students
/// that an hour can have.
const TEXTS_AT_ONCE: i64 = 240;

/// What an hour is counted by. Of those that hold, one by the same is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    heard: Timestamp,
    era: i64,
}

/// How far the writer is: when the newest entry was received of all that are written, and
/// the era of everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) heard: Timestamp,
    era: i64,
}

/// What came late and was told of, and until when that counts, in milliseconds since 1970.
pub(super) type Late = HashMap<(ClassroomId, i64), i64>;

/// What is known of the hours of a range.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What those were counted by that hold.
    hold: BTreeMap<i64, Stamp>,
    late: HashMap<i64, i64>,
    first_kept: i64,
    pub(super) stamp: Option<Stamp>,
}

impl Found {
    /// Whether this hour would hold if it were counted now.
    pub(super) fn may_be_counted(&self, hour: i64) -> bool {
        let late = self.late.get(&hour).copied();
        self.stamp.is_some_and(|stamp| {
            is_over(hour, stamp.heard) && hour >= self.first_kept && is_after(stamp.heard, late)
        })
    }

    /// What this hour was counted by, if it was and holds.
    pub(super) fn counted_by(&self, hour: i64) -> Option<Stamp> {
        self.hold.get(&hour).copied()
    }

    /// As of when it can be said that nothing is before this hour: once that is over, whatever
    /// comes there is told. Nothing if it is not over.
    pub(super) fn settled(&self, hour: i64) -> Option<Stamp> {
        self.stamp.filter(|stamp| is_over(hour, stamp.heard))
    }

    /// Whether anything of this range may have come since then that is before this hour.
    pub(super) fn came_before(&self, hour: i64, since: Stamp) -> bool {
        let is_of_now = self.stamp.is_some_and(|now| now.era == since.era);
        let mut late = self.late.iter();
        !is_of_now || late.any(|(one, until)| *one < hour && !is_after(since.heard, Some(*until)))
    }
}

fn is_after(heard: Timestamp, late: Option<i64>) -> bool {
    late.is_none_or(|until| heard.as_millis() >= until)
}

/// The hour that holds this time, counted since 1970.
fn hour_of(time: Timestamp) -> i64 {
    minute_of(time).div_euclid(HOUR)
}

fn begin(hour: i64) -> Timestamp {
    beginning(hour.saturating_mul(HOUR))
}

/// Whether it is over for who has heard of this moment.
fn is_over(hour: i64, heard: Timestamp) -> bool {
    begin(hour.saturating_add(1)).plus(GRACE) <= heard
}

/// Of these entries, those that came into hours that were over, and of which that was not
/// told yet. `heard` is when the last entry was received of those before, and then of these.
pub(super) fn late(entries: &[Arc<Entry>], heard: &mut Timestamp, told: &Late) -> Late {
    let mut late = Late::new();
    for entry in entries {
        *heard = (*heard).max(entry.received_at);
        let Some((classroom, at)) = points::place(entry) else {
            continue;
        };
        let hour = hour_of(at);
        if is_over(hour, *heard) {
            // after this moment, whatever comes at the same
            let until = (heard.as_millis().div_euclid(TOLD_FOR_MS) + 1) * TOLD_FOR_MS;
            late.insert((classroom.clone(), hour), until);
        }
    }
    late.retain(|of, until| told.get(of).is_none_or(|told| told < until));
    late
}

/// Remembers what was told.
pub(super) fn remember(told: &mut Late, late: Late, heard: Timestamp) {
    if told.len() + late.len() > MOST_TOLD {
        told.retain(|_, until| *until > heard.as_millis());
    }
    if told.len() + late.len() > MOST_TOLD {
        told.clear();
    }
    told.extend(late);
}

/// What tells of it. Each is a point of its own: an earlier one that arrives late takes
/// nothing back.
pub(super) fn telling(late: &Late) -> Vec<WriteQuery> {
    let points = late.iter().map(|((classroom, hour), until)| {
        let nth = Position(until.div_euclid(TOLD_FOR_MS).unsigned_abs());
        new(LATE, nanoseconds(begin(*hour), nth))
            .add_tag("classroom", of_classroom(classroom))
            .add_field("until", *until)
    });
    points.collect()
}

impl Reach {
    /// Nothing that was counted before holds.
    pub(super) fn anew() -> Self {
        Self {
            heard: Timestamp::default(),
            era: number(),
        }
    }

    /// Written with the offset, and the same one: how far this journal is written.
    pub(super) fn point(&self, journal: &JournalId, through: Position) -> WriteQuery {
        new(REACH, KEPT_AT)
            .add_field("journal", journal.as_str())
            .add_field("through", Side::Journal.place(through))
            .add_field("heard", self.heard.as_millis())
            .add_field("era", self.era)
    }

    /// As it stands there; nothing if that is not of this journal as far as it is written: then
    /// somebody wrote who told nothing of what came late, or points are filled in.
    pub(super) async fn of(
        client: &Client,
        journal: &JournalId,
        through: Position,
    ) -> Result<Option<Self>, SeriesError> {
        let question = format!(
            "SELECT journal, through, heard, era FROM {}",
            quoted_name(REACH)
        );
        let tables = client.ask(&question, ANSWERS_WITHIN).await?;
        let mut rows = tables.iter().flat_map(|table| &table.values);
        let found = rows.next().and_then(|row| {
            let is_of = row.get(1)?.as_str()? == journal.as_str();
            let is_there = row.get(2)?.as_i64()? == Side::Journal.place(through);
            let heard = Timestamp::from_millis(row.get(3)?.as_i64()?);
            let era = row.get(4)?.as_i64()?;
            (is_of && is_there).then_some(Self { heard, era })
        });
        Ok(found)
    }
}

/// A number that was never one before.
fn number() -> i64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("a kernel that has booted always has random bytes to give");
    i64::from_le_bytes(bytes)
}

/// Nothing that was counted of this classroom holds.
pub(super) fn another_era(classroom: &ClassroomId) -> WriteQuery {
    of_era(classroom).add_field("era", number())
}

/// Nothing holds of the hours that begin before this time.
pub(super) fn kept_since(classroom: &ClassroomId, since: Timestamp) -> WriteQuery {
    of_era(classroom).add_field("since", since.as_millis())
}

fn of_era(classroom: &ClassroomId) -> WriteQuery {
    new(ERAS, KEPT_AT).add_tag("classroom", of_classroom(classroom))
}

/// An hour that was counted; nothing if it has too many students.
pub(super) fn point(
    classroom: &ClassroomId,
    number: i64,
    hour: Hour,
    stamp: Stamp,
) -> Option<WriteQuery> {
    let (counts, students) = hour.texts()?;
    let point = new(HOURS, nanoseconds(begin(number), Position::ZERO))
        .add_tag("classroom", of_classroom(classroom))
        .add_field("heard", stamp.heard.as_millis())
        .add_field("era", stamp.era)
        .add_field("counts", counts)
        .add_field("students", students);
    Some(point)
}

/// Which hours of this range were counted and hold. They are asked for first: what makes
/// them wrong meanwhile is seen.
pub(super) async fn find(
    client: &Client,
    classroom: &ClassroomId,
    hours: &Range<i64>,
) -> Result<Found, SeriesError> {
    let within = within(classroom, hours);
    let [of_hours, of_late, of_eras, of_reach] = [HOURS, LATE, ERAS, REACH].map(quoted_name);
    let questions = format!(
        "SELECT heard, era FROM {of_hours} {within}; \
         SELECT MAX(until) FROM {of_late} {within} GROUP BY time(1h) fill(none); \
         SELECT era, since FROM {of_eras} {}; \
         SELECT heard, era FROM {of_reach}",
        whose(classroom, None)
    );
    let tables = client.ask(&questions, ANSWERS_WITHIN).await?;
    Ok(found(&tables))
}

fn within(classroom: &ClassroomId, hours: &Range<i64>) -> String {
    let [from, to] = [hours.start, hours.end].map(|hour| nanoseconds(begin(hour), Position::ZERO));
    format!(
        "{} AND time >= {from} AND time < {to}",
        whose(classroom, None)
    )
}

/// Those of them that hold and are in this range. One that was counted again meanwhile is left out.
pub(super) async fn read(
    client: &Client,
    remembered: &Remembered,
    classroom: &ClassroomId,
    found: &Found,
    range: &Range<i64>,
) -> Result<BTreeMap<i64, Arc<Hour>>, SeriesError> {
    let mut hours = BTreeMap::new();
    let mut unknown = Vec::new();
    for (number, stamp) in found.hold.range(range.clone()) {
        match remembered.hours.find(classroom, *number, *stamp).await {
            Some(hour) => _ = hours.insert(*number, hour),
            None => unknown.push(*number),
        }
    }
    let mut rest = &*unknown;
    while let Some(first) = rest.first() {
        let end = rest.partition_point(|hour| hour - first < TEXTS_AT_ONCE);
        let asked = *first..rest[end - 1] + 1;
        for (number, stamp, hour) in texts(client, classroom, &asked).await? {
            if found.hold.get(&number) == Some(&stamp) {
                let kept = Arc::clone(&hour);
                remembered.hours.keep(classroom, number, stamp, kept).await;
                hours.insert(number, hour);
            }
        }
        rest = &rest[end..];
    }
    Ok(hours)
}

/// What stands there of these hours, whether it holds or not.
async fn texts(
    client: &Client,
    classroom: &ClassroomId,
    hours: &Range<i64>,
) -> Result<Vec<(i64, Stamp, Arc<Hour>)>, SeriesError> {
    let question = format!(
        "SELECT heard, era, counts, students FROM {} {}",
        quoted_name(HOURS),
        within(classroom, hours)
    );
    let tables = client.ask(&question, ANSWERS_WITHIN).await?;
    let rows = rows_of(&tables, HOURS);
    let read = rows.filter_map(|row| {
        let hour = Hour::read(row.get(3)?.as_str()?, row.get(4)?.as_str()?)?;
        Some((hour_in(row)?, Stamp::of(row)?, Arc::new(hour)))
    });
    Ok(read.collect())
}

/// Whether what is counted by this stamp holds.
pub(super) async fn is_of_now(
    client: &Client,
    classroom: &ClassroomId,
    stamp: Stamp,
) -> Result<bool, SeriesError> {
    let now = find(client, classroom, &(0..0)).await?.stamp;
    Ok(now.is_some_and(|now| now.era == stamp.era))
}

fn found(tables: &[Table]) -> Found {
    let of_classroom = rows_of(tables, ERAS).next();
    let era = of_classroom.and_then(|row| number_in(row, 1)).unwrap_or(0);
    let since = of_classroom.and_then(|row| number_in(row, 2));
    let of_all = rows_of(tables, REACH).next();
    let of_all = of_all.and_then(|row| Stamp::of(row));
    let late = rows_of(tables, LATE).filter_map(|row| Some((hour_in(row)?, number_in(row, 1)?)));
    let mut found = Found {
        hold: BTreeMap::new(),
        late: late.collect(),
        // of the hour in which it begins a part may be gone
        first_kept: since.map_or(i64::MIN, |since| hour_of(Timestamp::from_millis(since)) + 1),
        stamp: of_all.map(|Stamp { heard, era: all }| Stamp {
            heard,
            era: all ^ era,
        }),
    };
    for row in rows_of(tables, HOURS) {
        let (Some(hour), Some(stamp)) = (hour_in(row), Stamp::of(row)) else {
            continue;
        };
        let is_of_now = found.stamp.is_some_and(|now| now.era == stamp.era);
        let is_whole = is_after(stamp.heard, found.late.get(&hour).copied());
        if is_of_now && is_whole && hour >= found.first_kept {
            found.hold.insert(hour, stamp);
        }
    }
    found
}

impl Stamp {
    /// As it stands in a row behind its time.
    fn of(row: &[Value]) -> Option<Self> {
        let heard = Timestamp::from_millis(number_in(row, 1)?);
        let era = number_in(row, 2)?;
        Some(Self { heard, era })
    }
}

fn number_in(row: &[Value], column: usize) -> Option<i64> {
    row.get(column).and_then(Value::as_i64)
}

fn rows_of<'a>(tables: &'a [Table], name: &'static str) -> impl Iterator<Item = &'a Vec<Value>> {
    let of = tables.iter().filter(move |table| table.name == name);
    of.flat_map(|table| &table.values)
}

fn hour_in(row: &[Value]) -> Option<i64> {
    let nanoseconds = row.first()?.as_i64()?;
    let millis = nanoseconds.div_euclid(1_000_000);
    Some(hour_of(Timestamp::from_millis(millis)))
}

/// Whether anything is kept of the hours that begin before this time.
pub(super) async fn any_before(
    client: &Client,
    classroom: &ClassroomId,
    before: Timestamp,
) -> Result<bool, SeriesError> {
    let whose = whose(classroom, Some(before));
    let [hours, late] = [HOURS, LATE].map(quoted_name);
    let first = format!(
        "SELECT FIRST(heard) FROM {hours} {whose}; SELECT FIRST(until) FROM {late} {whose}"
    );
    Ok(!client.ask(&first, ANSWERS_WITHIN).await?.is_empty())
}

/// What was counted of this classroom goes, of hours that begin before this time or of all:
/// it holds no more, but may say who was there.
pub(super) async fn delete(
    client: &Client,
    classroom: &ClassroomId,
    before: Option<Timestamp>,
) -> Result<(), SeriesError> {
    let whose = whose(classroom, before);
    // of hours that may be counted again it stays told what came late
    for table in [Some(HOURS), before.map(|_| LATE)].into_iter().flatten() {
        let delete = format!("DELETE FROM {} {whose}", quoted_name(table));
        client.order(&delete, ANSWERS_WITHIN).await?;
    }
    Ok(())
}

fn whose(classroom: &ClassroomId, before: Option<Timestamp>) -> String {
    let room = quoted_text(&of_classroom(classroom));
    let mut whose = format!("WHERE classroom = {room}");
    if let Some(before) = before {
        let time = nanoseconds(before, Position::ZERO);
        // writing into a String can't fail
        let _ = write!(whose, " AND time < {time}");
    }
    whose
}
