//! One step of a repair: what it does, and what is said of it when it is done.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mimamori_actors::domain::Position;

use super::mend::Mend;
use crate::files::sync_dir;
use crate::journal::damage::{DAMAGED, DamagedSpot};
use crate::journal::error::JournalError;
use crate::journal::index;
use crate::journal::segment::{self, SegmentHeader};

/// One step of a repair, shown as what was done; or what could not be.
#[derive(Debug)]
pub enum Step {
    /// Damaged bytes are kept in `journal/damaged`.
    #[doc(hidden)]
    KeepAside {
        /// The segment's file.
        path: PathBuf,
        /// Where in it.
        spot: DamagedSpot,
        /// The name of the file in `journal/damaged`.
        name: String,
    },
    /// The next start reads the journal from its oldest entry for the index.
    MarkIndex,
    /// A segment's header is written anew.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "others only show a step")]
    WriteHeader {
        /// The segment's file.
        path: PathBuf,
        /// What is written.
        header: SegmentHeader,
    },
    /// A segment's file that is gone is made anew, without its frames.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "others only show a step")]
    MakeSegment {
        /// The segment's file.
        path: PathBuf,
        /// As it stands in a backup.
        header: SegmentHeader,
    },
    /// A frame is written where it stood.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "others only show a step")]
    BringBack {
        /// The segment's file.
        path: PathBuf,
        /// The frame.
        mend: Mend,
    },
    /// A file that never became part of the journal is removed.
    Remove {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// Nobody knows which journal this segment belongs to.
    Nameless(Position),
    /// The end of the last segment is no whole frame.
    LeaveEnd {
        /// The segment.
        segment: Position,
        /// The bytes at its end.
        bytes: u64,
    },
    /// These entries cannot be brought back.
    Lost {
        /// The segment they stood in, or before which they stood.
        segment: Position,
        /// The first of them.
        first: Position,
        /// The last of them.
        last: Position,
        /// How many of them can be read and stand elsewhere in the journal, because they were sent again.
        sent_again: u64,
    },
}

impl Step {
    /// Does it; when this returns it is on disk.
    pub(super) fn carry_out(&self, dir: &Path) -> Result<(), JournalError> {
        match self {
            Self::KeepAside { path, spot, .. } => {
                let journal = dir.join("journal");
                let kept = spot.keep(&journal, &open(path)?).map(drop);
                kept.map_err(JournalError::io(&journal.join(DAMAGED)))
            }
            Self::MarkIndex => {
                let index = dir.join("index");
                index::mark(&index).map_err(JournalError::io(&index))
            }
            Self::WriteHeader { path, header } => write(path, &header.encode(), 0),
            Self::MakeSegment { path, header } => {
                make(path, &header.encode()).map_err(JournalError::io(path))
            }
            Self::BringBack { path, mend } => write(path, &mend.bytes, mend.offset),
            Self::Remove { path, .. } => remove(path).map_err(JournalError::io(path)),
            Self::Nameless(_) | Self::LeaveEnd { .. } | Self::Lost { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepAside { spot, name, .. } => write!(
                f,
                "kept aside: {} bytes of segment {} at offset {}, in journal/damaged/{name}",
                spot.bytes, spot.segment, spot.offset
            ),
            Self::MarkIndex => write!(
                f,
                "marked: the next start looks at all of the index and fills it from the journal's oldest entry"
            ),
            Self::WriteHeader { header, .. } => write!(
                f,
                "written anew: the header of segment {} of journal {}",
                header.first, header.journal
            ),
            Self::MakeSegment { header, .. } => write!(
                f,
                "made anew: the file of segment {} of journal {}, which was gone",
                header.first, header.journal
            ),
            Self::BringBack { mend, .. } => write!(
                f,
                "brought back: {} ({})",
                positions(mend.header.first, mend.header.last()),
                mend.origin
            ),
            Self::Remove { path, bytes } => write!(
                f,
                "removed: {}, {bytes} bytes that never became part of the journal",
                path.display()
            ),
            Self::Nameless(segment) => write!(
                f,
                "left as it is: the header of segment {segment}: neither another segment nor the index says which journal it belongs to"
            ),
            Self::LeaveEnd { segment, bytes } => write!(
                f,
                "left to the next start: the unfinished end of segment {segment}, {bytes} bytes"
            ),
            Self::Lost {
                segment,
                first,
                last,
                sent_again,
            } => {
                write!(f, "lost: {} of segment {segment}", positions(*first, *last))?;
                match sent_again {
                    0 => Ok(()),
                    many => write!(f, "; {many} of them were sent again since"),
                }
            }
        }
    }
}

fn positions(first: Position, last: Position) -> String {
    if first == last {
        format!("position {first}")
    } else {
        format!("positions {first} to {last}")
    }
}

fn open(path: &Path) -> Result<File, JournalError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(JournalError::io(path))
}

fn write(path: &Path, bytes: &[u8], at: u64) -> Result<(), JournalError> {
    let file = open(path)?;
    file.write_all_at(bytes, at)
        .and_then(|()| file.sync_all())
        .map_err(JournalError::io(path))
}

/// Under another name until it is on disk; a repair removes what a crash leaves of that.
fn make(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(path);
    let making = dir.join(segment::SEGMENT_IN_THE_MAKING);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&making)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&making, path)?;
    sync_dir(dir)
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_dir(path.parent().unwrap_or(path))
}
