//! What must hold of a backup before the first byte of it is put anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path};

use super::erasures;
use super::error::BackupError;
use super::files::{self, FileEntry};
use super::manifest::{self, Manifest};
use super::progress::Progress;
use super::taking::STATES;
use crate::storage::records::dump;

/// Of this program or an earlier one, whole, and nothing of it elsewhere.
pub(super) fn prove(
    backup: &Path,
    manifest: &Manifest,
    progress: &Progress,
) -> Result<(), BackupError> {
    is_known(backup, manifest)?;
    is_all_named(backup, manifest)?;
    let root = fs::canonicalize(backup).map_err(BackupError::io(backup))?;
    progress.begin_of("checking", manifest.bytes());
    for file in &manifest.files {
        is_whole(&root, file, progress)?;
    }
    Ok(())
}

fn is_known(backup: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let known: BTreeSet<String> = dump::migrations().into_iter().collect();
    let unknown = |name: &&String| !known.contains(*name);
    match manifest.migrations.iter().rfind(unknown) {
        Some(found) => Err(BackupError::Newer {
            path: backup.join(manifest::NAME),
            found: format!("the tables of {found}"),
            newest: known.into_iter().next_back().unwrap_or_default(),
        }),
        None => Ok(()),
    }
}

/// What is read by a name of its own is one of the files, or nobody would have looked at it.
fn is_all_named(backup: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let bad = |reason: String| Err(BackupError::damaged(&backup.join(manifest::NAME), reason));
    let mut names = BTreeSet::new();
    for file in &manifest.files {
        if !names.insert(file.path.as_str()) {
            return bad(format!("{} is named twice", file.path));
        }
    }
    // these only if they are there
    let since = format!("{}/{}", erasures::SINCE, erasures::NAME);
    for list in [erasures::NAME, &since] {
        if !names.contains(list) && fs::symlink_metadata(backup.join(list)).is_ok() {
            return bad(format!("{list} is none of its files"));
        }
    }
    let tables = manifest.tables.iter().map(|table| table.file.as_str());
    match tables.chain([STATES]).find(|name| !names.contains(name)) {
        Some(name) => bad(format!("{name} is none of its files")),
        None => Ok(()),
    }
}

/// It is there, in the backup itself, and is what the manifest says.
fn is_whole(root: &Path, file: &FileEntry, progress: &Progress) -> Result<(), BackupError> {
    let path = root.join(&file.path);
    let elsewhere = || Err(BackupError::damaged(&path, "it lies elsewhere"));
    let mut parts = Path::new(&file.path).components();
    if file.path.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return elsewhere();
    }
    let really = fs::canonicalize(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BackupError::damaged(&path, "it is missing"),
        _ => BackupError::io(&path)(error),
    })?;
    if !really.starts_with(root) {
        return elsewhere();
    }
    let found = fs::metadata(&really).map_err(BackupError::io(&path))?;
    if !found.is_file() {
        // one that is read like a file may have no end
        return Err(BackupError::damaged(&path, "it is no file"));
    }
    if found.len() != file.bytes {
        let reason = format!("it has {} bytes, it had {}", found.len(), file.bytes);
        return Err(BackupError::damaged(&path, reason));
    }
    let (_, blake3) = files::hash(&really, &mut |moved| progress.moved(moved))?;
    if blake3 != file.blake3 {
        return Err(BackupError::damaged(&path, "its hash is wrong"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use mimamori_actors::domain::{JournalId, Position, Timestamp};
    use tempfile::TempDir;

    use super::*;
    use crate::backup::manifest::{Offsets, TableEntry};

    /// A backup of two files, whose hashes are right wherever they are.
    fn backup(table: &str) -> (TempDir, Manifest) {
        let dir = tempfile::tempdir().unwrap();
        for name in [STATES, table] {
            let path = dir.path().join(name);
            if !name.is_empty() && !name.contains("..") && path.starts_with(dir.path()) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
        }
        let entry = |path: &str| FileEntry {
            path: path.to_owned(),
            bytes: 1,
            blake3: blake3::hash(b"x").to_hex().to_string(),
        };
        let manifest = Manifest {
            program: "test".to_owned(),
            taken_at: Timestamp::default(),
            records: "sqlite".to_owned(),
            journal: JournalId::new("jrn_a"),
            oldest: Position(1),
            end: Position(1),
            offsets: Offsets::default(),
            sessions: 0,
            migrations: dump::migrations(),
            tables: vec![TableEntry {
                name: "events".to_owned(),
                file: table.to_owned(),
                columns: Vec::new(),
                rows: 1,
            }],
            files: vec![entry(STATES), entry(table)],
        };
        (dir, manifest)
    }

    fn refusal(backup: &Path, manifest: &Manifest) -> String {
        let refused = prove(backup, manifest, &Progress::new());
        refused.unwrap_err().to_string()
    }

    #[test]
    fn a_backup_that_is_what_its_manifest_says_is_proven() {
        let (dir, manifest) = backup("records/events.copy");

        prove(dir.path(), &manifest, &Progress::new()).unwrap();
    }

    #[test]
    fn no_path_leaves_the_backup() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "x").unwrap();
        let absolute = outside.path().to_str().unwrap();
        for path in [absolute, "../outside", "records/../../outside", "./a", ""] {
            let (dir, manifest) = backup(path);
            let said = refusal(dir.path(), &manifest);
            assert!(said.contains("elsewhere"), "{path}: {said}");
        }
    }

    #[test]
    fn no_link_leads_out_of_the_backup() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("events.copy"), "x").unwrap();
        let (dir, manifest) = backup("records/events.copy");
        fs::remove_dir_all(dir.path().join("records")).unwrap();
        symlink(outside.path(), dir.path().join("records")).unwrap();

        let said = refusal(dir.path(), &manifest);

        assert!(said.contains("elsewhere"), "{said}");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let (dir, manifest) = backup("records/events.copy");
        let path = dir.path().join("records/events.copy");
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();

        let said = refusal(dir.path(), &manifest);

        assert!(said.contains("no file"), "{said}");
    }

    #[test]
    fn a_table_or_the_states_outside_of_what_was_hashed_are_told() {
        let (dir, mut manifest) = backup("records/events.copy");
        manifest.tables[0].file = "/etc/hostname".to_owned();
        let of_table = refusal(dir.path(), &manifest);
        let (dir, mut manifest) = backup("records/events.copy");
        manifest.files.remove(0);
        let of_states = refusal(dir.path(), &manifest);
        let (dir, mut manifest) = backup("records/events.copy");
        manifest.files.push(manifest.files[0].clone());
        let twice = refusal(dir.path(), &manifest);

        assert!(of_table.contains("/etc/hostname is none"), "{of_table}");
        assert!(of_states.contains("none of its files"), "{of_states}");
        assert!(twice.contains("twice"), "{twice}");
    }

    #[test]
    fn a_list_of_erasures_that_was_not_hashed_is_told_and_not_read() {
        for list in ["erasures.jsonl", "since/erasures.jsonl"] {
            let (dir, manifest) = backup("records/events.copy");
            let path = dir.path().join(list);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // to open it would be to wait for ever
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();

            let said = refusal(dir.path(), &manifest);

            assert!(said.contains(&format!("{list} is none of")), "{said}");
        }
    }
}
