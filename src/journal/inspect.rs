//! `mimamori journal inspect`: what is in the files, read without the program and also while it runs.
//!
//! Files are opened for reading only, nothing is changed ([`super::repair`] does
//! that, when it is asked to), and nothing of what people wrote is printed.

mod aside;
mod noted;
mod segments;
mod show;

use std::path::Path;

use mimamori_actors::domain::{JournalId, Position, Timestamp};
use serde::Serialize;
use serde_json::Value;

pub use super::index::{IndexFound, LeftBehind};
pub use show::show;

use super::error::JournalError;
use super::index;
use super::segment::{self, SegmentHeader};

/// Everything that was found in the files of a journal and of its index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// The journal's name, if a header could be read.
    pub journal: Option<JournalId>,
    /// The segment files in their order.
    pub segments: Vec<SegmentFound>,
    /// What the entries that can be read are.
    pub entries: Kinds,
    /// Segment files that are gone from the journal's beginning, or all of them.
    pub gone: Option<Gone>,
    /// Places where entries are missing, or bytes stand that are no frame.
    pub holes: Vec<Hole>,
    /// Bytes behind the last frame that are no frame: being written now, or torn by a crash.
    pub unfinished_end: Option<Hole>,
    /// The place behind the last frame, if nothing is wrong there.
    #[serde(skip)]
    pub(super) end: Option<Hole>,
    /// What was set aside because it was damaged.
    pub set_aside: Vec<SetAside>,
    /// Files in the making that a crash left behind.
    pub left_behind: Vec<LeftBehind>,
    /// The index of identities.
    pub index: IndexFound,
    /// How far everybody is, as the program noted last, within about a second.
    pub noted: Option<Value>,
}

/// A segment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentFound {
    /// The position of its first entry, as in its name.
    pub segment: Position,
    /// Whether its header can be read.
    pub header: HeaderState,
    /// The journal that its header names.
    pub journal: Option<JournalId>,
    /// How many undamaged frames: one a request.
    pub frames: u64,
    /// How many entries in them.
    pub entries: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// The first position that was found.
    pub first: Option<Position>,
    /// The last position that was found.
    pub last: Option<Position>,
    /// When the first entry was accepted.
    pub begun: Option<Timestamp>,
    /// When the last entry was accepted.
    pub ended: Option<Timestamp>,
}

/// What stands where a segment's header should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HeaderState {
    /// A header.
    Whole,
    /// None, or a damaged one: the frames behind it may be good.
    Damaged,
    /// One of a later version.
    Later,
}

/// Segment files that are gone, and that nobody has trimmed: what was in them was not read by all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// The last position up to which everybody had read who is waited for.
    pub after: Position,
    /// Where the journal begins now; if no segment is left, the first position
    /// that is not known to have been given.
    pub before: Position,
}

/// A place between two frames, or behind the last one of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hole {
    /// First position of the segment, as in its name.
    pub segment: Position,
    /// Where in the file: behind the last frame before it.
    pub offset: u64,
    /// How many bytes that are no frame; none where positions are missing with nothing in their place.
    pub bytes: u64,
    /// The last position that is known before it.
    pub after: Position,
    /// The first position that is known behind it; nothing at the journal's end.
    pub before: Option<Position>,
    /// Where the next frame of the same file begins; nothing if none does.
    #[serde(skip)]
    pub(super) until: Option<u64>,
    /// Nothing stands behind it: `before` is only what is known at least.
    #[serde(skip)]
    pub(super) is_open: bool,
    /// When the entries around it were accepted.
    #[serde(skip)]
    pub(super) between: (Option<Timestamp>, Option<Timestamp>),
}

/// How many entries of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kinds {
    /// Events of clients.
    pub events: u64,
    /// Events that were refused, kept for inspection.
    pub rejected: u64,
    /// What a consumer could not take.
    pub dead_letters: u64,
    /// Facts and timers of the program itself.
    pub own: u64,
    /// Places of entries that were about a person who was erased: nothing is missing there.
    pub erased: u64,
    /// Undamaged, and yet no record that this program knows.
    pub unreadable: u64,
}

/// A file in which damaged bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// Its name, in `journal/damaged`.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// The segment they stood in, as the name says.
    pub segment: Option<Position>,
    /// Where in the segment.
    pub offset: u64,
    /// How many whole frames are in it.
    pub frames: u64,
    /// How many entries in them.
    pub entries: u64,
    /// The first position of them.
    pub first: Option<Position>,
    /// The last position of them.
    pub last: Option<Position>,
    /// When the first and the last of them were accepted.
    #[serde(skip)]
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// The header, if it is a whole segment file under its own name.
    #[serde(skip)]
    pub(super) header: Option<SegmentHeader>,
}

impl Gone {
    /// How many positions are missing at least.
    #[must_use]
    pub fn missing_entries(&self) -> u64 {
        self.before.0.saturating_sub(self.after.0 + 1)
    }
}

impl Hole {
    /// The positions that are missing there: first and last.
    #[must_use]
    pub fn missing(&self) -> Option<(Position, Position)> {
        let last = Position(self.before?.0.saturating_sub(1));
        (last > self.after).then(|| (self.after.next(), last))
    }

    /// How many positions are missing there.
    #[must_use]
    pub fn missing_entries(&self) -> u64 {
        self.missing()
            .map_or(0, |(first, last)| last.0 - first.0 + 1)
    }
}

impl Survey {
    /// How many places are damaged: frames, headers, runs of the index. What
    /// was set aside before, and positions missing for that, count too.
    #[must_use]
    pub fn damaged_places(&self) -> usize {
        let headers = self.segments.iter();
        let headers = headers.filter(|segment| segment.header == HeaderState::Damaged);
        let gone = usize::from(self.gone.is_some());
        gone + self.holes.len() + headers.count() + self.index.damaged.len()
    }

    /// How many positions are missing.
    #[must_use]
    pub fn missing_entries(&self) -> u64 {
        let gone = self.gone.map_or(0, |gone| gone.missing_entries());
        gone + self.holes.iter().map(Hole::missing_entries).sum::<u64>()
    }
}

/// Looks at everything in the journal of the storage directory `dir`. Changes nothing.
///
/// # Errors
/// When a file cannot be read, or is of a later version.
pub fn survey(dir: &Path) -> Result<Survey, JournalError> {
    survey_knowing(dir, Position::ZERO)
}

/// Whether there is a journal under this directory (`storage.dir`): else the next start begins one.
///
/// # Errors
/// When the directory can't be read.
pub fn has_segments(dir: &Path) -> Result<bool, JournalError> {
    let path = dir.join("journal");
    if !path.is_dir() {
        return Ok(false);
    }
    Ok(!segment::list(&path)?.is_empty())
}

/// How far a consumer was when the program noted it last; it may have been further.
pub fn noted_offset(dir: &Path, consumer: &str) -> Option<Position> {
    let noted = noted::read(&dir.join("journal"))?;
    noted["consumers"][consumer].as_u64().map(Position)
}

/// As [`survey`], if somebody knows that positions up to `known` were given.
///
/// # Errors
/// As [`survey`].
pub fn survey_knowing(dir: &Path, known: Position) -> Result<Survey, JournalError> {
    let path = dir.join("journal");
    // first how far it was: what is written meanwhile is no loss
    let index = index::survey(&dir.join("index"))?;
    let noted = noted::read(&path);
    let reached = noted::reached(noted.as_ref()).max(index.reached).max(known);
    let mut survey = segments::walk(&path, reached)?;
    survey.set_aside = aside::list(&path.join("damaged"))?;
    survey.left_behind = aside::left_behind(&path);
    survey.left_behind.extend(index.left_behind.iter().cloned());
    survey.index = index;
    // and last how far everybody was: what is trimmed meanwhile is no loss
    survey.noted = noted::read(&path);
    survey.gone = noted::gone(survey.noted.as_ref(), &survey.segments, reached);
    Ok(survey)
}
