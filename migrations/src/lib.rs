//! The tables of the records, from the first version to this one.
//!
//! The same migrations run on SQLite and on PostgreSQL. Old code runs
//! on the new tables for as long as an update takes: expand first, contract a
//! version later (see the README beside this crate).

use std::collections::BTreeSet;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait, QueryOrder};
use sea_orm_migration::seaql_migrations;

mod m0001_people;
mod m0002_events;
mod m0003_histories;
mod m0004_faults_and_offsets;
mod m0005_help_opened;
mod m0005_hours;
mod m0005_parts;
mod m0007_terms_and_research;
mod m0008_editions;
mod m0010_cells;
mod m0011_students_cells;
mod newer;
mod postgres;
mod tables;

pub use newer::{Found, newer_than_known, newest_known};

/// Every migration, in its order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_people::Migration),
            Box::new(m0002_events::Migration),
            Box::new(m0003_histories::Migration),
            Box::new(m0004_faults_and_offsets::Migration),
            Box::new(m0005_help_opened::Migration),
            Box::new(m0005_hours::Migration),
            Box::new(m0005_parts::Migration),
            Box::new(m0007_terms_and_research::Migration),
            Box::new(m0008_editions::Migration),
            Box::new(m0010_cells::Migration),
            Box::new(m0011_students_cells::Migration),
        ]
    }

    /// Those of a later version are no business of this one: whether it may go
    /// on with them is asked before ([`newer_than_known`]).
    async fn get_migration_models<C>(db: &C) -> Result<Vec<seaql_migrations::Model>, DbErr>
    where
        C: ConnectionTrait,
    {
        Self::install(db).await?;
        let found = seaql_migrations::Entity::find();
        let mut models = found
            .order_by_asc(seaql_migrations::Column::Version)
            .all(db)
            .await?;
        let known = known();
        models.retain(|model| known.contains(&model.version));
        Ok(models)
    }
}

/// Brings the tables up to date, and notes which migrations an earlier version can live with.
///
/// # Errors
/// When the database can't be written.
pub async fn bring_up_to_date(db: &DatabaseConnection) -> Result<(), DbErr> {
    Migrator::up(db, None).await?;
    newer::note(db).await
}

/// The names of all migrations.
pub(crate) fn known() -> BTreeSet<String> {
    let names = Migrator::migrations();
    names.iter().map(|it| it.name().to_owned()).collect()
}
