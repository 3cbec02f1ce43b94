//! What the index consists of, read without opening it: nothing is changed, and a server may have it open.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mimamori_actors::domain::{JournalId, Position};
use serde::Serialize;

use super::run::Run;
use super::{IndexError, condemned, former, read_reached};
use crate::journal::error::JournalError;

/// What was found of the index of identities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexFound {
    /// How many runs can be read.
    pub runs: u64,
    /// Of how many days.
    pub days: usize,
    /// Identities in them; one that is in two runs counts twice.
    pub identities: u64,
    /// Up to where the journal is in them.
    pub through: Option<Position>,
    /// Runs that cannot be read, each with what is wrong.
    pub damaged: Vec<String>,
    /// Damaged runs that a start has set aside.
    pub set_aside: Vec<LeftBehind>,
    /// Whether the next start looks at all of it and reads the journal from its oldest entry.
    pub is_marked: bool,
    /// Whether the index of an earlier version is there, to be taken over.
    pub has_former: bool,
    /// The last position that is known to have been given.
    pub reached: Position,
    /// The journal that the newest run is of.
    #[serde(skip)]
    pub(in crate::journal) journal: Option<JournalId>,
    /// Files in the making that a crash left behind.
    #[serde(skip)]
    pub(in crate::journal) left_behind: Vec<LeftBehind>,
}

/// A file that is no part of the journal or its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftBehind {
    /// Its name under `storage.dir`.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Looks at every page of every run under `root`. What cannot be read for want
/// of rights or of open files is an error: it says nothing about the index.
pub(in crate::journal) fn survey(root: &Path) -> Result<IndexFound, JournalError> {
    let mut found = IndexFound {
        is_marked: condemned(root).exists(),
        has_former: former::is_there(root),
        reached: reached(&root.join(super::REACHED))?,
        ..IndexFound::default()
    };
    let mut days = BTreeSet::new();
    for path in files_of(root)? {
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("run") => found.look_at(&path, &mut days)?,
            Some("damaged") => found.set_aside.extend(file(&path)),
            Some("tmp") => found.left_behind.extend(file(&path)),
            _ => {}
        }
    }
    found.days = days.len();
    found.reached = found.reached.max(found.through.unwrap_or_default());
    Ok(found)
}

fn reached(path: &Path) -> Result<Position, JournalError> {
    match fs::File::open(path) {
        Ok(file) => Ok(read_reached(&file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::ZERO),
        Err(error) => Err(JournalError::io(path)(error)),
    }
}

/// In the order of their names; none if there is no index yet.
fn files_of(root: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(JournalError::io(root)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(JournalError::io(root))?.path());
    }
    paths.sort();
    Ok(paths)
}

impl IndexFound {
    fn look_at(&mut self, path: &Path, days: &mut BTreeSet<i64>) -> Result<(), JournalError> {
        let opened = Run::open(path.to_path_buf(), 0, u64::MAX);
        match opened.and_then(|run| run.check().map(|()| run)) {
            Ok(run) => {
                self.runs += 1;
                self.identities += run.identities;
                if run.identities > 0 {
                    days.insert(run.day);
                }
                if let Some(checkpoint) = &run.checkpoint
                    && self.through <= Some(checkpoint.position)
                {
                    self.through = Some(checkpoint.position);
                    self.journal = Some(checkpoint.journal.clone());
                }
            }
            // merged with others while we look
            Err(IndexError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.is_damage() => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let error = error.to_string();
                let what = error.rsplit_once(": ").map_or(&*error, |(_, what)| what);
                self.damaged.push(format!("index/{name}: {what}"));
            }
            Err(IndexError::Newer(format)) => return Err(format.into()),
            Err(IndexError::Io(error) | IndexError::NoRoom(error)) => {
                return Err(JournalError::io(path)(error));
            }
            Err(IndexError::Damaged(reason)) => return Err(JournalError::Index(reason)),
        }
        Ok(())
    }
}

fn file(path: &Path) -> Option<LeftBehind> {
    Some(LeftBehind {
        file: format!("index/{}", path.file_name()?.to_string_lossy()),
        bytes: fs::metadata(path).ok()?.len(),
    })
}
