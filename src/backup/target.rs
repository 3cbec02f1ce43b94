//! The directory that a backup is written to: under another name beside it until all of it is on disk.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::erasures;
use super::error::BackupError;
use super::files::{self, FileEntry, NewFile};
use super::manifest::{self, Manifest};
use super::taking::{INDEX, JOURNAL, KEYS, RECORDS, STATES};
use crate::journal::copy::NOT_TRUSTED;

/// What a backup makes in its directory.
const MADE: [&str; 9] = [
    erasures::NAME,
    STATES,
    INDEX,
    NOT_TRUSTED,
    KEYS,
    RECORDS,
    JOURNAL,
    erasures::SINCE,
    manifest::NAME,
];

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
        make(&partial)?;
        let lock = lock(&partial)?;
        empty(&partial)?;
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

/// Makes the directory for its owner alone; one that is there must be the same.
fn make(partial: &Path) -> Result<(), BackupError> {
    match DirBuilder::new().mode(0o700).create(partial) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(BackupError::io(partial)),
    }
    let found = fs::symlink_metadata(partial).map_err(BackupError::io(partial))?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(BackupError::NotEmpty(partial.to_path_buf()));
    }
    fs::set_permissions(partial, Permissions::from_mode(0o700)).map_err(BackupError::io(partial))
}

/// Removes what a backup that was killed has left there, and nothing if anything else is there.
fn empty(partial: &Path) -> Result<(), BackupError> {
    let left = files::names_in(partial)?;
    if !left.iter().all(|name| MADE.contains(&name.as_str())) {
        return Err(BackupError::NotEmpty(partial.to_path_buf()));
    }
    for name in left {
        files::remove(&partial.join(name))?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn begin(place: &Path) -> Result<Target, BackupError> {
        let storage = tempfile::tempdir().unwrap();
        Target::begin(&place.join("today"), storage.path())
    }

    #[test]
    fn what_a_killed_backup_left_goes_and_what_it_did_not_make_stays() {
        let place = tempfile::tempdir().unwrap();
        let partial = place.path().join("today.partial");
        fs::create_dir_all(partial.join(JOURNAL)).unwrap();
        fs::write(partial.join(STATES), "half").unwrap();
        drop(begin(place.path()).unwrap());
        assert!(!partial.exists());

        fs::create_dir_all(partial.join(JOURNAL)).unwrap();
        fs::write(partial.join("thesis.txt"), "mine").unwrap();
        let refused = begin(place.path()).unwrap_err();

        assert!(matches!(refused, BackupError::NotEmpty(_)), "{refused}");
        assert_eq!(files::names_in(&partial).unwrap(), [JOURNAL, "thesis.txt"]);
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(elsewhere.path().join(JOURNAL)).unwrap();
        symlink(elsewhere.path(), place.path().join("today.partial")).unwrap();

        let refused = begin(place.path()).unwrap_err();

        assert!(matches!(refused, BackupError::NotEmpty(_)), "{refused}");
        assert_eq!(files::names_in(elsewhere.path()).unwrap(), [JOURNAL]);
    }

    #[test]
    fn what_it_makes_is_for_its_owner_alone_even_in_a_directory_that_was_not() {
        let place = tempfile::tempdir().unwrap();
        let partial = place.path().join("today.partial");
        fs::create_dir(&partial).unwrap();
        fs::set_permissions(&partial, Permissions::from_mode(0o755)).unwrap();

        let _target = begin(place.path()).unwrap();

        let mode = fs::metadata(&partial).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
