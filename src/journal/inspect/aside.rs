//! What is kept beside the segments: pieces that were set aside, and files that never became one.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use mimamori_actors::domain::Position;

use super::{LeftBehind, SetAside};
use crate::journal::error::JournalError;
use crate::journal::scan::{Found, Scanner};
use crate::journal::segment::{self, HeaderFound, SegmentHeader};

/// Files in the making; `spare.tmp` is no such file but the next segment, allocated ahead.
const IN_THE_MAKING: [&str; 4] = ["spare.part", "segment.part", "erased.part", "offsets.tmp"];

/// The files in which damaged bytes are kept, in the order of their names.
pub(super) fn list(dir: &Path) -> Result<Vec<SetAside>, JournalError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(JournalError::io(dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(JournalError::io(dir))?.path();
        if path.is_file() {
            found.push(look_at(&path)?);
        }
    }
    found.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(found)
}

fn look_at(path: &Path) -> Result<SetAside, JournalError> {
    let file = File::open(path).map_err(JournalError::io(path))?;
    let bytes = file.metadata().map_err(JournalError::io(path))?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (segment, offset) = origin(&name);
    let mut piece = SetAside {
        file: name.into_owned(),
        bytes,
        segment,
        offset,
        frames: 0,
        entries: 0,
        first: None,
        last: None,
        times: None,
        header: header_of(path, &file)?,
    };
    let mut scanner = Scanner::new(&file, 0, bytes);
    while let Some(found) = scanner.next().map_err(|error| error.at(path))? {
        if let Found::Frame { header, .. } = found {
            piece.frames += 1;
            piece.entries += u64::from(header.entries);
            piece.first.get_or_insert(header.first);
            piece.last = Some(header.last());
            let begun = piece.times.map_or(header.received_at, |(begun, _)| begun);
            piece.times = Some((begun, header.received_at));
        }
    }
    Ok(piece)
}

/// That of a segment file which has the name that its header says.
fn header_of(path: &Path, file: &File) -> Result<Option<SegmentHeader>, JournalError> {
    match SegmentHeader::read(file).map_err(JournalError::io(path))? {
        HeaderFound::Whole(header) => {
            let name = segment::file_name(header.first);
            Ok(path.ends_with(name).then_some(header))
        }
        HeaderFound::Damaged | HeaderFound::UnknownVersion(_) => Ok(None),
    }
}

/// Where the bytes of a piece stood, as its name says: `SEGMENT-OFFSET-BYTES.bin`,
/// or `SEGMENT.seg` for a whole file that somebody has put there.
fn origin(name: &str) -> (Option<Position>, u64) {
    let stem = name.split('.').next().unwrap_or_default();
    let mut numbers = stem.split('-').map(|digits| digits.parse::<u64>().ok());
    let segment = numbers.next().flatten().map(Position);
    (segment, numbers.next().flatten().unwrap_or(0))
}

/// What a crash left in the making in the journal's directory.
pub(super) fn left_behind(dir: &Path) -> Vec<LeftBehind> {
    let size = |name: &str| fs::metadata(dir.join(name)).ok().map(|file| file.len());
    IN_THE_MAKING
        .iter()
        .filter_map(|name| {
            Some(LeftBehind {
                file: format!("journal/{name}"),
                bytes: size(name)?,
            })
        })
        .collect()
}
