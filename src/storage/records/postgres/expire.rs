//! Months of which every row is past its term: dropped, which gives their space back at once.

use mimamori_actors::domain::{ClassroomId, Timestamp};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::fault::unavailable;
use super::months::{LOCK, MONTHS_BACK, Month, TABLES, WAITS_FOR_READERS};
use crate::storage::records::RecordsError;

/// Up to when the rows of each classroom are past their term, or nothing.
type Terms = [(ClassroomId, Option<Timestamp>)];

/// How many months were dropped. Whoever finds another at the months leaves them to it.
pub(super) async fn drop_months(
    session: &mut PgConnection,
    terms: &Terms,
    now: Timestamp,
) -> Result<u64, RecordsError> {
    // a month that ends later than this has rows at its own times that are not past it
    let Some(latest) = terms.iter().filter_map(|(_, before)| *before).max() else {
        return Ok(0);
    };
    let lock = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(LOCK);
    let row = lock.fetch_one(&mut *session).await.map_err(unavailable)?;
    if !row.try_get::<bool, _>(0).map_err(unavailable)? {
        return Ok(0);
    }
    let mut dropped = 0;
    for month in months(session).await.map_err(unavailable)? {
        // those that are made ahead would only be made again
        let is_kept = month >= Month::of(now).plus(-MONTHS_BACK);
        if is_kept || month.plus(1).time() > latest {
            continue;
        }
        if drop_if_past(session, month, terms)
            .await
            .map_err(unavailable)?
        {
            dropped += 1;
            let month = month.partition_of("events");
            tracing::info!(
                store = "records",
                partition = month,
                "a month past its term was dropped"
            );
        }
    }
    // a session that failed is dropped, and its lock with it
    let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK);
    unlock.execute(session).await.map_err(unavailable)?;
    Ok(dropped)
}

/// The months that are there, the oldest first.
async fn months(session: &mut PgConnection) -> Result<Vec<Month>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'events'::regclass ORDER BY c.relname",
    )
    .fetch_all(session)
    .await?;
    let names = rows.iter().map(|row| row.try_get::<String, _>(0));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    Ok(names
        .iter()
        .filter_map(|name| Month::of_partition(name))
        .collect())
}

/// Looks first without holding anybody up, then again when nothing can be added any more.
async fn drop_if_past(
    session: &mut PgConnection,
    month: Month,
    terms: &Terms,
) -> Result<bool, sqlx::Error> {
    if has_more(session, month, terms).await? {
        return Ok(false);
    }
    let mut transaction = session.begin().await?;
    sqlx::raw_sql(WAITS_FOR_READERS)
        .execute(&mut *transaction)
        .await?;
    // in the order in which the writer comes to them
    for table in TABLES {
        let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut *transaction)
            .await?;
    }
    if has_more(&mut transaction, month, terms).await? {
        return Ok(false);
    }
    take_off_the_counts(&mut transaction, month).await?;
    for table in TABLES {
        let drop = format!("DROP TABLE IF EXISTS {}", month.partition_of(table));
        sqlx::raw_sql(AssertSqlSafe(drop))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// What is dropped fires no trigger: it is taken off what is counted here.
async fn take_off_the_counts(session: &mut PgConnection, month: Month) -> Result<(), sqlx::Error> {
    let partition = month.partition_of("executions");
    if !is_there(session, &partition).await? {
        return Ok(());
    }
    let text = format!(
        "UPDATE executions_hours h SET executions = h.executions - gone.executions, errors = h.errors - gone.errors \
         FROM (SELECT classroom, at_ms - at_ms % 3600000 AS hour_ms, \
         COUNT(*) FILTER (WHERE status IN ('ok', 'error', 'interrupted')) AS executions, \
         COUNT(*) FILTER (WHERE status = 'error') AS errors FROM {partition} GROUP BY 1, 2) AS gone \
         WHERE h.classroom = gone.classroom AND h.hour_ms = gone.hour_ms; \
         DELETE FROM executions_hours WHERE executions = 0; \
         UPDATE executions_cells h SET runs = h.runs - gone.runs, ok = h.ok - gone.ok, \
         errors = h.errors - gone.errors, skipped = h.skipped - gone.skipped \
         FROM (SELECT classroom, COALESCE(notebook, '') AS notebook, COALESCE(cell_id, '') AS cell_id, \
         COALESCE(cell_index, -1) AS cell_index, student, at_ms - at_ms % 21600000 AS quarter_ms, \
         COUNT(*) FILTER (WHERE status <> 'skipped') AS runs, COUNT(*) FILTER (WHERE status = 'ok') AS ok, \
         COUNT(*) FILTER (WHERE status = 'error') AS errors, \
         COUNT(*) FILTER (WHERE status = 'skipped') AS skipped FROM {partition} \
         WHERE status IN ('ok', 'error', 'interrupted', 'skipped') GROUP BY 1, 2, 3, 4, 5, 6) AS gone \
         WHERE h.classroom = gone.classroom AND h.notebook = gone.notebook AND h.cell_id = gone.cell_id \
         AND h.cell_index = gone.cell_index AND h.student = gone.student AND h.quarter_ms = gone.quarter_ms; \
         DELETE FROM executions_cells WHERE runs = 0 AND skipped = 0"
    );
    sqlx::raw_sql(AssertSqlSafe(text)).execute(session).await?;
    Ok(())
}

async fn is_there(session: &mut PgConnection, partition: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .bind(partition)
        .fetch_one(session)
        .await?;
    row.try_get(0)
}

/// Whether a row of the month is not past its term, each classroom looked up in an index.
async fn has_more(
    session: &mut PgConnection,
    month: Month,
    terms: &Terms,
) -> Result<bool, sqlx::Error> {
    let known: Vec<&str> = terms
        .iter()
        .map(|(classroom, _)| classroom.as_str())
        .collect();
    let stranger =
        sqlx::query("SELECT EXISTS (SELECT 1 FROM classrooms WHERE id <> ALL ($1))").bind(known);
    if stranger.fetch_one(&mut *session).await?.try_get(0)? {
        return Ok(true); // seen first a moment ago: the next turn knows it
    }
    for table in TABLES {
        let name = month.partition_of(table);
        if !is_there(session, &name).await? {
            continue;
        }
        let text =
            format!("SELECT EXISTS (SELECT 1 FROM {name} WHERE classroom = $1 AND at_ms >= $2)");
        for (classroom, before) in terms {
            let before = before.map_or(i64::MIN, Timestamp::as_millis);
            let row = sqlx::query(AssertSqlSafe(text.clone()))
                .bind(classroom.as_str())
                .bind(before)
                .fetch_one(&mut *session)
                .await?;
            if row.try_get::<bool, _>(0)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
