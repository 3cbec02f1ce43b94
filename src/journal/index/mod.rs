//! The index of identities on disk: which events the journal has had.
//!
//! Under `storage.dir/index/`: runs ([`run`]), files of sorted identities that
//! are never changed, each of one day of acceptance, so that days are dropped
//! whole. A filter in memory a run ([`filter`]) answers almost every question
//! for an unknown identity. Small runs are merged into larger ones ([`merge`]).
//!
//! It is derived. Every run carries the place up to which the journal is in the
//! index with it ([`Checkpoint`]), a start adds what stands behind the newest
//! one, and to add something again changes nothing. An index that is damaged is
//! made anew from the journal.

mod filter;
mod former;
mod merge;
mod run;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use mimamori_actors::domain::{JournalId, Moment, Position, Timestamp};
use mimamori_actors::ports::Identity;

use crate::storage::embedded::OpenFailure;

use run::{Pair, Run, RunWriter};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Locked by the process that has the index open.
const LOCK: &str = "in-use";
/// Holds the last position that is known to have been given.
const REACHED: &str = "reached";
/// Filters of so many bytes are kept in memory (about 33 million identities);
/// those beyond are read from their files, a block a question.
const FILTERS_BYTES: u64 = 64 << 20;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// It contradicts itself or cannot be written: it must be made anew.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It is left as it is.
    #[error("a run of format {0}, which this program does not know")]
    UnknownVersion(u32),
    /// Nothing was changed; it heals when the disk has room again.
    #[error("no room: {0}")]
    NoRoom(io::Error),
    /// The files cannot be read or written.
    #[error(transparent)]
    Io(io::Error),
}

impl IndexError {
    fn damaged(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom(error),
            io::ErrorKind::UnexpectedEof => Self::damaged("a file is too short"),
            _ => Self::Io(error),
        }
    }
}

impl From<IndexError> for OpenFailure {
    fn from(error: IndexError) -> Self {
        match &error {
            IndexError::Damaged(reason) => Self::Damaged(reason.clone()),
            IndexError::UnknownVersion(_) | IndexError::NoRoom(_) => {
                Self::Unusable(error.to_string())
            }
            IndexError::Io(io) => match io.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Self::Unusable(error.to_string())
                }
                _ => Self::Damaged(error.to_string()),
            },
        }
    }
}

/// Up to where the journal is in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Which journal.
    pub(super) journal: JournalId,
    /// Every entry up to this one is in the index.
    pub(super) position: Position,
    /// When that one was accepted.
    pub(super) accepted: Moment,
    /// First position of the segment it stands in.
    pub(super) segment: Position,
    /// Where in the segment the next frame begins.
    pub(super) offset: u64,
}

/// An identity that is on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indexed {
    pub(super) identity: Identity,
    pub(super) position: Position,
    pub(super) received_at: Timestamp,
}

/// What an index knew of the journal when it was opened.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Up to where the journal is in it.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The last position that is known to have been given, of whichever journal.
    pub(super) highest: Position,
}

/// The index, open.
pub(super) struct Index {
    root: PathBuf,
    /// Newest first.
    runs: RwLock<Vec<Arc<Run>>>,
    next_number: AtomicU64,
    reached: File,
    stops_merging: AtomicBool,
    /// Makes the disk look full.
    #[cfg(test)]
    pub(super) has_no_room: AtomicBool,
    /// Locked as long as it is open.
    _lock: File,
}

impl Index {
    /// Opens the index, or begins an empty one, and says how far it is.
    pub(super) fn open(root: &Path) -> Result<(Self, Known), OpenFailure> {
        if condemned(root).exists() {
            let reason = "it failed when it was used last";
            return Err(OpenFailure::Damaged(reason.to_owned()));
        }
        let index = Self::open_files(root)?;
        if former::is_there(root) {
            index.take_over_former()?;
        }
        let checkpoint = index.checkpoint();
        let reached = index.read_reached();
        let highest = checkpoint
            .as_ref()
            .map_or(reached, |checkpoint| checkpoint.position.max(reached));
        let known = Known {
            checkpoint,
            highest,
        };
        Ok((index, known))
    }

    fn open_files(root: &Path) -> Result<Self, OpenFailure> {
        let opened = DirBuilder::new().recursive(true).mode(0o700).create(root);
        opened.map_err(IndexError::from)?;
        let lock = open_beside(root, LOCK).map_err(IndexError::from)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenFailure::InUse),
            Err(TryLockError::Error(error)) => return Err(IndexError::from(error).into()),
        }
        let runs = open_runs(root)?;
        let newest = runs.first().map_or(0, |run| run.number);
        Ok(Self {
            root: root.to_path_buf(),
            runs: RwLock::new(runs),
            next_number: AtomicU64::new(newest + 1),
            reached: open_beside(root, REACHED).map_err(IndexError::from)?,
            stops_merging: AtomicBool::new(false),
            #[cfg(test)]
            has_no_room: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// The index that earlier versions kept in a database.
    fn take_over_former(&self) -> Result<(), OpenFailure> {
        if self.checkpoint().is_none() {
            for run in self.take_runs(|_| true) {
                fs::remove_file(&run.path).map_err(IndexError::from)?;
            }
            former::convert(self)?;
        }
        former::remove(&self.root).map_err(IndexError::from)?;
        Ok(())
    }

    /// Removes everything, so that the next opening begins an empty index.
    pub(super) fn remove(root: &Path) -> Result<(), OpenFailure> {
        for path in [root.to_path_buf(), condemned(root)] {
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(OpenFailure::Unusable(format!(
                        "{}: {error}",
                        path.display()
                    )));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Notes on disk that it cannot be trusted: the next start makes it anew.
    pub(super) fn condemn(&self) {
        if let Err(error) = fs::write(condemned(&self.root), b"") {
            tracing::error!(error = %error, "the damaged index could not be marked as such");
        }
    }

    /// The content hash under this key, of the newest run that has it.
    pub(super) fn find(&self, key: &[u8; 16]) -> Result<Option<[u8; 16]>, IndexError> {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        for run in runs.iter() {
            if let Some(content) = run.find(key)? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Adds identities and the place up to which the journal is in now. When it
    /// returns they are found and stay, whatever happens to the power; after an
    /// error some of them may.
    pub(super) fn insert(&self, batch: &[Indexed], to: &Checkpoint) -> Result<(), IndexError> {
        let mut sorted: Vec<_> = batch
            .iter()
            .map(|indexed| {
                let key = u128::from_be_bytes(indexed.identity.key);
                let day = day_of(indexed.received_at);
                (day, key, indexed.position, indexed.identity.content)
            })
            .collect();
        sorted.sort_unstable();
        let mut days = sorted.chunk_by(|one, next| one.0 == next.0).peekable();
        if days.peek().is_none() && self.checkpoint().as_ref() != Some(to) {
            self.add_run(day_of(to.accepted.at), 0, std::iter::empty(), Some(to))?;
        }
        while let Some(of_day) = days.next() {
            // with the last one the journal is in up to there, not before
            let checkpoint = days.peek().is_none().then_some(to);
            let pairs = of_day
                .iter()
                .map(|(_, key, _, content)| Ok((key.to_be_bytes(), *content)));
            self.add_run(of_day[0].0, of_day.len() as u64, pairs, checkpoint)?;
        }
        Ok(())
    }

    /// Writes a run of pairs in the order of their keys.
    fn add_run(
        &self,
        day: i64,
        at_most: u64,
        pairs: impl Iterator<Item = Result<Pair, IndexError>>,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), IndexError> {
        #[cfg(test)]
        if self.has_no_room.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        let (number, path) = self.next_run();
        let mut writer = RunWriter::begin(&path, at_most)?;
        for pair in pairs {
            writer.add(&pair?)?;
        }
        writer.finish(day, checkpoint)?;
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let run = Run::open(path, number, filters_may_take(&runs))?;
        runs.insert(0, Arc::new(run));
        gauge(&runs);
        Ok(())
    }

    fn next_run(&self) -> (u64, PathBuf) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        (number, self.root.join(format!("{number:012}.run")))
    }

    /// Up to where the journal is in it.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        newest_checkpoint(&runs).cloned()
    }

    /// Drops the runs of which nothing is younger than `dedup_days` at `now`;
    /// the one with the newest checkpoint stays.
    pub(super) fn expire(&self, now: Timestamp, dedup_days: u32) -> Result<(), IndexError> {
        let oldest_kept = day_of(now) - i64::from(dedup_days);
        let newest = self.checkpoint();
        let expired = self.take_runs(|run| {
            run.day < oldest_kept && (run.checkpoint.is_none() || run.checkpoint != newest)
        });
        for run in expired {
            fs::remove_file(&run.path)?;
            tracing::info!(
                day = run.day,
                identities = run.identities,
                "identities older than ingest.dedup_days were dropped"
            );
        }
        Ok(())
    }

    fn take_runs(&self, is_taken: impl Fn(&Run) -> bool) -> Vec<Arc<Run>> {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let taken = runs.extract_if(.., |run| is_taken(run)).collect();
        gauge(&runs);
        taken
    }

    /// Notes that positions up to this one were given: they are on disk, so if
    /// they are missing at a start they were lost and not torn.
    pub(super) fn note_reached(&self, position: Position) -> io::Result<()> {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&position.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..8]);
        bytes[8..].copy_from_slice(&crc.to_le_bytes());
        self.reached.write_all_at(&bytes, 0)
    }

    /// Makes the last note stay, whatever happens to the power.
    pub(super) fn sync_reached(&self) -> io::Result<()> {
        self.reached.sync_data()
    }

    /// A note that cannot be read is none.
    fn read_reached(&self) -> Position {
        let mut bytes = [0; 12];
        if self.reached.read_exact_at(&mut bytes, 0).is_err() {
            return Position::ZERO;
        }
        let (numbers, crc) = bytes.split_at(8);
        if crc32fast::hash(numbers).to_le_bytes() != crc {
            return Position::ZERO;
        }
        let (numbers, _) = numbers.as_chunks();
        Position(u64::from_le_bytes(numbers[0]))
    }
}

fn open_beside(root: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(root.join(name))
}

/// The runs of a directory, newest first; what never became one is removed.
fn open_runs(root: &Path) -> Result<Vec<Arc<Run>>, IndexError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let number = stem.and_then(|digits| digits.parse::<u64>().ok());
        match (path.extension().and_then(|kind| kind.to_str()), number) {
            (Some("run"), Some(number)) => paths.push((number, path)),
            (Some("tmp"), Some(_)) => fs::remove_file(&path)?,
            _ => {}
        }
    }
    paths.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut runs: Vec<Arc<Run>> = Vec::with_capacity(paths.len());
    for (number, path) in paths {
        let run = Run::open(path, number, filters_may_take(&runs))?;
        runs.push(Arc::new(run));
    }
    gauge(&runs);
    Ok(runs)
}

/// Bytes of memory that the filter of one more run may take.
fn filters_may_take(runs: &[Arc<Run>]) -> u64 {
    FILTERS_BYTES.saturating_sub(runs.iter().map(|run| run.filter_bytes()).sum())
}

fn newest_checkpoint(runs: &[Arc<Run>]) -> Option<&Checkpoint> {
    runs.iter()
        .filter_map(|run| run.checkpoint.as_ref())
        .max_by_key(|checkpoint| checkpoint.position)
}

fn gauge(runs: &[Arc<Run>]) {
    metrics::gauge!("mimamori_journal_index_runs").set(runs.len() as f64);
}

/// The day of a time, counted since 1970.
fn day_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(DAY_MS)
}

fn condemned(root: &Path) -> PathBuf {
    root.with_extension("damaged")
}

#[cfg(test)]
mod tests;
