//! An hour of a classroom as it is kept: by pieces of five minutes. Pure.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

/// Minutes of an hour.
pub(super) const HOUR: i64 = 60;
/// Minutes of a piece: charts with narrower buckets are of a morning at most.
pub(super) const PIECE: i64 = 5;
const PIECES: usize = 12;
/// Students of an hour: with more of them it is counted from its points each time, for a
/// text of a point holds 64 KiB.
const MOST_STUDENTS: usize = 7_000;
/// Letters of a student's text, six bits each: 40 bits of who it is, 12 of the pieces.
const LETTERS: usize = 9;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How much happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) executions: u64,
    pub(super) errors: u64,
    pub(super) help: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.executions += other.executions;
        self.errors += other.errors;
        self.help += other.help;
    }
}

/// What happened in an hour, and who had an event in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hour {
    pieces: [Counts; PIECES],
    /// A [`short`] number each, and below it a bit for each piece, the first one the lowest.
    students: Vec<u64>,
}

/// The lower bits of a student's number: a bit a piece.
const BITS: u64 = (1 << PIECES) - 1;

/// A student in 40 bits: of 5,000 two have the same once in 90,000 hours.
pub(super) fn short(student: &str) -> u64 {
    let hash = blake3::hash(student.as_bytes());
    let bytes = &hash.as_bytes()[..5];
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The piece of its hour that holds this minute.
fn piece_of(minute: i64) -> usize {
    usize::try_from(minute.rem_euclid(HOUR) / PIECE).unwrap_or_default()
}

impl Hour {
    pub(super) fn add(&mut self, minute: i64, counts: Counts) {
        self.pieces[piece_of(minute)].add(counts);
    }

    /// This student had an event in the piece of this minute.
    pub(super) fn met(&mut self, minute: i64, student: u64) {
        self.students
            .push(student << PIECES | 1 << piece_of(minute));
    }

    /// How much happened, with the minute of the hour at which each piece begins.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (i64, Counts)> + '_ {
        (0..).step_by(PIECE as usize).zip(self.pieces)
    }

    /// Who had an event, and in which pieces: a bit each, the first one the lowest.
    pub(super) fn students(&self) -> impl Iterator<Item = (u64, u16)> + '_ {
        let numbers = self.students.iter();
        numbers.map(|number| (number >> PIECES, (number & BITS) as u16))
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.students.capacity() * size_of::<u64>()
    }

    /// As two texts: how much, and who. Nothing if that are too many.
    pub(super) fn texts(mut self) -> Option<(String, String)> {
        self.students.sort_unstable();
        self.students.dedup_by(|next, kept| {
            let is_same = *next >> PIECES == *kept >> PIECES;
            if is_same {
                *kept |= *next;
            }
            is_same
        });
        if self.students.len() > MOST_STUDENTS {
            return None;
        }
        let mut counts = String::new();
        for piece in self.pieces {
            let [executions, errors, help] = [piece.executions, piece.errors, piece.help];
            // writing into a String can't fail
            let _ = write!(counts, "{executions} {errors} {help} ");
        }
        let mut students = String::with_capacity(self.students.len() * LETTERS);
        for number in self.students {
            let sixes = (0..LETTERS).rev().map(|nth| number >> (6 * nth) & 63);
            students.extend(sixes.map(|six| char::from(ALPHABET[six as usize])));
        }
        Some((counts, students))
    }

    /// What such texts say; nothing if they are not whole.
    pub(super) fn read(counts: &str, students: &str) -> Option<Self> {
        let mut numbers = counts.split_ascii_whitespace().map(str::parse::<u64>);
        let mut hour = Self::default();
        for piece in &mut hour.pieces {
            let mut next = || numbers.next()?.ok();
            *piece = Counts {
                executions: next()?,
                errors: next()?,
                help: next()?,
            };
        }
        let students = students.as_bytes().chunks(LETTERS).map(student);
        hour.students = students.collect::<Option<_>>()?;
        numbers.next().is_none().then_some(hour)
    }
}

/// What happened in an hour, minute by minute.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    counts: Vec<(i64, Counts)>,
    /// By [`short`] numbers; of the minutes of the hour a bit each, the first one the lowest.
    students: HashMap<u64, u64>,
}

impl Minutes {
    pub(super) fn add(&mut self, minute: i64, counts: Counts) {
        self.counts.push((minute, counts));
    }

    /// This student had an event in this minute.
    pub(super) fn met(&mut self, minute: i64, student: u64) {
        *self.students.entry(student).or_default() |= 1 << minute.rem_euclid(HOUR);
    }

    /// How much happened in those of its minutes that are in this range.
    pub(super) fn counts(&self, range: &Range<i64>) -> impl Iterator<Item = (i64, Counts)> {
        let counts = self.counts.iter().copied();
        counts.filter(|(minute, _)| range.contains(minute))
    }

    /// Who had an event in which minute of this range, which is of this hour.
    pub(super) fn students(&self, range: &Range<i64>) -> impl Iterator<Item = (i64, u64)> {
        self.students.iter().flat_map(|(student, bits)| {
            let met = move |minute: &i64| bits >> minute.rem_euclid(HOUR) & 1 == 1;
            let met = range.clone().filter(met);
            met.map(|minute| (minute, *student))
        })
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.counts.capacity() * size_of::<(i64, Counts)>()
            + self.students.capacity() * (size_of::<(u64, u64)>() + 1)
    }
}

/// What each letter means; what is none of them has the highest bit.
const SIXES: [u8; 256] = {
    let mut sixes = [NO_LETTER; 256];
    let mut nth = 0;
    while nth < ALPHABET.len() {
        sixes[ALPHABET[nth] as usize] = nth as u8;
        nth += 1;
    }
    sixes
};
const NO_LETTER: u8 = 0x80;

/// A month has 150,000 of them.
fn student(letters: &[u8]) -> Option<u64> {
    let (mut number, mut all) = (0_u64, 0);
    for letter in letters {
        let six = SIXES[usize::from(*letter)];
        number = number << 6 | u64::from(six);
        all |= six;
    }
    let is_whole = letters.len() == LETTERS && all & NO_LETTER == 0;
    is_whole.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_read_from_its_texts_as_it_was() {
        let mut hour = Hour::default();
        for n in 0..200 {
            let minute = 600 + i64::try_from(n * 7 % 60).unwrap();
            hour.met(minute, short(&format!("stu_{}", n % 50)));
            let counts = Counts {
                executions: n,
                errors: n / 2,
                help: n % 2,
            };
            hour.add(minute, counts);
        }

        let (counts, students) = hour.clone().texts().unwrap();
        let read = Hour::read(&counts, &students).unwrap();

        assert_eq!(students.len(), 50 * LETTERS);
        assert_eq!(read.pieces, hour.pieces);
        let met = |of: &Hour, student, bit| {
            let of = of.students().filter(|(one, _)| *one == student);
            of.fold(0, |all, (_, bits)| all | bits) >> bit & 1 == 1
        };
        assert_eq!(read.students().count(), 50);
        for student in (0..50).map(|n| short(&format!("stu_{n}"))) {
            for bit in 0..PIECES {
                assert_eq!(met(&read, student, bit), met(&hour, student, bit));
            }
        }
    }

    #[test]
    fn what_is_not_whole_is_no_hour() {
        let (counts, _) = Hour::default().texts().unwrap();

        assert_eq!(Hour::read(&counts, ""), Some(Hour::default()));
        for (counts, students) in [
            ("1 2 3", ""),
            ("", ""),
            (&*format!("{counts} 1"), ""),
            (&*counts, "ABC"),
            (&*counts, "ABCDEFGH "),
        ] {
            assert_eq!(
                Hour::read(counts, students),
                None,
                "{counts:?} {students:?}"
            );
        }
    }

    #[test]
    fn more_students_than_a_text_holds_are_not_kept() {
        let mut hour = Hour::default();
        for student in 0..=MOST_STUDENTS as u64 {
            hour.met(0, student);
        }

        assert!(hour.texts().is_none());
    }
}
