//! The mark of a restore that is not finished: with it in `storage.dir` no server starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mimamori_actors::domain::JournalId;
use serde::{Deserialize, Serialize};

use super::error::BackupError;
use super::files;
use crate::keys::replace_file;

/// The file's name under `storage.dir`.
pub const UNFINISHED: &str = "restore-unfinished";

/// A restore was cut short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("storage.dir {dir} holds a restore that was cut short: run `mimamori restore` again, or remove what is in there", dir = .0.display())]
pub struct Unfinished(PathBuf);

/// Which restore is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The hash of the backup's manifest.
    pub(super) backup: String,
    /// What the journal is called when it is done.
    pub(super) journal: JournalId,
}

impl Unfinished {
    /// An error if a restore into this storage directory was cut short.
    ///
    /// # Errors
    /// Then.
    pub fn check(storage_dir: &Path) -> Result<(), Self> {
        if storage_dir.join(UNFINISHED).exists() {
            return Err(Self(storage_dir.to_path_buf()));
        }
        Ok(())
    }
}

impl Marker {
    /// The one that is there. One that says nothing is one that was just being made.
    pub(super) fn read(storage_dir: &Path) -> Result<Option<Option<Self>>, BackupError> {
        let path = storage_dir.join(UNFINISHED);
        match fs::read(&path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BackupError::io(&path)(error)),
        }
    }

    /// It is there, whatever happens to the power, when this returns.
    pub(super) fn put(&self, storage_dir: &Path) -> Result<(), BackupError> {
        let path = storage_dir.join(UNFINISHED);
        let text =
            serde_json::to_string(self).map_err(|error| BackupError::io(&path)(error.into()))?;
        replace_file(&path, &text).map_err(BackupError::io(&path))
    }

    /// It is gone, whatever happens to the power, when this returns.
    pub(super) fn remove(storage_dir: &Path) -> Result<(), BackupError> {
        files::remove(&storage_dir.join(UNFINISHED))?;
        files::sync_dir(storage_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_long_as_it_is_there_nothing_starts() {
        let dir = tempfile::tempdir().unwrap();
        let marker = Marker {
            backup: "abc".to_owned(),
            journal: JournalId::new("jrn_a"),
        };
        assert_eq!(Unfinished::check(dir.path()), Ok(()));

        marker.put(dir.path()).unwrap();

        assert!(Unfinished::check(dir.path()).is_err());
        assert_eq!(Marker::read(dir.path()).unwrap(), Some(Some(marker)));
        Marker::remove(dir.path()).unwrap();
        assert_eq!(Unfinished::check(dir.path()), Ok(()));
        assert_eq!(Marker::read(dir.path()).unwrap(), None);
    }
}
