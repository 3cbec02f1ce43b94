//! The router's side of one session: handing out, falling behind, starting again.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr};
use tokio::time::Instant;

use super::attempts::Aftermath;
use super::{CATCH_UP_EVERY, RouterMessage, RouterState, concerns};
use crate::deadlines::Owner;
use crate::domain::{Entry, LessonId, Position, Record, SessionKey};
use crate::ports::{Batch, ReadError};
use crate::session::actor::{MAILBOX, PATIENCE, SessionActor, SessionArguments, SessionMessage};
use crate::session::lost::Member;
use crate::session::progress::Progress;
use crate::tree::{Address, Budget, Decision, Later, RestartPolicy, SendError, on};

/// In one turn at most so many batches are read for all students that are behind.
const CATCH_UP_BATCHES: usize = 64;
/// In one turn at most so many students are looked after; the next begins with the one after them.
const CATCH_UP_STUDENTS: usize = 1_024;
/// A session that was killed ends at its next await.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// A session's snapshot is read from the disk.
const SNAPSHOT_READS_WITHIN: Duration = Duration::from_secs(30);

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
    budget: Budget,
}

/// What became of an entry that was to be handed to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handed {
    Over,
    /// It has no room now.
    Full,
    /// No incarnation runs.
    Gone,
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
        let is_poison = self.attempts.is_used_up(key, entry.position);
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        line.last_used = Instant::now();
        if line.mode != Mode::Live || is_poison {
            return;
        }
        if line.hand_over(entry, lesson) != Handed::Over {
            line.mode = Mode::Behind {
                from: entry.position,
            };
            self.behind.insert(key.clone());
            metrics::counter!("mimamori_router_students_parked_total").increment(1);
        }
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
            budget: Budget::new(RestartPolicy::SESSION),
        };
        if let Err(error) = self.start_session(key, &mut line).await {
            line.mode = Mode::Behind { from: position };
            line.first_unsaved = Some(position);
            self.behind.insert(key.clone());
            self.session_did_not_start(key, &mut line, &error.to_string());
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
            incarnation: line.progress.next_incarnation(),
        };
        let start = Actor::spawn_linked(None, SessionActor, arguments, self.sessions.clone());
        let waiting = self.vitals.waiting(SNAPSHOT_READS_WITHIN);
        let (actor, _) = on(&self.context.threads.sessions, start).await?;
        drop(waiting);
        let cell = actor.get_cell();
        let member = Member {
            key: key.clone(),
            progress: Arc::clone(&line.progress),
            cell: cell.clone(),
        };
        self.context.roster.insert(cell.get_id(), member);
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

    fn session_did_not_start(&self, key: &SessionKey, line: &mut Line, error: &str) {
        let ended = line.address.vitals().ended(error);
        tracing::warn!(
            student.id = key.student.as_str(),
            error,
            "a session did not start and will be tried again"
        );
        let wait = line.spend(ended.is_asked_for);
        self.restart_later(key, wait, None);
    }

    /// A session's actor failed, or was written off: blame the entry in hand,
    /// and start again from the snapshot.
    pub(super) fn session_failed(&mut self, key: &SessionKey, actor: ActorId, reason: String) {
        let Some(mut line) = self.lines.remove(key) else {
            return;
        };
        // not an earlier incarnation
        if line
            .cell
            .as_ref()
            .is_some_and(|cell| cell.get_id() == actor)
        {
            self.replace(key, &mut line, actor, reason);
        }
        self.lines.insert(key.clone(), line);
    }

    fn replace(&mut self, key: &SessionKey, line: &mut Line, actor: ActorId, reason: String) {
        line.cell = None;
        line.progress.close();
        line.mode = Mode::Behind {
            from: line.progress.saved().next(),
        };
        self.behind.insert(key.clone());
        let vitals = Arc::clone(line.address.vitals());
        let ended = vitals.ended(&reason);
        tracing::warn!(
            student.id = key.student.as_str(),
            error = ended.reason,
            "a session failed and will be started again"
        );
        let in_hand = line.progress.take_in_hand();
        let to_blame = in_hand.filter(|_| ended.is_to_blame);
        let aftermath = self.aftermath(key, actor, &vitals, to_blame, ended.reason);
        let wait = line.spend(ended.is_asked_for);
        self.restart_later(key, wait, Some(aftermath));
    }

    /// What is to be written is, whatever becomes of this router.
    fn restart_later(&self, key: &SessionKey, wait: Duration, aftermath: Option<Aftermath>) {
        let (own, key) = (self.own.clone(), key.clone());
        tokio::spawn(async move {
            if let Some(aftermath) = aftermath {
                aftermath.settle().await;
            }
            tokio::time::sleep(wait).await;
            let _ = own.send(RouterMessage::RestartSession { key }).await;
        });
    }

    pub(super) async fn restart_session(&mut self, key: &SessionKey) {
        let Some(mut line) = self.lines.remove(key) else {
            return;
        };
        if line.cell.is_none() {
            if let Err(error) = self.start_session(key, &mut line).await {
                self.session_did_not_start(key, &mut line, &error.to_string());
            }
            self.behind.insert(key.clone());
        }
        self.lines.insert(key.clone(), line);
    }

    /// The session ends, and what it knew goes. Its entries are hidden from the journal's readers by now.
    pub(super) async fn forget(&mut self, key: SessionKey) {
        self.behind.remove(&key);
        self.attempts.forget_of(&key);
        if let Some(mut line) = self.lines.remove(&key) {
            // what it does from now on is nobody's business; waits for what it is putting into the snapshots
            line.progress.close();
            self.context.census.leave(line.address.vitals().name());
            if let Some(cell) = line.cell.take() {
                self.context.roster.remove(&cell.get_id());
                let _waiting = self.vitals.waiting(ENDS_WITHIN * 2);
                // one that folds and does not come back tells nobody anything
                let _ = cell.kill_and_wait(Some(ENDS_WITHIN)).await;
                if let Some(careful) = &self.context.session.careful {
                    careful.settle(cell.get_id());
                }
            }
        }
        let session = &self.context.session;
        session.registry.remove(&key);
        session.deadlines.forget(Owner::Session(key));
    }

    /// Reads the journal again for the students that are behind, in turn: a turn
    /// is short, and who has no room costs none of it.
    pub(super) async fn catch_up(&mut self) -> Result<(), ActorProcessingErr> {
        self.catch_up = None;
        let mut batches = CATCH_UP_BATCHES;
        // each of them once, beginning after the one that was looked after last
        for _ in 0..self.behind.len().min(CATCH_UP_STUDENTS) {
            if batches == 0 {
                break;
            }
            let Some(key) = self.next_in_turn() else {
                break;
            };
            let Some(mut line) = self.lines.remove(&key) else {
                self.behind.remove(&key);
                continue;
            };
            let result = self.catch_up_one(&key, &mut line, &mut batches).await;
            if line.mode == Mode::Live {
                self.behind.remove(&key);
            }
            self.lines.insert(key.clone(), line);
            self.looked_after = Some(key);
            result?;
            self.vitals.progressed();
        }
        Ok(())
    }

    /// Of those behind the one after the one that was looked after last; after the last the first.
    fn next_in_turn(&self) -> Option<SessionKey> {
        let after = self.looked_after.as_ref();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self
            .behind
            .range::<SessionKey, _>((after, Bound::Unbounded))
            .next();
        later.or_else(|| self.behind.first()).cloned()
    }

    async fn catch_up_one(
        &mut self,
        key: &SessionKey,
        line: &mut Line,
        batches: &mut usize,
    ) -> Result<(), ActorProcessingErr> {
        if line.cell.is_none() {
            return Ok(()); // its restart is under way
        }
        while let Mode::Behind { from } = line.mode {
            if from > self.read_through {
                line.mode = Mode::Live;
                return Ok(());
            }
            if *batches == 0 || !line.address.has_room() {
                return Ok(());
            }
            *batches -= 1;
            let batch = match self.read(Position(from.0 - 1)).await {
                Ok(batch) => batch,
                Err(ReadError::Trimmed { oldest }) => {
                    note_gap(key, oldest);
                    line.mode = Mode::Behind { from: oldest };
                    continue;
                }
                Err(error @ ReadError::Failed(_)) => return Err(error.into()),
            };
            let (from, handed) = self.hand_over_again(key, line, &batch);
            line.mode = Mode::Behind { from };
            self.vitals.progressed();
            if handed == Handed::Gone {
                // it has room and takes nothing: its next incarnation goes on
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands a student's part of a batch over; tells where to go on, and what became of the last entry.
    fn hand_over_again(
        &mut self,
        key: &SessionKey,
        line: &mut Line,
        batch: &Batch,
    ) -> (Position, Handed) {
        let read_through = self.read_through;
        for entry in batch
            .entries
            .iter()
            .filter(|entry| entry.position <= read_through)
        {
            if !concerns(entry, key) || self.attempts.is_used_up(key, entry.position) {
                continue;
            }
            let lesson = self.lesson_again(entry);
            let handed = line.hand_over(entry, lesson);
            if handed != Handed::Over {
                return (entry.position, handed);
            }
        }
        (batch.through.min(read_through).next(), Handed::Over)
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
        let later = Later::send(&self.own, RouterMessage::CatchUp, CATCH_UP_EVERY);
        self.catch_up = Some(later);
    }
}

fn note_gap(key: &SessionKey, oldest: Position) {
    tracing::error!(
        student.id = key.student.as_str(),
        oldest = oldest.0,
        "entries that a session had not read are gone"
    );
    metrics::counter!("mimamori_router_gaps_total").increment(1);
}

impl Line {
    /// How long to wait before it is started again.
    fn spend(&mut self, is_asked_for: bool) -> Duration {
        match self.budget.spend(is_asked_for) {
            Decision::RestartAfter(wait) => wait,
            // not by the policy of sessions
            Decision::Escalate => RestartPolicy::SESSION.longest_wait,
        }
    }

    fn hand_over(&mut self, entry: &Arc<Entry>, lesson: Option<LessonId>) -> Handed {
        self.first_unsaved.get_or_insert(entry.position);
        match self.address.try_send(SessionMessage::Apply {
            entry: Arc::clone(entry),
            lesson,
        }) {
            Ok(()) => {
                self.last_dispatched = self.last_dispatched.max(entry.position);
                Handed::Over
            }
            Err(SendError::Full(_)) => Handed::Full,
            Err(SendError::Gone(_)) => Handed::Gone,
        }
    }
}

/// The name of a session in the tree.
pub(crate) fn session_name(key: &SessionKey) -> String {
    format!("session/{}/{}", key.classroom, key.student)
}

#[cfg(test)]
mod tests;
