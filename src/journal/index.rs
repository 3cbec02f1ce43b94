//! The index of identities on disk: which events the journal has had.
//!
//! A fjall database beside the journal, one keyspace a day of acceptance, so
//! that days are dropped whole. It is derived: every batch carries the place up
//! to which the journal is in it ([`Checkpoint`]), a start adds what stands
//! behind that, and an index that is damaged is made anew from the journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use mimamori_actors::domain::{Heard, JournalId, Moment, Position, Timestamp};
use mimamori_actors::ports::Identity;

use crate::storage::embedded::{OpenFailure, open_caught};

const PREFIX: &str = "identity-";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const CHECKPOINT: &[u8] = b"checkpoint";
/// Position, time of receipt, segment, offset, heard time; then the journal's name.
const CHECKPOINT_BYTES: usize = 40;
/// The form before had no heard time.
const OLD_CHECKPOINT_BYTES: usize = 32;
/// What a journal's name begins with: as a heard time it would be far in the future.
const NAME: &[u8] = b"jrn_";
const CACHE_BYTES: u64 = 32 << 20;
const MEMTABLE_BYTES: u64 = 4 << 20;
const LOG_BYTES: u64 = 64 << 20;

/// The index contradicts itself or cannot be written: it must be made anew.
#[derive(Debug, thiserror::Error)]
#[error("damaged: {0}")]
pub(super) struct IndexError(String);

/// Up to where the journal is in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Which journal.
    pub(super) journal: JournalId,
    /// Every entry up to this one is in the index.
    pub(super) position: Position,
    /// When that one was accepted.
    pub(super) accepted: Moment,
    /// First position of the segment it stands in.
    pub(super) segment: Position,
    /// Where in the segment the next frame begins.
    pub(super) offset: u64,
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CHECKPOINT_BYTES + 36);
        bytes.extend_from_slice(&self.position.0.to_be_bytes());
        bytes.extend_from_slice(&self.accepted.at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&self.segment.0.to_be_bytes());
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&self.accepted.heard.as_millis().to_be_bytes());
        bytes.extend_from_slice(self.journal.as_str().as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let is_old = bytes.get(OLD_CHECKPOINT_BYTES..)?.starts_with(NAME);
        let numbers = if is_old {
            OLD_CHECKPOINT_BYTES
        } else {
            CHECKPOINT_BYTES
        };
        let (numbers, id) = bytes.split_at_checked(numbers)?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let [position, received_at, segment, offset, heard @ ..] = numbers else {
            return None;
        };
        let at = Timestamp::from_millis(i64::from_be_bytes(*received_at));
        let heard = heard.first().map_or(Heard::of_wall(at), |heard| {
            Heard::from_millis(i64::from_be_bytes(*heard))
        });
        Some(Self {
            position: Position(u64::from_be_bytes(*position)),
            accepted: Moment { at, heard },
            segment: Position(u64::from_be_bytes(*segment)),
            offset: u64::from_be_bytes(*offset),
            journal: JournalId::new(std::str::from_utf8(id).ok()?),
        })
    }
}

/// An identity that is on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indexed {
    pub(super) identity: Identity,
    pub(super) position: Position,
    pub(super) received_at: Timestamp,
}

/// The index, open.
pub(super) struct Index {
    root: PathBuf,
    database: Database,
    /// Newest first.
    days: RwLock<Vec<(i64, Keyspace)>>,
}

impl Index {
    /// Opens the index, or begins an empty one, and says how far it is.
    pub(super) fn open(root: &Path) -> Result<(Self, Option<Checkpoint>), OpenFailure> {
        if condemned(root).exists() {
            let reason = "it failed when it was used last";
            return Err(OpenFailure::Damaged(reason.to_owned()));
        }
        open_caught(|| Self::open_files(root))
    }

    fn open_files(root: &Path) -> Result<(Self, Option<Checkpoint>), OpenFailure> {
        let database = Database::builder(root)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(LOG_BYTES)
            .worker_threads(1)
            .open()?;
        let mut days = Vec::new();
        for name in database.list_keyspace_names() {
            let day = name.strip_prefix(PREFIX).and_then(|day| day.parse().ok());
            if let Some(day) = day {
                let keyspace = database.keyspace(&name, options)?;
                days.push((day, keyspace));
            }
        }
        days.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
        let mut newest: Option<Checkpoint> = None;
        for (_, keyspace) in &days {
            if let Some(value) = keyspace.get(CHECKPOINT)? {
                let found = Checkpoint::decode(&value)
                    .ok_or_else(|| OpenFailure::Damaged("its checkpoint is unreadable".into()))?;
                if newest.as_ref().is_none_or(|n| n.position < found.position) {
                    newest = Some(found);
                }
            }
        }
        let index = Self {
            root: root.to_path_buf(),
            database,
            days: RwLock::new(days),
        };
        Ok((index, newest))
    }

    /// Removes everything, so that the next opening begins an empty index.
    pub(super) fn remove(root: &Path) -> Result<(), OpenFailure> {
        for path in [root.to_path_buf(), condemned(root)] {
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(OpenFailure::Unusable(format!(
                        "{}: {error}",
                        path.display()
                    )));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Notes on disk that it cannot be trusted: the next start makes it anew.
    pub(super) fn condemn(&self) {
        if let Err(error) = fs::write(condemned(&self.root), b"") {
            tracing::error!(error = %error, "the damaged index could not be marked as such");
        }
    }

    /// The content hash under this key, newest day first.
    pub(super) fn find(&self, key: &[u8; 16]) -> Result<Option<[u8; 16]>, IndexError> {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        for (_, keyspace) in days.iter() {
            if let Some(value) = keyspace.get(key).map_err(|error| in_use(&error))? {
                return match value.first_chunk() {
                    Some(content) => Ok(Some(*content)),
                    None => Err(IndexError("an entry is too short".to_owned())),
                };
            }
        }
        Ok(None)
    }

    /// Adds identities and the place up to which the journal is in now, in one
    /// step. Not synced: what a power loss takes is added again at the start.
    pub(super) fn insert(&self, batch: &[Indexed], to: &Checkpoint) -> Result<(), IndexError> {
        let mut write = self.database.batch();
        for indexed in batch {
            let keyspace = self.day(day_of(indexed.received_at))?;
            let mut value = [0; 24];
            value[..16].copy_from_slice(&indexed.identity.content);
            value[16..].copy_from_slice(&indexed.position.0.to_be_bytes());
            write.insert(&keyspace, indexed.identity.key, value);
        }
        let keyspace = self.day(day_of(to.accepted.at))?;
        write.insert(&keyspace, CHECKPOINT, to.encode());
        write.commit().map_err(|error| in_use(&error))
    }

    fn day(&self, day: i64) -> Result<Keyspace, IndexError> {
        {
            let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, keyspace)) = days.iter().find(|(known, _)| *known == day) {
                return Ok(keyspace.clone());
            }
        }
        let keyspace = self
            .database
            .keyspace(&format!("{PREFIX}{day}"), options)
            .map_err(|error| in_use(&error))?;
        let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
        days.push((day, keyspace.clone()));
        days.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
        Ok(keyspace)
    }

    /// Drops the days of which nothing is younger than `dedup_days` at `now`; the newest stays.
    pub(super) fn expire(&self, now: Timestamp, dedup_days: u32) -> Result<(), IndexError> {
        let oldest_kept = day_of(now) - i64::from(dedup_days);
        let expired: Vec<_> = {
            let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
            let kept = days.partition_point(|(day, _)| *day >= oldest_kept).max(1);
            let kept = kept.min(days.len());
            days.drain(kept..).collect()
        };
        for (day, keyspace) in expired {
            self.database
                .delete_keyspace(keyspace)
                .map_err(|error| in_use(&error))?;
            tracing::info!(day, "identities older than ingest.dedup_days were dropped");
        }
        Ok(())
    }

    /// Makes everything inserted so far durable.
    pub(super) fn persist(&self) -> Result<(), IndexError> {
        self.database
            .persist(PersistMode::SyncData)
            .map_err(|error| in_use(&error))
    }
}

/// The day of a time, counted since 1970.
fn day_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(DAY_MS)
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

fn condemned(root: &Path) -> PathBuf {
    root.with_extension("damaged")
}

fn in_use(error: &fjall::Error) -> IndexError {
    IndexError(error.to_string())
}
