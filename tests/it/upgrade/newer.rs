//! What a later version wrote stops the start with one line, and stays as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fjall::{Database, KeyspaceCreateOptions};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::fixture::generations;
use super::sent;
use crate::harness::{PATIENCE, Server, program, segments, with_ending};

/// A directory that the present program has made its own, and was killed.
async fn known() -> TempDir {
    let kept = generations();
    let killed = kept
        .iter()
        .rfind(|kept| kept.name.ends_with("killed.tar.gz"));
    let dir = killed.unwrap().unpack();
    // the database library takes away what the first start replaced when it opens again
    for _ in 0..2 {
        let mut server = program(dir.path())
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, said.next_line()).await.unwrap();
        assert!(line.unwrap().is_some(), "it did not start");
        server.kill().await.unwrap();
    }
    dir
}

/// Every file with what is in it. Locks hold nothing; SQLite makes its shared memory anew whenever it looks.
fn files(dir: &Path) -> BTreeMap<PathBuf, blake3::Hash> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                open.push(path);
            } else if !name.ends_with("-shm") && !name.contains("lock") {
                let hash = blake3::hash(&fs::read(&path).unwrap());
                found.insert(path, hash);
            }
        }
    }
    found
}

/// Starts the program on it: it must end at once, say this on one line, and change nothing.
async fn assert_refused(dir: &Path, what: &str, said: &[&str]) {
    let before = files(dir);

    let serving = timeout(PATIENCE, program(dir).arg("serve").output());
    let output = serving.await.expect("it is refused").unwrap();

    let log = String::from_utf8_lossy(&output.stderr);
    let last = log.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{what}: {log}");
    for part in said {
        assert!(last.contains(part), "{what}: {part} is not said: {last}");
    }
    assert!(last.starts_with("mimamori: "), "{what}: {last}");
    assert!(output.stdout.is_empty(), "{what}");
    let after = files(dir);
    for (path, hash) in &before {
        assert_eq!(after.get(path), Some(hash), "{what}: {}", path.display());
    }
}

#[tokio::test]
async fn a_journal_of_a_later_version_is_left_alone() {
    let dir = known().await;
    for path in segments(dir.path()) {
        let kept = fs::read(&path).unwrap();
        let mut bytes = kept.clone();
        bytes[8..12].copy_from_slice(&90_u32.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, bytes).unwrap();

        let name = path.file_name().unwrap().to_str().unwrap();
        let said = [name, "version 90", "reads up to "];
        assert_refused(dir.path(), "a segment", &said).await;
        fs::write(&path, kept).unwrap();
    }

    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let frame = &mut bytes[128..];
    let length = u32::from_le_bytes(frame[8..12].try_into().unwrap()) as usize;
    frame[4] = 91;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[36..36 + length]);
    hasher.update(&frame[..32]);
    frame[32..36].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let said = [name, "version 91", "reads up to "];
    assert_refused(dir.path(), "a frame", &said).await;
}

#[tokio::test]
async fn records_of_a_later_version_are_left_alone() {
    let dir = known().await;
    let mut connection = SqliteConnectOptions::new()
        .filename(dir.path().join("records.sqlite"))
        .connect()
        .await
        .unwrap();
    sqlx::query("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();

    let said = ["records.sqlite", "m9999_later", "reads up to m0"];
    assert_refused(dir.path(), "the records", &said).await;

    let migrate = program(dir.path()).arg("migrate").output().await.unwrap();
    assert_eq!(migrate.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&migrate.stderr);
    assert!(complaint.contains("m9999_later"), "{complaint}");
}

/// Changes one value of a fjall database.
fn change(dir: &Path, keyspace: &str, how: impl Fn(&mut Vec<u8>)) {
    let database = Database::builder(dir).worker_threads(1).open().unwrap();
    let keyspace = database
        .keyspace(keyspace, KeyspaceCreateOptions::default)
        .unwrap();
    let (key, value) = keyspace.iter().next().unwrap().into_inner().unwrap();
    let mut value = value.to_vec();
    how(&mut value);
    keyspace.insert(key, value).unwrap();
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

#[tokio::test]
async fn snapshots_of_a_later_version_are_left_alone() {
    let dir = known().await;
    change(&dir.path().join("snapshots"), "sessions", |state| {
        state[0] = 77
    });
    let said = ["snapshots/sessions", "version 77", "reads up to "];
    assert_refused(dir.path(), "a session", &said).await;

    let dir = known().await;
    change(&dir.path().join("snapshots"), "router", |state| {
        state[0] = 78
    });
    let said = ["snapshots/router", "version 78", "reads up to "];
    assert_refused(dir.path(), "the router's offset", &said).await;

    let dir = known().await;
    change(&dir.path().join("snapshots"), "router", |state| {
        let length = state.len();
        let text = String::from_utf8_lossy(state).into_owned();
        let at = text.find("\"version\":").unwrap() + length - text.len() + 10;
        state.splice(at..=at, *b"79");
    });
    let said = ["snapshots/router", "version 79", "reads up to "];
    assert_refused(dir.path(), "the router's state", &said).await;
}

#[tokio::test]
async fn series_of_a_later_version_are_left_alone() {
    let dir = known().await;
    let database = Database::builder(dir.path().join("series"))
        .worker_threads(1)
        .open()
        .unwrap();
    database
        .keyspace("counts-80", KeyspaceCreateOptions::default)
        .unwrap();
    drop(database);
    // the library takes away what it replaced only when it opens
    drop(Database::builder(dir.path().join("series")).open().unwrap());

    let said = ["series", "version 80", "reads up to "];
    assert_refused(dir.path(), "the series", &said).await;
}

#[tokio::test]
async fn databases_of_a_later_library_are_left_alone() {
    for part in ["snapshots", "series"] {
        let dir = known().await;
        fs::write(dir.path().join(part).join("version"), b"FJL\x09").unwrap();

        let said = [part, "version 9", "reads up to 3"];
        assert_refused(dir.path(), part, &said).await;
    }
}

/// The runs of the index of identities.
fn runs(dir: &Path) -> Vec<PathBuf> {
    let runs = with_ending(&dir.join("index"), "run");
    assert!(!runs.is_empty(), "the index has no run");
    runs
}

#[tokio::test]
async fn an_index_of_a_later_version_is_left_alone() {
    let dir = known().await;
    for path in runs(dir.path()) {
        let kept = fs::read(&path).unwrap();
        let mut bytes = kept.clone();
        bytes[8..12].copy_from_slice(&92_u32.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, bytes).unwrap();

        let name = path.file_name().unwrap().to_str().unwrap();
        let said = [name, "version 92", "reads up to "];
        assert_refused(dir.path(), "a run of the index", &said).await;
        fs::write(&path, kept).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_part_of_the_index_is_set_aside_and_what_the_journal_has_is_read_again() {
    let dir = known().await;
    let damaged = runs(dir.path()).swap_remove(0);
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[0] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let set_aside = damaged.with_extension("damaged");

    let server = Server::on(dir, &[]).await;

    let log = server.log();
    assert!(log.contains("index_rebuilt"), "{log}");
    assert!(set_aside.exists(), "{} is not there", set_aside.display());
    // what stood in it is known all the same
    let api = server.api();
    for event in api.all("/events?since=0", 1000).await {
        let said = api.ingest(&[sent(&event)]).await.good();
        assert_eq!(said["duplicates"], 1, "{said} for {event}");
    }
}
