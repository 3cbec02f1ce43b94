//! Everything of one person, page by page: to be handed to them, and to be erased.
//!
//! Nobody is hidden here: who erases must see what others no longer see.

use mimamori_actors::domain::{Position, SessionKey};
use sea_orm::FromQueryResult;

use super::events::EventRow;
use super::{
    DeadLetterRow, ExecutionFilter, ExecutionRow, Found, HelpRow, Records, RecordsError,
    RejectedRow, SessionRow, Sql, StoredEvent, TimeKey, TimeRange, Weigh,
};

/// A student with what only they themselves, and whoever erases them, may see.
#[derive(Debug, FromQueryResult)]
pub(crate) struct PersonRow {
    pub(crate) address: String,
    pub(crate) name: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) first_seen_ms: i64,
    pub(crate) last_seen_ms: i64,
}

/// An alert as it was last.
#[derive(Debug, FromQueryResult)]
pub(crate) struct AlertRow {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) cell_id: Option<String>,
    pub(crate) since_ms: i64,
    pub(crate) reason: String,
    pub(crate) state: String,
    pub(crate) changed_ms: i64,
}

impl Weigh for AlertRow {
    fn bytes(&self) -> usize {
        512 + self.reason.len()
    }
}

impl Weigh for SessionRow {
    fn bytes(&self) -> usize {
        256
    }
}

/// After which row a list goes on that is in the order of time and id.
pub(crate) type AfterId = Option<(i64, String)>;

impl Records {
    /// The student, if the records know them.
    pub(crate) async fn person(&self, key: &SessionKey) -> Result<Option<PersonRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT address, name, team, first_seen_ms, last_seen_ms FROM students WHERE classroom = ",
        );
        sql.bind(key.classroom.as_str());
        sql.push(" AND id = ").bind(key.student.as_str());
        self.one(&mut sql).await
    }

    /// The person's events in the order of `at`, those up to `through`.
    pub(crate) async fn events_of(
        &self,
        key: &SessionKey,
        through: Position,
        after: Option<TimeKey>,
        limit: usize,
    ) -> Result<Found<(TimeKey, StoredEvent)>, RecordsError> {
        let mut sql = self.all_events();
        of_person(&mut sql, "e", key);
        sql.push(" AND e.position <= ").bind(number(through));
        if let Some(key) = after {
            sql.push(" AND (e.at_ms, e.position) > (").bind(key.at_ms);
            sql.push(", ").bind(key.position).push(")");
        }
        sql.push(" ORDER BY e.at_ms, e.position");
        let found: Found<EventRow> = self.page(&mut sql, limit).await?;
        found.map(|row| {
            // events of before this server stand below zero
            let key = TimeKey {
                at_ms: row.at_ms,
                position: row.position,
            };
            Ok((key, row.into_event()?))
        })
    }

    /// The person's newest events behind `after`, newest first.
    pub(crate) async fn newest_events_of(
        &self,
        key: &SessionKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, RecordsError> {
        let mut sql = self.all_events();
        of_person(&mut sql, "e", key);
        sql.push(" AND e.position > ").bind(number(after));
        sql.push(" ORDER BY e.at_ms DESC, e.position DESC");
        let found: Found<EventRow> = self.page(&mut sql, limit).await?;
        Ok(found.map(EventRow::into_event)?.rows)
    }

    /// The person's executions, newest first.
    pub(crate) async fn executions_of(
        &self,
        key: &SessionKey,
        after: Option<TimeKey>,
        limit: usize,
    ) -> Result<Found<ExecutionRow>, RecordsError> {
        let filter = ExecutionFilter {
            student: Some(key.student.clone()),
            ..ExecutionFilter::default()
        };
        let always = TimeRange {
            from: mimamori_actors::domain::Timestamp::from_millis(i64::MIN),
            to: None,
        };
        self.executions(&key.classroom, always, &filter, after, limit)
            .await
    }

    /// The person's sessions, oldest first.
    pub(crate) async fn sessions_of(
        &self,
        key: &SessionKey,
        after: AfterId,
        limit: usize,
    ) -> Result<Found<SessionRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT id, begun_ms, ended_ms, COALESCE(events, 0) AS events FROM sessions s",
        );
        of_person(&mut sql, "s", key);
        in_order(&mut sql, "begun_ms", after);
        self.page(&mut sql, limit).await
    }

    /// The person's requests for help, oldest first.
    pub(crate) async fn help_of(
        &self,
        key: &SessionKey,
        after: AfterId,
        limit: usize,
    ) -> Result<Found<HelpRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT id, student, since_ms, until_ms, ended_by, claimed_by, cell_id FROM help h",
        );
        of_person(&mut sql, "h", key);
        in_order(&mut sql, "since_ms", after);
        self.page(&mut sql, limit).await
    }

    /// The alerts about the person, oldest first.
    pub(crate) async fn alerts_of(
        &self,
        key: &SessionKey,
        after: AfterId,
        limit: usize,
    ) -> Result<Found<AlertRow>, RecordsError> {
        let mut sql =
            Sql::new("SELECT id, kind, cell_id, since_ms, reason, state, changed_ms FROM alerts a");
        of_person(&mut sql, "a", key);
        in_order(&mut sql, "since_ms", after);
        self.page(&mut sql, limit).await
    }

    /// Everything that was refused in a classroom, in the order of positions: whose it is stands in none of its columns.
    pub(crate) async fn all_rejected(
        &self,
        key: &SessionKey,
        after: i64,
        limit: usize,
    ) -> Result<Found<RejectedRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT position, received_at_ms, item, code, detail, pointer, event_id, payload \
             FROM rejected WHERE classroom = ",
        );
        sql.bind(key.classroom.as_str());
        sql.push(" AND position > ").bind(after);
        sql.push(" ORDER BY position");
        self.page(&mut sql, limit).await
    }

    /// Every dead letter, in the order of positions.
    pub(crate) async fn all_letters(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Found<DeadLetterRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT position, id, received_at_ms, consumer, entry, reason FROM dead_letters \
             WHERE position > ",
        );
        sql.bind(after).push(" ORDER BY position");
        self.page(&mut sql, limit).await
    }
}

fn of_person(sql: &mut Sql, table: &str, key: &SessionKey) {
    sql.push(&format!(" WHERE {table}.classroom = "))
        .bind(key.classroom.as_str());
    sql.push(&format!(" AND {table}.student = "))
        .bind(key.student.as_str());
}

fn in_order(sql: &mut Sql, time: &str, after: AfterId) {
    if let Some((ms, id)) = after {
        sql.push(&format!(" AND ({time}, id) > (")).bind(ms);
        sql.push(", ").bind(id).push(")");
    }
    sql.push(&format!(" ORDER BY {time}, id"));
}

fn number(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
