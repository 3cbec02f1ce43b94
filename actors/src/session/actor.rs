//! `session/<classroom>/<student>`: receives entries in their order, folds, and tells what changed.
//!
//! Facts are on disk before the position counts as applied; a snapshot holds
//! only what was applied. So a state never rests on a fact that could be lost.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};

use super::careful::{Careful, InFlight};
use super::fold::{Outcome, SessionState};
use super::progress::Progress;
use crate::classroom::{ClassroomMessage, Directory};
use crate::deadlines::{Deadlines, Owner};
use crate::domain::{Entry, LessonId, Position, SessionKey, SessionUpdate, StudentView};
use crate::inside::append_facts;
use crate::ports::{Journal, Snapshots};
use crate::registry::Registry;
use crate::tree::{ActorState, Address, Envelope, Step, Vitals, Witness};

/// How many entries may wait for one session.
pub(crate) const MAILBOX: usize = 64;
/// With an entry in hand for longer than this a session is frozen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// A classroom that takes nothing is replaced well before.
const CLASSROOM_TAKES_WITHIN: Duration = Duration::from_secs(30);
/// After an unclean stop: others are folded alone, each for as long as a session may fold.
const FOLDS_BEGIN_WITHIN: Duration = Duration::from_secs(30);
/// The snapshots' disk is busy, or hangs.
const SNAPSHOTS_TAKE_WITHIN: Duration = Duration::from_secs(30);

pub(crate) enum SessionMessage {
    /// Fold this entry.
    Apply {
        entry: Arc<Entry>,
        lesson: Option<LessonId>,
    },
    /// Put the state into the snapshots.
    Save,
}

/// What every session needs.
pub(crate) struct SessionContext {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) classrooms: Arc<Directory>,
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) witness: Arc<dyn Witness>,
    /// Nothing after a clean stop.
    pub(crate) careful: Option<Careful>,
}

pub(crate) struct SessionArguments {
    pub(crate) key: SessionKey,
    pub(crate) context: Arc<SessionContext>,
    pub(crate) address: Address<SessionMessage>,
    pub(crate) progress: Arc<Progress>,
    /// Which incarnation this is: only the last one may tell anything.
    pub(crate) incarnation: u64,
}

pub(crate) struct SessionActor;

pub(crate) struct Running {
    actor: ActorId,
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
        arguments.progress.set_saved(fold.position());
        let actor = myself.get_id();
        arguments.address.attach(myself);
        let vitals = Arc::clone(arguments.address.vitals());
        vitals.started();
        Ok(Running {
            actor,
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
            // in a box: else every session that waits would hold room for the largest of its waits, twice
            SessionMessage::Apply { entry, lesson } => {
                Box::pin(state.apply(&entry, lesson.as_ref())).await
            }
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
        progress.set_is_anew();
        SessionState::new(key.clone())
    }))
}

/// The incarnation was replaced: what it concluded is nobody's business any more.
#[derive(Debug, thiserror::Error)]
#[error("it was replaced")]
struct Replaced;

impl Running {
    async fn apply(
        &mut self,
        entry: &Entry,
        lesson: Option<&LessonId>,
    ) -> Result<(), ActorProcessingErr> {
        if entry.position <= self.fold.position() {
            return Ok(());
        }
        self.arguments.progress.took(entry.position);
        let outcome = self.fold(entry, lesson).await;
        let facts = outcome.facts.clone();
        // consoles need not wait for the facts: what they rest on is on disk
        self.tell(entry.position, outcome).await?;
        let journal = &*self.arguments.context.journal;
        let appended = append_facts(journal, &self.vitals, facts).await;
        // a journal that fails is not the entry's fault
        self.arguments.progress.put_down(self.arguments.incarnation);
        Ok(appended?)
    }

    async fn fold(&mut self, entry: &Entry, lesson: Option<&LessonId>) -> Outcome {
        let flight = self.take_off(entry).await;
        let SessionArguments {
            key,
            context,
            progress,
            ..
        } = &self.arguments;
        let folding = progress.folding();
        if let Some(wait) = context.witness.before(Step::Fold { key, entry }) {
            wait.await;
        }
        let outcome = self.fold.apply(entry, lesson);
        drop(folding);
        if let Some(flight) = flight {
            flight.landed();
        }
        outcome
    }

    /// After an unclean stop: waits until the entry may be folded, and notes it.
    async fn take_off(&self, entry: &Entry) -> Option<InFlight> {
        let SessionArguments { key, context, .. } = &self.arguments;
        let careful = context.careful.as_ref()?;
        let _waiting = self.vitals.waiting(FOLDS_BEGIN_WITHIN);
        careful.begin(self.actor, key, entry.position).await
    }

    async fn tell(&self, position: Position, outcome: Outcome) -> Result<(), Replaced> {
        let SessionArguments { key, context, .. } = &self.arguments;
        let view = outcome.changed.then(|| Arc::new(self.fold.view()));
        self.publish(view.as_ref())?;
        let Some(view) = view else {
            return Ok(());
        };
        let Some(classroom) = context.classrooms.get(&key.classroom) else {
            return Ok(());
        };
        let update = SessionUpdate {
            key: key.clone(),
            position,
            view,
            event: outcome.event,
            alerts: outcome.alerts,
        };
        let _waiting = self.vitals.waiting(CLASSROOM_TAKES_WITHIN);
        // it comes back if the classroom is down; its next incarnation finds the registry
        let _ = classroom
            .send(ClassroomMessage::Update(Box::new(update)))
            .await;
        Ok(())
    }

    /// First the registry: a classroom that starts anew takes it from there, and hears what comes after.
    ///
    /// What is to come by silence is set even if nobody sees a change: the timer
    /// that was just applied must not be written again.
    fn publish(&self, view: Option<&Arc<StudentView>>) -> Result<(), Replaced> {
        let SessionArguments {
            key,
            context,
            progress,
            incarnation,
            ..
        } = &self.arguments;
        let deadlines = self.fold.deadlines();
        progress
            .as_current(*incarnation, || {
                context
                    .deadlines
                    .set(&Owner::Session(key.clone()), deadlines);
                if let Some(view) = view {
                    context.registry.publish(key, Arc::clone(view));
                }
            })
            .ok_or(Replaced)
    }

    fn save(&mut self) -> Result<(), ActorProcessingErr> {
        let SessionArguments {
            key,
            context,
            progress,
            incarnation,
            ..
        } = &self.arguments;
        let position = self.fold.position();
        if position <= progress.saved() {
            return Ok(());
        }
        let state = self.fold.encode();
        let _waiting = self.vitals.waiting(SNAPSHOTS_TAKE_WITHIN);
        let put = progress
            .as_current(*incarnation, || {
                let put = context.snapshots.put_session(key, &state);
                if put.is_ok() {
                    progress.set_saved(position);
                }
                put
            })
            .ok_or(Replaced)?;
        if let Err(error) = put {
            // the state is as good as it was, and the next checkpoint asks again
            tracing::debug!(student.id = key.student.as_str(), %error, "a session was not saved");
        }
        Ok(())
    }
}
