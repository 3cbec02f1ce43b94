//! Files that are written once, synced and hashed; all of them for their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::BackupError;
use crate::files;

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A file of a backup, as the manifest knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileEntry {
    /// Where it is in the backup, its parts between slashes.
    pub(super) path: String,
    /// Its bytes.
    pub(super) bytes: u64,
    /// Its BLAKE3 hash in hexadecimal.
    pub(super) blake3: String,
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    name: String,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl NewFile {
    /// Begins the file `name` under `root`, which must not be there.
    pub(super) fn begin(root: &Path, name: &str) -> Result<Self, BackupError> {
        let path = root.join(name);
        if let Some(parent) = path.parent() {
            private_dir(parent)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(BackupError::io(&path))?;
        Ok(Self {
            path,
            name: name.to_owned(),
            file,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.file
            .write_all(bytes)
            .map_err(BackupError::io(&self.path))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes the next `bytes` bytes of `source`, and tells how many at a time.
    pub(super) fn copy(
        &mut self,
        source: &mut impl Read,
        bytes: u64,
        moved: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = bytes;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let read = match source.read(&mut piece[..wanted]) {
                Ok(0) => return Err(self.source_failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.source_failed(error)),
            };
            self.write(&piece[..read])?;
            moved(read as u64);
            left -= read as u64;
        }
        Ok(())
    }

    fn source_failed(&self, error: io::Error) -> BackupError {
        BackupError::Io {
            path: self.name.clone().into(),
            source: error,
        }
    }

    /// It is on disk when this returns; its name is when its directory is synced.
    pub(super) fn finish(self) -> Result<FileEntry, BackupError> {
        self.file.sync_all().map_err(BackupError::io(&self.path))?;
        Ok(FileEntry {
            path: self.name,
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
        })
    }
}

/// Makes a directory that only its owner can enter, and those above it.
pub(super) fn private_dir(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(BackupError::io(path))
}

/// What stands in a file that is there.
pub(super) fn hash(path: &Path, moved: &mut dyn FnMut(u64)) -> Result<(u64, String), BackupError> {
    let mut file = File::open(path).map_err(BackupError::io(path))?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok((bytes, hasher.finalize().to_hex().to_string())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BackupError::io(path)(error)),
        };
        hasher.update(&piece[..read]);
        bytes += read as u64;
        moved(read as u64);
    }
}

/// Makes the names in a directory, and in those under it, stay.
pub(super) fn sync_tree(path: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(path).map_err(BackupError::io(path))? {
        let entry = entry.map_err(BackupError::io(path))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_tree(&entry.path())?;
        }
    }
    sync_dir(path)
}

/// Makes the names in a directory stay.
pub(super) fn sync_dir(path: &Path) -> Result<(), BackupError> {
    files::sync_dir(path).map_err(BackupError::io(path))
}

/// Removes a file or directory with all that is in it; it may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), BackupError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::io(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What is in a directory; nothing if it is not there.
pub(super) fn names_in(path: &Path) -> Result<Vec<String>, BackupError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(BackupError::io(path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(BackupError::io(path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
