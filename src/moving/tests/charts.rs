//! What came over in the charts, of either store of the series.

use mimamori_actors::domain::SessionKey;

use super::*;
use crate::storage::records::Step;
use crate::storage::series::tests::at_url;
use crate::storage::series::tests::server::{Database, database as influx};

async fn embedded() -> House {
    House::new(On::Sqlite).await
}

async fn in_influxdb() -> (House, Database) {
    let database = influx();
    let dir = tempfile::tempdir().unwrap();
    let house = House::with(On::Sqlite, dir, &at_url(&database.url())).await;
    (house, database)
}

#[tokio::test]
async fn each_run_is_one_point_however_often_it_comes_over() {
    let (house, influx) = in_influxdb().await;

    for _ in 0..2 {
        house.bring(false).await;
    }
    // as if the first run had ended between the points and their offset
    influx.ask("DELETE FROM mimamori_offsets");
    house.bring(false).await;

    assert_eq!(
        influx.count("SELECT COUNT(position) FROM mimamori_events"),
        7
    );
    assert_eq!(house.runs_counted().await, 5);
    let at = influx.ask("SELECT time, status FROM mimamori_events WHERE status = 'error'");
    // in its millisecond, as what a notebook sends
    assert!(
        at.len() == 1 && at[0].contains("1775782860500000002"),
        "{at:?}"
    );
}

#[tokio::test]
async fn who_came_over_is_erased_from_influxdb_with_all_that_they_did() {
    let (house, influx) = in_influxdb().await;
    house.bring(false).await;
    let hanako = SessionKey {
        classroom: samples::room(),
        student: house.student("hanako@example.ac.jp"),
    };
    let points = || {
        let student = hanako.student.as_str();
        influx.count(&format!(
            "SELECT COUNT(position) FROM mimamori_events WHERE student = '{student}'"
        ))
    };
    assert_eq!(points(), 4);

    // this server has accepted one event since it is there
    house
        .series
        .erase(&samples::journal(), &hanako, Position(1), |_, _| Vec::new())
        .await
        .unwrap();

    assert_eq!(points(), 0);
    assert_eq!(
        influx.count("SELECT COUNT(position) FROM mimamori_events"),
        3
    );
}

async fn no_other_journal_goes_on_behind_it(house: &House) {
    let journal = samples::journal();
    house.bring(false).await;
    let begin = house.series.highest_position().await.unwrap();
    let known = house.series.offset(&journal).await.unwrap();

    let entries = [samples::executed(1, 1), samples::executed(2, 1)];
    let written = house.series.write(&journal, &entries, Position(2));
    written.await.unwrap();

    assert_eq!((begin, known), (Position::ZERO, None));
    let (room, from, to) = (samples::room(), samples::at(0), samples::at(3_600));
    let chart = house.series.activity(&room, from, Some(to), to, 300);
    let counted: u64 = chart.await.unwrap().iter().map(|it| it.executions).sum();
    assert_eq!(counted, 2);
}

#[tokio::test]
async fn a_journal_that_embedded_series_never_saw_is_counted_from_its_beginning() {
    no_other_journal_goes_on_behind_it(&embedded().await).await;
}

#[tokio::test]
async fn a_journal_that_influxdb_never_saw_is_counted_from_its_beginning() {
    no_other_journal_goes_on_behind_it(&in_influxdb().await.0).await;
}

/// All that came over is past its term and deleted; then one thing more comes.
async fn what_comes_after_that_is_counted(house: &House) {
    let (room, term) = (samples::room(), time("2026-04-10T01:30:00Z"));
    house.bring(false).await;
    for step in Step::ALL {
        house.records.expire(step, &room, term, 100).await.unwrap();
    }
    house.series.expire(&room, term, 1_000).await.unwrap();
    ask(
        &house.former,
        "INSERT INTO cell_executions VALUES ('x-9', 1, 1, 6, '2026-04-10 02:00:00', 1, \
         'success', NULL, NULL, NULL, 'new', 0, 'code')",
    );
    let target = Target {
        allowed: Allowed::new(&room, &[], Some(term)),
        ..house.target()
    };

    let report = house.bring_to(&target, false, "UTC").await.unwrap();

    assert_eq!(report.added(), 1, "{report}");
    assert_eq!(house.runs_counted().await, 1);
}

#[tokio::test]
async fn what_comes_after_rows_have_gone_is_counted_in_embedded_series() {
    what_comes_after_that_is_counted(&embedded().await).await;
}

#[tokio::test]
async fn what_comes_after_rows_have_gone_is_counted_in_influxdb() {
    what_comes_after_that_is_counted(&in_influxdb().await.0).await;
}

#[tokio::test]
async fn what_influxdb_refuses_for_good_is_told_and_the_rest_is_counted() {
    let (house, influx) = in_influxdb().await;
    ask(
        &house.former,
        "UPDATE cell_executions SET executed_at = '2025-04-10 01:00:00' WHERE execution_id = 'x-2'",
    );
    influx.ask(&format!("CREATE DATABASE {}", influx.name));
    // in that week, somebody else wrote a field of this name as a text
    influx.ask("INSERT mimamori_events,classroom=x executions=\"many\" 1744246800000000000");

    let first = house.bring(false).await;
    let second = house.bring(false).await;

    let told = first.to_string();
    assert!(
        told.contains("1 executions are in the records, and in no chart"),
        "{told}"
    );
    assert!(first.adds_up() && first.added() == 7, "{told}");
    assert_eq!(house.runs_counted().await, 4);
    assert_eq!((second.added(), second.uncounted), (0, 0), "{second}");
}

#[tokio::test]
async fn without_influxdb_nothing_is_brought_over() {
    let dir = tempfile::tempdir().unwrap();
    // nobody listens there
    let away = at_url("http://127.0.0.1:9/?db=x");
    let house = House::with(On::Sqlite, dir, &away).await;

    let fault = house.bring_as(false, true, "UTC").await.unwrap_err();
    let dry = house.bring(true).await;

    let told = fault.to_string();
    assert!(
        told.contains("InfluxDB") && told.ends_with("nothing was brought over"),
        "{told}"
    );
    assert_eq!(house.executions().await.len(), 0);
    assert!(dry.adds_up());
}
