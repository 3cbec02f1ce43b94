//! Opening a fjall database of which the files may be in any state.

use std::io::ErrorKind;
use std::panic::{self, AssertUnwindSafe};

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
            let is_curable = !matches!(
                io.kind(),
                ErrorKind::PermissionDenied
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::StorageFull
                    | ErrorKind::QuotaExceeded
            );
            if !is_curable {
                return Self::Unusable(error.to_string());
            }
        }
        Self::Damaged(error.to_string())
    }
}

/// Runs what opens a database: damaged files may make the library panic, too.
pub(crate) fn open_caught<T>(
    open: impl FnOnce() -> Result<T, OpenFailure>,
) -> Result<T, OpenFailure> {
    panic::catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(OpenFailure::Damaged("opening it panicked".to_owned())))
}
