//! Which edition of a classroom's rows there is: another number with every write.
//!
//! Whoever keeps what was computed from rows keeps it by their edition, and so
//! never shows what a write has made wrong. The numbers are random and stand
//! beside the rows, written by the same transaction: they mean the same to every
//! process that reads this database, after every restart, and after a backup was
//! restored no number comes back with other rows.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use mimamori_actors::domain::{ClassroomId, Entry, Timestamp};
use sea_orm::{FromQueryResult, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::read::TimeRange;
use super::sql::{Insert, Sql};
use super::{Batch, Records, RecordsError, Replica};
use crate::storage::BELIEVED;

/// For so long an edition is believed without asking; this process' own writes count at once.
const BELIEVED_FOR: Duration = Duration::from_millis(250);
/// A database that does not answer within this is taken for one that is away.
pub(super) const ASKED_FOR: Duration = Duration::from_millis(500);
/// While it is away, the edition that was known last counts for so long.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// An edition of a classroom's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition {
    /// Another one with every write.
    pub(crate) written: i64,
    /// Another one when rows that were there changed or went, or old ones came.
    pub(crate) anew: i64,
    /// When the entry that was written last had been received: none that follows was earlier.
    pub(crate) through: Timestamp,
}

impl Edition {
    /// Whether nothing can be added to this range any more but with [`Records::renew`]:
    /// what comes now is placed at most 48 h before it is received.
    pub(crate) fn is_settled(&self, range: TimeRange) -> bool {
        range
            .to
            .is_some_and(|to| to <= self.through.minus(BELIEVED))
    }
}

/// The editions that were read or written last. Bounded by the number of classrooms.
#[derive(Debug, Default)]
pub(super) struct Editions {
    known: DashMap<ClassroomId, Arc<Known>>,
}

/// What is known of a classroom.
#[derive(Debug, Default)]
struct Known {
    /// One asks the database, the others wait for the answer.
    asking: Mutex<()>,
    seen: std::sync::Mutex<Seen>,
}

/// What a database has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confirmed {
    pub(super) edition: Option<Edition>,
    /// What was committed before this is in it.
    pub(super) at: Instant,
}

impl Confirmed {
    fn now(edition: Option<Edition>) -> Self {
        let at = Instant::now();
        Self { edition, at }
    }
}

/// The database did not answer, now or at most 250 ms ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnswer;

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    confirmed: Option<Confirmed>,
    /// When the database was asked last, whether it answered or not.
    asked: Option<Instant>,
    /// Whether it did not answer then.
    has_failed: bool,
    /// Counts our own writes: an answer that was on its way meanwhile is an old one.
    moves: u64,
}

impl Seen {
    /// What everybody is told who asks so soon after somebody asked the database.
    fn fresh(&self) -> Option<Result<Option<Edition>, NoAnswer>> {
        let is_fresh = self.asked.is_some_and(|at| at.elapsed() < BELIEVED_FOR);
        is_fresh.then(|| self.told())
    }

    fn told(&self) -> Result<Option<Edition>, NoAnswer> {
        if self.has_failed {
            return Err(NoAnswer);
        }
        Ok(self.edition())
    }

    fn edition(&self) -> Option<Edition> {
        self.confirmed.and_then(|it| it.edition)
    }

    fn answered(&mut self, answer: Result<Confirmed, NoAnswer>) {
        self.asked = Some(Instant::now());
        self.has_failed = answer.is_err();
        self.confirmed = answer.ok().or(self.confirmed);
    }
}

impl Known {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // a plain assignment under this lock cannot be left half done
        self.seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Editions {
    fn of(&self, classroom: &ClassroomId) -> Arc<Known> {
        if let Some(known) = self.known.get(classroom) {
            return Arc::clone(&known);
        }
        Arc::clone(&self.known.entry(classroom.clone()).or_default())
    }

    /// The edition that was read last, at most 250 ms ago, or that `read` gives now.
    ///
    /// # Errors
    /// When `read` gives none, to whoever asked and to all who waited for that or ask within
    /// 250 ms: what was known before may be an old one.
    pub(super) async fn ask(
        &self,
        classroom: &ClassroomId,
        read: impl Future<Output = Result<Confirmed, NoAnswer>>,
    ) -> Result<Option<Edition>, NoAnswer> {
        let known = self.of(classroom);
        let seen = *known.seen();
        if let Some(fresh) = seen.fresh() {
            return fresh;
        }
        let _asking = known.asking.lock().await;
        let before = *known.seen();
        if let Some(fresh) = before.fresh() {
            return fresh;
        }
        let answer = read.await;
        let mut seen = known.seen();
        // else what we wrote while the answer was on its way is newer
        if seen.moves == before.moves {
            seen.answered(answer);
        }
        seen.told()
    }

    /// What was read or written last, however long ago.
    pub(super) fn last(&self, classroom: &ClassroomId) -> Option<Confirmed> {
        self.known.get(classroom)?.seen().confirmed
    }

    /// Nothing that was read before counts, nor what is being read.
    pub(super) fn clear(&self) {
        self.known.clear();
    }

    /// What this process has written counts before anybody can ask for it.
    pub(super) fn wrote(&self, written: &[Written]) {
        for one in written {
            let known = self.of(&one.classroom);
            let mut seen = known.seen();
            let edition = seen.edition().map(|before| Edition {
                written: one.number,
                anew: if one.is_anew { one.number } else { before.anew },
                through: one.through.unwrap_or(before.through),
            });
            seen.moves += 1;
            seen.answered(Ok(Confirmed::now(edition)));
            if edition.is_none() {
                // where nothing is known yet, who asks learns it
                seen.asked = None;
            }
        }
    }
}

/// A write to a classroom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    classroom: ClassroomId,
    number: i64,
    is_anew: bool,
    through: Option<Timestamp>,
}

/// An edition as it stands beside the rows.
#[derive(Debug, FromQueryResult)]
pub(super) struct EditionRow {
    pub(super) written: i64,
    pub(super) anew: i64,
    pub(super) through_ms: i64,
}

impl From<EditionRow> for Edition {
    fn from(row: EditionRow) -> Self {
        Self {
            written: row.written,
            anew: row.anew,
            through: Timestamp::from_millis(row.through_ms),
        }
    }
}

/// Asks for [`EditionRow`].
pub(super) fn of_classroom(classroom: &ClassroomId) -> Sql {
    let mut sql = Sql::new("SELECT written, anew, through_ms FROM editions WHERE classroom = ");
    sql.bind(classroom.as_str());
    sql
}

const WRITTEN: Insert<'_> = Insert {
    name: "editions",
    columns: &["classroom", "written", "anew", "through_ms"],
    key: &["classroom"],
    when_there: "DO UPDATE SET written = excluded.written, through_ms = excluded.through_ms",
    is_filed: false,
};

const ANEW: Insert<'_> = Insert {
    when_there: "DO UPDATE SET written = excluded.written, anew = excluded.anew",
    ..WRITTEN
};

/// Notes within the batch that its entries were written; tell [`Editions::wrote`] after the commit.
pub(super) async fn write(
    batch: &mut Batch<'_>,
    entries: &[&Entry],
) -> Result<Vec<Written>, RecordsError> {
    let mut written: Vec<Written> = Vec::new();
    let number = number();
    for entry in entries {
        let Some(classroom) = entry.record.classroom() else {
            continue;
        };
        let through = Some(entry.received_at);
        match written.iter_mut().find(|one| one.classroom == *classroom) {
            Some(one) => one.through = one.through.max(through),
            None => written.push(Written {
                classroom: classroom.clone(),
                number,
                is_anew: false,
                through,
            }),
        }
    }
    batch
        .insert(&WRITTEN, written.iter().map(Written::row).collect())
        .await?;
    Ok(written)
}

impl Written {
    fn row(&self) -> [Value; 4] {
        [
            self.classroom.as_str().into(),
            self.number.into(),
            self.number.into(),
            self.through.unwrap_or_default().as_millis().into(),
        ]
    }
}

/// A number that was never one before.
fn number() -> i64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("a kernel that has booted always has random bytes to give");
    i64::from_le_bytes(bytes)
}

impl Records {
    /// The edition of a classroom's rows, at most 250 ms old; none where nothing was
    /// ever written, and where the database does not answer and has not for five minutes.
    ///
    /// Ask before reading rows: what is read then is of this edition or a later one.
    pub(crate) async fn edition(&self, classroom: &ClassroomId) -> Option<Edition> {
        if let Some(edition) = self.edition_at_replica(classroom).await {
            return edition;
        }
        let read = async {
            let mut sql = of_classroom(classroom);
            let row = timeout(ASKED_FOR, self.one::<EditionRow>(&mut sql)).await;
            match row.unwrap_or(Err(RecordsError::TooSlow)) {
                Ok(row) => Ok(Confirmed::now(row.map(Edition::from))),
                Err(error) => {
                    metrics::counter!("mimamori_cache_unasked_editions_total").increment(1);
                    tracing::debug!(store = "records", %error, "the last known edition counts");
                    Err(NoAnswer)
                }
            }
        };
        let answer = self.editions.ask(classroom, read).await;
        answer.unwrap_or_else(|NoAnswer| self.last_edition(classroom))
    }

    /// The edition that was known last, while the database does not tell: what its replica told
    /// later is newer.
    fn last_edition(&self, classroom: &ClassroomId) -> Option<Edition> {
        let of_replica = self.last_edition_at_replica(classroom);
        let both = [of_replica, self.editions.last(classroom)];
        let last = both.into_iter().flatten().max_by_key(|it| it.at)?;
        last.edition.filter(|_| last.at.elapsed() < KEPT_FOR)
    }

    /// Nothing that was computed from this classroom's rows holds any more: rows
    /// were changed or deleted, or old ones added. Call it after their commit, and
    /// rather [`crate::cache::Cache::forget`], which also empties what is kept. Gives the
    /// edition's new number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn renew(&self, classroom: &ClassroomId) -> Result<i64, RecordsError> {
        let number = number();
        let written = Written {
            classroom: classroom.clone(),
            number,
            is_anew: true,
            through: None,
        };
        let mut batch = self.writing.begin().await?;
        batch.insert(&ANEW, vec![written.row()]).await?;
        batch.commit().await?;
        self.editions.wrote(&[written]);
        self.replica_needs(Replica::changed);
        Ok(number)
    }

    /// As [`Self::renew`] for all classrooms: for a start, before which another
    /// version, a restored backup or somebody's hands may have changed rows.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn renew_all(&self) -> Result<(), RecordsError> {
        let number = number();
        let mut sql =
            Sql::new("INSERT INTO editions (classroom, written, anew, through_ms) SELECT id, ");
        sql.bind(number).push(", ").bind(number);
        sql.push(
            ", 0 FROM classrooms WHERE true ON CONFLICT (classroom) DO UPDATE SET \
             written = excluded.written, anew = excluded.anew",
        );
        let mut batch = self.writing.begin().await?;
        batch.run(&mut sql).await?;
        batch.commit().await?;
        self.editions.clear();
        self.replica_needs(Replica::changed);
        Ok(())
    }
}
