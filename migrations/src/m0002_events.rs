//! What clients sent: every event, and of the executed cells what is searched and shown.

use sea_orm_migration::prelude::*;

use crate::postgres;
use crate::tables::{index, maybe_number, maybe_text, number, row_number, table, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if postgres::is_it(manager) {
            return postgres::only(manager, include_str!("m0002_events.sql")).await;
        }
        manager.create_table(events()).await?;
        manager.create_table(executions()).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn events() -> TableCreateStatement {
    table(
        "events",
        vec![
            row_number("position"),
            text("classroom"),
            text("student"),
            text("event_id"),
            text("kind"),
            number("at_ms"),
            number("event_time_ms"),
            number("received_at_ms"),
            // what of the wire form no other column of events, students and executions holds
            text("body"),
        ],
    )
}

fn executions() -> TableCreateStatement {
    table(
        "executions",
        vec![
            // the event's; no foreign key: tables are to be cut into months, each on its own
            row_number("position"),
            text("classroom"),
            text("student"),
            number("at_ms"),
            text("status"),
            maybe_text("notebook"),
            maybe_text("cell_id"),
            maybe_number("cell_index"),
            maybe_text("cell_type"),
            maybe_number("execution_count"),
            maybe_text("code"),
            maybe_text("error"),
            // JSON: a text or an array of texts, as sent
            maybe_text("result"),
        ],
    )
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index(
            "events_once",
            "events",
            &["classroom", "student", "event_id"],
        )
        .unique()
        .to_owned(),
        index("events_in_order", "events", &["classroom", "position"]),
        index(
            "events_of_student",
            "events",
            &["classroom", "student", "at_ms"],
        ),
        // the status at its end lets totals be counted from the index alone
        index(
            "executions_by_time",
            "executions",
            &["classroom", "at_ms", "position", "status"],
        ),
        index(
            "executions_of_student",
            "executions",
            &["classroom", "student", "at_ms", "position"],
        ),
        index(
            "executions_of_cell",
            "executions",
            &["classroom", "notebook", "cell_id", "at_ms"],
        ),
    ]
}
