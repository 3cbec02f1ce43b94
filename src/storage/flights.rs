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
use mimamori_actors::session::careful::Flights;
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
    taken: BTreeMap<(Position, SessionKey), u64>,
    free: Vec<u64>,
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

    fn write(&self, slot: u64, bytes: &[u8]) {
        if let Err(error) = self.file.write_all_at(bytes, slot * SLOT_BYTES as u64) {
            // an entry that ends the process now gets one more attempt
            metrics::counter!("mimamori_flights_failures_total").increment(1);
            tracing::warn!(%error, "what is being folded could not be noted");
        }
    }
}

fn read(file: &File, journal: &JournalId) -> io::Result<Vec<(SessionKey, Position)>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    let left = bytes.chunks(SLOT_BYTES).filter_map(|slot| {
        let (length, rest) = slot.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        // a torn note is of an entry that was not yet folded
        let note: Note<'_> = serde_json::from_slice(rest.get(..length)?).ok()?;
        let key = SessionKey {
            classroom: ClassroomId::new(note.classroom),
            student: StudentId::new(note.student),
        };
        (note.journal == journal.as_str()).then_some((key, Position(note.position)))
    });
    Ok(left.collect())
}

impl Flights for FlightFile {
    fn begin(&self, key: &SessionKey, position: Position) {
        let note = Note {
            journal: self.journal.as_str(),
            classroom: key.classroom.as_str(),
            student: key.student.as_str(),
            position: position.0,
        };
        let Ok(note) = serde_json::to_vec(&note) else {
            return;
        };
        let Some(length) = u16::try_from(note.len())
            .ok()
            .filter(|length| usize::from(*length) + 2 <= SLOT_BYTES)
        else {
            return;
        };
        // one that was written off may not have landed
        self.end(key, position);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.take();
        slots.taken.insert((position, key.clone()), slot);
        drop(slots);
        let bytes = [length.to_be_bytes().as_slice(), &note].concat();
        self.write(slot, &bytes);
    }

    fn end(&self, key: &SessionKey, position: Position) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.taken.remove(&(position, key.clone())) else {
            return;
        };
        // before it is given to another
        self.write(slot, &[0, 0]);
        slots.free.push(slot);
    }
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

    #[test]
    fn what_is_in_flight_is_found_by_the_next_start_and_what_has_landed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        let journal = JournalId::new("jrn_a");
        let (flights, left) = FlightFile::open(&path, &journal).unwrap();
        assert_eq!(left, []);
        for number in 1..=20 {
            flights.begin(&key("a"), Position(number));
            flights.end(&key("a"), Position(number));
        }
        flights.begin(&key("a"), Position(21));
        flights.begin(&key("b"), Position(22));
        flights.begin(&key("c"), Position(23));
        flights.end(&key("b"), Position(22));
        flights.end(&key("never"), Position(22));

        let (again, mut left) = FlightFile::open(&path, &journal).unwrap();

        left.sort();
        assert_eq!(left, [(key("a"), Position(21)), (key("c"), Position(23))]);
        assert!(path.metadata().unwrap().len() <= 3 * SLOT_BYTES as u64);
        again.clear().unwrap();
        let (_, left) = FlightFile::open(&path, &journal).unwrap();
        assert_eq!(left, []);
    }

    #[test]
    fn notes_of_another_journal_are_nothing_to_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        let (flights, _) = FlightFile::open(&path, &JournalId::new("jrn_a")).unwrap();
        flights.begin(&key("a"), Position(1));

        let (_, left) = FlightFile::open(&path, &JournalId::new("jrn_b")).unwrap();

        assert_eq!(left, []);
    }
}
