//! The router's side of one session: handing out, falling behind, starting again.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr};
use tokio::time::Instant;

use super::{ATTEMPTS, BATCH, CATCH_UP_EVERY, RouterMessage, RouterState, concerns};
use crate::domain::{Entry, LessonId, Position, Record, SessionKey};
use crate::ports::ReadError;
use crate::session::actor::{
    MAILBOX, PATIENCE, Progress, SessionActor, SessionArguments, SessionMessage,
};
use crate::tree::{Address, Later, SendError};

/// Between two tries of a session that failed.
const RESTART_WAIT: Duration = Duration::from_millis(100);
/// In one turn at most so many batches are read for a student that is behind.
const CATCH_UP_BATCHES: usize = 4;

/// A session as the router sees it.
pub(super) struct Line {
    pub(super) address: Address<SessionMessage>,
    pub(super) progress: Arc<Progress>,
    pub(super) cell: Option<ActorCell>,
    pub(super) mode: Mode,
    /// The last entry handed to this session, over all its incarnations.
    pub(super) last_dispatched: Position,
    /// The first entry handed out since the session was last known to be saved.
    pub(super) first_unsaved: Option<Position>,
    pub(super) last_used: Instant,
}

/// Whether a session gets its entries as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As they come.
    Live,
    /// Later, read from the journal again from here on.
    Behind {
        /// The first entry it has not got.
        from: Position,
    },
}

impl RouterState {
    /// Hands the entry to the student's session, or notes that the student is behind.
    pub(super) async fn dispatch(
        &mut self,
        key: &SessionKey,
        entry: &Arc<Entry>,
        lesson: Option<LessonId>,
    ) {
        if !self.lines.contains_key(key) {
            let line = self.open_line(key, entry.position).await;
            self.lines.insert(key.clone(), line);
        }
        let is_poison = self.is_poison(key, entry.position);
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        line.last_used = Instant::now();
        if line.mode != Mode::Live || is_poison {
            return;
        }
        if !line.hand_over(entry, lesson) {
            line.mode = Mode::Behind {
                from: entry.position,
            };
            self.behind.insert(key.clone());
            metrics::counter!("mimamori_router_students_parked_total").increment(1);
        }
    }

    pub(super) fn is_poison(&self, key: &SessionKey, position: Position) -> bool {
        !self.poison.is_empty() && self.poison.contains(&(key.clone(), position))
    }

    async fn open_line(&mut self, key: &SessionKey, position: Position) -> Line {
        let name = session_name(key);
        let vitals = self
            .context
            .census
            .enter(name, "session", Some("sessions"), PATIENCE);
        let mut line = Line {
            address: Address::new(vitals, MAILBOX),
            progress: Progress::at(Position::ZERO),
            cell: None,
            mode: Mode::Live,
            last_dispatched: Position::ZERO,
            first_unsaved: None,
            last_used: Instant::now(),
        };
        if let Err(error) = self.start_session(key, &mut line).await {
            line.mode = Mode::Behind { from: position };
            line.first_unsaved = Some(position);
            self.behind.insert(key.clone());
            self.session_did_not_start(key, &line, &error.to_string());
        } else if line.mode != Mode::Live {
            self.behind.insert(key.clone());
        }
        line
    }

    async fn start_session(
        &self,
        key: &SessionKey,
        line: &mut Line,
    ) -> Result<(), ActorProcessingErr> {
        let arguments = SessionArguments {
            key: key.clone(),
            context: Arc::clone(&self.context.session),
            address: line.address.clone(),
            progress: Arc::clone(&line.progress),
        };
        let (actor, _) =
            Actor::spawn_linked(None, SessionActor, arguments, self.sessions.clone()).await?;
        let cell = actor.get_cell();
        self.roster.insert(cell.get_id(), key.clone());
        self.context
            .census
            .runs(line.address.vitals().name(), cell.clone());
        line.cell = Some(cell);
        // what an earlier incarnation was given beyond its snapshot is handed out again
        line.last_dispatched = line.progress.saved();
        let from = if line.progress.take_is_anew() {
            self.context.session.journal.oldest()
        } else if line.mode == Mode::Live {
            return Ok(());
        } else {
            line.progress.saved().max(self.committed).next()
        };
        line.mode = Mode::Behind { from };
        line.first_unsaved = Some(line.first_unsaved.map_or(from, |first| first.min(from)));
        Ok(())
    }

    fn session_did_not_start(&self, key: &SessionKey, line: &Line, error: &str) {
        line.address.vitals().failed(error);
        metrics::counter!("mimamori_actors_restarts_total", "kind" => "session").increment(1);
        tracing::warn!(
            student.id = key.student.as_str(),
            error,
            "a session did not start and will be tried again"
        );
        self.restart_later(key);
    }

    /// A session's actor failed: blame the entry in hand, and start again from the snapshot.
    pub(super) async fn session_failed(
        &mut self,
        key: &SessionKey,
        actor: ActorId,
        reason: &str,
    ) -> Result<(), ActorProcessingErr> {
        let Some(line) = self.lines.get_mut(key) else {
            return Ok(());
        };
        if line.cell.as_ref().is_none_or(|cell| cell.get_id() != actor) {
            return Ok(()); // an earlier incarnation
        }
        line.cell = None;
        line.mode = Mode::Behind {
            from: line.progress.saved().next(),
        };
        let to_blame = line.progress.take_in_hand();
        line.address.vitals().failed(reason);
        self.behind.insert(key.clone());
        metrics::counter!("mimamori_actors_restarts_total", "kind" => "session").increment(1);
        tracing::warn!(
            student.id = key.student.as_str(),
            error = reason,
            "a session failed and will be started again"
        );
        if let Some(position) = to_blame {
            let attempts = self.attempts.entry((key.clone(), position)).or_insert(0);
            *attempts += 1;
            if *attempts >= ATTEMPTS {
                self.attempts.remove(&(key.clone(), position));
                self.bury(key, position, reason).await?;
            }
        }
        self.restart_later(key);
        Ok(())
    }

    fn restart_later(&self, key: &SessionKey) {
        let address = self.address.clone();
        let key = key.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTART_WAIT).await;
            let _ = address.send(RouterMessage::RestartSession { key }).await;
        });
    }

    pub(super) async fn restart_session(&mut self, key: &SessionKey) {
        let Some(mut line) = self.lines.remove(key) else {
            return;
        };
        if line.cell.is_none() {
            if let Err(error) = self.start_session(key, &mut line).await {
                self.session_did_not_start(key, &line, &error.to_string());
            }
            self.behind.insert(key.clone());
        }
        self.lines.insert(key.clone(), line);
    }

    /// Reads the journal again for the students that are behind.
    pub(super) async fn catch_up(&mut self) -> Result<(), ActorProcessingErr> {
        self.catch_up = None;
        for key in std::mem::take(&mut self.behind) {
            let Some(mut line) = self.lines.remove(&key) else {
                continue;
            };
            let result = self.catch_up_one(&key, &mut line).await;
            if line.mode != Mode::Live {
                self.behind.insert(key.clone());
            }
            self.lines.insert(key, line);
            result?;
        }
        Ok(())
    }

    async fn catch_up_one(
        &mut self,
        key: &SessionKey,
        line: &mut Line,
    ) -> Result<(), ActorProcessingErr> {
        if line.cell.is_none() {
            return Ok(()); // its restart is under way
        }
        for _ in 0..CATCH_UP_BATCHES {
            let Mode::Behind { from } = line.mode else {
                return Ok(());
            };
            if from > self.read_through {
                line.mode = Mode::Live;
                return Ok(());
            }
            let after = Position(from.0 - 1);
            let batch = match self.context.session.journal.read(after, BATCH).await {
                Ok(batch) => batch,
                Err(ReadError::Trimmed { oldest }) => {
                    tracing::error!(
                        student.id = key.student.as_str(),
                        oldest = oldest.0,
                        "entries that a session had not read are gone"
                    );
                    metrics::counter!("mimamori_router_gaps_total").increment(1);
                    line.mode = Mode::Behind { from: oldest };
                    continue;
                }
                Err(error @ ReadError::Failed(_)) => return Err(error.into()),
            };
            let read_through = self.read_through;
            for entry in batch
                .entries
                .iter()
                .filter(|entry| entry.position <= read_through)
            {
                if !concerns(entry, key) || self.is_poison(key, entry.position) {
                    continue;
                }
                let lesson = self.lesson_again(entry);
                if !line.hand_over(entry, lesson) {
                    line.mode = Mode::Behind {
                        from: entry.position,
                    };
                    return Ok(());
                }
            }
            self.vitals.progressed();
            line.mode = Mode::Behind {
                from: batch.through.min(self.read_through).next(),
            };
        }
        Ok(())
    }

    /// The lesson of an event that was stamped before.
    fn lesson_again(&mut self, entry: &Entry) -> Option<LessonId> {
        match &entry.record {
            Record::Event(accepted) => Some(
                self.lessons
                    .stamp(&accepted.classroom, entry.position, entry.moment())
                    .0,
            ),
            Record::Timer(_) | Record::Fact(_) | Record::Rejection(_) | Record::DeadLetter(_) => {
                None
            }
        }
    }

    pub(super) fn look_after_those_behind(&mut self) {
        if self.behind.is_empty() || self.catch_up.is_some() {
            return;
        }
        let later = Later::send(&self.address, RouterMessage::CatchUp, CATCH_UP_EVERY);
        self.catch_up = Some(later);
    }
}

impl Line {
    /// Whether the session took the entry.
    fn hand_over(&mut self, entry: &Arc<Entry>, lesson: Option<LessonId>) -> bool {
        match self.address.try_send(SessionMessage::Apply {
            entry: Arc::clone(entry),
            lesson,
        }) {
            Ok(()) => {
                self.last_dispatched = self.last_dispatched.max(entry.position);
                self.first_unsaved.get_or_insert(entry.position);
                true
            }
            Err(SendError::Full(_) | SendError::Gone(_)) => {
                self.first_unsaved.get_or_insert(entry.position);
                false
            }
        }
    }
}

/// The name of a session in the tree.
pub(crate) fn session_name(key: &SessionKey) -> String {
    format!("session/{}/{}", key.classroom, key.student)
}
