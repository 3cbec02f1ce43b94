//! `root`: plants the tree, downstream first, and fells it, upstream first.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::classroom::{self, ClassroomActor, ClassroomArguments, ClassroomContext, Directory};
use crate::consoles::{
    ConsolesArguments, ConsolesHandle, ConsolesSupervisor, FrontOffice, Lookout, OwnRooms,
};
use crate::deadlines::{Deadlines, Owner};
use crate::domain::ClassroomId;
use crate::forgetting::Forgetting;
use crate::housekeeping::{self, Housekeeping, HousekeepingArguments};
use crate::hub::Hub;
use crate::live::Consoles;
use crate::ports::{Backfill, Bus, Clock, Journal, Retention, SnapshotError, Snapshots, Store};
use crate::registry::Registry;
use crate::router::{self, RouterContext};
use crate::session::actor::SessionContext;
use crate::session::careful::Careful;
use crate::session::fold::SessionState;
use crate::session::lost::{LostThreads, Roster, SessionsUndertaker, Verdict};
use crate::session::supervisor::{Sessions, SessionsArguments};
use crate::tree::{
    Address, Census, ChildSpec, RestartPolicy, Supervisor, SupervisorArguments, SupervisorMessage,
    Threads, Vitals, Watchdog, Witness, on,
};
use crate::writer::{self, Writer, WriterArguments};

/// What a supervisor may take for starting its children.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the tree is planted with: the implementations of the ports, and who may be watched.
pub struct Parts {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The time, on both scales.
    pub clock: Arc<dyn Clock>,
    /// Where session states are kept.
    pub snapshots: Arc<dyn Snapshots>,
    /// The store of the `records` writer.
    pub records: Arc<dyn Store>,
    /// The store of the `series` writer.
    pub series: Arc<dyn Store>,
    /// What the series are filled again from if the journal went on without them.
    pub backfill: Arc<dyn Backfill>,
    /// Deletes what is past its term; nothing where everything is kept for ever.
    pub retention: Option<Arc<dyn Retention>>,
    /// Carries deltas to consoles.
    pub bus: Arc<dyn Bus>,
    /// Which consoles watch which classroom.
    pub hub: Arc<Hub>,
    /// All classrooms.
    pub classrooms: Vec<ClassroomId>,
    /// So many consoles may be connected.
    pub max_consoles: usize,
    /// The runtimes that actors run on.
    pub threads: Threads,
    /// Who is told of each step: [`crate::tree::Nobody`] but in tests of faults.
    pub witness: Arc<dyn Witness>,
    /// Nothing if the last stop was clean.
    pub careful: Option<Careful>,
}

/// Why the tree could not be planted.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// The session states can't be read.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// An actor did not start.
    #[error("an actor did not start: {0}")]
    Actor(#[from] Box<SpawnErr>),
}

/// The tree of actors.
pub struct Tree {
    root: ActorRef<SupervisorMessage>,
    /// Nothing once its end was seen.
    ended: Option<JoinHandle<()>>,
    verdict: watch::Receiver<Option<String>>,
    census: Arc<Census>,
    registry: Arc<Registry>,
    consoles: ConsolesHandle,
    forgetting: Forgetting,
}

impl Tree {
    /// Reads the session states and starts every actor. The watchdog looks when
    /// it is told to: [`Watchdog::look`], every [`Watchdog::EVERY`].
    ///
    /// # Errors
    /// When the snapshots can't be read, or an actor does not start.
    pub async fn plant(parts: Parts) -> Result<(Self, Watchdog), PlantError> {
        let ground = Ground::prepare(parts)?;
        let census = Arc::clone(&ground.census);
        let registry = Arc::clone(&ground.registry);
        let threads = ground.parts.threads.clone();
        let witness = Arc::clone(&ground.parts.witness);
        let verdict = ground.verdict.subscribe();
        let vitals = census.enter("root", "root", None, PATIENCE);
        let (consoles, undertaker, forgetting, children) = ground.children();
        let arguments = SupervisorArguments {
            vitals,
            census: Arc::clone(&census),
            policy: RestartPolicy::DEFAULT,
            children,
        };
        let start = Actor::spawn(None, Supervisor, arguments);
        let (root, ended) = on(&threads.tree, start).await.map_err(Box::new)?;
        let watchdog = Watchdog::new(Arc::clone(&census), Arc::new(undertaker), threads, witness);
        let tree = Self {
            root,
            ended: Some(ended),
            verdict,
            census,
            registry,
            consoles,
            forgetting,
        };
        Ok((tree, watchdog))
    }

    /// Every actor's vital signs.
    pub fn census(&self) -> &Arc<Census> {
        &self.census
    }

    /// Every student as last published.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Where it is asked to forget somebody.
    pub fn forgetting(&self) -> Forgetting {
        self.forgetting.clone()
    }

    /// Takes consoles in.
    pub fn consoles(&self) -> Arc<dyn Consoles> {
        Arc::new(self.consoles.clone())
    }

    /// Returns, with the reason, when the tree has ended or must end because too much failed.
    pub async fn ended(&mut self) -> String {
        let Some(ended) = &mut self.ended else {
            return "it has ended".to_owned();
        };
        tokio::select! {
            verdict = self.verdict.wait_for(Option::is_some) => {
                verdict.ok().and_then(|verdict| verdict.clone()).unwrap_or_default()
            }
            // a root that panicked has ended too
            _ = ended => {
                self.ended = None;
                "the actors failed too often".to_owned()
            }
        }
    }

    /// Stops every actor, upstream first; `false` if that was not done in time.
    pub async fn fell(mut self, within: Duration) -> bool {
        self.root.stop(None);
        let Some(ended) = self.ended.take() else {
            return true;
        };
        let is_done = tokio::time::timeout(within, ended).await.is_ok();
        if !is_done {
            tracing::warn!(
                "the actors did not stop in time, what they had in hand is read again at the next start"
            );
        }
        is_done
    }
}

/// What the actors share, and where each is found.
struct Ground {
    parts: Parts,
    census: Arc<Census>,
    registry: Arc<Registry>,
    deadlines: Arc<Deadlines>,
    classrooms: Vec<(ClassroomId, Address<classroom::ClassroomMessage>)>,
    directory: Arc<Directory>,
    verdict: Arc<Verdict>,
}

impl Ground {
    fn prepare(parts: Parts) -> Result<Self, PlantError> {
        let census = Arc::new(Census::default());
        let registry = Arc::new(Registry::default());
        let deadlines = Arc::new(Deadlines::default());
        parts.snapshots.all_sessions(&mut |key, bytes| match SessionState::decode(bytes) {
            Ok(state) => {
                registry.publish(&key, Arc::new(state.view()));
                deadlines.set(&Owner::Session(key), state.deadlines());
            }
            Err(error) => {
                tracing::error!(student.id = key.student.as_str(), error = %error, "a session's snapshot can't be read");
            }
        })?;
        let classrooms: Vec<_> = parts
            .classrooms
            .iter()
            .map(|id| {
                let name = format!("classroom/{id}");
                let vitals =
                    census.enter(name, "classroom", Some("classrooms"), classroom::PATIENCE);
                (id.clone(), Address::new(vitals, classroom::MAILBOX))
            })
            .collect();
        let directory = Arc::new(Directory::new(classrooms.iter().cloned()));
        // a thread and a fan-out that are no actors, but stand in the tree
        for (name, kind) in [("journal", "journal"), ("bus", "bus")] {
            census.enter(name, kind, Some("root"), PATIENCE).started();
        }
        Ok(Self {
            parts,
            census,
            registry,
            deadlines,
            classrooms,
            directory,
            verdict: Arc::new(Verdict::new(None)),
        })
    }

    fn vitals(
        &self,
        name: &str,
        kind: &'static str,
        parent: &str,
        patience: Duration,
    ) -> Arc<Vitals> {
        self.census.enter(name, kind, Some(parent), patience)
    }

    /// Downstream first: whoever is told stands before whoever tells.
    fn children(
        self,
    ) -> (
        ConsolesHandle,
        SessionsUndertaker,
        Forgetting,
        Vec<ChildSpec>,
    ) {
        let router = Address::new(
            self.vitals("router", "router", "sessions", router::PATIENCE),
            router::MAILBOX,
        );
        let consoles = ConsolesHandle(FrontOffice::new(
            Arc::clone(&self.census),
            Arc::clone(&self.parts.hub),
            Arc::new(OwnRooms {
                classrooms: Arc::clone(&self.directory),
                witness: Arc::clone(&self.parts.witness),
            }),
            self.parts.max_consoles,
        ));
        let undertaker = SessionsUndertaker {
            roster: Arc::new(Roster::new()),
            router: router.clone(),
            lost: Arc::new(LostThreads::new(Arc::clone(&self.verdict))),
            verdict: Arc::clone(&self.verdict),
        };
        let housekeeping = Address::new(
            self.vitals(
                "housekeeping",
                "housekeeping",
                "root",
                housekeeping::PATIENCE,
            ),
            housekeeping::MAILBOX,
        );
        let forgetting = Forgetting {
            router: router.clone(),
            housekeeping: housekeeping.clone(),
            classrooms: Arc::clone(&self.directory),
            census: Arc::clone(&self.census),
        };
        let children = vec![
            self.consoles(),
            self.classrooms(),
            self.writers(),
            self.sessions(&undertaker),
            self.housekeeping(router, housekeeping),
        ];
        (consoles, undertaker, forgetting, children)
    }

    fn consoles(&self) -> ChildSpec {
        let vitals = self.vitals("consoles", "supervisor", "root", PATIENCE);
        let arguments = ConsolesArguments {
            vitals: Arc::clone(&vitals),
            lookout: Arc::new(Lookout {
                census: Arc::clone(&self.census),
                hub: Arc::clone(&self.parts.hub),
                bus: Arc::clone(&self.parts.bus),
                classrooms: Arc::clone(&self.directory),
                clock: Arc::clone(&self.parts.clock),
                end: self.parts.journal.end(),
            }),
        };
        child(vitals, || ConsolesSupervisor, arguments)
    }

    fn classrooms(&self) -> ChildSpec {
        let context = Arc::new(ClassroomContext {
            journal: Arc::clone(&self.parts.journal),
            registry: Arc::clone(&self.registry),
            hub: Arc::clone(&self.parts.hub),
            bus: Arc::clone(&self.parts.bus),
            clock: Arc::clone(&self.parts.clock),
            witness: Arc::clone(&self.parts.witness),
        });
        let children = self
            .classrooms
            .iter()
            .map(|(classroom, address)| {
                let arguments = ClassroomArguments {
                    classroom: classroom.clone(),
                    address: address.clone(),
                    context: Arc::clone(&context),
                };
                child(Arc::clone(address.vitals()), || ClassroomActor, arguments)
            })
            .collect();
        self.supervisor("classrooms", children)
    }

    fn writers(&self) -> ChildSpec {
        let stores = [
            ("records", &self.parts.records, None),
            ("series", &self.parts.series, Some(&self.parts.backfill)),
        ];
        let children = stores
            .map(|(consumer, store, backfill)| {
                let vitals = self.vitals(consumer, "writer", "writers", writer::PATIENCE);
                let arguments = WriterArguments {
                    consumer,
                    address: Address::new(Arc::clone(&vitals), writer::MAILBOX),
                    journal: Arc::clone(&self.parts.journal),
                    store: Arc::clone(store),
                    backfill: backfill.cloned(),
                    witness: Arc::clone(&self.parts.witness),
                };
                child(vitals, || Writer, arguments)
            })
            .into();
        self.supervisor("writers", children)
    }

    fn sessions(&self, undertaker: &SessionsUndertaker) -> ChildSpec {
        let vitals = self.vitals("sessions", "supervisor", "root", PATIENCE);
        let session = Arc::new(SessionContext {
            journal: Arc::clone(&self.parts.journal),
            snapshots: Arc::clone(&self.parts.snapshots),
            registry: Arc::clone(&self.registry),
            classrooms: Arc::clone(&self.directory),
            deadlines: Arc::clone(&self.deadlines),
            witness: Arc::clone(&self.parts.witness),
            careful: self.parts.careful.clone(),
        });
        let arguments = SessionsArguments {
            vitals: Arc::clone(&vitals),
            router: undertaker.router.clone(),
            context: Arc::new(RouterContext {
                session,
                census: Arc::clone(&self.census),
                threads: self.parts.threads.clone(),
                roster: Arc::clone(&undertaker.roster),
                lost: Arc::clone(&undertaker.lost),
            }),
        };
        child(vitals, || Sessions, arguments)
    }

    fn housekeeping(
        &self,
        router: Address<router::RouterMessage>,
        address: Address<housekeeping::HousekeepingMessage>,
    ) -> ChildSpec {
        let vitals = Arc::clone(address.vitals());
        let arguments = HousekeepingArguments {
            address,
            journal: Arc::clone(&self.parts.journal),
            clock: Arc::clone(&self.parts.clock),
            deadlines: Arc::clone(&self.deadlines),
            router,
            census: Arc::clone(&self.census),
            witness: Arc::clone(&self.parts.witness),
            retention: self.parts.retention.clone(),
        };
        child(vitals, || Housekeeping, arguments)
    }

    /// A parent whose children are told by name.
    fn supervisor(&self, name: &str, children: Vec<ChildSpec>) -> ChildSpec {
        let vitals = self.vitals(name, "supervisor", "root", PATIENCE);
        let census = Arc::clone(&self.census);
        let of_child = Arc::clone(&vitals);
        ChildSpec {
            vitals,
            start: Arc::new(move |start| {
                let arguments = SupervisorArguments {
                    vitals: Arc::clone(&of_child),
                    census: Arc::clone(&census),
                    policy: RestartPolicy::DEFAULT,
                    children: children.clone(),
                };
                Box::pin(async move { spawn(Supervisor, arguments, start.supervisor).await })
            }),
        }
    }
}

async fn spawn<A: Actor>(
    actor: A,
    arguments: A::Arguments,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    Actor::spawn_linked(None, actor, arguments, supervisor)
        .await
        .map(|(actor, _)| actor.get_cell())
}

/// A child that is started with the same arguments in every incarnation.
fn child<A, F>(vitals: Arc<Vitals>, actor: F, arguments: A::Arguments) -> ChildSpec
where
    A: Actor,
    A::Arguments: Clone + Sync,
    F: Fn() -> A + Send + Sync + 'static,
{
    ChildSpec {
        vitals,
        start: Arc::new(move |start| Box::pin(spawn(actor(), arguments.clone(), start.supervisor))),
    }
}
