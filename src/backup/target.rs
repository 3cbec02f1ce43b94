//! The directory that a backup is written to: under another name beside it until all of it is on disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::BackupError;
use super::files::{self, FileEntry, NewFile};
use super::manifest::Manifest;

/// Where a backup is being written.
#[derive(Debug)]
pub(super) struct Target {
    dir: PathBuf,
    partial: PathBuf,
    parent: PathBuf,
    /// Held as long as it is written.
    _lock: File,
    files: Vec<FileEntry>,
    is_done: bool,
}

impl Target {
    /// Looks whether a backup can be written to `dir`, and begins it. What a
    /// backup to the same place left that was killed is removed.
    pub(super) fn begin(dir: &Path, storage_dir: &Path) -> Result<Self, BackupError> {
        let dir = std::path::absolute(dir).map_err(BackupError::io(dir))?;
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(BackupError::Refused(format!(
                "{} can be no backup: name a directory that is not there yet",
                dir.display()
            )));
        };
        let parent = fs::canonicalize(parent).map_err(BackupError::io(parent))?;
        let storage = fs::canonicalize(storage_dir).map_err(BackupError::io(storage_dir))?;
        if parent.starts_with(&storage) {
            return Err(BackupError::Refused(format!(
                "{} lies in storage.dir: what takes that takes the backup too",
                dir.display()
            )));
        }
        is_free(&dir, &parent)?;
        let mut partial_name = name.to_owned();
        partial_name.push(".partial");
        let partial = parent.join(partial_name);
        files::private_dir(&partial)?;
        let lock = lock(&partial)?;
        for left in files::names_in(&partial)? {
            files::remove(&partial.join(left))?;
        }
        Ok(Self {
            dir: parent.join(name),
            partial,
            parent,
            _lock: lock,
            files: Vec::new(),
            is_done: false,
        })
    }

    /// Begins a file; it is part of the backup with [`Target::add`].
    pub(super) fn file(&self, name: &str) -> Result<NewFile, BackupError> {
        NewFile::begin(&self.partial, name)
    }

    pub(super) fn add(&mut self, file: NewFile) -> Result<&FileEntry, BackupError> {
        self.files.push(file.finish()?);
        Ok(self.files.last().expect("one was pushed"))
    }

    /// All files that were added, taken out.
    pub(super) fn take_files(&mut self) -> Vec<FileEntry> {
        std::mem::take(&mut self.files)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Gives it its name. When this returns all of it is on disk.
    pub(super) fn finish(mut self, manifest: &Manifest) -> Result<PathBuf, BackupError> {
        manifest.write(&self.partial)?;
        files::sync_tree(&self.partial)?;
        fs::rename(&self.partial, &self.dir).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty => BackupError::NotEmpty(self.dir.clone()),
            _ => BackupError::io(&self.dir)(error),
        })?;
        self.is_done = true;
        files::sync_dir(&self.parent)?;
        Ok(self.dir.clone())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_done && files::remove(&self.partial).is_err() {
            tracing::warn!(path = %self.partial.display(), "an unfinished backup could not be removed");
        }
    }
}

fn is_free(dir: &Path, parent: &Path) -> Result<(), BackupError> {
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io(dir)(error)),
    };
    if !found.is_dir() || !files::names_in(dir)?.is_empty() {
        return Err(BackupError::NotEmpty(dir.to_path_buf()));
    }
    let above = fs::metadata(parent).map_err(BackupError::io(parent))?;
    if above.dev() != found.dev() {
        return Err(BackupError::Refused(format!(
            "{} is a file system of its own: name a directory in it",
            dir.display()
        )));
    }
    Ok(())
}

fn lock(partial: &Path) -> Result<File, BackupError> {
    let file = File::open(partial).map_err(BackupError::io(partial))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(BackupError::Busy(partial.to_path_buf())),
        Err(error) => Err(BackupError::io(partial)(error.into())),
    }
}
