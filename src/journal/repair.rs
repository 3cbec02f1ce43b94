//! `mimamori journal inspect --repair`: puts right what can be put right for certain, while no server runs.
//!
//! First a plan is made, which changes nothing; then it is carried out step by
//! step, and each step is told. Bytes are kept in `journal/damaged` before
//! others are written in their place, so nothing is lost that was there, and a
//! repair that is cut short is done again from its beginning. What cannot be
//! put right is named with its positions.
//!
//! The unfinished end of the last segment is left to the next start: only it
//! knows from the stores whether it was acknowledged.

mod flip;
mod gone;
mod mend;
mod step;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use mimamori_actors::domain::{JournalId, Position, Timestamp};

pub use step::Step;

use super::damage::{DAMAGED, DamagedSpot};
use super::error::JournalError;
use super::formats::check_formats;
use super::frame;
use super::inspect::{HeaderState, Hole, SegmentFound, SetAside, Survey, survey_knowing};
use super::scan::{Found, Scanner};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use mend::Mend;

/// What a repair would do, in its order.
#[derive(Debug)]
pub struct Plan {
    dir: PathBuf,
    journal: Option<JournalId>,
    read_again_after: Option<Position>,
    steps: Vec<Step>,
    has_more: bool,
}

impl Plan {
    /// Looks at everything under the storage directory `dir`. Changes nothing.
    /// Positions up to `known` are known to have been given.
    ///
    /// # Errors
    /// When a file cannot be read, or is of a later version.
    pub fn of(dir: &Path, known: Position) -> Result<Self, JournalError> {
        check_formats(dir)?;
        let survey = survey_knowing(dir, known)?;
        let mut plan = Self {
            dir: dir.to_path_buf(),
            journal: survey.journal.clone().or(survey.index.journal.clone()),
            read_again_after: None,
            steps: Vec::new(),
            has_more: false,
        };
        plan.refuse_mixed(&survey)?;
        plan.headers(&survey)?;
        plan.holes(&survey)?;
        let is_marked = survey.index.is_marked || plan.read_again_after.is_some();
        if !survey.index.damaged.is_empty() && !is_marked {
            plan.steps.push(Step::MarkIndex);
        }
        for file in &survey.left_behind {
            plan.steps.push(Step::Remove {
                path: dir.join(&file.file),
                bytes: file.bytes,
            });
        }
        plan.make_segment(&survey);
        Ok(plan)
    }

    /// Whether there is more to do when it is carried out: then make another plan.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// The journal, and the position behind which its readers have to read it
    /// again: entries are brought back that they have passed. Nothing if none are.
    #[must_use]
    pub fn read_again_after(&self) -> Option<(&JournalId, Position)> {
        Some((self.journal.as_ref()?, self.read_again_after?))
    }

    /// Carries it out; `told` hears of each step when it is done.
    ///
    /// # Errors
    /// When the disk fails: the steps that were told are done, the next repair does the others.
    pub fn carry_out(&self, told: &mut dyn FnMut(&Step)) -> Result<(), JournalError> {
        for step in &self.steps {
            step.carry_out(&self.dir)?;
            told(step);
        }
        Ok(())
    }

    /// Files of two journals are no damage: somebody has put them there.
    fn refuse_mixed(&self, survey: &Survey) -> Result<(), JournalError> {
        let journals = survey.segments.iter().map(|found| (found, &found.journal));
        for (found, journal) in journals {
            if let (Some(found_name), Some(expected)) = (journal, &survey.journal)
                && found_name != expected
            {
                return Err(JournalError::Mixed {
                    path: self.path_of(found.segment),
                    found: found_name.to_string(),
                    expected: expected.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Headers that are damaged are written anew.
    fn headers(&mut self, survey: &Survey) -> Result<(), JournalError> {
        let mut before: Option<Timestamp> = None;
        for found in &survey.segments {
            let begun = found.begun.or(before).unwrap_or_default();
            if found.header == HeaderState::Damaged {
                self.header(survey, found, begun)?;
            }
            before = found.ended.or(before);
        }
        Ok(())
    }

    fn header(
        &mut self,
        survey: &Survey,
        found: &SegmentFound,
        begun: Timestamp,
    ) -> Result<(), JournalError> {
        let Some(journal) = self.journal.clone() else {
            self.steps.push(Step::Nameless(found.segment));
            return Ok(());
        };
        let path = self.path_of(found.segment);
        let length = std::fs::metadata(&path).map_err(JournalError::io(&path))?;
        self.keep(
            survey,
            found.segment,
            0,
            length.len().min(SEGMENT_HEADER_BYTES),
        )?;
        let header = SegmentHeader {
            journal,
            first: found.segment,
            created_at: begun,
        };
        self.steps.push(Step::WriteHeader { path, header });
        Ok(())
    }

    /// What can be brought back for certain is; the rest is named.
    fn holes(&mut self, survey: &Survey) -> Result<(), JournalError> {
        let damaged = self.dir.join("journal").join(DAMAGED);
        let mut found = Vec::new();
        let end = survey.unfinished_end.iter().chain(&survey.end);
        for hole in survey.holes.iter().chain(end) {
            let mends = mend::find(hole, &self.path_of(hole.segment), &damaged, survey)?;
            found.push((hole, mends));
        }
        let wanted = found.iter().flat_map(|(_, mends)| mends);
        let sent_again = self.sent_again(wanted.flat_map(Mend::keys).collect())?;
        for (hole, mends) in found {
            self.keep(survey, hole.segment, hole.offset, hole.bytes)?;
            self.hole(hole, mends, &sent_again);
        }
        Ok(())
    }

    fn hole(&mut self, hole: &Hole, mends: Vec<Mend>, sent_again: &HashSet<[u8; 16]>) {
        let mut lost_after = hole.after;
        let mut again = 0;
        for mend in mends {
            let (first, last) = (mend.header.first, mend.header.last());
            let there = mend.keys().filter(|key| sent_again.contains(key)).count();
            if there > 0 {
                again += there as u64;
                continue;
            }
            self.lost(hole, lost_after, Some(first), again);
            (lost_after, again) = (last, 0);
            if self.read_again_after.is_none() {
                self.steps.push(Step::MarkIndex);
            }
            let after = self.read_again_after.unwrap_or(hole.after);
            self.read_again_after = Some(after.min(hole.after));
            let path = self.path_of(hole.segment);
            self.steps.push(Step::BringBack { path, mend });
        }
        self.lost(hole, lost_after, hole.before, again);
        if hole.before.is_none() && hole.bytes > 0 && lost_after == hole.after {
            self.steps.push(Step::LeaveEnd {
                segment: hole.segment,
                bytes: hole.bytes,
            });
        }
    }

    fn lost(&mut self, hole: &Hole, after: Position, before: Option<Position>, sent_again: u64) {
        let rest = Hole {
            after,
            before,
            ..hole.clone()
        };
        if let Some((first, last)) = rest.missing() {
            self.steps.push(Step::Lost {
                segment: hole.segment,
                first,
                last,
                sent_again,
            });
        }
    }

    /// Unless they are in a piece that is kept already.
    fn keep(
        &mut self,
        survey: &Survey,
        segment: Position,
        offset: u64,
        bytes: u64,
    ) -> Result<(), JournalError> {
        let spot = DamagedSpot {
            segment,
            offset,
            bytes,
            after: Position::ZERO,
            before: None,
        };
        let path = self.path_of(segment);
        let file = File::open(&path).map_err(JournalError::io(&path))?;
        if bytes == 0 || self.is_kept(survey, &spot, &file)? {
            return Ok(());
        }
        let kept = spot.kept_as(&self.dir.join("journal"), &file);
        let (kept, _) = kept.map_err(JournalError::io(&path))?;
        let name = kept.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        self.steps.push(Step::KeepAside { path, spot, name });
        Ok(())
    }

    /// Whether a piece holds these very bytes; files of a backup are not ours.
    fn is_kept(
        &self,
        survey: &Survey,
        spot: &DamagedSpot,
        file: &File,
    ) -> Result<bool, JournalError> {
        let of_it = |piece: &&SetAside| {
            piece.segment == Some(spot.segment)
                && piece.offset <= spot.offset
                && piece.file.ends_with(".bin")
        };
        for piece in survey.set_aside.iter().filter(of_it) {
            let path = self.dir.join("journal").join(DAMAGED).join(&piece.file);
            let at = JournalError::io;
            let kept = File::open(&path).map_err(at(&path))?;
            let is_copied = spot.is_copied(file, &kept, spot.offset - piece.offset);
            if is_copied.map_err(at(&path))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Which of these identities stand in the journal: a client sent their events again since.
    fn sent_again(&self, wanted: HashSet<[u8; 16]>) -> Result<HashSet<[u8; 16]>, JournalError> {
        let mut there = HashSet::new();
        if wanted.is_empty() {
            return Ok(there);
        }
        for (_, path) in segment::list(&self.dir.join("journal"))? {
            let file = File::open(&path).map_err(JournalError::io(&path))?;
            let length = file.metadata().map_err(JournalError::io(&path))?.len();
            let mut scanner = Scanner::new(&file, SEGMENT_HEADER_BYTES, length);
            while let Some(found) = scanner.next().map_err(|error| error.at(&path))? {
                if let Found::Frame { header, .. } = found {
                    let keys = frame::identities(&header, scanner.payload());
                    let keys = keys.into_iter().map(|(_, identity)| identity.key);
                    there.extend(keys.filter(|key| wanted.contains(key)));
                }
            }
        }
        Ok(there)
    }

    fn path_of(&self, segment: Position) -> PathBuf {
        self.dir.join("journal").join(segment::file_name(segment))
    }
}
