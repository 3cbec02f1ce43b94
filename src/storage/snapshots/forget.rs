//! Takes a person out of the snapshots.

use mimamori_actors::domain::{Position, SessionKey};
use mimamori_actors::ports::SnapshotError;
use mimamori_actors::session::fold::SessionState;

use super::attempts::decode_key;
use super::{ATTEMPTS, Files, FjallSnapshots, failed, key_bytes};
use crate::storage::embedded::handle::rebuild;

impl FjallSnapshots {
    /// The person's state up to `through` is not found any more, from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget(&self, key: &SessionKey, through: Position) -> Result<(), SnapshotError> {
        let bytes = key_bytes(key);
        let files = self.files.writing()?;
        let state = files.sessions.get(&bytes).map_err(failed)?;
        if state.is_some_and(|state| is_of_the_past(&state, through)) {
            self.files
                .judge(files.sessions.remove(bytes))
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Nothing of these people up to their positions is left in the files. Who
    /// saves or reads meanwhile is told to come again. Blocks on the disk.
    ///
    /// # Errors
    /// When the database fails, or somebody does not let go of it: it is as it was then.
    pub fn erase(&self, people: &[(SessionKey, Position)]) -> Result<(), SnapshotError> {
        let rebuilt = self.files.rebuild(|old, new| copy(old, new, people));
        rebuilt.map_err(|error| SnapshotError(error.to_string()))
    }
}

/// One that cannot be read is of no use to anybody.
fn is_of_the_past(state: &[u8], through: Position) -> bool {
    SessionState::decode(state).map_or(true, |state| state.position() <= through)
}

fn copy(old: &Files, new: &Files, people: &[(SessionKey, Position)]) -> fjall::Result<()> {
    let gone: Vec<_> = people
        .iter()
        .map(|(key, through)| (key_bytes(key), *through))
        .collect();
    rebuild::copy(&old.sessions, &new.sessions, |key, state| {
        let through = gone.iter().find(|(gone, _)| gone == key);
        !through.is_some_and(|(_, through)| is_of_the_past(state, *through))
    })?;
    rebuild::copy(&old.router, &new.router, |_, _| true)?;
    if let Some(attempts) = old.attempts.get() {
        let made = new.database.keyspace(ATTEMPTS)?;
        rebuild::copy(attempts, &made, |key, _| {
            !decode_key(key).is_some_and(|(position, of)| {
                people
                    .iter()
                    .any(|(key, through)| *key == of && position <= *through)
            })
        })?;
    }
    new.database.sync()
}
