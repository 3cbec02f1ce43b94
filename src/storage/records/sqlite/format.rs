//! Whether the tables are those of a later version, asked without changing anything.

use std::path::Path;

use mimamori_migrations::{Found, newer_than_known, newest_known};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Row};

use super::connect::BUSY_LIMIT;
use crate::storage::format::UnknownFormat;

/// Whether this program can live with every migration that the file has had. What
/// cannot be read here is told by whoever opens the file for good.
pub(in crate::storage::records) async fn check(file: &Path) -> Result<(), UnknownFormat> {
    let found = match file.try_exists() {
        Ok(true) => found(file).await.unwrap_or_default(),
        Ok(false) | Err(_) => return Ok(()),
    };
    match newer_than_known(&found) {
        Some(newer) => Err(UnknownFormat {
            path: file.to_path_buf(),
            found: newer.clone(),
            newest: newest_known(),
        }),
        None => Ok(()),
    }
}

async fn found(file: &Path) -> Result<Found, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(BUSY_LIMIT)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let applied = versions(&mut connection, "SELECT version FROM seaql_migrations").await?;
    // a file of an earlier version has no such table
    let expansions = versions(&mut connection, "SELECT version FROM expansions").await;
    connection.close().await?;
    Ok(Found {
        applied,
        expansions: expansions.unwrap_or_default(),
    })
}

async fn versions(
    connection: &mut SqliteConnection,
    text: &'static str,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(text).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("version")).collect()
}
