//! The series in a real InfluxDB server, counted there with its own client.

mod faults;
mod names;

use serde_json::json;

use crate::harness::influxdb::{Database, database};
use crate::harness::{ALWAYS, PATIENCE, Run, Server, ensure, eventually, run};
use crate::recorded::requests;

async fn server_on(url: &str) -> Server {
    Server::with(&[("MIMAMORI_SERIES__URL", url)]).await
}

/// How many points of clients' events the database holds.
fn events(database: &Database) -> u64 {
    database.count("SELECT COUNT(position) FROM mimamori_events WHERE kind != 'help_opened'")
}

/// Every one of them is there, and none twice; and so is what is written behind the points.
async fn all_there_once(database: &Database, expected: u64) {
    eventually("every event is a point", PATIENCE, async || {
        let counted = events(database);
        ensure(counted == expected, || {
            format!("{counted}, expected {expected}")
        })
    })
    .await;
    eventually("the offset stands behind them", PATIENCE, async || {
        let last = database.count("SELECT MAX(position) FROM mimamori_events");
        let offset = database.count("SELECT MAX(position) FROM mimamori_offsets");
        ensure(offset >= last, || format!("{offset}, the last is {last}"))
    })
    .await;
    let different = database
        .count("SELECT COUNT(DISTINCT(position)) FROM mimamori_events WHERE kind != 'help_opened'");
    assert_eq!(different, expected);
}

#[tokio::test]
async fn recorded_requests_are_points_and_the_chart_counts_them() {
    let database = database();
    let server = server_on(&database.url()).await;

    for recorded in requests() {
        recorded.post(&server).await;
    }

    all_there_once(&database, 36).await;
    let overview = server
        .api()
        .room(&format!("/overview?{ALWAYS}"))
        .await
        .good();
    let activity = overview["activity"].as_array().unwrap();
    let sum = |what: &str| -> u64 {
        let counts = activity.iter().map(|bucket| bucket[what].as_u64().unwrap());
        counts.sum()
    };
    assert_eq!((sum("executions"), sum("errors")), (22, 5));
    assert!(activity.len() <= 300);
    assert!(!server.dir().join("series").exists());
    let measurements = database.ask("SHOW MEASUREMENTS");
    let always = ["events", "offsets", "reach", "tag_values"];
    // hours are counted, and what came late is told, by the clock of this moment
    let ours = [&always[..], &["hours", "late"]].concat();
    let is_there = |name: &&str| measurements.contains(&format!("measurements,mimamori_{name}"));
    assert!(always.iter().all(is_there), "{measurements:?}");
    assert_eq!(
        measurements.len(),
        ours.iter().filter(|name| is_there(name)).count(),
        "{measurements:?}"
    );
}

#[tokio::test]
async fn what_is_accepted_is_counted_and_readiness_is_whole() {
    let database = database();
    let server = server_on(&database.url()).await;

    server
        .api()
        .accepted(&[run("e1", "s1", "c", Run::Ok)])
        .await;

    all_there_once(&database, 1).await;
    assert_eq!(
        server.api().get("/readyz").await.good()["degraded"],
        json!([])
    );
}
