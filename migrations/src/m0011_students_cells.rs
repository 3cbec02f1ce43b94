//! The index of what a student did says of which cell it was, and how it ended: a student's
//! cells of a year are 36,000 executions, each in another place of the table.

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
            ON_POSTGRES
        } else {
            ON_SQLITE
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(statements).await?;
        Ok(())
    }
}

/// Names and paths have at most 1 KiB each: they fit into a page of the index.
const ON_POSTGRES: &str = "
    CREATE INDEX executions_of_students_cells ON executions (classroom, student, at_ms DESC, position DESC)
        INCLUDE (notebook, cell_id, cell_index, status);
    DROP INDEX executions_of_student;
";

const ON_SQLITE: &str = "
    CREATE INDEX executions_of_students_cells
        ON executions (classroom, student, at_ms, position, notebook, cell_id, cell_index, status);
    DROP INDEX executions_of_student;
";
