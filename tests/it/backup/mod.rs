//! A backup of a server that works, and what is restored from it.

pub mod cut_short;
mod refused;
pub mod working;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::{
    Api, Console, PATIENCE, ROOM, Run, Server, ensure, eventually, help, program, run,
};

/// Runs a command on this storage directory to its end.
async fn command(storage: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let running = program(storage)
        .args(arguments)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output();
    timeout(Duration::from_secs(120), running)
        .await
        .expect("the command ends")
        .unwrap()
}

/// What a command that succeeded says, as JSON.
async fn good(storage: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Value {
    let output = command(storage, arguments, env).await;
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complained}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line of a command that failed.
async fn complaint(storage: &Path, arguments: &[&str], env: &[(&str, &str)]) -> String {
    let output = command(storage, arguments, env).await;
    let complained = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(
        complained.starts_with("mimamori: ") && !complained.contains('\n'),
        "{complained}"
    );
    complained
}

async fn backup(storage: &Path, dir: &Path, env: &[(&str, &str)]) -> Value {
    good(storage, &["backup", "--json", dir.to_str().unwrap()], env).await
}

async fn restore(storage: &Path, dir: &Path, env: &[(&str, &str)]) -> Value {
    good(storage, &["restore", "--json", dir.to_str().unwrap()], env).await
}

/// An empty place.
fn place() -> TempDir {
    TempDir::with_prefix("mimamori-it-").unwrap()
}

/// What the manifest of a backup says.
fn manifest(dir: &Path) -> Value {
    let text = fs::read(dir.join("manifest.json")).unwrap();
    let sealed: Value = serde_json::from_slice(&text).unwrap();
    sealed["manifest"].clone()
}

/// The tables of a backup: name, rows and hash. How far consumers are is another
/// matter, and so is what a database keeps of its own.
fn tables(dir: &Path) -> Vec<(String, u64, String)> {
    let manifest = manifest(dir);
    let files = manifest["files"].as_array().unwrap();
    let hash_of = |path: &Value| {
        let file = files.iter().find(|file| file["path"] == *path);
        file.unwrap()["blake3"].as_str().unwrap().to_owned()
    };
    let tables = manifest["tables"].as_array().unwrap().iter();
    tables
        .map(|table| {
            let name = table["name"].as_str().unwrap().to_owned();
            (
                name,
                table["rows"].as_u64().unwrap(),
                hash_of(&table["file"]),
            )
        })
        .filter(|(name, _, _)| name != "offsets")
        .collect()
}

/// A few students: runs, errors, a request for help, something refused.
fn class() -> Vec<Value> {
    let mut sent = Vec::new();
    for student in ["hanako", "taro", "jiro\t'; drop table\\N"] {
        for nth in 0..4 {
            let how = if nth == 2 { Run::Error } else { Run::Ok };
            sent.push(run(&format!("{student}-{nth}"), student, "c", how));
        }
    }
    sent.push(help("help-1", "taro", true));
    sent
}

/// Until everything that was accepted is in the records.
async fn stored(api: &Api, events: usize) {
    eventually("all is stored", PATIENCE, async || {
        let there = api.all("/events?since=0", 1000).await.len();
        ensure(there == events, || format!("{there} of {events}"))
    })
    .await;
}

/// Until what the sessions stand at is on disk, too: a class that is younger than the
/// first checkpoint is folded again from the journal, and the log says so.
async fn saved(server: &Server) {
    eventually("the sessions are saved", PATIENCE, async || {
        let output = command(server.dir(), &["journal", "inspect"], &[]).await;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_saved =
            shown.contains("consumer sessions: ") && !shown.contains("consumer sessions: 0");
        ensure(is_saved, || shown)
    })
    .await;
}

/// Until what the sessions and the classroom conclude of the class can be read, too.
async fn concluded(api: &Api) {
    eventually("all is concluded", PATIENCE, async || {
        let help = api.room("/help").await.items().len();
        let lessons = api.room("/lessons").await.items().len();
        let overview = api.room("/overview").await.good();
        let students = overview["students"].as_array().unwrap().iter();
        let runs: u64 = students.map(|it| it["executions"].as_u64().unwrap()).sum();
        ensure((help, lessons, runs) == (1, 1, 12), || {
            format!("{help} calls for help, {lessons} lessons, {runs} runs")
        })
    })
    .await;
}

async fn answers(api: &Api) -> Value {
    let mut found = serde_json::Map::new();
    for path in [
        "/events?since=0",
        "/executions?limit=1000",
        "/help",
        "/lessons",
        "/rejected",
    ] {
        found.insert(path.to_owned(), api.room(path).await.good());
    }
    let mut overview = api.room("/overview").await.good();
    // buckets begin at the moment of the question
    overview["activity"].take();
    found.insert("/overview".to_owned(), overview);
    found.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_backed_up_is_there_again_and_known_again() {
    let server = Server::start().await;
    let api = server.api();
    let sent = class();
    api.accepted(&sent).await;
    stored(&api, sent.len()).await;
    saved(&server).await;
    concluded(&api).await;
    let before = answers(&api).await;
    let (backups, elsewhere) = (place(), place());
    let dir = backups.path().join("today");

    let taken = backup(server.dir(), &dir, &[]).await;
    drop(server);
    let restored = restore(elsewhere.path(), &dir, &[]).await;
    let old = manifest(&dir)["journal"].as_str().unwrap().to_owned();
    let server = Server::on(elsewhere, &[]).await;
    let api = server.api();

    assert_eq!(taken["end"], restored["end"]);
    assert_ne!(restored["journal"], old);
    eventually("it is answered as before", PATIENCE, async || {
        let now = answers(&api).await;
        ensure(now == before, || format!("{now}\n  before: {before}"))
    })
    .await;
    let again = api.ingest(&sent).await.good();
    assert_eq!(again["duplicates"], sent.len(), "{again}");
    let mut console = Console::watching(&server, ROOM).await;
    console
        .until(PATIENCE, "the class as it was", |console| {
            let student = console.rooms[ROOM].named("taro");
            student.is_some_and(|student| student["executions"] == 4 && student["errors"] == 1)
        })
        .await;
    api.accepted(&[run("new", "taro", "c", Run::Ok)]).await;
    stored(&api, sent.len() + 1).await;
    let log = server.log();
    for lost in [
        "records do not know",
        "snapshots do not know",
        "identities lacks",
        "gone",
    ] {
        assert!(!log.contains(lost), "{log}");
    }
    assert!(log.contains(restored["journal"].as_str().unwrap()), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_a_backup_is_the_same_and_a_restored_one_has_equal_tables() {
    let mut server = Server::start().await;
    let sent = class();
    server.api().accepted(&sent).await;
    stored(&server.api(), sent.len()).await;
    server.sigterm();
    assert!(server.ended(PATIENCE).await.success());
    let (backups, elsewhere) = (place(), place());
    let dir = |name: &str| -> PathBuf { backups.path().join(name) };

    backup(server.dir(), &dir("first"), &[]).await;
    backup(server.dir(), &dir("second"), &[]).await;
    restore(elsewhere.path(), &dir("first"), &[]).await;
    backup(elsewhere.path(), &dir("third"), &[]).await;

    let first = tables(&dir("first"));
    let events = first.iter().find(|(name, _, _)| name == "events").unwrap();
    assert_eq!(events.1, sent.len() as u64);
    assert_eq!(first, tables(&dir("second")));
    assert_eq!(first, tables(&dir("third")));
}
