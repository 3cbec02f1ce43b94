//! Where in the journal a request for help opened: the series are filled again by it.

use sea_orm_migration::prelude::*;

use crate::tables::{index, maybe_number};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true) // a start that is cut off leaves all of it or nothing
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // absent in rows of the version before: those are known by the entry that told of them last
        let opened = Table::alter()
            .table("help")
            .add_column(maybe_number("opened"))
            .to_owned();
        manager.alter_table(opened).await?;
        manager
            .create_index(index("help_by_opening", "help", &["opened"]))
            .await
    }
}
