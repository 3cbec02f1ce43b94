//! This version on the tables of a later one, as during an update and after a step back.

use mimamori_actors::domain::Position;

use super::*;
use crate::storage::records::{ExecutionFilter, RecordsError};

on_either!(
    tables_that_a_later_version_only_added_to_are_read_and_written_as_before,
    tables_that_a_later_version_took_something_from_are_left_alone,
    this_version_notes_of_each_of_its_migrations_that_it_only_added,
);

/// What a later version may add: a column, a table, an index; and its note that this is all.
const EXPANDED: &str = "\
    ALTER TABLE events ADD COLUMN room_for_more text; \
    ALTER TABLE help ADD COLUMN kind text NOT NULL DEFAULT 'hand'; \
    CREATE TABLE seats (classroom text NOT NULL PRIMARY KEY); \
    CREATE INDEX events_by_kind ON events (classroom, kind); \
    INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9998_seats', 0); \
    INSERT INTO expansions (version) VALUES ('m9998_seats')";
const CONTRACTED: &str =
    "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_less', 0)";

async fn tables_that_a_later_version_only_added_to_are_read_and_written_as_before(on: On) {
    let (home, records) = records(on).await;
    let (early, late) = (mixed()[..6].to_vec(), mixed()[6..].to_vec());
    write(&records, &early).await;
    tamper(&records, EXPANDED).await;
    records.close().await.unwrap();

    Records::check_format(&home.at).await.unwrap();
    let records = Records::open(&home.at).await.unwrap();
    write(&records, &late).await;

    let events = records.events(&room(), Position::ZERO, 10).await.unwrap();
    assert_eq!(events.rows.len(), 3);
    let filter = ExecutionFilter::default();
    let found = records
        .executions(&room(), ALL_DAY, &filter, None, 10)
        .await;
    assert_eq!(found.unwrap().rows.len(), 2);
    let help = records
        .help(&room(), ALL_DAY, false, None, 10)
        .await
        .unwrap();
    assert_eq!(help.rows[0].ended_by.as_deref(), Some("silence"));
    let totals = records.totals(&room(), ALL_DAY).await.unwrap();
    assert_eq!((totals.executions, totals.errors, totals.help), (2, 1, 1));
    assert_eq!(
        records.offset(&journal()).await.unwrap(),
        Some(Position(13))
    );
}

async fn tables_that_a_later_version_took_something_from_are_left_alone(on: On) {
    let (home, records) = records(on).await;
    tamper(&records, EXPANDED).await;
    tamper(&records, CONTRACTED).await;
    records.close().await.unwrap();

    let told = Records::check_format(&home.at).await.unwrap_err();

    assert!(matches!(told, RecordsError::Newer(_)), "{told}");
    assert!(told.to_string().contains("m9999_less"), "{told}");
}

/// What the version before reads when it comes back: it knows these tables by that alone.
async fn this_version_notes_of_each_of_its_migrations_that_it_only_added(on: On) {
    let (_home, records) = records(on).await;

    let mut sql = Sql::new(
        "SELECT version AS line FROM seaql_migrations \
         WHERE version NOT IN (SELECT version FROM expansions)",
    );
    let statement = sql.statement(records.dialect);
    let unnoted = records.reading.query_all_raw(statement).await.unwrap();

    let names = unnoted
        .iter()
        .map(|row| row.try_get::<String>("", "line").unwrap());
    assert_eq!(names.collect::<Vec<_>>(), [""; 0]);
}
