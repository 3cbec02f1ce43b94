//! What names a value: everything that it depends on.

use std::time::Duration;

use mimamori_actors::domain::ClassroomId;

use super::A_MOMENT;
use crate::storage::records::{Edition, TimeRange};

/// Whose eyes a value is for. Rights are checked before anything is asked; a
/// value is found only by those who have the rights of whom it was computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All students of the classroom, and no address of any.
    Classroom,
}

impl Scope {
    const fn name(self) -> &'static str {
        match self {
            Self::Classroom => "classroom",
        }
    }
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The totals of a range.
    Totals,
    /// How much happened when.
    Activity,
    /// The students that the records know.
    Students,
    /// A student's sessions and cells.
    Cells,
    /// A page of the table of cells.
    CellTable,
    /// A page of executions.
    Search,
}

impl Subject {
    /// As the metrics call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Totals => "totals",
            Self::Activity => "activity",
            Self::Students => "students",
            Self::Cells => "cells",
            Self::CellTable => "cell_table",
            Self::Search => "search",
        }
    }

    const fn term(self) -> Duration {
        match self {
            Self::Totals | Self::Activity | Self::Students | Self::Cells | Self::CellTable => {
                Duration::from_secs(300)
            }
            Self::Search => Duration::from_secs(3_600),
        }
    }
}

/// How long an answer holds, but for its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Until something is written to the classroom.
    UntilAWrite(Edition),
    /// Until rows that are there change: a range to which nothing can be added any more.
    ForGood(Edition),
    /// For half a second: nothing tells when it changes.
    AMoment(Edition),
}

impl Holds {
    /// Of an answer that depends on the rows of this range alone, which never change.
    pub(crate) fn over(edition: Edition, range: TimeRange) -> Self {
        if edition.is_settled(range) {
            Self::ForGood(edition)
        } else {
            Self::UntilAWrite(edition)
        }
    }

    const fn edition(self) -> Edition {
        match self {
            Self::UntilAWrite(edition) | Self::ForGood(edition) | Self::AMoment(edition) => edition,
        }
    }

    const fn number(self) -> (u8, i64) {
        match self {
            Self::UntilAWrite(edition) => (0, edition.written),
            Self::ForGood(edition) => (1, edition.anew),
            Self::AMoment(edition) => (2, edition.anew),
        }
    }
}

/// A question to the cache.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    pub(crate) classroom: &'a ClassroomId,
    pub(crate) scope: Scope,
    pub(crate) subject: Subject,
    pub(crate) holds: Holds,
    /// Everything else that the answer depends on, in one form only.
    pub(crate) asked: &'a str,
}

/// A value's name: a hash, since what people search for is nothing to be read in a store's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// Of the classroom, so that all of one can be found.
    pub(super) classroom: u64,
    pub(super) rest: [u8; 24],
}

impl Question<'_> {
    pub(super) fn name(&self) -> Name {
        let mut hasher = blake3::Hasher::new_derive_key("mimamori 2026-11 names of kept answers");
        let (kind, edition) = self.holds.number();
        for part in [
            self.classroom.as_str().as_bytes(),
            self.scope.name().as_bytes(),
            self.subject.name().as_bytes(),
            &[kind],
            &edition.to_le_bytes(),
            self.asked.as_bytes(),
        ] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut rest = [0; 24];
        rest.copy_from_slice(&hasher.finalize().as_bytes()[..24]);
        Name {
            classroom: classroom_number(self.classroom),
            rest,
        }
    }

    /// Whether other nodes may have a use for it.
    pub(super) const fn is_shared(&self) -> bool {
        match self.holds {
            Holds::UntilAWrite(_) | Holds::ForGood(_) => true,
            Holds::AMoment(_) => false,
        }
    }

    /// Names what is computed from while no rows change or go.
    pub(super) const fn anew(&self) -> i64 {
        self.holds.edition().anew
    }

    /// How long it is kept at most.
    pub(super) fn term(&self) -> Duration {
        match self.holds {
            Holds::UntilAWrite(_) | Holds::ForGood(_) => self.subject.term(),
            Holds::AMoment(_) => A_MOMENT,
        }
    }
}

/// Stands for a classroom in the names of its values.
pub(super) fn classroom_number(classroom: &ClassroomId) -> u64 {
    let hash = blake3::hash(classroom.as_str().as_bytes());
    let (first, _) = hash
        .as_bytes()
        .split_first_chunk::<8>()
        .expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}
