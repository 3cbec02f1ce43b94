//! Reads a range in few buckets: counted by the server.

use std::ops::Range;
use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Position, Timestamp};
use serde_json::Value;

use super::super::SeriesError;
use super::super::buckets::{Bucket, beginning, empty, minute_of, minutes_of, shown, width};
use super::client::{Client, quoted_name, quoted_text};
use super::points::{EVENTS, nanoseconds};
use super::tags::of_classroom;

/// A reading that takes longer is broken off.
const READING_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn read(
    client: &Client,
    classroom: &ClassroomId,
    range: Range<Timestamp>,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Bucket>, SeriesError> {
    let asked = minutes_of(&range);
    let newest = if asked.end > minute_of(now).saturating_add(1) {
        newest_minute(client, classroom, &asked).await?
    } else {
        None
    };
    let shown = shown(asked, newest, now);
    if shown.is_empty() {
        return Ok(Vec::new());
    }
    let width = width(&shown, most);
    let mut buckets = empty(&shown, width);
    let statement = format!(
        "SELECT SUM(executions), SUM(errors), SUM(help), COUNT(DISTINCT(student)) FROM {} \
         GROUP BY time({width}m) fill(none)",
        within(classroom, &shown),
    );
    let first = shown.start.div_euclid(width) * width;
    for table in client.ask(&statement, READING_LIMIT).await? {
        for row in &table.values {
            let minute = minute_of(time_of(row)?);
            let number = usize::try_from((minute - first).div_euclid(width));
            if let Some(bucket) = number.ok().and_then(|number| buckets.get_mut(number)) {
                bucket.executions += count(row, 1);
                bucket.errors += count(row, 2);
                bucket.help += count(row, 3);
                bucket.active += count(row, 4);
            }
        }
    }
    Ok(buckets)
}

/// The last minute of the range in which anything happened.
async fn newest_minute(
    client: &Client,
    classroom: &ClassroomId,
    range: &Range<i64>,
) -> Result<Option<i64>, SeriesError> {
    if range.is_empty() {
        return Ok(None);
    }
    let statement = format!("SELECT LAST(position) FROM {}", within(classroom, range));
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
fn count(row: &[Value], column: usize) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or(0)
}
