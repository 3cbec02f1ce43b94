//! What exports read: in the order of time, the oldest first, without those who are not
//! for research or are being erased.

use mimamori_actors::domain::{ClassroomId, Event, EventId, StudentId, Timestamp};
use sea_orm::FromQueryResult;

use super::events::output;
use super::{Found, Records, RecordsError, Sql, TimeKey, TimeRange, Weigh};
use crate::storage::records::body::{Body, CellParts, Head, from_name};

/// Who is left out.
const FOR_RESEARCH: &str = "NOT IN (SELECT student FROM not_for_research)";

/// An event, without its student's address.
#[derive(Debug)]
pub(crate) struct ExportedEvent {
    pub(crate) position: i64,
    pub(crate) at_ms: i64,
    pub(crate) received_at_ms: i64,
    pub(crate) student: String,
    /// How it ended, if it is an execution.
    pub(crate) status: Option<String>,
    pub(crate) event: Event,
}

impl ExportedEvent {
    pub(crate) fn key(&self) -> TimeKey {
        TimeKey {
            at_ms: self.at_ms,
            position: self.position,
        }
    }
}

#[derive(Debug, FromQueryResult)]
struct Row {
    position: i64,
    student: String,
    event_id: String,
    kind: String,
    at_ms: i64,
    event_time_ms: i64,
    received_at_ms: i64,
    body: String,
    status: Option<String>,
    notebook: Option<String>,
    cell_id: Option<String>,
    cell_index: Option<i64>,
    cell_type: Option<String>,
    execution_count: Option<i64>,
    code: Option<String>,
    error: Option<String>,
    result: Option<String>,
}

impl Weigh for Row {
    fn bytes(&self) -> usize {
        let texts = [&self.code, &self.error, &self.result];
        let long: usize = texts.into_iter().flatten().map(String::len).sum();
        512 + self.body.len() + long
    }
}

impl Row {
    fn into_event(self) -> Result<ExportedEvent, RecordsError> {
        let head = Head {
            id: EventId::new(self.event_id),
            kind: from_name(&self.kind)?,
            time: Timestamp::from_millis(self.event_time_ms),
            address: String::new(),
        };
        let columns = match self.status {
            None => None,
            Some(_) => Some(CellParts {
                notebook: self.notebook,
                cell_id: self.cell_id,
                cell_index: self.cell_index,
                cell_type: self.cell_type.as_deref().map(from_name).transpose()?,
                execution_count: self.execution_count,
                code: self.code,
                error: self.error,
                result: self.result.as_deref().map(output).transpose()?,
            }),
        };
        Ok(ExportedEvent {
            position: self.position,
            at_ms: self.at_ms,
            received_at_ms: self.received_at_ms,
            student: self.student,
            status: self.status,
            event: Body::from_json(&self.body)?.into_event(head, columns),
        })
    }
}

/// What was concluded, of which each has a begin and an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    Sessions,
    Help,
    Lessons,
}

/// A row of a history; what it has no column for is absent.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ExportedSpan {
    pub(crate) id: String,
    pub(crate) student: Option<String>,
    pub(crate) begun_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) ended_by: Option<String>,
    pub(crate) cell_id: Option<String>,
    pub(crate) events: Option<i64>,
}

impl ExportedSpan {
    pub(crate) fn key(&self) -> (i64, String) {
        (self.begun_ms, self.id.clone())
    }
}

impl Weigh for ExportedSpan {
    fn bytes(&self) -> usize {
        512
    }
}

impl History {
    const fn columns(self) -> &'static str {
        match self {
            Self::Sessions => {
                "id, student, begun_ms, ended_ms, CAST(NULL AS text) AS ended_by, \
                 CAST(NULL AS text) AS cell_id, events FROM sessions"
            }
            Self::Help => {
                "id, student, since_ms AS begun_ms, until_ms AS ended_ms, ended_by, cell_id, \
                 CAST(NULL AS bigint) AS events FROM help"
            }
            Self::Lessons => {
                "id, CAST(NULL AS text) AS student, begun_ms, ended_ms, ended_by, \
                 CAST(NULL AS text) AS cell_id, CAST(NULL AS bigint) AS events FROM lessons"
            }
        }
    }

    const fn begin(self) -> &'static str {
        match self {
            Self::Sessions | Self::Lessons => "begun_ms",
            Self::Help => "since_ms",
        }
    }

    /// Whose rows name a student.
    const fn table_of_students(self) -> Option<&'static str> {
        match self {
            Self::Sessions => Some("sessions"),
            Self::Help => Some("help"),
            Self::Lessons => None,
        }
    }
}

#[derive(FromQueryResult)]
struct CountRow {
    number: i64,
}

impl Records {
    /// Events of a classroom in the order of `at`, or only its executions.
    pub(crate) async fn exported_events(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        only_executions: bool,
        after: Option<TimeKey>,
        limit: usize,
    ) -> Result<Found<ExportedEvent>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT e.position, e.student, e.event_id, e.kind, e.at_ms, e.event_time_ms, \
             e.received_at_ms, e.body, x.status, x.notebook, x.cell_id, x.cell_index, \
             x.cell_type, x.execution_count, x.code, x.error, x.result FROM events e",
        );
        sql.push(self.dialect.executions_of_events());
        sql.push(" WHERE e.classroom = ").bind(classroom.as_str());
        sql.push(" AND e.at_ms >= ").bind(range.begin_ms());
        sql.push(" AND e.at_ms < ").bind(range.end_ms());
        if only_executions {
            sql.push(" AND e.kind = 'cell_executed'");
        }
        sql.push(&format!(" AND e.student {FOR_RESEARCH}"));
        self.leave_out(&mut sql, "e", "student");
        if let Some(key) = after {
            sql.push(" AND (e.at_ms, e.position) > (").bind(key.at_ms);
            sql.push(", ").bind(key.position).push(")");
        }
        sql.push(" ORDER BY e.at_ms, e.position");
        let found: Found<Row> = self.page(&mut sql, limit).await?;
        found.map(Row::into_event)
    }

    /// A history of a classroom in the order of its beginnings.
    pub(crate) async fn exported_spans(
        &self,
        history: History,
        classroom: &ClassroomId,
        range: TimeRange,
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Found<ExportedSpan>, RecordsError> {
        let begin = history.begin();
        let mut sql = Sql::new("SELECT ");
        sql.push(history.columns());
        sql.push(" WHERE classroom = ").bind(classroom.as_str());
        sql.push(&format!(" AND {begin} >= "))
            .bind(range.begin_ms());
        sql.push(&format!(" AND {begin} < ")).bind(range.end_ms());
        if let Some(table) = history.table_of_students() {
            sql.push(&format!(" AND student {FOR_RESEARCH}"));
            self.leave_out(&mut sql, table, "student");
        }
        if let Some((begun_ms, id)) = after {
            sql.push(&format!(" AND ({begin}, id) > (")).bind(begun_ms);
            sql.push(", ").bind(id).push(")");
        }
        sql.push(&format!(" ORDER BY {begin}, id"));
        self.page(&mut sql, limit).await
    }

    /// How many events there are in the range, or executions, those left out included: for progress.
    pub(crate) async fn count_to_export(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        only_executions: bool,
    ) -> Result<i64, RecordsError> {
        let table = if only_executions {
            "executions"
        } else {
            "events"
        };
        let mut sql = Sql::new(&format!(
            "SELECT COUNT(*) AS number FROM {table} WHERE classroom = "
        ));
        sql.bind(classroom.as_str());
        sql.push(" AND at_ms >= ").bind(range.begin_ms());
        sql.push(" AND at_ms < ").bind(range.end_ms());
        self.count(&mut sql).await
    }

    /// How many students of a classroom are not for research.
    pub(crate) async fn left_out(&self, classroom: &ClassroomId) -> Result<i64, RecordsError> {
        let mut sql = Sql::new(
            "SELECT COUNT(*) AS number FROM students \
             WHERE id IN (SELECT student FROM not_for_research) AND classroom = ",
        );
        sql.bind(classroom.as_str());
        self.leave_out(&mut sql, "students", "id");
        self.count(&mut sql).await
    }

    /// Whether this student said that what is kept of them is not for research.
    pub(crate) async fn is_for_research(&self, student: &StudentId) -> Result<bool, RecordsError> {
        let mut sql = Sql::new("SELECT COUNT(*) AS number FROM not_for_research WHERE student = ");
        sql.bind(student.as_str());
        Ok(self.count(&mut sql).await? == 0)
    }

    /// Whether any classroom knows this student.
    pub(crate) async fn is_student(&self, student: &StudentId) -> Result<bool, RecordsError> {
        let mut sql = Sql::new("SELECT COUNT(*) AS number FROM students WHERE id = ");
        sql.bind(student.as_str());
        Ok(self.count(&mut sql).await? > 0)
    }

    /// Keeps what the student said. On disk when it returns.
    pub(crate) async fn set_for_research(
        &self,
        student: &StudentId,
        is_allowed: bool,
        now: Timestamp,
    ) -> Result<(), RecordsError> {
        let mut sql = Sql::default();
        if is_allowed {
            sql.push("DELETE FROM not_for_research WHERE student = ")
                .bind(student.as_str());
        } else {
            sql.push("INSERT INTO not_for_research (student, since_ms) VALUES (")
                .bind(student.as_str());
            sql.push(", ").bind(now.as_millis());
            sql.push(") ON CONFLICT (student) DO NOTHING");
        }
        let mut batch = self.writing.begin().await?;
        batch.run(&mut sql).await?;
        batch.commit().await
    }

    async fn count(&self, sql: &mut Sql) -> Result<i64, RecordsError> {
        let row: Option<CountRow> = self.one(sql).await?;
        Ok(row.map_or(0, |row| row.number))
    }
}
