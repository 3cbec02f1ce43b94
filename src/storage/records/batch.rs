//! A batch under way in whichever database holds the records: all of it is kept, or nothing.
//!
//! This is where the two databases part: how a transaction is made, and how many
//! rows go in at once. What is written, and in which order, is common ([`super::write`]).

use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Timestamp};
use sea_orm::{DatabaseConnection, Value};

use super::sql::{Insert, Sql};
use super::{RecordsError, postgres, sqlite};

/// What writes.
#[derive(Debug)]
pub(super) enum Writing {
    /// The only connection that can.
    Sqlite(DatabaseConnection),
    /// A session that is made again when it broke.
    Postgres(Box<postgres::Writer>),
}

/// A batch under way; dropped, it leaves nothing.
pub(super) enum Batch<'a> {
    Sqlite(sqlite::Batch),
    Postgres(postgres::Batch<'a>),
}

impl Writing {
    pub(super) async fn begin(&self) -> Result<Batch<'_>, RecordsError> {
        Ok(match self {
            Self::Sqlite(connection) => Batch::Sqlite(sqlite::Batch::begin(connection).await?),
            Self::Postgres(writer) => Batch::Postgres(postgres::Batch::begin(writer).await?),
        })
    }

    /// Drops the months of which everything is past its term; a file has none.
    pub(super) async fn drop_months(
        &self,
        terms: &[(ClassroomId, Option<Timestamp>)],
        now: Timestamp,
    ) -> Result<u64, RecordsError> {
        match self {
            Self::Sqlite(_) => Ok(0),
            Self::Postgres(writer) => postgres::drop_months(writer, terms, now).await,
        }
    }

    /// A file is claimed with its directory; see [`postgres::Writer::claim`].
    pub(super) async fn claim(&self, patience: Duration) -> Result<(), RecordsError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(writer) => writer.claim(patience).await,
        }
    }

    /// Whether they answer; a file has no need to be asked.
    pub(super) async fn check(&self) -> Result<(), RecordsError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(writer) => writer.check().await,
        }
    }

    pub(super) async fn close(&self) -> Result<(), RecordsError> {
        match self {
            Self::Sqlite(connection) => connection.close_by_ref().await?,
            Self::Postgres(writer) => writer.close().await,
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// Inserts the rows, in their order; how many were not there yet. Behind the
    /// values of a row's columns stands, if the table is filed, `filed_at` in milliseconds.
    pub(super) async fn insert<const N: usize>(
        &mut self,
        table: &Insert<'_>,
        rows: Vec<[Value; N]>,
    ) -> Result<u64, RecordsError> {
        debug_assert_eq!(table.columns.len() + usize::from(table.is_filed), N);
        match self {
            Self::Sqlite(batch) => batch.insert(table, rows).await,
            Self::Postgres(batch) => batch.insert(table, rows).await,
        }
    }

    /// The whole numbers in the column `position`.
    pub(super) async fn positions(&mut self, sql: &mut Sql) -> Result<Vec<i64>, RecordsError> {
        match self {
            Self::Sqlite(batch) => batch.positions(sql).await,
            Self::Postgres(batch) => batch.positions(sql).await,
        }
    }

    /// Runs a statement that answers nothing; how many rows it changed.
    pub(super) async fn run(&mut self, sql: &mut Sql) -> Result<u64, RecordsError> {
        match self {
            Self::Sqlite(batch) => batch.run(sql).await,
            Self::Postgres(batch) => batch.run(sql).await,
        }
    }

    /// When it returns, the batch is on disk.
    pub(super) async fn commit(self) -> Result<(), RecordsError> {
        match self {
            Self::Sqlite(batch) => batch.commit().await,
            Self::Postgres(batch) => batch.commit().await,
        }
    }
}
