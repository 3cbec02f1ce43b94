//! Files that may be in any state: opening a fjall database, and what its errors ask for.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use mimamori_actors::domain::{JournalId, Position};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::format::UnknownFormat;

pub(crate) mod handle;
pub(crate) mod paced;
pub(crate) mod shortage;

/// Why a database cannot be opened, by what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    /// Another process has it open.
    #[error("in use by another process")]
    InUse,
    /// Beginning anew does not cure it: rights, a full disk.
    #[error("{0}")]
    Unusable(String),
    /// A later version wrote it: leave it alone.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// It contradicts itself: begin anew.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl From<fjall::Error> for OpenFailure {
    fn from(error: fjall::Error) -> Self {
        if matches!(error, fjall::Error::Locked) {
            return Self::InUse;
        }
        if let fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) = &error {
            let is_forbidden = matches!(
                io.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            );
            if is_forbidden || is_no_room(io) {
                return Self::Unusable(error.to_string());
            }
        }
        Self::Damaged(error.to_string())
    }
}

/// Whether it heals when something is given back: room, a quota, an open file.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE)
    ) || error.kind() == ErrorKind::StorageFull
}

/// Keeps damaged files beside, in place of those that were kept last.
fn set_aside(dir: &Path) -> io::Result<()> {
    let aside = dir.with_extension("damaged");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::rename(dir, aside)
}

/// Opens a database: damaged files may make the library panic, too. A full disk
/// may look like damage, and is none: nothing is set aside for that.
pub(crate) fn open_caught<T>(
    dir: &Path,
    open: impl FnOnce(&Path) -> Result<T, OpenFailure>,
) -> Result<T, OpenFailure> {
    let opened = panic::catch_unwind(AssertUnwindSafe(|| open(dir)))
        .unwrap_or_else(|_| Err(OpenFailure::Damaged("opening it panicked".to_owned())));
    match opened {
        Err(OpenFailure::Damaged(reason)) => Err(match room_beside(dir) {
            Err(error) if is_no_room(&error) => {
                OpenFailure::Unusable(format!("the disk has no room: {error} ({reason})"))
            }
            Ok(()) | Err(_) => OpenFailure::Damaged(reason),
        }),
        opened => opened,
    }
}

/// Sets a damaged database aside and opens an empty one in its place.
pub(crate) fn begin_anew<T>(
    dir: &Path,
    open: impl FnOnce(&Path) -> Result<T, OpenFailure>,
) -> Result<T, OpenFailure> {
    set_aside(dir).map_err(|error| OpenFailure::Unusable(error.to_string()))?;
    open_caught(dir, open)
}

/// How far a store was `written` for this journal, if it is found to be behind
/// that: the journal lets go of what was told to be on disk, so opened anew a
/// database must have all of it.
pub(crate) fn went_back(
    written: Option<&(JournalId, Position)>,
    journal: &JournalId,
    found: Position,
) -> Option<Position> {
    written
        .filter(|(of, through)| of == journal && *through > found)
        .map(|(_, through)| *through)
}

/// What must be free: opening a database writes little, and what waits is written next.
const ROOM_BYTES: u64 = 1 << 20;

/// Whether the disk has room: allocates a file beside `dir`, and removes it.
pub(crate) fn room_beside(dir: &Path) -> io::Result<()> {
    let path = dir.with_extension("room");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    let allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, ROOM_BYTES);
    match fs::remove_file(&path) {
        // another thread looked, too
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match allocated {
        // where nothing can be allocated ahead, writing will tell
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
