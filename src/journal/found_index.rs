//! The index as a start finds it: good, behind, of other files, or damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mimamori_actors::domain::{JournalId, Moment, Position};

use crate::storage::embedded::OpenFailure;

use super::error::JournalError;
use super::index::{Checkpoint, Index, Known};
use super::segment::{SEGMENT_HEADER_BYTES, Segment};

/// Where the part of the journal begins that must be read at a start.
#[derive(Debug)]
pub(super) struct Start {
    /// First position of the segment.
    pub(super) segment: Position,
    /// Where in it.
    pub(super) offset: u64,
    /// The last position before that.
    pub(super) last: Position,
    /// When that one was accepted.
    pub(super) last_accepted: Moment,
}

/// The index as it was found.
pub(super) struct FoundIndex {
    root: PathBuf,
    index: Index,
    known: Known,
    rebuilt: Option<String>,
}

impl FoundIndex {
    /// Opens it; what of it cannot be told apart run by run is begun anew.
    pub(super) fn open(root: &Path) -> Result<Self, JournalError> {
        let ((index, known), rebuilt) = match Index::open(root) {
            Ok(found) => (found, None),
            Err(OpenFailure::Damaged(reason)) => (begin_anew(root)?, Some(reason)),
            Err(
                error @ (OpenFailure::InUse | OpenFailure::Unusable(_) | OpenFailure::Newer(_)),
            ) => {
                return Err(give_up(root, &error));
            }
        };
        Ok(Self {
            root: root.to_path_buf(),
            index,
            known,
            rebuilt,
        })
    }

    /// Up to where it has the journal.
    pub(super) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.known.checkpoint.as_ref()
    }

    /// The highest position it knows of, of whichever journal.
    pub(super) fn highest(&self) -> Position {
        self.known.highest
    }

    /// Where to read on in these segments, and why from the beginning if so;
    /// an index that does not fit them is emptied.
    pub(super) fn resume(
        self,
        journal: &JournalId,
        segments: &[Arc<Segment>],
    ) -> Result<(Index, Start, Option<String>), JournalError> {
        let first = segments.first().map(|oldest| oldest.first);
        let whole = Start {
            segment: first.unwrap_or(Position::ZERO),
            offset: SEGMENT_HEADER_BYTES,
            last: Position(first.map_or(0, |first| first.0.saturating_sub(1))),
            last_accepted: Moment::default(),
        };
        let Some(checkpoint) = self.known.checkpoint else {
            let missing = first.is_some().then(|| "it was missing".to_owned());
            return Ok((
                self.index,
                whole,
                self.rebuilt.or(self.known.lacks).or(missing),
            ));
        };
        if checkpoint.journal == *journal
            && let Some(reason) = self.known.lacks
        {
            return Ok((self.index, whole, Some(reason)));
        }
        if checkpoint.journal == *journal
            && let Some((segment, offset)) = read_on_from(&checkpoint, segments)
        {
            let start = Start {
                segment,
                offset,
                last: checkpoint.position,
                last_accepted: checkpoint.accepted,
            };
            return Ok((self.index, start, None));
        }
        // it holds its lock until then
        drop(self.index);
        let (index, _) = begin_anew(&self.root)?;
        Ok((index, whole, Some("it belonged to other files".to_owned())))
    }
}

/// Where the first frame stands that may not be in the index: segment and
/// offset; nothing if the checkpoint does not fit the segments.
fn read_on_from(checkpoint: &Checkpoint, segments: &[Arc<Segment>]) -> Option<(Position, u64)> {
    let oldest = segments.first()?;
    // its segment was trimmed since: good as long as nothing is missing behind the checkpoint
    if checkpoint.segment < oldest.first && oldest.first <= checkpoint.position.next() {
        return Some((oldest.first, SEGMENT_HEADER_BYTES));
    }
    let fits = segments.iter().any(|segment| {
        segment.first == checkpoint.segment
            && (SEGMENT_HEADER_BYTES..=segment.durable()).contains(&checkpoint.offset)
    });
    fits.then_some((checkpoint.segment, checkpoint.offset))
}

fn begin_anew(root: &Path) -> Result<(Index, Known), JournalError> {
    Index::remove(root)
        .and_then(|()| Index::open(root))
        .map_err(|error| give_up(root, &error))
}

fn give_up(root: &Path, error: &OpenFailure) -> JournalError {
    match error {
        OpenFailure::InUse => JournalError::InUse(root.to_path_buf()),
        OpenFailure::Newer(format) => format.clone().into(),
        OpenFailure::Unusable(_) | OpenFailure::Damaged(_) => {
            JournalError::Index(format!("{}: {error}", root.display()))
        }
    }
}
