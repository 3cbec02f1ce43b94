//! `mimamori journal inspect`: it shows what is damaged and what was set aside,
//! changes nothing without `--repair`, and repairs what it says it repairs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::harness::{
    Api, PATIENCE, Run, Server, ensure, event, eventually, exchange, program, run,
};

/// Everything under a directory: names and bytes.
fn all_files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

async fn inspect(dir: &Path, words: &[&str]) -> Output {
    let mut command = program(dir);
    command.args(["journal", "inspect"]).args(words);
    command.output().await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn events(api: &Api, many: usize) -> Vec<(String, u64)> {
    eventually("all events can be read", PATIENCE, async || {
        let events = api.all("/events?since=0", 1000).await;
        ensure(events.len() == many, || format!("{} events", events.len()))?;
        Ok::<_, String>(events)
    })
    .await
    .iter()
    .map(|event| {
        let id = event["eventId"].as_str().unwrap().to_owned();
        (id, event["position"].as_u64().unwrap())
    })
    .collect()
}

/// A server that took three requests, and is stopped.
async fn stopped_after_three_requests() -> Server {
    let mut server = Server::start().await;
    let api = server.api();
    api.accepted(&[event("first", "notebook_opened", "s0")])
        .await;
    api.accepted(&[
        run("second-a", "s1", "c1", Run::Ok),
        run("second-b", "s2", "c1", Run::Error),
    ])
    .await;
    api.accepted(&[run("third", "s1", "c2", Run::Ok)]).await;
    events(&api, 4).await;
    server.sigterm();
    server.ended(PATIENCE).await;
    server
}

/// Changes bits of the request in whose JSON this id stands.
fn damage(server: &Server, id: &str, places: &[u64]) {
    let path = segment(server.dir());
    let bytes = fs::read(&path).unwrap();
    let at = memchr::memmem::find(&bytes, id.as_bytes()).unwrap() as u64;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for place in places {
        let byte = bytes[usize::try_from(at + place).unwrap()] ^ 0x10;
        file.write_all_at(&[byte], at + place).unwrap();
    }
}

/// A server whose records met damage and went on behind it; what they have, and
/// the journal's segment as it was before.
async fn stopped_with_records_beyond_the_damage() -> (Server, Vec<(String, u64)>, Vec<u8>) {
    let server = stopped_after_three_requests().await;
    let before = fs::read(segment(server.dir())).unwrap();
    damage(&server, "second-a", &[2]);
    for part in ["records.sqlite", "records.sqlite-wal", "records.sqlite-shm"] {
        let _ = fs::remove_file(server.dir().join(part));
    }
    let mut server = server.start_again().await;
    let passed = events(&server.api(), 2).await;
    server.sigterm();
    server.ended(PATIENCE).await;
    (server, passed, before)
}

#[tokio::test]
async fn looking_shows_what_is_missing_and_what_was_set_aside_and_changes_nothing() {
    let (server, _, _) = stopped_with_records_beyond_the_damage().await;
    let before = all_files(server.dir());

    let found = inspect(server.dir(), &[]).await;
    let as_json = inspect(server.dir(), &["--json"]).await;

    assert!(before == all_files(server.dir()), "looking changes nothing");
    assert_eq!(found.status.code(), Some(1), "damage is no success");
    let shown = said(&found);
    for part in [
        "are missing",
        "set aside: journal/damaged/",
        "entries: 2 events",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(!shown.contains("second-"), "nothing of what people wrote");
    let json: Value = serde_json::from_str(&said(&as_json)).unwrap();
    let (after, behind) = (&json["holes"][0]["after"], &json["holes"][0]["before"]);
    assert_eq!(behind.as_u64().unwrap() - after.as_u64().unwrap(), 3);
    assert_eq!(json["setAside"].as_array().unwrap().len(), 1, "{json}");
}

#[tokio::test]
async fn a_bit_that_changed_is_put_right_and_the_records_get_the_events_they_had_passed() {
    let (server, passed, before) = stopped_with_records_beyond_the_damage().await;

    let repaired = inspect(server.dir(), &["--repair"]).await;
    let once = all_files(server.dir());
    let again = inspect(server.dir(), &["--repair"]).await;

    let told = said(&repaired);
    assert!(repaired.status.success(), "{told}{}", complained(&repaired));
    for part in [
        "brought back: positions",
        "the records read the journal again",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let segment = fs::read(segment(server.dir())).unwrap();
    assert!(segment.starts_with(used(&before)), "bit by bit as it was");
    let said_again = said(&again);
    assert!(again.status.success(), "{said_again}");
    assert!(
        said_again.starts_with("nothing to repair\n"),
        "{said_again}"
    );
    assert!(
        once == all_files(server.dir()),
        "twice changes nothing more"
    );
    let server = server.start_again().await;
    let all = events(&server.api(), 4).await;
    assert!(passed.iter().all(|event| all.contains(event)));
    let twin = [run("second-a", "s1", "c1", Run::Ok)];
    let sent = server.api().ingest(&twin).await;
    assert_eq!(sent.json["accepted"], 0, "it is known: {}", sent.text);
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("journal/00000000000000000001.seg")
}

/// What of a segment was written.
fn used(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    &bytes[..=last]
}

#[tokio::test]
async fn what_cannot_be_put_right_is_named_as_lost_with_its_positions() {
    let server = stopped_after_three_requests().await;
    damage(&server, "second-a", &[2, 5]);

    let repaired = inspect(server.dir(), &["--repair"]).await;
    let again = inspect(server.dir(), &["--repair"]).await;

    assert_eq!(repaired.status.code(), Some(1));
    let told = said(&repaired);
    assert!(told.contains("kept aside: "), "{told}");
    assert!(told.contains("lost: positions "), "{told}");
    assert!(
        complained(&repaired).contains("is damaged in 1 places"),
        "{}",
        complained(&repaired)
    );
    assert!(said(&again).starts_with("lost: "), "{}", said(&again));
}

#[tokio::test]
async fn a_repair_is_refused_in_one_line_while_a_server_runs() {
    let server = Server::start().await;
    server
        .api()
        .accepted(&[event("one", "notebook_opened", "s0")])
        .await;

    let refused = inspect(server.dir(), &["--repair"]).await;
    let looked = inspect(server.dir(), &[]).await;

    assert_eq!(refused.status.code(), Some(1));
    let line = complained(&refused);
    assert!(
        line.contains("another server runs") && line.lines().count() == 1,
        "{line}"
    );
    assert_eq!(said(&refused), "");
    assert!(looked.status.success(), "{}", complained(&looked));
    let alive = exchange(server.address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(alive.status, 200);
}
