//! Erases a person: hidden at once, then out of every store, and told when nothing is left.
//!
//! The order makes it safe to be cut short anywhere: what the next step is
//! computed from goes after it, every step done again changes nothing, and the
//! list says until the end that it is not done.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mimamori_actors::domain::{Entry, Position, SessionKey};
use mimamori_actors::forgetting::{Forgetting, NotForgotten};
use mimamori_actors::ports::{AppendError, Clock, Journal, SnapshotError};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

use super::hidden::Hidden;
use super::list::{Erasure, ErasureList, ListError, Stage};
use super::whose::Person;
use crate::admit::identity_key;
use crate::cache::{Cache, ForgetError};
use crate::journal::{FileJournal, JournalError, Search};
use crate::storage::flights;
use crate::storage::records::{Records, RecordsError};
use crate::storage::series::{Series, SeriesError};
use crate::storage::snapshots::FjallSnapshots;

/// Databases that were set aside because they were damaged: nobody reads them.
const SET_ASIDE: [&str; 2] = ["snapshots.damaged", "series.damaged"];
/// What is being folded, as it was noted.
const IN_FLIGHT: &str = "in-flight";
/// Between two looks whether an erasure is not finished.
const TRY_EVERY: Duration = Duration::from_secs(60);
/// Events of the person that are read together.
const READ_AT_ONCE: usize = 500;
/// Entries that are read together.
const ENTRIES_AT_ONCE: usize = 1_000;

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "camelCase")]
pub enum Progress {
    /// The person is in no answer any more.
    Hidden {
        /// Up to this position of the journal.
        through: Position,
    },
    /// Their events are out of the index that finds duplicates.
    Identities,
    /// Their counts are out of the series.
    Series,
    /// So many of their events are out of the records.
    Records {
        /// Events so far.
        events: u64,
    },
    /// The files of the records are being written anew.
    Scrubbing,
    /// So many segments of the journal were gone through.
    Journal {
        /// Segments so far.
        done: usize,
        /// Segments in all.
        of: usize,
    },
    /// They are out of the snapshots.
    Snapshots,
    /// Nothing is left.
    Done {
        /// Up to this position of the journal.
        through: Position,
    },
}

/// Where progress is told. Who does not listen is not waited for.
pub type Told = mpsc::Sender<Progress>;

/// Why an erasure was not finished. If it had begun, the next start goes on with it, or the next call.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Nothing was erased, and nothing is hidden.
    #[error(transparent)]
    Actors(#[from] NotForgotten),
    /// The journal takes nothing: no segment of it could be ended.
    #[error("the journal: {0}")]
    Append(#[from] AppendError),
    /// Nothing was erased, and nothing is hidden.
    #[error(transparent)]
    List(#[from] ListError),
    /// The journal's files, or its index.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// What was computed from the records: it may still be shown.
    #[error(transparent)]
    Cache(#[from] ForgetError),
    /// The series.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// The session states.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// A file that was set aside.
    #[error("{0}: {1}")]
    SetAside(PathBuf, std::io::Error),
    /// The program stops.
    #[error("the work ended early: {0}")]
    Aborted(#[from] tokio::task::JoinError),
}

/// Everything in which something of a person may stand.
#[derive(Clone)]
pub struct Places {
    /// `storage.dir`
    pub dir: PathBuf,
    /// The journal, and its index.
    pub journal: Arc<FileJournal>,
    /// The records.
    pub records: Arc<Records>,
    /// What was computed from the records.
    pub cache: Arc<Cache>,
    /// The series.
    pub series: Arc<Series>,
    /// The states of sessions.
    pub snapshots: Arc<FjallSnapshots>,
    /// Who is hidden from their readers.
    pub hidden: Arc<Hidden>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// Erases people, one after the other.
pub struct Eraser {
    places: Places,
    list: ErasureList,
    tree: OnceLock<Forgetting>,
    turn: Mutex<()>,
    /// Of whom nothing is left but in the series, which could not be reached: the other
    /// files are not written anew for each try. No more than the list has.
    rewritten: Mutex<HashSet<(SessionKey, Position)>>,
}

impl Eraser {
    /// Of everything that is in these places.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self {
            list: ErasureList::of(&places.dir),
            places,
            tree: OnceLock::new(),
            turn: Mutex::new(()),
            rewritten: Mutex::default(),
        }
    }

    /// From now on the actors are told, too.
    pub fn attach(&self, tree: Forgetting) {
        // there is one tree a process
        let _ = self.tree.set(tree);
    }

    /// Hides everybody whose erasure was begun and not finished. Before
    /// anybody reads, and before the sessions' states are.
    ///
    /// # Errors
    /// When the list or the snapshots cannot be read.
    pub fn take_up(&self) -> Result<(), EraseError> {
        for erasure in self.begun()? {
            self.places.hidden.hide(&erasure.key, erasure.through);
            self.places
                .snapshots
                .forget(&erasure.key, erasure.through)?;
        }
        Ok(())
    }

    /// Finishes what was begun and cut short, or failed, for as long as the server runs.
    pub async fn keep(&self) {
        loop {
            self.finish().await;
            sleep(TRY_EVERY).await;
        }
    }

    /// Finishes what was begun and cut short, or failed; what cannot be now, the next try does.
    pub async fn finish(&self) {
        let (told, _) = mpsc::channel(1);
        let mut tried = HashSet::new();
        loop {
            let _turn = self.turn.lock().await;
            let outcome = match self.begun() {
                Ok(begun) => match begun.into_iter().find(|it| tried.insert(it.person())) {
                    Some(erasure) => self.work(&erasure, &told).await,
                    None => return,
                },
                // without the list nobody is known to be tried
                Err(error) => return not_finished(&error),
            };
            if let Err(error) = outcome {
                not_finished(&error);
            }
        }
    }

    /// What was begun and not finished.
    fn begun(&self) -> Result<Vec<Erasure>, EraseError> {
        let mut begun = self.list.read()?;
        begun.retain(|erasure| erasure.stage == Stage::Begun);
        Ok(begun)
    }

    /// Erases everything about a person up to now. When this returns, nothing is left of them.
    ///
    /// # Errors
    /// [`EraseError`]; the person stays hidden if it had begun.
    pub async fn erase(&self, key: &SessionKey, told: &Told) -> Result<Position, EraseError> {
        let _turn = self.turn.lock().await;
        let erasure = match self.begin(key).await {
            Ok(erasure) => erasure,
            Err(error) => {
                self.places.hidden.reveal(key);
                if let Some(tree) = self.tree.get() {
                    tree.undo();
                }
                return Err(error);
            }
        };
        tell(
            told,
            Progress::Hidden {
                through: erasure.through,
            },
        );
        self.work(&erasure, told)
            .await
            .inspect_err(|_| metrics::counter!("mimamori_erasure_failures_total").increment(1))?;
        Ok(erasure.through)
    }

    /// Hides the person. What they send from now on is a new beginning.
    async fn begin(&self, key: &SessionKey) -> Result<Erasure, EraseError> {
        let places = &self.places;
        // whatever is read meanwhile is theirs from before
        places.hidden.hide(key, Position(u64::MAX));
        if let Some(tree) = self.tree.get() {
            tree.end_session(key).await?;
        }
        let erasure = Erasure {
            key: key.clone(),
            through: places.journal.roll().await?,
            at: places.clock.now(),
            stage: Stage::Begun,
        };
        let list = self.list.clone();
        let begun = erasure.clone();
        tokio::task::spawn_blocking(move || list.append(&begun)).await??;
        // from here on it is begun: a start goes on with it
        let (snapshots, begun) = (Arc::clone(&places.snapshots), erasure.clone());
        let forgotten =
            tokio::task::spawn_blocking(move || snapshots.forget(&begun.key, begun.through))
                .await?;
        if let Err(error) = forgotten {
            // it is removed from the files later; until then a session could find it
            tracing::warn!(%error, "the state of somebody who is erased is still in the snapshots");
        }
        if let Some(tree) = self.tree.get()
            && let Err(error) = tree.tell_consoles(key).await
        {
            tracing::warn!(%error, "consoles were not told of somebody who is erased");
        }
        places.hidden.hide(key, erasure.through);
        Ok(erasure)
    }

    async fn work(&self, erasure: &Erasure, told: &Told) -> Result<(), EraseError> {
        let Erasure { key, through, .. } = erasure;
        let places = &self.places;
        places.renew(key).await?;
        let person = erasure.person();
        if !self.rewritten.lock().await.contains(&person) {
            places.rewrite(erasure, told).await?;
            self.rewritten.lock().await.insert(person.clone());
        }
        // last: they may be on a machine that is away for a day, and need nothing of the others
        places.erase_counts(key, *through).await?;
        tell(told, Progress::Series);
        places.renew(key).await?;
        if let Some(tree) = self.tree.get() {
            // the second time: the first was when consoles were told
            tree.renew_bus(key).await?;
        }
        let done = Erasure {
            stage: Stage::Done,
            ..erasure.clone()
        };
        let list = self.list.clone();
        tokio::task::spawn_blocking(move || list.append(&done)).await??;
        self.rewritten.lock().await.remove(&person);
        places.hidden.is_done(key);
        metrics::counter!("mimamori_erasure_people_total").increment(1);
        tracing::info!(through = through.0, "a person was erased");
        tell(told, Progress::Done { through: *through });
        Ok(())
    }
}

fn not_finished(error: &EraseError) {
    metrics::counter!("mimamori_erasure_failures_total").increment(1);
    tracing::error!(%error, "an erasure is not finished: the person stays hidden, and it is tried again");
}

impl Places {
    /// Out of everything that is beside the series.
    async fn rewrite(&self, erasure: &Erasure, told: &Told) -> Result<(), EraseError> {
        let Erasure { key, through, .. } = erasure;
        self.journal.close_through(*through).await?;
        let person = self.forget_identities(key, *through).await?;
        tell(told, Progress::Identities);
        self.erase_records(&person, *through, told).await?;
        self.erase_journal(person, *through, told).await?;
        let (snapshots, people) = (Arc::clone(&self.snapshots), vec![(key.clone(), *through)]);
        tokio::task::spawn_blocking(move || snapshots.erase(&people)).await??;
        self.remove_set_aside(key, *through)?;
        tell(told, Progress::Snapshots);
        Ok(())
    }

    /// Nothing that was computed with them in it is shown.
    async fn renew(&self, key: &SessionKey) -> Result<(), EraseError> {
        Ok(self.cache.forget(&self.records, &key.classroom).await?)
    }

    /// From the records and the journal, before anything goes out of them.
    async fn forget_identities(
        &self,
        key: &SessionKey,
        through: Position,
    ) -> Result<Person, EraseError> {
        self.journal.indexed(through).await?;
        self.records.settled().await?;
        let mut person = self.hidden.person(key);
        let mut keys = BTreeSet::new();
        let mut after = None;
        loop {
            let found = self
                .records
                .events_of(key, through, after, READ_AT_ONCE)
                .await?;
            for (_, event) in &found.rows {
                person.note(event.position);
                keys.insert(identity_key(&key.classroom, &key.student, &event.event.id));
            }
            after = found.rows.last().map(|(key, _)| *key);
            if !found.has_more {
                break;
            }
        }
        let journal = Arc::clone(&self.journal);
        tokio::task::spawn_blocking(move || {
            let id = person.key.student.clone();
            let mut search = Search {
                through,
                id: id.as_str(),
                owns: &mut |position, record| person.owns(position, record),
            };
            keys.extend(journal.identities_of(&mut search)?);
            journal.forget_identities(&keys)?;
            Ok(person)
        })
        .await?
    }

    async fn erase_counts(&self, key: &SessionKey, through: Position) -> Result<(), EraseError> {
        let journal = Arc::clone(&self.journal);
        let recount = move |after, through| entries_between(&journal, after, through);
        let id = self.journal.id();
        Ok(self.series.erase(&id, key, through, recount).await?)
    }

    async fn erase_records(
        &self,
        person: &Person,
        through: Position,
        told: &Told,
    ) -> Result<(), EraseError> {
        let mut events = 0;
        loop {
            let gone = self.records.erase_events(&person.key, through).await?;
            if gone.is_empty() {
                break;
            }
            events += gone.len() as u64;
            tell(told, Progress::Records { events });
        }
        self.records.erase_faults(person, through).await?;
        self.records.erase_person(&person.key, through).await?;
        tell(told, Progress::Scrubbing);
        Ok(self.records.scrub().await?)
    }

    async fn erase_journal(
        &self,
        mut person: Person,
        through: Position,
        told: &Told,
    ) -> Result<(), EraseError> {
        let (journal, told) = (Arc::clone(&self.journal), told.clone());
        let erasing = move || {
            let id = person.key.student.clone();
            let mut search = Search {
                through,
                id: id.as_str(),
                owns: &mut |position, record| person.owns(position, record),
            };
            journal.erase(&mut search, &mut |done, of| {
                tell(&told, Progress::Journal { done, of });
            })
        };
        Ok(tokio::task::spawn_blocking(erasing).await??)
    }

    fn remove_set_aside(&self, key: &SessionKey, through: Position) -> Result<(), EraseError> {
        let in_flight = self.dir.join(IN_FLIGHT);
        flights::forget(&in_flight, key, through)
            .map_err(|error| EraseError::SetAside(in_flight, error))?;
        for name in SET_ASIDE {
            let path = self.dir.join(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(EraseError::SetAside(path, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What the journal still has of these positions, but of people who are hidden.
fn entries_between(journal: &FileJournal, after: Position, through: Position) -> Vec<Arc<Entry>> {
    let mut entries = Vec::new();
    let mut after = after.max(Position(journal.oldest().0.saturating_sub(1)));
    while after < through {
        match journal.read_now(after, ENTRIES_AT_ONCE) {
            Ok(batch) if batch.through > after => {
                after = batch.through;
                entries.extend(batch.entries);
            }
            Ok(_) | Err(_) => break,
        }
    }
    entries
}

fn tell(told: &Told, progress: Progress) {
    // who listens too slowly misses a step, and not the work
    let _ = told.try_send(progress);
}
