//! The one way in which a database of the library is opened and written: its worker is
//! asked for little at a time.
//!
//! The worker takes everything that it is asked for from one queue of 1,000 messages, and puts
//! messages into it itself. A write that leaves more in memory than the limit of its keyspace
//! sends one, and so does every other one until the worker comes to the first: behind a
//! long merge the queue is full. Then the worker takes a message out, waits for the log, which
//! somebody writes, who puts another message into the place that came free; and it waits
//! for room in its own queue, for ever. Nothing tells of that: writes go on, and memory and log
//! grow until the process ends.
//!
//! So a keyspace has no limit that the library knows, and before each write we look ourselves:
//! at most one request of ours a keyspace is under way. What comes meanwhile is bounded, and refused
//! from there on. This also comes before two places where the library lets a write sleep without an
//! end, whatever becomes of its worker.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fjall::config::PartitioningPolicy;
use fjall::{
    AbstractTree, Database, DatabaseBuilder, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch,
    PersistMode,
};

/// Blocks of the tables that are kept in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// The database's own log, before what it holds is moved into tables.
const LOG_BYTES: u64 = 64 << 20;
/// With more of them the first passes a request to compact from its queue back into its queue
/// for as long as the others compact: a core for nothing.
const WORKERS: usize = 1;
/// So much of a keyspace in memory is handed to the worker, to be sorted into a table; …
pub(crate) const FLUSH_BYTES: u64 = 8 << 20;
/// … and so much may be in memory beside it until the worker has come to that.
const MOST_BYTES: u64 = 32 * FLUSH_BYTES;
/// From four that wait for the worker on the library lets a write sleep until they are fewer, …
const MOST_SEALED: usize = 3;
/// … and from thirty tables that lie over one another on until they are merged.
const MOST_RUNS: usize = 20;
/// … of which some are for when there is no room in memory any more.
const LAST_RUNS: usize = 28;
/// An empty keyspace that says that the others have no limit. The library keeps the limit that a keyspace was
/// made with, and does not say which it is: before it was 8 MiB or more.
const UNLIMITED: &str = "unlimited";

/// A database whose worker never waits for itself.
pub(crate) struct Paced {
    database: Database,
    /// Those that are written.
    keyspaces: Mutex<Vec<Keyspace>>,
    most_bytes: u64,
}

/// What every database of the library is opened with, also one that is only read.
pub(crate) fn builder(dir: &Path) -> DatabaseBuilder<Database> {
    Database::builder(dir)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(LOG_BYTES)
        .worker_threads(WORKERS)
}

impl Paced {
    /// Opens the database, or makes it. Blocks on the disk.
    pub(crate) fn open(dir: &Path) -> fjall::Result<Self> {
        let database = builder(dir).open()?;
        if database.keyspace_count() == 0 {
            database.keyspace(UNLIMITED, KeyspaceCreateOptions::default)?;
        }
        let most_bytes = if database.keyspace_exists(UNLIMITED) {
            MOST_BYTES
        } else {
            FLUSH_BYTES
        };
        Ok(Self {
            database,
            keyspaces: Mutex::default(),
            most_bytes,
        })
    }

    /// The keyspace, made if it is not there.
    pub(crate) fn keyspace(&self, name: &str) -> fjall::Result<Keyspace> {
        let keyspace = self.database.keyspace(name, options)?;
        let mut keyspaces = self
            .keyspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !keyspaces.contains(&keyspace) {
            keyspaces.push(keyspace.clone());
        }
        Ok(keyspace)
    }

    /// Whether the keyspace was made.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.database.keyspace_exists(name)
    }

    /// The names of all that were ever made.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let names = self.database.list_keyspace_names();
        names.into_iter().map(|name| name.to_string())
    }

    /// What is written with it is on disk once it is committed: all of it, or nothing.
    pub(crate) fn batch(&self) -> OwnedWriteBatch {
        self.database
            .batch()
            .durability(Some(PersistMode::SyncData))
    }

    /// Everything that was written is on disk behind it.
    pub(crate) fn sync(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// Before each write: hands what is much to the worker. False while that has too much
    /// in hand already: nothing may be written then.
    pub(crate) fn make_way(&self) -> fjall::Result<bool> {
        // held while it is asked, so that it is asked once
        let keyspaces = self
            .keyspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut has_way = true;
        for keyspace in &*keyspaces {
            let sealed = keyspace.sealed_memtable_count();
            let bytes = keyspace.tree.active_memtable().size();
            let runs = keyspace.tree.l0_run_count();
            // nothing but a table that is new makes the worker merge again
            let most_runs = if bytes < self.most_bytes {
                MOST_RUNS
            } else {
                LAST_RUNS
            };
            if bytes >= FLUSH_BYTES && sealed == 0 && runs < most_runs {
                keyspace.rotate_memtable()?;
            } else if bytes >= self.most_bytes || sealed >= MOST_SEALED {
                has_way = false;
            }
        }
        if !has_way {
            // a worker that ended is told to who writes, which nobody would
            self.database.persist(PersistMode::Buffer)?;
        }
        Ok(has_way)
    }
}

/// What a keyspace is made with; the library keeps it as long as that is there.
fn options() -> KeyspaceCreateOptions {
    let in_small_blocks = || PartitioningPolicy::all(true);
    KeyspaceCreateOptions::default()
        .max_memtable_size(u64::MAX)
        // usually the filter of a table in the middle is one block, of megabytes where keys are
        // short: too large for the cache, it is read and checked whole for each key that is looked up
        .filter_block_partitioning_policy(in_small_blocks())
        .index_block_partitioning_policy(in_small_blocks())
}

#[cfg(test)]
impl Paced {
    /// So much may be in memory from now on.
    pub(crate) fn bound(&mut self, most_bytes: u64) {
        self.most_bytes = most_bytes;
    }

    /// Bytes that are in memory, those that wait for the worker among them.
    pub(crate) fn in_memory(&self) -> u64 {
        self.database.write_buffer_size()
    }
}

#[cfg(test)]
mod tests;
