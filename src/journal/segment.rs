//! Segment files: a header, then frames, then zeros that are allocated already.
//!
//! ```text
//!   0  magic    "\xff\xfeMIMAJ\n"
//!   8  version  u32, 1; 2 if entries in it were erased, so that a program that
//!               does not know of that leaves the journal alone
//!  12  journal  36 bytes of text: jrn_ and 32 digits
//!  48  first    u64, position of the first entry, as in the file's name
//!  56  created  i64, milliseconds since 1970
//!  64  zeros
//! 124  crc      u32, CRC-32 of the 124 bytes above
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use mimamori_actors::domain::{JournalId, Position, Timestamp};

use super::disk::Disk;
use super::error::JournalError;
use super::frame::{u32_at, u64_at};

/// Bytes before the first frame.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 128;

const MAGIC: [u8; 8] = *b"\xFF\xFEMIMAJ\n";
/// The newest format that is known; a later one is left alone.
pub(super) const VERSION: u32 = 2;
/// The format that is begun with.
const VERSION_WITHOUT_ERASED: u32 = 1;
const ID_BYTES: usize = 36;
const CRC_AT: usize = 124;
/// Readers find their place by marks, so many bytes apart.
const MARK_BYTES: u64 = 64 << 10;
/// Allocated ahead, not yet part of the journal.
const SPARE: &str = "spare.tmp";
/// What becomes a spare when it is whole; the thread that allocates ahead has it for itself.
const SPARE_IN_THE_MAKING: &str = "spare.part";
/// What takes the place of a segment in which entries are erased.
pub(super) const ERASED_IN_THE_MAKING: &str = "erased.part";
/// What becomes a segment when no spare was there; the writer has it for itself.
pub(super) const SEGMENT_IN_THE_MAKING: &str = "segment.part";

/// What a segment's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The journal it belongs to.
    pub(super) journal: JournalId,
    /// The position of its first entry.
    pub(super) first: Position,
    /// When it was begun.
    pub(super) created_at: Timestamp,
}

/// What was found where a segment's header should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HeaderFound {
    /// A header.
    Whole(SegmentHeader),
    /// No header, or a damaged one: the frames may still be good.
    Damaged,
    /// A format of the future.
    UnknownVersion(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION_WITHOUT_ERASED.to_le_bytes());
        let id = self.journal.as_str().as_bytes();
        let length = id.len().min(ID_BYTES);
        bytes[12..12 + length].copy_from_slice(&id[..length]);
        bytes[48..56].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.created_at.as_millis().to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> HeaderFound {
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        if bytes[..8] != MAGIC || crc != u32_at(bytes, CRC_AT) {
            return HeaderFound::Damaged;
        }
        let version = u32_at(bytes, 8);
        if !(VERSION_WITHOUT_ERASED..=VERSION).contains(&version) {
            return HeaderFound::UnknownVersion(version);
        }
        match std::str::from_utf8(&bytes[12..12 + ID_BYTES]) {
            Ok(id) => HeaderFound::Whole(Self {
                journal: JournalId::new(id.trim_end_matches('\0')),
                first: Position(u64_at(bytes, 48)),
                created_at: Timestamp::from_millis(u64_at(bytes, 56).cast_signed()),
            }),
            Err(_) => HeaderFound::Damaged,
        }
    }

    /// As [`Self::encode`], for a segment in which entries were erased.
    pub(super) fn encode_erased(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = self.encode();
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a file.
    pub(super) fn read(file: &File) -> io::Result<HeaderFound> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Self::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(HeaderFound::Damaged),
            Err(error) => Err(error),
        }
    }
}

/// A segment of the journal that is open.
#[derive(Debug)]
pub(super) struct Segment {
    /// The position of its first entry.
    pub(super) first: Position,
    /// Where it is.
    pub(super) path: PathBuf,
    /// For reading by anybody, for writing by the writer if it is the last.
    pub(super) file: File,
    durable: AtomicU64,
    marks: Mutex<BTreeMap<u64, u64>>,
}

impl Segment {
    /// A segment of which `durable` bytes hold its header and frames.
    pub(super) fn new(first: Position, path: PathBuf, file: File, durable: u64) -> Arc<Self> {
        Arc::new(Self {
            first,
            path,
            file,
            durable: AtomicU64::new(durable),
            marks: Mutex::new(BTreeMap::from([(first.0, SEGMENT_HEADER_BYTES)])),
        })
    }

    /// Bytes that are on disk and may be read.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// So many bytes are on disk now.
    pub(super) fn set_durable(&self, bytes: u64) {
        self.durable.store(bytes, Ordering::Release);
    }

    /// Remembers that the frame at `offset` begins with `first`, unless a mark is near.
    pub(super) fn mark(&self, first: Position, offset: u64) {
        let mut marks = self.marks();
        let before = marks.range(..=first.0).next_back();
        if before.is_none_or(|(_, known)| offset >= known + MARK_BYTES) {
            marks.insert(first.0, offset);
        }
    }

    /// A frame at or before the one that holds `position`: its first position and where it begins.
    pub(super) fn mark_before(&self, position: Position) -> (Position, u64) {
        let marks = self.marks();
        let mark = marks.range(..=position.0).next_back();
        mark.map_or((self.first, SEGMENT_HEADER_BYTES), |(first, offset)| {
            (Position(*first), *offset)
        })
    }

    /// The same frames in another file, each where it was.
    pub(super) fn in_file(&self, file: File) -> Arc<Self> {
        Arc::new(Self {
            first: self.first,
            path: self.path.clone(),
            file,
            durable: AtomicU64::new(self.durable()),
            marks: Mutex::new(self.marks().clone()),
        })
    }

    fn marks(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        // a map of numbers is whole even if a thread panicked beside it
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The segments in their order; the last one is written to.
#[derive(Debug, Default)]
pub(super) struct Segments(RwLock<Vec<Arc<Segment>>>);

impl Segments {
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self(RwLock::new(segments))
    }

    /// All as they are now.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(segment);
    }

    /// Puts `new` in the place of `old`, if that is still there, and does `act`
    /// meanwhile: nobody trims it then. False if it is not there any more.
    pub(super) fn replace(
        &self,
        old: &Arc<Segment>,
        new: Arc<Segment>,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut segments = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = segments.iter_mut().find(|known| Arc::ptr_eq(known, old)) else {
            return Ok(false);
        };
        act()?;
        *place = new;
        Ok(true)
    }

    /// Takes the oldest one out, if it still begins with `first` and is not the
    /// only one, and says where the journal begins now.
    pub(super) fn remove_oldest(&self, first: Position) -> Option<(Arc<Segment>, Position)> {
        let mut segments = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if segments.first()?.first != first {
            return None;
        }
        let oldest = segments.get(1)?.first;
        Some((segments.remove(0), oldest))
    }
}

/// The directory with the segment files.
#[derive(Debug, Clone)]
pub(super) struct SegmentDir {
    path: PathBuf,
    journal: JournalId,
    segment_bytes: u64,
    disk: Arc<dyn Disk>,
}

impl SegmentDir {
    pub(super) fn new(
        path: PathBuf,
        journal: JournalId,
        segment_bytes: u64,
        disk: Arc<dyn Disk>,
    ) -> Self {
        Self {
            path,
            journal,
            segment_bytes,
            disk,
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Allocates a file ahead, unless there is one.
    pub(super) fn prepare_spare(&self) -> io::Result<()> {
        let path = self.path.join(SPARE);
        if fs::metadata(&path).is_ok_and(|file| file.len() >= self.segment_bytes) {
            return Ok(());
        }
        let making = self.path.join(SPARE_IN_THE_MAKING);
        self.allocate(&making, self.segment_bytes)?;
        fs::rename(making, path)
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let allocated = self
            .disk
            .allocate(&file, 0, bytes)
            .and_then(|()| self.disk.sync(&file));
        if let Err(error) = allocated {
            // it takes room, and is of no use
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(file)
    }

    /// Begins a segment with room for at least `needs` bytes of frames. When
    /// this returns its name and header are on disk.
    pub(super) fn begin(
        &self,
        first: Position,
        created_at: Timestamp,
        needs: u64,
    ) -> io::Result<(Arc<Segment>, u64)> {
        let needs = needs + SEGMENT_HEADER_BYTES;
        let (file, allocated) = self.room_for(needs.max(self.segment_bytes))?;
        let header = SegmentHeader {
            journal: self.journal.clone(),
            first,
            created_at,
        };
        self.disk.write(&file, &header.encode(), 0)?;
        self.disk.sync(&file)?;
        let capacity = file.metadata()?.len();
        // opened before the name is there: what fails for want of a file has changed nothing
        let names = File::open(&self.path)?;
        let path = self.path.join(file_name(first));
        fs::rename(&allocated, &path)?;
        if let Err(error) = names.sync_all() {
            // what goes on to the segment before would stand behind this name, and not be found
            let _ = fs::remove_file(&path);
            return Err(io::Error::other(error));
        }
        Ok((
            Segment::new(first, path, file, SEGMENT_HEADER_BYTES),
            capacity,
        ))
    }

    /// An allocated file of at least so many bytes: the spare, if there is one.
    fn room_for(&self, bytes: u64) -> io::Result<(File, PathBuf)> {
        let spare = self.path.join(SPARE);
        let reusable = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&spare)
            .ok()
            .filter(|file| file.metadata().is_ok_and(|file| file.len() >= bytes));
        if let Some(file) = reusable {
            return Ok((file, spare));
        }
        let making = self.path.join(SEGMENT_IN_THE_MAKING);
        Ok((self.allocate(&making, bytes)?, making))
    }
}

/// The name of the segment that begins with this position.
pub(super) fn file_name(first: Position) -> String {
    format!("{:020}.seg", first.0)
}

/// The segment files of a directory, in the order of their positions.
pub(super) fn list(dir: &Path) -> Result<Vec<(Position, PathBuf)>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(JournalError::io(dir))? {
        let path = entry.map_err(JournalError::io(dir))?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".seg"))
            .and_then(|digits| digits.parse().ok());
        if let Some(first) = first {
            found.push((Position(first), path));
        }
    }
    found.sort();
    Ok(found)
}
