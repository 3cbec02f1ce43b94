//! Opens the files: reads the segments' headers, checks the tail that the index does not know, cuts what is torn.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use mimamori_actors::domain::{JournalId, Moment, Position, Timestamp};

use crate::files::sync_dir;
use crate::storage::format::UnknownFormat;

use super::catch_up::CatchUp;
use super::damage::Damage;
use super::error::JournalError;
use super::found_index::FoundIndex;
use super::index::{Checkpoint, Index};
use super::segment::{self, HeaderFound, Segment, SegmentDir, SegmentHeader};
use super::{JournalOptions, JournalReport};

/// A journal whose files are in order.
pub(super) struct Recovered {
    pub(super) dir: SegmentDir,
    pub(super) segments: Vec<Arc<Segment>>,
    /// How far the last segment is allocated.
    pub(super) capacity: u64,
    /// The last position that was ever given.
    pub(super) last: Position,
    /// When the last entry was accepted.
    pub(super) last_accepted: Moment,
    pub(super) index: Index,
    pub(super) damage: Damage,
    pub(super) report: JournalReport,
}

/// A segment file with what its header says.
struct Opened {
    segment: Arc<Segment>,
    header: Option<SegmentHeader>,
}

/// Opens the files of a journal, or begins one.
pub(super) fn recover(
    options: &JournalOptions,
    segment_bytes: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Recovered, JournalError> {
    let path = options.dir.join("journal");
    create_private_dir(&path)?;
    // half of what was to be erased; the list of erasures tells that it is not done
    let _ = std::fs::remove_file(path.join(segment::ERASED_IN_THE_MAKING));
    let found_index = FoundIndex::open(&options.dir.join("index"))?;
    let segments = open_segments(&path)?;
    let id = name_of(&path, &segments, found_index.checkpoint())?;
    let dir = SegmentDir::new(
        path.clone(),
        id.clone(),
        segment_bytes,
        Arc::clone(&options.disk),
    );
    let highest = found_index.highest();
    let is_new = segments.is_empty();
    let floor = if is_new {
        options.begin_after
    } else {
        Position::ZERO
    };
    let mut segments: Vec<_> = segments.into_iter().map(|opened| opened.segment).collect();
    let (index, start, index_rebuilt) = found_index.resume(&id, &segments)?;
    let mut catch_up = CatchUp::new(id.clone(), index, Damage::new(&path), &start);
    catch_up.read(&segments, &start, progress)?;
    catch_up.raise_to(highest.max(floor));
    if segments.is_empty() {
        let begun = dir.begin(catch_up.last.next(), options.clock.now(), 0);
        segments.push(begun.map_err(JournalError::io(&path))?.0);
    }
    let capacity = settle(options, &dir, &mut catch_up, &mut segments, highest)?;
    let report = JournalReport {
        id,
        is_new,
        segments: segments.len(),
        oldest: segments
            .first()
            .map_or(Position::ZERO, |oldest| oldest.first),
        end: catch_up.last,
        last_accepted: catch_up.last_accepted,
        reindexed_entries: catch_up.reindexed,
        index_rebuilt,
        torn_bytes: catch_up.torn_bytes,
        damaged: catch_up.damage.spots(),
    };
    Ok(Recovered {
        dir,
        segments,
        capacity,
        last: catch_up.last,
        last_accepted: catch_up.last_accepted,
        index: catch_up.index,
        damage: catch_up.damage,
        report,
    })
}

/// Leaves the last segment clean and on disk, with room behind it; returns how
/// far it is allocated. `highest` is a position that the index knows was given.
fn settle(
    options: &JournalOptions,
    dir: &SegmentDir,
    catch_up: &mut CatchUp,
    segments: &mut Vec<Arc<Segment>>,
    highest: Position,
) -> Result<u64, JournalError> {
    let highest = highest.max(catch_up.vouched_by_stores(options.begin_after));
    catch_up.raise_to(highest);
    let now = options.clock.moment();
    let capacity = catch_up.settle(segments, highest, now, &*options.disk)?;
    let untold = segments
        .last()
        .filter(|active| catch_up.end_is_untold(active));
    let Some(active) = untold else {
        return Ok(capacity);
    };
    match tell_the_end(dir, active, catch_up.last, now.at) {
        Ok((segment, capacity)) => {
            segments.push(segment);
            Ok(capacity)
        }
        Err(error) => {
            tracing::warn!(error = %error, "no new segment could be begun behind the damage");
            Ok(capacity)
        }
    }
}

/// Begins a segment whose name says which positions were given before it.
fn tell_the_end(
    dir: &SegmentDir,
    active: &Segment,
    last: Position,
    now: Timestamp,
) -> io::Result<(Arc<Segment>, u64)> {
    let begun = dir.begin(last.next(), now, 0)?;
    // as when a segment is full: what was allocated and not used goes back
    let _ = active.file.set_len(active.durable());
    Ok(begun)
}

fn create_private_dir(path: &Path) -> Result<(), JournalError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(JournalError::io(path))?;
    let parent = path.parent().unwrap_or(path);
    sync_dir(parent).map_err(JournalError::io(parent))
}

fn open_segments(dir: &Path) -> Result<Vec<Opened>, JournalError> {
    let mut opened: Vec<Opened> = Vec::new();
    for (first, path) in segment::list(dir)? {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(JournalError::io(&path))?;
        let header = match SegmentHeader::read(&file).map_err(JournalError::io(&path))? {
            HeaderFound::Whole(header) => Some(header),
            HeaderFound::Damaged => {
                tracing::warn!(journal.segment = first.0, "a segment's header is damaged");
                None
            }
            HeaderFound::UnknownVersion(version) => {
                return Err(UnknownFormat::new(&path, version, segment::VERSION).into());
            }
        };
        let length = file.metadata().map_err(JournalError::io(&path))?.len();
        opened.push(Opened {
            segment: Segment::new(first, path, file, length),
            header,
        });
    }
    Ok(opened)
}

/// The journal's name: from the segments, else from the index, else a new one.
fn name_of(
    dir: &Path,
    opened: &[Opened],
    checkpoint: Option<&Checkpoint>,
) -> Result<JournalId, JournalError> {
    let mut name: Option<&JournalId> = None;
    for found in opened {
        let Some(header) = &found.header else {
            continue;
        };
        let expected = name.get_or_insert(&header.journal);
        if **expected != header.journal {
            return Err(JournalError::Mixed {
                path: found.segment.path.clone(),
                found: header.journal.to_string(),
                expected: expected.to_string(),
            });
        }
    }
    match name.or(checkpoint.map(|checkpoint| &checkpoint.journal)) {
        Some(name) if !opened.is_empty() => Ok(name.clone()),
        None if !opened.is_empty() => Err(JournalError::Nameless(dir.to_path_buf())),
        Some(_) | None => random_name().map_err(JournalError::io(dir)),
    }
}

pub(super) fn random_name() -> io::Result<JournalId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let name = format!("jrn_{:032x}", u128::from_be_bytes(bytes));
    Ok(JournalId::new(name))
}
