//! What a database tells a program that is older than its tables.
//!
//! Beside the names of its migrations it keeps which of them only add
//! (`expansions`): those leave an earlier version reading and writing as before.
//! One that is not noted there takes something away, and stops it.

use std::collections::BTreeSet;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection};

use crate::known;

/// Migrations that take something away: the version before the one that brings
/// it must not run on these tables. All others only add.
const CONTRACTING: [&str; 0] = [];

/// Beside each other, what stands in a database.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The migrations that it has had.
    pub applied: Vec<String>,
    /// Those that only added.
    pub expansions: Vec<String>,
}

/// A migration that this version does not know and can't live with: the last of them.
pub fn newer_than_known(found: &Found) -> Option<&String> {
    let known = known();
    let foreign = |name: &&String| !known.contains(*name) && !found.expansions.contains(name);
    found.applied.iter().filter(foreign).max()
}

/// The newest migration of this version.
pub fn newest_known() -> String {
    known().pop_last().unwrap_or_default()
}

/// Notes which migrations only add. One that was applied and is not noted, as
/// after a crash, stops earlier versions until the next start.
pub(crate) async fn note(db: &DatabaseConnection) -> Result<(), DbErr> {
    db.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS expansions (version text NOT NULL PRIMARY KEY)",
    )
    .await?;
    for name in expanding() {
        // a name of ours: letters, digits and _
        let sql =
            format!("INSERT INTO expansions (version) VALUES ('{name}') ON CONFLICT DO NOTHING");
        db.execute_unprepared(&sql).await?;
    }
    Ok(())
}

fn expanding() -> BTreeSet<String> {
    let mut all = known();
    all.retain(|name| !CONTRACTING.contains(&name.as_str()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(applied: &[&str], expansions: &[&str]) -> Found {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Found {
            applied: owned(applied),
            expansions: owned(expansions),
        }
    }

    #[test]
    fn what_only_added_stops_nobody_and_what_is_not_known_to_have_does() {
        let first = known().pop_first().unwrap();

        let none = newer_than_known(&found(&[&first, "m9998_more"], &["m9998_more"])).cloned();
        let contracted = found(&[&first, "m9998_more", "m9999_less"], &["m9998_more"]);

        assert_eq!(none, None);
        assert_eq!(
            newer_than_known(&contracted).map(String::as_str),
            Some("m9999_less")
        );
    }
}
