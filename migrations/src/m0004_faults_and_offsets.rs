//! What was refused or could not be stored, and how far each consumer is with each journal.

use sea_orm_migration::prelude::*;

use crate::postgres;
use crate::tables::{index, keyed_table, maybe_text, number, row_number, table, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [rejected(), dead_letters(), offsets()] {
            manager.create_table(table).await?;
        }
        manager
            .create_index(index(
                "rejected_by_time",
                "rejected",
                &["classroom", "received_at_ms"],
            ))
            .await?;
        manager
            .create_index(index(
                "dead_letters_by_time",
                "dead_letters",
                &["classroom", "received_at_ms"],
            ))
            .await?;
        postgres::only(manager, ON_POSTGRES).await
    }
}

const ON_POSTGRES: &str = r#"
    ALTER TABLE rejected ALTER classroom TYPE text COLLATE "C";
    ALTER TABLE dead_letters ALTER classroom TYPE text COLLATE "C";
    ALTER TABLE offsets ALTER journal TYPE text COLLATE "C", ALTER consumer TYPE text COLLATE "C";
"#;

fn rejected() -> TableCreateStatement {
    table(
        "rejected",
        vec![
            row_number("position"),
            text("classroom"),
            number("received_at_ms"),
            number("item"),
            text("code"),
            text("detail"),
            text("pointer"),
            maybe_text("event_id"),
            text("payload"),
        ],
    )
}

fn dead_letters() -> TableCreateStatement {
    table(
        "dead_letters",
        vec![
            row_number("position"),
            text("id"),
            text("classroom"),
            number("received_at_ms"),
            text("consumer"),
            // where the entry stood that could not be taken
            number("entry"),
            text("reason"),
        ],
    )
}

fn offsets() -> TableCreateStatement {
    keyed_table(
        "offsets",
        vec![text("journal"), text("consumer"), number("position")],
        &["journal", "consumer"],
    )
}
