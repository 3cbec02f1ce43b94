//! The index as versions up to 0.1 kept it, a fjall database with a keyspace a day: read once and made runs.

use std::fs;
use std::io;
use std::path::Path;

use fjall::{Keyspace, KeyspaceCreateOptions};
use mimamori_actors::domain::{Heard, JournalId, Moment, Position, Timestamp};

use crate::storage::embedded::{OpenFailure, open_caught, paced};

use super::{Checkpoint, Index, IndexError};

const PREFIX: &str = "identity-";
const CHECKPOINT: &[u8] = b"checkpoint";
/// Position, time of receipt, segment, offset, heard time; then the journal's name.
const CHECKPOINT_BYTES: usize = 40;
/// The first form had no heard time.
const FIRST_CHECKPOINT_BYTES: usize = 32;
/// What a journal's name begins with: as a heard time it would be far in the future.
const NAME: &[u8] = b"jrn_";
/// What the database consists of, beside its log files.
const PARTS: [&str; 3] = ["keyspaces", "version", "lock"];

/// Whether the database is in this directory.
pub(super) fn is_there(root: &Path) -> bool {
    root.join(PARTS[0]).exists()
}

/// Makes runs of it. The last one carries the checkpoint: as long as there is
/// none, all of this has to be done again.
pub(super) fn convert(index: &Index) -> Result<(), OpenFailure> {
    open_caught(&index.root, |root| {
        let database = paced::builder(root).open()?;
        let mut newest: Option<Checkpoint> = None;
        let mut identities = 0;
        for name in database.list_keyspace_names() {
            let day = name.strip_prefix(PREFIX).and_then(|day| day.parse().ok());
            if let Some(day) = day {
                let keyspace = database.keyspace(&name, KeyspaceCreateOptions::default)?;
                identities += keyspace.approximate_len();
                let found = convert_day(index, day, &keyspace)?;
                newest = newest
                    .into_iter()
                    .chain(found)
                    .max_by_key(|one| one.position);
            }
        }
        if let Some(checkpoint) = newest {
            index.insert(&[], &checkpoint)?;
        }
        tracing::info!(identities, "the index of an earlier version was taken over");
        Ok(())
    })
}

fn convert_day(
    index: &Index,
    day: i64,
    keyspace: &Keyspace,
) -> Result<Option<Checkpoint>, OpenFailure> {
    let checkpoint = match keyspace.get(CHECKPOINT)? {
        Some(value) => Some(decode(&value).ok_or_else(|| unreadable("its checkpoint"))?),
        None => None,
    };
    let at_most = keyspace.approximate_len() as u64;
    let pairs = keyspace
        .iter()
        .filter_map(|guard| match guard.into_inner() {
            Ok((key, _)) if &*key == CHECKPOINT => None,
            Ok((key, value)) => Some(match (key.as_array(), value.first_chunk()) {
                (Some(key), Some(content)) => Ok((*key, *content)),
                _ => Err(IndexError::damaged("an entry is too short")),
            }),
            Err(error) => Some(Err(IndexError::Damaged(error.to_string()))),
        });
    index.add_run(day, at_most, pairs, None)?;
    Ok(checkpoint)
}

/// Removes the database.
pub(super) fn remove(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "jnl") {
            fs::remove_file(path)?;
        }
    }
    // the one it is known by goes last
    for part in PARTS.iter().rev() {
        let path = root.join(part);
        let removed = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let has_no_heard = bytes.get(FIRST_CHECKPOINT_BYTES..)?.starts_with(NAME);
    let numbers = if has_no_heard {
        FIRST_CHECKPOINT_BYTES
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
    Some(Checkpoint {
        position: Position(u64::from_be_bytes(*position)),
        accepted: Moment { at, heard },
        segment: Position(u64::from_be_bytes(*segment)),
        offset: u64::from_be_bytes(*offset),
        journal: JournalId::new(std::str::from_utf8(id).ok()?),
    })
}

fn unreadable(what: &str) -> OpenFailure {
    OpenFailure::Damaged(format!("{what} is unreadable"))
}
