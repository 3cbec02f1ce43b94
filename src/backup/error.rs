//! Why there is no backup, or nothing was restored.

use std::io;
use std::path::{Path, PathBuf};

use mimamori_actors::domain::Position;
use mimamori_actors::ports::SnapshotError;

use crate::erasure::list::ListError;
use crate::journal::JournalError;
use crate::storage::records::dump::DumpError;
use crate::storage::snapshots::OpenSnapshotsError;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The call is not one that can be done.
    #[error("{0}")]
    Refused(String),
    /// The directory of a backup holds something.
    #[error("{path} is not empty: a backup is written into a directory of its own", path = .0.display())]
    NotEmpty(PathBuf),
    /// Somebody else writes the same backup.
    #[error("another backup writes to {path}", path = .0.display())]
    Busy(PathBuf),
    /// A file of the backup is not what the manifest says.
    #[error("{path} is damaged: {reason}; nothing was restored", path = .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later version wrote the backup.
    #[error("{path} is of a later version ({found}, this program reads {newest}): nothing was restored, use the program that wrote it", path = .path.display())]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this program reads.
        newest: String,
    },
    /// There is something already where it would be restored to.
    #[error("{place} is not empty: {what}; a restore needs an empty one, nothing was changed")]
    Taken {
        /// Where.
        place: String,
        /// What is there.
        what: String,
    },
    /// Before anything was written.
    #[error("{dir} has {free_bytes} bytes free and the restore needs about {needed_bytes}: nothing was changed", dir = .dir.display())]
    NoRoom {
        /// Where.
        dir: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The journal went on without what the stores have not got yet.
    #[error(
        "the journal begins at position {oldest} and is needed from {needed} on: it was trimmed while it was copied, try again"
    )]
    Trimmed {
        /// Where the copy begins.
        oldest: Position,
        /// From where it is needed.
        needed: Position,
    },
    /// The running server did not do its part.
    #[error("the server at {address}: {reason}")]
    Server {
        /// Where it is.
        address: String,
        /// What it said, or did not say.
        reason: String,
    },
    /// A file.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal's files.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The sessions' states.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// The database of the sessions' states.
    #[error(transparent)]
    OpenSnapshots(#[from] OpenSnapshotsError),
    /// The list of those who were erased.
    #[error(transparent)]
    Erasures(#[from] ListError),
    /// The records.
    #[error("the records: {0}")]
    Records(#[source] DumpError),
}

impl BackupError {
    /// An error of the system about this file.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        |source| Self::Io { path, source }
    }

    /// A file that is not what it should be.
    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }
}

impl From<DumpError> for BackupError {
    fn from(error: DumpError) -> Self {
        Self::Records(error)
    }
}
