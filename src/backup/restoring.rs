//! Puts a backup back: everything is looked at before the first byte is written,
//! and until the last one is on disk a marker says that nothing may start.

use std::fs::{self, File};
use std::io;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use mimamori_actors::domain::{JournalId, Position};
use serde::Serialize;

use super::error::BackupError;
use super::files::{self, NewFile};
use super::manifest::Manifest;
use super::marker::{Marker, UNFINISHED};
use super::progress::Progress;
use super::taking::{INDEX, JOURNAL, KEYS, RECORDS, STATES};
use super::{erasures, filling, manifest::TableEntry, proof};
use crate::cli::PROBE;
use crate::files::sync_dir;
use crate::journal::copy;
use crate::storage::records::RecordsAt;
use crate::storage::records::dump::{self, Renamed, TableFile};
use crate::storage::snapshots::FjallSnapshots;

const SNAPSHOTS: &str = "snapshots";
/// Where the list of erasures is put together.
const LIST_IN_THE_MAKING: &str = "erasures.restoring";
/// What a restore makes under `storage.dir`; if it was cut short, the next one begins by removing it.
const MADE: [&str; 10] = [
    KEYS,
    SNAPSHOTS,
    INDEX,
    copy::NOT_TRUSTED,
    JOURNAL,
    LIST_IN_THE_MAKING,
    "records.sqlite",
    "records.sqlite-wal",
    "records.sqlite-shm",
    // before it is in the mode that has a log
    "records.sqlite-journal",
];
/// What may be there before: the lock that we hold ourselves, who was erased, what `mkfs` makes.
const NOT_IN_THE_WAY: [&str; 3] = ["server.lock", erasures::NAME, "lost+found"];
/// A table with its indexes takes about so many times the room of its rows as text.
const TABLES_TAKE: u64 = 3;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// Where to.
    pub storage_dir: PathBuf,
    /// What the journal is called now.
    pub journal: JournalId,
    /// The last position; what comes next goes on behind it.
    pub end: Position,
    /// Rows of all tables.
    pub rows: u64,
    /// States of sessions.
    pub sessions: u64,
    /// Whether an earlier restore of the same backup that was cut short was finished.
    pub resumed: bool,
}

/// Puts the backup in `backup` into the storage directory and the records, both
/// of which are empty. The caller holds the directory's lock.
///
/// # Errors
/// When the backup is damaged or of a later version, when something is there
/// already or there is no room: nothing was changed then. When writing fails:
/// what was written is removed.
pub async fn restore(
    backup: &Path,
    storage_dir: &Path,
    records: &RecordsAt,
    progress: &Progress,
) -> Result<Restored, BackupError> {
    is_outside(backup, storage_dir)?;
    let (manifest, hash) = Manifest::read(backup)?;
    proof::prove(backup, &manifest, progress)?;
    let earlier = Marker::read(storage_dir)?;
    check_dir(storage_dir, earlier.is_some())?;
    let earlier = earlier.flatten().filter(|marker| marker.backup == hash);
    let has_records = has_records(records, earlier.as_ref()).await?;
    check_room(storage_dir, records, &manifest)?;
    let journal = match earlier {
        Some(marker) => marker.journal,
        None => copy::new_name().map_err(BackupError::io(storage_dir))?,
    };
    let marker = Marker {
        backup: hash,
        journal: journal.clone(),
    };
    let restoring = Restoring {
        backup,
        storage_dir,
        manifest: &manifest,
        renamed: Renamed {
            old: manifest.journal.clone(),
            new: journal.clone(),
        },
        progress,
    };
    marker.put(storage_dir)?;
    if let Err(error) = restoring.write(records, has_records).await {
        restoring.undo(records, &marker).await;
        return Err(error);
    }
    restoring.finish()?;
    progress.done();
    Ok(Restored {
        storage_dir: storage_dir.to_path_buf(),
        journal,
        end: manifest.end,
        rows: manifest.rows(),
        sessions: manifest.sessions,
        resumed: has_records,
    })
}

/// What is restored into the backup would be part of it.
fn is_outside(backup: &Path, storage_dir: &Path) -> Result<(), BackupError> {
    let canonical = |path: &Path| fs::canonicalize(path).map_err(BackupError::io(path));
    if canonical(storage_dir)?.starts_with(canonical(backup)?) {
        return Err(BackupError::Refused(format!(
            "storage.dir {} lies in the backup: nothing was restored",
            storage_dir.display()
        )));
    }
    Ok(())
}

fn check_dir(storage_dir: &Path, is_cut_short: bool) -> Result<(), BackupError> {
    let names = files::names_in(storage_dir)?;
    let is_in_the_way = |name: &&String| {
        let is_ours = is_cut_short && (MADE.contains(&name.as_str()) || **name == UNFINISHED);
        !is_ours && !is_left_over(name) && !NOT_IN_THE_WAY.contains(&name.as_str())
    };
    match names.iter().find(is_in_the_way) {
        Some(name) => Err(BackupError::Taken {
            place: format!("storage.dir {}", storage_dir.display()),
            what: format!("{name} is there"),
        }),
        None => Ok(()),
    }
}

/// What is left of a restore that ended before its marker was there.
fn is_left_over(name: &str) -> bool {
    name.starts_with(&format!(".{UNFINISHED}.")) || name.starts_with(PROBE)
}

/// Whether an earlier restore that was cut short has filled the records already.
async fn has_records(records: &RecordsAt, earlier: Option<&Marker>) -> Result<bool, BackupError> {
    if let Some(marker) = earlier
        && dump::know(records, &marker.journal).await?
    {
        return Ok(true);
    }
    // a file is in the storage directory, and looked at there
    if matches!(records, RecordsAt::Postgres(_)) && !dump::is_empty(records).await? {
        return Err(BackupError::Taken {
            place: format!("the database {records}"),
            what: "its tables have rows".to_owned(),
        });
    }
    Ok(false)
}

fn check_room(
    storage_dir: &Path,
    records: &RecordsAt,
    manifest: &Manifest,
) -> Result<(), BackupError> {
    let tables: u64 = manifest.files_in(RECORDS).map(|(_, file)| file.bytes).sum();
    let rest = manifest.bytes() - tables;
    let needed_bytes = match records {
        RecordsAt::Dir(_) => rest + TABLES_TAKE * tables,
        RecordsAt::Postgres(_) => rest,
    };
    let found = rustix::fs::statvfs(storage_dir)
        .map_err(|error| BackupError::io(storage_dir)(error.into()))?;
    let free_bytes = found.f_bavail.saturating_mul(found.f_frsize);
    if free_bytes < needed_bytes {
        return Err(BackupError::NoRoom {
            dir: storage_dir.to_path_buf(),
            free_bytes,
            needed_bytes,
        });
    }
    Ok(())
}

/// The directory's own name, which may have been made for this restore. Where nobody
/// lets us look into the one above it, it was there before.
fn sync_name(dir: &Path) -> Result<(), BackupError> {
    let dir = std::path::absolute(dir).map_err(BackupError::io(dir))?;
    match dir.parent().map(sync_dir) {
        Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => {
            Err(BackupError::io(&dir)(error))
        }
        Some(Ok(()) | Err(_)) | None => Ok(()),
    }
}

struct Restoring<'a> {
    backup: &'a Path,
    storage_dir: &'a Path,
    manifest: &'a Manifest,
    renamed: Renamed,
    progress: &'a Progress,
}

impl Restoring<'_> {
    /// Everything but taking the marker away. The records last: they may be elsewhere.
    async fn write(&self, records: &RecordsAt, has_records: bool) -> Result<(), BackupError> {
        self.remove_made()?;
        self.progress.begin_of("restoring", self.manifest.bytes());
        self.keys()?;
        self.states()?;
        self.index()?;
        self.journal()?;
        let making = self.storage_dir.join(LIST_IN_THE_MAKING);
        erasures::merge(self.backup, self.storage_dir, &making, self.manifest.end)?;
        if !has_records {
            let moved = &mut |bytes| self.progress.moved(bytes);
            dump::load(records, &self.tables(), &self.renamed, moved).await?;
        }
        Ok(())
    }

    /// Everything is on disk, and then the marker goes.
    fn finish(&self) -> Result<(), BackupError> {
        erasures::put(&self.storage_dir.join(LIST_IN_THE_MAKING), self.storage_dir)?;
        files::sync_tree(self.storage_dir)?;
        sync_name(self.storage_dir)?;
        Marker::remove(self.storage_dir)
    }

    /// After an error: as if nothing had been, unless the records, elsewhere, are
    /// filled already; then the next try goes on from there.
    async fn undo(&self, records: &RecordsAt, marker: &Marker) {
        if !matches!(dump::know(records, &marker.journal).await, Ok(false)) {
            return;
        }
        if self.remove_made().is_ok() {
            // what cannot be removed is said by the next start
            let _ = Marker::remove(self.storage_dir);
        }
    }

    fn remove_made(&self) -> Result<(), BackupError> {
        for name in MADE {
            files::remove(&self.storage_dir.join(name))?;
        }
        for name in files::names_in(self.storage_dir)? {
            if is_left_over(&name) {
                files::remove(&self.storage_dir.join(name))?;
            }
        }
        Ok(())
    }

    fn keys(&self) -> Result<(), BackupError> {
        for (_, file) in self.manifest.files_in(KEYS) {
            self.copy(&file.path, &mut |_| Ok(Vec::new()))?;
        }
        Ok(())
    }

    fn states(&self) -> Result<(), BackupError> {
        let snapshots = FjallSnapshots::open_to_fill(&self.storage_dir.join(SNAPSHOTS))?;
        filling::fill(
            &snapshots,
            &self.renamed.new,
            &self.backup.join(STATES),
            &mut |bytes| self.progress.moved(bytes),
        )
    }

    fn index(&self) -> Result<(), BackupError> {
        files::private_dir(&self.storage_dir.join(INDEX))?;
        for (name, file) in self.manifest.files_in(INDEX) {
            if !name.ends_with(".run") {
                self.copy(&file.path, &mut |_| Ok(Vec::new()))?;
                continue;
            }
            self.copy(&file.path, &mut |source| {
                let header = copy::beginning::<{ copy::RUN_HEADER_BYTES }>(source)?;
                copy::renamed_run(&header, &self.renamed.old, &self.renamed.new).map(Vec::from)
            })?;
        }
        let files = &self.manifest.files;
        if files.iter().any(|file| file.path == copy::NOT_TRUSTED) {
            self.copy(copy::NOT_TRUSTED, &mut |_| Ok(Vec::new()))?;
        }
        Ok(())
    }

    fn journal(&self) -> Result<(), BackupError> {
        for (_, file) in self.manifest.files_in(JOURNAL) {
            self.copy(&file.path, &mut |source| {
                let header = copy::beginning::<{ copy::HEADER_BYTES }>(source)?;
                copy::renamed_segment(&header, &self.renamed.new).map(Vec::from)
            })?;
        }
        Ok(())
    }

    /// Copies a file; what `head` makes stands in the place of as many of its first bytes.
    fn copy(
        &self,
        name: &str,
        head: &mut dyn FnMut(&File) -> std::io::Result<Vec<u8>>,
    ) -> Result<(), BackupError> {
        let path = self.backup.join(name);
        let source = File::open(&path).map_err(BackupError::io(&path))?;
        let length = source.metadata().map_err(BackupError::io(&path))?.len();
        let head = head(&source).map_err(BackupError::io(&path))?;
        let mut file = NewFile::begin(self.storage_dir, name)?;
        file.write(&head)?;
        let mut source = BufReader::new(source);
        let skipped = head.len() as u64;
        source
            .seek_relative(skipped.cast_signed())
            .map_err(BackupError::io(&path))?;
        self.progress.moved(skipped);
        file.copy(&mut source, length - skipped, &mut |moved| {
            self.progress.moved(moved);
        })?;
        file.finish()?;
        Ok(())
    }

    fn tables(&self) -> Vec<TableFile> {
        let table = |table: &TableEntry| TableFile {
            name: table.name.clone(),
            columns: table.columns.clone(),
            path: self.backup.join(&table.file),
        };
        self.manifest.tables.iter().map(table).collect()
    }
}
