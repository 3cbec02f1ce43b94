//! Executions, newest first.

use mimamori_actors::domain::{ClassroomId, ExecutionStatus, Position, SessionKey, StudentId};
use sea_orm::FromQueryResult;

use super::{Found, Records, RecordsError, Sql, TimeKey, TimeRange, Weigh};
use crate::storage::records::dialect::Dialect;
use crate::storage::records::forget::leave_out;
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

/// A notebook's path is written in so many ways at the most.
const MOST_PATHS: i64 = 100;

#[derive(FromQueryResult)]
struct PathRow {
    path: String,
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
        let mut list = List {
            classroom,
            range,
            filter,
            paths: None,
            after,
            hidden: self.pending(),
            dialect: self.dialect,
        };
        if let Some(notebook) = &filter.notebook {
            list.paths = Some(self.paths(classroom, notebook).await?);
        }
        match list.parts() {
            Some(parts) => self.search(&list, parts, limit).await,
            None => self.page(&mut list.newest_first(), limit).await,
        }
    }

    /// The paths that are the same notebook: one each is read from its index in order.
    pub(super) async fn paths(
        &self,
        classroom: &ClassroomId,
        notebook: &str,
    ) -> Result<Vec<String>, RecordsError> {
        let mut sql = Sql::new("SELECT path FROM notebooks WHERE classroom = ");
        sql.bind(classroom.as_str());
        sql.push(" AND key = ").bind(comparable(notebook));
        sql.push(" ORDER BY path LIMIT ").bind(MOST_PATHS);
        let rows: Vec<PathRow> = self.all(&mut sql).await?;
        Ok(rows.into_iter().map(|row| row.path).collect())
    }
}

/// What is asked for.
pub(in crate::storage::records) struct List<'a> {
    pub(in crate::storage::records) classroom: &'a ClassroomId,
    pub(in crate::storage::records) range: TimeRange,
    pub(in crate::storage::records) filter: &'a ExecutionFilter,
    /// The paths of the filter's notebook.
    pub(in crate::storage::records) paths: Option<Vec<String>>,
    pub(in crate::storage::records) after: Option<TimeKey>,
    /// Who is in no answer.
    pub(in crate::storage::records) hidden: Vec<(SessionKey, Position)>,
    pub(in crate::storage::records) dialect: Dialect,
}

/// The order of the list, and of every part of it.
pub(super) const ORDER: &str = " ORDER BY x.at_ms DESC, x.position DESC";

impl List<'_> {
    /// The list as it is read by an index, but for its LIMIT.
    pub(in crate::storage::records) fn newest_first(&self) -> Sql {
        let mut sql = self.selected("executions x");
        sql.push(" WHERE x.classroom = ")
            .bind(self.classroom.as_str());
        self.narrow(&mut sql, Way::ByTime);
        sql.push(ORDER);
        sql
    }

    /// The columns of a list, from these rows `x` and their events.
    pub(super) fn selected(&self, from: &str) -> Sql {
        let mut sql = Sql::new(
            "SELECT x.position, e.event_id, x.student, x.notebook, x.cell_id, x.cell_index, \
             x.cell_type, x.status, x.execution_count, x.code, x.error, x.result, \
             e.event_time_ms, e.received_at_ms, x.at_ms FROM ",
        );
        sql.push(from).push(self.dialect.events_of_executions());
        sql
    }

    /// Everything but the classroom.
    pub(super) fn narrow(&self, sql: &mut Sql, way: Way) {
        leave_out(sql, &self.hidden, "x", "student");
        let at = way.number("x.at_ms");
        sql.push(&format!(" AND {at} >= "))
            .bind(self.range.begin_ms());
        sql.push(&format!(" AND {at} < ")).bind(self.range.end_ms());
        if let Some(key) = self.after {
            sql.push(&format!(" AND ({at}, x.position) < ("))
                .bind(key.at_ms);
            sql.push(", ").bind(key.position).push(")");
        }
        self.filter
            .narrow(sql, self.paths.as_deref(), self.dialect, way);
    }
}

/// How rows are to be found: columns that stand in an expression keep their indexes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By any index but those of the parts of texts; texts are compared one by one.
    ByTime,
    /// By the parts of texts.
    ByParts,
}

impl Way {
    fn number(self, column: &str) -> String {
        match self {
            Self::ByTime => column.to_owned(),
            Self::ByParts => format!("+{column}"),
        }
    }

    pub(super) fn text(self, column: &str) -> String {
        match self {
            Self::ByTime => column.to_owned(),
            Self::ByParts => format!("({column} || '')"),
        }
    }
}

impl ExecutionFilter {
    fn narrow(&self, sql: &mut Sql, paths: Option<&[String]>, dialect: Dialect, way: Way) {
        let mut equals = |column: &str, value: &str| {
            sql.push(&format!(" AND {} = ", way.text(column)))
                .bind(value);
        };
        if let Some(student) = &self.student {
            equals("x.student", student.as_str());
        }
        if let Some(cell) = &self.cell {
            equals("x.cell_id", cell);
        }
        if let Some(status) = self.status {
            // a word of ours; said outright, it lets a part of an index be chosen
            let column = way.text("x.status");
            sql.push(&format!(" AND {column} = '{}'", status.as_str()));
        }
        if let Some(paths) = paths {
            one_of(sql, &way.text("x.notebook"), paths);
        }
        if let Some(query) = &self.query {
            let pattern = containing(query);
            let like = match way {
                Way::ByTime => dialect.like(query),
                Way::ByParts => dialect.indexed_like(),
            };
            sql.push(&format!(" AND (x.code {like} "))
                .bind(pattern.as_str());
            sql.push(&format!(r" ESCAPE '\' OR x.error {like} "))
                .bind(pattern);
            sql.push(r" ESCAPE '\')");
        }
    }
}

pub(super) fn one_of(sql: &mut Sql, column: &str, values: &[String]) {
    match values {
        [] => sql.push(" AND 1 = 0"),
        [only] => sql.push(&format!(" AND {column} = ")).bind(only.as_str()),
        many => {
            sql.push(&format!(" AND {column} IN ("));
            for (nth, value) in many.iter().enumerate() {
                sql.push(if nth == 0 { "" } else { ", " })
                    .bind(value.as_str());
            }
            sql.push(")")
        }
    };
}
