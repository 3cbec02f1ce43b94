//! The states of the sessions, as they go from a server to a backup and stand in it.
//!
//! A line of JSON an item; behind it, if it says so, as many bytes, which are the tree's own.

use mimamori_actors::domain::{JournalId, Position, SessionKey};
use mimamori_actors::ports::{Attempt, SnapshotError, Snapshots};
use serde::{Deserialize, Serialize};

/// Nothing of ours is longer: what is, is no backup.
const MOST_BYTES: usize = 64 << 20;

/// An item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Item {
    /// The first: of which journal they are.
    Journal { name: JournalId },
    /// How far the sessions are, and what the router knows; its state follows.
    Router { offset: Position, bytes: usize },
    /// A session; its state follows. It may be of a later moment than the router's.
    Session { key: SessionKey, bytes: usize },
    /// An entry that failed its session.
    Attempt {
        key: SessionKey,
        position: Position,
        count: u32,
    },
    /// That was all.
    Whole { sessions: u64 },
    /// The journal is still held.
    Held,
    /// It is no longer.
    Ended { reason: String },
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Router { bytes, .. } | Self::Session { bytes, .. } => *bytes,
            Self::Journal { .. }
            | Self::Attempt { .. }
            | Self::Whole { .. }
            | Self::Held
            | Self::Ended { .. } => 0,
        }
    }

    /// As it is sent; `state` only where the item says so.
    pub(super) fn encode(&self, state: &[u8]) -> Vec<u8> {
        let mut out = serde_json::to_vec(self)
            .expect("an item has only text keys, and a vector takes every write");
        out.push(b'\n');
        out.extend_from_slice(state);
        out
    }
}

/// Tells all states, from the journal's name to [`Item::Whole`]; ends early when `send` says no.
pub(super) fn tell(
    journal: &JournalId,
    snapshots: &dyn Snapshots,
    send: &mut dyn FnMut(Vec<u8>) -> bool,
) -> Result<(), SnapshotError> {
    let name = journal.clone();
    let mut goes_on = send(Item::Journal { name }.encode(&[]));
    // first how far they are at least: states that are put meanwhile are only newer
    if let Some((state, offset)) = snapshots.router(journal)? {
        let bytes = state.len();
        goes_on = goes_on && send(Item::Router { offset, bytes }.encode(&state));
    }
    for Attempt {
        key,
        position,
        count,
    } in snapshots.attempts(journal)?
    {
        let attempt = Item::Attempt {
            key,
            position,
            count,
        };
        goes_on = goes_on && send(attempt.encode(&[]));
    }
    let mut sessions = 0;
    snapshots.all_sessions(&mut |key, state| {
        sessions += 1;
        let bytes = state.len();
        goes_on = goes_on && send(Item::Session { key, bytes }.encode(state));
    })?;
    if goes_on {
        send(Item::Whole { sessions }.encode(&[]));
    }
    Ok(())
}

/// An item as it came.
#[derive(Debug)]
pub(super) struct Came<'a> {
    pub(super) item: Item,
    /// The state behind it.
    pub(super) state: &'a [u8],
    /// All its bytes.
    pub(super) raw: &'a [u8],
}

/// Takes items out of what came so far.
#[derive(Debug, Default)]
pub(super) struct Items {
    buffer: Vec<u8>,
    /// Up to where the buffer was read.
    read: usize,
}

/// What came is nothing that [`tell`] tells.
#[derive(Debug, thiserror::Error)]
#[error("not the states of sessions: {0}")]
pub(super) struct BadItem(String);

impl Items {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether everything that came was taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.read == self.buffer.len()
    }

    /// The next item; nothing if more must come first.
    pub(super) fn next(&mut self) -> Result<Option<Came<'_>>, BadItem> {
        let rest = &self.buffer[self.read..];
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return self.nothing_yet();
        };
        let item: Item =
            serde_json::from_slice(&rest[..end]).map_err(|error| BadItem(error.to_string()))?;
        if item.bytes() > MOST_BYTES {
            return Err(BadItem("a state is too long".to_owned()));
        }
        let whole = end + 1 + item.bytes();
        if rest.len() < whole {
            return self.nothing_yet();
        }
        let from = self.read;
        self.read += whole;
        let raw = &self.buffer[from..self.read];
        Ok(Some(Came {
            item,
            state: &raw[end + 1..],
            raw,
        }))
    }

    fn nothing_yet(&self) -> Result<Option<Came<'_>>, BadItem> {
        if self.buffer.len() - self.read > 2 * MOST_BYTES {
            return Err(BadItem("a line is too long".to_owned()));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{ClassroomId, StudentId};

    use super::*;
    use crate::storage::snapshots::FjallSnapshots;

    fn key(student: &str) -> SessionKey {
        SessionKey {
            classroom: ClassroomId::new("c"),
            student: StudentId::new(student),
        }
    }

    #[test]
    fn what_was_told_is_read_however_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = FjallSnapshots::open(dir.path()).unwrap();
        let journal = JournalId::new("jrn_a");
        snapshots.put_session(&key("a"), b"\n{}\xff").unwrap();
        snapshots.put_session(&key("b"), b"").unwrap();
        snapshots.commit(&journal, b"router", Position(7)).unwrap();
        let mut told = Vec::new();

        tell(&journal, &snapshots, &mut |bytes| {
            told.extend(bytes);
            true
        })
        .unwrap();

        for piece in [1, 3, 4096] {
            let mut items = Items::default();
            let mut found = Vec::new();
            for bytes in told.chunks(piece) {
                items.push(bytes);
                while let Some(Came { item, state, .. }) = items.next().unwrap() {
                    found.push((item, state.to_vec()));
                }
            }
            assert!(items.is_empty());
            assert_eq!(found.len(), 5);
            assert_eq!(found[1].1, b"router");
            assert_eq!(found[2].1, b"\n{}\xff");
            assert_eq!(found[4].0, Item::Whole { sessions: 2 });
        }
    }

    #[test]
    fn who_does_not_listen_any_more_is_told_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = FjallSnapshots::open(dir.path()).unwrap();
        snapshots.put_session(&key("a"), b"x").unwrap();
        let mut told = 0;

        tell(&JournalId::new("jrn_a"), &snapshots, &mut |_| {
            told += 1;
            false
        })
        .unwrap();

        assert_eq!(told, 1);
    }
}
