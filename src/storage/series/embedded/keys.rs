//! The names of the cells that are counted in, in the order of time.

use mimamori_actors::domain::{ClassroomId, SessionKey, StudentId};

use crate::storage::series::SeriesError;

/// How long a cell is. Each event counts in one cell of every length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Level {
    Minute,
    TenMinutes,
    Hour,
    Day,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::Minute, Self::TenMinutes, Self::Hour, Self::Day];

    pub(super) const fn minutes(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::TenMinutes => 10,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    pub(super) const fn finer(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::TenMinutes => Some(Self::Minute),
            Self::Hour => Some(Self::TenMinutes),
            Self::Day => Some(Self::Hour),
        }
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Minute => b'm',
            Self::TenMinutes => b't',
            Self::Hour => b'h',
            Self::Day => b'd',
        }
    }
}

/// What one count belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Cell {
    pub(super) level: Level,
    pub(super) classroom: ClassroomId,
    /// The minute in which it begins.
    pub(super) begin: i64,
    pub(super) student: StudentId,
    /// Empty for none. After the student: who changes the team has two cells.
    pub(super) team: String,
}

impl Cell {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut key = prefix(self.level, &self.classroom, self.begin);
        push_text(&mut key, self.student.as_str());
        key.extend_from_slice(self.team.as_bytes());
        key
    }
}

/// Where the cells of this length and classroom begin that begin at this minute or later.
pub(super) fn prefix(level: Level, classroom: &ClassroomId, begin: i64) -> Vec<u8> {
    let mut key = vec![level.tag()];
    push_text(&mut key, classroom.as_str());
    // with the sign turned over, bytes sort as the numbers do
    let sorted = begin.cast_unsigned() ^ (1 << 63);
    key.extend_from_slice(&sorted.to_be_bytes());
    key
}

/// Whether this names a cell of the person.
pub(super) fn is_of(cell: &[u8], person: &SessionKey) -> bool {
    let mut classroom = Vec::new();
    push_text(&mut classroom, person.classroom.as_str());
    let is_there = cell
        .get(1..)
        .is_some_and(|rest| rest.starts_with(&classroom));
    is_there
        && begin_and_student(cell, &person.classroom)
            .is_ok_and(|(_, student)| student == person.student.as_str().as_bytes())
}

/// The beginning and the student of a cell of this classroom.
pub(super) fn begin_and_student<'a>(
    key: &'a [u8],
    classroom: &ClassroomId,
) -> Result<(i64, &'a [u8]), SeriesError> {
    let head = 1 + 2 + classroom.as_str().len();
    let rest = key.get(head..).ok_or(SeriesError::Malformed)?;
    let (begin, rest) = rest
        .split_first_chunk::<8>()
        .ok_or(SeriesError::Malformed)?;
    let begin = (u64::from_be_bytes(*begin) ^ (1 << 63)).cast_signed();
    let (length, rest) = rest
        .split_first_chunk::<2>()
        .ok_or(SeriesError::Malformed)?;
    let student = rest
        .get(..usize::from(u16::from_be_bytes(*length)))
        .ok_or(SeriesError::Malformed)?;
    Ok((begin, student))
}

/// With its length before it, so that no text can reach into what follows. Names are at most 1 KiB.
fn push_text(key: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}
