//! What the tree needs from the outside. `mimamori` implements these; tests may fake them.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::{
    ClassroomId, Entry, Heard, JournalId, Moment, Position, Record, SessionKey, Timestamp,
};

/// Tells the time. Folds never ask it: their time is the entry's.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, as people see it.
    fn now(&self) -> Timestamp;

    /// How long the server has listened: what silences are measured by. Never
    /// runs backwards, and stands still while the server is away.
    ///
    /// Unless told otherwise the server has always listened.
    fn heard(&self) -> Heard {
        Heard::of_wall(self.now())
    }

    /// Now, on both scales.
    fn moment(&self) -> Moment {
        Moment {
            at: self.now(),
            heard: self.heard(),
        }
    }
}

/// What makes a record the same as another: a hash of what names it, and one of what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// For an event a hash of (classroom, student, event id), for a fact one of its id.
    pub key: [u8; 16],
    /// A hash of the content: the same key with another content is a conflict.
    pub content: [u8; 16],
}

/// A record on its way into the journal.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// What it says.
    pub record: Record,
    /// What makes it the same as another; nothing for what may stand twice.
    pub identity: Option<Identity>,
    /// The record as JSON, if whoever appends had to write it anyway: the
    /// journal takes it as it is, so it must say exactly what the record says.
    pub json: Option<Vec<u8>>,
}

impl NewRecord {
    /// A record that may stand twice.
    pub fn repeatable(record: Record) -> Self {
        Self {
            record,
            identity: None,
            json: None,
        }
    }

    /// A record whose id was computed from its cause: a second one is refused as a duplicate.
    pub fn computed(record: Record) -> Self {
        let id = match &record {
            Record::Fact(fact) => Some(fact.id.as_str()),
            Record::DeadLetter(letter) => Some(letter.id.as_str()),
            Record::Event(_) | Record::Rejection(_) | Record::Timer(_) => None,
        };
        let identity = id.map(|id| {
            let hash = blake3::hash(id.as_bytes());
            let mut key = [0; 16];
            key.copy_from_slice(&hash.as_bytes()[..16]);
            // the id says it all: what else the fact says may differ by the version that wrote it
            Identity { key, content: key }
        });
        Self {
            record,
            identity,
            json: None,
        }
    }
}

/// What became of a record that was to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is on disk, at this position.
    Accepted(Position),
    /// The same identity with the same content is on disk already.
    Duplicate,
    /// The same identity with another content is on disk already; this one is not.
    Conflict,
}

/// Who appends, and so how much room it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A request from outside: refused from 90 % of the limit on, and when the queue is full.
    Outside,
    /// The tree itself: may use the rest, waits for the queue.
    Inside,
}

/// Why nothing of a batch was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// More is waiting to be written than may wait; try again in a moment.
    #[error("too many requests are waiting for the disk")]
    Overloaded,
    /// The journal is at its limit, or the disk at its free-space mark; it heals when consumers catch up.
    #[error("no room in the journal: {0}")]
    NoRoom(String),
    /// The program is stopping.
    #[error("the journal is closed")]
    Closed,
    /// A write or fsync failed: what was in hand is not known to be on disk, and the process must end.
    #[error("the disk failed: {0}")]
    Failed(String),
}

/// Why nothing could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Those positions are trimmed; the oldest that is left is given.
    #[error("positions before {oldest} are gone")]
    Trimmed {
        /// The oldest position that can be read.
        oldest: Position,
    },
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Failed(String),
}

/// Entries in their order.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In the order of their positions; there may be gaps, where entries were damaged.
    pub entries: Vec<Arc<Entry>>,
    /// Everything up to here has been read, gaps included: where to commit, and after which to read on.
    pub through: Position,
}

/// The journal: one sequence on disk.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Its random id.
    fn id(&self) -> JournalId;

    /// Appends one record of the journal for the whole batch and returns when
    /// it is on disk, one verdict for each in their order. All or nothing: on
    /// an error nothing of the batch was accepted.
    async fn append(
        &self,
        batch: Vec<NewRecord>,
        origin: Origin,
    ) -> Result<Vec<Verdict>, AppendError>;

    /// Reads entries after `after`, at most about `limit` of them; at least one
    /// request's worth if there is any. Empty with `through == after` at the end.
    async fn read(&self, after: Position, limit: usize) -> Result<Batch, ReadError>;

    /// The last position on disk; changes as groups are written. Readers wait on it.
    fn end(&self) -> watch::Receiver<Position>;

    /// The oldest position that can still be read.
    fn oldest(&self) -> Position;

    /// `consumer` has safely kept everything up to `offset`: what all of those
    /// that hold the journal back have kept may be trimmed.
    fn committed(&self, consumer: &'static str, offset: Position);
}

/// Why a store did not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there, or too slow, or busy: the same batch may be taken later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It will never take this batch as it is.
    #[error("refused: {0}")]
    Refused(String),
    /// It is another one than before, or an older state of it, and took nothing:
    /// it must be asked again how far it is.
    #[error("it knows less than it took: {0}")]
    Forgot(String),
}

/// A store behind a writer: records, series.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// How far it is with this journal; nothing if it does not know it.
    async fn offset(&self, journal: &JournalId) -> Result<Option<Position>, StoreError>;

    /// Writes the batch and the offset `through` in one transaction. The same
    /// batch twice leaves what once leaves. `entries` may be empty (then only the offset moves).
    async fn write(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), StoreError>;

    /// Whether it is there, asked every 2 s by whoever has nothing to write: one question
    /// that costs next to nothing. One in this process is there, and has no need to look.
    ///
    /// # Errors
    /// When it is not, or does not say so within 2.5 s.
    async fn check(&self) -> Result<(), StoreError>;
}

/// What a store that the journal went on without is filled again from.
#[async_trait]
pub trait Backfill: Send + Sync + 'static {
    /// Accepted events and opened requests for help after `after`, up to
    /// `through` and at most about `limit`, as they stood in the journal. The
    /// batch says how far it looked.
    ///
    /// # Errors
    /// When they can't be read, now or at all.
    async fn read(
        &self,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Batch, StoreError>;
}

/// Deletes what is past its term.
#[async_trait]
pub trait Retention: Send + Sync + 'static {
    /// A turn: a bounded part of what is past its term at `now`, in a few seconds. Whether more is left.
    ///
    /// # Errors
    /// When a store could not be written; what it took by then is gone.
    async fn turn(&self, now: Timestamp) -> Result<bool, StoreError>;
}

/// Why a snapshot could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("snapshots: {0}")]
pub struct SnapshotError(pub String);

/// How often an entry has failed its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Whose session.
    pub key: SessionKey,
    /// The entry.
    pub position: Position,
    /// How often, at least 1.
    pub count: u32,
}

impl Attempt {
    /// An entry that failed so often is a dead letter.
    pub const MOST: u32 = 3;
}

/// Where session states and the router's own state are kept, so that a start replays only the tail.
///
/// The bytes are the tree's own, each beginning with a format version.
pub trait Snapshots: Send + Sync + 'static {
    /// The state of one session.
    fn session(&self, key: &SessionKey) -> Result<Option<Vec<u8>>, SnapshotError>;

    /// Every session's state, in any order.
    fn all_sessions(&self, visit: &mut dyn FnMut(SessionKey, &[u8])) -> Result<(), SnapshotError>;

    /// Keeps a session's state. Durable only with the next [`Snapshots::commit`], visible at once.
    fn put_session(&self, key: &SessionKey, state: &[u8]) -> Result<(), SnapshotError>;

    /// The router's state and the sessions' offset, as committed last for this journal.
    fn router(&self, journal: &JournalId) -> Result<Option<(Vec<u8>, Position)>, SnapshotError>;

    /// Makes everything put so far durable together with the router's state and
    /// the sessions' offset. Blocks on the disk: call it where blocking is allowed.
    ///
    /// Offsets of one journal never move backwards: a commit below the one that
    /// stands, of an earlier incarnation that was late, changes nothing and is `Ok`.
    fn commit(
        &self,
        journal: &JournalId,
        router: &[u8],
        offset: Position,
    ) -> Result<(), SnapshotError>;

    /// The attempts that were counted for entries of this journal and not forgotten, in any order.
    fn attempts(&self, journal: &JournalId) -> Result<Vec<Attempt>, SnapshotError>;

    /// Replaces the count of this entry. Durable when it returns: it blocks on
    /// the disk, so call it where blocking is allowed.
    fn put_attempts(&self, journal: &JournalId, attempt: &Attempt) -> Result<(), SnapshotError>;

    /// Forgets the attempts of entries up to `through`, and those of other
    /// journals. What is forgotten may be there again after a crash.
    fn forget_attempts(&self, journal: &JournalId, through: Position) -> Result<(), SnapshotError>;
}

/// Carries deltas from their classroom to the consoles. It never waits for one.
pub trait Bus: Send + Sync + 'static {
    /// Takes the delta to every console that watches its classroom.
    fn publish(&self, delta: &Arc<crate::feed::Delta>);

    /// The classroom began an epoch: what comes next follows this. Its consoles
    /// in this process have been told.
    ///
    /// Of use only to whoever carries deltas elsewhere.
    fn begin(&self, _opening: crate::feed::Opening) {}

    /// The classroom's consoles in this process were told that since then
    /// nothing has come where something should. Holds until the next delta or epoch.
    fn tell_stale(&self, _classroom: &ClassroomId, _since: Timestamp) {}
}
