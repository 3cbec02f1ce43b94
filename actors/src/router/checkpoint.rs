//! Checkpoints: which positions no longer need to be read again after a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Line, Mode};
use super::{RouterMessage, RouterState, Saved};
use crate::domain::Position;
use crate::ports::SnapshotError;
use crate::session::actor::SessionMessage;

/// A session without an entry for so long sleeps: its state in the snapshots, its actor gone.
const SLEEPS_AFTER: Duration = Duration::from_secs(5 * 60);

impl RouterState {
    /// Asks the sessions that changed to save; commits up to where all had saved before.
    pub(super) async fn checkpoint(&mut self) {
        for line in self.lines.values_mut() {
            line.note_saved();
            if line.first_unsaved.is_some() && line.mode == Mode::Live {
                // full: the next checkpoint asks again
                let _ = line.address.try_send(SessionMessage::Save);
            }
        }
        self.let_idle_sleep();
        let offset = self.saved_through();
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

    /// The last position that every session has saved, or that concerned none.
    fn saved_through(&self) -> Position {
        self.lines
            .values()
            .filter_map(Line::first_needed)
            .min()
            .map_or(self.read_through, |needed| {
                Position(needed.0.saturating_sub(1))
            })
            .min(self.read_through)
    }

    fn let_idle_sleep(&mut self) {
        let now = Instant::now();
        let idle: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| {
                line.mode == Mode::Live
                    && line.first_unsaved.is_none()
                    && now.duration_since(line.last_used) > SLEEPS_AFTER
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in idle {
            let Some(line) = self.lines.remove(&key) else {
                continue;
            };
            self.context.census.leave(line.address.vitals().name());
            if let Some(cell) = line.cell {
                self.context.roster.remove(&cell.get_id());
                cell.stop(None);
            }
        }
    }
}

impl Line {
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
