//! The thread beside the writer: it keeps the index, room on the disk, and the journal trimmed.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use mimamori_actors::domain::Position;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::backlog::RUN_IDENTITIES;
use super::index::{Checkpoint, IndexError, Indexed};
use super::shared::Shared;
use super::writer::Work;

/// How often room is measured and segments are trimmed.
const TICK: Duration = Duration::from_millis(250);
/// How often it is noted how far the journal has come, and old identities are dropped.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Where `journal inspect` reads how far everybody is.
pub(super) const OFFSETS_FILE: &str = "offsets.json";

/// What the writer asks for.
pub(super) enum Task {
    /// Put into the index what waits for it.
    Index,
    /// Allocate the next segment.
    PrepareSpare,
    /// End; nothing comes behind it.
    Close,
}

/// The keeper's own state.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    writer: SyncSender<Work>,
    merger: SyncSender<()>,
    next_tick: Instant,
    next_note: Instant,
    /// What the disk had no room for when it was tried last.
    pending: Option<(Vec<Indexed>, Checkpoint)>,
    /// How far the journal had come when it was noted last.
    reached: Position,
    has_unsynced_note: bool,
    written_offsets: Option<Value>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        writer: SyncSender<Work>,
        merger: SyncSender<()>,
    ) -> Self {
        let reached = *shared.end.borrow();
        Self {
            shared,
            writer,
            merger,
            next_tick: Instant::now(),
            next_note: Instant::now() + NOTE_EVERY,
            pending: None,
            reached,
            has_unsynced_note: false,
            written_offsets: None,
        }
    }

    /// Works until it is told to close. An index that fails stops the journal:
    /// without it a duplicate could be taken for new.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        let ended = self.work(tasks);
        self.shared.index.stop_merging();
        if let Err(error) = ended {
            self.shared.index.judge(&error);
            self.shared.fail(&format!("the identity index: {error}"));
        }
    }

    fn work(&mut self, tasks: &Receiver<Task>) -> Result<(), IndexError> {
        self.prepare_spare();
        loop {
            let wait = self.next_tick.saturating_duration_since(Instant::now());
            match tasks.recv_timeout(wait) {
                Ok(Task::Index) => self.index()?,
                Ok(Task::PrepareSpare) => self.prepare_spare(),
                Ok(Task::Close) | Err(RecvTimeoutError::Disconnected) => return self.end(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= self.next_tick {
                self.tick()?;
            }
        }
    }

    fn end(&mut self) -> Result<(), IndexError> {
        self.index()?;
        self.note_reached()?;
        self.write_offsets();
        Ok(())
    }

    /// Puts into the index what waits for it. What the disk has no room for is
    /// kept in memory and tried again: a start would read it from the journal.
    fn index(&mut self) -> Result<(), IndexError> {
        loop {
            let was_pending = self.pending.is_some();
            let taken = self.pending.take();
            let Some((identities, to)) = taken.or_else(|| self.shared.backlog.take()) else {
                return Ok(());
            };
            match self.shared.index.insert(&identities, &to) {
                Ok(()) => self.indexed(&identities, &to),
                Err(IndexError::NoRoom(error)) => {
                    metrics::counter!("mimamori_journal_index_postponed_runs_total").increment(1);
                    // it is tried at every tick, and told once
                    if !was_pending {
                        tracing::warn!(error = %error, "nothing can be written to the identity index: it is tried again");
                    }
                    self.shared.room.index_has_room(false);
                    self.pending = Some((identities, to));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            // what came meanwhile can wait until it is a run, but not behind what waited itself
            if !was_pending && !self.shared.backlog.has_run() {
                return Ok(());
            }
        }
    }

    fn indexed(&mut self, identities: &[Indexed], to: &Checkpoint) {
        // only now a twin finds them there
        for indexed in identities {
            self.shared.claims.release(&indexed.identity.key);
        }
        self.shared.room.index_has_room(true);
        self.shared.backlog.indexed(identities.len());
        self.shared.indexed_through.send_replace(to.position);
        // if it has enough to do it looks again by itself
        let _ = self.merger.try_send(());
    }

    fn tick(&mut self) -> Result<(), IndexError> {
        let now = Instant::now();
        self.next_tick = now + TICK;
        self.shared.room.measure();
        metrics::gauge!("mimamori_journal_unindexed_entries").set(self.shared.backlog.len() as f64);
        if self.is_due() {
            self.index()?;
        }
        self.note_reached()?;
        if now >= self.next_note {
            self.next_note = now + NOTE_EVERY;
            self.sync_and_expire()?;
            self.write_offsets();
        }
        if let Some(free_to) = self.shared.trimmable()
            && !self.shared.is_held()
        {
            // or whoever looks after a crash takes it for lost
            self.write_offsets();
            self.shared.trim_to(free_to);
        }
        if self.shared.is_stuck_in_one_segment() {
            // if the queue is full the writer has enough to write, and the next tick asks again
            let _ = self.writer.try_send(Work::BeginSegment);
        }
        Ok(())
    }

    /// Whether a run is worth it: there is enough, or a segment waits for it to be let go.
    fn is_due(&self) -> bool {
        let indexed = *self.shared.indexed_through.borrow();
        let segments = self.shared.segments.all();
        let active = segments.last().map_or(Position::ZERO, |last| last.first);
        self.pending.is_some()
            || self.shared.backlog.len() >= RUN_IDENTITIES
            || indexed.next() < active
    }

    /// What is missing up to there at a start was lost, it is no torn frame.
    fn note_reached(&mut self) -> Result<(), IndexError> {
        let end = *self.shared.end.borrow();
        if end > self.reached && is_done(self.shared.index.note_reached(end))? {
            self.reached = end;
            self.has_unsynced_note = true;
        }
        Ok(())
    }

    fn sync_and_expire(&mut self) -> Result<(), IndexError> {
        if self.has_unsynced_note && is_done(self.shared.index.sync_reached())? {
            self.has_unsynced_note = false;
        }
        // today, the days before it, and one more for a day that a wrong clock made
        self.shared
            .index
            .expire(self.shared.dedup_days as usize + 2);
        Ok(())
    }

    fn prepare_spare(&self) {
        if let Err(error) = self.shared.dir.prepare_spare() {
            // the writer tries again when it needs it, and says so if it fails
            tracing::debug!(error = %error, "no segment could be allocated ahead");
        }
    }

    /// For `journal inspect`: not synced, never read by a server.
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
            "reached": self.reached,
            "freeTo": self.shared.free_to(),
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

/// False if the disk had no room for it: it is tried again.
fn is_done(noted: std::io::Result<()>) -> Result<bool, IndexError> {
    match noted.map_err(IndexError::from) {
        Ok(()) => Ok(true),
        Err(IndexError::NoRoom(error)) => {
            tracing::debug!(error = %error, "the disk has no room to note how far the journal is");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Merges runs of the index whenever one was added, until the keeper has ended.
/// A merge that the disk has no room for is tried again with the next run.
pub(super) fn merge(shared: &Shared, added: &Receiver<()>) {
    while added.recv().is_ok() {
        loop {
            match shared.index.merge_once() {
                Ok(true) => {}
                Ok(false) => break,
                Err(IndexError::NoRoom(error)) => {
                    tracing::warn!(error = %error, "the disk has no room to merge the identity index");
                    break;
                }
                Err(error) => {
                    shared.index.judge(&error);
                    shared.fail(&format!("merging the identity index: {error}"));
                    return;
                }
            }
        }
    }
}
