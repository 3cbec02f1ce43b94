//! `router`: reads the journal on and hands each student's entries to the session actor.
//!
//! Live and replay are the same path. Each session has room for a few entries;
//! a student whose session is full, or failed, is *behind*: the router goes on
//! for the others and later reads that student's entries from the journal
//! again, from where it stopped. So nothing waits in memory without a bound.

mod attempts;
mod checkpoint;
mod line;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};

use crate::deadlines::Owner;
use crate::domain::{
    ClassroomId, Entry, FactKind, LessonId, Position, Record, SessionKey, StudentId,
};
use crate::inside::append_facts;
use crate::lesson::Lessons;
use crate::ports::{Batch, ReadError};
use crate::session::actor::SessionContext;
use crate::session::lost::{LostThreads, Roster};
use crate::tree::{ActorState, Address, Census, Envelope, Later, Own, Step, Threads, Vitals};
use attempts::Attempts;
use line::Line;

/// How many messages may wait for the router.
pub(crate) const MAILBOX: usize = 1_024;
/// Reading and handing out one batch takes no longer than this, or the router is frozen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// So many entries are read at a time.
const BATCH: usize = 256;
/// Students that are behind are looked after this often.
const CATCH_UP_EVERY: Duration = Duration::from_millis(5);
/// The journal reads from the disk what is no longer in memory.
const JOURNAL_READS_WITHIN: Duration = Duration::from_secs(30);

pub(crate) enum RouterMessage {
    /// There is something to read.
    Pump,
    /// Look after the students that are behind.
    CatchUp,
    /// Save what changed, commit the offset, let idle sessions sleep.
    Checkpoint,
    /// The snapshots up to here are durable.
    CheckpointDone {
        offset: Position,
        error: Option<String>,
    },
    /// A session's actor failed, or was written off.
    SessionFailed {
        key: SessionKey,
        actor: ActorId,
        reason: String,
    },
    /// The wait before a session's restart is over.
    RestartSession { key: SessionKey },
    /// End this session and know nothing of it: its person is erased.
    Forget {
        key: SessionKey,
        told: oneshot::Sender<()>,
    },
}

/// What the router needs over all its incarnations.
pub(crate) struct RouterContext {
    pub(crate) session: Arc<SessionContext>,
    pub(crate) census: Arc<Census>,
    pub(crate) threads: Threads,
    pub(crate) roster: Arc<Roster>,
    pub(crate) lost: Arc<LostThreads>,
}

pub(crate) struct RouterArguments {
    pub(crate) address: Address<RouterMessage>,
    pub(crate) context: Arc<RouterContext>,
    pub(crate) sessions: ActorCell,
}

pub(crate) struct Router;

pub(crate) struct RouterState {
    context: Arc<RouterContext>,
    own: Own<RouterMessage>,
    sessions: ActorCell,
    vitals: Arc<Vitals>,
    /// Everything up to here has been handed out, or its student is behind.
    read_through: Position,
    /// Every position up to here is in the durable snapshots.
    committed: Position,
    lessons: Lessons,
    lines: HashMap<SessionKey, Line>,
    behind: BTreeSet<SessionKey>,
    /// Who of those behind was looked after last.
    looked_after: Option<SessionKey>,
    attempts: Attempts,
    is_checkpointing: bool,
    /// The next look after the students that are behind.
    catch_up: Option<Later>,
    pump: PumpFlag,
    /// What pumps when the journal grows.
    _pumping: Later,
}

/// Whether a [`RouterMessage::Pump`] waits already: one is enough.
type PumpFlag = Arc<AtomicBool>;

impl Actor for Router {
    type Msg = Envelope<RouterMessage>;
    type State = RouterState;
    type Arguments = RouterArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: RouterArguments,
    ) -> Result<RouterState, ActorProcessingErr> {
        let state = RouterState::load(myself, arguments)?;
        state.bury_again().await?;
        state.vitals.started();
        Ok(state)
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        state.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<RouterMessage>,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.vitals);
        let _working = vitals.working();
        match envelope.open() {
            RouterMessage::Pump => state.pump_once().await?,
            RouterMessage::CatchUp => state.catch_up().await?,
            RouterMessage::Checkpoint => state.checkpoint(),
            RouterMessage::CheckpointDone { offset, error } => state.checkpoint_done(offset, error),
            RouterMessage::SessionFailed { key, actor, reason } => {
                state.session_failed(&key, actor, reason);
            }
            RouterMessage::RestartSession { key } => state.restart_session(&key).await,
            RouterMessage::Forget { key, told } => {
                state.forget(key).await;
                // who does not wait any more needs no answer
                let _ = told.send(());
            }
        }
        state.look_after_those_behind();
        state.pump_on();
        Ok(())
    }
}

impl RouterState {
    /// Reads one batch and hands it out; more to read is another message, so that others get their turn.
    async fn pump_once(&mut self) -> Result<(), ActorProcessingErr> {
        self.pump.store(false, Ordering::Release);
        let batch = match self.read(self.read_through).await {
            Ok(batch) => batch,
            Err(ReadError::Trimmed { oldest }) => {
                tracing::error!(
                    journal.offset = self.read_through.0,
                    oldest = oldest.0,
                    "entries that sessions had not read are gone"
                );
                metrics::counter!("mimamori_router_gaps_total").increment(1);
                self.read_through = Position(oldest.0.saturating_sub(1));
                return Ok(());
            }
            Err(error @ ReadError::Failed(_)) => return Err(error.into()),
        };
        if let Some(wait) = (self.context.session.witness).before(Step::Route(&batch.entries)) {
            wait.await;
        }
        for entry in &batch.entries {
            self.route(entry).await?;
            self.vitals.progressed();
        }
        self.read_through = batch.through;
        let end = *self.context.session.journal.end().borrow();
        self.vitals
            .set_lag(end.0.saturating_sub(self.read_through.0));
        self.vitals.set_read_through(self.read_through);
        Ok(())
    }

    async fn read(&self, after: Position) -> Result<Batch, ReadError> {
        let _waiting = self.vitals.waiting(JOURNAL_READS_WITHIN);
        self.context.session.journal.read(after, BATCH).await
    }

    /// While there is more to read another message waits, so that others get their turn.
    fn pump_on(&self) {
        if self.read_through < *self.context.session.journal.end().borrow() {
            self.pump_again();
        }
    }

    fn pump_again(&self) {
        if !self.pump.swap(true, Ordering::AcqRel)
            && self.own.try_send(RouterMessage::Pump).is_err()
        {
            // the mailbox is full: whoever filled it makes us come by again
            self.pump.store(false, Ordering::Release);
        }
    }

    async fn route(&mut self, entry: &Arc<Entry>) -> Result<(), ActorProcessingErr> {
        let lesson = self.lesson_of(entry).await?;
        match &entry.record {
            Record::Event(accepted) => {
                let key = SessionKey {
                    classroom: accepted.classroom.clone(),
                    student: accepted.student.clone(),
                };
                self.dispatch(&key, entry, lesson).await;
            }
            Record::Timer(timer) => {
                if let Some(student) = timer.cause.student() {
                    let key = SessionKey {
                        classroom: timer.classroom.clone(),
                        student: student.clone(),
                    };
                    self.dispatch(&key, entry, None).await;
                }
            }
            Record::Fact(fact) if matches!(fact.kind, FactKind::LessonEnded { .. }) => {
                for key in self.in_lesson(&fact.classroom) {
                    self.dispatch(&key, entry, None).await;
                    // one entry for a hundred thousand students
                    self.vitals.progressed();
                }
            }
            Record::Fact(_) => {}
            Record::Rejection(_) | Record::DeadLetter(_) => {}
        }
        Ok(())
    }

    /// The students to whom the end of a lesson may mean something: those awake,
    /// and those asleep with something of a lesson left.
    fn in_lesson(&self, classroom: &ClassroomId) -> BTreeSet<SessionKey> {
        let awake = self.lines.keys().filter(|key| key.classroom == *classroom);
        let views = self.context.session.registry.views(classroom);
        let asleep = views
            .iter()
            .filter(|view| view.has_anything_of_a_lesson())
            .map(|view| SessionKey {
                classroom: classroom.clone(),
                student: view.id.clone(),
            });
        awake.cloned().chain(asleep).collect()
    }

    /// Moves the classroom's lessons on, and tells the one that a client's event belongs to.
    async fn lesson_of(&mut self, entry: &Entry) -> Result<Option<LessonId>, ActorProcessingErr> {
        let (lesson, facts) = match &entry.record {
            Record::Event(accepted) => {
                let (lesson, facts) =
                    self.lessons
                        .stamp(&accepted.classroom, entry.position, entry.moment());
                (Some(lesson), facts)
            }
            Record::Timer(timer) => (None, self.lessons.timer(timer, entry.position)),
            Record::Fact(_) | Record::Rejection(_) | Record::DeadLetter(_) => return Ok(None),
        };
        append_facts(&*self.context.session.journal, &self.vitals, facts).await?;
        if let Some(classroom) = entry.record.classroom() {
            let due = self.lessons.deadline_of(classroom).into_iter().collect();
            self.context
                .session
                .deadlines
                .set(&Owner::Classroom(classroom.clone()), due);
        }
        Ok(lesson)
    }
}

/// Whether this student's session must see the entry.
fn concerns(entry: &Entry, key: &SessionKey) -> bool {
    let is_about = |classroom: &ClassroomId, student: Option<&StudentId>| {
        key.classroom == *classroom && student.is_none_or(|student| *student == key.student)
    };
    match &entry.record {
        Record::Event(accepted) => is_about(&accepted.classroom, Some(&accepted.student)),
        Record::Timer(timer) => timer
            .cause
            .student()
            .is_some_and(|student| is_about(&timer.classroom, Some(student))),
        Record::Fact(fact) => {
            matches!(fact.kind, FactKind::LessonEnded { .. }) && is_about(&fact.classroom, None)
        }
        Record::Rejection(_) | Record::DeadLetter(_) => false,
    }
}

/// A router's state in the snapshots.
#[derive(serde::Serialize, serde::Deserialize)]
struct Saved {
    version: u32,
    lessons: Lessons,
}

/// The newest format of a router's state that this version reads.
pub const ROUTER_FORMAT: u32 = Saved::VERSION;

/// The format of a router's state as kept; 0 if it says none.
pub fn router_format(kept: &[u8]) -> u32 {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    serde_json::from_slice(kept).map_or(0, |kept: Version| kept.version)
}

impl Saved {
    const VERSION: u32 = 1;

    fn decode(bytes: &[u8]) -> Result<Lessons, ActorProcessingErr> {
        let saved: Self = serde_json::from_slice(bytes)?;
        match saved.version {
            Self::VERSION => Ok(saved.lessons),
            other => Err(format!(
                "the router's snapshot has format {other}, this version reads {}",
                Self::VERSION
            )
            .into()),
        }
    }
}

impl RouterState {
    fn load(
        myself: ActorRef<Envelope<RouterMessage>>,
        arguments: RouterArguments,
    ) -> Result<Self, ActorProcessingErr> {
        let RouterArguments {
            address,
            context,
            sessions,
        } = arguments;
        let session = &context.session;
        let saved = session.snapshots.router(&session.journal.id())?;
        let (lessons, offset) = match saved {
            Some((bytes, offset)) => (Saved::decode(&bytes)?, offset),
            None => (
                Lessons::default(),
                Position(session.journal.oldest().0.saturating_sub(1)),
            ),
        };
        for (due, timer) in lessons.deadlines() {
            session
                .deadlines
                .set(&Owner::Classroom(timer.classroom), vec![(due, timer.cause)]);
        }
        session.journal.committed("sessions", offset);
        let attempts = Attempts::load(&*session.snapshots, &session.journal.id())?;
        let own = address.attach(myself);
        let pump = PumpFlag::default();
        address.vitals().set_read_through(offset);
        Ok(Self {
            vitals: Arc::clone(address.vitals()),
            read_through: offset,
            committed: offset,
            lessons,
            lines: HashMap::new(),
            behind: BTreeSet::new(),
            looked_after: None,
            attempts,
            is_checkpointing: false,
            catch_up: None,
            _pumping: pump_when_it_grows(&own, &pump, session.journal.end()),
            pump,
            own,
            sessions,
            context,
        })
    }
}

/// Asks for a read at once, and whenever the journal grows.
fn pump_when_it_grows(
    own: &Own<RouterMessage>,
    pump: &PumpFlag,
    mut end: watch::Receiver<Position>,
) -> Later {
    let (own, pump) = (own.clone(), Arc::clone(pump));
    Later::run(async move {
        loop {
            if !pump.swap(true, Ordering::AcqRel) && own.send(RouterMessage::Pump).await.is_err() {
                return;
            }
            if end.changed().await.is_err() {
                return;
            }
        }
    })
}
