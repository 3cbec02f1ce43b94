//! Snapshots for tests, with little room in memory and a worker that has no time.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fjall::AbstractTree as _;
use tokio::time::Instant;

use super::*;
use crate::storage::embedded::paced::FLUSH_BYTES;

/// Two states of so many bytes, one that waits for the worker and one behind it, take all the room there is.
pub(crate) const HALF: usize = FLUSH_BYTES as usize;
/// Who does not wait for room was refused by then.
const REFUSED_WITHIN: Duration = Duration::from_millis(200);

/// With room for little more than what is handed to the worker at once.
pub(super) fn open_with_little_room(dir: &Path) -> Result<Files, OpenFailure> {
    let mut files = open_files(dir)?;
    files.database.bound(FLUSH_BYTES);
    Ok(files)
}

/// What is there was left by a crash, and the worker has only begun with it.
pub(super) fn open_full(dir: &Path) -> Result<Files, OpenFailure> {
    let files = open_with_little_room(dir)?;
    drop(keep_busy(&files.sessions));
    for student in ["a", "b"] {
        assert!(files.make_way()?);
        let key = SessionKey {
            classroom: ClassroomId::new("c"),
            student: StudentId::new(student),
        };
        files.sessions.insert(key_bytes(&key), vec![1; HALF])?;
    }
    Ok(files)
}

/// The worker has no time until there is no room any more, and a moment longer.
fn keep_busy(sessions: &Keyspace) -> JoinHandle<()> {
    let sessions = sessions.clone();
    let (tell, is_busy) = mpsc::sync_channel(0);
    let busy = thread::spawn(move || {
        let busy = sessions.tree.get_flush_lock();
        tell.send(()).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let has_room = || {
            let bytes = sessions.tree.active_memtable().size();
            sessions.sealed_memtable_count() == 0 || bytes < FLUSH_BYTES
        };
        while has_room() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(REFUSED_WITHIN);
        drop(busy);
    });
    is_busy.recv().unwrap();
    busy
}

impl FjallSnapshots {
    /// To be filled.
    pub(crate) fn with_little_room(dir: &Path) -> Self {
        Self {
            waits: true,
            ..Self::open_by(dir, open_with_little_room).unwrap()
        }
    }

    /// The worker has no time until there is no room any more, and a moment longer.
    pub(crate) fn keep_worker_busy(&self) -> JoinHandle<()> {
        keep_busy(&self.files.reading().unwrap().sessions)
    }
}
