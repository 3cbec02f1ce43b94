//! `consoles` and its children `subscriber/<n>`: one for each console that is connected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use crate::classroom::{ClassroomMessage, Directory};
use crate::domain::{ClassroomId, Cursor};
use crate::hub::{ConsoleId, Hub};
use crate::live::{Console, Consoles, SubscribeError, TooManyConsoles};
use crate::outbox::{CloseCode, Outbox};
use crate::tree::{
    ActorState, Address, Budget, Census, Decision, Envelope, RestartPolicy, Step, Threads, Vitals,
    Witness, on,
};

/// How many messages may wait for a subscriber; a console sends them one after the other.
const MAILBOX: usize = 16;
/// A classroom answers within this time, or the subscriber is frozen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a console waits for a classroom that starts anew.
const CLASSROOM_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The parent of the subscribers. It restarts none: the console comes back by itself and resumes.
pub(crate) struct ConsolesSupervisor;

#[derive(Clone)]
pub(crate) struct ConsolesArguments {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) office: Arc<FrontOffice>,
}

/// Takes consoles in; outlives the incarnations of the supervisor.
pub(crate) struct FrontOffice {
    pub(crate) census: Arc<Census>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) classrooms: Arc<Directory>,
    pub(crate) threads: Threads,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) max_consoles: usize,
    connected: AtomicUsize,
    next_id: AtomicU64,
    supervisor: std::sync::RwLock<Option<ActorCell>>,
    subscribers: DashMap<ActorId, Arc<Outbox>>,
}

impl FrontOffice {
    pub(crate) fn new(
        census: Arc<Census>,
        hub: Arc<Hub>,
        classrooms: Arc<Directory>,
        threads: Threads,
        witness: Arc<dyn Witness>,
        max_consoles: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            census,
            hub,
            classrooms,
            threads,
            witness,
            max_consoles,
            connected: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            supervisor: std::sync::RwLock::new(None),
            subscribers: DashMap::new(),
        })
    }

    fn supervisor(&self) -> Option<ActorCell> {
        self.supervisor
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

pub(crate) struct ConsolesState {
    arguments: ConsolesArguments,
    budget: Budget,
}

impl Actor for ConsolesSupervisor {
    type Msg = ();
    type State = ConsolesState;
    type Arguments = ConsolesArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        arguments: ConsolesArguments,
    ) -> Result<ConsolesState, ActorProcessingErr> {
        *arguments
            .office
            .supervisor
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(myself.get_cell());
        // the subscribers of an earlier incarnation ended with it: their consoles come back by themselves
        let office = &arguments.office;
        let orphans: Vec<ActorId> = office
            .subscribers
            .iter()
            .map(|entry| *entry.key())
            .collect();
        for orphan in orphans {
            if let Some((_, outbox)) = office.subscribers.remove(&orphan) {
                outbox.close(CloseCode::Draining);
            }
        }
        arguments.vitals.started();
        Ok(ConsolesState {
            arguments,
            budget: Budget::new(RestartPolicy::SUBSCRIBER),
        })
    }

    async fn post_stop(
        &self,
        _: ActorRef<()>,
        state: &mut ConsolesState,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        state: &mut ConsolesState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.arguments.vitals);
        let _working = vitals.working();
        let cell = match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                metrics::counter!("mimamori_consoles_failures_total").increment(1);
                tracing::warn!(error = %error, "a subscriber failed, its console is told to come back");
                cell
            }
            SupervisionEvent::ActorTerminated(cell, _, _) => cell,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let subscribers = &state.arguments.office.subscribers;
        let Some((_, outbox)) = subscribers.remove(&cell.get_id()) else {
            return Ok(());
        };
        match state.budget.failed() {
            // 1001 is not final: a console that is still there connects anew and resumes
            Decision::LetGo | Decision::RestartAfter(_) => outbox.close(CloseCode::Draining),
            Decision::Escalate => return Err("subscribers fail too often".into()),
        }
        Ok(())
    }
}

struct Subscriber;

enum SubscriberMessage {
    Subscribe {
        classroom: ClassroomId,
        since: Option<Cursor>,
        answer: oneshot::Sender<Result<(), SubscribeError>>,
    },
    Unsubscribe {
        classroom: ClassroomId,
    },
}

struct SubscriberArguments {
    id: ConsoleId,
    address: Address<SubscriberMessage>,
    outbox: Arc<Outbox>,
    office: Arc<FrontOffice>,
}

struct SubscriberState {
    arguments: SubscriberArguments,
    watched: BTreeSet<ClassroomId>,
}

impl Actor for Subscriber {
    type Msg = Envelope<SubscriberMessage>;
    type State = SubscriberState;
    type Arguments = SubscriberArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: SubscriberArguments,
    ) -> Result<SubscriberState, ActorProcessingErr> {
        arguments
            .office
            .subscribers
            .insert(myself.get_id(), Arc::clone(&arguments.outbox));
        arguments.address.attach(myself);
        arguments.address.vitals().started();
        Ok(SubscriberState {
            arguments,
            watched: BTreeSet::new(),
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<SubscriberMessage>,
        state: &mut SubscriberState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(state.arguments.address.vitals());
        let _working = vitals.working();
        match envelope.open() {
            SubscriberMessage::Subscribe {
                classroom,
                since,
                answer,
            } => {
                // it fails only if the console left meanwhile
                let _ = answer.send(state.subscribe(classroom, since).await);
            }
            SubscriberMessage::Unsubscribe { classroom } => {
                state
                    .arguments
                    .office
                    .hub
                    .unwatch(&classroom, state.arguments.id);
                state.arguments.outbox.stop_classroom(&classroom);
                state.watched.remove(&classroom);
            }
        }
        Ok(())
    }
}

impl SubscriberState {
    async fn subscribe(
        &mut self,
        classroom: ClassroomId,
        since: Option<Cursor>,
    ) -> Result<(), SubscribeError> {
        let SubscriberArguments {
            id, outbox, office, ..
        } = &self.arguments;
        let step = Step::Subscribe {
            classroom: &classroom,
            since: since.as_ref(),
        };
        if let Some(wait) = office.witness.before(step) {
            wait.await;
        }
        let address = office
            .classrooms
            .get(&classroom)
            .ok_or(SubscribeError::NotFound)?;
        let (watching, is_watching) = oneshot::channel();
        let message = ClassroomMessage::Watch {
            console: *id,
            outbox: Arc::clone(outbox),
            since,
            watching,
        };
        self.watched.insert(classroom);
        let answer = async {
            let is_sent = address.send(message).await.is_ok();
            is_sent && is_watching.await.is_ok()
        };
        match tokio::time::timeout(CLASSROOM_ANSWERS_WITHIN, answer).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(SubscribeError::Unavailable),
        }
    }
}

/// A console's line into the tree: the actor ends with it.
struct Line {
    id: ConsoleId,
    name: String,
    address: Address<SubscriberMessage>,
    cell: ActorCell,
    office: Arc<FrontOffice>,
    outbox: Arc<Outbox>,
    _seat: Seat,
}

/// The consoles of one tree.
#[derive(Clone)]
pub(crate) struct ConsolesHandle(pub(crate) Arc<FrontOffice>);

#[async_trait]
impl Consoles for ConsolesHandle {
    async fn connect(&self, outbox: Arc<Outbox>) -> Result<Box<dyn Console>, TooManyConsoles> {
        let seat = Seat::take(&self.0).ok_or(TooManyConsoles)?;
        Ok(Box::new(self.open(outbox, seat).await?))
    }
}

impl ConsolesHandle {
    async fn open(&self, outbox: Arc<Outbox>, seat: Seat) -> Result<Line, TooManyConsoles> {
        let office = Arc::clone(&self.0);
        // while the supervisor starts anew no console can be taken in
        let supervisor = office.supervisor().ok_or(TooManyConsoles)?;
        let id = office.next_id.fetch_add(1, Ordering::Relaxed);
        let name = format!("subscriber/{id}");
        let vitals = office
            .census
            .enter(name.clone(), "subscriber", Some("consoles"), PATIENCE);
        let address = Address::new(vitals, MAILBOX);
        let arguments = SubscriberArguments {
            id,
            address: address.clone(),
            outbox: Arc::clone(&outbox),
            office: Arc::clone(&office),
        };
        let start = Actor::spawn_linked(None, Subscriber, arguments, supervisor);
        match on(&office.threads.tree, start).await {
            Ok((actor, _)) => {
                office.census.runs(&name, actor.get_cell());
                Ok(Line {
                    id,
                    name,
                    address,
                    cell: actor.get_cell(),
                    office,
                    outbox,
                    _seat: seat,
                })
            }
            Err(error) => {
                tracing::warn!(error = %error, "a console could not be taken in");
                office.census.leave(&name);
                Err(TooManyConsoles)
            }
        }
    }
}

#[async_trait]
impl Console for Line {
    async fn subscribe(
        &self,
        classroom: &ClassroomId,
        since: Option<Cursor>,
    ) -> Result<(), SubscribeError> {
        let (answer, answered) = oneshot::channel();
        let message = SubscriberMessage::Subscribe {
            classroom: classroom.clone(),
            since,
            answer,
        };
        self.address
            .send(message)
            .await
            .map_err(|_returned| SubscribeError::Unavailable)?;
        answered.await.unwrap_or(Err(SubscribeError::Unavailable))
    }

    async fn unsubscribe(&self, classroom: &ClassroomId) {
        let message = SubscriberMessage::Unsubscribe {
            classroom: classroom.clone(),
        };
        // comes back only if the subscriber failed: then the console is closed anyway
        let _ = self.address.send(message).await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let office = &self.office;
        // first closed, so that a classroom that has yet to take it in sees that it left
        self.outbox.close(CloseCode::Draining);
        // every classroom: the actor that knew which ones may have failed
        office.hub.forget(self.id);
        office.subscribers.remove(&self.cell.get_id());
        self.cell.stop(None);
        office.census.leave(&self.name);
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
