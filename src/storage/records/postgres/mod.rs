//! The records in a PostgreSQL database.
//!
//! One session writes, a pool of others only reads. Rows go in as one array a
//! column (`write`), the tables of events are cut into months (`months`), and
//! what makes searches quick depends on what the role may do (`search`).

use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Timestamp};
use mimamori_actors::ports::Clock as _;
use mimamori_migrations::{Found, bring_up_to_date as migrate, newer_than_known, newest_known};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection, Row as _};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::RecordsError;
use crate::clock::SystemClock;
use crate::config;
use crate::storage::format::UnknownFormat;

mod claim;
mod expire;
pub(super) mod fault;
pub(super) mod looks;
pub(super) mod months;
mod search;
pub(super) mod session;
mod write;

use fault::unavailable;
pub(super) use session::Writer;
use session::answered;
pub(super) use write::Batch;

/// A start waits so long for a server that is starting too.
pub(super) const SERVER_STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Between two tries of a server that is not there.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// A reading call waits so long for a connection of its own.
const READER_COMES_WITHIN: Duration = Duration::from_secs(3);
/// The same of the replica: the primary is asked then.
const REPLICAS_READER_COMES_WITHIN: Duration = Duration::from_secs(1);
/// Nobody waits longer for a statement of the replica: it gives its connection back then.
const REPLICAS_READER_ENDS: &str = "SET statement_timeout = '3s'";
/// Connections are renewed: what a server keeps for each only grows.
pub(super) const RENEWED_AFTER: Duration = Duration::from_secs(30 * 60);
/// Readers that nobody needed for so long are closed.
const UNUSED_FOR: Duration = Duration::from_secs(5 * 60);
/// How often months are made ahead and rows moved out of the default partitions.
const MONTHS_EVERY: Duration = Duration::from_secs(10 * 60);
/// Whoever brings the tables up to date holds the advisory lock of this number ("mimamori").
const MIGRATION_LOCK: i64 = 0x6d69_6d61_6d6f_7269;

/// What writes and what reads; neither is connected before it is used.
pub(super) struct Parts {
    pub(super) writing: Writer,
    pub(super) reading: DatabaseConnection,
}

/// A task that looks after the database; it ends with this.
#[derive(Debug)]
pub(super) struct Keeping(JoinHandle<()>);

impl Keeping {
    pub(super) fn by(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Brings the tables up to date, under a lock. A server that is starting is waited for so long.
pub(super) async fn prepare(config: &Address, patience: Duration) -> Result<(), RecordsError> {
    let options = config.options()?;
    let mut session = reach(&options, patience).await?;
    take_turn(&mut session, MIGRATION_LOCK).await?;
    bring_up_to_date(&options, &mut session).await?;
    let _ = session.close().await; // gives the lock back
    Ok(())
}

/// What works on tables that are up to date.
pub(super) fn parts(config: &Address) -> Result<Parts, RecordsError> {
    let options = config.options()?;
    Ok(Parts {
        reading: reading(&options, config.max_connections),
        writing: Writer::new(options),
    })
}

/// Where the database is, and how much of it may be used.
#[derive(Debug, Clone)]
pub struct Address {
    /// The address.
    pub url: config::PostgresUrl,
    /// Connections at a time, at least 2.
    pub max_connections: u32,
}

impl Address {
    pub(super) fn options(&self) -> Result<PgConnectOptions, RecordsError> {
        let options: PgConnectOptions = self
            .url
            .expose()
            .parse()
            // the reason may repeat what was given
            .map_err(|_| RecordsError::Unfit("the address can't be used".to_owned()))?;
        Ok(options.application_name("mimamori"))
    }
}

/// Whether this program can live with every migration that the database has had. Changes nothing.
pub(super) async fn check_format(config: &Address, patience: Duration) -> Result<(), RecordsError> {
    let mut session = reach(&config.options()?, patience).await?;
    let found = answered(found(&mut session)).await?;
    let _ = session.close().await;
    match newer_than_known(&found) {
        Some(newer) => Err(UnknownFormat {
            path: config.url.to_string().into(),
            found: newer.clone(),
            newest: newest_known(),
        }
        .into()),
        None => Ok(()),
    }
}

async fn found(session: &mut PgConnection) -> Result<Found, sqlx::Error> {
    Ok(Found {
        applied: versions(session, "seaql_migrations").await?,
        expansions: versions(session, "expansions").await?,
    })
}

/// What stands in a table of migrations; nothing if there is none.
async fn versions(
    session: &mut PgConnection,
    table: &'static str,
) -> Result<Vec<String>, sqlx::Error> {
    let is_there = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .bind(table)
        .fetch_one(&mut *session)
        .await?;
    if !is_there.try_get::<bool, _>(0)? {
        return Ok(Vec::new());
    }
    let text = format!("SELECT version FROM {table}");
    let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(session).await?;
    rows.iter().map(|row| row.try_get("version")).collect()
}

/// The first session of a start: waits for a server that is starting, too, and
/// for no other reason.
async fn reach(
    options: &PgConnectOptions,
    patience: Duration,
) -> Result<PgConnection, RecordsError> {
    if patience.is_zero() {
        return session::connect(options).await;
    }
    let mut is_told = false;
    let trying = async {
        loop {
            match session::connect(options).await {
                Err(error) if fault::is_away(&error) => {
                    if !is_told {
                        is_told = true;
                        tracing::warn!(store = "records", %error, "waiting for the database");
                    }
                    sleep(LOOKS_EVERY).await;
                }
                done => return done,
            }
        }
    };
    match timeout(patience, trying).await {
        Ok(done) => done,
        Err(_) => session::connect(options).await,
    }
}

/// Waits until no other session holds the lock; it is given back with the session. It
/// is asked again and again: who waits within one question never learns that the other
/// end is gone.
async fn take_turn(session: &mut PgConnection, lock: i64) -> Result<(), RecordsError> {
    let free = sqlx::raw_sql("SET lock_timeout = 0; SET statement_timeout = 0");
    answered(free.execute(&mut *session)).await?;
    loop {
        let taking = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(lock);
        let row = answered(taking.fetch_one(&mut *session)).await?;
        if row.try_get(0).map_err(unavailable)? {
            return Ok(());
        }
        sleep(LOOKS_EVERY).await;
    }
}

async fn bring_up_to_date(
    options: &PgConnectOptions,
    session: &mut PgConnection,
) -> Result<(), RecordsError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(READER_COMES_WITHIN)
        .connect_lazy_with(session::quiet(options));
    let migrating = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    migrate(&migrating).await?;
    migrating.close().await?;
    months::keep(session, today()).await?;
    search::prepare(session).await
}

/// When it is opened. In tests it is always the day that their rows are of: the months around
/// it are there whenever they run.
fn today() -> Timestamp {
    #[cfg(test)]
    let today = crate::storage::samples::MORNING;
    #[cfg(not(test))]
    let today = SystemClock.now();
    today
}

/// Whether the tables are there that were. They are not made anew: whoever takes a database
/// away may be about to restore it, and would find ours in the way.
async fn tables_are_there(session: &mut PgConnection) -> Result<(), RecordsError> {
    let looking = sqlx::query("SELECT to_regclass('offsets') IS NOT NULL");
    let row = answered(looking.fetch_one(session)).await?;
    if row.try_get::<bool, _>(0).map_err(unavailable)? {
        return Ok(());
    }
    Err(RecordsError::Unfit(
        "the tables that it had are gone: restore a backup, or run `mimamori migrate` and they are filled again from the journal"
            .to_owned(),
    ))
}

/// The pool of those that only read.
fn reading(options: &PgConnectOptions, max_connections: u32) -> DatabaseConnection {
    let pool = PgPoolOptions::new()
        .max_connections(max_connections.saturating_sub(1).max(1))
        .acquire_timeout(READER_COMES_WITHIN)
        .max_lifetime(RENEWED_AFTER)
        .idle_timeout(UNUSED_FOR)
        .test_before_acquire(true)
        .after_connect(|connection, _| Box::pin(session::only_read(connection)))
        .connect_lazy_with(session::quiet(options));
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
}

/// The pool of those that read at the replica, as long as it is the server that was looked at.
pub(super) fn reading_at(
    replica: &Address,
    run: looks::Run,
) -> Result<DatabaseConnection, RecordsError> {
    let pool = PgPoolOptions::new()
        .max_connections(replica.max_connections.saturating_sub(1).max(1))
        .acquire_timeout(REPLICAS_READER_COMES_WITHIN)
        .max_lifetime(RENEWED_AFTER)
        .idle_timeout(UNUSED_FOR)
        .test_before_acquire(true)
        .after_connect(move |connection, _| {
            let run = run.clone();
            Box::pin(async move {
                session::only_read(connection).await?;
                sqlx::raw_sql(REPLICAS_READER_ENDS)
                    .execute(&mut *connection)
                    .await?;
                run.is_that_of(connection).await
            })
        })
        .connect_lazy_with(session::quiet(&replica.options()?));
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Makes months ahead and empties the default partitions, again and again.
pub(super) async fn keep_months(config: Address) {
    let Ok(options) = config.options() else {
        return; // it was opened with this address
    };
    loop {
        sleep(MONTHS_EVERY).await;
        if let Err(error) = keep_months_once(&options, SystemClock.now()).await {
            metrics::counter!("mimamori_records_months_failed_total").increment(1);
            tracing::warn!(store = "records", %error, "the months could not be looked after, it is tried again");
        }
    }
}

/// Drops months that are past their term, on a session of its own.
pub(super) async fn drop_months(
    writer: &Writer,
    terms: &[(ClassroomId, Option<Timestamp>)],
    now: Timestamp,
) -> Result<u64, RecordsError> {
    let dropping = async {
        let mut session = session::connect(writer.options()).await?;
        let dropped = expire::drop_months(&mut session, terms, now).await?;
        let _ = session.close().await;
        Ok(dropped)
    };
    looked_after(dropping).await
}

/// One round of it, on a session of its own.
pub(super) async fn keep_months_once(
    options: &PgConnectOptions,
    now: Timestamp,
) -> Result<(), RecordsError> {
    let keeping = async {
        let mut session = session::connect(options).await?;
        months::keep(&mut session, now).await?;
        let _ = session.close().await;
        Ok(())
    };
    looked_after(keeping).await
}

/// A round that takes longer has lost its server: the next one asks for another session.
async fn looked_after<T>(
    round: impl Future<Output = Result<T, RecordsError>>,
) -> Result<T, RecordsError> {
    let done = timeout(MONTHS_EVERY, round).await;
    done.unwrap_or(Err(RecordsError::TooSlow))
}
