//! What was concluded: lessons, sessions, requests for help, alerts.

use sea_orm_migration::prelude::*;

use crate::postgres;
use crate::tables::{index, keyed_table, maybe_number, maybe_text, number, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [lessons(), sessions(), help(), alerts()] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        postgres::only(manager, ON_POSTGRES).await
    }
}

/// What is open now is a handful of rows among all that ever were.
const ON_POSTGRES: &str = r#"
    ALTER TABLE lessons ALTER classroom TYPE text COLLATE "C", ALTER id TYPE text COLLATE "C";
    ALTER TABLE sessions ALTER classroom TYPE text COLLATE "C", ALTER id TYPE text COLLATE "C",
        ALTER student TYPE text COLLATE "C";
    ALTER TABLE help ALTER classroom TYPE text COLLATE "C", ALTER id TYPE text COLLATE "C",
        ALTER student TYPE text COLLATE "C";
    ALTER TABLE alerts ALTER classroom TYPE text COLLATE "C", ALTER id TYPE text COLLATE "C",
        ALTER student TYPE text COLLATE "C";
    CREATE INDEX sessions_active ON sessions (classroom, student, begun_ms DESC) WHERE ended_ms IS NULL;
    CREATE INDEX help_open ON help (classroom, since_ms DESC) WHERE until_ms IS NULL;
"#;

// `position` is the entry that told of the row last, `cause` the event that it began with

fn lessons() -> TableCreateStatement {
    keyed_table(
        "lessons",
        vec![
            text("classroom"),
            text("id"),
            number("begun_ms"),
            maybe_number("ended_ms"),
            maybe_text("ended_by"),
            number("position"),
        ],
        &["classroom", "id"],
    )
}

fn sessions() -> TableCreateStatement {
    keyed_table(
        "sessions",
        vec![
            text("classroom"),
            text("id"),
            text("student"),
            number("begun_ms"),
            maybe_number("ended_ms"),
            maybe_number("events"),
            number("cause"),
            number("position"),
        ],
        &["classroom", "id"],
    )
}

fn help() -> TableCreateStatement {
    keyed_table(
        "help",
        vec![
            text("classroom"),
            text("id"),
            text("student"),
            number("since_ms"),
            maybe_number("until_ms"),
            maybe_text("ended_by"),
            maybe_text("claimed_by"),
            maybe_text("cell_id"),
            number("position"),
        ],
        &["classroom", "id"],
    )
}

fn alerts() -> TableCreateStatement {
    keyed_table(
        "alerts",
        vec![
            text("classroom"),
            text("id"),
            text("kind"),
            text("student"),
            maybe_text("cell_id"),
            number("since_ms"),
            text("reason"),
            text("state"),
            number("changed_ms"),
            number("position"),
        ],
        &["classroom", "id"],
    )
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index("lessons_by_time", "lessons", &["classroom", "begun_ms"]),
        index("sessions_by_time", "sessions", &["classroom", "begun_ms"]),
        index(
            "sessions_of_student",
            "sessions",
            &["classroom", "student", "begun_ms"],
        ),
        index("help_by_time", "help", &["classroom", "since_ms"]),
        index("alerts_by_time", "alerts", &["classroom", "since_ms"]),
    ]
}
