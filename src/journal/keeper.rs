//! The thread beside the writer: it keeps the index, room on the disk, and the journal trimmed.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::index::{Checkpoint, IndexError, Indexed};
use super::shared::Shared;
use super::writer::Work;

/// How often room is measured and segments are trimmed.
const TICK: Duration = Duration::from_millis(250);
/// How often the index is made durable: what a power loss takes from it is added again at the start.
const PERSIST_EVERY: Duration = Duration::from_secs(1);
/// So many groups go into one batch of the index.
const GATHERED: usize = 64;
/// Where `journal inspect` reads how far everybody is.
pub(super) const OFFSETS_FILE: &str = "offsets.json";

/// What the writer asks for.
pub(super) enum Task {
    /// Add identities to the index.
    Index(Job),
    /// Allocate the next segment.
    PrepareSpare,
    /// End; nothing comes behind it.
    Close,
}

/// A group's identities.
pub(super) struct Job {
    pub(super) indexed: Vec<Indexed>,
    /// Up to where the journal is in the index with them.
    pub(super) to: Checkpoint,
}

/// The keeper's own state.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    writer: SyncSender<Work>,
    next_tick: Instant,
    next_persist: Instant,
    has_unsynced: bool,
    /// The newest checkpoint: where the index stands.
    checkpoint: Option<Checkpoint>,
    written_offsets: Option<Value>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, writer: SyncSender<Work>) -> Self {
        Self {
            shared,
            writer,
            next_tick: Instant::now(),
            next_persist: Instant::now() + PERSIST_EVERY,
            has_unsynced: false,
            checkpoint: None,
            written_offsets: None,
        }
    }

    /// Works until it is told to close. An index that fails stops the journal:
    /// without it a duplicate could be taken for new.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        if let Err(error) = self.work(tasks) {
            self.shared.index.condemn();
            self.shared.fail(&format!("the identity index: {error}"));
        }
    }

    fn work(&mut self, tasks: &Receiver<Task>) -> Result<(), IndexError> {
        self.prepare_spare();
        loop {
            let wait = self.next_tick.saturating_duration_since(Instant::now());
            let first = match tasks.recv_timeout(wait) {
                Ok(task) => Some(task),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Task::Close),
            };
            let is_closing = self.handle(first, tasks)?;
            if is_closing {
                self.shared.index.persist()?;
                self.write_offsets();
                return Ok(());
            }
            if Instant::now() >= self.next_tick {
                self.tick()?;
            }
        }
    }

    /// Handles a task and those right behind it; true when it is time to end.
    fn handle(&mut self, first: Option<Task>, tasks: &Receiver<Task>) -> Result<bool, IndexError> {
        let mut jobs = Vec::new();
        let mut is_closing = false;
        let mut wants_spare = false;
        let mut next = first;
        while let Some(task) = next {
            match task {
                Task::Index(job) => jobs.push(job),
                Task::PrepareSpare => wants_spare = true,
                Task::Close => is_closing = true,
            }
            next = (jobs.len() < GATHERED)
                .then(|| tasks.try_recv().ok())
                .flatten();
        }
        self.index(jobs)?;
        if wants_spare {
            self.prepare_spare();
        }
        Ok(is_closing)
    }

    fn index(&mut self, jobs: Vec<Job>) -> Result<(), IndexError> {
        let mut batch = Vec::new();
        let mut newest = None;
        for job in jobs {
            batch.extend(job.indexed);
            newest = Some(job.to);
        }
        let Some(to) = newest else {
            return Ok(());
        };
        self.shared.index.insert(&batch, &to)?;
        // only now a twin finds it there
        for indexed in &batch {
            self.shared.claims.release(&indexed.identity.key);
        }
        self.shared.indexed_through.send_replace(to.position);
        self.has_unsynced = true;
        self.checkpoint = Some(to);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), IndexError> {
        let now = Instant::now();
        self.next_tick = now + TICK;
        self.shared.room.measure();
        if now >= self.next_persist {
            self.next_persist = now + PERSIST_EVERY;
            self.persist()?;
            self.write_offsets();
        }
        self.shared.trim();
        if self.shared.is_stuck_in_one_segment() {
            // if the queue is full the writer has enough to write, and the next tick asks again
            let _ = self.writer.try_send(Work::BeginSegment);
        }
        Ok(())
    }

    fn persist(&mut self) -> Result<(), IndexError> {
        if self.has_unsynced {
            self.shared.index.persist()?;
            self.has_unsynced = false;
            self.shared
                .persisted_through
                .send_replace(*self.shared.indexed_through.borrow());
        }
        if let Some(checkpoint) = &self.checkpoint {
            let dedup_days = self.shared.dedup_days;
            self.shared
                .index
                .expire(checkpoint.accepted.at, dedup_days)?;
        }
        Ok(())
    }

    fn prepare_spare(&self) {
        if let Err(error) = self.shared.dir.prepare_spare() {
            // the writer tries again when it needs it, and says so if it fails
            tracing::debug!(error = %error, "no segment could be allocated ahead");
        }
    }

    /// For `journal inspect`: not synced, never read by the program itself.
    fn write_offsets(&mut self) {
        let consumers: Map<String, Value> = self
            .shared
            .consumers
            .offsets()
            .into_iter()
            .map(|(name, offset)| (name.to_owned(), json!(offset)))
            .collect();
        let offsets = json!({
            "end": *self.shared.end.borrow(),
            "indexed": *self.shared.indexed_through.borrow(),
            "consumers": consumers,
        });
        if self.written_offsets.as_ref() == Some(&offsets) {
            return;
        }
        let path = self.shared.dir.path().join(OFFSETS_FILE);
        let beside = path.with_extension("tmp");
        let written =
            fs::write(&beside, offsets.to_string()).and_then(|()| fs::rename(&beside, &path));
        match written {
            Ok(()) => self.written_offsets = Some(offsets),
            Err(error) => {
                tracing::debug!(error = %error, "the offsets for inspection were not written")
            }
        }
    }
}
