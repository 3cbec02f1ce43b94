//! What students type, and what becomes of it as tags.

use serde_json::json;

use super::{all_there_once, server_on};
use crate::harness::influxdb::database;
use crate::harness::{PATIENCE, Run, ensure, eventually, run};

/// The fields of an event that a hostile name is put into.
const NAMED: [&str; 6] = [
    "userName",
    "teamName",
    "notebookPath",
    "cellId",
    "code",
    "errorMessage",
];

/// Names that have broken lines and statements before, at most 1 KiB each.
fn hostile_names() -> Vec<String> {
    [
        "x\nmimamori_evil,team=x value=1i",
        "x\r\nmimamori_evil value=1i 1795305600000000000\n",
        "a, b=c d\\",
        "trailing \\",
        "\"quoted\"",
        "'; DROP MEASUREMENT mimamori_events; --",
        "' OR 'a'='a",
        "before\0after",
        "\u{0}",
        " ",
        "\u{202e}\u{2066}右から左\u{2069}",
        "か\u{3099}",
        "が",
        "#comment",
        "none",
        "other",
        "time=1",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["\u{fdfa}".repeat(340), "👩🏽‍🏫".repeat(60)])
    .collect()
}

#[tokio::test]
async fn hostile_names_make_no_measurement_no_tag_and_no_field_and_break_no_batch() {
    let database = database();
    let server = server_on(&database.url()).await;
    let names = hostile_names();
    let mut events: Vec<_> = (0..)
        .zip(&names)
        .map(|(n, name)| {
            let mut event = run(&format!("e{n}"), &format!("s{n}"), "c", Run::Error);
            for field in NAMED {
                event[field] = json!(name);
            }
            event["metadata"] = json!({ name: name });
            event
        })
        .collect();
    let mut long = run("long", "long", "c", Run::Ok);
    long["code"] = json!(names.concat().repeat(10_000 / names.concat().len() + 1));
    events.push(long);

    server.api().accepted(&events).await;

    all_there_once(&database, events.len() as u64).await;
    let last = |rows: Vec<String>| -> Vec<String> {
        let last = |row: &String| row.split(',').nth(1).unwrap().to_owned();
        rows.iter().map(last).collect()
    };
    assert_eq!(
        last(database.ask("SHOW MEASUREMENTS")),
        [
            "mimamori_events",
            "mimamori_offsets",
            "mimamori_reach",
            "mimamori_tag_values"
        ]
    );
    assert_eq!(
        last(database.ask("SHOW TAG KEYS FROM mimamori_events")),
        ["classroom", "kind", "notebook", "team"]
    );
    assert_eq!(
        last(database.ask("SHOW FIELD KEYS FROM mimamori_events")),
        ["errors", "executions", "position", "status", "student"]
    );
    let in_team = |team: &str| {
        database.count(&format!(
            "SELECT COUNT(position) FROM mimamori_events WHERE team = '{team}'"
        ))
    };
    assert_eq!(in_team("が"), 2, "composed and decomposed are one team");
    assert_eq!(in_team("a, b=c d/"), 1);
    assert_eq!(in_team("none"), 2, "white space, and the word itself");
    // the records are another store, with a writer of its own
    eventually("the records have them, too", PATIENCE, async || {
        let totals = server.api().room("/overview").await.good()["totals"].take();
        ensure(totals["executions"] == events.len(), || totals.to_string())
    })
    .await;
    assert!(server.api().room("/dead-letters").await.items().is_empty());
}

#[tokio::test]
async fn no_more_than_200_teams_of_a_classroom_are_told_apart() {
    let database = database();
    let server = server_on(&database.url()).await;
    let events: Vec<_> = (0..300)
        .map(|n| {
            let mut event = run(&format!("e{n}"), "s", "c", Run::Ok);
            event["teamName"] = json!(format!("team {n}"));
            event
        })
        .collect();

    for part in events.chunks(100) {
        server.api().accepted(part).await;
    }

    all_there_once(&database, 300).await;
    let values = database.ask("SHOW TAG VALUES FROM mimamori_events WITH KEY = team");
    assert_eq!(values.len(), 201);
    let others = "SELECT COUNT(position) FROM mimamori_events WHERE team = 'other'";
    assert_eq!(database.count(others), 100);
}
