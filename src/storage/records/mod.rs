//! The records: everything that was, for the reading calls and for later.
//!
//! They are in SQLite or in PostgreSQL, by their address. What is written and
//! what is asked is the same for both; what differs is in three places: the room
//! of each database (`sqlite`, `postgres`: connections, transactions, many rows
//! at once, error codes), the door between them (`batch`), and a few words of
//! SQL (`dialect`).
//!
//! One task at a time writes, on the only connection that can; readers have
//! connections of their own that cannot, and may have a server of their own
//! (`replica`). A batch of the journal and the offset
//! that says so are one transaction, and rows are guarded by the position they
//! came from, so that the same batch twice, or an old one again, changes nothing.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mimamori_actors::domain::{Entry, JournalId, Position};
use mimamori_actors::ports::{Store, StoreError};
use sea_orm::{DatabaseConnection, FromQueryResult};

use crate::config::Config;
use crate::erasure::hidden::Hidden;

mod backfill;
mod batch;
mod body;
mod dialect;
pub(crate) mod dump;
mod editions;
mod expire;
mod fault;
mod forget;
mod former;
mod gate;
mod later;
mod postgres;
mod read;
mod replica;
mod rows;
mod sql;
mod sqlite;
mod write;

use batch::{Batch, Writing};
use dialect::Dialect;
pub(crate) use editions::Edition;
use editions::{Editions, Written};
pub(crate) use expire::Step;
pub use fault::RecordsError;
pub(crate) use former::{FormerName, FormerPeople, FormerStudent, Mode, NewPeople, SeenBefore};
use gate::Gate;
pub use later::Check;
pub use postgres::Address as PostgresAddress;
pub(crate) use read::{
    AlertRow, CellKey, CellRow, CellTotals, DeadLetterRow, ExecutionFilter, ExecutionRow,
    ExportedEvent, ExportedSpan, Found, HelpKey, HelpRow, History, KnownStudent, LessonKey,
    LessonRow, PersonRow, RejectedRow, SessionRow, StoredEvent, TimeKey, TimeRange, Totals,
};
use replica::{Replica, Visit};
pub use replica::{Tell, Unused};
use sql::Sql;

/// The consumer under which the offsets of this store are kept.
const CONSUMER: &str = "records";

/// The records' database.
///
/// Whoever holds this reads where it is also written, unless they asked for the
/// nearest ([`Records::nearest`]).
#[derive(Debug)]
pub struct Records {
    shared: Arc<Shared>,
    /// Of whoever reads at the replica.
    visit: Option<Visit>,
}

/// What all who hold the same records share.
#[derive(Debug)]
pub struct Shared {
    writing: Writing,
    reading: DatabaseConnection,
    dialect: Dialect,
    editions: Editions,
    /// Who is in no answer.
    hidden: OnceLock<Arc<Hidden>>,
    gate: Gate,
    /// What this process wrote last: a database that knows less has gone back.
    written: Mutex<Option<(JournalId, Position)>>,
    /// Opens them when their server comes, and looks after the months of
    /// PostgreSQL for as long as these are there.
    keeping: OnceLock<postgres::Keeping>,
    /// Where else they can be read.
    replica: OnceLock<replica::Kept>,
}

impl Deref for Records {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// Where the records are.
#[derive(Debug, Clone)]
pub enum RecordsAt {
    /// In a file of this directory.
    Dir(PathBuf),
    /// In a database of PostgreSQL.
    Postgres(PostgresAddress),
}

/// The replica from which the configuration wants them read, if it names one.
pub fn replica_of(config: &Config) -> Option<PostgresAddress> {
    Some(PostgresAddress {
        url: config.records.read_url.clone()?,
        max_connections: config.records.max_connections,
    })
}

impl RecordsAt {
    /// Whether anything can have been kept there: a server may be away, a file is there or not.
    pub fn may_be_there(&self) -> bool {
        match self {
            Self::Dir(dir) => dir.join(sqlite::FILE).exists(),
            Self::Postgres(_) => true,
        }
    }

    /// As the configuration says.
    pub fn of(config: &Config) -> Self {
        match &config.records.url {
            None => Self::Dir(config.storage.dir.clone()),
            Some(url) => Self::Postgres(PostgresAddress {
                url: url.clone(),
                max_connections: config.records.max_connections,
            }),
        }
    }
}

impl fmt::Display for RecordsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(dir) => write!(f, "SQLite in {}", dir.display()),
            Self::Postgres(address) => write!(f, "{}", address.url),
        }
    }
}

impl Records {
    /// Opens them, makes them if they are not there, and brings their tables up to date.
    /// Those of a later version are not for it: [`Records::check_format`] comes first.
    ///
    /// # Errors
    /// When they cannot be reached or opened, or their tables cannot be brought up to date.
    pub async fn open(at: &RecordsAt) -> Result<Self, RecordsError> {
        Self::open_within(at, postgres::SERVER_STARTS_WITHIN).await
    }

    /// As [`Records::open`]; a server that is starting too is waited for no longer than this.
    ///
    /// # Errors
    /// As [`Records::open`]. [`RecordsError::is_away`] tells that there is no server (yet).
    pub async fn open_within(at: &RecordsAt, patience: Duration) -> Result<Self, RecordsError> {
        match at {
            RecordsAt::Dir(dir) => {
                let (writing, reading) = sqlite::open(dir).await?;
                let writing = Writing::Sqlite(writing);
                Ok(Self::of(
                    writing,
                    reading,
                    Dialect::Sqlite,
                    Gate::open(),
                    None,
                ))
            }
            RecordsAt::Postgres(address) => {
                postgres::prepare(address, patience).await?;
                let keeping = postgres::Keeping::by(postgres::keep_months(address.clone()));
                let parts = postgres::parts(address)?;
                Ok(Self::of_server(parts, Gate::open(), Some(keeping)))
            }
        }
    }

    fn of_server(parts: postgres::Parts, gate: Gate, keeping: Option<postgres::Keeping>) -> Self {
        let writing = Writing::Postgres(Box::new(parts.writing));
        Self::of(writing, parts.reading, Dialect::Postgres, gate, keeping)
    }

    fn of(
        writing: Writing,
        reading: DatabaseConnection,
        dialect: Dialect,
        gate: Gate,
        keeping: Option<postgres::Keeping>,
    ) -> Self {
        let shared = Shared {
            writing,
            reading,
            dialect,
            editions: Editions::default(),
            hidden: OnceLock::new(),
            gate,
            written: Mutex::default(),
            keeping: keeping.map_or_else(OnceLock::new, OnceLock::from),
            replica: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            visit: None,
        }
    }

    /// Makes this process the one that writes, until it ends: a server of PostgreSQL
    /// is shared, and two journals would give the same positions. One that still
    /// writes is waited for so long.
    ///
    /// # Errors
    /// When another server writes into this database, or it does not answer.
    pub async fn claim(&self, patience: Duration) -> Result<(), RecordsError> {
        self.writing.claim(patience).await
    }

    /// Opens those of another node, to be read alone: nothing is made or brought up to date,
    /// and who is not there now may come later.
    ///
    /// # Errors
    /// When they are in a file, or the address can't be used.
    pub fn open_to_read(at: &RecordsAt) -> Result<Self, RecordsError> {
        let RecordsAt::Postgres(address) = at else {
            let reason = "records in a file are its own node's";
            return Err(RecordsError::Unfit(reason.to_owned()));
        };
        let parts = postgres::parts(address)?;
        Ok(Self::of_server(parts, Gate::open(), None))
    }

    /// Whether this program knows the tables, if there are any. Changes nothing.
    ///
    /// # Errors
    /// When a later version wrote them, or a server does not answer.
    pub async fn check_format(at: &RecordsAt) -> Result<(), RecordsError> {
        Self::check_format_within(at, postgres::SERVER_STARTS_WITHIN).await
    }

    /// As [`Records::check_format`]; a server that is starting too is waited for no longer than this.
    ///
    /// # Errors
    /// As [`Records::check_format`].
    pub async fn check_format_within(
        at: &RecordsAt,
        patience: Duration,
    ) -> Result<(), RecordsError> {
        match at {
            RecordsAt::Dir(dir) => Ok(sqlite::format::check(&dir.join(sqlite::FILE)).await?),
            RecordsAt::Postgres(address) => postgres::check_format(address, patience).await,
        }
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
        self.gate.pass()?;
        let mut batch = self.writing.begin().await?;
        batch.run(&mut sql).await?;
        batch.commit().await?;
        *self.written() = None;
        Ok(())
    }

    /// Closes the connections, once what is under way is done.
    ///
    /// # Errors
    /// When the database cannot be closed.
    pub async fn close(&self) -> Result<(), RecordsError> {
        self.reading.close_by_ref().await?;
        self.writing.close().await
    }

    async fn write_in_one(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), RecordsError> {
        self.gate.pass()?;
        let mut batch = self.writing.begin().await?;
        let known = batch.positions(&mut write::offset_of(journal)).await?;
        let known = known.first().map(|it| position(*it)).unwrap_or_default();
        self.is_as_it_was(journal, known)?;
        let hidden = self.hidden.get().map(Arc::as_ref);
        let written = write_batch(&mut batch, journal, (entries, known, through), hidden).await?;
        batch.commit().await?;
        *self.written() = Some((journal.clone(), through.max(known)));
        self.editions.wrote(&written);
        self.replica_needs(Replica::wrote);
        Ok(())
    }

    /// A server may come back as it was yesterday (a dump, a replica that lagged behind):
    /// what it lost is behind the position that the next batch begins at.
    fn is_as_it_was(&self, journal: &JournalId, found: Position) -> Result<(), RecordsError> {
        let mut last = self.written();
        match last.take() {
            Some((of, written)) if of == *journal && found < written => {
                Err(RecordsError::Forgot { found, written })
            }
            as_it_was => {
                *last = as_it_was;
                Ok(())
            }
        }
    }

    fn written(&self) -> MutexGuard<'_, Option<(JournalId, Position)>> {
        // a plain assignment under this lock cannot be left half done
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything of [`Store::write`] but the commit; what it wrote to.
async fn write_batch(
    batch: &mut Batch<'_>,
    journal: &JournalId,
    (entries, known, through): (&[Arc<Entry>], Position, Position),
    hidden: Option<&Hidden>,
) -> Result<Vec<Written>, RecordsError> {
    let fresh: Vec<&Entry> = entries
        .iter()
        .map(AsRef::as_ref)
        .filter(|entry| entry.position > known)
        // read before their person was hidden
        .filter(|entry| !hidden.is_some_and(|hidden| hidden.hides(entry)))
        .collect();
    alone(batch, journal, &fresh).await?;
    write::entries(batch, &fresh).await?;
    write::offset(batch, journal, through).await?;
    editions::write(batch, &fresh).await
}

/// A journal goes on behind all others that were written here. One that does not
/// belongs to another server, or to another state of the database.
async fn alone(
    batch: &mut Batch<'_>,
    journal: &JournalId,
    fresh: &[&Entry],
) -> Result<(), RecordsError> {
    let Some(first) = fresh.first() else {
        return Ok(());
    };
    let others = batch
        .positions(&mut write::offset_of_others(journal))
        .await?;
    let others = others.first().map(|known| position(*known));
    match others.filter(|others| *others >= first.position) {
        None => Ok(()),
        Some(others) => Err(RecordsError::Unfit(format!(
            "it has positions up to {others} of another journal, and this one is at {}: another server wrote into it, or the database is not the one that this journal was with",
            first.position
        ))),
    }
}

/// How far a database is with this journal.
async fn offset_in(
    reading: &DatabaseConnection,
    dialect: Dialect,
    journal: &JournalId,
) -> Result<Option<Position>, RecordsError> {
    let statement = write::offset_of(journal).statement(dialect);
    let row = read::in_time(PositionRow::find_by_statement(statement).one(reading)).await??;
    Ok(row.and_then(|row| row.position).map(position))
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
        let row = self
            .one::<PositionRow>(&mut write::offset_of(journal))
            .await?;
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

    async fn check(&self) -> Result<(), StoreError> {
        self.gate.pass()?;
        Ok(self.writing.check().await?)
    }
}

#[cfg(test)]
pub(crate) mod tests;
