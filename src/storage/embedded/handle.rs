//! A database that is opened anew once the disk that was full has room again.
//!
//! After one write that failed the library takes no other, whatever it failed
//! of, until the database is opened again. For a full disk nobody should have to
//! restart the server: the handle is let go of and taken anew. What was half
//! written is then the library's own recovery's business: a batch whose end is
//! not in its log is cut, one that is whole is there.
//!
//! A write that failed of anything else is not cured by this: what was synced
//! before it may be gone, and what can be read may stand in memory only. Such a
//! database is left as it is until the next start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{OpenFailure, is_no_room, open_caught, room_beside};

/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// So long whoever reads in the old one may take to be done.
const OTHERS_LEAVE_WITHIN: Duration = Duration::from_millis(500);
/// Between two looks whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Nothing was wrong with the last write.
const WELL: u8 = 0;
/// The disk was full: to be opened anew.
const FULL: u8 = 1;
/// The disk failed: not before the next start.
const FAILED: u8 = 2;

/// Why a database is not there now; later it may be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    /// Another call is about it.
    #[error("it is being opened anew")]
    BeingOpened,
    /// The disk is still full.
    #[error("the disk has no room: {0}")]
    NoRoom(io::Error),
    /// Somebody still reads in the old one.
    #[error("it is still in use")]
    InUse,
    /// There was room, and still it could not be opened.
    #[error("it could not be opened anew: {0}")]
    Unopened(OpenFailure),
}

/// How a database is opened, and what its files are called.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// As the log calls it.
    pub(crate) store: &'static str,
    /// What counts how often it was opened anew.
    pub(crate) reopened: &'static str,
    /// Where it is.
    pub(crate) dir: PathBuf,
}

/// The database as it is open now. `T` is everything that holds on to it.
pub(crate) struct Handle<T> {
    place: Place,
    open: fn(&Path) -> Result<T, OpenFailure>,
    /// Nothing between an old one that was let go of and a new one that could not be opened yet.
    current: RwLock<Option<Arc<T>>>,
    health: AtomicU8,
    /// When it may be tried next; held while it is.
    next_try: Mutex<Instant>,
    /// Whether there is room: one seam, so that the tests can say so.
    has_room: fn(&Path) -> io::Result<()>,
}

impl<T> Handle<T> {
    /// What was opened at the start; later by `open`.
    pub(crate) fn new(place: Place, first: T, open: fn(&Path) -> Result<T, OpenFailure>) -> Self {
        Self {
            place,
            open,
            current: RwLock::new(Some(Arc::new(first))),
            health: AtomicU8::new(WELL),
            next_try: Mutex::new(Instant::now()),
            has_room: room_beside,
        }
    }

    /// The database, to be read. One that takes no writes can still be read.
    pub(crate) fn reading(&self) -> Result<Arc<T>, Away> {
        let current = self.current();
        current.map_or_else(|| self.reopen(), Ok)
    }

    /// The database, to be written; opened anew if that is what it takes. Blocks on the disk then.
    pub(crate) fn writing(&self) -> Result<Arc<T>, Away> {
        if self.health.load(Ordering::Acquire) == FULL {
            return self.reopen();
        }
        self.reading()
    }

    /// Takes note of how a write ended.
    pub(crate) fn judge<R>(&self, written: fjall::Result<R>) -> fjall::Result<R> {
        let Err(error) = &written else {
            return written;
        };
        let found = match error {
            fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => {
                if is_no_room(io) { FULL } else { FAILED }
            }
            // a thread of the library ended: what it could not write is still in the log
            fjall::Error::Poisoned => FULL,
            _ => return written,
        };
        // what failed for good does not get better by being full
        let before = self.health.fetch_max(found, Ordering::AcqRel);
        if before < found {
            self.tell(found, error);
        }
        written
    }

    fn tell(&self, found: u8, error: &fjall::Error) {
        let store = self.place.store;
        if found == FULL {
            tracing::warn!(store, %error, "a write failed: the database is opened anew as soon as the disk has room");
        } else {
            tracing::error!(store, %error, "the disk failed: the database takes nothing more before the next start");
        }
    }

    fn current(&self) -> Option<Arc<T>> {
        // an option is whole even if a thread panicked beside it
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    fn reopen(&self) -> Result<Arc<T>, Away> {
        let mut next_try = match self.next_try.try_lock() {
            Ok(next_try) => next_try,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Away::BeingOpened),
        };
        if self.health.load(Ordering::Acquire) != FULL
            && let Some(current) = self.current()
        {
            return Ok(current);
        }
        if Instant::now() < *next_try {
            return Err(Away::BeingOpened);
        }
        let opened = self.open_anew();
        *next_try = Instant::now() + TRY_EVERY;
        opened
    }

    fn open_anew(&self) -> Result<Arc<T>, Away> {
        let Place {
            store,
            reopened,
            dir,
        } = &self.place;
        (self.has_room)(dir).map_err(Away::NoRoom)?;
        // who comes now waits: it is a matter of milliseconds
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = current.take()
            && let Err(old) = let_go(old)
        {
            *current = Some(old);
            return Err(Away::InUse);
        }
        let new = open_caught(dir, self.open).map_err(Away::Unopened)?;
        let new = Arc::new(new);
        *current = Some(Arc::clone(&new));
        self.health.store(WELL, Ordering::Release);
        metrics::counter!(*reopened).increment(1);
        tracing::info!(store, "the database was opened anew");
        Ok(new)
    }
}

/// Drops it, and with it the lock on its files, as soon as nobody else has it;
/// gives it back if somebody keeps it.
fn let_go<T>(mut old: Arc<T>) -> Result<(), Arc<T>> {
    let until = Instant::now() + OTHERS_LEAVE_WITHIN;
    loop {
        match Arc::try_unwrap(old) {
            Ok(last) => {
                drop(last);
                return Ok(());
            }
            Err(shared) if Instant::now() >= until => return Err(shared),
            Err(shared) => old = shared,
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests;
