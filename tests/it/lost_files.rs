//! Parts of the storage directory are deleted while nothing runs: the start
//! says exactly what is gone, nothing is doubled, and positions go on.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{
    Api, Console, PATIENCE, ROOM, Run, Server, ensure, event_id, eventually, noted, run,
};

fn class(round: &str) -> Vec<Value> {
    (0..12)
        .map(|n| {
            let how = if n % 3 == 0 { Run::Error } else { Run::Ok };
            let student = format!("s{}", n % 4);
            run(&format!("{round}-{n}"), &student, &format!("cell-{n}"), how)
        })
        .collect()
}

/// Every event, once, oldest first: its id and its position.
async fn events(api: &Api, many: usize) -> Vec<(String, u64)> {
    eventually("all events can be read", PATIENCE, async || {
        let events = api.all("/events?since=0", 1000).await;
        ensure(events.len() == many, || format!("{} events", events.len()))?;
        Ok::<_, String>(events)
    })
    .await
    .iter()
    .map(|event| (event_id(event), event["position"].as_u64().unwrap()))
    .collect()
}

async fn executions(console: &mut Console, many: u64) {
    let has_all = |console: &Console| {
        let room = console.rooms.get(ROOM);
        room.is_some_and(|room| room.sum("executions") == many)
    };
    console.until(PATIENCE, "the live counters", has_all).await;
}

/// Stops it, deletes these, and starts it again; gives what the new start logged.
async fn start_without(mut server: Server, parts: &[&str]) -> (Server, String) {
    server.sigterm();
    server.ended(PATIENCE).await;
    for part in parts {
        remove(&server.dir().join(part));
    }
    let logged = server.log().len();
    let server = server.start_again().await;
    let log = server.log().split_off(logged);
    (server, log)
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else if path.exists() {
        fs::remove_file(path).unwrap();
    }
}

fn says(log: &str, parts: &[&str]) {
    let line = log
        .lines()
        .find(|line| parts.iter().all(|part| line.contains(part)));
    assert!(line.is_some(), "no line says {parts:?}:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_journal_it_goes_on_behind_the_records_and_says_what_is_gone() {
    let server = Server::start().await;
    let sent = class("before");
    server.api().accepted(&sent).await;
    let before = events(&server.api(), 12).await;
    let mut console = Console::watching(&server, ROOM).await;
    executions(&mut console, 12).await;
    drop(console);
    // the sessions' states are kept up to there
    noted(&server, "/consumers/sessions", before[11].1).await;

    let (server, log) = start_without(server, &["journal", "index"]).await;
    let api = server.api();
    let mut console = Console::watching(&server, ROOM).await;
    executions(&mut console, 12).await;
    api.accepted(&class("after")).await;
    executions(&mut console, 24).await;
    // a client sends again what it had sent before: the records keep it once
    api.accepted(&sent).await;
    api.accepted(&class("last")).await;

    says(&log, &["the journal is gone", "goes on after position"]);
    let after = events(&api, 36).await;
    assert_eq!(after[..12], before);
    assert!(after.windows(2).all(|two| two[0].1 < two[1].1));
    let ids: HashSet<_> = after.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 36);
    let executions = api.all("/executions", 1000).await;
    assert_eq!(executions.len(), 36);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_records_they_are_filled_again_from_the_journal_and_it_says_so() {
    let server = Server::start().await;
    let sent = class("before");
    server.api().accepted(&sent).await;
    let before = events(&server.api(), 12).await;

    let parts = ["records.sqlite", "records.sqlite-wal", "records.sqlite-shm"];
    let (server, log) = start_without(server, &parts).await;
    let api = server.api();
    let again = api.ingest(&sent).await.good();

    says(&log, &["the records do not know", "from position 1 on"]);
    assert_eq!(again["duplicates"], 12, "{again}");
    assert_eq!(events(&api, 12).await, before);
    let mut console = Console::watching(&server, ROOM).await;
    executions(&mut console, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_index_series_and_snapshots_all_is_counted_again() {
    let server = Server::start().await;
    let sent = class("before");
    server.api().accepted(&sent).await;
    let before = events(&server.api(), 12).await;

    let (server, log) = start_without(server, &["index", "series", "snapshots"]).await;
    let api = server.api();
    let again = api.ingest(&sent).await.good();

    says(&log, &["the index of identities lacks something"]);
    says(&log, &["the series do not know"]);
    says(&log, &["the sessions' snapshots do not know"]);
    assert_eq!(again["duplicates"], 12, "{again}");
    assert_eq!(events(&api, 12).await, before);
    let mut console = Console::watching(&server, ROOM).await;
    executions(&mut console, 12).await;
    let counted = eventually("the chart is whole", PATIENCE, async || {
        let overview = api.room("/overview").await.good();
        let activity = overview["activity"].as_array().unwrap();
        let runs = |bucket: &Value| bucket["executions"].as_u64().unwrap();
        let sum: u64 = activity.iter().map(runs).sum();
        ensure(sum == 12, || format!("{sum} executions"))?;
        Ok::<_, String>(sum)
    });
    assert_eq!(counted.await, 12);
}
