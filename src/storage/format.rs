//! What a later version of the program wrote is left alone.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// A store was written by a later version. Nothing was changed when this is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path} has the format version {found}, this program reads up to {newest}: nothing was changed, use the program that wrote it",
    path = .path.display()
)]
pub struct UnknownFormat {
    /// Which file or directory.
    pub path: PathBuf,
    /// The version it has.
    pub found: String,
    /// The newest that this program reads.
    pub newest: String,
}

impl UnknownFormat {
    /// What has the version `found`, of which `newest` is the last that is known.
    pub(crate) fn new(path: &Path, found: impl Display, newest: impl Display) -> Self {
        Self {
            path: path.to_path_buf(),
            found: found.to_string(),
            newest: newest.to_string(),
        }
    }
}

/// What the marker file of a fjall database begins with; its version is the byte behind.
const MARKER: &[u8] = b"FJL";
/// The format of fjall 3.
const FJALL: u8 = 3;

/// Checks the format of the database library's own files, and opens nothing. A
/// marker that is missing or damaged is the business of whoever opens it.
pub(crate) fn check_fjall(dir: &Path) -> Result<(), UnknownFormat> {
    let path = dir.join("version");
    let bytes = fs::read(&path).unwrap_or_default();
    match bytes.strip_prefix(MARKER).and_then(<[u8]>::first) {
        Some(found) if *found > FJALL => Err(UnknownFormat::new(&path, found, FJALL)),
        Some(_) | None => Ok(()),
    }
}

/// Checks a version that stands in a store under `path`.
pub(crate) fn check_version(path: &Path, found: u32, newest: u32) -> Result<(), UnknownFormat> {
    if found <= newest {
        return Ok(());
    }
    Err(UnknownFormat::new(path, found, newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_later_library_is_told_and_any_other_marker_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("version");
        assert_eq!(check_fjall(dir.path()), Ok(()));
        for (bytes, is_known) in [
            (&b"FJL\x03"[..], true),
            (b"FJL\x02", true),
            (b"", true),
            (b"FJL", true),
            (b"not a marker", true),
            (b"FJL\x04", false),
        ] {
            fs::write(&marker, bytes).unwrap();

            let checked = check_fjall(dir.path());

            assert_eq!(checked.is_ok(), is_known, "{bytes:?}");
        }
        let said = check_fjall(dir.path()).unwrap_err().to_string();
        assert!(
            said.contains("version 4, this program reads up to 3"),
            "{said}"
        );
    }
}
