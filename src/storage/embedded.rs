//! Files that may be in any state: opening a fjall database, and what its errors ask for.

use std::fs;
use std::io::{self, ErrorKind};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use rustix::io::Errno;

use super::format::UnknownFormat;

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
pub(crate) fn set_aside(dir: &Path) -> io::Result<()> {
    let aside = dir.with_extension("damaged");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::rename(dir, aside)
}

/// Runs what opens a database: damaged files may make the library panic, too.
pub(crate) fn open_caught<T>(
    open: impl FnOnce() -> Result<T, OpenFailure>,
) -> Result<T, OpenFailure> {
    panic::catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(OpenFailure::Damaged("opening it panicked".to_owned())))
}
