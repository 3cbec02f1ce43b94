//! Writes a database anew beside its files, and puts it in their place in one step.
//!
//! What the library removes stays in its log and its tables until they happen
//! to be written over. Where nothing of it may be left, everything else is
//! copied into an empty database, and the old files go.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use fjall::{Guard, Keyspace};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::time::Instant;

use super::{Away, Handle, LOOK_EVERY, WELL, Written};
use crate::files::sync_dir;
use crate::storage::embedded::{OpenFailure, open_caught};

/// So long whoever reads or writes in the old one may take to be done.
const OTHERS_LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Why a database was not written anew. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRebuilt {
    /// It is not there, or in use.
    #[error(transparent)]
    Away(#[from] Away),
    /// The other one could not be made.
    #[error("another one could not be made: {0}")]
    Unopened(#[from] OpenFailure),
    /// Nothing could be copied into it.
    #[error(transparent)]
    Copy(#[from] fjall::Error),
    /// It could not be put in its place.
    #[error("it could not take its place: {0}")]
    Swap(#[from] io::Error),
}

impl<T: Written> Handle<T> {
    /// Everything that `copy` takes from the old one into the new one is kept,
    /// the rest goes. Who reads or writes meanwhile is told to come again. Blocks on the disk.
    pub(crate) fn rebuild(
        &self,
        copy: impl FnOnce(&T, &T) -> fjall::Result<()>,
    ) -> Result<(), NotRebuilt> {
        // with this held nobody else opens it
        let _turn = self.next_try.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.place.dir.as_path();
        let beside = anew(dir);
        remove(&beside)?;
        let new = open_caught(&beside, self.open)?;
        let old = self.take_well()?;
        let copied = copy(&old, &new);
        drop(new);
        if let Err(error) = copied {
            *self.exclusively() = Some(Arc::new(old));
            let _ = remove(&beside);
            return Err(error.into());
        }
        // with it goes the lock on its files
        drop(old);
        let swapped = swap(dir, &beside);
        let current = open_caught(dir, self.open)?;
        *self.exclusively() = Some(Arc::new(current));
        swapped?;
        remove(&beside)?;
        Ok(())
    }

    /// The old one, as soon as nobody else has it.
    fn take_well(&self) -> Result<T, Away> {
        if self.health.load(std::sync::atomic::Ordering::Acquire) != WELL {
            return Err(Away::Failed);
        }
        let until = Instant::now() + OTHERS_LEAVE_WITHIN;
        loop {
            {
                let mut current = self.exclusively();
                match current.take().map(Arc::try_unwrap) {
                    Some(Ok(last)) => return Ok(last),
                    Some(Err(shared)) => *current = Some(shared),
                    None => return Err(Away::BeingOpened),
                }
            }
            if Instant::now() >= until {
                return Err(Away::InUse);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Copies what is kept into an empty keyspace, right into its tables: through memory and log
/// the worker of the new database would have to follow.
pub(crate) fn copy(
    from: &Keyspace,
    to: &Keyspace,
    is_kept: impl Fn(&[u8], &[u8]) -> bool,
) -> fjall::Result<()> {
    let found = from.iter().map(Guard::into_inner);
    let mut kept = found
        .filter(|found| {
            found
                .as_ref()
                .map_or(true, |(key, value)| is_kept(key, value))
        })
        .peekable();
    if kept.peek().is_none() {
        return Ok(());
    }
    let mut tables = to.start_ingestion()?;
    for pair in kept {
        let (key, value) = pair?;
        tables.write(key, value)?;
    }
    tables.finish()
}

/// Finishes or undoes what a crash cut short. Before the database is opened.
pub(crate) fn settle(dir: &Path) -> io::Result<()> {
    if !dir.exists() && aside(dir).exists() {
        fs::rename(aside(dir), dir)?;
    }
    remove(&aside(dir))?;
    remove(&anew(dir))
}

fn anew(dir: &Path) -> PathBuf {
    dir.with_extension("anew")
}

fn aside(dir: &Path) -> PathBuf {
    dir.with_extension("aside")
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// In one step where the file system can, else in two, between which a crash is settled at the next start.
fn swap(dir: &Path, beside: &Path) -> io::Result<()> {
    match renameat_with(CWD, dir, CWD, beside, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::rename(dir, aside(dir))?;
            fs::rename(beside, dir)?;
            remove(&aside(dir))?;
        }
        Err(error) => return Err(error.into()),
    }
    sync_dir(dir.parent().unwrap_or(dir))
}
