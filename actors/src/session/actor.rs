//! `session/<classroom>/<student>`: receives entries in their order, folds, and tells what changed.
//!
//! Facts are on disk before the position counts as applied; a snapshot holds
//! only what was applied. So a state never rests on a fact that could be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::fold::{Outcome, SessionState};
use crate::classroom::{ClassroomMessage, Directory};
use crate::deadlines::{Deadlines, Owner};
use crate::domain::{Entry, LessonId, Position, SessionKey, SessionUpdate};
use crate::inside::append_facts;
use crate::ports::{Journal, Snapshots};
use crate::registry::Registry;
use crate::tree::{ActorState, Address, Envelope, Vitals};

/// How many entries may wait for one session.
pub(crate) const MAILBOX: usize = 64;
/// With an entry in hand for longer than this a session is frozen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) enum SessionMessage {
    /// Fold this entry.
    Apply {
        entry: Arc<Entry>,
        lesson: Option<LessonId>,
    },
    /// Put the state into the snapshots.
    Save,
}

/// What router and session share of one session: it outlives the incarnations.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The state up to here is in the snapshots.
    saved: AtomicU64,
    /// The entry being applied, 0 if none: after a failure this one is to blame.
    in_hand: AtomicU64,
    /// Its snapshot could not be read: it needs everything that the journal still has.
    is_anew: AtomicBool,
}

impl Progress {
    pub(crate) fn at(position: Position) -> Arc<Self> {
        Arc::new(Self {
            saved: AtomicU64::new(position.0),
            in_hand: AtomicU64::new(0),
            is_anew: AtomicBool::new(false),
        })
    }

    pub(crate) fn saved(&self) -> Position {
        Position(self.saved.load(Ordering::Acquire))
    }

    /// Whether the incarnation that was just started has lost its snapshot.
    pub(crate) fn take_is_anew(&self) -> bool {
        self.is_anew.swap(false, Ordering::AcqRel)
    }

    /// The entry that was in hand when the session failed.
    pub(crate) fn take_in_hand(&self) -> Option<Position> {
        Some(Position(self.in_hand.swap(0, Ordering::AcqRel)))
            .filter(|position| *position != Position::ZERO)
    }
}

/// What every session needs.
pub(crate) struct SessionContext {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) classrooms: Arc<Directory>,
    pub(crate) deadlines: Arc<Deadlines>,
}

pub(crate) struct SessionArguments {
    pub(crate) key: SessionKey,
    pub(crate) context: Arc<SessionContext>,
    pub(crate) address: Address<SessionMessage>,
    pub(crate) progress: Arc<Progress>,
}

pub(crate) struct SessionActor;

pub(crate) struct Running {
    arguments: SessionArguments,
    vitals: Arc<Vitals>,
    fold: SessionState,
}

impl Actor for SessionActor {
    type Msg = Envelope<SessionMessage>;
    type State = Running;
    type Arguments = SessionArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: SessionArguments,
    ) -> Result<Running, ActorProcessingErr> {
        let fold = load(&arguments)?;
        arguments
            .progress
            .saved
            .store(fold.position().0, Ordering::Release);
        arguments.address.attach(myself);
        let vitals = Arc::clone(arguments.address.vitals());
        vitals.started();
        Ok(Running {
            arguments,
            vitals,
            fold,
        })
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        state.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<SessionMessage>,
        state: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.vitals);
        let _working = vitals.working();
        match envelope.open() {
            SessionMessage::Apply { entry, lesson } => state.apply(&entry, lesson.as_ref()).await,
            SessionMessage::Save => state.save(),
        }
    }
}

/// The state as saved; one that can't be read is folded again from what the journal still has.
fn load(arguments: &SessionArguments) -> Result<SessionState, ActorProcessingErr> {
    let SessionArguments {
        key,
        context,
        progress,
        ..
    } = arguments;
    let Some(bytes) = context.snapshots.session(key)? else {
        return Ok(SessionState::new(key.clone()));
    };
    Ok(SessionState::decode(&bytes).unwrap_or_else(|error| {
        metrics::counter!("mimamori_sessions_unreadable_snapshots_total").increment(1);
        tracing::error!(
            student.id = key.student.as_str(),
            error = %error,
            "a session's snapshot can't be read, it is folded again from the journal"
        );
        progress.is_anew.store(true, Ordering::Release);
        SessionState::new(key.clone())
    }))
}

impl Running {
    async fn apply(
        &mut self,
        entry: &Entry,
        lesson: Option<&LessonId>,
    ) -> Result<(), ActorProcessingErr> {
        if entry.position <= self.fold.position() {
            return Ok(());
        }
        let progress = &self.arguments.progress;
        progress.in_hand.store(entry.position.0, Ordering::Release);
        let outcome = self.fold.apply(entry, lesson);
        let facts = outcome.facts.clone();
        // consoles need not wait for the facts: what they rest on is on disk
        self.tell(entry.position, outcome).await;
        let journal = &*self.arguments.context.journal;
        let appended = append_facts(journal, &self.vitals, facts).await;
        // a journal that fails is not the entry's fault
        let progress = &self.arguments.progress;
        progress.in_hand.store(0, Ordering::Release);
        Ok(appended?)
    }

    async fn tell(&self, position: Position, outcome: Outcome) {
        let SessionArguments { key, context, .. } = &self.arguments;
        context
            .deadlines
            .set(&Owner::Session(key.clone()), self.fold.deadlines());
        let view = Arc::new(self.fold.view());
        // first the registry: a classroom that starts anew takes it from there, and hears what comes after
        context.registry.publish(key, Arc::clone(&view));
        let Some(classroom) = context.classrooms.get(&key.classroom) else {
            return;
        };
        let update = SessionUpdate {
            key: key.clone(),
            position,
            view,
            event: outcome.event,
            alerts: outcome.alerts,
        };
        // it comes back if the classroom is down; its next incarnation finds the registry
        let _ = classroom
            .send(ClassroomMessage::Update(Box::new(update)))
            .await;
    }

    fn save(&mut self) -> Result<(), ActorProcessingErr> {
        let SessionArguments {
            key,
            context,
            progress,
            ..
        } = &self.arguments;
        let position = self.fold.position();
        if position > progress.saved() {
            context.snapshots.put_session(key, &self.fold.encode())?;
            progress.saved.store(position.0, Ordering::Release);
        }
        Ok(())
    }
}
