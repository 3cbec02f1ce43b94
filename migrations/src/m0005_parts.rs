//! The parts of words (trigrams) of code and errors in a file of SQLite, for searches.
//!
//! PostgreSQL has an extension for it, which the server may lack: its indexes
//! are made at each start that finds it. Only which rows hold which parts is kept
//! (`detail=none`): what may match is read and compared as it stands.

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
        if !postgres::is_it(manager) {
            let connection = manager.get_connection();
            connection.execute_unprepared(ON_SQLITE).await?;
        }
        Ok(())
    }
}

/// What is erased leaves no part behind (`secure-delete`).
const ON_SQLITE: &str = "
    CREATE VIRTUAL TABLE executions_parts USING fts5(
        code, error, content = 'executions', content_rowid = 'position',
        tokenize = 'trigram', detail = 'none', columnsize = 0
    );
    INSERT INTO executions_parts (executions_parts, rank) VALUES ('secure-delete', 1);
    INSERT INTO executions_parts (executions_parts) VALUES ('rebuild');
    CREATE TRIGGER executions_parts_add AFTER INSERT ON executions BEGIN
        INSERT INTO executions_parts (rowid, code, error) VALUES (new.position, new.code, new.error);
    END;
    CREATE TRIGGER executions_parts_take AFTER DELETE ON executions BEGIN
        INSERT INTO executions_parts (executions_parts, rowid, code, error)
            VALUES ('delete', old.position, old.code, old.error);
    END;
    CREATE TRIGGER executions_parts_change AFTER UPDATE OF code, error ON executions BEGIN
        INSERT INTO executions_parts (executions_parts, rowid, code, error)
            VALUES ('delete', old.position, old.code, old.error);
        INSERT INTO executions_parts (rowid, code, error) VALUES (new.position, new.code, new.error);
    END;
";
