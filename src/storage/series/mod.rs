//! The series: how much happened in each minute, by team and student, embedded.
//!
//! Counts and the offset that says what is counted go to disk in one atomic
//! batch, so an entry is counted once however often it comes. Each event is
//! added to its minute, ten minutes, hour and day ([`Level`]), so that a year
//! is read as quickly as a lesson and only cells that are still open change.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use mimamori_actors::domain::{ClassroomId, Entry, JournalId, Position, Timestamp};
use mimamori_actors::ports::{Store, StoreError};

use super::embedded::handle::{Away, Handle, Place};
use super::embedded::{OpenFailure, begin_anew, open_caught, went_back};
use super::format::{self, UnknownFormat};

mod activity;
mod counts;
mod expire;
mod keys;

pub use activity::Bucket;
use counts::Counts;
#[cfg(doc)]
use keys::Level;

/// Keyspaces carry the format's version in their names: another form goes to another one.
const FORMAT: u32 = 1;
const COUNTS: &str = "counts-";
const OFFSETS: &str = "offsets-";
/// Blocks of the tables that are kept in memory.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Changed cells that are kept in memory before they are sorted into a table.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
/// The database's own log, before what it holds is moved into tables.
const LOG_BYTES: u64 = 64 * 1024 * 1024;

/// Why the series did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The disk failed, or the database is stopping.
    #[error("the series are unavailable: {0}")]
    Unavailable(#[from] fjall::Error),
    /// It cannot be opened: in use, no rights, a full disk.
    #[error("the series: {0}")]
    Unopened(String),
    /// Opened anew, they know less than was on disk before: the next start finds out what is missing.
    #[error(
        "the series are at position {found}, they were at {written} before they were opened anew"
    )]
    WentBack {
        /// How far they are.
        found: Position,
        /// How far they were.
        written: Position,
    },
    /// A later version wrote them.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// What stands there has no form that can be read.
    #[error("a cell of the series has no valid form")]
    Malformed,
    /// How far a journal is counted has no form that can be read.
    #[error("an offset of the series has no valid form")]
    MalformedOffset,
    /// It took longer than a reading call may take and was broken off.
    #[error("the series took too long")]
    TooSlow,
    /// The task that worked on it is gone.
    #[error("the series' task ended early: {0}")]
    Aborted(#[from] tokio::task::JoinError),
}

impl From<Away> for SeriesError {
    fn from(away: Away) -> Self {
        Self::Unopened(away.to_string())
    }
}

impl From<SeriesError> for StoreError {
    fn from(error: SeriesError) -> Self {
        match error {
            // waiting does not cure it: what belongs into such a cell is left out, the rest goes on
            SeriesError::Malformed => Self::Refused(error.to_string()),
            SeriesError::MalformedOffset
            | SeriesError::Unavailable(_)
            | SeriesError::Unopened(_)
            | SeriesError::WentBack { .. }
            | SeriesError::Newer(_)
            | SeriesError::TooSlow
            | SeriesError::Aborted(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// The embedded store of the series. Clones share it.
#[derive(Clone)]
pub struct Series {
    inner: Arc<Inner>,
}

struct Inner {
    files: Handle<Files>,
    /// What was written last. Held while counts are read, added to and written: one batch at a time.
    writing: Mutex<Option<(JournalId, Position)>>,
}

/// Everything that holds on to the database.
struct Files {
    database: Database,
    /// Counts by [`keys::Cell`].
    counts: Keyspace,
    /// Positions by journal.
    offsets: Keyspace,
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

impl Series {
    /// Opens the database `series` in `dir`, or makes it. Blocks on the disk.
    ///
    /// One that is damaged is set aside (`series.damaged`, in place of an
    /// earlier one) and begun anew: it counts again from the oldest position of
    /// the journal, and what was before is to be filled in from the records.
    ///
    /// # Errors
    /// When a later version wrote it, another process has it open, or the disk does not let us.
    pub fn open(dir: &Path) -> Result<Self, SeriesError> {
        let path = dir.join("series");
        format::check_fjall(&path)?;
        let files = match open_caught(&path, open_files) {
            Err(OpenFailure::Damaged(reason)) => {
                metrics::counter!("mimamori_series_set_aside_total").increment(1);
                tracing::error!(
                    store = "series",
                    error = reason,
                    "the series are damaged: they are set aside and counted again from the journal"
                );
                begin_anew(&path, open_files)
            }
            opened => opened,
        };
        let files = files.map_err(|failure| match failure {
            OpenFailure::Newer(format) => SeriesError::Newer(format),
            failure @ (OpenFailure::InUse | OpenFailure::Unusable(_) | OpenFailure::Damaged(_)) => {
                SeriesError::Unopened(failure.to_string())
            }
        })?;
        let place = Place {
            store: "series",
            reopened: "mimamori_series_reopened_total",
            dir: path,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                files: Handle::new(place, files, open_files),
                writing: Mutex::default(),
            }),
        })
    }

    /// The highest position of any journal that was counted: a new journal goes on after it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn highest_position(&self) -> Result<Position, SeriesError> {
        self.blocking(|inner| inner.files.reading()?.highest())
            .await
    }

    /// How far this journal is counted; nothing if it is not known.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reach(&self, journal: &JournalId) -> Result<Option<Position>, SeriesError> {
        let journal = journal.clone();
        self.blocking(move |inner| inner.files.reading()?.offset(&journal))
            .await
    }

    /// How much happened from `from` (inclusive) to `to` (exclusive), by whole
    /// minutes, in at most `most` buckets without gaps. Without an end: to
    /// `now`, or to what a client's fast clock put behind it.
    ///
    /// # Errors
    /// When the database does not answer in time.
    pub async fn activity(
        &self,
        classroom: &ClassroomId,
        from: Timestamp,
        to: Option<Timestamp>,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Bucket>, SeriesError> {
        let classroom = classroom.clone();
        self.blocking(move |inner| {
            activity::read(
                &inner.files.reading()?.counts,
                &classroom,
                from..to.unwrap_or(Timestamp::from_millis(i64::MAX)),
                now,
                most,
            )
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SeriesError> + Send + 'static,
    ) -> Result<T, SeriesError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await?
    }
}

fn open_files(path: &Path) -> Result<Files, OpenFailure> {
    let database = Database::builder(path)
        .worker_threads(1)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(LOG_BYTES)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    for name in database.list_keyspace_names() {
        format::check_version(path, format_of(&name), FORMAT)?;
    }
    let counts = database.keyspace(&format!("{COUNTS}{FORMAT}"), options)?;
    let offsets = database.keyspace(&format!("{OFFSETS}{FORMAT}"), options)?;
    Ok(Files {
        database,
        counts,
        offsets,
    })
}

/// Of which format a keyspace is; of none for one that is not ours.
fn format_of(keyspace: &str) -> u32 {
    [COUNTS, OFFSETS]
        .iter()
        .find_map(|prefix| keyspace.strip_prefix(prefix)?.parse().ok())
        .unwrap_or(0)
}

impl Files {
    fn offset(&self, journal: &JournalId) -> Result<Option<Position>, SeriesError> {
        self.offsets
            .get(journal.as_str())?
            .map(|stored| position(&stored))
            .transpose()
    }

    /// As [`Self::offset`]; of a journal that took the place of another one, where that was left.
    fn known(&self, journal: &JournalId) -> Result<Option<Position>, SeriesError> {
        if let Some(offset) = self.offset(journal)? {
            return Ok(Some(offset));
        }
        let highest = self.highest()?;
        Ok((highest > Position::ZERO).then_some(highest))
    }

    fn highest(&self) -> Result<Position, SeriesError> {
        let mut highest = Position::ZERO;
        for known in self.offsets.iter() {
            highest = highest.max(position(&known.value()?)?);
        }
        Ok(highest)
    }
}

impl Inner {
    fn write(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), SeriesError> {
        // nothing is kept under this lock that a panic could leave half done
        let mut written = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.files.writing()?;
        let known = files.known(journal)?.unwrap_or_default();
        if let Some(written) = went_back(written.as_ref(), journal, known) {
            return Err(SeriesError::WentBack {
                found: known,
                written,
            });
        }
        if through <= known && files.offset(journal)?.is_some() {
            return Ok(());
        }
        let mut batch = files
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for (cell, added) in counts::of(entries, known) {
            let key = cell.to_bytes();
            let before = match files.counts.get(&key)? {
                Some(stored) => Counts::from_bytes(&stored)?,
                None => Counts::default(),
            };
            batch.insert(&files.counts, key, before.plus(added).to_bytes());
        }
        batch.insert(&files.offsets, journal.as_str(), through.0.to_be_bytes());
        self.files.judge(batch.commit())?;
        *written = Some((journal.clone(), through));
        Ok(())
    }
}

fn position(stored: &[u8]) -> Result<Position, SeriesError> {
    let bytes = stored
        .try_into()
        .map_err(|_| SeriesError::MalformedOffset)?;
    Ok(Position(u64::from_be_bytes(bytes)))
}

#[async_trait]
impl Store for Series {
    async fn offset(&self, journal: &JournalId) -> Result<Option<Position>, StoreError> {
        let journal = journal.clone();
        let known = self.blocking(move |inner| inner.files.reading()?.known(&journal));
        Ok(known.await?)
    }

    async fn write(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), StoreError> {
        let journal = journal.clone();
        let entries = entries.to_vec();
        Ok(self
            .blocking(move |inner| inner.write(&journal, &entries, through))
            .await?)
    }
}

#[cfg(test)]
mod tests;
