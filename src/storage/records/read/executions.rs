//! Executions, newest first.

use mimamori_actors::domain::{ClassroomId, ExecutionStatus, StudentId};
use sea_orm::FromQueryResult;

use super::{Found, Records, RecordsError, Sql, TimeKey, TimeRange, Weigh};
use crate::storage::records::dialect::Dialect;
use crate::storage::records::rows::comparable;
use crate::storage::records::sql::containing;

/// Which executions are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecutionFilter {
    /// A part of the code or the error, case aside.
    pub(crate) query: Option<String>,
    pub(crate) status: Option<ExecutionStatus>,
    pub(crate) student: Option<StudentId>,
    /// As sent, in any form that is the same in NFKC.
    pub(crate) notebook: Option<String>,
    pub(crate) cell: Option<String>,
}

/// An execution with the times of its event.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ExecutionRow {
    pub(crate) position: i64,
    pub(crate) event_id: String,
    pub(crate) student: String,
    pub(crate) notebook: Option<String>,
    pub(crate) cell_id: Option<String>,
    pub(crate) cell_index: Option<i64>,
    pub(crate) cell_type: Option<String>,
    pub(crate) status: String,
    pub(crate) execution_count: Option<i64>,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) result: Option<String>,
    pub(crate) event_time_ms: i64,
    pub(crate) received_at_ms: i64,
    pub(crate) at_ms: i64,
}

impl ExecutionRow {
    pub(crate) fn key(&self) -> TimeKey {
        TimeKey {
            at_ms: self.at_ms,
            position: self.position,
        }
    }
}

impl Weigh for ExecutionRow {
    fn bytes(&self) -> usize {
        let texts = [&self.code, &self.error, &self.result];
        let long: usize = texts.into_iter().flatten().map(String::len).sum();
        512 + long
    }
}

impl Records {
    /// Executions of a classroom in the order of `at`, newest first.
    pub(crate) async fn executions(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        filter: &ExecutionFilter,
        after: Option<TimeKey>,
        limit: usize,
    ) -> Result<Found<ExecutionRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT x.position, e.event_id, x.student, x.notebook, x.cell_id, x.cell_index, \
             x.cell_type, x.status, x.execution_count, x.code, x.error, x.result, \
             e.event_time_ms, e.received_at_ms, x.at_ms \
             FROM executions x",
        );
        sql.push(self.dialect.events_of_executions());
        sql.push(" WHERE x.classroom = ").bind(classroom.as_str());
        sql.push(" AND x.at_ms >= ").bind(range.begin_ms());
        sql.push(" AND x.at_ms < ").bind(range.end_ms());
        filter.narrow(&mut sql, classroom, self.dialect);
        if let Some(key) = after {
            sql.push(" AND (x.at_ms, x.position) < (").bind(key.at_ms);
            sql.push(", ").bind(key.position).push(")");
        }
        sql.push(" ORDER BY x.at_ms DESC, x.position DESC");
        self.page(&mut sql, limit).await
    }
}

impl ExecutionFilter {
    fn narrow(&self, sql: &mut Sql, classroom: &ClassroomId, dialect: Dialect) {
        if let Some(student) = &self.student {
            sql.push(" AND x.student = ").bind(student.as_str());
        }
        if let Some(status) = self.status {
            sql.push(" AND x.status = ").bind(status.as_str());
        }
        if let Some(notebook) = &self.notebook {
            sql.push(" AND x.notebook IN (SELECT path FROM notebooks WHERE classroom = ")
                .bind(classroom.as_str());
            sql.push(" AND key = ").bind(comparable(notebook)).push(")");
        }
        if let Some(cell) = &self.cell {
            sql.push(" AND x.cell_id = ").bind(cell.as_str());
        }
        if let Some(query) = &self.query {
            let pattern = containing(query);
            let like = dialect.like();
            sql.push(&format!(" AND (x.code {like} "))
                .bind(pattern.as_str());
            sql.push(&format!(r" ESCAPE '\' OR x.error {like} "))
                .bind(pattern);
            sql.push(r" ESCAPE '\')");
        }
    }
}
