//! Every accepted event once, in the order of acceptance.

use mimamori_actors::domain::{
    ClassroomId, Event, EventId, Output, Position, StudentId, Timestamp,
};
use sea_orm::FromQueryResult;

use super::{Found, Records, RecordsError, Sql, Weigh};
use crate::storage::records::body::{Body, CellParts, Head, from_name};
use crate::storage::records::position;

/// An event with whose it is, its place and its times.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredEvent {
    pub(crate) position: Position,
    pub(crate) classroom: ClassroomId,
    pub(crate) student: StudentId,
    pub(crate) received_at: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) event: Event,
}

/// Events with what other tables hold of them.
const EVENTS: &str = "SELECT e.position, e.classroom, e.student, e.event_id, e.kind, e.at_ms, \
    e.event_time_ms, e.received_at_ms, e.body, s.address, x.position AS executed, x.notebook, \
    x.cell_id, x.cell_index, x.cell_type, x.execution_count, x.code, x.error, x.result \
    FROM events e \
    LEFT JOIN students s ON s.classroom = e.classroom AND s.id = e.student";

#[derive(Debug, FromQueryResult)]
pub(super) struct EventRow {
    pub(super) position: i64,
    classroom: String,
    student: String,
    event_id: String,
    kind: String,
    pub(super) at_ms: i64,
    event_time_ms: i64,
    received_at_ms: i64,
    body: String,
    address: Option<String>,
    /// Of `executions`; absent for the other kinds.
    executed: Option<i64>,
    notebook: Option<String>,
    cell_id: Option<String>,
    cell_index: Option<i64>,
    cell_type: Option<String>,
    execution_count: Option<i64>,
    code: Option<String>,
    error: Option<String>,
    result: Option<String>,
}

impl Weigh for EventRow {
    fn bytes(&self) -> usize {
        let texts = [&self.code, &self.error, &self.result];
        let long: usize = texts.into_iter().flatten().map(String::len).sum();
        512 + self.body.len() + long
    }
}

impl Records {
    /// Events of a classroom after `since`, oldest first.
    pub(crate) async fn events(
        &self,
        classroom: &ClassroomId,
        since: Position,
        limit: usize,
    ) -> Result<Found<StoredEvent>, RecordsError> {
        let mut sql = self.all_events();
        sql.push(" WHERE e.classroom = ").bind(classroom.as_str());
        self.leave_out(&mut sql, "e", "student");
        sql.push(" AND e.position > ")
            .bind(i64::try_from(since.0).unwrap_or(i64::MAX));
        sql.push(" ORDER BY e.position");
        let found: Found<EventRow> = self.page(&mut sql, limit).await?;
        found.map(EventRow::into_event)
    }
}

impl Records {
    /// Events of all classrooms after `after`, up to `through`, oldest first.
    pub(in crate::storage::records) async fn events_between(
        &self,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Found<StoredEvent>, RecordsError> {
        let mut sql = self.all_events();
        sql.push(" WHERE e.position > ")
            .bind(i64::try_from(after.0).unwrap_or(i64::MAX));
        sql.push(" AND e.position <= ")
            .bind(i64::try_from(through.0).unwrap_or(i64::MAX));
        self.leave_out(&mut sql, "e", "student");
        sql.push(" ORDER BY e.position");
        let found: Found<EventRow> = self.page(&mut sql, limit).await?;
        found.map(EventRow::into_event)
    }
}

impl Records {
    /// Events of before this server (see `former`), each with
    /// its place counted from zero downwards, after `after`, in that order.
    pub(in crate::storage::records) async fn former_events(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, StoredEvent)>, RecordsError> {
        let mut sql = self.all_events();
        sql.push(" WHERE e.position < ")
            .bind(i64::try_from(after.0).map_or(i64::MIN, |after| -after));
        sql.push(" ORDER BY e.position DESC");
        let found: Found<EventRow> = self.page(&mut sql, limit).await?;
        let numbered = found.rows.into_iter().map(|row| {
            let nth = Position(row.position.unsigned_abs());
            Ok((nth, row.into_event()?))
        });
        numbered.collect()
    }
}

impl Records {
    pub(in crate::storage::records) fn all_events(&self) -> Sql {
        let mut sql = Sql::new(EVENTS);
        sql.push(self.dialect.executions_of_events());
        sql
    }
}

impl EventRow {
    pub(super) fn into_event(self) -> Result<StoredEvent, RecordsError> {
        let head = Head {
            id: EventId::new(self.event_id),
            kind: from_name(&self.kind)?,
            time: Timestamp::from_millis(self.event_time_ms),
            address: self.address.unwrap_or_default(),
        };
        let columns = match self.executed {
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
        Ok(StoredEvent {
            position: position(self.position),
            classroom: ClassroomId::new(self.classroom),
            student: StudentId::new(self.student),
            received_at: Timestamp::from_millis(self.received_at_ms),
            at: Timestamp::from_millis(self.at_ms),
            event: Body::from_json(&self.body)?.into_event(head, columns),
        })
    }
}

pub(super) fn output(json: &str) -> Result<Output, RecordsError> {
    serde_json::from_str(json).map_err(|error| RecordsError::Malformed(error.to_string()))
}
