//! Takes a backup: what is derived from the journal first, the journal last.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use mimamori_actors::domain::{JournalId, Position};
use mimamori_actors::ports::Clock as _;
use serde::Serialize;
use tokio::task::yield_now;

use super::error::BackupError;
use super::files::NewFile;
use super::manifest::{Manifest, Offsets, TableEntry};
use super::progress::Progress;
use super::source::{self, Source, States};
use super::target::Target;
use super::{erasures, files};
use crate::clock::SystemClock;
use crate::journal::copy;
use crate::storage::records::RecordsAt;
use crate::storage::records::dump::{self, DumpError, Sink, Table};

/// Where the states of the sessions are in a backup.
pub(super) const STATES: &str = "sessions";
/// Where the secrets are, in a backup and under `storage.dir`.
pub(super) const KEYS: &str = "keys";
/// Where the index of identities is, in a backup and under `storage.dir`.
pub(super) const INDEX: &str = "index";
/// Where the tables of the records are, in a backup.
pub(super) const RECORDS: &str = "records";
/// Where the journal is, in a backup and under `storage.dir`.
pub(super) const JOURNAL: &str = "journal";

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// Where it is.
    pub backup: PathBuf,
    /// Everything up to this position is in it.
    pub end: Position,
    /// Rows of all tables.
    pub rows: u64,
    /// States of sessions.
    pub sessions: u64,
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Takes a backup of the storage directory and of the records into `dir`. It is
/// there whole when this returns, or not at all; dropped before, nothing is left of it.
///
/// # Errors
/// When something cannot be read or written, or the server did not do its part.
pub async fn take(
    storage_dir: &Path,
    records: &RecordsAt,
    source: &Source,
    dir: &Path,
    progress: &Progress,
) -> Result<Taken, BackupError> {
    let mut taking = Taking {
        target: Target::begin(dir, storage_dir)?,
        storage_dir,
        progress,
    };
    let taken_at = SystemClock.now();
    // whom this calls done, nothing that is read after it holds
    taking.erasures(erasures::NAME)?;
    let states = taking.states(source).await?;
    let indexed = taking.index().await?;
    taking.keys()?;
    let tables = taking.records(records, source.is_alone()).await?;
    states.still_held()?;
    let journal = taking.journal().await?;
    states.still_held()?;
    // an erasure that came while we copied is at least in the list
    taking.erasures(&format!("{}/{}", erasures::SINCE, erasures::NAME))?;
    let offsets = Offsets {
        sessions: states.offset,
        records: taking.records_offset(&journal.id)?,
    };
    journal.reaches(&states, &offsets, indexed)?;
    let manifest = Manifest {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        records: match records {
            RecordsAt::Dir(_) => "sqlite",
            RecordsAt::Postgres(_) => "postgres",
        }
        .to_owned(),
        journal: journal.id,
        oldest: journal.oldest,
        end: journal.end,
        offsets,
        sessions: states.sessions,
        migrations: dump::migrations(),
        tables,
        files: taking.target.take_files(),
    };
    let backup = taking.target.finish(&manifest)?;
    progress.done();
    Ok(Taken {
        backup,
        end: manifest.end,
        rows: manifest.rows(),
        sessions: manifest.sessions,
        files: manifest.files.len() + 1,
        bytes: manifest.bytes(),
    })
}

struct Taking<'a> {
    target: Target,
    storage_dir: &'a Path,
    progress: &'a Progress,
}

impl Taking<'_> {
    async fn states(&mut self, source: &Source) -> Result<States, BackupError> {
        self.progress.begin("sessions");
        let mut file = self.target.file(STATES)?;
        let states = source::write(source, self.storage_dir, &mut file).await?;
        self.target.add(file)?;
        Ok(states)
    }

    /// Up to where the journal is in it.
    async fn index(&mut self) -> Result<Option<Position>, BackupError> {
        self.progress.begin("identities");
        let index = copy::index(self.storage_dir)?;
        for (name, mut run) in index.runs {
            let bytes = run
                .metadata()
                .map_err(BackupError::io(name.as_ref()))?
                .len();
            self.copy(&format!("{INDEX}/{name}"), &mut run, bytes)?;
            // who waits for a signal has a turn
            yield_now().await;
        }
        if let Some(reached) = index.reached {
            self.text(&format!("{INDEX}/{}", copy::REACHED), &reached)?;
        }
        if index.is_not_trusted {
            self.text(copy::NOT_TRUSTED, b"")?;
        }
        Ok(index.through)
    }

    fn keys(&mut self) -> Result<(), BackupError> {
        let dir = self.storage_dir.join(KEYS);
        for name in files::names_in(&dir)? {
            // what begins so is in the making
            if name.starts_with('.') {
                continue;
            }
            let path = dir.join(&name);
            let text = std::fs::read(&path).map_err(BackupError::io(&path))?;
            self.text(&format!("{KEYS}/{name}"), &text)?;
        }
        Ok(())
    }

    async fn records(
        &mut self,
        records: &RecordsAt,
        is_alone: bool,
    ) -> Result<Vec<TableEntry>, BackupError> {
        self.progress.begin("records");
        let mut tables = Tables {
            target: &mut self.target,
            progress: self.progress,
            writing: None,
            rows: 0,
            done: Vec::new(),
            failed: None,
        };
        let dumped = dump::dump(records, is_alone, &mut tables).await;
        match (dumped, tables.failed.take()) {
            (Ok(()), _) => Ok(tables.done),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(error.into()),
        }
    }

    fn records_offset(&self, journal: &JournalId) -> Result<Option<Position>, BackupError> {
        let path = self.target.path(&table_file("offsets"));
        let lines = File::open(&path).map_err(BackupError::io(&path))?;
        dump::offset_in(BufReader::new(lines), journal)
            .map_err(|error| BackupError::Records(DumpError::Io(error)))
    }

    async fn journal(&mut self) -> Result<CopiedJournal, BackupError> {
        self.progress.begin("journal");
        let segments = copy::segments(self.storage_dir)?;
        let (Some(oldest), Some(newest)) = (segments.first(), segments.last()) else {
            return Err(BackupError::Refused(format!(
                "no journal is in {}: there is nothing to back up",
                self.storage_dir.display()
            )));
        };
        let copied = CopiedJournal {
            id: newest.journal.clone(),
            oldest: oldest.first,
            end: newest.last,
        };
        for mut segment in segments {
            let name = format!("{JOURNAL}/{}", segment.name);
            self.copy(&name, &mut segment.file, segment.bytes)?;
            yield_now().await;
        }
        Ok(copied)
    }

    fn erasures(&mut self, name: &str) -> Result<(), BackupError> {
        match erasures::read(self.storage_dir)? {
            Some(list) => self.text(name, &list),
            None => Ok(()),
        }
    }

    fn copy(&mut self, name: &str, source: &mut File, bytes: u64) -> Result<(), BackupError> {
        let mut file = self.target.file(name)?;
        file.copy(source, bytes, &mut |moved| self.progress.moved(moved))?;
        self.target.add(file)?;
        Ok(())
    }

    fn text(&mut self, name: &str, text: &[u8]) -> Result<(), BackupError> {
        let mut file = self.target.file(name)?;
        file.write(text)?;
        self.target.add(file)?;
        Ok(())
    }
}

/// What was copied of the journal.
struct CopiedJournal {
    id: JournalId,
    oldest: Position,
    end: Position,
}

impl CopiedJournal {
    /// Everything that some store has not got is in it, and nothing that a store has is beyond it.
    fn reaches(
        &self,
        states: &States,
        offsets: &Offsets,
        indexed: Option<Position>,
    ) -> Result<(), BackupError> {
        if states.journal.as_ref().is_some_and(|told| *told != self.id) {
            return Err(BackupError::Refused(
                "the server's journal is not the one in storage.dir: use the configuration that it was started with"
                    .to_owned(),
            ));
        }
        let known = [offsets.records, offsets.sessions, indexed];
        let lowest = known.into_iter().flatten().min().unwrap_or_default();
        if self.oldest > lowest.next() {
            return Err(BackupError::Trimmed {
                oldest: self.oldest,
                needed: lowest.next(),
            });
        }
        let highest = known.into_iter().flatten().max().unwrap_or_default();
        if highest > self.end {
            return Err(BackupError::Refused(format!(
                "the stores are at position {highest} and the journal ends at {}: see `mimamori journal inspect`",
                self.end
            )));
        }
        Ok(())
    }
}

/// The file of a table, in a backup.
pub(super) fn table_file(table: &str) -> String {
    format!("{RECORDS}/{table}.copy")
}

/// Tables on their way into the backup.
struct Tables<'a> {
    target: &'a mut Target,
    progress: &'a Progress,
    writing: Option<NewFile>,
    rows: u64,
    done: Vec<TableEntry>,
    /// What went wrong here, with the file's name.
    failed: Option<BackupError>,
}

impl Tables<'_> {
    fn keep<T>(&mut self, done: Result<T, BackupError>) -> io::Result<T> {
        done.map_err(|error| {
            let said = io::Error::other(error.to_string());
            self.failed = Some(error);
            said
        })
    }
}

impl Sink for Tables<'_> {
    fn begin(&mut self, table: &Table) -> io::Result<()> {
        let file = table_file(&table.name);
        let begun = self.target.file(&file);
        self.writing = Some(self.keep(begun)?);
        self.rows = 0;
        self.done.push(TableEntry {
            name: table.name.clone(),
            file,
            columns: table.file_columns().map(str::to_owned).collect(),
            rows: 0,
        });
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.writing else {
            return Ok(());
        };
        let written = file.write(text);
        self.keep(written)?;
        self.rows += memchr::memchr_iter(b'\n', text).count() as u64;
        self.progress.moved(text.len() as u64);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(file) = self.writing.take() {
            let added = self.target.add(file).map(drop);
            self.keep(added)?;
        }
        if let Some(table) = self.done.last_mut() {
            table.rows = self.rows;
        }
        Ok(())
    }
}
