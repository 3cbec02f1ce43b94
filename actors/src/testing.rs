//! Fakes at the ports, for tests of the tree on paused time.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::{
    AcceptedEvent, CellType, ClassroomId, Entry, Event, EventId, EventKind, Heard, JournalId,
    Position, Record, SessionKey, StudentId, Timestamp,
};
use crate::ports::{
    AppendError, Attempt, Backfill, Batch, Clock, Journal, NewRecord, Origin, ReadError,
    SnapshotError, Snapshots, Store, StoreError, Verdict,
};
use crate::tree::{Step, Wait, Witness};

/// A clock that stands on tokio's, so that paused time is paused here too.
pub(crate) struct TestClock {
    begun: tokio::time::Instant,
    /// For how long nothing was heard, in milliseconds.
    absent_ms: AtomicU64,
    /// By how much the system clock was set forward, in milliseconds.
    set_forward_ms: AtomicU64,
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: tokio::time::Instant::now(),
            absent_ms: AtomicU64::new(0),
            set_forward_ms: AtomicU64::new(0),
        })
    }

    /// The whole process stands still for so long: time passes at once, unheard.
    pub(crate) async fn stand_still(&self, absent: Duration) {
        self.absent_ms.fetch_add(millis(absent), Ordering::Relaxed);
        tokio::time::advance(absent).await;
    }

    /// Somebody sets the system clock.
    pub(crate) fn set_forward(&self, by: Duration) {
        self.set_forward_ms.fetch_add(millis(by), Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let forward = self.set_forward_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(1_800_000_000_000)
            .plus(self.begun.elapsed())
            .plus(Duration::from_millis(forward))
    }

    fn heard(&self) -> Heard {
        let absent = self.absent_ms.load(Ordering::Relaxed);
        let listened = self.begun.elapsed() - Duration::from_millis(absent);
        Heard::from_millis(1_700_000_000_000).plus(listened)
    }
}

/// A journal in memory.
pub(crate) struct MemoryJournal {
    entries: Mutex<Vec<Arc<Entry>>>,
    identities: Mutex<HashSet<[u8; 16]>>,
    end: watch::Sender<Position>,
    clock: Arc<TestClock>,
    /// The disk is full: nothing is appended from inside.
    pub(crate) is_full: AtomicBool,
    /// How often it was read.
    pub(crate) reads: AtomicUsize,
    /// The disk does not answer: whoever reads waits.
    pub(crate) hangs: AtomicBool,
    /// What is no longer here.
    pub(crate) trimmed_through: AtomicU64,
}

impl MemoryJournal {
    pub(crate) fn new(clock: Arc<TestClock>) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            identities: Mutex::default(),
            end: watch::Sender::new(Position::ZERO),
            clock,
            is_full: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            trimmed_through: AtomicU64::new(0),
        })
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().unwrap().clone()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.entries
            .lock()
            .unwrap()
            .iter()
            .map(|entry| entry.record.clone())
            .collect()
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn id(&self) -> JournalId {
        JournalId::new("test")
    }

    async fn append(
        &self,
        batch: Vec<NewRecord>,
        origin: Origin,
    ) -> Result<Vec<Verdict>, AppendError> {
        if origin == Origin::Inside && self.is_full.load(Ordering::Relaxed) {
            return Err(AppendError::NoRoom("full".to_owned()));
        }
        let mut entries = self.entries.lock().unwrap();
        let mut identities = self.identities.lock().unwrap();
        let verdicts = batch
            .into_iter()
            .map(|new| {
                if new
                    .identity
                    .is_some_and(|identity| !identities.insert(identity.key))
                {
                    return Verdict::Duplicate;
                }
                let position = Position(entries.len() as u64 + 1);
                entries.push(Arc::new(Entry {
                    position,
                    received_at: self.clock.now(),
                    heard_at: self.clock.heard(),
                    record: new.record,
                }));
                Verdict::Accepted(position)
            })
            .collect();
        self.end.send_replace(Position(entries.len() as u64));
        Ok(verdicts)
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Batch, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        while self.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let oldest = self.oldest();
        if after.next() < oldest {
            return Err(ReadError::Trimmed { oldest });
        }
        let entries = self.entries.lock().unwrap();
        let from = usize::try_from(after.0).unwrap();
        let part: Vec<_> = entries.iter().skip(from).take(limit).cloned().collect();
        let through = part.last().map_or(after, |entry| entry.position);
        Ok(Batch {
            entries: part,
            through,
        })
    }

    fn end(&self) -> watch::Receiver<Position> {
        self.end.subscribe()
    }

    fn oldest(&self) -> Position {
        Position(self.trimmed_through.load(Ordering::Relaxed) + 1)
    }

    fn committed(&self, _consumer: &'static str, _offset: Position) {}
}

/// A store in memory that can be away, and can refuse an entry.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) rows: Mutex<BTreeMap<Position, Arc<Entry>>>,
    pub(crate) refuses: Mutex<Option<Position>>,
    pub(crate) is_away: AtomicBool,
    pub(crate) calls: AtomicUsize,
    /// How often it was asked whether it is there.
    pub(crate) checks: AtomicUsize,
    /// How far it says it is with any journal.
    pub(crate) known: Mutex<Option<Position>>,
    /// It is another one than before at the next write.
    pub(crate) forgets: AtomicBool,
    /// How long each call takes, …
    pub(crate) takes: Mutex<Duration>,
    /// … and each entry beside that.
    pub(crate) takes_an_entry: Mutex<Duration>,
}

impl MemoryStore {
    async fn take_its_time(&self, entries: usize) {
        let an_entry = *self.takes_an_entry.lock().unwrap();
        let takes = *self.takes.lock().unwrap() + an_entry * u32::try_from(entries).unwrap();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn offset(&self, _journal: &JournalId) -> Result<Option<Position>, StoreError> {
        self.take_its_time(0).await;
        Ok(*self.known.lock().unwrap())
    }

    async fn write(
        &self,
        _: &JournalId,
        entries: &[Arc<Entry>],
        _: Position,
    ) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.take_its_time(entries.len()).await;
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("away".to_owned()));
        }
        if self.forgets.swap(false, Ordering::Relaxed) {
            self.rows.lock().unwrap().clear();
            return Err(StoreError::Forgot("empty".to_owned()));
        }
        let refused = *self.refuses.lock().unwrap();
        if entries.iter().any(|entry| Some(entry.position) == refused) {
            return Err(StoreError::Refused("no".to_owned()));
        }
        let mut rows = self.rows.lock().unwrap();
        rows.extend(
            entries
                .iter()
                .map(|entry| (entry.position, Arc::clone(entry))),
        );
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        self.take_its_time(0).await;
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("away".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Backfill for MemoryStore {
    async fn read(
        &self,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Batch, StoreError> {
        let rows = self.rows.lock().unwrap();
        let found = rows.range(after.next()..=through).take(limit);
        let entries: Vec<_> = found.map(|(_, entry)| Arc::clone(entry)).collect();
        let last = entries.last().map(|entry| entry.position);
        Ok(Batch {
            through: last.filter(|_| entries.len() == limit).unwrap_or(through),
            entries,
        })
    }
}

/// Snapshots in memory.
#[derive(Default)]
pub(crate) struct MemorySnapshots {
    sessions: Mutex<BTreeMap<SessionKey, Vec<u8>>>,
    pub(crate) router: Mutex<Option<(Vec<u8>, Position)>>,
    attempts: Mutex<BTreeMap<(Position, SessionKey), u32>>,
}

impl Snapshots for MemorySnapshots {
    fn session(&self, key: &SessionKey) -> Result<Option<Vec<u8>>, SnapshotError> {
        Ok(self.sessions.lock().unwrap().get(key).cloned())
    }

    fn all_sessions(&self, visit: &mut dyn FnMut(SessionKey, &[u8])) -> Result<(), SnapshotError> {
        for (key, state) in self.sessions.lock().unwrap().iter() {
            visit(key.clone(), state);
        }
        Ok(())
    }

    fn put_session(&self, key: &SessionKey, state: &[u8]) -> Result<(), SnapshotError> {
        self.sessions
            .lock()
            .unwrap()
            .insert(key.clone(), state.to_vec());
        Ok(())
    }

    fn router(&self, _journal: &JournalId) -> Result<Option<(Vec<u8>, Position)>, SnapshotError> {
        Ok(self.router.lock().unwrap().clone())
    }

    fn commit(
        &self,
        _journal: &JournalId,
        router: &[u8],
        offset: Position,
    ) -> Result<(), SnapshotError> {
        *self.router.lock().unwrap() = Some((router.to_vec(), offset));
        Ok(())
    }

    fn attempts(&self, _: &JournalId) -> Result<Vec<Attempt>, SnapshotError> {
        let attempts = self.attempts.lock().unwrap();
        let attempts = attempts.iter().map(|((position, key), count)| Attempt {
            key: key.clone(),
            position: *position,
            count: *count,
        });
        Ok(attempts.collect())
    }

    fn put_attempts(&self, _: &JournalId, attempt: &Attempt) -> Result<(), SnapshotError> {
        self.attempts
            .lock()
            .unwrap()
            .insert((attempt.position, attempt.key.clone()), attempt.count);
        Ok(())
    }

    fn forget_attempts(&self, _: &JournalId, through: Position) -> Result<(), SnapshotError> {
        self.attempts
            .lock()
            .unwrap()
            .retain(|(position, _), _| *position > through);
        Ok(())
    }
}

/// What goes wrong at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The actor panics.
    Panic,
    /// It awaits what never comes.
    Hang,
    /// It takes a tenth of a second.
    Slow,
}

/// Makes actors fail at the entries, or kinds of steps, that were chosen.
#[derive(Default)]
pub(crate) struct Faults {
    /// Sessions fail at these entries, again and again.
    pub(crate) poison: Mutex<BTreeMap<Position, Fault>>,
    /// The next step of this kind fails, once.
    pub(crate) once: Mutex<Option<(&'static str, Fault)>>,
    /// Which entries were folded, or were to be.
    pub(crate) folded: Mutex<Vec<Position>>,
    /// Which entries a classroom was told of.
    pub(crate) told: Mutex<Vec<Position>>,
}

impl Witness for Faults {
    fn before(&self, step: Step<'_>) -> Option<Wait> {
        let name = match step {
            Step::Fold { .. } => "fold",
            Step::Route(_) => "route",
            Step::Update(_) => "update",
            Step::Write {
                consumer: "records",
                ..
            } => "write",
            Step::Write { .. } => "count",
            Step::Subscribe { .. } => "subscribe",
            Step::Round => "round",
        };
        let mut once = self.once.lock().unwrap();
        let mut fault = once.take_if(|(at, _)| *at == name).map(|(_, fault)| fault);
        drop(once);
        if let Step::Update(update) = step {
            self.told.lock().unwrap().push(update.position);
        }
        if let Step::Fold { entry, .. } = step {
            self.folded.lock().unwrap().push(entry.position);
            fault = fault.or(self.poison.lock().unwrap().get(&entry.position).copied());
        }
        match fault? {
            Fault::Panic => panic!("a fault of the test"),
            Fault::Hang => Some(Box::pin(std::future::pending())),
            Fault::Slow => Some(Box::pin(tokio::time::sleep(Duration::from_millis(100)))),
        }
    }
}

/// An event of the classroom `default`; the number makes its id.
pub(crate) fn event(student: &str, kind: EventKind, number: u64) -> NewRecord {
    let is_run = kind == EventKind::CellExecuted;
    let event = Event {
        id: EventId::new(format!("{student}-{number}")),
        kind,
        time: Timestamp::from_millis(1_800_000_000_000),
        address: format!("{student}@example.ac.jp"),
        name: Some(student.to_owned()),
        team: None,
        client_session: None,
        notebook: Some("nb.ipynb".to_owned()),
        cell_id: is_run.then(|| "c1".to_owned()),
        cell_index: is_run.then_some(0),
        cell_type: is_run.then_some(CellType::Code),
        code: is_run.then(|| "1".to_owned()),
        execution_count: is_run.then_some(1),
        has_error: is_run.then_some(false),
        error_message: None,
        result: None,
        execution_duration_ms: None,
        metadata: serde_json::Map::new(),
        cut: Vec::new(),
    };
    let accepted = AcceptedEvent {
        classroom: ClassroomId::new("default"),
        student: StudentId::new(student),
        event,
    };
    NewRecord::repeatable(Record::Event(Box::new(accepted)))
}
