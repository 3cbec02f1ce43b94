//! Which entries are being folded, in a small file that outlives the process.
//!
//! Written without a sync: it must survive the end of the process, in whatever
//! way, not that of the machine. A file of slots; a free one begins with 0.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use mimamori_actors::domain::{ClassroomId, JournalId, Position, SessionKey, StudentId};
use mimamori_actors::session::careful::{Flight, Flights};
use serde::{Deserialize, Serialize};

/// The length, then so much JSON; ids that are longer are not noted.
const SLOT_BYTES: usize = 1_024;

/// What a slot says.
#[derive(Debug, Serialize, Deserialize)]
struct Note<'a> {
    journal: &'a str,
    classroom: &'a str,
    student: &'a str,
    position: u64,
}

/// The file, and who has which slot.
#[derive(Debug)]
pub struct FlightFile {
    file: File,
    journal: JournalId,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    taken: BTreeMap<(Position, SessionKey), Taken>,
    free: Vec<u64>,
}

/// A slot, and the flight that it is given back by.
#[derive(Debug)]
struct Taken {
    slot: u64,
    number: u64,
    /// Bytes of its note.
    length: usize,
}

impl Slots {
    /// A slot; given back ones first, so that there are as many as were ever in flight at once.
    fn take(&mut self) -> u64 {
        self.free.pop().unwrap_or(self.taken.len() as u64)
    }
}

impl FlightFile {
    /// Opens the file, gives what an earlier process left in flight of this
    /// journal, and keeps it there until [`FlightFile::clear`].
    ///
    /// # Errors
    /// When the file can't be opened or read.
    pub fn open(
        path: &Path,
        journal: &JournalId,
    ) -> io::Result<(Self, Vec<(SessionKey, Position)>)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let left = read(&file, journal)?;
        let flights = Self {
            file,
            journal: journal.clone(),
            slots: Mutex::default(),
        };
        Ok((flights, left))
    }

    /// What an earlier process left has been counted.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Nothing for ids that are too long.
    fn encode(&self, flight: &Flight) -> Option<Vec<u8>> {
        let note = Note {
            journal: self.journal.as_str(),
            classroom: flight.key.classroom.as_str(),
            student: flight.key.student.as_str(),
            position: flight.position.0,
        };
        let note = serde_json::to_vec(&note).ok()?;
        let length = u16::try_from(note.len()).ok()?;
        (note.len() + 2 <= SLOT_BYTES).then(|| [length.to_be_bytes().as_slice(), &note].concat())
    }

    fn write(&self, slot: u64, bytes: &[u8]) {
        if let Err(error) = self.file.write_all_at(bytes, slot * SLOT_BYTES as u64) {
            // an entry that ends the process now gets one more attempt
            metrics::counter!("mimamori_flights_failures_total").increment(1);
            tracing::warn!(%error, "what is being folded could not be noted");
        }
    }
}

/// Leaves nothing of a student in the file at `path` up to this position,
/// neither of what is in flight nor of what was.
///
/// # Errors
/// When the file can't be read or written.
pub fn forget(path: &Path, key: &SessionKey, through: Position) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    for (slot, bytes) in bytes.chunks(SLOT_BYTES).enumerate() {
        let is_theirs = memchr::memmem::find(bytes, key.student.as_str().as_bytes()).is_some();
        let is_later = note_in(bytes).is_some_and(|note| note.position > through.0);
        if is_theirs && !is_later {
            file.write_all_at(&vec![0; bytes.len()], (slot * SLOT_BYTES) as u64)?;
        }
    }
    file.sync_data()
}

/// What a slot says; nothing for one that is free. A torn note is of an entry that was not yet folded.
fn note_in(slot: &[u8]) -> Option<Note<'_>> {
    let (length, rest) = slot.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    serde_json::from_slice(rest.get(..length)?).ok()
}

fn read(file: &File, journal: &JournalId) -> io::Result<Vec<(SessionKey, Position)>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    let left = bytes.chunks(SLOT_BYTES).filter_map(|slot| {
        let note = note_in(slot)?;
        let key = SessionKey {
            classroom: ClassroomId::new(note.classroom),
            student: StudentId::new(note.student),
        };
        (note.journal == journal.as_str()).then_some((key, Position(note.position)))
    });
    Ok(left.collect())
}

impl Flights for FlightFile {
    fn begin(&self, flight: &Flight) {
        let Some(bytes) = self.encode(flight) else {
            return;
        };
        let number = flight.number;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = slots.taken.get_mut(&entry(flight)) {
            // one that was written off has not landed; what is noted is the same
            earlier.number = number;
            return;
        }
        let slot = slots.take();
        let length = bytes.len();
        let taken = Taken {
            slot,
            number,
            length,
        };
        slots.taken.insert(entry(flight), taken);
        drop(slots);
        self.write(slot, &bytes);
    }

    fn end(&self, flight: &Flight) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entry(flight);
        let is_its_own = |taken: &Taken| taken.number == flight.number;
        if !slots.taken.get(&entry).is_some_and(is_its_own) {
            return;
        }
        if let Some(Taken { slot, length, .. }) = slots.taken.remove(&entry) {
            // before it is given to another; whose it was stands nowhere any more
            self.write(slot, &vec![0; length]);
            slots.free.push(slot);
        }
    }
}

fn entry(flight: &Flight) -> (Position, SessionKey) {
    (flight.position, flight.key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(student: &str) -> SessionKey {
        SessionKey {
            classroom: ClassroomId::new("c"),
            student: StudentId::new(student),
        }
    }

    fn flight(student: &str, position: u64) -> Flight {
        Flight {
            number: 1,
            key: key(student),
            position: Position(position),
        }
    }

    #[test]
    fn what_is_in_flight_is_found_by_the_next_start_and_what_has_landed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        let journal = JournalId::new("jrn_a");
        let (flights, left) = FlightFile::open(&path, &journal).unwrap();
        assert_eq!(left, []);
        for number in 1..=20 {
            flights.begin(&flight("a", number));
            flights.end(&flight("a", number));
        }
        flights.begin(&flight("a", 21));
        flights.begin(&flight("b", 22));
        flights.begin(&flight("c", 23));
        flights.end(&flight("b", 22));
        flights.end(&flight("never", 22));

        let (again, mut left) = FlightFile::open(&path, &journal).unwrap();

        left.sort();
        assert_eq!(left, [(key("a"), Position(21)), (key("c"), Position(23))]);
        assert!(path.metadata().unwrap().len() <= 3 * SLOT_BYTES as u64);
        again.clear().unwrap();
        let (_, left) = FlightFile::open(&path, &journal).unwrap();
        assert_eq!(left, []);
    }

    #[test]
    fn nothing_of_somebody_who_is_erased_stays_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        let journal = JournalId::new("jrn_a");
        let (flights, _) = FlightFile::open(&path, &journal).unwrap();
        for (student, position) in [("stu_a", 1), ("stu_b", 2), ("stu_a", 9)] {
            flights.begin(&flight(student, position));
        }
        flights.begin(&flight("stu_c", 3));
        flights.end(&flight("stu_c", 3));

        forget(&path, &key("stu_a"), Position(5)).unwrap();

        let bytes = std::fs::read(&path).unwrap();
        assert!(memchr::memmem::find(&bytes, b"stu_c").is_none());
        let (_, left) = FlightFile::open(&path, &journal).unwrap();
        assert_eq!(
            left,
            [(key("stu_b"), Position(2)), (key("stu_a"), Position(9))]
        );
    }

    #[test]
    fn notes_of_another_journal_are_nothing_to_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        let (flights, _) = FlightFile::open(&path, &JournalId::new("jrn_a")).unwrap();
        flights.begin(&flight("a", 1));

        let (_, left) = FlightFile::open(&path, &JournalId::new("jrn_b")).unwrap();

        assert_eq!(left, []);
    }

    #[test]
    fn one_that_was_written_off_and_comes_back_does_not_strike_out_its_successor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        let journal = JournalId::new("jrn_a");
        let (flights, _) = FlightFile::open(&path, &journal).unwrap();
        let (first, mut second) = (flight("a", 7), flight("a", 7));
        second.number = 2;
        flights.begin(&first);
        flights.begin(&second);

        flights.end(&first);

        let left = || FlightFile::open(&path, &journal).unwrap().1;
        assert_eq!(left(), [(key("a"), Position(7))]);
        flights.end(&second);
        assert_eq!(left(), []);
    }
}
