//! Where the journal ended when the server first went on without a store.
//!
//! A store may not know more of a journal than the journal has itself. While it is
//! away nobody can tell, and what is accepted meanwhile gets the next positions: so
//! the comparison is made with the end of then, however often the server is started
//! until it comes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mimamori_actors::domain::{JournalId, Position};
use serde_json::{Value, json};

use crate::files::sync_dir;

/// A file `STORE-unseen.json` under `storage.dir`, for as long as the store is not seen.
#[derive(Debug, Clone)]
pub(super) struct Unseen {
    dir: PathBuf,
    store: &'static str,
    journal: JournalId,
}

impl Unseen {
    pub(super) fn of(dir: &Path, store: &'static str, journal: &JournalId) -> Self {
        Self {
            dir: dir.to_owned(),
            store,
            journal: journal.clone(),
        }
    }

    /// The journal's end since when it is not seen; nothing if it was, or it was another journal.
    pub(super) fn since(&self) -> anyhow::Result<Option<Position>> {
        let path = self.path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("{} can't be read", path.display())),
        };
        let noted: Value = serde_json::from_slice(&text).unwrap_or_default();
        let is_of_this = noted["journal"] == self.journal.as_str();
        Ok(noted["end"].as_u64().filter(|_| is_of_this).map(Position))
    }

    /// On disk when it returns.
    pub(super) fn note(&self, end: Position) -> anyhow::Result<()> {
        let path = self.path();
        let beside = path.with_extension("tmp");
        let text = json!({ "journal": self.journal.as_str(), "end": end.0 }).to_string();
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            sync_dir(&self.dir)
        });
        written.with_context(|| format!("{} can't be written", path.display()))
    }

    /// It is there, and knows no more than the journal.
    pub(super) fn is_seen(&self) -> anyhow::Result<()> {
        let path = self.path();
        // one that a power loss brings back would be held against what came since
        let removed = fs::remove_file(&path).and_then(|()| sync_dir(&self.dir));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(format!("{} can't be removed", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("{}-unseen.json", self.store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_counts_for_its_store_and_journal_until_that_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let unseen = Unseen::of(dir.path(), "records", &JournalId::new("jrn_a"));
        let others = [("records", "jrn_b"), ("series", "jrn_a")]
            .map(|(store, journal)| Unseen::of(dir.path(), store, &JournalId::new(journal)));
        assert_eq!(unseen.since().unwrap(), None);

        unseen.note(Position(7)).unwrap();

        assert_eq!(unseen.since().unwrap(), Some(Position(7)));
        for other in others {
            assert_eq!(other.since().unwrap(), None);
        }
        unseen.is_seen().unwrap();
        unseen.is_seen().unwrap();
        assert_eq!(unseen.since().unwrap(), None);
    }
}
