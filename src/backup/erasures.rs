//! Who was erased: what a backup says of it, and what a restore must not bring back.
//!
//! A backup holds the list twice. As it was before the stores were read: whom it
//! calls done, none of these files holds. And as it was afterwards, for those who
//! were erased while we read.

use std::fs;
use std::io;
use std::path::Path;

use mimamori_actors::domain::Position;

use super::error::BackupError;
use super::files;
use crate::erasure::list::{ErasureList, FILE};

/// Where the list is in a backup that was taken over at its end.
pub(super) const SINCE: &str = "since";

/// The list under `dir` as it stands; nothing if there is none.
pub(super) fn read(dir: &Path) -> Result<Option<Vec<u8>>, BackupError> {
    let path = dir.join(FILE);
    match fs::read(&path) {
        Ok(list) => Ok(Some(list)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::io(&path)(error)),
    }
}

/// Puts into `making` the list that goes with what is restored up to `end`: that
/// of the backup, and as begun everybody whom one of the other lists knows besides.
pub(super) fn merge(
    backup: &Path,
    storage_dir: &Path,
    making: &Path,
    end: Position,
) -> Result<(), BackupError> {
    files::remove(making)?;
    files::private_dir(making)?;
    if let Some(list) = read(backup)? {
        let mut file = files::NewFile::begin(making, FILE)?;
        file.write(&list)?;
        file.finish()?;
    }
    let merged = ErasureList::of(making);
    let beside = fs::canonicalize(backup).map_err(BackupError::io(backup))?;
    let beside = beside.parent().unwrap_or(backup).to_path_buf();
    for other in [backup.join(SINCE), storage_dir.to_path_buf(), beside] {
        merged.merge(&ErasureList::of(&other).read()?, end)?;
    }
    Ok(())
}

/// Puts the list in the place of the one in the storage directory.
pub(super) fn put(making: &Path, storage_dir: &Path) -> Result<(), BackupError> {
    if making.join(FILE).exists() {
        let to = storage_dir.join(FILE);
        fs::rename(making.join(FILE), &to).map_err(BackupError::io(&to))?;
    }
    files::remove(making)
}

/// The name of the list.
pub(super) const NAME: &str = FILE;

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{ClassroomId, SessionKey, StudentId, Timestamp};

    use super::*;
    use crate::erasure::list::{Erasure, Stage};

    fn erasure(student: &str, through: u64, stage: Stage) -> Erasure {
        Erasure {
            key: SessionKey {
                classroom: ClassroomId::new("default"),
                student: StudentId::new(student),
            },
            through: Position(through),
            at: Timestamp::from_millis(1_790_000_000_000),
            stage,
        }
    }

    #[test]
    fn whom_the_backup_may_hold_is_erased_again_and_whom_it_does_not_is_not() {
        let place = tempfile::tempdir().unwrap();
        let (backup, storage) = (place.path().join("backup"), place.path().join("storage"));
        for dir in [&backup.join(SINCE), &storage] {
            fs::create_dir_all(dir).unwrap();
        }
        let note = |dir: &Path, erasure| ErasureList::of(dir).append(&erasure).unwrap();
        note(&backup, erasure("before", 5, Stage::Done));
        note(&backup.join(SINCE), erasure("before", 5, Stage::Done));
        note(&backup.join(SINCE), erasure("meanwhile", 10, Stage::Done));
        note(&storage, erasure("after", 30, Stage::Done));
        note(place.path(), erasure("beside", 8, Stage::Done));
        let making = storage.join("making");

        merge(&backup, &storage, &making, Position(12)).unwrap();
        put(&making, &storage).unwrap();
        let once = ErasureList::of(&storage).read().unwrap();
        // a restore that was cut short is done again
        merge(&backup, &storage, &making, Position(12)).unwrap();
        put(&making, &storage).unwrap();

        assert_eq!(
            once,
            [
                erasure("after", 12, Stage::Begun),
                erasure("before", 5, Stage::Done),
                erasure("beside", 8, Stage::Begun),
                erasure("meanwhile", 10, Stage::Begun),
            ]
        );
        assert_eq!(ErasureList::of(&storage).read().unwrap(), once);
        assert!(!making.exists());
    }
}
