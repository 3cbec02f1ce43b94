//! Counts hours that a chart missed, behind it and away from everybody.

use std::collections::BTreeMap;
use std::slice::from_ref;
use std::time::Duration;

use mimamori_actors::domain::ClassroomId;
use tokio::time::Instant;

use super::super::SeriesError;
use super::activity::{self, Counted};
use super::client::Client;
use super::hour::{HOUR, Hour, PIECE};
use super::hours::{self, Stamp};

/// Hours of a day are counted with one request, each alone if that is too much.
const AT_ONCE: i64 = 24;
/// For one of these requests.
const COUNTS_WITHIN: Duration = Duration::from_secs(2);
/// A server that is slow has others to answer; the next chart goes on.
const COUNTS_FOR: Duration = Duration::from_secs(5 * 60);

/// Counts these hours, the latest first. `stamp` is from before: all that it says was
/// there is counted.
pub(super) async fn count(
    client: &Client,
    classroom: &ClassroomId,
    hours: &[i64],
    stamp: Stamp,
) -> Result<(), SeriesError> {
    let end = Instant::now() + COUNTS_FOR;
    let mut at_once = AT_ONCE;
    let mut rest = hours;
    while let Some(last) = rest.last()
        && Instant::now() < end
    {
        let (before, some) = rest.split_at(rest.partition_point(|hour| *hour <= last - at_once));
        match count_some(client, classroom, some, stamp).await {
            Err(SeriesError::TooSlow | SeriesError::Away(_)) if at_once > 1 => at_once = 1,
            Ok(true) | Err(SeriesError::TooSlow) => rest = before,
            Ok(false) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether there is a use in counting those before them, too.
async fn count_some(
    client: &Client,
    classroom: &ClassroomId,
    hours: &[i64],
    stamp: Stamp,
) -> Result<bool, SeriesError> {
    let (Some(first), Some(last)) = (hours.first(), hours.last()) else {
        return Ok(true);
    };
    let minutes = first * HOUR..(last + 1) * HOUR;
    let parts = from_ref(&minutes);
    let mut counted: BTreeMap<i64, Hour> = BTreeMap::new();
    for (minute, what) in
        activity::count(client, classroom, parts, PIECE, COUNTS_WITHIN, false).await?
    {
        let hour = counted.entry(minute.div_euclid(HOUR)).or_default();
        match what {
            Counted::Events(counts) => hour.add(minute, counts),
            Counted::Student(student) => hour.met(minute, student),
            Counted::Students(_) => {}
        }
    }
    // one in which nothing happened is counted, too
    let points = hours.iter().filter_map(|number| {
        let hour = counted.remove(number).unwrap_or_default();
        hours::point(classroom, *number, hour, stamp)
    });
    let points: Vec<_> = points.collect();
    let count = points.len() as u64;
    let beyond_retention = client.write_behind(points).await?;
    metrics::counter!("mimamori_series_hours_counted_total")
        .increment(count.saturating_sub(beyond_retention));
    if hours::is_of_now(client, classroom, stamp).await? {
        return Ok(beyond_retention == 0);
    }
    // somebody may have been erased who is counted in these
    hours::delete(client, classroom, None).await?;
    Ok(false)
}
