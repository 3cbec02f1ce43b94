//! `consoles` and below it `subscriber/<n>`: one for each console that is connected.
//!
//! A subscriber is no actor beside the task that serves its console's socket:
//! it is that task ([ADR 10](../../docs/adr/0010-a-console-is-two-tasks.md)).
//! It stands in the tree, can be ended from there, and takes nothing with it
//! when it panics but its own connection. The watchdog looks after actors only:
//! nothing that a subscriber awaits lasts longer than [`CLASSROOM_ANSWERS_WITHIN`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::classroom::{ClassroomMessage, Directory};
use crate::domain::{ClassroomId, Cursor};
use crate::hub::{ConsoleId, Hub};
use crate::live::{Console, Consoles, SubscribeError, TooManyConsoles};
use crate::outbox::{CloseCode, Outbox};
use crate::silence::Silence;
use crate::tree::{ActorState, Census, EndedOnRequest, Step, Vitals, Witness};

mod lookout;

use lookout::Look;
pub(crate) use lookout::Lookout;

/// A subscriber that has a subscription in hand for longer than this is shown as
/// frozen, and nothing more: only a computation that does not return could last so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a console waits for a classroom that starts anew.
const CLASSROOM_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether something is missing on the consoles.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The parent of the subscribers. It restarts none: the console comes back by itself and resumes.
pub(crate) struct ConsolesSupervisor;

pub(crate) enum ConsolesMessage {
    /// Look whether something is missing on the consoles.
    Look,
}

#[derive(Clone)]
pub(crate) struct ConsolesArguments {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) lookout: Arc<Lookout>,
}

pub(crate) struct ConsolesState {
    arguments: ConsolesArguments,
    silences: Vec<(ClassroomId, Silence)>,
}

/// Takes consoles in; outlives the incarnations of the supervisor.
pub(crate) struct FrontOffice {
    census: Arc<Census>,
    hub: Arc<Hub>,
    rooms: Arc<dyn Rooms>,
    max_consoles: usize,
    connected: AtomicUsize,
    next_id: AtomicU64,
}

/// Where the classrooms are that a console may watch.
#[async_trait]
pub(crate) trait Rooms: Send + Sync {
    /// Opens the outbox with a snapshot, or what was missed, and puts it on the
    /// hub; every delta after that reaches it.
    async fn watch(&self, asked: Asked<'_>) -> Result<(), SubscribeError>;
}

/// A console that wants to watch.
pub(crate) struct Asked<'a> {
    pub(crate) classroom: &'a ClassroomId,
    pub(crate) console: ConsoleId,
    pub(crate) outbox: &'a Arc<Outbox>,
    pub(crate) since: Option<Cursor>,
}

/// The classrooms of this process, each an actor.
pub(crate) struct OwnRooms {
    pub(crate) classrooms: Arc<Directory>,
    pub(crate) witness: Arc<dyn Witness>,
}

impl Actor for ConsolesSupervisor {
    type Msg = ConsolesMessage;
    type State = ConsolesState;
    type Arguments = ConsolesArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: ConsolesArguments,
    ) -> Result<ConsolesState, ActorProcessingErr> {
        // the subscribers of an earlier incarnation end with it: their consoles come back by themselves
        arguments.lookout.census.end_tasks_below("consoles");
        let classrooms = arguments.lookout.classrooms.ids();
        let silences = classrooms.map(|id| (id, Silence::default())).collect();
        // it ends with this incarnation
        drop(myself.send_interval(LOOK_EVERY, || ConsolesMessage::Look));
        arguments.vitals.started();
        Ok(ConsolesState {
            arguments,
            silences,
        })
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut ConsolesState,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: ConsolesMessage,
        state: &mut ConsolesState,
    ) -> Result<(), ActorProcessingErr> {
        let _working = state.arguments.vitals.working();
        match message {
            ConsolesMessage::Look => {
                let look = Look::of(&state.arguments.lookout);
                for (classroom, silence) in &mut state.silences {
                    look.at(classroom, silence);
                    state.arguments.vitals.progressed();
                }
            }
        }
        Ok(())
    }
}

impl FrontOffice {
    pub(crate) fn new(
        census: Arc<Census>,
        hub: Arc<Hub>,
        rooms: Arc<dyn Rooms>,
        max_consoles: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            census,
            hub,
            rooms,
            max_consoles,
            connected: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
        })
    }
}

#[async_trait]
impl Rooms for OwnRooms {
    async fn watch(&self, asked: Asked<'_>) -> Result<(), SubscribeError> {
        let address = self.classrooms.get(asked.classroom);
        let address = address.ok_or(SubscribeError::NotFound)?;
        let step = Step::Subscribe {
            classroom: asked.classroom,
            since: asked.since.as_ref(),
        };
        let first = self.witness.before(step);
        let (watching, is_watching) = oneshot::channel();
        let message = ClassroomMessage::Watch {
            console: asked.console,
            outbox: Arc::clone(asked.outbox),
            since: asked.since,
            watching,
        };
        let answered = async {
            if let Some(wait) = first {
                wait.await;
            }
            address.send(message).await.ok()?;
            is_watching.await.ok()
        };
        match tokio::time::timeout(CLASSROOM_ANSWERS_WITHIN, answered).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(SubscribeError::Unavailable),
        }
    }
}

/// A console's line into the tree: the subscriber's place there ends with it.
struct Line {
    id: ConsoleId,
    vitals: Arc<Vitals>,
    office: Arc<FrontOffice>,
    outbox: Arc<Outbox>,
    _seat: Seat,
}

/// The consoles of one tree.
#[derive(Clone)]
pub(crate) struct ConsolesHandle(pub(crate) Arc<FrontOffice>);

impl Consoles for ConsolesHandle {
    fn connect(&self, outbox: Arc<Outbox>) -> Result<Box<dyn Console>, TooManyConsoles> {
        let office = &self.0;
        let seat = Seat::take(office).ok_or(TooManyConsoles)?;
        let id = office.next_id.fetch_add(1, Ordering::Relaxed);
        let name = format!("subscriber/{id}");
        let vitals = office
            .census
            .enter(name.as_str(), "subscriber", Some("consoles"), PATIENCE);
        vitals.started();
        let task = Arc::downgrade(&outbox);
        office.census.runs_task(&name, task);
        Ok(Box::new(Line {
            id,
            vitals,
            office: Arc::clone(office),
            outbox,
            _seat: seat,
        }))
    }
}

impl EndedOnRequest for Outbox {
    /// 1001 is not final: a console that is still there connects anew and resumes.
    fn end(&self) {
        self.close(CloseCode::Draining);
    }
}

#[async_trait]
impl Console for Line {
    async fn subscribe(
        &self,
        classroom: &ClassroomId,
        since: Option<Cursor>,
    ) -> Result<(), SubscribeError> {
        let _working = self.vitals.working();
        let Line { id, outbox, .. } = self;
        let asked = Asked {
            classroom,
            console: *id,
            outbox,
            since,
        };
        let watched = self.office.rooms.watch(asked).await;
        if watched == Err(SubscribeError::Unavailable) {
            self.office.hub.wait(classroom, *id, outbox);
        }
        watched
    }

    fn unsubscribe(&self, classroom: &ClassroomId) {
        self.office.hub.unwatch(classroom, self.id);
        self.outbox.stop_classroom(classroom);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let office = &self.office;
        if std::thread::panicking() {
            metrics::counter!("mimamori_consoles_failures_total").increment(1);
            tracing::warn!("a subscriber failed, its console is told to come back");
        }
        // first closed, so that a classroom that has yet to take it in sees that it left
        self.outbox.close(CloseCode::Draining);
        office.hub.forget(self.id);
        office.census.leave(self.vitals.name());
    }
}

/// A console's place among those that may be connected; free again when it is dropped.
struct Seat(Arc<FrontOffice>);

impl Seat {
    fn take(office: &Arc<FrontOffice>) -> Option<Self> {
        let max = office.max_consoles;
        office
            .connected
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < max).then_some(count + 1)
            })
            .ok()
            .map(|_| Self(Arc::clone(office)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::AcqRel);
    }
}
