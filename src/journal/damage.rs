//! What was found damaged: counted once, kept aside, never in the way of the rest.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mimamori_actors::domain::Position;

use super::segment::{Segment, sync_dir};

/// Where pieces are kept, in the journal's directory.
const DAMAGED: &str = "damaged";
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

    /// The name of the file in which its bytes are kept.
    pub(super) fn file_name(&self) -> String {
        format!("{:020}-{}-{}.bin", self.segment.0, self.offset, self.bytes)
    }

    fn kept_at(&self, journal_dir: &Path) -> PathBuf {
        journal_dir.join(DAMAGED).join(self.file_name())
    }

    /// Whether its bytes are kept, all of them.
    pub(super) fn is_kept(&self, journal_dir: &Path) -> bool {
        fs::metadata(self.kept_at(journal_dir)).is_ok_and(|kept| kept.len() == self.bytes)
    }

    /// Copies its bytes out of the segment's file, unless they are kept already.
    /// When this returns they stay, whatever happens to the power.
    pub(super) fn keep(&self, journal_dir: &Path, file: &File) -> io::Result<PathBuf> {
        let path = self.kept_at(journal_dir);
        if self.is_kept(journal_dir) {
            return Ok(path);
        }
        let dir = journal_dir.join(DAMAGED);
        fs::create_dir_all(&dir)?;
        if fs::read_dir(&dir)?.count() >= MAX_KEPT {
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
        self.copy(file, &mut kept)?;
        kept.sync_all()?;
        sync_dir(&dir)?;
        Ok(path)
    }

    fn copy(&self, file: &File, kept: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let end = self.offset + self.bytes;
        let mut at = self.offset;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let read = file.read_at(&mut buffer[..length], at)?;
            if read == 0 {
                break;
            }
            kept.write_all(&buffer[..read])?;
            at += read as u64;
        }
        Ok(())
    }
}

/// The damage found since the start.
#[derive(Debug)]
pub(super) struct Damage {
    /// The journal's.
    dir: PathBuf,
    /// By segment, offset and bytes: a spot that grew is another one.
    spots: Mutex<BTreeMap<(Position, u64, u64), DamagedSpot>>,
}

impl Damage {
    /// Pieces are kept in `damaged` under the journal's directory.
    pub(super) fn new(journal_dir: &Path) -> Self {
        Self {
            dir: journal_dir.to_path_buf(),
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
        let kept = (spot.bytes > 0)
            .then(|| spot.keep(&self.dir, file))
            .transpose();
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
}
