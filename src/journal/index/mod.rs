//! The index of identities on disk: which events the journal has had.
//!
//! Under `storage.dir/index/`: runs ([`run`]), files of sorted identities that
//! are never changed, each of one day of acceptance, so that days are dropped
//! whole. A filter in memory a run ([`filter`]) answers almost every question
//! for an unknown identity. Small runs are merged into larger ones ([`merge`]).
//!
//! It is derived. Every run carries the place up to which the journal is in the
//! index with it ([`Checkpoint`]), a start adds what stands behind the newest
//! one, and to add something again changes nothing. A run that is damaged is set
//! aside, and the journal read from its oldest entry.

mod files;
mod filter;
mod forget;
mod former;
mod merge;
mod run;
mod survey;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use mimamori_actors::domain::{JournalId, Moment, Position, Timestamp};
use mimamori_actors::ports::Identity;
use rustix::io::Errno;

use crate::files::sync_dir;
use crate::storage::embedded::{OpenFailure, is_no_room};
use crate::storage::format::UnknownFormat;

use files::{filters_may_take, open_runs};
pub use run::{HEADER_BYTES as RUN_HEADER_BYTES, renamed as renamed_run};
use run::{Pair, Run, RunWriter};
pub(super) use survey::survey;
pub use survey::{IndexFound, LeftBehind};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Locked by the process that has the index open.
const LOCK: &str = "in-use";
/// Holds the last position that is known to have been given.
pub(super) const REACHED: &str = "reached";
/// There, beside the index, while a start is to look at all of it.
pub const NOT_TRUSTED: &str = "index.damaged";
/// Filters of so many bytes are kept in memory (about 33 million identities);
/// those beyond are read from their files, a block a question.
const FILTERS_BYTES: u64 = 64 << 20;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// It contradicts itself.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It is left as it is.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// Nothing was changed; it heals when there is room, or a file to open, again.
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

    /// Whether what is on the disk is to blame: it contradicts itself, or cannot be read.
    fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Io(error) => Errno::from_io_error(error) == Some(Errno::IO),
            Self::Newer(_) | Self::NoRoom(_) => false,
        }
    }
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if is_no_room(&error) => Self::NoRoom(error),
            io::ErrorKind::UnexpectedEof => Self::damaged("a file is too short"),
            _ => Self::Io(error),
        }
    }
}

impl From<IndexError> for OpenFailure {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Damaged(reason) => Self::Damaged(reason),
            IndexError::Newer(format) => Self::Newer(format),
            // what cannot be read now may be whole: nothing of it is thrown away
            error @ (IndexError::NoRoom(_) | IndexError::Io(_)) => {
                Self::Unusable(error.to_string())
            }
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

/// Day of acceptance, key, position, content: in this order a batch is written.
type Sorted = (i64, u128, Position, [u8; 16]);

/// What an index knew of the journal when it was opened.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Up to where the journal is in it.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The last position that is known to have been given, of whichever journal.
    pub(super) highest: Position,
    /// Why it may lack something of what is before the checkpoint, if it may:
    /// the journal must be read from its oldest entry.
    pub(super) lacks: Option<String>,
}

/// The index, open.
pub(super) struct Index {
    root: PathBuf,
    /// Newest first. Searched without the lock: a search may wait for the disk.
    runs: RwLock<Arc<[Arc<Run>]>>,
    next_number: AtomicU64,
    reached: File,
    stops_merging: AtomicBool,
    /// Held by whoever writes runs anew: what one takes out the other must not have read.
    rewriting: Mutex<()>,
    /// Makes the disk look full.
    #[cfg(test)]
    pub(super) has_no_room: AtomicBool,
    /// Locked as long as it is open.
    _lock: File,
}

impl Index {
    /// Opens the index, or begins an empty one, and says how far it is.
    pub(super) fn open(root: &Path) -> Result<(Self, Known), OpenFailure> {
        let (index, lacks) = Self::open_files(root)?;
        if former::is_there(root) {
            index.take_over_former()?;
        }
        let checkpoint = index.checkpoint();
        let reached = read_reached(&index.reached);
        let highest = checkpoint
            .as_ref()
            .map_or(reached, |checkpoint| checkpoint.position.max(reached));
        let known = Known {
            checkpoint,
            highest,
            lacks,
        };
        Ok((index, known))
    }

    fn open_files(root: &Path) -> Result<(Self, Option<String>), OpenFailure> {
        let opened = DirBuilder::new().recursive(true).mode(0o700).create(root);
        opened.map_err(IndexError::from)?;
        let lock = open_beside(root, LOCK).map_err(IndexError::from)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenFailure::InUse),
            Err(TryLockError::Error(error)) => return Err(IndexError::from(error).into()),
        }
        let (runs, lacks) = open_runs(root)?;
        let newest = runs.first().map_or(0, |run| run.number);
        let index = Self {
            root: root.to_path_buf(),
            runs: RwLock::new(runs.into()),
            next_number: AtomicU64::new(newest + 1),
            reached: open_beside(root, REACHED).map_err(IndexError::from)?,
            stops_merging: AtomicBool::new(false),
            rewriting: Mutex::default(),
            #[cfg(test)]
            has_no_room: AtomicBool::new(false),
            _lock: lock,
        };
        Ok((index, lacks))
    }

    /// The index that earlier versions kept in a database; if one of them ran
    /// again since, it knows what our runs don't.
    fn take_over_former(&self) -> Result<(), OpenFailure> {
        former::convert(self)?;
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

    /// After an error: if it says that the index is damaged, this is noted on
    /// disk. The next start looks at every page, sets damaged runs aside, and
    /// reads the journal from its oldest entry. Other errors say nothing about it.
    pub(super) fn judge(&self, error: &IndexError) {
        if error.is_damage() {
            self.condemn();
        }
    }

    /// The journal was read from its oldest entry: what is lacking now cannot be had.
    pub(super) fn is_complete(&self) -> io::Result<()> {
        match fs::remove_file(condemned(&self.root)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn condemn(&self) {
        if let Err(error) = fs::write(condemned(&self.root), b"") {
            tracing::error!(error = %error, "the damaged index could not be marked as such");
        }
    }

    /// The content hash under this key, of the newest run that has it.
    pub(super) fn find(&self, key: &[u8; 16]) -> Result<Option<[u8; 16]>, IndexError> {
        for run in self.runs().iter() {
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
        let mut sorted: Vec<Sorted> = batch
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
            // there was no room for the rest: it is tried again and again
            if checkpoint.is_none() && self.has_all(of_day)? {
                continue;
            }
            let pairs = of_day
                .iter()
                .map(|(_, key, _, content)| Ok((key.to_be_bytes(), *content)));
            self.add_run(of_day[0].0, of_day.len() as u64, pairs, checkpoint)?;
        }
        Ok(())
    }

    fn has_all(&self, sorted: &[Sorted]) -> Result<bool, IndexError> {
        for (_, key, _, _) in sorted {
            if self.find(&key.to_be_bytes())?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
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
        let run = open_written(path, number, filters_may_take(&self.runs()))?;
        self.change_runs(|runs| runs.insert(0, run));
        Ok(())
    }

    fn rewriting(&self) -> MutexGuard<'_, ()> {
        // nothing is kept under it
        self.rewriting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> Arc<[Arc<Run>]> {
        Arc::clone(&self.runs.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_runs<T>(&self, change: impl FnOnce(&mut Vec<Arc<Run>>) -> T) -> T {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = runs.to_vec();
        let outcome = change(&mut changed);
        gauge(&changed);
        *runs = changed.into();
        outcome
    }

    fn next_run(&self) -> (u64, PathBuf) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        (number, self.root.join(format!("{number:012}.run")))
    }

    /// Up to where the journal is in it.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        newest_checkpoint(&self.runs()).cloned()
    }

    /// Keeps the newest `days` on which something was accepted, and the newest
    /// checkpoint, and drops the runs of the others. No clock is asked: one that
    /// stood wrong for a moment must not cost a day.
    pub(super) fn expire(&self, days: usize) {
        let runs = self.runs();
        let known = runs.iter().filter(|run| run.identities > 0);
        let accepted: BTreeSet<_> = known.map(|run| run.day).collect();
        let Some(oldest_kept) = accepted.into_iter().rev().take(days).next_back() else {
            return;
        };
        let newest = self.checkpoint();
        let expired = self.take_runs(|run| {
            run.day < oldest_kept && (run.checkpoint.is_none() || run.checkpoint != newest)
        });
        for run in expired {
            remove_run(&run);
            tracing::info!(
                day = run.day,
                identities = run.identities,
                "identities older than ingest.dedup_days were dropped"
            );
        }
    }

    fn take_runs(&self, is_taken: impl Fn(&Run) -> bool) -> Vec<Arc<Run>> {
        self.change_runs(|runs| runs.extract_if(.., |run| is_taken(run)).collect())
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
}

/// Whether this program knows the format of every run of the index under `root`.
/// Changes nothing; what cannot be read is told by whoever opens it.
pub(super) fn check_formats(root: &Path) -> Result<(), UnknownFormat> {
    let Ok(entries) = fs::read_dir(root) else {
        return Ok(());
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    for path in paths.filter(|path| path.extension().is_some_and(|kind| kind == "run")) {
        if let Err(IndexError::Newer(format)) = run::check_format(&path) {
            return Err(format);
        }
    }
    Ok(())
}

/// Whether the index of an earlier version is there, and not taken over yet.
pub(super) fn has_former(root: &Path) -> bool {
    former::is_there(root)
}

/// Up to where the journal is in the index with this run.
pub(super) fn checkpoint_of(path: &Path, file: &File) -> Result<Option<Position>, IndexError> {
    Ok(run::checkpoint_of(path, file)?.map(|checkpoint| checkpoint.position))
}

/// Opens a run that was just written; one that cannot be opened would be written again under another name.
fn open_written(path: PathBuf, number: u64, filter_may_take: u64) -> Result<Arc<Run>, IndexError> {
    Run::open(path.clone(), number, filter_may_take)
        .map(Arc::new)
        .inspect_err(|_| drop(fs::remove_file(path)))
}

/// The position that was noted; a note that cannot be read is none.
fn read_reached(file: &File) -> Position {
    let mut bytes = [0; 12];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return Position::ZERO;
    }
    let (numbers, crc) = bytes.split_at(8);
    if crc32fast::hash(numbers).to_le_bytes() != crc {
        return Position::ZERO;
    }
    let (numbers, _) = numbers.as_chunks();
    Position(u64::from_le_bytes(numbers[0]))
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

/// One that stays is found again at the next start, and holds nothing that is not known.
fn remove_run(run: &Run) {
    if let Err(error) = fs::remove_file(&run.path) {
        tracing::warn!(error = %error, "a run of the index that is not needed any more could not be removed");
    }
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

/// Notes that the next start looks at every page, sets damaged runs aside, and
/// reads the journal from its oldest entry. It stays, whatever happens to the power.
pub(super) fn mark(root: &Path) -> io::Result<()> {
    fs::write(condemned(root), b"")?;
    sync_dir(root.parent().unwrap_or(root))
}

fn condemned(root: &Path) -> PathBuf {
    root.with_extension("damaged")
}

#[cfg(test)]
mod tests;
