//! The list of erasures: who was erased, by opaque id, up to which position, and when.
//!
//! `storage.dir/erasures.jsonl`, a line of JSON an entry, only ever appended to
//! and on disk before anything is rewritten. An erasure has two lines: one when
//! it begins, one when nothing is left of the person. One that has only the
//! first is finished by the next start. No name and no address stands here; the
//! ids stay, so that a backup that is restored can be told what must not come back.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mimamori_actors::domain::{ClassroomId, Position, SessionKey, StudentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::sync_dir;
use crate::storage::format::{UnknownFormat, check_version};

/// The file's name under `storage.dir`, and beside backups.
pub const FILE: &str = "erasures.jsonl";
/// The format of a line.
const VERSION: u32 = 1;

/// Why the list cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The disk.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line says nothing that can be understood: who it was about would be shown again.
    #[error("{path}, line {line}: no entry of a list of erasures; put the list of a backup in its place", path = .path.display())]
    Damaged {
        /// The list.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A later version wrote it.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Nothing of the person is shown; it may still be in files.
    Begun,
    /// Nothing is left.
    Done,
}

/// A person who was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Who, and where.
    pub key: SessionKey,
    /// Everything of them up to this position. What they sent behind it is a new beginning.
    pub through: Position,
    /// When it was asked for.
    pub at: Timestamp,
    /// How far it is.
    pub stage: Stage,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    version: u32,
    stage: Stage,
    classroom: ClassroomId,
    student: StudentId,
    through: Position,
    at: Timestamp,
}

/// Only the version: the rest may be another one's.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

/// The list in a file.
#[derive(Debug, Clone)]
pub struct ErasureList {
    path: PathBuf,
}

impl ErasureList {
    /// That of the directory `dir`: a storage directory, or one with backups.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self {
            path: dir.join(FILE),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One entry a person, with the highest position; none if there is no list.
    /// A last line that a crash left half written was never acted upon, and is passed over.
    ///
    /// # Errors
    /// When it cannot be read, or is not understood.
    pub fn read(&self) -> Result<Vec<Erasure>, ListError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.at(error)),
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let mut known: BTreeMap<SessionKey, Erasure> = BTreeMap::new();
        for (place, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let erasure = self.parse(line, place + 1)?;
            match known.get_mut(&erasure.key) {
                Some(earlier) => earlier.follow(erasure),
                None => drop(known.insert(erasure.key.clone(), erasure)),
            }
        }
        Ok(known.into_values().collect())
    }

    fn parse(&self, line: &[u8], number: usize) -> Result<Erasure, ListError> {
        let damaged = |_| ListError::Damaged {
            path: self.path.clone(),
            line: number,
        };
        let Version { version } = serde_json::from_slice(line).map_err(damaged)?;
        check_version(&self.path, version, VERSION)?;
        let line: Line = serde_json::from_slice(line).map_err(damaged)?;
        Ok(Erasure {
            key: SessionKey {
                classroom: line.classroom,
                student: line.student,
            },
            through: line.through,
            at: line.at,
            stage: line.stage,
        })
    }

    /// Adds an entry as it stands. When this returns it stays, whatever happens to the power.
    ///
    /// # Errors
    /// When the disk fails, or has no room: nothing was added then.
    pub fn append(&self, erasure: &Erasure) -> Result<(), ListError> {
        self.append_all(std::slice::from_ref(erasure))
    }

    fn append_all(&self, erasures: &[Erasure]) -> Result<(), ListError> {
        let mut text = Vec::new();
        for erasure in erasures {
            erasure.write(&mut text);
        }
        self.write(&text).map_err(|error| self.at(error))
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        cut_half_a_line(&file)?;
        let end = file.metadata()?.len();
        file.write_all(text)
            .and_then(|()| file.sync_all())
            // what is half there would be taken for the next line's beginning
            .inspect_err(|_| drop(file.set_len(end)))?;
        sync_dir(self.path.parent().unwrap_or(&self.path))
    }

    /// Takes over what `others` say and this list does not, as begun: the stores
    /// beside this list may hold those people again. They are `restored` up to a
    /// position; what comes behind it is not what was erased. Returns how many were taken over.
    ///
    /// # Errors
    /// When this list cannot be read or written.
    pub fn merge(&self, others: &[Erasure], restored: Position) -> Result<usize, ListError> {
        let known: BTreeMap<_, _> = (self.read()?.into_iter())
            .map(|erasure| (erasure.key, (erasure.through, erasure.stage)))
            .collect();
        let lacking: Vec<_> = others
            .iter()
            .map(|other| Erasure {
                through: other.through.min(restored),
                stage: Stage::Begun,
                ..other.clone()
            })
            .filter(|other| {
                known
                    .get(&other.key)
                    .is_none_or(|(through, _)| *through < other.through)
            })
            .collect();
        if !lacking.is_empty() {
            self.append_all(&lacking)?;
        }
        Ok(lacking.len())
    }

    fn at(&self, source: io::Error) -> ListError {
        ListError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// What a crash left behind the last whole line.
fn cut_half_a_line(file: &File) -> io::Result<()> {
    const LOOKED_BACK: usize = 4096;

    let length = file.metadata()?.len();
    let mut bytes = vec![0; LOOKED_BACK.min(usize::try_from(length).unwrap_or(LOOKED_BACK))];
    let from = length - bytes.len() as u64;
    file.read_exact_at(&mut bytes, from)?;
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(last) if last + 1 == bytes.len() => Ok(()),
        Some(last) => file.set_len(from + last as u64 + 1),
        // no line is as long: it is the first, or no list
        None if from == 0 => file.set_len(0),
        None => Err(io::Error::other("its last line is too long")),
    }
}

impl Erasure {
    /// Whom it is about, and up to where.
    #[must_use]
    pub fn person(&self) -> (SessionKey, Position) {
        (self.key.clone(), self.through)
    }

    /// Whether this is about `position` of the person `key`.
    #[must_use]
    pub fn covers(&self, key: &SessionKey, position: Position) -> bool {
        position <= self.through && self.key == *key
    }

    /// A later line about the same person.
    fn follow(&mut self, later: Self) {
        if later.through > self.through {
            *self = later;
        } else if later.through == self.through && later.stage == Stage::Done {
            self.stage = Stage::Done;
        }
    }

    fn write(&self, text: &mut Vec<u8>) {
        let line = Line {
            version: VERSION,
            stage: self.stage,
            classroom: self.key.classroom.clone(),
            student: self.key.student.clone(),
            through: self.through,
            at: self.at,
        };
        serde_json::to_writer(&mut *text, &line)
            .expect("plain values under text keys, and memory takes all bytes");
        text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure(student: &str, through: u64, stage: Stage) -> Erasure {
        Erasure {
            key: SessionKey {
                classroom: ClassroomId::new("default"),
                student: StudentId::new(student),
            },
            through: Position(through),
            at: Timestamp::from_millis(1_790_000_000_000),
            stage,
        }
    }

    fn list() -> (tempfile::TempDir, ErasureList) {
        let dir = tempfile::tempdir().unwrap();
        let list = ErasureList::of(dir.path());
        (dir, list)
    }

    #[test]
    fn a_list_that_is_not_there_names_nobody() {
        let (_dir, list) = list();

        assert_eq!(list.read().unwrap(), []);
    }

    #[test]
    fn an_erasure_that_begins_is_pending_until_its_end_is_told() {
        let (_dir, list) = list();
        list.append(&erasure("stu_a", 7, Stage::Begun)).unwrap();
        list.append(&erasure("stu_b", 9, Stage::Begun)).unwrap();
        list.append(&erasure("stu_a", 7, Stage::Done)).unwrap();

        let known = list.read().unwrap();

        assert_eq!(
            known,
            [
                erasure("stu_a", 7, Stage::Done),
                erasure("stu_b", 9, Stage::Begun)
            ]
        );
        assert!(known[0].covers(&known[0].key, Position(7)));
        assert!(!known[0].covers(&known[0].key, Position(8)));
        assert!(!known[0].covers(&known[1].key, Position(7)));
    }

    #[test]
    fn of_two_erasures_of_a_person_the_later_counts_and_the_end_of_the_earlier_does_not_end_it() {
        let (_dir, list) = list();
        list.append(&erasure("stu_a", 7, Stage::Begun)).unwrap();
        list.append(&erasure("stu_a", 20, Stage::Begun)).unwrap();
        list.append(&erasure("stu_a", 7, Stage::Done)).unwrap();

        assert_eq!(list.read().unwrap(), [erasure("stu_a", 20, Stage::Begun)]);
    }

    #[test]
    fn half_a_line_was_never_acted_upon_and_the_next_entry_takes_its_place() {
        let (_dir, list) = list();
        list.append(&erasure("stu_a", 7, Stage::Begun)).unwrap();
        let whole = fs::read(list.path()).unwrap();
        for half in [1, whole.len() / 2, whole.len() - 1] {
            for before in [&b""[..], &whole] {
                fs::write(list.path(), [before, &whole[..half]].concat()).unwrap();
                assert_eq!(list.read().unwrap().len(), usize::from(!before.is_empty()));

                list.append(&erasure("stu_b", 9, Stage::Begun)).unwrap();

                let known = list.read().unwrap();
                assert_eq!(known.last(), Some(&erasure("stu_b", 9, Stage::Begun)));
                assert_eq!(known.len(), 1 + usize::from(!before.is_empty()));
            }
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_told_and_one_of_a_later_version_too() {
        let (_dir, list) = list();
        list.append(&erasure("stu_a", 7, Stage::Begun)).unwrap();
        let line = fs::read_to_string(list.path()).unwrap();

        fs::write(list.path(), format!("{line}nonsense\n{line}")).unwrap();
        let damaged = list.read().unwrap_err().to_string();
        fs::write(
            list.path(),
            line.replace("\"version\":1", "\"version\":2,\"x\":0"),
        )
        .unwrap();
        let newer = list.read().unwrap_err();

        assert!(damaged.contains("line 2"), "{damaged}");
        assert!(matches!(newer, ListError::Newer(_)), "{newer}");
    }

    #[test]
    fn restored_stores_take_over_who_was_erased_since_as_far_as_they_reach() {
        let (_dir, list) = list();
        list.append(&erasure("stu_a", 7, Stage::Begun)).unwrap();
        list.append(&erasure("stu_a", 7, Stage::Done)).unwrap();
        let since = [
            erasure("stu_a", 7, Stage::Done),
            erasure("stu_b", 20, Stage::Done),
            erasure("stu_c", 5, Stage::Done),
        ];

        let taken_over = list.merge(&since, Position(12)).unwrap();
        let again = list.merge(&since, Position(12)).unwrap();

        assert_eq!((taken_over, again), (2, 0));
        assert_eq!(
            list.read().unwrap(),
            [
                erasure("stu_a", 7, Stage::Done),
                erasure("stu_b", 12, Stage::Begun),
                erasure("stu_c", 5, Stage::Begun),
            ]
        );
    }

    #[test]
    fn nobody_else_may_read_the_list() {
        use std::os::unix::fs::PermissionsExt;

        let (_dir, list) = list();
        list.append(&erasure("stu_a", 7, Stage::Begun)).unwrap();

        let mode = fs::metadata(list.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
