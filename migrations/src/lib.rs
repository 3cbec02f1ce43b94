//! The tables of the records, from the first version to this one.
//!
//! The same migrations run on SQLite and on PostgreSQL. Old code runs
//! on the new tables for as long as an update takes: expand first, contract a
//! version later (see the README beside this crate).

use sea_orm_migration::prelude::*;

mod m0001_people;
mod m0002_events;
mod m0003_histories;
mod m0004_faults_and_offsets;
mod m0005_help_opened;
mod m0007_terms_and_research;
mod m0008_editions;
mod postgres;
mod tables;

/// Every migration, in its order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_people::Migration),
            Box::new(m0002_events::Migration),
            Box::new(m0003_histories::Migration),
            Box::new(m0004_faults_and_offsets::Migration),
            Box::new(m0005_help_opened::Migration),
            Box::new(m0007_terms_and_research::Migration),
            Box::new(m0008_editions::Migration),
        ]
    }
}
