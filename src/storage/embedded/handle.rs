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
//! database takes nothing more until the next start; it can still be read.
//!
//! Which of both it was is not always told: a thread of the library that ended
//! says only in the log of what, and a sync, too, may be refused for want of
//! room (a thin volume, a network's file system), behind which what was written
//! may be gone. So the first failure looks at once: only where there is no room, or
//! where the journal saw that there was little since the last write that went
//! well, it is taken to have been that. Room comes back in moments: we ourselves let
//! go of segments, of files that could not be made whole, and of those that only try.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::shortage::Shortage;
use super::{OpenFailure, is_no_room, open_caught, room_beside};

pub(crate) mod rebuild;

/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// So long whoever reads in the old one may take to be done.
const OTHERS_LEAVE_WITHIN: Duration = Duration::from_millis(100);
/// Between two looks whether they are, and before what others saw is taken for all there is.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A database that has not made way by then does not make way.
const MAKES_WAY_WITHIN: Duration = Duration::from_secs(60);

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
    /// What failed was not room: not before the next start.
    #[error("the disk failed, nothing more is taken before the next start")]
    Failed,
    /// Somebody still reads in the old one.
    #[error("it is still in use")]
    InUse,
    /// Its worker has too much in hand.
    #[error("it has more in memory than it can write out now, and takes the next once it has")]
    Behind,
    /// Its worker could not be asked to write out what is in memory.
    #[error("what is in memory could not be handed on: {0}")]
    Unflushed(fjall::Error),
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

/// Everything that holds on to a database which is written.
pub(crate) trait Written {
    /// As [`super::paced::Paced::make_way`].
    fn make_way(&self) -> fjall::Result<bool>;
}

/// The database as it is open now. `T` is everything that holds on to it.
pub(crate) struct Handle<T> {
    place: Place,
    open: fn(&Path) -> Result<T, OpenFailure>,
    /// Nothing between an old one that was let go of and a new one that could not be opened yet.
    current: RwLock<Option<Arc<T>>>,
    health: AtomicU8,
    /// What others saw of the room, once somebody looks.
    shortage: OnceLock<Arc<Shortage>>,
    /// How often it had been short when a write went well last.
    short_before: AtomicU64,
    /// When it may be tried next; held while it is.
    next_try: Mutex<Instant>,
    /// Whether there is room: one seam, so that the tests can say so.
    has_room: fn(&Path) -> io::Result<()>,
}

impl<T: Written> Handle<T> {
    /// What was opened at the start; later by `open`.
    pub(crate) fn new(place: Place, first: T, open: fn(&Path) -> Result<T, OpenFailure>) -> Self {
        Self {
            place,
            open,
            current: RwLock::new(Some(Arc::new(first))),
            health: AtomicU8::new(WELL),
            shortage: OnceLock::new(),
            short_before: AtomicU64::new(0),
            next_try: Mutex::new(Instant::now()),
            has_room: room_beside,
        }
    }

    /// From now on it counts, too, what this one saw.
    pub(crate) fn heed(&self, shortage: Arc<Shortage>) {
        self.short_before.store(shortage.times(), Ordering::Release);
        // whoever looks first is the journal, and there is one
        let _ = self.shortage.set(shortage);
    }

    /// The database, to be read. One that takes no writes can still be read.
    pub(crate) fn reading(&self) -> Result<Arc<T>, Away> {
        let current = self.current();
        current.map_or_else(|| self.reopen(), Ok)
    }

    /// The database, to be written once; opened anew if that is what it takes. Blocks on the disk then.
    pub(crate) fn writing(&self) -> Result<Arc<T>, Away> {
        match self.health.load(Ordering::Acquire) {
            WELL => self.reading().and_then(|current| self.make_way(current)),
            FULL => self.reopen(),
            _ => Err(Away::Failed),
        }
    }

    /// As [`Self::writing`], for who has very much to write at once: waits until it is taken.
    pub(crate) fn writing_in_turn(&self) -> Result<Arc<T>, Away> {
        let until = Instant::now() + MAKES_WAY_WITHIN;
        loop {
            match self.writing() {
                Err(Away::Behind) if Instant::now() < until => thread::sleep(LOOK_EVERY),
                found => return found,
            }
        }
    }

    fn make_way(&self, current: Arc<T>) -> Result<Arc<T>, Away> {
        match current.make_way() {
            Ok(true) => Ok(current),
            Ok(false) => Err(Away::Behind),
            error => match self.judge(error) {
                Err(error) => Err(Away::Unflushed(error)),
                Ok(_) => Ok(current),
            },
        }
    }

    /// Takes note of how a write ended.
    pub(crate) fn judge<R>(&self, written: fjall::Result<R>) -> fjall::Result<R> {
        let Err(error) = &written else {
            if let Some(shortage) = self.shortage.get() {
                self.short_before.store(shortage.times(), Ordering::Release);
            }
            return written;
        };
        let found = match error {
            fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => {
                if is_no_room(io) {
                    self.full_or_failed()
                } else {
                    FAILED
                }
            }
            fjall::Error::Poisoned => self.why_poisoned(),
            _ => return written,
        };
        // what failed for good does not get better by being full
        let before = self.health.fetch_max(found, Ordering::AcqRel);
        if before < found {
            self.tell(found, error);
        }
        written
    }

    /// Something failed before: a write of somebody else, or a thread of the library, which nobody judges.
    fn why_poisoned(&self) -> u8 {
        if self.health.load(Ordering::Acquire) == WELL {
            // whose write it was may be about to say so
            thread::sleep(LOOK_EVERY);
        }
        self.full_or_failed()
    }

    /// What is known, or what the disk looks like: a write that was refused for
    /// want of room has taken what was left of it before. What has come back
    /// meanwhile was seen to be short before.
    fn full_or_failed(&self) -> u8 {
        let known = self.health.load(Ordering::Acquire);
        if known != WELL {
            return known;
        }
        match (self.has_room)(&self.place.dir) {
            Err(error) if is_no_room(&error) => FULL,
            Ok(()) | Err(_) if self.was_short() => FULL,
            Ok(()) | Err(_) => FAILED,
        }
    }

    /// Whether there was little room since the last write that went well.
    fn was_short(&self) -> bool {
        let before = self.short_before.load(Ordering::Acquire);
        let shortage = self.shortage.get();
        shortage.is_some_and(|shortage| shortage.was_since(before))
    }

    fn tell(&self, found: u8, error: &fjall::Error) {
        let store = self.place.store;
        if found == FULL {
            tracing::warn!(store, %error, "a write failed: the database is opened anew as soon as the disk has room");
        } else {
            tracing::error!(store, %error, "a write failed, and not for want of room: the database takes nothing more before the next start");
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
        // with it goes the lock on its files
        drop(self.take_from_others()?);
        let new = open_caught(dir, self.open).map_err(Away::Unopened)?;
        let new = Arc::new(new);
        *self.exclusively() = Some(Arc::clone(&new));
        // whatever was found meanwhile stays found
        self.health
            .compare_exchange(FULL, WELL, Ordering::AcqRel, Ordering::Acquire)
            .map_err(|_| Away::Failed)?;
        metrics::counter!(*reopened).increment(1);
        tracing::info!(store, "the database was opened anew");
        Ok(new)
    }

    /// The old one, as soon as nobody else has it; nothing if it is let go of already.
    /// Whoever wrote in it has judged then, and only one that was full is let go of.
    fn take_from_others(&self) -> Result<Option<T>, Away> {
        let until = Instant::now() + OTHERS_LEAVE_WITHIN;
        loop {
            if let Some(taken) = self.try_take() {
                return taken;
            }
            if Instant::now() >= until {
                return Err(Away::InUse);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Nothing as long as somebody else has it. Locks for no longer than it takes to look:
    /// who reads gets the old one, or is told that a new one is being opened.
    fn try_take(&self) -> Option<Result<Option<T>, Away>> {
        let mut current = self.exclusively();
        let Some(old) = current.take() else {
            return Some(Ok(None));
        };
        match Arc::try_unwrap(old) {
            Ok(last) if self.health.load(Ordering::Acquire) == FULL => Some(Ok(Some(last))),
            Ok(last) => {
                *current = Some(Arc::new(last));
                Some(Err(Away::Failed))
            }
            Err(shared) => {
                *current = Some(shared);
                None
            }
        }
    }

    fn exclusively(&self) -> RwLockWriteGuard<'_, Option<Arc<T>>> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
