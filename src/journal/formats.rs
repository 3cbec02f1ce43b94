//! Looks at the formats of the files before anything is opened for writing.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::storage::format::UnknownFormat;

use super::error::JournalError;
use super::frame;
use super::index;
use super::scan::{Found, ScanError, Scanner};
use super::segment::{self, HeaderFound, SEGMENT_HEADER_BYTES, SegmentHeader};

/// Whether this program knows the format of every segment of the journal under
/// the storage directory `dir`, of its newest frames, and of the index of
/// identities. Changes nothing.
///
/// A program writes only the newest form of frame that it knows, so a later one
/// than ours shows at the journal's end: the last segment that has a frame is
/// looked through.
///
/// # Errors
/// When a format is not known, or the disk fails.
pub fn check_formats(dir: &Path) -> Result<(), JournalError> {
    index::check_formats(&dir.join("index"))?;
    let path = dir.join("journal");
    if !path.is_dir() {
        return Ok(());
    }
    let mut is_looked_through = false;
    for (_, path) in segment::list(&path)?.iter().rev() {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(JournalError::io(path)(error)),
        };
        let header = SegmentHeader::read(&file).map_err(JournalError::io(path))?;
        if let HeaderFound::UnknownVersion(version) = header {
            return Err(UnknownFormat::new(path, version, segment::VERSION).into());
        }
        if !is_looked_through {
            is_looked_through = has_known_frames(&file, path)?;
        }
    }
    Ok(())
}

/// Whether there are frames; all of them are of forms that we know.
fn has_known_frames(file: &File, path: &Path) -> Result<bool, JournalError> {
    let length = file.metadata().map_err(JournalError::io(path))?.len();
    let mut scanner = Scanner::new(file, SEGMENT_HEADER_BYTES, length);
    let mut has_frames = false;
    while let Some(found) = scanner.next().map_err(|error| error.at(path))? {
        has_frames |= matches!(found, Found::Frame { .. });
    }
    Ok(has_frames)
}

impl ScanError {
    /// What it means for the journal that it happened in this file.
    pub(super) fn at(self, path: &Path) -> JournalError {
        match self {
            Self::Io(source) => JournalError::io(path)(source),
            Self::UnknownVersion(version) => {
                UnknownFormat::new(path, version, frame::VERSION).into()
            }
        }
    }
}
