//! Events by their time, for what is past its term and for exports; and who is not for research.

use sea_orm_migration::prelude::*;

use crate::postgres;
use crate::tables::{index, keyed_table, number, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let by_time = index(
            "events_by_time",
            "events",
            &["classroom", "at_ms", "position"],
        );
        manager.create_index(by_time).await?;
        manager.create_table(not_for_research()).await?;
        postgres::only(manager, ON_POSTGRES).await
    }
}

const ON_POSTGRES: &str = r#"
    ALTER TABLE not_for_research ALTER student TYPE text COLLATE "C";
"#;

/// A row for each student who said no; the same in every classroom.
fn not_for_research() -> TableCreateStatement {
    keyed_table(
        "not_for_research",
        vec![text("student"), number("since_ms")],
        &["student"],
    )
}
