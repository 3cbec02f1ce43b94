//! Checkpoints: which positions no longer need to be read again after a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Line, Mode};
use super::{RouterContext, RouterMessage, RouterState, Saved};
use crate::domain::Position;
use crate::ports::SnapshotError;
use crate::session::actor::SessionMessage;

/// A session without an entry for so long sleeps: its state in the snapshots, its actor gone.
const SLEEPS_AFTER: Duration = Duration::from_secs(5 * 60);

impl RouterState {
    /// Asks the sessions that changed to save, lets the idle ones sleep; commits
    /// up to where all had saved before.
    pub(super) fn checkpoint(&mut self) {
        let offset = self.save_or_let_sleep();
        if self.is_checkpointing || offset <= self.committed {
            return;
        }
        self.lessons.forget_before(offset);
        let saved = Saved {
            version: Saved::VERSION,
            lessons: self.lessons.clone(),
        };
        let Ok(bytes) = serde_json::to_vec(&saved) else {
            return;
        };
        self.is_checkpointing = true;
        self.commit(bytes, offset);
    }

    /// One pass over all that are awake; gives the last position that every
    /// session has saved, or that concerned none.
    fn save_or_let_sleep(&mut self) -> Position {
        let now = Instant::now();
        let mut through = self.read_through;
        let Self {
            lines,
            vitals,
            context,
            ..
        } = self;
        lines.retain(|_, line| {
            // there may be a hundred thousand: a pass is long, but no standstill
            vitals.progressed();
            line.note_saved();
            if line.first_unsaved.is_some() && line.mode == Mode::Live {
                // full: the next checkpoint asks again
                let _ = line.address.try_send(SessionMessage::Save);
            }
            if let Some(needed) = line.first_needed() {
                through = through.min(Position(needed.0.saturating_sub(1)));
            }
            let sleeps = line.may_sleep(now);
            if sleeps {
                line.fall_asleep(context);
            }
            !sleeps
        });
        through
    }

    fn commit(&self, bytes: Vec<u8>, offset: Position) {
        let snapshots = Arc::clone(&self.context.session.snapshots);
        let journal = self.context.session.journal.id();
        let has_attempts = self.attempts.has_any_through(offset);
        let own = self.own.clone();
        tokio::spawn(async move {
            let commit = tokio::task::spawn_blocking(move || {
                snapshots.commit(&journal, &bytes, offset)?;
                if has_attempts {
                    snapshots.forget_attempts(&journal, offset)?;
                }
                Ok::<_, SnapshotError>(())
            });
            let error = match commit.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            let _ = own
                .send(RouterMessage::CheckpointDone { offset, error })
                .await;
        });
    }

    pub(super) fn checkpoint_done(&mut self, offset: Position, error: Option<String>) {
        self.is_checkpointing = false;
        match error {
            None => {
                self.committed = self.committed.max(offset);
                self.attempts.forget(offset);
                self.context.session.journal.committed("sessions", offset);
            }
            Some(error) => {
                metrics::counter!("mimamori_snapshots_failures_total").increment(1);
                tracing::error!(
                    error,
                    "the snapshots could not be committed, the next checkpoint tries again"
                );
                self.vitals.note_error(&error);
            }
        }
    }
}

impl Line {
    /// Whether everything it got is saved, and nothing has come for a while.
    fn may_sleep(&self, now: Instant) -> bool {
        self.mode == Mode::Live
            && self.first_unsaved.is_none()
            && now.duration_since(self.last_used) > SLEEPS_AFTER
    }

    fn fall_asleep(&mut self, context: &RouterContext) {
        context.census.leave(self.address.vitals().name());
        if let Some(cell) = self.cell.take() {
            context.roster.remove(&cell.get_id());
            cell.stop(None);
        }
    }

    /// Takes note of how far the session has saved.
    fn note_saved(&mut self) {
        let saved = self.progress.saved();
        let has_all = self.mode == Mode::Live && saved >= self.last_dispatched;
        if has_all {
            self.first_unsaved = None;
        } else if let Some(first) = self.first_unsaved
            && saved >= first
        {
            self.first_unsaved = Some(saved.next());
        }
    }

    /// The first position that would have to be read again if the process ended now.
    fn first_needed(&self) -> Option<Position> {
        match self.mode {
            Mode::Live => self.first_unsaved,
            Mode::Behind { from } => Some(self.first_unsaved.unwrap_or(from).min(from)),
        }
    }
}
