//! A classroom's totals of a range, however long it is.
//!
//! Whole hours are counted where they were written (`executions_hours`), what is
//! left at either end by an index.

use std::ops::Range;

use mimamori_actors::domain::{ClassroomId, Position, SessionKey};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};

use super::{Records, RecordsError, Sql, TimeRange};

const HOUR_MS: i64 = 3_600_000;
/// A quarter of a day.
pub(super) const QUARTER_MS: i64 = 6 * HOUR_MS;

/// What happened in a classroom within a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromQueryResult, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Students with an event in the range.
    pub(crate) active: i64,
    pub(crate) executions: i64,
    pub(crate) errors: i64,
    /// Requests for help that were open at some time in the range.
    pub(crate) help: i64,
}

impl Totals {
    fn without(&mut self, other: &Self) {
        self.active = (self.active - other.active).max(0);
        self.executions = (self.executions - other.executions).max(0);
        self.errors = (self.errors - other.errors).max(0);
        self.help = (self.help - other.help).max(0);
    }
}

impl Records {
    /// What happened in a classroom within a range.
    pub(crate) async fn totals(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
    ) -> Result<Totals, RecordsError> {
        let mut sql = totals(classroom, range);
        let mut totals: Totals = self.one(&mut sql).await?.unwrap_or_default();
        for (key, through) in self.pending() {
            if key.classroom == *classroom {
                totals.without(&self.totals_of(&key, through, range).await?);
            }
        }
        Ok(totals)
    }

    /// What of a classroom's totals is one person's, up to a position: rows of theirs may still stand.
    async fn totals_of(
        &self,
        key: &SessionKey,
        through: Position,
        range: TimeRange,
    ) -> Result<Totals, RecordsError> {
        let through = i64::try_from(through.0).unwrap_or(i64::MAX);
        let of = |sql: &mut Sql, table: &str, at: &str| {
            sql.push(&format!(" FROM {table} WHERE classroom = "))
                .bind(key.classroom.as_str());
            sql.push(" AND student = ").bind(key.student.as_str());
            sql.push(" AND position <= ").bind(through);
            sql.push(&format!(" AND {at} < ")).bind(range.end_ms());
        };
        let mut sql =
            Sql::new("SELECT (SELECT CAST(CASE WHEN COUNT(*) > 0 THEN 1 ELSE 0 END AS bigint)");
        of(&mut sql, "events", "at_ms");
        sql.push(" AND at_ms >= ").bind(range.begin_ms());
        sql.push(") AS active, (SELECT COUNT(*)");
        of(&mut sql, "help", "since_ms");
        sql.push(" AND (until_ms IS NULL OR until_ms >= ")
            .bind(range.begin_ms());
        sql.push(
            ")) AS help, CAST(COALESCE(SUM(CASE WHEN status IN ('ok', 'error', 'interrupted') \
             THEN 1 ELSE 0 END), 0) AS bigint) AS executions, \
             CAST(COALESCE(SUM(CASE WHEN status = 'error' THEN 1 ELSE 0 END), 0) AS bigint) AS errors",
        );
        of(&mut sql, "executions", "at_ms");
        sql.push(" AND at_ms >= ").bind(range.begin_ms());
        Ok(self.one(&mut sql).await?.unwrap_or_default())
    }
}

pub(in crate::storage::records) fn totals(classroom: &ClassroomId, range: TimeRange) -> Sql {
    let room = classroom.as_str();
    let mut sql = Sql::new("SELECT (SELECT COUNT(*) FROM students s WHERE s.classroom = ");
    sql.bind(room);
    // one look into the index a student, however long the range is
    sql.push(" AND EXISTS (SELECT 1 FROM events e WHERE e.classroom = s.classroom AND e.student = s.id AND e.at_ms >= ");
    sql.bind(range.begin_ms());
    sql.push(" AND e.at_ms < ").bind(range.end_ms());
    sql.push(
        ")) AS active, CAST(COALESCE(SUM(x.executions), 0) AS bigint) AS executions, \
              CAST(COALESCE(SUM(x.errors), 0) AS bigint) AS errors, \
              (SELECT COUNT(*) FROM help h WHERE h.classroom = ",
    );
    sql.bind(room);
    sql.push(" AND h.since_ms < ").bind(range.end_ms());
    sql.push(" AND (h.until_ms IS NULL OR h.until_ms >= ")
        .bind(range.begin_ms());
    sql.push(")) AS help FROM (");
    let Parts { whole, edges } = Parts::of(range.begin_ms()..range.end_ms(), HOUR_MS);
    sql.push("SELECT executions, errors FROM executions_hours WHERE classroom = ")
        .bind(room);
    sql.push(" AND hour_ms >= ").bind(whole.start);
    sql.push(" AND hour_ms < ").bind(whole.end);
    for edge in edges {
        sql.push(
            " UNION ALL SELECT CASE WHEN status IN ('ok', 'error', 'interrupted') THEN 1 ELSE 0 END, \
             CASE WHEN status = 'error' THEN 1 ELSE 0 END FROM executions WHERE classroom = ",
        )
        .bind(room);
        sql.push(" AND at_ms >= ").bind(edge.start);
        sql.push(" AND at_ms < ").bind(edge.end);
    }
    sql.push(") AS x");
    sql
}

/// A range in milliseconds: the hours, or longer units, that lie wholly in it, and what is before and behind them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) whole: Range<i64>,
    pub(super) edges: [Range<i64>; 2],
}

impl Parts {
    pub(super) fn of(range: Range<i64>, unit_ms: i64) -> Self {
        let Range { start, end } = range;
        let begun = start.div_euclid(unit_ms).saturating_mul(unit_ms);
        let first = if begun < start {
            begun.saturating_add(unit_ms)
        } else {
            begun
        };
        // without an end there is nothing behind them
        let last = if end == i64::MAX {
            end
        } else {
            end.div_euclid(unit_ms).saturating_mul(unit_ms)
        };
        if first >= last {
            return Self {
                whole: start..start,
                edges: [start..end, end..end],
            };
        }
        Self {
            whole: first..last,
            edges: [start..first, last..end],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_whole_hours_and_what_is_left_at_its_ends() {
        const H: i64 = HOUR_MS;
        for (range, whole, edges) in [
            (H..3 * H, H..3 * H, [H..H, 3 * H..3 * H]),
            (
                H + 1..3 * H + 5,
                2 * H..3 * H,
                [H + 1..2 * H, 3 * H..3 * H + 5],
            ),
            (
                H + 1..2 * H - 1,
                H + 1..H + 1,
                [H + 1..2 * H - 1, 2 * H - 1..2 * H - 1],
            ),
            (H - 1..H + 1, H - 1..H - 1, [H - 1..H + 1, H + 1..H + 1]),
            (5..i64::MAX, H..i64::MAX, [5..H, i64::MAX..i64::MAX]),
        ] {
            assert_eq!(Parts::of(range, H), Parts { whole, edges });
        }
    }
}
