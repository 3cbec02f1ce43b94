//! A copy of the journal and of its index, made beside a server that writes them.
//!
//! Segments only grow, so a copy that ends behind a whole frame is the journal as
//! it was a moment ago. Runs of the index are never changed, only replaced: they
//! are all opened before one is read. A copy is put to use under a new name of the
//! journal, which stands in the header of each file and nowhere else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mimamori_actors::domain::{JournalId, Position};

use super::error::JournalError;
use super::index;
use super::scan::{Found, ScanError, Scanner};
use super::segment::{self, HeaderFound, SEGMENT_HEADER_BYTES, SegmentHeader};

pub use super::index::NOT_TRUSTED;
pub use super::index::{RUN_HEADER_BYTES, renamed_run};

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = SEGMENT_HEADER_BYTES as usize;
/// Runs are merged now and then; a listing that met that is made again.
const LISTINGS: u32 = 100;

/// A segment to be copied.
#[derive(Debug)]
pub struct SegmentToCopy {
    /// Its file's name.
    pub name: String,
    /// Open for reading.
    pub file: File,
    /// So many of its bytes.
    pub bytes: u64,
    /// The journal it belongs to.
    pub journal: JournalId,
    /// The position that its name says.
    pub first: Position,
    /// The last position in it; the one before `first` if it is empty.
    pub last: Position,
}

/// The segments of the journal under the storage directory `dir`, oldest first,
/// each up to its last whole frame.
///
/// # Errors
/// When one cannot be read, was trimmed meanwhile, is of a later version, or does not say whose it is.
pub fn segments(dir: &Path) -> Result<Vec<SegmentToCopy>, JournalError> {
    let path = dir.join("journal");
    let listed = segment::list(&path)?;
    let newest = listed.last().map(|(first, _)| *first);
    let mut found = Vec::new();
    for (first, path) in listed {
        found.push(segment_to_copy(first, &path, Some(first) == newest)?);
    }
    Ok(found)
}

fn segment_to_copy(
    first: Position,
    path: &Path,
    is_newest: bool,
) -> Result<SegmentToCopy, JournalError> {
    let file = File::open(path).map_err(JournalError::io(path))?;
    let header = SegmentHeader::read(&file).map_err(JournalError::io(path))?;
    let journal = match header {
        HeaderFound::Whole(header) => header.journal,
        HeaderFound::Damaged => return Err(JournalError::Nameless(path.to_path_buf())),
        HeaderFound::UnknownVersion(version) => {
            let newer = crate::storage::format::UnknownFormat::new(path, version, segment::VERSION);
            return Err(newer.into());
        }
    };
    let length = file.metadata().map_err(JournalError::io(path))?.len();
    let (end, last) = whole_frames(&file, length)
        .map_err(|error| error.at(path))?
        .unwrap_or((SEGMENT_HEADER_BYTES, Position(first.0.saturating_sub(1))));
    Ok(SegmentToCopy {
        name: segment::file_name(first),
        // what is damaged before the end stays as it is: a repair may still read it
        bytes: if is_newest { end } else { length },
        file,
        journal,
        first,
        last,
    })
}

/// Where the last whole frame ends, and its last position; nothing if there is none.
fn whole_frames(file: &File, length: u64) -> Result<Option<(u64, Position)>, ScanError> {
    let mut end = None;
    let mut scanner = Scanner::new(file, SEGMENT_HEADER_BYTES, length);
    loop {
        match scanner.next() {
            Ok(Some(Found::Frame { header, .. })) => end = Some((scanner.offset(), header.last())),
            Ok(Some(Found::Damaged { .. } | Found::Torn { .. })) => {}
            Ok(None) => return Ok(end),
            // what the server had allocated and not used went back meanwhile
            Err(ScanError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let length = file.metadata()?.len();
                if length >= scanner.limit() {
                    return Err(ScanError::Io(error));
                }
                scanner.look_again(scanner.offset(), length);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A segment's header with another journal's name in it.
///
/// # Errors
/// When it is no header that this program knows.
pub fn renamed_segment(
    header: &[u8; HEADER_BYTES],
    journal: &JournalId,
) -> Result<[u8; HEADER_BYTES], io::Error> {
    match SegmentHeader::decode(header) {
        HeaderFound::Whole(header) => Ok(SegmentHeader {
            journal: journal.clone(),
            ..header
        }
        .encode()),
        HeaderFound::Damaged | HeaderFound::UnknownVersion(_) => {
            Err(io::Error::other("no header of a segment"))
        }
    }
}

/// The index of identities, to be copied.
#[derive(Debug)]
pub struct IndexToCopy {
    /// Its runs by their names, all open.
    pub runs: BTreeMap<String, File>,
    /// The note how far the journal is, if there is one.
    pub reached: Option<Vec<u8>>,
    /// Whether a start is to look at all of it and read the journal from its oldest entry.
    pub is_not_trusted: bool,
    /// Up to where the journal is in it; nothing if it must be made anew.
    pub through: Option<Position>,
}

/// The name of the note how far the journal is.
pub const REACHED: &str = index::REACHED;

/// The index under the storage directory `dir`, as of one moment.
///
/// # Errors
/// When it cannot be read, or is that of an earlier version, which a start takes over.
pub fn index(dir: &Path) -> Result<IndexToCopy, JournalError> {
    let root = dir.join("index");
    if index::has_former(&root) {
        return Err(JournalError::Index(
            "it is of an earlier version: start the server once".to_owned(),
        ));
    }
    let runs = open_runs(&root)?;
    let mut through = None;
    for (name, file) in &runs {
        let position = index::checkpoint_of(&root.join(name), file)
            .map_err(|error| JournalError::Index(error.to_string()))?;
        through = through.max(position);
    }
    let reached = match fs::read(root.join(index::REACHED)) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(JournalError::io(&root)(error)),
    };
    Ok(IndexToCopy {
        runs,
        reached,
        is_not_trusted: dir.join(NOT_TRUSTED).exists(),
        through,
    })
}

/// All runs of one moment: a merged one appears before those that it replaces go.
fn open_runs(root: &Path) -> Result<BTreeMap<String, File>, JournalError> {
    for _ in 0..LISTINGS {
        let names = run_names(root)?;
        let opened = names.iter().map(|(name, path)| {
            let file = File::open(path)?;
            Ok((name.clone(), file))
        });
        let opened: io::Result<BTreeMap<_, _>> = opened.collect();
        match opened {
            Ok(opened) if run_names(root)? == names => return Ok(opened),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(JournalError::io(root)(error)),
        }
    }
    Err(JournalError::Index(
        "it changes faster than it can be read".to_owned(),
    ))
}

fn run_names(root: &Path) -> Result<BTreeMap<String, PathBuf>, JournalError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(JournalError::io(root)(error)),
    };
    let mut names = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(JournalError::io(root))?.path();
        if path.extension().is_some_and(|kind| kind == "run")
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            names.insert(name.to_owned(), path.clone());
        }
    }
    Ok(names)
}

/// Reads the first bytes of a file.
///
/// # Errors
/// When it is shorter, or cannot be read.
pub fn beginning<const N: usize>(file: &File) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A name for a journal that nobody else has.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_name() -> io::Result<JournalId> {
    super::recovery::random_name()
}
