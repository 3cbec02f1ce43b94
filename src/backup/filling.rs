//! Puts the states of the sessions back, as they stand in a backup.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mimamori_actors::domain::JournalId;
use mimamori_actors::ports::{Attempt, Snapshots};

use super::error::BackupError;
use super::states::{BadItem, Came, Item, Items};

/// What is read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Puts all that stands in the file into empty snapshots, as of this journal. Blocks on the disk.
///
/// # Errors
/// When the file is damaged, or cannot be read; when the snapshots fail.
pub(super) fn fill(
    snapshots: &dyn Snapshots,
    journal: &JournalId,
    path: &Path,
    moved: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    let bad = |error: BadItem| BackupError::damaged(path, error.to_string());
    let mut source = File::open(path).map_err(BackupError::io(path))?;
    let mut items = Items::default();
    let mut router = None;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = source.read(&mut piece).map_err(BackupError::io(path))?;
        if read == 0 {
            break;
        }
        items.push(&piece[..read]);
        while let Some(Came { item, state, raw }) = items.next().map_err(bad)? {
            moved(raw.len() as u64);
            match item {
                Item::Router { offset, .. } => router = Some((state.to_vec(), offset)),
                item => put(snapshots, journal, item, state)?,
            }
        }
    }
    if !items.is_empty() {
        return Err(BackupError::damaged(path, "it ends too early"));
    }
    if let Some((state, offset)) = router {
        snapshots.commit(journal, &state, offset)?;
    }
    Ok(())
}

fn put(
    snapshots: &dyn Snapshots,
    journal: &JournalId,
    item: Item,
    state: &[u8],
) -> Result<(), BackupError> {
    match item {
        Item::Session { key, .. } => snapshots.put_session(&key, state)?,
        Item::Attempt {
            key,
            position,
            count,
        } => {
            let attempt = Attempt {
                key,
                position,
                count,
            };
            snapshots.put_attempts(journal, &attempt)?;
        }
        Item::Router { .. }
        | Item::Journal { .. }
        | Item::Whole { .. }
        | Item::Held
        | Item::Ended { .. } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{ClassroomId, Position, SessionKey, StudentId};

    use super::*;
    use crate::storage::snapshots::FjallSnapshots;
    use crate::storage::snapshots::busy::HALF;

    fn key(student: &str) -> SessionKey {
        SessionKey {
            classroom: ClassroomId::new("c"),
            student: StudentId::new(student),
        }
    }

    /// With an entry that failed behind them, where that is said.
    fn states_that_fill_the_memory(has_attempt: bool) -> Vec<u8> {
        let state = vec![1; HALF];
        let bytes = state.len();
        let offset = Position(7);
        let mut file = Item::Router { offset, bytes: 6 }.encode(b"router");
        for student in ["a", "b"] {
            let key = key(student);
            file.extend(Item::Session { key, bytes }.encode(&state));
        }
        if has_attempt {
            let attempt = Item::Attempt {
                key: key("a"),
                position: offset,
                count: 1,
            };
            file.extend(attempt.encode(&[]));
        }
        file.extend(Item::Whole { sessions: 2 }.encode(&[]));
        file
    }

    #[test]
    fn states_that_take_all_room_in_memory_are_waited_with_until_there_is_some() {
        for has_attempt in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("states");
            std::fs::write(&path, states_that_fill_the_memory(has_attempt)).unwrap();
            let journal = JournalId::new("jrn_a");
            let snapshots = FjallSnapshots::with_little_room(&root.path().join("snapshots"));
            let busy = snapshots.keep_worker_busy();

            fill(&snapshots, &journal, &path, &mut |_| {}).unwrap();

            busy.join().unwrap();
            let router = snapshots.router(&journal).unwrap();
            assert_eq!(router, Some((b"router".to_vec(), Position(7))));
            let attempts = snapshots.attempts(&journal).unwrap();
            assert_eq!(attempts.len(), usize::from(has_attempt));
            for student in ["a", "b"] {
                let state = snapshots.session(&key(student)).unwrap();
                assert_eq!(state.map(|state| state.len()), Some(HALF));
            }
        }
    }
}
