//! What was found damaged: counted once, kept aside, never in the way of the rest.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mimamori_actors::domain::Position;

use super::scan::read_around_bad_sectors;
use super::segment::Segment;
use crate::files::sync_dir;

/// Where pieces are kept, in the journal's directory.
pub(super) const DAMAGED: &str = "damaged";
/// So many pieces of what stays in its place are kept aside by a server; more are only counted.
const MAX_KEPT: usize = 256;
/// Bytes copied at once.
const COPIED_BYTES: usize = 64 << 10;
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

    /// The name of the file in which its bytes are kept; later ones are for
    /// other bytes that stood in the same place.
    fn file_name(&self, nth: u32) -> String {
        let (segment, offset, bytes) = (self.segment.0, self.offset, self.bytes);
        match nth {
            1 => format!("{segment:020}-{offset}-{bytes}.bin"),
            _ => format!("{segment:020}-{offset}-{bytes}-{nth}.bin"),
        }
    }

    /// The file for its bytes, and whether they are in it already, all of them.
    pub(super) fn kept_as(&self, journal_dir: &Path, file: &File) -> io::Result<(PathBuf, bool)> {
        let dir = journal_dir.join(DAMAGED);
        let mut nth = 1;
        loop {
            let path = dir.join(self.file_name(nth));
            match File::open(&path) {
                Ok(kept) if self.is_copied(file, &kept, 0)? => return Ok((path, true)),
                Ok(_) => nth += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((path, false)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether `kept` holds its bytes from `at` on, as they stand in `file`.
    pub(super) fn is_copied(&self, file: &File, kept: &File, at: u64) -> io::Result<bool> {
        if kept.metadata()?.len() < at + self.bytes {
            return Ok(false);
        }
        let mut other = vec![0; COPIED_BYTES];
        let mut is_same = true;
        self.each_part(file, &mut |part, done| {
            let other = &mut other[..part.len()];
            read_around_bad_sectors(kept, other, at + done)?;
            is_same &= part == other;
            Ok(is_same)
        })?;
        Ok(is_same)
    }

    /// Copies its bytes out of the segment's file, unless they are kept already.
    /// When this returns they stay, whatever happens to the power.
    pub(super) fn keep(&self, journal_dir: &Path, file: &File) -> io::Result<PathBuf> {
        let dir = journal_dir.join(DAMAGED);
        fs::create_dir_all(&dir)?;
        sync_dir(journal_dir)?;
        let (path, is_there) = self.kept_as(journal_dir, file)?;
        if !is_there {
            let making = path.with_extension("tmp");
            self.copy(file, &making)
                .and_then(|()| fs::rename(&making, &path))
                // it takes room, and is of no use
                .inspect_err(|_| drop(fs::remove_file(&making)))?;
        }
        // also of one that was there: nobody knows how far its start came
        sync_dir(&dir)?;
        Ok(path)
    }

    fn copy(&self, file: &File, making: &Path) -> io::Result<()> {
        let mut kept = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(making)?;
        self.each_part(file, &mut |part, _| kept.write_all(part).map(|()| true))?;
        kept.sync_all()
    }

    /// Gives its bytes in parts, each with how many came before it, as long as `take` wants more.
    fn each_part(
        &self,
        file: &File,
        take: &mut dyn FnMut(&[u8], u64) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; COPIED_BYTES];
        let mut done = 0;
        while done < self.bytes {
            let left = usize::try_from(self.bytes - done).unwrap_or(usize::MAX);
            let part = &mut buffer[..left.min(COPIED_BYTES)];
            read_around_bad_sectors(file, part, self.offset + done)?;
            if !take(part, done)? {
                return Ok(());
            }
            done += part.len() as u64;
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

    /// Where pieces are kept.
    pub(super) fn kept_in(&self) -> PathBuf {
        self.dir.join(DAMAGED)
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

    /// Counts, logs and keeps a spot, the first time it is met. Its bytes stay
    /// where they are, so one that cannot be kept is only told.
    fn note(&self, spot: DamagedSpot, file: &File) {
        if self.is_met_first(&spot) {
            let kept = (spot.bytes > 0)
                .then(|| self.keep_one_of_few(&spot, file))
                .transpose();
            tell(&spot, &kept);
        }
    }

    /// As [`Self::note`], for a spot whose bytes are about to be cut: its copy is the only one.
    pub(super) fn note_before_cut(&self, spot: &DamagedSpot, file: &File) -> io::Result<()> {
        let kept = spot.keep(&self.dir, file)?;
        if self.is_met_first(spot) {
            tell(spot, &Ok(Some(kept)));
        }
        Ok(())
    }

    fn keep_one_of_few(&self, spot: &DamagedSpot, file: &File) -> io::Result<PathBuf> {
        let (path, is_there) = spot.kept_as(&self.dir, file)?;
        if is_there {
            return Ok(path);
        }
        let kept = fs::read_dir(self.kept_in()).map_or(0, Iterator::count);
        if kept >= MAX_KEPT {
            return Err(io::Error::other(
                "as many pieces as may be are kept already",
            ));
        }
        spot.keep(&self.dir, file)
    }

    /// So many are remembered; more are not told.
    fn is_met_first(&self, spot: &DamagedSpot) -> bool {
        let mut spots = self.spots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (spot.segment, spot.offset, spot.bytes);
        if spots.len() >= MAX_SPOTS || spots.contains_key(&key) {
            return false;
        }
        spots.insert(key, spot.clone());
        true
    }
}

fn tell(spot: &DamagedSpot, kept: &io::Result<Option<PathBuf>>) {
    metrics::counter!("mimamori_journal_damaged_frames_total").increment(1);
    metrics::counter!("mimamori_journal_lost_entries_total").increment(spot.lost_entries());
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
