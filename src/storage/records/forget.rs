//! Takes a person out of the records: hidden at once, then row by row, in small transactions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::domain::{DeadLetter, FactId, Position, SessionKey};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::time::sleep;

use super::read::{DeadLetterRow, StoredEvent};
use super::sql::Sql;
use super::{Batch, Records, RecordsError, Writing};
use crate::erasure::hidden::Hidden;
use crate::erasure::whose::Person;

/// So many events go in one transaction: others wait for it, and not for long.
const EVENTS_AT_ONCE: usize = 200;
/// So many refused requests are looked at together.
const LOOKED_AT_ONCE: usize = 200;
/// The name and the team of somebody who began anew are looked for in so many events.
const NEWEST: usize = 200;
/// Between two tries to empty `SQLite`'s log, which a reader holds for 10 s and a backup for longer.
const TRY_EVERY: Duration = Duration::from_millis(250);
const TRIES: u32 = 240;

impl Records {
    /// Whoever is hidden here is in no answer, and is not written. Said once, before anybody asks.
    pub fn hide(&self, hidden: Arc<Hidden>) {
        // a second saying would be of the same people
        let _ = self.hidden.set(hidden);
    }

    /// Of whom something may stand in the rows that is in no answer; almost always nobody.
    pub(super) fn pending(&self) -> Vec<(SessionKey, Position)> {
        let all = self.hidden.get().map(|hidden| hidden.pending());
        all.unwrap_or_default()
    }

    /// Leaves out the rows of `table` about people who are hidden.
    pub(super) fn leave_out(&self, sql: &mut Sql, table: &str, student: &str) {
        leave_out(sql, &self.pending(), table, student);
    }

    /// Waits for the batch that is being written, which may be of before somebody was hidden;
    /// what is written behind it leaves them out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn settled(&self) -> Result<(), RecordsError> {
        self.gate.pass()?;
        self.writing.begin().await?.commit().await
    }

    /// Removes the person's next events with their executions, the oldest; gives
    /// them, none when there are no more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn erase_events(
        &self,
        key: &SessionKey,
        through: Position,
    ) -> Result<Vec<StoredEvent>, RecordsError> {
        let found = self.events_of(key, through, None, EVENTS_AT_ONCE).await?;
        if found.rows.is_empty() {
            return Ok(Vec::new());
        }
        let keys = found.rows.iter().map(|(key, _)| key.position);
        let positions: Vec<i64> = keys.collect();
        let events: Vec<_> = found.rows.into_iter().map(|(_, event)| event).collect();
        let mut batch = self.writing.begin().await?;
        for table in ["executions", "events"] {
            remove_at(&mut batch, table, &positions).await?;
        }
        remove_names(&mut batch, (key, through), &events).await?;
        batch.commit().await?;
        Ok(events)
    }

    /// Removes what was concluded about the person, and themselves.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn erase_person(
        &self,
        key: &SessionKey,
        through: Position,
    ) -> Result<(), RecordsError> {
        // of what they did since, if they began anew
        let since = self.newest_events_of(key, through, NEWEST).await?;
        let mut batch = self.writing.begin().await?;
        for table in ["sessions", "help", "alerts"] {
            let mut sql = Sql::new(&format!("DELETE FROM {table} WHERE classroom = "));
            sql.bind(key.classroom.as_str());
            sql.push(" AND student = ").bind(key.student.as_str());
            sql.push(" AND position <= ").bind(number(through));
            batch.run(&mut sql).await?;
        }
        let mut sql = Sql::new("DELETE FROM students WHERE classroom = ");
        sql.bind(key.classroom.as_str());
        sql.push(" AND id = ").bind(key.student.as_str());
        sql.push(" AND position <= ").bind(number(through));
        batch.run(&mut sql).await?;
        if let Some(first) = since.iter().map(|event| event.received_at).min() {
            let newest =
                |of: fn(&StoredEvent) -> Option<&String>| since.iter().find_map(of).cloned();
            let mut sql = Sql::new("UPDATE students SET first_seen_ms = ");
            sql.bind(first.as_millis());
            sql.push(", name = ")
                .bind(newest(|event| event.event.name.as_ref()));
            sql.push(", team = ")
                .bind(newest(|event| event.event.team.as_ref()));
            sql.push(" WHERE classroom = ").bind(key.classroom.as_str());
            sql.push(" AND id = ").bind(key.student.as_str());
            batch.run(&mut sql).await?;
        }
        batch.commit().await
    }

    /// Removes what was refused of the person, and the dead letters about entries of theirs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn erase_faults(
        &self,
        person: &Person,
        through: Position,
    ) -> Result<(), RecordsError> {
        let (mut after, last) = (0, number(through));
        loop {
            let found = self
                .all_rejected(&person.key, after, LOOKED_AT_ONCE)
                .await?;
            let theirs = found.rows.iter().filter(|row| row.position <= last);
            let theirs: Vec<_> = theirs
                .filter(|row| person.sent(&row.payload))
                .map(|row| row.position)
                .collect();
            self.remove_rows("rejected", &theirs).await?;
            after = found.rows.last().map_or(last, |row| row.position);
            if !found.has_more || after >= last {
                break;
            }
        }
        let mut after = 0;
        loop {
            let found = self.all_letters(after, LOOKED_AT_ONCE).await?;
            let theirs = found.rows.iter().filter(|row| row.position <= last);
            let theirs: Vec<_> = theirs
                .filter(|row| person.is_of_letter(&row.to_letter()))
                .map(|row| row.position)
                .collect();
            self.remove_rows("dead_letters", &theirs).await?;
            after = found.rows.last().map_or(last, |row| row.position);
            if !found.has_more || after >= last {
                return Ok(());
            }
        }
    }

    async fn remove_rows(&self, table: &str, positions: &[i64]) -> Result<(), RecordsError> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut batch = self.writing.begin().await?;
        remove_at(&mut batch, table, positions).await?;
        batch.commit().await
    }

    /// Leaves nothing of removed rows in the files, as far as the database lets us.
    ///
    /// # Errors
    /// When the database does not answer, or has no room.
    pub(crate) async fn scrub(&self) -> Result<(), RecordsError> {
        match &self.writing {
            Writing::Sqlite(connection) => scrub_file(connection).await,
            Writing::Postgres(writer) => writer.vacuum().await,
        }
    }
}

/// Leaves out the rows of `table` about these people.
pub(super) fn leave_out(
    sql: &mut Sql,
    people: &[(SessionKey, Position)],
    table: &str,
    student: &str,
) {
    let mut separator = " AND NOT EXISTS (SELECT 1 FROM (VALUES (";
    for (key, through) in people {
        sql.push(separator).bind(key.classroom.as_str());
        sql.push(", ").bind(key.student.as_str());
        sql.push(", ").bind(number(*through)).push(")");
        separator = ", (";
    }
    if !people.is_empty() {
        sql.push(&format!(
            ") AS hidden WHERE hidden.column1 = {table}.classroom \
             AND hidden.column2 = {table}.{student} AND hidden.column3 >= {table}.position)"
        ));
    }
}

/// The file is written anew without its free pages, and the log emptied into it.
async fn scrub_file(connection: &DatabaseConnection) -> Result<(), RecordsError> {
    connection.execute_unprepared("VACUUM").await?;
    for _ in 0..TRIES {
        let sql = sea_orm::Statement::from_string(
            sea_orm::DbBackend::Sqlite,
            "PRAGMA wal_checkpoint(TRUNCATE)",
        );
        let row = connection.query_one_raw(sql).await?;
        let is_busy = row.map_or(Ok(0), |row| row.try_get_by_index::<i32>(0))?;
        if is_busy == 0 {
            return Ok(());
        }
        sleep(TRY_EVERY).await;
    }
    Err(RecordsError::TooSlow)
}

impl DeadLetterRow {
    pub(crate) fn to_letter(&self) -> DeadLetter {
        DeadLetter {
            id: FactId::new(self.id.as_str()),
            classroom: None,
            consumer: String::new(),
            position: super::position(self.entry),
            reason: String::new(),
        }
    }
}

/// Their team and their notebooks, where nobody else has them.
async fn remove_names(
    batch: &mut Batch<'_>,
    (key, through): (&SessionKey, Position),
    events: &[StoredEvent],
) -> Result<(), RecordsError> {
    let of = |of: fn(&StoredEvent) -> Option<&String>| -> BTreeSet<&String> {
        events.iter().filter_map(of).collect()
    };
    for team in of(|event| event.event.team.as_ref()) {
        let mut sql = Sql::new("DELETE FROM teams WHERE classroom = ");
        sql.bind(key.classroom.as_str());
        sql.push(" AND name = ").bind(team.as_str());
        sql.push(" AND NOT EXISTS (SELECT 1 FROM students x WHERE x.classroom = ")
            .bind(key.classroom.as_str());
        sql.push(" AND x.team = ").bind(team.as_str());
        not_theirs(&mut sql, "id", (key, through));
        batch.run(&mut sql).await?;
    }
    for path in of(|event| event.event.notebook.as_ref()) {
        let mut sql = Sql::new("DELETE FROM notebooks WHERE classroom = ");
        sql.bind(key.classroom.as_str());
        sql.push(" AND path = ").bind(path.as_str());
        sql.push(" AND NOT EXISTS (SELECT 1 FROM executions x WHERE x.classroom = ")
            .bind(key.classroom.as_str());
        sql.push(" AND x.notebook = ").bind(path.as_str());
        not_theirs(&mut sql, "student", (key, through));
        batch.run(&mut sql).await?;
    }
    Ok(())
}

fn not_theirs(sql: &mut Sql, student: &str, (key, through): (&SessionKey, Position)) {
    sql.push(&format!(" AND NOT (x.{student} = "))
        .bind(key.student.as_str());
    sql.push(" AND x.position <= ")
        .bind(number(through))
        .push("))");
}

async fn remove_at(
    batch: &mut Batch<'_>,
    table: &str,
    positions: &[i64],
) -> Result<(), RecordsError> {
    let mut sql = Sql::new(&format!("DELETE FROM {table} WHERE position IN "));
    let mut separator = "(";
    for position in positions {
        sql.push(separator).bind(*position);
        separator = ", ";
    }
    sql.push(")");
    batch.run(&mut sql).await.map(drop)
}

fn number(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
