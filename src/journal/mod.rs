//! The journal on disk: one sequence of entries, on disk before anybody is answered.
//!
//! Under `storage.dir`: `journal/` with segment files ([`segment`], [`frame`]),
//! and `index/`, the identities that were accepted ([`index`]).
//!
//! A request is serialised by its own task, claims its identities ([`claims`])
//! and waits in a bounded queue. One thread ([`writer`]) takes all that waits,
//! writes it with one write and one fdatasync, and answers. A second one
//! ([`keeper`]) adds identities to the index, many at a time ([`backlog`]),
//! allocates the next segment, and trims ([`trim`]); a third one merges what the
//! index consists of. Readers are served from memory at the tail ([`tail`]),
//! else from the files ([`reader`]). A start reads the segments' headers and
//! what the index does not know ([`recovery`], [`catch_up`]).
//!
//! Why no library: `docs/adr/0002-journal.md`.

mod backlog;
mod catch_up;
mod claims;
pub mod copy;
mod damage;
mod disk;
mod erase;
mod error;
mod formats;
mod found_index;
mod frame;
mod index;
pub mod inspect;
mod keeper;
mod pin;
mod reader;
mod recovery;
pub mod repair;
mod room;
mod scan;
mod segment;
mod shared;
mod submit;
mod tail;
mod trim;
mod writer;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use mimamori_actors::domain::{JournalId, Moment, Position};
use mimamori_actors::ports::{
    AppendError, Batch, Clock, Journal, NewRecord, Origin, ReadError, Verdict,
};
use tokio::sync::watch;

pub use damage::DamagedSpot;
pub use disk::{Disk, RealDisk};
pub use erase::{Owns, Search};
pub use error::JournalError;
pub use formats::check_formats;
pub use inspect::{has_segments, noted_offset};
pub use pin::Pin;
pub use room::RoomState;
pub use trim::Consumer;

use crate::erasure::hidden::Hidden;

use backlog::Backlog;
use keeper::{Keeper, Task};
use pin::Pins;
use recovery::Recovered;
use room::Room;
use segment::Segments;
use shared::Shared;
use submit::{MAX_WAITING_REQUESTS, Submitter};
use tail::Tail;
use trim::Consumers;
use writer::{Work, Writer};

use crate::storage::embedded::shortage::Shortage;

/// Bytes of a segment file, unless the journal's limit is small.
pub const SEGMENT_BYTES: u64 = 64 << 20;

const MIN_SEGMENT_BYTES: u64 = 4096;
const TAIL_BYTES: usize = 32 << 20;
/// Things that the writer may ask of the keeper; what is one too many it sees by itself.
const MAX_KEEPER_TASKS: usize = 16;

/// How to open a journal.
pub struct JournalOptions {
    /// `storage.dir`: the journal is in `journal/` under it, its index in `index/`.
    pub dir: PathBuf,
    /// `journal.max_bytes`: requests from outside are refused from 90 % on.
    pub max_bytes: u64,
    /// `storage.min_free_bytes`: below it requests from outside are refused.
    pub min_free_bytes: u64,
    /// `ingest.dedup_days`: so long an identity is known.
    pub dedup_days: u32,
    /// Who reads, and so decides what may be trimmed.
    pub consumers: Vec<Consumer>,
    /// The highest position that any store knows: a new journal goes on after it.
    pub begin_after: Position,
    /// The time, on both scales.
    pub clock: Arc<dyn Clock>,
    /// [`SEGMENT_BYTES`]; tests take less.
    pub segment_bytes: u64,
    /// [`RealDisk`]; tests take one that fails.
    pub disk: Arc<dyn Disk>,
}

/// What was found when the journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalReport {
    /// The journal's name.
    pub id: JournalId,
    /// Whether it was begun just now.
    pub is_new: bool,
    /// How many segment files there are.
    pub segments: usize,
    /// The oldest position that can be read.
    pub oldest: Position,
    /// The last position.
    pub end: Position,
    /// When the last entry was accepted; for a new journal the time of its opening.
    pub last_accepted: Moment,
    /// Entries that were read because the index did not know them.
    pub reindexed_entries: u64,
    /// Why the index lacked something, if it did: it was filled from the journal's oldest entry.
    pub index_rebuilt: Option<String>,
    /// Bytes that were cut from the end: a frame that a crash left half written.
    pub torn_bytes: u64,
    /// Damage that was met.
    pub damaged: Vec<DamagedSpot>,
}

/// The journal in files.
pub struct FileJournal {
    shared: Arc<Shared>,
    submitter: Arc<Submitter>,
    work: SyncSender<Work>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    keeper: SyncSender<Task>,
}

impl FileJournal {
    /// Opens the journal, or begins one. Blocks on the disk; `progress` is told
    /// the bytes read and the bytes to read, often when the index is filled from the oldest entry.
    pub fn open(
        options: JournalOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, JournalReport), JournalError> {
        let small = (options.max_bytes / 16).max(MIN_SEGMENT_BYTES);
        let recovered = recovery::recover(&options, options.segment_bytes.min(small), progress)?;
        let report = recovered.report.clone();
        let capacity = recovered.capacity;
        let last = recovered.last_accepted;
        let shared = share(options, recovered);
        let journal = Self::start(shared, capacity, last)?;
        tracing::info!(
            journal.id = %report.id,
            journal.end = report.end.0,
            segments = report.segments,
            reindexed = report.reindexed_entries,
            index_rebuilt = report.index_rebuilt,
            "the journal is open"
        );
        Ok((journal, report))
    }

    fn start(shared: Arc<Shared>, capacity: u64, last: Moment) -> Result<Self, JournalError> {
        let (work, waiting) = sync_channel(MAX_WAITING_REQUESTS + 16);
        let (tasks, waiting_tasks) = sync_channel(MAX_KEEPER_TASKS);
        let active = shared
            .segments
            .all()
            .pop()
            .expect("recovery leaves at least one segment");
        let writer = Writer {
            shared: Arc::clone(&shared),
            keeper: tasks.clone(),
            offset: active.durable(),
            active,
            capacity,
            next: shared.end.borrow().next(),
            last,
            buffer: Vec::new(),
        };
        let (merges, waiting_merges) = sync_channel(1);
        let keeper = Keeper::new(Arc::clone(&shared), work.clone(), merges);
        let journal = Self {
            submitter: Arc::new(Submitter::new(Arc::clone(&shared), work.clone())),
            work,
            shared,
            threads: Mutex::default(),
            keeper: tasks.clone(),
        };
        journal.spawn("journal-keeper", move || keeper.run(&waiting_tasks))?;
        let merging = Arc::clone(&journal.shared);
        journal.spawn("journal-merger", move || {
            keeper::merge(&merging, &waiting_merges)
        })?;
        journal.spawn_writer(writer, waiting, tasks)?;
        Ok(journal)
    }

    fn spawn_writer(
        &self,
        writer: Writer,
        waiting: std::sync::mpsc::Receiver<Work>,
        tasks: SyncSender<Task>,
    ) -> Result<(), JournalError> {
        self.spawn("journal-writer", move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| writer.run(&waiting)));
            // whatever ended the writer, the keeper has nothing more to wait for
            drop(waiting);
            let _ = tasks.send(Task::Close);
            if let Err(panic) = outcome {
                panic::resume_unwind(panic);
            }
        })
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if panic::catch_unwind(AssertUnwindSafe(body)).is_err() {
                    shared.fail("a thread of the journal panicked");
                }
            })
            .map_err(JournalError::io(self.shared.dir.path()))?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    /// Takes nothing more, writes what waits, and makes the index durable.
    pub async fn close(&self) {
        let threads = self.begin_closing();
        let joined = tokio::task::spawn_blocking(move || join(threads)).await;
        if let Err(error) = joined {
            tracing::error!(error = %error, "closing the journal failed");
        }
    }

    /// As if the disk failed at the next group.
    #[cfg(test)]
    pub(crate) fn fail_next_sync(&self) {
        self.shared.fails_next_sync.store(true, Ordering::SeqCst);
    }

    /// Puts into the index what waits for it, though it is no run worth writing yet.
    #[cfg(test)]
    fn index_now(&self) {
        let _ = self.keeper.send(Task::Index);
    }

    fn begin_closing(&self) -> Vec<JoinHandle<()>> {
        self.shared.is_closing.store(true, Ordering::Release);
        self.submitter.close();
        // refused only if the writer has ended already
        let _ = self.work.send(Work::Close);
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whoever is hidden here is in no batch that is read. Said once, before anybody reads.
    pub fn hide(&self, hidden: Arc<Hidden>) {
        // a second saying would be of the same people
        let _ = self.shared.hidden.set(hidden);
    }

    /// Bytes of its segment files that are in use.
    pub fn used_bytes(&self) -> u64 {
        self.shared.room.used_bytes()
    }

    /// Whether requests from outside can be taken. Cheap.
    pub fn room(&self) -> RoomState {
        self.shared.room.state()
    }

    /// What the journal sees of the room on the disk, for the databases beside it.
    pub(crate) fn shortage(&self) -> Arc<Shortage> {
        Arc::clone(&self.shared.room.shortage)
    }

    /// Keeps everything that the journal still has, as long as there is room for
    /// it and until this is dropped. Nothing if somebody else does so already.
    pub fn pin(&self) -> Option<Pin> {
        self.shared.pins.take()
    }

    /// Why the journal takes nothing more, once it failed: the process must end.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.shared.failed.subscribe()
    }

    /// The damage that was met since the journal was opened.
    pub fn damaged(&self) -> Vec<DamagedSpot> {
        self.shared.damage.spots()
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        join(self.begin_closing());
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        // a panic was caught in the thread and told through `failed`
        let _ = thread.join();
    }
}

fn share(options: JournalOptions, recovered: Recovered) -> Arc<Shared> {
    let end = recovered.last;
    let used = recovered.segments.iter().map(|segment| segment.durable());
    Arc::new(Shared {
        id: recovered.report.id,
        room: Room::new(
            recovered.dir.path().to_path_buf(),
            options.max_bytes,
            options.min_free_bytes,
            used.sum(),
            Arc::clone(&options.disk),
        ),
        dir: recovered.dir,
        clock: options.clock,
        disk: options.disk,
        dedup_days: options.dedup_days,
        segments: Segments::new(recovered.segments),
        tail: Tail::new(TAIL_BYTES, end),
        claims: Arc::default(),
        index: recovered.index,
        backlog: Backlog::default(),
        indexed_through: watch::Sender::new(end),
        consumers: Consumers::new(&options.consumers),
        pins: Pins::default(),
        damage: recovered.damage,
        end: watch::Sender::new(end),
        oldest: watch::Sender::new(recovered.report.oldest),
        failed: watch::Sender::new(None),
        hidden: OnceLock::new(),
        is_closing: false.into(),
        syncs: AtomicU64::new(0),
        #[cfg(test)]
        fails_next_sync: false.into(),
    })
}

#[async_trait]
impl Journal for FileJournal {
    fn id(&self) -> JournalId {
        self.shared.id.clone()
    }

    async fn append(
        &self,
        batch: Vec<NewRecord>,
        origin: Origin,
    ) -> Result<Vec<Verdict>, AppendError> {
        Arc::clone(&self.submitter).append(batch, origin).await
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Batch, ReadError> {
        let batch = match self.shared.read_memory(after, limit) {
            Some(batch) => batch,
            None => {
                let shared = Arc::clone(&self.shared);
                tokio::task::spawn_blocking(move || shared.read_files(after, limit))
                    .await
                    .unwrap_or_else(|error| Err(ReadError::Failed(error.to_string())))?
            }
        };
        Ok(self.shared.without_hidden(batch))
    }

    fn end(&self) -> watch::Receiver<Position> {
        self.shared.end.subscribe()
    }

    fn oldest(&self) -> Position {
        *self.shared.oldest.borrow()
    }

    fn committed(&self, consumer: &'static str, offset: Position) {
        if !self.shared.consumers.committed(consumer, offset) {
            metrics::counter!("mimamori_journal_unknown_commits_total").increment(1);
            tracing::warn!(consumer, "an offset of a consumer that was not declared");
        }
    }
}

#[cfg(test)]
mod tests;
