//! Snapshots of sessions and of the router, in a database of their own under `storage.dir/snapshots`.
//!
//! What is put is in the database's log at once and durable with the next
//! commit, in this order; so a state that a crash left behind may be newer than
//! the committed offset, never older. Every state carries its own position, so
//! replaying from the offset leaves such a state as it is.

mod attempts;
#[cfg(test)]
pub(crate) mod busy;
mod forget;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fjall::Keyspace;
use mimamori_actors::domain::{ClassroomId, JournalId, Position, SessionKey, StudentId};
use mimamori_actors::ports::{Attempt, SnapshotError, Snapshots};
use mimamori_actors::session::fold::{self, SessionState, StateError};
use mimamori_actors::{ROUTER_FORMAT, router_format};

use super::embedded::handle::{self, Away, Handle, Place, Written};
use super::embedded::paced::Paced;
use super::embedded::shortage::Shortage;
use super::embedded::{OpenFailure, begin_anew, open_caught, went_back};
use super::format::{self, UnknownFormat};

/// The format of what this file adds around the states.
const VERSION: u8 = 1;
const ROUTER: &[u8] = b"router";
const ATTEMPTS: &str = "attempts";

/// Why the snapshots cannot be opened. A damaged database is no reason: it is set aside.
#[derive(Debug, thiserror::Error)]
pub enum OpenSnapshotsError {
    /// Another process has it open.
    #[error("{path} is in use by another process", path = .0.display())]
    InUse(PathBuf),
    /// A later version wrote them.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// Rights, or a full disk.
    #[error("{path}: {reason}", path = .path.display())]
    Unusable {
        /// Where.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
}

/// Snapshots in a fjall database.
pub struct FjallSnapshots {
    files: Handle<Files>,
    /// What was committed last. Held while the committed offset is compared and replaced.
    committing: Mutex<Option<(JournalId, Position)>>,
    highest: Position,
    /// Whether who writes waits for room in memory, and is not refused.
    waits: bool,
}

/// Everything that holds on to the database.
struct Files {
    database: Paced,
    sessions: Keyspace,
    router: Keyspace,
    /// Made with the first attempt: a start that is refused changes nothing of what an earlier version wrote.
    attempts: OnceLock<Keyspace>,
}

/// How the database is opened.
type Open = fn(&Path) -> Result<Files, OpenFailure>;

impl Written for Files {
    fn make_way(&self) -> fjall::Result<bool> {
        self.database.make_way()
    }
}

impl FjallSnapshots {
    /// Opens the database in `dir`, or begins an empty one. One that is damaged
    /// is renamed (`….damaged`, in place of an earlier one) and begun anew: the
    /// sessions then start at the oldest position of the journal.
    ///
    /// # Errors
    /// When it is in use, of a later version, or when the disk does not let it be opened.
    pub fn open(dir: &Path) -> Result<Self, OpenSnapshotsError> {
        Self::open_by(dir, open_files)
    }

    fn open_by(dir: &Path, open: Open) -> Result<Self, OpenSnapshotsError> {
        handle::rebuild::settle(dir).map_err(|error| OpenSnapshotsError::Unusable {
            path: dir.to_path_buf(),
            reason: error.to_string(),
        })?;
        format::check_fjall(dir)?;
        let with_highest = |dir: &Path| open_with_highest(dir, open);
        let opened = match open_caught(dir, with_highest) {
            Err(OpenFailure::Damaged(reason)) => {
                metrics::counter!("mimamori_snapshots_set_aside_total").increment(1);
                tracing::warn!(
                    error = reason,
                    "the snapshots are damaged: they are set aside, and everything is replayed from the oldest position"
                );
                begin_anew(dir, with_highest)
            }
            opened => opened,
        };
        let (files, highest) = opened.map_err(|failure| explain(dir, failure))?;
        let place = Place {
            store: "snapshots",
            reopened: "mimamori_snapshots_reopened_total",
            dir: dir.to_path_buf(),
        };
        let snapshots = Self {
            files: Handle::new(place, files, open),
            committing: Mutex::default(),
            highest,
            waits: false,
        };
        // what a crash left in the log is in memory again: who writes first at a start is not to
        // be refused for that, and is told whatever else is wrong
        let _ = snapshots.files.writing_in_turn();
        Ok(snapshots)
    }

    /// As [`FjallSnapshots::open`], for who writes as much as can be read: where another write
    /// is refused until there is room in memory, each of these waits for it, a minute at most.
    ///
    /// # Errors
    /// As [`FjallSnapshots::open`].
    pub fn open_to_fill(dir: &Path) -> Result<Self, OpenSnapshotsError> {
        Ok(Self {
            waits: true,
            ..Self::open(dir)?
        })
    }

    /// Takes what the journal sees of the room on the disk into account.
    pub(crate) fn heed(&self, shortage: Arc<Shortage>) {
        self.files.heed(shortage);
    }

    /// A journal was begun in place of one that is gone: what the router knew
    /// (which lesson goes on) stays true, and sessions go on from their states.
    ///
    /// # Errors
    /// When the database fails.
    pub fn carry_over(&self, journal: &JournalId, end: Position) -> Result<(), SnapshotError> {
        match self.files.reading()?.committed()? {
            Some(known) if known.journal != *journal => self.commit(journal, &known.state, end),
            Some(_) | None => Ok(()),
        }
    }

    /// The highest position that was known when they were opened, of any
    /// journal: committed, or in a session's state. A new journal goes on after it.
    pub fn highest_position(&self) -> Position {
        self.highest
    }
}

fn explain(dir: &Path, failure: OpenFailure) -> OpenSnapshotsError {
    let path = dir.to_path_buf();
    match failure {
        OpenFailure::Newer(format) => OpenSnapshotsError::Newer(format),
        OpenFailure::InUse => OpenSnapshotsError::InUse(path),
        OpenFailure::Unusable(reason) | OpenFailure::Damaged(reason) => {
            OpenSnapshotsError::Unusable { path, reason }
        }
    }
}

fn open_files(dir: &Path) -> Result<Files, OpenFailure> {
    let database = Paced::open(dir)?;
    let sessions = database.keyspace("sessions")?;
    let router = database.keyspace("router")?;
    let attempts = OnceLock::new();
    if database.has(ATTEMPTS) {
        let _ = attempts.set(database.keyspace(ATTEMPTS)?);
    }
    Ok(Files {
        database,
        sessions,
        router,
        attempts,
    })
}

/// What cannot be read is found now, while everything can still be replayed.
fn open_with_highest(dir: &Path, open: Open) -> Result<(Files, Position), OpenFailure> {
    let files = open(dir)?;
    let highest = files.find_highest(dir)?;
    Ok((files, highest))
}

/// Length of the classroom, classroom, student: no two sessions have the same key.
fn key_bytes(key: &SessionKey) -> Vec<u8> {
    let classroom = key.classroom.as_str().as_bytes();
    let mut bytes = (classroom.len() as u64).to_be_bytes().to_vec();
    bytes.extend_from_slice(classroom);
    bytes.extend_from_slice(key.student.as_str().as_bytes());
    bytes
}

fn session_key(bytes: &[u8]) -> Option<SessionKey> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (classroom, student) = rest.split_at_checked(length)?;
    Some(SessionKey {
        classroom: ClassroomId::new(std::str::from_utf8(classroom).ok()?),
        student: StudentId::new(std::str::from_utf8(student).ok()?),
    })
}

/// The router's state as committed last.
struct Committed {
    journal: JournalId,
    offset: Position,
    state: Vec<u8>,
}

impl Committed {
    fn encode(journal: &JournalId, offset: Position, state: &[u8]) -> Vec<u8> {
        let name = journal.as_str().as_bytes();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&offset.0.to_be_bytes());
        bytes.extend_from_slice(&(name.len() as u64).to_be_bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(state);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (version, rest) = bytes.split_first().ok_or_else(too_short)?;
        if *version != VERSION {
            return Err(SnapshotError(format!(
                "the router's state has the format version {version}, this program reads {VERSION}"
            )));
        }
        let (offset, rest) = rest.split_first_chunk::<8>().ok_or_else(too_short)?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(too_short)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| too_short())?;
        let (name, state) = rest.split_at_checked(length).ok_or_else(too_short)?;
        let name = std::str::from_utf8(name).map_err(|_| too_short())?;
        Ok(Self {
            journal: JournalId::new(name),
            offset: Position(u64::from_be_bytes(*offset)),
            state: state.to_vec(),
        })
    }
}

fn too_short() -> SnapshotError {
    SnapshotError("the router's state is cut short".to_owned())
}

impl From<Away> for SnapshotError {
    fn from(away: Away) -> Self {
        metrics::counter!("mimamori_snapshots_failures_total").increment(1);
        Self(format!("the snapshots: {away}"))
    }
}

fn failed(error: fjall::Error) -> SnapshotError {
    metrics::counter!("mimamori_snapshots_failures_total").increment(1);
    SnapshotError(error.to_string())
}

impl Files {
    fn committed(&self) -> Result<Option<Committed>, SnapshotError> {
        let bytes = self.router.get(ROUTER).map_err(failed)?;
        bytes.map(|bytes| Committed::decode(&bytes)).transpose()
    }

    /// The highest position, unless a later version wrote any of the states.
    fn find_highest(&self, dir: &Path) -> Result<Position, OpenFailure> {
        let damaged = |error: SnapshotError| OpenFailure::Damaged(error.0);
        if let Some(version) = self
            .router
            .get(ROUTER)?
            .and_then(|kept| kept.first().copied())
        {
            format::check_version(&dir.join("router"), version.into(), VERSION.into())?;
        }
        let mut highest = Position::ZERO;
        if let Some(committed) = self.committed().map_err(damaged)? {
            highest = committed.offset;
            let found = router_format(&committed.state);
            format::check_version(&dir.join("router"), found, ROUTER_FORMAT)?;
        }
        let mut newest = 0;
        self.visit_sessions(&mut |_, state| match SessionState::decode(state) {
            Ok(state) => highest = highest.max(state.position()),
            Err(StateError::UnknownFormat(format)) => newest = newest.max(format),
            // it has no position; the tree says so
            Err(StateError::Damaged(_)) => {}
        })
        .map_err(damaged)?;
        format::check_version(&dir.join("sessions"), newest.into(), fold::FORMAT.into())?;
        Ok(highest)
    }

    fn visit_sessions(
        &self,
        visit: &mut dyn FnMut(SessionKey, &[u8]),
    ) -> Result<(), SnapshotError> {
        for found in self.sessions.iter() {
            let (key, state) = found.into_inner().map_err(failed)?;
            let key = session_key(&key)
                .ok_or_else(|| SnapshotError("a session's key is unreadable".to_owned()))?;
            visit(key, &state);
        }
        Ok(())
    }
}

impl FjallSnapshots {
    fn writing(&self) -> Result<Arc<Files>, Away> {
        if self.waits {
            self.files.writing_in_turn()
        } else {
            self.files.writing()
        }
    }

    fn replace_committed(
        &self,
        journal: &JournalId,
        router: &[u8],
        offset: Position,
    ) -> Result<(), SnapshotError> {
        let files = self.writing()?;
        // nothing is kept under this lock that a panic could leave half done
        let mut last = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = files.committed()?.filter(|known| known.journal == *journal);
        let known = known.map_or(Position::ZERO, |known| known.offset);
        if let Some(committed) = went_back(last.as_ref(), journal, known) {
            metrics::counter!("mimamori_snapshots_failures_total").increment(1);
            return Err(SnapshotError(format!(
                "the snapshots are at position {known}, they were at {committed} before they were opened anew"
            )));
        }
        if known > offset {
            metrics::counter!("mimamori_snapshots_late_commits_total").increment(1);
            tracing::warn!(
                journal.offset = offset.0,
                "a commit that is behind the one before came late and was left out"
            );
            return Ok(());
        }
        let value = Committed::encode(journal, offset, router);
        let mut write = files.database.batch();
        write.insert(&files.router, ROUTER, value);
        self.files.judge(write.commit()).map_err(failed)?;
        *last = Some((journal.clone(), offset));
        Ok(())
    }
}

impl Snapshots for FjallSnapshots {
    fn session(&self, key: &SessionKey) -> Result<Option<Vec<u8>>, SnapshotError> {
        let files = self.files.reading()?;
        let state = files.sessions.get(key_bytes(key)).map_err(failed)?;
        Ok(state.map(|state| state.to_vec()))
    }

    fn all_sessions(&self, visit: &mut dyn FnMut(SessionKey, &[u8])) -> Result<(), SnapshotError> {
        self.files.reading()?.visit_sessions(visit)
    }

    fn put_session(&self, key: &SessionKey, state: &[u8]) -> Result<(), SnapshotError> {
        let files = self.writing()?;
        let inserted = files.sessions.insert(key_bytes(key), state);
        self.files.judge(inserted).map_err(failed)
    }

    fn router(&self, journal: &JournalId) -> Result<Option<(Vec<u8>, Position)>, SnapshotError> {
        let committed = self.files.reading()?.committed()?;
        Ok(committed
            .filter(|committed| committed.journal == *journal)
            .map(|committed| (committed.state, committed.offset)))
    }

    fn commit(
        &self,
        journal: &JournalId,
        router: &[u8],
        offset: Position,
    ) -> Result<(), SnapshotError> {
        self.replace_committed(journal, router, offset)
    }

    fn attempts(&self, journal: &JournalId) -> Result<Vec<Attempt>, SnapshotError> {
        self.counted_attempts(journal)
    }

    fn put_attempts(&self, journal: &JournalId, attempt: &Attempt) -> Result<(), SnapshotError> {
        self.count_attempts(journal, attempt)
    }

    fn forget_attempts(&self, journal: &JournalId, through: Position) -> Result<(), SnapshotError> {
        self.remove_attempts(journal, through)
    }
}

#[cfg(test)]
mod tests;
