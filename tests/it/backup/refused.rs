//! What is not backed up and not restored, each in one line that names it, with nothing changed.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use super::{backup, class, complaint, place, restore, stored};
use crate::harness::{ADMIN, INGEST_KEY, PATIENCE, Server, ensure, eventually};

/// A backup of a class, and the place it is in.
async fn taken() -> (TempDir, PathBuf) {
    let mut server = Server::start().await;
    let sent = class();
    server.api().accepted(&sent).await;
    stored(&server.api(), sent.len()).await;
    server.sigterm();
    assert!(server.ended(PATIENCE).await.success());
    let backups = place();
    let dir = backups.path().join("today");
    backup(server.dir(), &dir, &[]).await;
    (backups, dir)
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Nothing but the lock, which says nothing.
fn assert_untouched(storage: &Path) {
    let left: Vec<_> = files_under(storage);
    assert!(
        left.iter().all(|path| path.ends_with("server.lock")),
        "{left:?}"
    );
}

async fn refused(storage: &Path, dir: &Path) -> String {
    complaint(storage, &["restore", dir.to_str().unwrap()], &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_or_a_missing_end_in_any_file_is_told_by_its_name() {
    let (_backups, dir) = taken().await;
    let storage = place();
    let mut names = 0;

    for path in files_under(&dir) {
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{path:?}"
        );
        let whole = fs::read(&path).unwrap();
        if whole.is_empty() {
            continue;
        }
        names += 1;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let at = whole.len() as u64 / 2;
        let flipped = whole[whole.len() / 2] ^ 0x04;
        file.write_all_at(&[flipped], at).unwrap();
        let flipped = refused(storage.path(), &dir).await;
        file.write_all_at(&whole, 0).unwrap();
        file.set_len(at).unwrap();
        let cut = refused(storage.path(), &dir).await;
        file.write_all_at(&whole, 0).unwrap();

        let name = path.display().to_string();
        assert!(flipped.contains(&name), "{flipped}");
        assert!(cut.contains(&name), "{cut}");
    }
    assert!(names > 15, "{names} files");
    assert_untouched(storage.path());
    restore(storage.path(), &dir, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_newer_or_no_backup_is_refused_and_so_is_a_place_that_is_not_empty() {
    let (backups, dir) = taken().await;
    let storage = place();
    let manifest = dir.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();

    let run = fs::read_dir(dir.join("index")).unwrap().next().unwrap();
    let run = run.unwrap().path();
    let aside = backups.path().join("aside");
    fs::rename(&run, &aside).unwrap();
    let missing = refused(storage.path(), &dir).await;
    fs::rename(&aside, &run).unwrap();
    fs::write(&manifest, text.replace("\"format\":1", "\"format\":2")).unwrap();
    let newer = refused(storage.path(), &dir).await;
    fs::write(&manifest, &text).unwrap();
    let none = refused(storage.path(), backups.path()).await;
    fs::write(storage.path().join("notes.txt"), "mine").unwrap();
    let full = refused(storage.path(), &dir).await;
    fs::remove_file(storage.path().join("notes.txt")).unwrap();

    assert!(missing.contains(run.to_str().unwrap()), "{missing}");
    assert!(newer.contains("later version"), "{newer}");
    assert!(none.contains("no backup"), "{none}");
    assert!(full.contains("notes.txt"), "{full}");
    assert_untouched(storage.path());
    restore(storage.path(), &dir, &[]).await;
    let twice = refused(storage.path(), &dir).await;
    assert!(twice.contains("not empty"), "{twice}");
}

#[tokio::test]
async fn a_backup_goes_into_a_directory_of_its_own_and_with_the_right_token() {
    let server = Server::start().await;
    server.api().accepted(&class()).await;
    let backups = place();
    let dir = backups.path().join("today");
    let words = |dir: &Path| ["backup".to_owned(), dir.to_str().unwrap().to_owned()];

    let refuse = async |dir: &Path, env: &[(&str, &str)]| {
        let words = words(dir);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        complaint(server.dir(), &words, env).await
    };
    let token = refuse(
        &dir,
        &[("MIMAMORI_AUTH__ADMIN_TOKEN", "adm_another_token_here")],
    )
    .await;
    let inside = refuse(&server.dir().join("backup"), &[]).await;
    let nowhere = refuse(&backups.path().join("no/such"), &[]).await;
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let full = refuse(&dir, &[]).await;

    assert!(token.contains("admin token"), "{token}");
    assert!(inside.contains("lies in storage.dir"), "{inside}");
    assert!(
        nowhere.contains("no/such") || nowhere.contains("/no"),
        "{nowhere}"
    );
    assert!(full.contains("not empty"), "{full}");
    let left: Vec<_> = fs::read_dir(backups.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_restore_that_was_cut_short_lets_nothing_start_and_is_done_again() {
    let (_backups, dir) = taken().await;
    let storage = place();
    fs::write(storage.path().join("restore-unfinished"), "").unwrap();
    fs::create_dir(storage.path().join("journal")).unwrap();
    fs::write(storage.path().join("records.sqlite"), "half").unwrap();

    let serve = complaint(storage.path(), &["serve"], &[]).await;
    let migrate = complaint(storage.path(), &["migrate"], &[]).await;
    restore(storage.path(), &dir, &[]).await;
    let server = Server::on(storage, &[]).await;

    for said in [serve, migrate] {
        assert!(said.contains("cut short"), "{said}");
    }
    stored(&server.api(), class().len()).await;
}

#[tokio::test]
async fn the_servers_part_is_for_administrators_one_at_a_time_and_ends_with_the_connection() {
    let server = Server::start().await;
    let path = "/api/v1/admin/backup";
    let begin = || {
        server
            .api()
            .request(Method::POST, path)
            .bearer_auth(ADMIN)
            .send()
    };

    let nobody = server.stranger().post(path, &json!({})).await;
    let key = server
        .api()
        .holding(INGEST_KEY)
        .post(path, &json!({}))
        .await;
    let wrong = server.api().get(path).await;
    let mut first = begin().await.unwrap();
    let told = first.chunk().await.unwrap().unwrap();
    let second = server.api().post(path, &json!({})).await;
    drop(first);

    nobody.assert_problem(401);
    key.assert_problem(403);
    wrong.assert_problem(405);
    assert!(told.starts_with(b"{\"journal\""), "{told:?}");
    second.assert_problem(409);
    eventually("the next one may", PATIENCE, async || {
        let status = begin().await.unwrap().status();
        ensure(status == 200, || status.to_string())
    })
    .await;
}
