//! What only a server has: months, roles, other programs on the same tables.

use mimamori_actors::domain::{Event, Timestamp};
use mimamori_actors::ports::StoreError;
use mimamori_migrations::Migrator;
use sea_orm_migration::MigratorTrait as _;

use super::server::{PASSWORD, ask, database};
use super::*;
use crate::storage::records::postgres::keep_months_once;
use crate::storage::records::{ExecutionFilter, RecordsError};
use crate::storage::samples::execution;

async fn open(url: &str) -> Result<Records, RecordsError> {
    Records::open(&at_url(url)).await
}

/// Executions of March 2024, sent in now by a clock that is years behind.
fn old(positions: std::ops::RangeInclusive<u64>) -> Vec<Arc<Entry>> {
    let march: Timestamp = "2024-03-10T00:00:00Z".parse().unwrap();
    let old = |position| {
        let mut old: Event = execution(position, 1);
        old.time = march.plus(std::time::Duration::from_secs(position));
        event(position, 1, old)
    };
    positions.map(old).collect()
}

async fn keep_months(records: &Records) {
    let Writing::Postgres(writer) = &records.writing else {
        panic!("only a server has months")
    };
    keep_months_once(writer.options(), MORNING).await.unwrap();
}

fn count(url: &str, table: &str) -> String {
    ask(url, &format!("SELECT COUNT(*) FROM {table}"))
}

#[tokio::test]
async fn what_has_no_month_stands_in_the_default_partition_until_it_is_too_much() {
    let url = database();
    let records = open(&url).await.unwrap();
    write(&records, &old(1..=1000)).await;
    keep_months(&records).await;
    assert_eq!(count(&url, "events_default"), "1000");

    write(&records, &old(1001..=1001)).await;
    let before = everything(&records).await;
    keep_months(&records).await;

    for table in ["events", "executions"] {
        assert_eq!(count(&url, &format!("{table}_default")), "0");
        assert_eq!(count(&url, &format!("{table}_2024_03")), "1001");
    }
    assert_eq!(everything(&records).await, before);
    // sent again, they are found in the month that was made
    tamper(&records, "DELETE FROM offsets").await;
    write(&records, &old(1..=1001)).await;
    assert_eq!(everything(&records).await, before);
}

#[tokio::test]
async fn months_are_made_ahead_and_two_do_not_do_it_at_once() {
    let url = database();
    let records = open(&url).await.unwrap();
    ask(
        &url,
        "DROP TABLE events_2027_02; CREATE TABLE held AS SELECT 1",
    );
    let Writing::Postgres(writer) = &records.writing else {
        panic!("a server")
    };
    let mut other = PgConnection::connect_with(writer.options()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(x'6d6f6e746873'::bigint)")
        .execute(&mut other)
        .await
        .unwrap();
    let is_there = || ask(&url, "SELECT to_regclass('events_2027_02') IS NOT NULL");

    keep_months(&records).await;
    assert_eq!(is_there(), "f", "another is at it");

    other.close().await.unwrap();
    keep_months(&records).await;
    assert_eq!(is_there(), "t");
}

#[tokio::test]
async fn an_event_stands_in_the_month_of_its_own_time() {
    let url = database();
    let records = open(&url).await.unwrap();
    let mut impossible: Event = execution(2, 1);
    impossible.time = Timestamp::from_millis(-1);

    write(&records, &[executed(1, 1), event(2, 1, impossible)]).await;

    let filed = ask(
        &url,
        "SET timezone = 'UTC'; SELECT tableoid::regclass || ' ' || filed_at FROM events ORDER BY position",
    );
    assert_eq!(
        filed,
        "events_2026_11 2026-11-22 00:00:01+00\nevents_default 2020-01-01 00:00:00+00"
    );
}

#[tokio::test]
async fn a_text_that_a_server_cannot_keep_is_refused_for_good() {
    let url = database();
    let records = open(&url).await.unwrap();
    let mut hostile = execution(2, 1);
    hostile.code = Some("a\0b".to_owned());

    let refused = records
        .write(
            &journal(),
            &[executed(1, 1), event(2, 1, hostile)],
            mimamori_actors::domain::Position(2),
        )
        .await;

    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(count(&url, "events"), "0");
    write(&records, &[executed(1, 1)]).await;
    assert_eq!(count(&url, "events"), "1");
}

#[tokio::test]
async fn a_role_that_may_not_extend_the_database_searches_all_the_same() {
    let url = database();
    let name = url.rsplit('/').next().unwrap();
    ask(
        &url,
        &format!(
            "CREATE ROLE plain_{name} LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON SCHEMA public TO plain_{name}"
        ),
    );
    let plain = url.replace("//postgres:", &format!("//plain_{name}:"));

    let records = open(&plain).await.unwrap();

    write(&records, &[failed(1, 1, "NameError: x"), executed(2, 1)]).await;
    let filter = ExecutionFilter {
        query: Some("nameerror".to_owned()),
        ..ExecutionFilter::default()
    };
    let found = records
        .executions(&room(), ALL_DAY, &filter, None, 10)
        .await;
    assert_eq!(found.unwrap().rows.len(), 1);
    let indexes = "SELECT COUNT(*) FROM pg_indexes WHERE tablename = 'executions' AND indexname LIKE '%_parts'";
    assert_eq!(ask(&url, indexes), "0");
    // when an administrator has made it, the next start makes the indexes
    records.close().await.unwrap();
    ask(&url, "CREATE EXTENSION pg_trgm");
    open(&plain).await.unwrap();
    assert_eq!(ask(&url, indexes), "2");
}

#[tokio::test]
async fn a_search_is_case_aside_in_every_script() {
    let records = open(&database()).await.unwrap();
    write(&records, &[failed(1, 1, "Ошибка ÄÖ")]).await;
    let filter = ExecutionFilter {
        query: Some("ошибка äö".to_owned()),
        ..ExecutionFilter::default()
    };

    let found = records
        .executions(&room(), ALL_DAY, &filter, None, 10)
        .await;

    assert_eq!(found.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn what_keeps_a_server_from_being_used_is_told_in_one_line_without_the_password() {
    let url = database();
    let wrong_password = url.replace(PASSWORD, "wrong-and-hidden");
    let no_database = format!("{url}_not_there");
    ask(
        &url,
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    );
    let latin = url.replace(url.rsplit('/').next().unwrap(), "latin");

    for (url, part) in [
        (wrong_password, "password authentication failed"),
        (no_database, "does not exist"),
        (latin, "encoded in LATIN1, UTF8 is needed"),
    ] {
        let told = open(&url).await.unwrap_err().to_string();

        assert!(told.contains(part), "{told}");
        assert!(
            !told.contains("hidden") && !told.contains(PASSWORD),
            "{told}"
        );
        assert!(!told.contains('\n'), "{told}");
    }
}

#[tokio::test]
async fn two_that_start_at_once_bring_the_tables_up_to_date_one_after_the_other() {
    let url = database();

    let (one, other) = tokio::join!(open(&url), open(&url));

    one.unwrap();
    other.unwrap();
    let migrations = Migrator::migrations().len().to_string();
    assert_eq!(count(&url, "seaql_migrations"), migrations);
}
