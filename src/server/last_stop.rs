//! Whether the last stop was clean, and what was in hand if it was not.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use mimamori_actors::domain::{JournalId, Position, SessionKey};
use mimamori_actors::ports::{Attempt, Journal, Snapshots};
use mimamori_actors::session::careful::Careful;

use super::stores::Stores;
use crate::files::sync_dir;
use crate::storage::flights::FlightFile;

/// There after a clean stop, taken away by the next start.
const MARKER: &str = "stopped";
/// What is being folded after an unclean one.
const IN_FLIGHT: &str = "in-flight";

/// Everything that was in hand is done, or written.
pub(super) fn was_clean(dir: &Path) {
    // without it the next start is only more careful
    if let Err(error) = File::create(dir.join(MARKER)) {
        tracing::warn!(%error, "the clean stop could not be noted");
    }
}

/// Counts what the last process was folding when it ended, and tells how
/// careful this one has to be: nothing after a clean stop.
///
/// # Errors
/// When the files or the snapshots can't be read or written.
pub(super) async fn look_back(dir: &Path, stores: &Stores) -> anyhow::Result<Option<Careful>> {
    let journal = Arc::clone(&stores.journal);
    let snapshots = Arc::clone(&stores.snapshots);
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let is_clean = take_marker(&dir).context("the mark of a clean stop can't be read")?;
        let path = dir.join(IN_FLIGHT);
        let opened = FlightFile::open(&path, &journal.id());
        let (flights, left) =
            opened.with_context(|| format!("{} can't be read", path.display()))?;
        count(&left, &journal.id(), &*snapshots)?;
        flights.clear()?;
        if is_clean {
            return Ok(None);
        }
        let counted = snapshots.attempts(&journal.id())?;
        let through = *journal.end().borrow();
        Ok(Some(Careful::new(Arc::new(flights), through, &counted)))
    })
    .await?
}

fn take_marker(dir: &Path) -> io::Result<bool> {
    match fs::remove_file(dir.join(MARKER)) {
        Ok(()) => {
            // or a power loss brings it back
            sync_dir(dir)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Each is one more attempt; on disk before anything is folded.
fn count(
    left: &[(SessionKey, Position)],
    journal: &JournalId,
    snapshots: &dyn Snapshots,
) -> anyhow::Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        entries = left.len(),
        "the last process ended while it folded entries, they count as tried"
    );
    let known = snapshots.attempts(journal)?;
    for (key, position) in left {
        let before = known
            .iter()
            .find(|attempt| attempt.key == *key && attempt.position == *position)
            .map_or(0, |attempt| attempt.count);
        let attempt = Attempt {
            key: key.clone(),
            position: *position,
            count: before + 1,
        };
        snapshots.put_attempts(journal, &attempt)?;
        metrics::counter!("mimamori_sessions_failed_attempts_total").increment(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{ClassroomId, StudentId};

    use super::*;
    use crate::storage::snapshots::FjallSnapshots;

    #[test]
    fn the_mark_of_a_clean_stop_counts_for_one_start() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!take_marker(dir.path()).unwrap());

        was_clean(dir.path());

        assert!(take_marker(dir.path()).unwrap());
        assert!(!take_marker(dir.path()).unwrap());
    }

    #[test]
    fn what_was_in_hand_when_a_process_ended_is_one_more_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = FjallSnapshots::open(dir.path()).unwrap();
        let journal = JournalId::new("jrn_a");
        let key = SessionKey {
            classroom: ClassroomId::new("c"),
            student: StudentId::new("s"),
        };
        let left = [(key.clone(), Position(7))];

        for _ in 0..2 {
            count(&left, &journal, &snapshots).unwrap();
        }

        let expected = Attempt {
            key,
            position: Position(7),
            count: 2,
        };
        assert_eq!(snapshots.attempts(&journal).unwrap(), [expected]);
    }
}
