//! The records: everything that was, in SQLite, for the reading calls and for later.
//!
//! One task at a time writes, on the only connection that can; readers have
//! connections of their own that cannot. A batch of the journal and the offset
//! that says so are one transaction, and rows are guarded by the position they
//! came from, so that the same batch twice, or an old one again, changes nothing.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mimamori_actors::domain::{Entry, JournalId, Position};
use mimamori_actors::ports::{Store, StoreError};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, FromQueryResult};

use super::format::UnknownFormat;

mod backfill;
mod body;
mod fault;
mod read;
mod rows;
mod sql;
mod sqlite;
mod write;

pub use fault::RecordsError;
pub(crate) use read::{
    CellRow, DeadLetterRow, ExecutionFilter, ExecutionRow, Found, HelpKey, HelpRow, KnownStudent,
    LessonKey, LessonRow, RejectedRow, SessionRow, StoredEvent, TimeKey, TimeRange,
};
use sql::Sql;
use sqlite::Batch;

/// The consumer under which the offsets of this store are kept.
const CONSUMER: &str = "records";

/// The records' database.
#[derive(Debug)]
pub struct Records {
    writing: DatabaseConnection,
    reading: DatabaseConnection,
}

impl Records {
    /// Opens `records.sqlite` in `dir`, makes it if it is not there, and brings its tables up to date.
    /// Those of a later version are not for it: [`Records::check_format`] comes first.
    ///
    /// # Errors
    /// When the file cannot be opened or its tables cannot be brought up to date.
    pub async fn open(dir: &Path) -> Result<Self, RecordsError> {
        let (writing, reading) = sqlite::open(dir).await?;
        Ok(Self { writing, reading })
    }

    /// Whether this program knows the tables in `dir`, if there are any. Changes nothing.
    ///
    /// # Errors
    /// When a later version wrote them.
    pub async fn check_format(dir: &Path) -> Result<(), UnknownFormat> {
        sqlite::format::check(&dir.join(sqlite::FILE)).await
    }

    /// The highest position that any journal's entries reached here: a new journal goes on after it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn highest_position(&self) -> Result<Position, RecordsError> {
        let mut sql = Sql::new(
            "SELECT MAX(position) AS position FROM (
               SELECT MAX(position) AS position FROM offsets
               UNION ALL SELECT MAX(position) FROM events
               UNION ALL SELECT MAX(position) FROM rejected
               UNION ALL SELECT MAX(position) FROM dead_letters) AS known",
        );
        let row = self.one::<PositionRow>(&mut sql).await?;
        Ok(position(row.and_then(|row| row.position).unwrap_or(0)))
    }

    /// Has the journal read again behind this position: entries were brought
    /// back to it that had been passed. What is there already stays as it is.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn read_again_after(
        &self,
        journal: &JournalId,
        after: Position,
    ) -> Result<(), RecordsError> {
        let after = i64::try_from(after.0).unwrap_or(i64::MAX);
        let mut sql = Sql::new("UPDATE offsets SET position = ");
        sql.bind(after).push(" WHERE journal = ");
        sql.bind(journal.as_str()).push(" AND consumer = ");
        sql.bind(CONSUMER).push(" AND position > ").bind(after);
        self.writing
            .execute_raw(sql.statement(self.backend()))
            .await?;
        Ok(())
    }

    /// Closes the connections, once what is under way is done.
    ///
    /// # Errors
    /// When the database cannot be closed.
    pub async fn close(&self) -> Result<(), RecordsError> {
        self.reading.close_by_ref().await?;
        self.writing.close_by_ref().await?;
        Ok(())
    }

    fn backend(&self) -> DbBackend {
        self.reading.get_database_backend()
    }

    async fn write_in_one(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), RecordsError> {
        let mut batch = Batch::begin(&self.writing).await?;
        write_batch(&mut batch, journal, entries, through).await?;
        batch.commit().await
    }
}

/// Everything of [`Store::write`] but the commit.
async fn write_batch(
    batch: &mut Batch,
    journal: &JournalId,
    entries: &[Arc<Entry>],
    through: Position,
) -> Result<(), RecordsError> {
    let known = batch.positions(&mut write::offset_of(journal)).await?;
    let known = known
        .first()
        .map(|known| position(*known))
        .unwrap_or_default();
    let fresh: Vec<&Entry> = entries
        .iter()
        .map(AsRef::as_ref)
        .filter(|entry| entry.position > known)
        .collect();
    write::entries(batch, &fresh).await?;
    write::offset(batch, journal, through).await
}

#[derive(Debug, FromQueryResult)]
struct PositionRow {
    position: Option<i64>,
}

/// A position as stored; none is below zero.
fn position(stored: i64) -> Position {
    Position(u64::try_from(stored).unwrap_or(0))
}

#[async_trait]
impl Store for Records {
    async fn offset(&self, journal: &JournalId) -> Result<Option<Position>, StoreError> {
        let offset = self.one::<PositionRow>(&mut write::offset_of(journal));
        let row = offset.await?;
        Ok(row.and_then(|row| row.position).map(position))
    }

    async fn write(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), StoreError> {
        self.write_in_one(journal, entries, through)
            .await
            .map_err(StoreError::from)
    }
}

#[cfg(test)]
mod tests;
