//! How much was run in each hour, counted where the executions are written; and
//! an index for each way in which executions are narrowed.
//!
//! The database counts by itself, in the transaction that adds or takes away an
//! execution: a batch that comes again adds nothing, a person's work that is
//! erased is taken off, and a program of the version before, which knows nothing
//! of it, keeps the counts right.

use sea_orm_migration::prelude::*;

use crate::postgres;
use crate::tables::{keyed_table, number, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(hours()).await?;
        let statements = if postgres::is_it(manager) {
            include_str!("m0005_hours.postgres.sql")
        } else {
            include_str!("m0005_hours.sqlite.sql")
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(statements).await?;
        Ok(())
    }
}

/// Runs (ok, error and interrupted) and those that failed, of the hour that begins then.
fn hours() -> TableCreateStatement {
    keyed_table(
        "executions_hours",
        vec![
            text("classroom"),
            number("hour_ms"),
            number("executions"),
            number("errors"),
        ],
        &["classroom", "hour_ms"],
    )
}
