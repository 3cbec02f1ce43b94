//! What was refused, and what could not be stored: newest first.

use mimamori_actors::domain::ClassroomId;
use sea_orm::FromQueryResult;

use super::{Found, Records, RecordsError, Sql, TimeKey, TimeRange, Weigh};
use crate::storage::records::position;

/// A refused event. Its payload is hostile text.
#[derive(Debug, FromQueryResult)]
pub(crate) struct RejectedRow {
    pub(crate) position: i64,
    pub(crate) received_at_ms: i64,
    pub(crate) item: i64,
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) pointer: String,
    pub(crate) event_id: Option<String>,
    pub(crate) payload: String,
}

impl Weigh for RejectedRow {
    fn bytes(&self) -> usize {
        512 + self.payload.len()
    }
}

impl RejectedRow {
    pub(crate) fn key(&self) -> TimeKey {
        TimeKey {
            at_ms: self.received_at_ms,
            position: self.position,
        }
    }
}

/// What a consumer could not take.
#[derive(Debug, FromQueryResult)]
pub(crate) struct DeadLetterRow {
    pub(crate) position: i64,
    pub(crate) id: String,
    pub(crate) received_at_ms: i64,
    pub(crate) consumer: String,
    pub(crate) entry: i64,
    pub(crate) reason: String,
}

impl Weigh for DeadLetterRow {
    fn bytes(&self) -> usize {
        512 + self.reason.len()
    }
}

impl DeadLetterRow {
    pub(crate) fn key(&self) -> TimeKey {
        TimeKey {
            at_ms: self.received_at_ms,
            position: self.position,
        }
    }
}

impl Records {
    /// Refused events of a classroom, newest first.
    pub(crate) async fn rejected(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        after: Option<TimeKey>,
        limit: usize,
    ) -> Result<Found<RejectedRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT position, received_at_ms, item, code, detail, pointer, event_id, payload \
             FROM rejected WHERE classroom = ",
        );
        newest_first(&mut sql, classroom, range, after);
        let mut found: Found<RejectedRow> = self.page(&mut sql, limit).await?;
        self.blank_hidden(&mut found.rows);
        Ok(found)
    }

    /// Whose a refused event is tells no column: the row stays until it is
    /// removed, a moment later, and says nothing.
    fn blank_hidden(&self, rows: &mut [RejectedRow]) {
        let Some(hidden) = self.hidden.get().filter(|hidden| hidden.is_anybody()) else {
            return;
        };
        for row in rows {
            if hidden.hides_sent(position(row.position), &row.payload) {
                row.payload.clear();
                row.event_id = None;
            }
        }
    }

    /// Dead letters of a classroom, newest first.
    pub(crate) async fn dead_letters(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        after: Option<TimeKey>,
        limit: usize,
    ) -> Result<Found<DeadLetterRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT position, id, received_at_ms, consumer, entry, reason \
             FROM dead_letters WHERE classroom = ",
        );
        newest_first(&mut sql, classroom, range, after);
        self.page(&mut sql, limit).await
    }
}

fn newest_first(sql: &mut Sql, classroom: &ClassroomId, range: TimeRange, after: Option<TimeKey>) {
    sql.bind(classroom.as_str());
    sql.push(" AND received_at_ms >= ").bind(range.begin_ms());
    sql.push(" AND received_at_ms < ").bind(range.end_ms());
    if let Some(key) = after {
        sql.push(" AND (received_at_ms, position) < (")
            .bind(key.at_ms);
        sql.push(", ").bind(key.position).push(")");
    }
    sql.push(" ORDER BY received_at_ms DESC, position DESC");
}
