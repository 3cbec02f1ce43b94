//! The connections: one that writes, a few that can only read.

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{ConnectOptions, Connection};
use sea_orm::{DatabaseConnection, SqlxSqliteConnector, sqlx};
use tokio::time::Instant;

use crate::storage::records::RecordsError;
use crate::storage::records::read::READING_LIMIT;

/// So many reading calls are answered at the same time; further ones wait for their turn.
const READERS: u32 = 4;
/// Another process (a backup, a person with a shell) may hold the file for a moment.
pub(in crate::storage::records) const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// How many of SQLite's instructions pass between two looks at the clock: well under a millisecond.
const INSTRUCTIONS_A_LOOK: i32 = 20_000;

/// The only connection that writes. A commit returns when it is on disk.
pub(in crate::storage::records) async fn writing(
    file: &Path,
) -> Result<DatabaseConnection, RecordsError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_LIMIT)
        .foreign_keys(true)
        .pragma("cache_size", "-65536")
        // the log is emptied into the tables every 16 MiB: random places are written less often
        .pragma("wal_autocheckpoint", "4096")
        .thread_name(|_| "records-writer".to_owned())
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(BUSY_LIMIT)
        .before_acquire(|connection, _| {
            let is_clean = is_clean(connection);
            Box::pin(async move { Ok(is_clean) })
        })
        .connect_with(options)
        .await
        .map_err(unavailable)?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// Whether nothing of an earlier transaction is left; a connection of which that
/// is not sure makes room for a new one. A full disk makes `SQLite` roll back by
/// itself, of which the library knows nothing: what it takes for the next
/// transaction and its commit would then be parts of one that is never committed.
fn is_clean(connection: &SqliteConnection) -> bool {
    let is_clean = !connection.is_in_transaction();
    if !is_clean {
        metrics::counter!("mimamori_records_reopened_total").increment(1);
        tracing::info!(
            store = "records",
            "a write failed half way: the connection is opened anew"
        );
    }
    is_clean
}

/// Connections that cannot write, each statement with a time limit.
pub(in crate::storage::records) async fn reading(
    file: &Path,
) -> Result<DatabaseConnection, RecordsError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(BUSY_LIMIT)
        .pragma("query_only", "ON")
        .thread_name(|n| format!("records-reader-{n}"))
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READING_LIMIT)
        .after_connect(|connection, _| Box::pin(limit_time(connection)))
        .before_acquire(|connection, _| {
            Box::pin(async {
                limit_time(connection).await?;
                Ok(true)
            })
        })
        .connect_with(options)
        .await
        .map_err(unavailable)?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// From now on: a caller that goes away does not stop a statement, this does.
async fn limit_time(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let end = Instant::now() + READING_LIMIT;
    connection
        .lock_handle()
        .await?
        .set_progress_handler(INSTRUCTIONS_A_LOOK, move || Instant::now() < end);
    Ok(())
}

fn unavailable(error: sqlx::Error) -> RecordsError {
    sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())).into()
}
