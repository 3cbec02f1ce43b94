//! Deletes what is past its term, a few rows at a time.
//!
//! The rows of one step go in one transaction, and a step is asked for so few that
//! the writer, who has to wait for it, hardly does ([`crate::privacy::Retaining`]). A
//! row goes by the time that it is read by: events and executions by `at`, what was
//! concluded by its end, what was refused by its receipt. What is still open stays
//! while its student is heard of. Whoever and whatever events name goes 48 h later
//! than the last event, because that may have been placed so much after its receipt.

use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Timestamp};
use sea_orm::FromQueryResult;

use super::sql::Sql;
use super::{Dialect, Records, RecordsError};
use crate::storage::BELIEVED;

/// The tables in the order in which they are emptied: who is named goes after what names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// With their executions.
    Events,
    /// Those whose events are gone already, by hand or by an erasure.
    Executions,
    Sessions,
    Help,
    Alerts,
    Lessons,
    Rejected,
    DeadLetters,
    Students,
    Teams,
    Notebooks,
}

impl Step {
    pub(crate) const ALL: [Self; 11] = [
        Self::Events,
        Self::Executions,
        Self::Sessions,
        Self::Help,
        Self::Alerts,
        Self::Lessons,
        Self::Rejected,
        Self::DeadLetters,
        Self::Students,
        Self::Teams,
        Self::Notebooks,
    ];

    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Executions => "executions",
            Self::Sessions => "sessions",
            Self::Help => "help",
            Self::Alerts => "alerts",
            Self::Lessons => "lessons",
            Self::Rejected => "rejected",
            Self::DeadLetters => "dead_letters",
            Self::Students => "students",
            Self::Teams => "teams",
            Self::Notebooks => "notebooks",
        }
    }

    const fn key(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            // a partition is found by the time that it is cut by
            (Self::Events | Self::Executions, Dialect::Postgres) => "(position, filed_at)",
            (Self::Events | Self::Executions, Dialect::Sqlite)
            | (Self::Rejected | Self::DeadLetters, _) => "position",
            (Self::Sessions | Self::Help | Self::Alerts | Self::Lessons | Self::Students, _) => {
                "(classroom, id)"
            }
            (Self::Teams, _) => "(classroom, name)",
            (Self::Notebooks, _) => "(classroom, path)",
        }
    }

    /// What is past its term: the first term bounds by an index, the rest says exactly.
    fn narrow(self, sql: &mut Sql, before: Timestamp) {
        let (before_ms, named_ms) = (before.as_millis(), before.minus(BELIEVED).as_millis());
        match self {
            Self::Events | Self::Executions => {
                sql.push(" AND o.at_ms < ").bind(before_ms);
            }
            Self::Sessions => ended(sql, "begun_ms", "o.ended_ms", before_ms),
            Self::Help => ended(sql, "since_ms", "o.until_ms", before_ms),
            Self::Alerts => {
                let end = "CASE o.state WHEN 'closed' THEN o.changed_ms END";
                ended(sql, "since_ms", end, before_ms);
            }
            Self::Lessons => {
                sql.push(" AND o.begun_ms < ").bind(before_ms);
                sql.push(" AND (o.ended_ms < ").bind(before_ms);
                sql.push(" OR (o.ended_ms IS NULL AND NOT EXISTS (SELECT 1 FROM students s WHERE s.classroom = o.classroom AND s.last_seen_ms >= ");
                sql.bind(before_ms).push(")))");
            }
            Self::Rejected | Self::DeadLetters => {
                sql.push(" AND o.received_at_ms < ").bind(before_ms);
            }
            Self::Students => {
                sql.push(" AND o.last_seen_ms < ").bind(named_ms);
                for table in ["events", "sessions", "help", "alerts"] {
                    sql.push(&format!(
                        " AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.classroom = o.classroom AND t.student = o.id)"
                    ));
                }
            }
            Self::Teams | Self::Notebooks => {
                sql.push(" AND o.last_seen_ms < ").bind(named_ms);
            }
        }
    }

    /// The keys of so many rows of the classroom that are past their term, the oldest of events first.
    fn keys(
        self,
        dialect: Dialect,
        classroom: &ClassroomId,
        before: Timestamp,
        most: u64,
        sql: &mut Sql,
    ) {
        let columns = self.key(dialect);
        let columns = columns.trim_start_matches('(').trim_end_matches(')');
        sql.push(&format!(
            "SELECT {columns} FROM {} o WHERE o.classroom = ",
            self.table()
        ));
        sql.bind(classroom.as_str());
        self.narrow(sql, before);
        if matches!(self, Self::Events | Self::Executions) {
            sql.push(" ORDER BY o.at_ms, o.position");
        }
        sql.push(" LIMIT ")
            .bind(i64::try_from(most).unwrap_or(i64::MAX));
    }
}

/// It ended before, or nobody has heard of its student since.
fn ended(sql: &mut Sql, begin: &str, end: &str, before_ms: i64) {
    sql.push(&format!(" AND o.{begin} < ")).bind(before_ms);
    sql.push(&format!(" AND ({end} < ")).bind(before_ms);
    sql.push(&format!(
        " OR ({end} IS NULL AND NOT EXISTS (SELECT 1 FROM students s \
         WHERE s.classroom = o.classroom AND s.id = o.student AND s.last_seen_ms >= "
    ));
    sql.bind(before_ms).push(")))");
}

#[derive(FromQueryResult)]
struct IdRow {
    id: String,
}

#[derive(FromQueryResult)]
struct OldestRow {
    oldest: Option<i64>,
}

#[derive(FromQueryResult)]
struct ReceivedRow {
    received_at_ms: i64,
}

impl Records {
    /// Deletes at most `most` rows of this step that are past their term; how many it
    /// found. Fewer than `most` means that none is left.
    pub(crate) async fn expire(
        &self,
        step: Step,
        classroom: &ClassroomId,
        before: Timestamp,
        most: u64,
    ) -> Result<u64, RecordsError> {
        let delete = |table: &str| {
            let mut sql = Sql::new(&format!(
                "DELETE FROM {table} WHERE {} IN (",
                step.key(self.dialect)
            ));
            step.keys(self.dialect, classroom, before, most, &mut sql);
            sql.push(")");
            sql
        };
        self.gate.pass()?;
        let mut batch = self.writing.begin().await?;
        if step == Step::Events {
            batch.run(&mut delete("executions")).await?;
        }
        let deleted = batch.run(&mut delete(step.table())).await?;
        batch.commit().await?;
        Ok(deleted)
    }

    /// Drops the months of which every row is past the term of its classroom, where the
    /// tables are cut into months; how many. `terms` has every classroom: up to when
    /// its rows are past their term, or nothing.
    pub(crate) async fn drop_months(
        &self,
        terms: &[(ClassroomId, Option<Timestamp>)],
        now: Timestamp,
    ) -> Result<u64, RecordsError> {
        self.gate.pass()?;
        self.writing.drop_months(terms, now).await
    }

    /// Every classroom that was ever written to.
    pub(crate) async fn classrooms(&self) -> Result<Vec<ClassroomId>, RecordsError> {
        let mut sql = Sql::new("SELECT id FROM classrooms ORDER BY id");
        let rows: Vec<IdRow> = self.all(&mut sql).await?;
        Ok(rows
            .into_iter()
            .map(|row| ClassroomId::new(row.id))
            .collect())
    }

    /// When the event was received that was accepted last; nothing if none was.
    pub(crate) async fn last_received(&self) -> Result<Option<Timestamp>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT received_at_ms FROM events WHERE position > 0 ORDER BY position DESC LIMIT 1",
        );
        let row: Option<ReceivedRow> = self.one(&mut sql).await?;
        Ok(row.map(|row| Timestamp::from_millis(row.received_at_ms)))
    }

    /// How long the oldest event of a classroom is past its term; zero if none is.
    pub(crate) async fn overdue(
        &self,
        classroom: &ClassroomId,
        before: Timestamp,
    ) -> Result<Duration, RecordsError> {
        let mut sql = Sql::new("SELECT MIN(at_ms) AS oldest FROM events WHERE classroom = ");
        sql.bind(classroom.as_str());
        let row: Option<OldestRow> = self.one(&mut sql).await?;
        let oldest = row.and_then(|row| row.oldest);
        Ok(oldest.map_or(Duration::ZERO, |oldest| {
            before.since(Timestamp::from_millis(oldest))
        }))
    }
}
