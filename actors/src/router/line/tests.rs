//! Turns after the students that are behind.

use std::sync::atomic::Ordering;

use ractor::{ActorRef, SupervisionEvent};
use tokio::sync::watch;

use super::*;
use crate::domain::{ClassroomId, EventKind, StudentId};
use crate::ports::{Journal, Origin};
use crate::router::{RouterArguments, RouterContext};
use crate::session::actor::SessionContext;
use crate::session::lost::{LostThreads, Roster};
use crate::testing::{MemoryJournal, MemorySnapshots, TestClock, event};
use crate::tree::{Census, Envelope, Nobody, Threads};

/// Stands for the router's actor and for the sessions' parent.
struct Deaf;

impl Actor for Deaf {
    type Msg = Envelope<RouterMessage>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

struct Bench {
    journal: Arc<MemoryJournal>,
    router: RouterState,
}

impl Bench {
    async fn new() -> Self {
        let journal = MemoryJournal::new(TestClock::new());
        let session = SessionContext {
            journal: journal.clone(),
            snapshots: Arc::<MemorySnapshots>::default(),
            registry: Arc::default(),
            classrooms: Arc::default(),
            deadlines: Arc::default(),
            witness: Arc::new(Nobody),
            careful: None,
        };
        let census = Arc::new(Census::default());
        let vitals = census.enter("router", "router", None, Duration::from_secs(1));
        let (deaf, _) = Actor::spawn(None, Deaf, ()).await.unwrap();
        let arguments = RouterArguments {
            address: Address::new(vitals, 8),
            context: Arc::new(RouterContext {
                session: Arc::new(session),
                census,
                threads: Threads::current(),
                roster: Arc::new(Roster::new()),
                lost: Arc::new(LostThreads::new(Arc::new(watch::Sender::new(None)))),
            }),
            sessions: deaf.get_cell(),
        };
        let router = RouterState::load(deaf, arguments).unwrap();
        Self { journal, router }
    }

    /// So many students with an event each, whose sessions ended and nobody has said so yet.
    async fn with_dead_sessions(count: u64) -> Self {
        let mut bench = Self::new().await;
        for number in 1..=count {
            let student = format!("student{number:03}");
            let run = event(&student, EventKind::CellExecuted, number);
            bench
                .journal
                .append(vec![run], Origin::Outside)
                .await
                .unwrap();
            let key = key(&student);
            let mut line = bench.router.open_line(&key, Position(number)).await;
            let cell = line.cell.clone().unwrap();
            cell.kill();
            cell.wait(None).await.unwrap();
            line.mode = Mode::Behind {
                from: Position(number),
            };
            bench.router.lines.insert(key.clone(), line);
            bench.router.behind.insert(key);
        }
        bench.router.read_through = Position(count);
        bench
    }

    /// One turn; how often it read the journal.
    async fn turn(&mut self) -> usize {
        let before = self.journal.reads.load(Ordering::Relaxed);
        self.router.catch_up().await.unwrap();
        self.journal.reads.load(Ordering::Relaxed) - before
    }
}

fn key(student: &str) -> SessionKey {
    SessionKey {
        classroom: ClassroomId::new("default"),
        student: StudentId::new(student),
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_costs_a_turn_one_read() {
    let mut bench = Bench::with_dead_sessions(1).await;
    let gone = key("student001");
    assert!(bench.router.lines[&gone].address.has_room());

    assert_eq!(bench.turn().await, 1);
    assert_eq!(bench.turn().await, 1);

    let from = Position(1);
    assert_eq!(bench.router.lines[&gone].mode, Mode::Behind { from });
}

#[tokio::test(start_paused = true)]
async fn a_turn_looks_after_each_at_most_once_and_the_next_goes_on_behind_the_last() {
    let mut bench = Bench::with_dead_sessions(100).await;

    let mut turns = Vec::new();
    for _ in 0..3 {
        let reads = bench.turn().await;
        turns.push((reads, bench.router.looked_after.clone().unwrap()));
    }

    let expected = [(64, "student064"), (64, "student028"), (64, "student092")];
    assert_eq!(turns, expected.map(|(reads, last)| (reads, key(last))));
    let mut few = Bench::with_dead_sessions(3).await;
    assert_eq!(few.turn().await, 3);
}
