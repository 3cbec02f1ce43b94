//! Which edition of a classroom's rows this is: what was computed from another one is not to be shown.

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
        manager.create_table(editions()).await?;
        postgres::only(manager, ON_POSTGRES).await
    }
}

/// Every batch changes a row here: room beside it keeps that within its page.
const ON_POSTGRES: &str = r#"
    ALTER TABLE editions ALTER classroom TYPE text COLLATE "C";
    ALTER TABLE editions SET (fillfactor = 50);
"#;

fn editions() -> TableCreateStatement {
    keyed_table(
        "editions",
        vec![
            text("classroom"),
            // another number with every write
            number("written"),
            // another number when rows that were there changed or went, or old ones came
            number("anew"),
            // when the last entry that was written had been received
            number("through_ms"),
        ],
        &["classroom"],
    )
}
