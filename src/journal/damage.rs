//! What was found damaged: counted once, kept aside, never in the way of the rest.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mimamori_actors::domain::Position;

use super::segment::Segment;

/// So many pieces are kept aside; more are only counted.
const MAX_KEPT: usize = 256;
/// So many spots are remembered.
const MAX_SPOTS: usize = 4096;

/// A place in a segment file where entries are missing: bytes that are no frame, or none at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedSpot {
    /// First position of the segment, as in the file's name.
    pub segment: Position,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes; none where positions are missing and nothing stands in their place.
    pub bytes: u64,
    /// The last position that can be read before it.
    pub after: Position,
    /// The first position that can be read behind it; nothing at the journal's end.
    pub before: Option<Position>,
}

impl DamagedSpot {
    /// How many entries are lost, as the positions around tell.
    pub fn lost_entries(&self) -> u64 {
        self.before
            .map_or(0, |before| before.0.saturating_sub(self.after.0 + 1))
    }
}

/// The damage found since the start.
#[derive(Debug)]
pub(super) struct Damage {
    dir: PathBuf,
    /// By segment, offset and bytes: a spot that grew is another one.
    spots: Mutex<BTreeMap<(Position, u64, u64), DamagedSpot>>,
}

impl Damage {
    /// Pieces are kept in `damaged` under the journal's directory.
    pub(super) fn new(journal_dir: &Path) -> Self {
        Self {
            dir: journal_dir.join("damaged"),
            spots: Mutex::default(),
        }
    }

    /// Every spot in its order.
    pub(super) fn spots(&self) -> Vec<DamagedSpot> {
        let spots = self.spots.lock().unwrap_or_else(PoisonError::into_inner);
        spots.values().cloned().collect()
    }

    /// Notes what lies between two frames: the bytes that were met there, or,
    /// where nothing was met and positions are missing all the same, the gap.
    /// `at` is where the frame before ends.
    pub(super) fn note_between(
        &self,
        segment: &Segment,
        met: &mut Vec<(u64, u64)>,
        at: u64,
        (after, before): (Position, Option<Position>),
    ) {
        if met.is_empty() && before.is_some_and(|before| before > after.next()) {
            met.push((at, 0));
        }
        for (offset, bytes) in met.drain(..) {
            let spot = DamagedSpot {
                segment: segment.first,
                offset,
                bytes,
                after,
                before,
            };
            self.note(spot, &segment.file);
        }
    }

    /// Counts, logs and keeps a spot, the first time it is met.
    pub(super) fn note(&self, spot: DamagedSpot, file: &File) {
        {
            let mut spots = self.spots.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (spot.segment, spot.offset, spot.bytes);
            if spots.contains_key(&key) || spots.len() >= MAX_SPOTS {
                return;
            }
            spots.insert(key, spot.clone());
        }
        metrics::counter!("mimamori_journal_damaged_frames_total").increment(1);
        metrics::counter!("mimamori_journal_lost_entries_total").increment(spot.lost_entries());
        let kept = (spot.bytes > 0).then(|| self.keep(&spot, file)).transpose();
        tracing::error!(
            journal.segment = spot.segment.0,
            journal.offset = spot.offset,
            bytes = spot.bytes,
            positions.after = spot.after.0,
            positions.before = spot.before.map(|before| before.0),
            kept = kept
                .as_ref()
                .ok()
                .and_then(|path| Some(path.as_ref()?.display().to_string())),
            error = kept.as_ref().err().map(ToString::to_string),
            "a part of the journal is damaged: the entries between these positions are lost, the rest goes on"
        );
    }

    fn keep(&self, spot: &DamagedSpot, file: &File) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(piece_name(spot));
        if path.exists() {
            return Ok(path);
        }
        if fs::read_dir(&self.dir)?.count() >= MAX_KEPT {
            return Err(io::Error::other(
                "as many pieces as may be are kept already",
            ));
        }
        let mut kept = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let mut buffer = vec![0; 64 << 10];
        let mut at = spot.offset;
        while at < spot.offset + spot.bytes {
            let left = usize::try_from(spot.offset + spot.bytes - at).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let read = file.read_at(&mut buffer[..length], at)?;
            if read == 0 {
                break;
            }
            kept.write_all(&buffer[..read])?;
            at += read as u64;
        }
        Ok(path)
    }
}

/// The name of the file in which the bytes of a spot are kept.
fn piece_name(spot: &DamagedSpot) -> String {
    format!("{:020}-{}-{}.bin", spot.segment.0, spot.offset, spot.bytes)
}
