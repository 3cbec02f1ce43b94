//! Killed, and out of room: a backup is there whole or not at all, and nothing starts on half a restore.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::working::Kept;
use super::{backup, command, complaint, place, restore, stored, tables};
use crate::disk_full::small_disk::SmallDisk;
use crate::harness::{Api, PATIENCE, Random, Run, Server, ensure, eventually, program, run};

/// So much that a restore takes a moment.
const EVENTS: usize = 3_000;

async fn filled(kept: &Kept) -> Server {
    let server = Server::with(&kept.env()).await;
    fill(&server.api()).await;
    eventually("all is stored", PATIENCE, async || {
        let count = "SELECT CAST(COUNT(*) AS TEXT) FROM events";
        let there = kept.rows(server.dir(), count).await;
        ensure(there[0] == EVENTS.to_string(), || there[0].clone())
    })
    .await;
    server
}

async fn fill(api: &Api) {
    for batch in 0..EVENTS / 500 {
        let events: Vec<_> = (0..500)
            .map(|nth| {
                let student = format!("s{}", nth % 40);
                let mut event = run(&format!("{batch}-{nth}"), &student, "c", Run::Ok);
                event["code"] = json!(format!("x = {nth}\n").repeat(40));
                event
            })
            .collect();
        api.accepted(&events).await;
    }
}

fn begin(storage: &Path, words: &[&str], env: &[(&str, &str)]) -> Child {
    program(storage)
        .args(words)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills it after a random part of the time that it takes.
async fn kill_within(mut child: Child, takes: Duration, random: &mut Random) {
    let part = u32::try_from(random.below(100)).unwrap();
    sleep(takes * part / 100).await;
    let _ = child.start_kill();
    child.wait().await.unwrap();
}

fn words<'a>(command: &'a str, dir: &'a Path) -> [&'a str; 2] {
    [command, dir.to_str().unwrap()]
}

/// The tables of what was sent.
fn sent(dir: &Path) -> Vec<(String, u64, String)> {
    let mut tables = tables(dir);
    tables.retain(|(name, _, _)| name == "events" || name == "executions");
    tables
}

/// Kills backups at random moments while the server runs; each leaves all or nothing.
pub async fn kill_backups(rounds: usize) {
    let mut random = Random::new("killed");
    let server = filled(&Kept::Sqlite).await;
    let backups = place();
    let first = backups.path().join("first");
    let began = Instant::now();
    backup(server.dir(), &first, &[]).await;
    let takes = began.elapsed();

    for round in 0..rounds {
        let dir = backups.path().join(format!("killed-{round}"));
        kill_within(
            begin(server.dir(), &words("backup", &dir), &[]),
            takes,
            &mut random,
        )
        .await;

        if !dir.exists() {
            backup(server.dir(), &dir, &[]).await;
        }
        // the server goes on with what it concludes; what was sent stays
        assert_eq!(sent(&dir), sent(&first));
        let left = fs::read_dir(backups.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), round + 2, "{left:?}");
    }
}

/// Kills restores at random moments: nothing starts until one was finished.
pub async fn kill_restores(to: impl Fn() -> Kept, rounds: usize) {
    let mut random = Random::new("killed");
    let mut server = filled(&Kept::Sqlite).await;
    server.sigterm();
    assert!(server.ended(PATIENCE).await.success());
    let backups = place();
    let first = backups.path().join("first");
    backup(server.dir(), &first, &[]).await;
    let began = Instant::now();
    restore(place().path(), &first, &to().env()).await;
    let takes = began.elapsed();

    for round in 0..rounds {
        let (storage, kept) = (place(), to());
        let restoring = begin(storage.path(), &words("restore", &first), &kept.env());
        kill_within(restoring, takes, &mut random).await;

        if storage.path().join("restore-unfinished").exists() {
            let said = complaint(storage.path(), &["serve"], &kept.env()).await;
            assert!(said.contains("cut short"), "{said}");
        }
        if !storage.path().join("keys").exists()
            || storage.path().join("restore-unfinished").exists()
        {
            restore(storage.path(), &first, &kept.env()).await;
        }
        let again = backups.path().join(format!("again-{round}"));
        backup(storage.path(), &again, &kept.env()).await;
        assert_eq!(tables(&again), tables(&first), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_is_whole_or_not_there_and_the_next_one_takes_its_place() {
    kill_backups(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_is_done_again() {
    kill_restores(|| Kept::Sqlite, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_into_postgresql_that_is_killed_is_done_again() {
    kill_restores(Kept::in_postgres, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_killed_when_the_database_had_all_is_only_finished() {
    let (backups, storage) = (place(), place());
    let kept = Kept::in_postgres();
    let first = backups.path().join("first");
    let server = Server::start().await;
    let sent = super::class();
    server.api().accepted(&sent).await;
    stored(&server.api(), sent.len()).await;
    backup(server.dir(), &first, &[]).await;
    let restored = restore(storage.path(), &first, &kept.env()).await;
    let sealed: Value =
        serde_json::from_slice(&fs::read(first.join("manifest.json")).unwrap()).unwrap();
    let marker = json!({ "backup": sealed["blake3"], "journal": restored["journal"] });
    fs::write(
        storage.path().join("restore-unfinished"),
        marker.to_string(),
    )
    .unwrap();
    fs::remove_dir_all(storage.path().join("journal")).unwrap();

    let elsewhere = place();
    let refused = complaint(elsewhere.path(), &words("restore", &first), &kept.env()).await;
    let again = restore(storage.path(), &first, &kept.env()).await;
    let second = backups.path().join("second");
    backup(storage.path(), &second, &kept.env()).await;

    assert!(refused.contains("its tables have rows"), "{refused}");
    assert_eq!(again["resumed"], true, "{again}");
    assert_eq!(again["journal"], restored["journal"]);
    assert_eq!(tables(&second), tables(&first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_there_is_one_line_and_nothing_is_left() {
    let Some(disk) = SmallDisk::in_memory() else {
        return;
    };
    let server = filled(&Kept::Sqlite).await;
    let filler = disk.fill_but(300 << 10);
    let mounted: PathBuf = filler.parent().unwrap().to_owned();
    let names = || -> Vec<_> {
        let entries = fs::read_dir(&mounted).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = names();

    let full = complaint(server.dir(), &words("backup", &disk.data()), &[]).await;
    let whole = complaint(server.dir(), &words("backup", &mounted), &[]).await;
    let backups: TempDir = place();
    let dir = backups.path().join("today");
    backup(server.dir(), &dir, &[]).await;
    fs::create_dir(disk.data()).unwrap();
    let small = complaint(&disk.data(), &words("restore", &dir), &[]).await;

    assert!(full.contains("No space left"), "{full}");
    assert!(
        full.contains(disk.data().file_name().unwrap().to_str().unwrap()),
        "{full}"
    );
    assert!(
        whole.contains("not empty") || whole.contains("file system"),
        "{whole}"
    );
    assert!(small.contains("bytes free"), "{small}");
    let left: Vec<_> = fs::read_dir(disk.data()).unwrap().collect();
    assert!(left.len() <= 1, "the lock and nothing else: {left:?}");
    fs::remove_dir_all(disk.data()).unwrap();
    assert_eq!(names(), before);
    let again = command(server.dir(), &["journal", "inspect"], &[]).await;
    assert!(again.status.success(), "the server's files are whole");
}

/// Nothing is there but the lock, which says nothing.
fn assert_as_before(storage: &Path) {
    let left = fs::read_dir(storage).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "server.lock"), "{left:?}");
}

/// A backup of a few thousand events, made without a server.
async fn taken() -> (TempDir, PathBuf) {
    let mut server = filled(&Kept::Sqlite).await;
    server.sigterm();
    assert!(server.ended(PATIENCE).await.success());
    let backups = place();
    let dir = backups.path().join("today");
    backup(server.dir(), &dir, &[]).await;
    (backups, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_further_file_at_any_step_of_a_restore_leaves_the_place_as_it_was() {
    let (_backups, dir) = taken().await;
    let mut refused = 0;

    for files in (4..).step_by(5) {
        let Some(disk) = SmallDisk::in_memory_of_files(files) else {
            return;
        };
        fs::create_dir(disk.data()).unwrap();
        let output = command(&disk.data(), &words("restore", &dir), &[]).await;
        if output.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("No space left")
                || said.contains("full")
                || said.contains("unable to open"),
            "{files} files: {said}"
        );
        assert_as_before(&disk.data());
        refused += 1;
    }

    assert!(refused > 4, "only {refused} steps met a full disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_in_the_middle_of_a_restore_leaves_the_place_as_it_was() {
    let (_backups, dir) = taken().await;
    let Some(disk) = SmallDisk::in_memory() else {
        return;
    };
    fs::create_dir(disk.data()).unwrap();
    let mut restoring = begin(&disk.data(), &words("restore", &dir), &[]);
    let pid = Pid::from_raw(i32::try_from(restoring.id().unwrap()).unwrap()).unwrap();
    eventually("it has begun", PATIENCE, async || {
        // early: everything large is still to be written
        let has_begun = disk.data().join("index").exists();
        ensure(has_begun, || "no index yet".to_owned())
    })
    .await;

    kill_process(pid, Signal::STOP).unwrap();
    let filler = disk.fill();
    eventually("it is full", PATIENCE, async || {
        let free = rustix::fs::statvfs(disk.data()).unwrap().f_bavail;
        ensure(free == 0, || format!("{free} blocks are free"))
    })
    .await;
    kill_process(pid, Signal::CONT).unwrap();
    let ended = restoring.wait().await.unwrap();
    filler.give_back();

    assert_eq!(
        ended.code(),
        Some(1),
        "it was done before it could be stopped"
    );
    assert_as_before(&disk.data());
    restore(&disk.data(), &dir, &[]).await;
    let again = dir.with_file_name("again");
    backup(&disk.data(), &again, &[]).await;
    assert_eq!(tables(&again), tables(&dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_told_to_stop_leaves_nothing() {
    let server = filled(&Kept::Sqlite).await;
    let backups = place();
    let dir = backups.path().join("today");
    let mut taking = begin(server.dir(), &words("backup", &dir), &[]);
    let pid = Pid::from_raw(i32::try_from(taking.id().unwrap()).unwrap()).unwrap();
    eventually("it has begun", PATIENCE, async || {
        let has_begun = backups.path().join("today.partial/sessions").exists();
        ensure(has_begun, || "no states yet".to_owned())
    })
    .await;

    kill_process(pid, Signal::TERM).unwrap();

    assert_eq!(taking.wait().await.unwrap().code(), Some(1));
    let left: Vec<_> = fs::read_dir(backups.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
