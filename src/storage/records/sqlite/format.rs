//! Whether the tables are those of a later version, asked without changing anything.

use std::collections::BTreeSet;
use std::path::Path;

use mimamori_migrations::Migrator;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions, Connection, Row};
use sea_orm_migration::MigratorTrait;

use super::connect::BUSY_LIMIT;
use crate::storage::format::UnknownFormat;

/// Whether this program knows every migration that the file has had. What
/// cannot be read here is told by whoever opens the file for good.
pub(in crate::storage::records) async fn check(file: &Path) -> Result<(), UnknownFormat> {
    let known: BTreeSet<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let applied = match file.try_exists() {
        Ok(true) => applied(file).await.unwrap_or_default(),
        Ok(false) | Err(_) => return Ok(()),
    };
    match applied.into_iter().rfind(|name| !known.contains(name)) {
        Some(found) => Err(UnknownFormat {
            path: file.to_path_buf(),
            found,
            newest: known.into_iter().next_back().unwrap_or_default(),
        }),
        None => Ok(()),
    }
}

/// The migrations that the file has had, in their order.
async fn applied(file: &Path) -> Result<Vec<String>, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(BUSY_LIMIT)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let rows = sqlx::query("SELECT version FROM seaql_migrations ORDER BY version")
        .fetch_all(&mut connection)
        .await?;
    connection.close().await?;
    rows.iter().map(|row| row.try_get("version")).collect()
}
