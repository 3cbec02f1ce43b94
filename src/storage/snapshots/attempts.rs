//! How often entries failed their sessions: a keyspace of its own, ordered by position.
//!
//! Key: position, session. Value: format, count, journal.

use mimamori_actors::domain::{JournalId, Position, SessionKey};
use mimamori_actors::ports::{Attempt, SnapshotError};

use super::{ATTEMPTS, FjallSnapshots, failed, key_bytes, session_key};

/// The format of a value.
const VERSION: u8 = 1;

fn encode_key(key: &SessionKey, position: Position) -> Vec<u8> {
    let mut bytes = position.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&key_bytes(key));
    bytes
}

pub(super) fn decode_key(bytes: &[u8]) -> Option<(Position, SessionKey)> {
    let (position, key) = bytes.split_first_chunk::<8>()?;
    Some((Position(u64::from_be_bytes(*position)), session_key(key)?))
}

fn encode_value(journal: &JournalId, count: u32) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(journal.as_str().as_bytes());
    bytes
}

/// The journal's name and the count; nothing for a format that is not known.
fn decode_value(bytes: &[u8]) -> Option<(&[u8], u32)> {
    let (version, rest) = bytes.split_first()?;
    let (count, journal) = rest.split_first_chunk::<4>()?;
    (*version == VERSION).then_some((journal, u32::from_be_bytes(*count)))
}

impl FjallSnapshots {
    /// One that can't be read counts as none: its entry gets its attempts again.
    pub(super) fn counted_attempts(
        &self,
        journal: &JournalId,
    ) -> Result<Vec<Attempt>, SnapshotError> {
        let mut attempts = Vec::new();
        let files = self.files.reading()?;
        let Some(keyspace) = files.attempts.get() else {
            return Ok(attempts);
        };
        for found in keyspace.iter() {
            let (key, value) = found.into_inner().map_err(failed)?;
            let counted = decode_key(&key).zip(decode_value(&value));
            if let Some(((position, key), (of, count))) = counted
                && of == journal.as_str().as_bytes()
            {
                attempts.push(Attempt {
                    key,
                    position,
                    count,
                });
            }
        }
        Ok(attempts)
    }

    pub(super) fn count_attempts(
        &self,
        journal: &JournalId,
        attempt: &Attempt,
    ) -> Result<(), SnapshotError> {
        let files = self.writing()?;
        let keyspace = match files.attempts.get() {
            Some(keyspace) => keyspace,
            None => {
                let made = files.database.keyspace(ATTEMPTS);
                let made = self.files.judge(made).map_err(failed)?;
                files.attempts.get_or_init(|| made)
            }
        };
        let mut write = files.database.batch();
        write.insert(
            keyspace,
            encode_key(&attempt.key, attempt.position),
            encode_value(journal, attempt.count),
        );
        self.files.judge(write.commit()).map_err(failed)
    }

    pub(super) fn remove_attempts(
        &self,
        journal: &JournalId,
        through: Position,
    ) -> Result<(), SnapshotError> {
        let files = self.writing()?;
        let Some(keyspace) = files.attempts.get() else {
            return Ok(());
        };
        for found in keyspace.iter() {
            let (key, value) = found.into_inner().map_err(failed)?;
            let is_open = decode_key(&key).zip(decode_value(&value)).is_some_and(
                |((position, _), (of, _))| position > through && of == journal.as_str().as_bytes(),
            );
            if !is_open {
                self.files.judge(keyspace.remove(key)).map_err(failed)?;
            }
        }
        Ok(())
    }
}
