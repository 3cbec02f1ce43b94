//! What the tables have in PostgreSQL besides what the schema builder says of all databases.
//!
//! There, names and ids are compared by their bytes (`COLLATE "C"`): in the same
//! order as in SQLite, and unchanged by an update of the system's own collations.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// Whether it is PostgreSQL that is brought up to date.
pub(crate) fn is_it(manager: &SchemaManager<'_>) -> bool {
    manager.get_database_backend() == DbBackend::Postgres
}

/// Runs statements, in PostgreSQL only.
pub(crate) async fn only(manager: &SchemaManager<'_>, statements: &str) -> Result<(), DbErr> {
    if is_it(manager) {
        manager
            .get_connection()
            .execute_unprepared(statements)
            .await?;
    }
    Ok(())
}
