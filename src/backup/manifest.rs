//! What a backup says of itself: `manifest.json`.
//!
//! `{"format":1,"blake3":"…","manifest":{…}}`: the hash is that of the inner
//! object as it stands there, byte by byte.

use std::io::ErrorKind;
use std::path::Path;

use mimamori_actors::domain::{JournalId, Position, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::BackupError;
use super::files::{FileEntry, NewFile};
use crate::files::text_of_file;

/// The format of backups that is written and read.
pub const FORMAT: u32 = 1;
/// One of ours names some dozens of files.
const MOST_BYTES: u64 = 16 << 20;
/// The manifest's name.
pub(super) const NAME: &str = "manifest.json";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    /// The version of the program that wrote it.
    pub(super) program: String,
    /// When it was begun.
    pub(super) taken_at: Timestamp,
    /// What the records were in: `sqlite` or `postgres`. They can be restored into either.
    pub(super) records: String,
    /// The journal as it was called.
    pub(super) journal: JournalId,
    /// The oldest position of the journal that is in the backup.
    pub(super) oldest: Position,
    /// The last one: the backup is of this moment.
    pub(super) end: Position,
    /// How far the stores were.
    pub(super) offsets: Offsets,
    /// How many sessions' states.
    pub(super) sessions: u64,
    /// The migrations that made the tables, in their order.
    pub(super) migrations: Vec<String>,
    /// The tables. The hash of a table is that of its file: rows stand in the order of their key.
    pub(super) tables: Vec<TableEntry>,
    /// Every file but this one.
    pub(super) files: Vec<FileEntry>,
}

/// How far the stores were with the journal; nothing for one that did not know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offsets {
    pub(super) records: Option<Position>,
    pub(super) sessions: Option<Position>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableEntry {
    /// Its name.
    pub(super) name: String,
    /// Its file.
    pub(super) file: String,
    /// The columns of a line.
    pub(super) columns: Vec<String>,
    /// How many rows.
    pub(super) rows: u64,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    format: u32,
    blake3: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

impl Manifest {
    /// Writes it into the backup under `root`.
    pub(super) fn write(&self, root: &Path) -> Result<FileEntry, BackupError> {
        let path = root.join(NAME);
        let malformed = |error: serde_json::Error| BackupError::io(&path)(error.into());
        let inner = serde_json::value::to_raw_value(self).map_err(malformed)?;
        let sealed = Sealed {
            format: FORMAT,
            blake3: blake3::hash(inner.get().as_bytes()).to_hex().to_string(),
            manifest: &inner,
        };
        let path = root.join(NAME);
        let malformed = |error: serde_json::Error| BackupError::io(&path)(error.into());
        let text = serde_json::to_string(&sealed).map_err(malformed)?;
        let mut file = NewFile::begin(root, NAME)?;
        file.write(text.as_bytes())?;
        file.finish()
    }

    /// Reads that of the backup in `root`, and gives its hash, too.
    pub(super) fn read(root: &Path) -> Result<(Self, String), BackupError> {
        let path = root.join(NAME);
        let text = text_of_file(&path, MOST_BYTES).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                BackupError::Refused(format!("{} is no backup: it has no {NAME}", root.display()))
            }
            ErrorKind::InvalidData | ErrorKind::FileTooLarge | ErrorKind::Other => {
                BackupError::damaged(&path, error.to_string())
            }
            _ => BackupError::io(&path)(error),
        })?;
        let damaged = |error: serde_json::Error| BackupError::damaged(&path, error.to_string());
        let Version { format } = serde_json::from_str(&text).map_err(damaged)?;
        if format != FORMAT {
            return Err(BackupError::Newer {
                path,
                found: format!("format {format}"),
                newest: format!("format {FORMAT}"),
            });
        }
        let sealed: Sealed<'_> = serde_json::from_str(&text).map_err(damaged)?;
        if blake3::hash(sealed.manifest.get().as_bytes())
            .to_hex()
            .as_str()
            != sealed.blake3
        {
            return Err(BackupError::damaged(
                &path,
                "it is not what it was written as",
            ));
        }
        let manifest = serde_json::from_str(sealed.manifest.get()).map_err(damaged)?;
        Ok((manifest, sealed.blake3))
    }

    /// Bytes of all its files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The files in one of its directories.
    pub(super) fn files_in<'a>(
        &'a self,
        dir: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a FileEntry)> {
        self.files.iter().filter_map(move |file| {
            let name = file.path.strip_prefix(dir)?.strip_prefix('/')?;
            Some((name, file))
        })
    }

    /// Rows of all tables.
    pub(super) fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}
