//! `classroom/<id>`: what changed in this tick goes to every console, serialised once.
//!
//! Each incarnation is an epoch of its own: it takes every student from the
//! registry, the last events from the journal, and sends all consoles that
//! watch a reset and a snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::{ClassroomId, Cursor, EventBrief, Position, Record, SessionUpdate, StudentId};
use crate::feed::{Feed, FeedLimits, Resume};
use crate::hub::{ConsoleId, Hub};
use crate::outbox::Outbox;
use crate::pace;
use crate::ports::{Bus, Clock, Journal};
use crate::registry::Registry;
use crate::tree::{ActorState, Address, Envelope, Later, Own, Step, Vitals, Witness};

/// How many messages may wait for a classroom.
pub(crate) const MAILBOX: usize = 8_192;
/// A tick takes no longer than this, or the classroom is frozen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// So many events stand in a snapshot.
const RECENT: usize = 50;
/// How far back in the journal the recent events are looked for.
const RECENT_WITHIN: u64 = 2_000;

pub(crate) enum ClassroomMessage {
    /// A session changed.
    Update(Box<SessionUpdate>),
    /// A console wants to watch.
    Watch {
        console: ConsoleId,
        outbox: Arc<Outbox>,
        since: Option<Cursor>,
        watching: oneshot::Sender<()>,
    },
    /// Time to tell what changed.
    Tick,
    /// Know nothing of this student any more: they are erased.
    Forget {
        student: StudentId,
        told: oneshot::Sender<()>,
    },
    /// Begin anew on the bus: what it keeps for other nodes may name somebody who is erased.
    Renew(oneshot::Sender<()>),
}

/// The addresses of all classrooms.
#[derive(Default)]
pub(crate) struct Directory {
    classrooms: HashMap<ClassroomId, Address<ClassroomMessage>>,
}

impl Directory {
    pub(crate) fn new(
        classrooms: impl IntoIterator<Item = (ClassroomId, Address<ClassroomMessage>)>,
    ) -> Self {
        Self {
            classrooms: classrooms.into_iter().collect(),
        }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ClassroomId> {
        self.classrooms.keys().cloned()
    }

    pub(crate) fn get(&self, classroom: &ClassroomId) -> Option<&Address<ClassroomMessage>> {
        self.classrooms.get(classroom)
    }
}

/// What every classroom needs.
pub(crate) struct ClassroomContext {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) witness: Arc<dyn Witness>,
}

#[derive(Clone)]
pub(crate) struct ClassroomArguments {
    pub(crate) classroom: ClassroomId,
    pub(crate) address: Address<ClassroomMessage>,
    pub(crate) context: Arc<ClassroomContext>,
}

pub(crate) struct ClassroomActor;

pub(crate) struct ClassroomState {
    classroom: ClassroomId,
    own: Own<ClassroomMessage>,
    context: Arc<ClassroomContext>,
    vitals: Arc<Vitals>,
    feed: Feed,
    last_tick: Instant,
    last_delta_bytes: usize,
    /// When the tick that is under way comes.
    next_tick: Option<Instant>,
    /// What waits to send it.
    timer: Option<Later>,
}

impl Actor for ClassroomActor {
    type Msg = Envelope<ClassroomMessage>;
    type State = ClassroomState;
    type Arguments = ClassroomArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: ClassroomArguments,
    ) -> Result<ClassroomState, ActorProcessingErr> {
        let ClassroomArguments {
            classroom,
            address,
            context,
        } = arguments;
        // first the address, then the registry: what a session publishes meanwhile arrives in the mailbox
        let own = address.attach(myself);
        let (recent, seen_through) = recent_events(&*context.journal, &classroom).await;
        let mut feed = Feed::new(
            classroom.clone(),
            new_epoch()?,
            FeedLimits {
                recent: RECENT,
                ..FeedLimits::default()
            },
        );
        feed.restore(context.registry.views(&classroom), recent, seen_through);
        let vitals = Arc::clone(address.vitals());
        vitals.set_untold(feed.is_dirty());
        vitals.started();
        let mut state = ClassroomState {
            classroom,
            own,
            context,
            vitals,
            feed,
            last_tick: Instant::now(),
            last_delta_bytes: 0,
            next_tick: None,
            timer: None,
        };
        state.tell_watchers_of_new_epoch();
        let opening = state.feed.opening(state.context.clock.heard());
        state.context.bus.begin(opening);
        state.schedule_tick();
        Ok(state)
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut ClassroomState,
    ) -> Result<(), ActorProcessingErr> {
        state.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<ClassroomMessage>,
        state: &mut ClassroomState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.vitals);
        let _working = vitals.working();
        match envelope.open() {
            ClassroomMessage::Update(update) => {
                if let Some(wait) = (state.context.witness).before(Step::Update(&update)) {
                    wait.await;
                }
                let now = state.context.clock.heard();
                state.feed.apply(*update, now);
            }
            ClassroomMessage::Watch {
                console,
                outbox,
                since,
                watching,
            } => {
                state.watch(console, Arc::clone(&outbox), since.as_ref());
                // the console left meanwhile, or no longer waits: nobody else would take it out
                if outbox.closed().is_some() || watching.send(()).is_err() {
                    state.context.hub.unwatch(&state.classroom, console);
                    outbox.stop_classroom(&state.classroom);
                }
            }
            ClassroomMessage::Tick => state.tick_if_due(),
            ClassroomMessage::Renew(told) => {
                state.renew();
                let _ = told.send(());
            }
            ClassroomMessage::Forget { student, told } => {
                state.feed.forget(&student);
                state.renew();
                // who does not wait any more needs no answer
                let _ = told.send(());
            }
        }
        state.schedule_tick();
        vitals.set_untold(state.feed.is_dirty());
        Ok(())
    }
}

impl ClassroomState {
    fn renew(&mut self) {
        let opening = self.feed.opening(self.context.clock.heard());
        self.context.bus.begin(opening);
    }

    fn tick_if_due(&mut self) {
        if self.next_tick.is_some_and(|due| due <= Instant::now()) {
            self.next_tick = None;
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.last_tick = Instant::now();
        if let Some(delta) = self.feed.tick(self.context.clock.heard()) {
            metrics::counter!("mimamori_classrooms_deltas_total").increment(1);
            self.last_delta_bytes = delta.frame.len();
            // with very many students or consoles each of the two takes a while
            self.vitals.progressed();
            self.context.bus.publish(&delta);
            self.vitals.progressed();
        }
    }

    /// At once when nothing was told for a while; else so much later that the consoles keep up.
    fn schedule_tick(&mut self) {
        let now = Instant::now();
        let due = if self.feed.is_dirty() {
            (self.last_tick + self.pause_between_ticks()).max(now)
        } else {
            match self.feed.next_tick() {
                Some(at) => {
                    now + at
                        .since(self.context.clock.heard())
                        .max(Duration::from_millis(1))
                }
                None => return,
            }
        };
        if self.next_tick.is_some_and(|planned| planned <= due) {
            return;
        }
        self.next_tick = Some(due);
        self.timer = None;
        if due <= now {
            // behind what waits in the mailbox already, so that it is told together
            if self.own.try_send(ClassroomMessage::Tick).is_ok() {
                return;
            }
        }
        let wait = due.duration_since(now);
        self.timer = Some(Later::send(&self.own, ClassroomMessage::Tick, wait));
    }

    fn pause_between_ticks(&self) -> Duration {
        pace::pause(
            self.context.hub.count(&self.classroom),
            self.last_delta_bytes,
        )
    }

    /// What is pending comes with the next delta: a snapshot is the state at its `seq`.
    fn watch(&mut self, console: ConsoleId, outbox: Arc<Outbox>, since: Option<&Cursor>) {
        let frames = match since.map(|since| self.feed.resume(since)) {
            Some(Resume::Deltas(deltas)) => {
                deltas.iter().map(|delta| delta.frame.clone()).collect()
            }
            Some(Resume::Reset { reason }) => {
                vec![
                    crate::feed::reset_frame(&self.classroom, reason),
                    self.feed.snapshot(self.context.clock.heard()),
                ]
            }
            None => vec![self.feed.snapshot(self.context.clock.heard())],
        };
        self.vitals.progressed();
        outbox.begin(&self.classroom, frames, self.feed.cursor());
        self.context.hub.watch(&self.classroom, console, outbox);
    }

    fn tell_watchers_of_new_epoch(&mut self) {
        let watchers = self.context.hub.watchers(&self.classroom);
        if watchers.is_empty() {
            return;
        }
        let reset = crate::feed::reset_frame(&self.classroom, "restarted");
        let snapshot = self.feed.snapshot(self.context.clock.heard());
        for outbox in watchers {
            outbox.begin(
                &self.classroom,
                vec![reset.clone(), snapshot.clone()],
                self.feed.cursor(),
            );
            self.vitals.progressed();
        }
        self.context.hub.note_told(&self.classroom);
    }
}

/// The last events of the classroom, from the end of the journal, and how far was looked.
async fn recent_events(
    journal: &dyn Journal,
    classroom: &ClassroomId,
) -> (Vec<EventBrief>, Position) {
    let end = *journal.end().borrow();
    let oldest = Position(journal.oldest().0.saturating_sub(1));
    let mut after = Position(end.0.saturating_sub(RECENT_WITHIN)).max(oldest);
    let mut recent = Vec::new();
    while after < end {
        // what can't be read is missing from the feed of past events, nothing more
        let Ok(batch) = journal.read(after, 512).await else {
            break;
        };
        if batch.through <= after {
            break;
        }
        for entry in batch.entries.iter().filter(|entry| entry.position <= end) {
            if let Record::Event(accepted) = &entry.record
                && accepted.classroom == *classroom
            {
                recent.push(EventBrief::of(&accepted.student, &accepted.event));
            }
        }
        after = batch.through;
    }
    let first = recent.len().saturating_sub(RECENT);
    (recent.split_off(first), end)
}

fn new_epoch() -> Result<String, ActorProcessingErr> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
