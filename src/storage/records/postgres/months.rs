//! The months into which events and executions are cut.
//!
//! A row's month follows from its event alone (`filed_at`), so the same event
//! always comes to the same place, and its uniqueness can be kept within one
//! month. What no month is there for stands in the default partition; months are
//! made ahead so that little comes there, and when much does (old data, clocks
//! that are years off), the month is made and its rows are moved.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mimamori_actors::domain::Timestamp;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::fault::unavailable;
use crate::storage::records::RecordsError;

/// The tables that are cut.
pub(super) const TABLES: [&str; 2] = ["events", "executions"];
/// So many months are there before they are needed, and the last one for what comes late.
const MONTHS_AHEAD: i32 = 3;
pub(super) const MONTHS_BACK: i32 = 1;
/// More rows than this of one month are not left in the default partition.
pub(in crate::storage::records) const LEFT_IN_DEFAULT: i64 = 1_000;
/// Whoever looks after the months holds the advisory lock of this number ("months").
pub(super) const LOCK: i64 = 0x6d6f_6e74_6873;
/// Readers and the writer are not held up for longer: the next round tries again.
pub(super) const WAITS_FOR_READERS: &str = "SET LOCAL lock_timeout = '1s'";

/// A month: its first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage::records) struct Month(Date);

impl Month {
    pub(in crate::storage::records) fn of(time: Timestamp) -> Self {
        let instant = jiff::Timestamp::from_millisecond(time.as_millis());
        let date = instant
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(TimeZone::UTC)
            .date();
        Self(date.first_of_month())
    }

    /// So many months later, or earlier.
    pub(super) fn plus(self, months: i32) -> Self {
        let span = jiff::Span::new().months(months);
        Self(self.0.saturating_add(span).first_of_month())
    }

    pub(super) fn partition_of(self, table: &str) -> String {
        format!("{table}_{:04}_{:02}", self.0.year(), self.0.month())
    }

    /// The month of a partition of `events`, by its name.
    pub(super) fn of_partition(name: &str) -> Option<Self> {
        let (year, month) = name.strip_prefix("events_")?.split_once('_')?;
        let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1);
        first.ok().map(Self)
    }

    /// When it begins.
    pub(super) fn time(self) -> Timestamp {
        let begin = self.0.to_zoned(TimeZone::UTC);
        // UTC has every midnight
        let begin = begin.map_or(jiff::Timestamp::UNIX_EPOCH, |begin| begin.timestamp());
        Timestamp::from_millis(begin.as_millisecond())
    }

    fn begin(self) -> String {
        format!("{:04}-{:02}-01 00:00:00+00", self.0.year(), self.0.month())
    }
}

/// Makes the months around now that are missing.
async fn make_ahead(session: &mut PgConnection, now: Timestamp) -> Result<(), RecordsError> {
    for table in TABLES {
        for months in -MONTHS_BACK..=MONTHS_AHEAD {
            make(session, table, Month::of(now).plus(months)).await?;
        }
    }
    Ok(())
}

/// Makes months ahead and moves out of the default partitions what is too much
/// there. Whoever finds another at it leaves it to them.
pub(super) async fn keep(session: &mut PgConnection, now: Timestamp) -> Result<(), RecordsError> {
    let lock = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(LOCK);
    let row = lock.fetch_one(&mut *session).await.map_err(unavailable)?;
    if !row.try_get::<bool, _>(0).map_err(unavailable)? {
        return Ok(());
    }
    let done = keep_alone(session, now).await;
    // a session that failed is dropped, and its lock with it
    if done.is_ok() {
        let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK);
        unlock.execute(session).await.map_err(unavailable)?;
    }
    done
}

async fn keep_alone(session: &mut PgConnection, now: Timestamp) -> Result<(), RecordsError> {
    make_ahead(session, now).await?;
    for table in TABLES {
        for month in crowded(session, table).await.map_err(unavailable)? {
            make(session, table, month).await?;
        }
    }
    Ok(())
}

/// The months of which too much stands in the default partition.
async fn crowded(session: &mut PgConnection, table: &str) -> Result<Vec<Month>, sqlx::Error> {
    let text = format!(
        "SELECT (EXTRACT(EPOCH FROM date_trunc('month', filed_at, 'UTC')) * 1000)::bigint \
         FROM {table}_default GROUP BY 1 HAVING COUNT(*) > {LEFT_IN_DEFAULT} ORDER BY 1"
    );
    let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(session).await?;
    rows.iter()
        .map(|row| Ok(Month::of(Timestamp::from_millis(row.try_get(0)?))))
        .collect()
}

/// Makes a month if it is not there, with the rows that waited for it.
pub(in crate::storage::records) async fn make(
    session: &mut PgConnection,
    table: &str,
    month: Month,
) -> Result<(), RecordsError> {
    let name = month.partition_of(table);
    let there = sqlx::query("SELECT to_regclass($1) IS NOT NULL").bind(&name);
    let row = there.fetch_one(&mut *session).await.map_err(unavailable)?;
    if row.try_get::<bool, _>(0).map_err(unavailable)? {
        return Ok(());
    }
    let moved = make_missing(session, table, &name, month)
        .await
        .map_err(unavailable)?;
    tracing::info!(
        store = "records",
        partition = name,
        moved,
        "a month was made"
    );
    Ok(())
}

/// How many rows were moved into it.
async fn make_missing(
    session: &mut PgConnection,
    table: &str,
    name: &str,
    month: Month,
) -> Result<u64, sqlx::Error> {
    let (begin, end) = (month.begin(), month.plus(1).begin());
    let mut transaction = session.begin().await?;
    let steps = format!(
        "{WAITS_FOR_READERS}; \
         CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE); \
         LOCK TABLE {table}_default IN SHARE ROW EXCLUSIVE MODE"
    );
    sqlx::raw_sql(AssertSqlSafe(steps))
        .execute(&mut *transaction)
        .await?;
    let moving = format!(
        "WITH moved AS (DELETE FROM {table}_default WHERE filed_at >= '{begin}' AND filed_at < '{end}' RETURNING *) \
         INSERT INTO {name} SELECT * FROM moved"
    );
    let moved = sqlx::raw_sql(AssertSqlSafe(moving))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    let attaching = format!(
        "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{begin}') TO ('{end}')"
    );
    sqlx::raw_sql(AssertSqlSafe(attaching))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_its_first_day_in_utc_and_is_named_by_it() {
        let late: Timestamp = "2026-12-31T23:59:59.999Z".parse().unwrap();

        let month = Month::of(late);

        assert_eq!(month.partition_of("events"), "events_2026_12");
        assert_eq!(month.begin(), "2026-12-01 00:00:00+00");
        assert_eq!(month.plus(1).begin(), "2027-01-01 00:00:00+00");
        assert_eq!(month.plus(-12).partition_of("events"), "events_2025_12");
    }
}
