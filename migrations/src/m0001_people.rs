//! Classrooms, students, teams, notebooks: who and what was ever seen.

use sea_orm_migration::prelude::*;

use crate::postgres;
use crate::tables::{index, keyed_table, maybe_text, number, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [classrooms(), students(), teams(), notebooks()] {
            manager.create_table(table).await?;
        }
        // names and paths are stored as sent and compared in NFKC: `key` holds that form
        manager
            .create_index(index("teams_by_key", "teams", &["classroom", "key"]))
            .await?;
        manager
            .create_index(index(
                "notebooks_by_key",
                "notebooks",
                &["classroom", "key"],
            ))
            .await?;
        postgres::only(manager, ON_POSTGRES).await
    }
}

/// A key can be many times as long as the name it stands for (NFKC unfolds single
/// signs into sentences), and longer than a tree takes: a hash has no limit.
const ON_POSTGRES: &str = r#"
    ALTER TABLE classrooms ALTER id TYPE text COLLATE "C";
    ALTER TABLE students ALTER classroom TYPE text COLLATE "C", ALTER id TYPE text COLLATE "C";
    ALTER TABLE teams ALTER classroom TYPE text COLLATE "C", ALTER name TYPE text COLLATE "C",
        ALTER key TYPE text COLLATE "C";
    ALTER TABLE notebooks ALTER classroom TYPE text COLLATE "C", ALTER path TYPE text COLLATE "C",
        ALTER key TYPE text COLLATE "C";
    DROP INDEX teams_by_key;
    CREATE INDEX teams_by_key ON teams USING hash (key);
    DROP INDEX notebooks_by_key;
    CREATE INDEX notebooks_by_key ON notebooks USING hash (key);
"#;

fn classrooms() -> TableCreateStatement {
    keyed_table(
        "classrooms",
        vec![text("id"), text("name"), number("first_seen_ms")],
        &["id"],
    )
}

fn students() -> TableCreateStatement {
    keyed_table(
        "students",
        vec![
            text("classroom"),
            text("id"),
            text("address"),
            maybe_text("name"),
            maybe_text("team"),
            number("first_seen_ms"),
            number("last_seen_ms"),
            // of the newest event in this row: an older one changes nothing
            number("position"),
        ],
        &["classroom", "id"],
    )
}

fn teams() -> TableCreateStatement {
    keyed_table(
        "teams",
        vec![
            text("classroom"),
            text("name"),
            text("key"),
            number("first_seen_ms"),
            number("last_seen_ms"),
        ],
        &["classroom", "name"],
    )
}

fn notebooks() -> TableCreateStatement {
    keyed_table(
        "notebooks",
        vec![
            text("classroom"),
            text("path"),
            text("key"),
            number("first_seen_ms"),
            number("last_seen_ms"),
        ],
        &["classroom", "path"],
    )
}
