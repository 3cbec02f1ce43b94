//! Sessions: how they are made, and the one that writes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

use super::RENEWED_AFTER;
use super::claim::{CLAIMS_EVERY, Claim};
use super::fault::unavailable;
use crate::storage::records::RecordsError;

/// A server that takes longer to let us in is not there.
const CONNECTS_WITHIN: Duration = Duration::from_secs(3);
/// A session that was unused is asked this fast whether it still lives.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A statement that has no answer within this has none: the server ends it before
/// (`statement_timeout`), unless nothing of ours reaches it any more.
const ENDS_WITHIN: Duration = Duration::from_secs(24);

/// The oldest server that is used, as it numbers itself.
const OLDEST_SERVER: i32 = 150_000;

/// Limits of a session that writes stay under the writer's patience of 25 s, so that the server has let go
/// of a batch before it comes again. What they mean: <https://www.postgresql.org/docs/15/runtime-config-client.html>.
const WRITES: &str = "SET synchronous_commit = on; SET statement_timeout = '20s'; \
    SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s'; \
    SET jit = off; SET timezone = 'UTC'; \
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";
/// A plan for the values at hand: a pattern of three letters and one of thirty are not read the same way.
/// One process each: starting others takes as long as most answers, and the cores belong to a class at work.
const READS: &str = "SET default_transaction_read_only = on; SET statement_timeout = '10s'; \
    SET lock_timeout = '5s'; SET plan_cache_mode = force_custom_plan; \
    SET max_parallel_workers_per_gather = 0; SET jit = off; SET timezone = 'UTC'";

/// Without a log of statements: they carry what people wrote.
pub(super) fn quiet(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().disable_statement_logging()
}

/// A session that writes, on a server that is fit for it.
pub(in crate::storage::records) async fn connect(
    options: &PgConnectOptions,
) -> Result<PgConnection, RecordsError> {
    let making = async {
        let mut session = PgConnection::connect_with(&quiet(options)).await?;
        sqlx::raw_sql(WRITES).execute(&mut session).await?;
        // where the system can't tell, a server finds out later that nobody waits for its answer
        let _ = sqlx::raw_sql("SET client_connection_check_interval = '2s'")
            .execute(&mut session)
            .await;
        let facts = Facts::of(&mut session).await?;
        Ok::<_, sqlx::Error>((session, facts))
    };
    let (session, facts) = answered_within(CONNECTS_WITHIN, making).await?;
    facts.check()?;
    Ok(session)
}

fn no_answer(within: Duration) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the server did not answer within {within:?}"),
    ))
}

/// Makes a session one that only reads.
pub(super) async fn only_read(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(READS).execute(session).await?;
    Ok(())
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    version_number: i32,
    version: String,
    encoding: String,
    synchronous_commit: String,
    fsync: String,
}

impl Facts {
    async fn of(session: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('server_encoding'), current_setting('synchronous_commit'), \
             current_setting('fsync')",
        )
        .fetch_one(session)
        .await?;
        Ok(Self {
            version_number: row.try_get(0)?,
            version: row.try_get(1)?,
            encoding: row.try_get(2)?,
            synchronous_commit: row.try_get(3)?,
            fsync: row.try_get(4)?,
        })
    }

    fn check(&self) -> Result<(), RecordsError> {
        let unfit = |reason: String| Err(RecordsError::Unfit(reason));
        if self.version_number < OLDEST_SERVER {
            return unfit(format!(
                "the server is PostgreSQL {}, version 15 or later is needed",
                self.version
            ));
        }
        if self.encoding != "UTF8" {
            return unfit(format!(
                "the database is encoded in {}, UTF8 is needed: create it with ENCODING 'UTF8' TEMPLATE template0",
                self.encoding
            ));
        }
        if self.synchronous_commit != "on" {
            return unfit(format!(
                "synchronous_commit was set to on and is {}: something between us and the server changes it",
                self.synchronous_commit
            ));
        }
        if self.fsync != "on" {
            return unfit(
                "the server runs with fsync = off: a power loss would take what the journal has given up for it"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The session that writes; made when it is needed, and again when it broke.
pub(in crate::storage::records) struct Writer {
    options: PgConnectOptions,
    kept: Mutex<Option<Kept>>,
    claim: Claim,
    /// Since then the tables are there, unless somebody took them away.
    has_written: AtomicBool,
}

/// A session between two batches.
pub(super) struct Kept {
    session: PgConnection,
    made: Instant,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive() // options hold the password
    }
}

impl Writer {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            kept: Mutex::new(None),
            claim: Claim::default(),
            has_written: AtomicBool::new(false),
        }
    }

    /// Takes the lock of the one that writes, now and with every session to come.
    pub(in crate::storage::records) async fn claim(
        &self,
        patience: Duration,
    ) -> Result<(), RecordsError> {
        self.claim.is_wanted.store(true, Ordering::Release);
        let trying = async {
            loop {
                match self.begin().await {
                    Ok(lent) => return lent.commit().await,
                    Err(RecordsError::Unfit(_)) => sleep(CLAIMS_EVERY).await,
                    Err(error) => return Err(error),
                }
            }
        };
        match timeout(patience, trying).await {
            Ok(done) => done,
            Err(_) => self.begin().await?.commit().await,
        }
    }

    /// A session in a transaction. Whoever does not give it back has ended it: a
    /// session in the middle of something is closed, and so its transaction undone.
    pub(super) async fn begin(&self) -> Result<Lent<'_>, RecordsError> {
        let mut home = self.kept.lock().await;
        if let Some(mut kept) = home.take() {
            if kept.made.elapsed() >= RENEWED_AFTER {
                let _ = timeout(ANSWERS_WITHIN, kept.session.close()).await;
            } else if is_well(timeout(ANSWERS_WITHIN, begin(&mut kept.session)).await) {
                return Ok(self.lent(kept, home));
            }
        }
        let mut session = connect(&self.options).await?;
        if self.has_written.load(Ordering::Acquire) {
            super::tables_are_there(&mut session).await?;
        }
        self.claim.take(&mut session).await?;
        answered_within(ANSWERS_WITHIN, begin(&mut session)).await?;
        let made = Instant::now();
        let kept = Kept { session, made };
        Ok(self.lent(kept, home))
    }

    fn lent<'a>(&'a self, kept: Kept, home: MutexGuard<'a, Option<Kept>>) -> Lent<'a> {
        Lent {
            kept,
            home,
            has_written: &self.has_written,
        }
    }

    /// Lets the server reuse the room of removed rows, so that what stood in it
    /// is written over. On a session of its own: it is no part of a transaction,
    /// holds nobody up, and may take minutes.
    pub(in crate::storage::records) async fn vacuum(&self) -> Result<(), RecordsError> {
        let mut session = connect(&self.options).await?;
        for statement in [
            "SET statement_timeout = 0",
            "VACUUM events, executions, students, teams, notebooks, sessions, help, alerts, \
             rejected, dead_letters",
        ] {
            let done = sqlx::raw_sql(statement).execute(&mut session).await;
            done.map_err(unavailable)?;
        }
        let _ = timeout(ANSWERS_WITHIN, session.close()).await;
        Ok(())
    }

    /// Whether the server answers: asked on the session that writes, or, if somebody works
    /// on that, on one of its own. Waits for nobody's work.
    pub(in crate::storage::records) async fn check(&self) -> Result<(), RecordsError> {
        if self.kept.try_lock().is_ok() {
            return self.begin().await?.commit().await;
        }
        let session = connect(&self.options).await?;
        let _ = session.close().await;
        Ok(())
    }

    /// Ends the session, once what is under way is done.
    pub(in crate::storage::records) async fn close(&self) {
        if let Some(kept) = self.kept.lock().await.take() {
            let _ = timeout(ANSWERS_WITHIN, kept.session.close()).await;
        }
    }

    pub(in crate::storage::records) fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

/// Waits for an answer, but not for ever: whoever works on the session that writes holds
/// up all others, and a machine that vanished says nothing.
pub(super) async fn answered<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, RecordsError> {
    answered_within(ENDS_WITHIN, answer).await
}

pub(super) async fn answered_within<T>(
    within: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, RecordsError> {
    let answer = timeout(within, answer).await;
    answer
        .unwrap_or_else(|_| Err(no_answer(within)))
        .map_err(unavailable)
}

async fn begin(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("BEGIN").execute(session).await?;
    Ok(())
}

fn is_well<E>(answer: Result<Result<(), sqlx::Error>, E>) -> bool {
    matches!(answer, Ok(Ok(())))
}

/// The session, for one transaction.
pub(super) struct Lent<'a> {
    kept: Kept,
    home: MutexGuard<'a, Option<Kept>>,
    has_written: &'a AtomicBool,
}

impl Lent<'_> {
    pub(super) fn session(&mut self) -> &mut PgConnection {
        &mut self.kept.session
    }

    /// What was written is on the server's disk when this returns.
    pub(super) async fn commit(mut self) -> Result<(), RecordsError> {
        let commit = sqlx::raw_sql("COMMIT").execute(&mut self.kept.session);
        answered(commit).await?;
        *self.home = Some(self.kept);
        self.has_written.store(true, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_statement_of_which_nothing_is_heard_is_given_up() {
        let nothing = std::future::pending::<Result<(), sqlx::Error>>();

        let given_up = answered(nothing).await.unwrap_err();

        assert!(given_up.is_away(), "{given_up}");
    }

    #[test]
    fn a_server_that_is_not_fit_is_told_in_one_line() {
        let fit = Facts {
            version_number: 150_018,
            version: "15.18".to_owned(),
            encoding: "UTF8".to_owned(),
            synchronous_commit: "on".to_owned(),
            fsync: "on".to_owned(),
        };
        let old = Facts {
            version_number: 140_011,
            version: "14.11".to_owned(),
            ..fit.clone()
        };
        let latin = Facts {
            encoding: "LATIN1".to_owned(),
            ..fit.clone()
        };
        let hasty = Facts {
            synchronous_commit: "local".to_owned(),
            ..fit.clone()
        };
        let careless = Facts {
            fsync: "off".to_owned(),
            ..fit.clone()
        };

        assert!(fit.check().is_ok());
        for (facts, part) in [
            (old, "PostgreSQL 14.11, version 15"),
            (latin, "encoded in LATIN1"),
            (hasty, "synchronous_commit"),
            (careless, "fsync = off"),
        ] {
            let told = facts.check().unwrap_err().to_string();
            assert!(told.contains(part) && !told.contains('\n'), "{told}");
        }
    }
}
