//! The series under `storage.dir`: how much happened in each minute, by team and student.
//!
//! Counts and the offset that says what is counted go to disk in one atomic
//! batch, so an entry is counted once however often it comes. Each event is
//! added to its minute, ten minutes, hour and day ([`Level`]), so that a year
//! is read as quickly as a lesson and only cells that are still open change.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use fjall::Keyspace;
use mimamori_actors::domain::{ClassroomId, Entry, JournalId, Position, Timestamp};
use mimamori_actors::ports::{Store, StoreError};
use tokio::sync::Mutex;

use super::{Bucket, FORMER, SeriesError, without_hidden};
use crate::erasure::hidden::Hidden;
use crate::storage::embedded::handle::{self, Handle, Place, Written};
use crate::storage::embedded::paced::Paced;
use crate::storage::embedded::shortage::Shortage;
use crate::storage::embedded::{OpenFailure, begin_anew, open_caught, went_back};
use crate::storage::format;

mod activity;
mod counts;
mod expire;
mod forget;
mod keys;

use counts::Counts;
#[cfg(doc)]
use keys::Level;

/// Keyspaces carry the format's version in their names: another form goes to another one.
const FORMAT: u32 = 1;
const COUNTS: &str = "counts-";
const OFFSETS: &str = "offsets-";

/// Which journal was written through where.
type Through = (JournalId, Position);

/// The embedded store of the series. Clones share it.
#[derive(Clone)]
pub(super) struct EmbeddedSeries {
    inner: Arc<Inner>,
}

struct Inner {
    files: Handle<Files>,
    /// What was written last. Held while counts are read, added to and written: one batch at a time.
    /// Nothing is kept under it that a panic could leave half done.
    writing: Arc<Mutex<Option<Through>>>,
    /// Who is not counted.
    hidden: OnceLock<Arc<Hidden>>,
}

/// Everything that holds on to the database.
struct Files {
    database: Paced,
    /// Counts by [`keys::Cell`].
    counts: Keyspace,
    /// Positions by journal.
    offsets: Keyspace,
}

impl Written for Files {
    fn make_way(&self) -> fjall::Result<bool> {
        self.database.make_way()
    }
}

impl std::fmt::Debug for EmbeddedSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedSeries").finish_non_exhaustive()
    }
}

impl EmbeddedSeries {
    /// Opens the database `series` in `dir`, or makes it. Blocks on the disk.
    pub(super) fn open(dir: &Path) -> Result<Self, SeriesError> {
        let path = dir.join("series");
        handle::rebuild::settle(&path).map_err(|error| SeriesError::Unopened(error.to_string()))?;
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
                writing: Arc::default(),
                hidden: OnceLock::new(),
            }),
        })
    }

    pub(super) fn heed(&self, shortage: Arc<Shortage>) {
        self.inner.files.heed(shortage);
    }

    pub(super) fn hide(&self, hidden: Arc<Hidden>) {
        // a second saying would be of the same people
        let _ = self.inner.hidden.set(hidden);
    }

    pub(super) async fn highest_position(&self) -> Result<Position, SeriesError> {
        self.blocking(|inner| inner.files.reading()?.highest())
            .await
    }

    /// How far exactly this journal is counted.
    pub(super) async fn reach(&self, journal: &JournalId) -> Result<Option<Position>, SeriesError> {
        let journal = journal.clone();
        self.blocking(move |inner| inner.files.reading()?.offset(&journal))
            .await
    }

    /// How much happened in the range.
    pub(super) async fn activity(
        &self,
        classroom: &ClassroomId,
        range: Range<Timestamp>,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Bucket>, SeriesError> {
        let classroom = classroom.clone();
        self.blocking(move |inner| {
            let files = inner.files.reading()?;
            activity::read(&files.counts, &classroom, range, now, most)
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

    /// As [`Self::blocking`], one at a time. Who waits for the one before holds no thread: if
    /// that hangs with the disk, others come again and again.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut Option<Through>) -> Result<T, SeriesError> + Send + 'static,
    ) -> Result<T, SeriesError> {
        let mut written = Arc::clone(&self.inner.writing).lock_owned().await;
        self.blocking(move |inner| work(inner, &mut written)).await
    }
}

fn open_files(path: &Path) -> Result<Files, OpenFailure> {
    let database = Paced::open(path)?;
    for name in database.names() {
        format::check_version(path, format_of(&name), FORMAT)?;
    }
    let counts = database.keyspace(&format!("{COUNTS}{FORMAT}"))?;
    let offsets = database.keyspace(&format!("{OFFSETS}{FORMAT}"))?;
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
            let (journal, offset) = known.into_inner()?;
            if journal != FORMER.as_bytes() {
                highest = highest.max(position(&offset)?);
            }
        }
        Ok(highest)
    }
}

impl Inner {
    fn write(
        &self,
        written: &mut Option<Through>,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), SeriesError> {
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
        let mut batch = files.database.batch();
        for (cell, added) in counts::of(&without_hidden(entries, self.hidden.get()), known) {
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
impl Store for EmbeddedSeries {
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
            .in_turn(move |inner, written| inner.write(written, &journal, &entries, through))
            .await?)
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
