//! How students fared with each cell in each quarter of a day, counted where the
//! executions are written; and an index of what failed, by cell.
//!
//! As with the hours (`m0005_hours`) the database counts by itself: a batch that
//! comes again adds nothing, what is erased is taken off, and a program of the
//! version before keeps the counts right. An hour would hardly have fewer rows than
//! there are executions, and a day leaves too many to be counted at the ends of a range.

use sea_orm_migration::prelude::*;

use crate::postgres;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let statements = if postgres::is_it(manager) {
            include_str!("m0010_cells.postgres.sql")
        } else {
            include_str!("m0010_cells.sqlite.sql")
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(statements).await?;
        Ok(())
    }
}
