//! Why a journal cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::format::UnknownFormat;

/// Why a journal cannot be opened or inspected. Nothing is destroyed when this is told.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk, or the rights on it.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The end of the last segment was acknowledged and is damaged, and there is no place for a copy.
    #[error(
        "{path}: its damaged end cannot be kept in {dir} and is not cut: {source}; give it room and rights there, and start again",
        path = .path.display(),
        dir = .dir.display()
    )]
    NotKept {
        /// The segment's file.
        path: PathBuf,
        /// Where pieces are kept.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process", path = .0.display())]
    InUse(PathBuf),
    /// Written by a later version of the program.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// Files of two journals in one directory.
    #[error(
        "{path} belongs to the journal {found}, the others to {expected}: move it away",
        path = .path.display()
    )]
    Mixed {
        /// The file that does not belong.
        path: PathBuf,
        /// The journal it names.
        found: String,
        /// The journal that the first file names.
        expected: String,
    },
    /// No segment's header can be read, and the index does not know the journal's name either.
    #[error(
        "{path}: no segment file says which journal it belongs to; move them away to begin a new one",
        path = .0.display()
    )]
    Nameless(PathBuf),
    /// The index failed in a way that building it anew does not cure.
    #[error("the identity index: {0}")]
    Index(String),
}

impl JournalError {
    /// An error of the system about this file.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        |source| Self::Io { path, source }
    }
}
