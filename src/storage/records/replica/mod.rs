//! A replica of the records' database, at which the reading calls read.
//!
//! Here it is decided, once a call, at which of the two servers that call reads
//! ([`Records::nearest`]). A task looks at both ([`watch`]): the replica is used only
//! while it shows everything that was committed a moment ago ([`judge`]). A call that
//! began there and meets a failure goes on at the primary and never back, so that what
//! it reads is of the edition that it asked for, or later (ADR 24).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mimamori_actors::domain::ClassroomId;
use sea_orm::DatabaseConnection;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, timeout};

use super::editions::{self, ASKED_FOR, Confirmed, Edition, EditionRow, Editions, NoAnswer};
use super::postgres::{self, Keeping};
use super::{PostgresAddress, Records, RecordsError, read};
use crate::breaker::Breaker;

mod judge;
#[cfg(test)]
pub(super) mod tests;
mod watch;

use watch::Watch;

/// What was committed longer ago than this is at the replica, or nobody reads there.
const MOST_BEHIND: Duration = Duration::from_secs(1);
/// While the primary is away, a replica that had everything of it is read for so long.
const ALONE_FOR: Duration = Duration::from_secs(300);
/// A statement that takes longer at the replica is asked of the primary; the replica ends it then.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Why nobody reads at the replica.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unused {
    /// Not both of the servers were looked at yet.
    #[error("not both of the database and its replica were seen yet")]
    Unseen,
    /// It does not answer, or not in time.
    #[error("{0}")]
    Away(String),
    /// It lags.
    #[error("it is more than 1 s behind the database in records.url")]
    Behind,
    /// It follows nobody: it never did, or was made a primary.
    #[error("the server in records.read_url is no replica")]
    NoReplica,
    /// It is a replica of something else.
    #[error("the server in records.read_url has another database than the one in records.url")]
    Another,
    /// The primary went back, or is another one than it followed.
    #[error(
        "it has what the database in records.url has not: it follows another one, make it anew"
    )]
    Ahead,
}

/// Hears after every look whether the replica is used.
pub type Tell = Box<dyn Fn(Result<(), &Unused>) + Send + Sync>;

/// The replica, and the task that looks at it.
#[derive(Debug)]
pub(super) struct Kept {
    replica: Arc<Replica>,
    _watching: Keeping,
}

/// What is known of the replica.
#[derive(Debug)]
pub(super) struct Replica {
    standing: Sender<Standing>,
    /// Editions as they are there, which are older than those of the primary.
    editions: Editions,
    breaker: Breaker,
    needs: Mutex<Needs>,
}

type Standing = Result<Level, Unused>;

/// A replica that can be read.
#[derive(Debug, Clone)]
struct Level {
    pool: DatabaseConnection,
    /// What was committed before this is there.
    through: Instant,
    /// The primary is away, and had nothing more when it was seen last.
    is_alone: bool,
}

/// What this process wrote.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    /// When rows were last changed or taken away: whoever reads must not see them as before.
    changed: Option<Instant>,
    wrote: Option<Instant>,
}

impl Replica {
    fn new() -> Self {
        Self {
            standing: Sender::new(Err(Unused::Unseen)),
            editions: Editions::default(),
            breaker: Breaker::silent(),
            needs: Mutex::default(),
        }
    }

    /// This process has committed something.
    pub(super) fn wrote(&self) {
        self.needs().wrote = Some(Instant::now());
    }

    /// This process has committed that rows changed or went: nobody reads here until that is here too.
    pub(super) fn changed(&self) {
        self.needs().changed = Some(Instant::now());
        // after that: whoever began before does not bring them back
        self.editions.clear();
    }

    fn needs(&self) -> MutexGuard<'_, Needs> {
        // plain assignments under this lock cannot be left half done
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The choice of a call's side: a visit to the replica, if it will do.
    fn choose(self: &Arc<Self>) -> Option<Visit> {
        let level = self.standing.borrow().as_ref().ok()?.clone();
        let needs = *self.needs();
        let has_changes = needs.changed.is_none_or(|at| at < level.through);
        let is_recent = if level.is_alone {
            // who goes on writing is not without a primary
            let has_writes = |at| at <= level.through + MOST_BEHIND;
            level.through.elapsed() <= ALONE_FOR && needs.wrote.is_none_or(has_writes)
        } else {
            level.through.elapsed() <= MOST_BEHIND
        };
        let will_do = has_changes && is_recent && !self.breaker.is_resting();
        will_do.then(|| self.visit(level, needs.changed))
    }

    /// A call that begins here, where rows were changed last at `changed`.
    fn visit(self: &Arc<Self>, level: Level, changed: Option<Instant>) -> Visit {
        Visit {
            replica: Arc::clone(self),
            pool: level.pool,
            through: level.through,
            changed,
            has_left: AtomicBool::new(false),
        }
    }

    /// Returns when the replica is found to be away.
    async fn goes_away(&self) {
        let mut standing = self.standing.subscribe();
        let is_away = |it: &Standing| matches!(it, Err(Unused::Away(_)));
        if standing.wait_for(is_away).await.is_err() {
            // nobody looks any more: who reads has the limits of its own
            std::future::pending().await
        }
    }
}

/// A call that reads at the replica, until something fails there.
#[derive(Debug)]
pub(super) struct Visit {
    replica: Arc<Replica>,
    pool: DatabaseConnection,
    /// What was committed before this is there.
    through: Instant,
    /// The last change by this process when the call began.
    changed: Option<Instant>,
    has_left: AtomicBool,
}

impl Visit {
    pub(super) fn pool(&self) -> DatabaseConnection {
        self.pool.clone()
    }

    /// What the replica answers; nothing if the primary is to be asked, now and
    /// for the rest of the call.
    pub(super) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, RecordsError>>,
    ) -> Option<Result<T, RecordsError>> {
        self.ask_within(ANSWERS_WITHIN, answer).await
    }

    /// As [`Self::ask`], with another patience.
    async fn ask_within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, RecordsError>>,
    ) -> Option<Result<T, RecordsError>> {
        let breaker = &self.replica.breaker;
        if !breaker.allows() {
            self.leave("rests");
            return None;
        }
        let reason = tokio::select! {
            answer = timeout(patience, answer) => match answer {
                Ok(Ok(rows)) => {
                    breaker.succeeded();
                    if self.has_changes() {
                        return Some(Ok(rows));
                    }
                    // they may be those of before
                    self.leave("changed");
                    return None;
                }
                // it would be the same at the primary
                Ok(Err(error @ (RecordsError::Refused(_) | RecordsError::Malformed(_)))) => {
                    return Some(Err(error));
                }
                Ok(Err(error)) => {
                    tracing::debug!(store = "records", %error, "the replica failed, the primary is asked");
                    why(&error)
                }
                Err(_) => "slow",
            },
            () = self.replica.goes_away() => "away",
        };
        breaker.failed();
        self.leave(reason);
        None
    }

    /// The edition of a classroom's rows there, which is the answer to `row` unless it was asked
    /// for a moment ago; nothing if the primary is to be asked, now and for the rest of the call.
    async fn edition(
        &self,
        classroom: &ClassroomId,
        row: impl Future<Output = Result<Option<EditionRow>, RecordsError>>,
    ) -> Option<Option<Edition>> {
        let read = async {
            let row = self.ask_within(ASKED_FOR, row).await;
            let row = row.and_then(Result::ok).ok_or(NoAnswer)?;
            Ok(Confirmed {
                edition: row.map(Edition::from),
                at: self.through,
            })
        };
        let edition = self.replica.editions.ask(classroom, read).await;
        if edition.is_err() {
            // of those who waited for one, too: what it told before may be an old edition
            self.leave("beside");
        }
        edition.ok().filter(|_| self.is_there())
    }

    fn leave(&self, reason: &'static str) {
        if !self.has_left.swap(true, Ordering::Relaxed) {
            metrics::counter!("mimamori_records_replica_failures_total", "reason" => reason)
                .increment(1);
        }
    }

    fn is_there(&self) -> bool {
        !self.has_left.load(Ordering::Relaxed) && self.has_changes()
    }

    /// Whether what this process has changed is there: what it has changed since the call began
    /// may not be.
    fn has_changes(&self) -> bool {
        self.replica.needs().changed == self.changed
    }
}

fn why(error: &RecordsError) -> &'static str {
    match error {
        _ if postgres::fault::is_conflict_with_recovery(error) => "conflict",
        RecordsError::TooSlow => "slow",
        RecordsError::Unavailable(_)
        | RecordsError::NotYet(_)
        | RecordsError::Forgot { .. }
        | RecordsError::Refused(_)
        | RecordsError::Unfit(_)
        | RecordsError::Newer(_)
        | RecordsError::Malformed(_) => "failed",
    }
}

impl Records {
    /// Has the reading calls read at this replica of `primary`, whenever it will do. It may be
    /// away; it is looked at from a task of its own. Said once, before anybody asks.
    ///
    /// # Errors
    /// When an address can't be used at all.
    pub fn read_at(
        &self,
        replica: &PostgresAddress,
        primary: &PostgresAddress,
        tell: Tell,
    ) -> Result<(), RecordsError> {
        let known = Arc::new(Replica::new());
        let watch = Watch::new(Arc::clone(&known), replica, primary, tell)?;
        let opened = self.gate.opened();
        let watching = async move {
            // until then the primary's tables may be older than this program
            opened.await;
            watch.keep().await;
        };
        // a second saying would be of the same replica
        let _ = self.replica.set(Kept {
            replica: known,
            _watching: Keeping::by(watching),
        });
        Ok(())
    }

    /// The same records for one reading call: they are read at the replica if it will do now, as
    /// long as nothing fails there. Whoever must see what was written last, or
    /// decides by what they read, does not ask for these.
    #[must_use]
    pub fn nearest(self: &Arc<Self>) -> Arc<Self> {
        let Some(kept) = self.replica.get() else {
            return Arc::clone(self);
        };
        let chosen = kept.replica.choose();
        let side = if chosen.is_some() {
            "replica"
        } else {
            "primary"
        };
        metrics::counter!("mimamori_records_replica_calls_total", "side" => side).increment(1);
        match chosen {
            None => Arc::clone(self),
            Some(visit) => Arc::new(self.visiting(visit)),
        }
    }

    fn visiting(&self, visit: Visit) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            visit: Some(visit),
        }
    }

    /// Of a call that reads at the replica, until it had to leave it.
    pub(super) fn visit(&self) -> Option<&Visit> {
        self.visit.as_ref().filter(|visit| visit.is_there())
    }

    /// The edition of the rows at the replica, for a call that reads there.
    pub(super) async fn edition_at_replica(
        &self,
        classroom: &ClassroomId,
    ) -> Option<Option<Edition>> {
        let visit = self.visit()?;
        let statement = editions::of_classroom(classroom).statement(self.dialect);
        let pool = visit.pool();
        let row = Box::pin(read::one::<EditionRow>(&pool, statement));
        visit.edition(classroom, row).await
    }

    /// What the replica told last of a classroom's edition, if there is one.
    pub(super) fn last_edition_at_replica(&self, classroom: &ClassroomId) -> Option<Confirmed> {
        self.replica.get()?.replica.editions.last(classroom)
    }

    /// Notes something for the replica, if there is one.
    pub(super) fn replica_needs(&self, note: fn(&Replica)) {
        if let Some(kept) = self.replica.get() {
            note(&kept.replica);
        }
    }
}
