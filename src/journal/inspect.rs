//! `mimamori journal inspect`: what is in the files, read without the program and also while it runs.
//!
//! Files are opened for reading only, nothing of what people wrote is printed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use mimamori_actors::domain::{JournalId, Position, Timestamp};
use serde_json::Value;

use super::error::JournalError;
use super::keeper::OFFSETS_FILE;
use super::scan::{Found, Scanner};
use super::segment::{self, HeaderFound, SEGMENT_HEADER_BYTES, SegmentHeader};

/// What was found in all segments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InspectSummary {
    /// The journal's name, if a header could be read.
    pub journal: Option<JournalId>,
    /// How many segment files.
    pub segments: usize,
    /// How many undamaged frames: one a request.
    pub frames: u64,
    /// How many entries in them.
    pub entries: u64,
    /// The first position that was found.
    pub first: Option<Position>,
    /// The last position that was found.
    pub last: Option<Position>,
    /// Places that are no frame, with frames or segments behind them.
    pub damaged: usize,
    /// Bytes behind the last frame that are no frame: being written now, or torn by a crash.
    pub torn_bytes: u64,
}

/// One segment's part.
#[derive(Default)]
struct SegmentSummary {
    frames: u64,
    entries: u64,
    first: Option<Position>,
    last: Option<Position>,
    begun: Option<Timestamp>,
    ended: Option<Timestamp>,
    frame_bytes: u64,
    damaged: Vec<(u64, u64)>,
    torn: Option<(u64, u64)>,
}

/// Writes a table of what is in the journal of the storage directory `dir`.
pub fn inspect(dir: &Path, out: &mut impl Write) -> Result<InspectSummary, JournalError> {
    let path = dir.join("journal");
    let segments = segment::list(&path)?;
    let mut summary = InspectSummary {
        segments: segments.len(),
        ..InspectSummary::default()
    };
    let at_out = || JournalError::io(Path::new("standard output"));
    for (place, (first, path)) in segments.iter().enumerate() {
        let file = match File::open(path) {
            Ok(file) => file,
            // trimmed while we look
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(JournalError::io(path)(error)),
        };
        let header = SegmentHeader::read(&file).map_err(JournalError::io(path))?;
        let found = read_segment(&file, path)?;
        let is_last = place + 1 == segments.len();
        summary.add(&header, &found, is_last);
        print_segment(out, *first, &header, &found, is_last).map_err(at_out())?;
    }
    print_summary(out, &summary).map_err(at_out())?;
    print_offsets(out, &path).map_err(at_out())?;
    Ok(summary)
}

fn read_segment(file: &File, path: &Path) -> Result<SegmentSummary, JournalError> {
    let length = file.metadata().map_err(JournalError::io(path))?.len();
    let mut scanner = Scanner::new(file, SEGMENT_HEADER_BYTES, length);
    let mut summary = SegmentSummary::default();
    loop {
        let found = scanner.next().map_err(|error| error.at(path))?;
        match found {
            Some(Found::Frame { header, .. }) => {
                summary.frames += 1;
                summary.entries += u64::from(header.entries);
                summary.first.get_or_insert(header.first);
                summary.last = Some(header.last());
                summary.begun.get_or_insert(header.received_at);
                summary.ended = Some(header.received_at);
                summary.frame_bytes += header.frame_bytes() as u64;
            }
            Some(Found::Damaged { offset, bytes }) => summary.damaged.push((offset, bytes)),
            Some(Found::Torn { offset, bytes }) => summary.torn = Some((offset, bytes)),
            None => return Ok(summary),
        }
    }
}

impl InspectSummary {
    fn add(&mut self, header: &HeaderFound, found: &SegmentSummary, is_last: bool) {
        if let HeaderFound::Whole(header) = header {
            self.journal.get_or_insert_with(|| header.journal.clone());
        }
        self.frames += found.frames;
        self.entries += found.entries;
        self.first = self.first.or(found.first);
        self.last = found.last.or(self.last);
        self.damaged += found.damaged.len();
        match found.torn {
            Some((_, bytes)) if is_last => self.torn_bytes += bytes,
            Some(_) => self.damaged += 1,
            None => {}
        }
    }
}

fn print_segment(
    out: &mut impl Write,
    first: Position,
    header: &HeaderFound,
    found: &SegmentSummary,
    is_last: bool,
) -> io::Result<()> {
    let header = match header {
        HeaderFound::Whole(_) => "",
        HeaderFound::Damaged => ", its header is damaged",
        HeaderFound::UnknownVersion(_) => ", of a format of the future",
    };
    write!(
        out,
        "segment {first}{header}: {} frames, {} entries, {} bytes",
        found.frames, found.entries, found.frame_bytes
    )?;
    if let (Some(first), Some(last), Some(begun), Some(ended)) =
        (found.first, found.last, found.begun, found.ended)
    {
        write!(
            out,
            ", positions {first} to {last}, received {begun} to {ended}"
        )?;
    }
    writeln!(out)?;
    for (offset, bytes) in &found.damaged {
        writeln!(
            out,
            "  damaged: {bytes} bytes at offset {offset}, frames behind them"
        )?;
    }
    match found.torn {
        Some((offset, bytes)) if is_last => writeln!(
            out,
            "  unfinished end: {bytes} bytes at offset {offset}: being written now, or cut at the next start"
        ),
        Some((offset, bytes)) => {
            writeln!(
                out,
                "  damaged: {bytes} bytes at offset {offset}, up to the segment's end"
            )
        }
        None => Ok(()),
    }
}

fn print_summary(out: &mut impl Write, summary: &InspectSummary) -> io::Result<()> {
    let journal = summary.journal.as_ref().map_or("unknown", |id| id.as_str());
    writeln!(
        out,
        "journal {journal}: {} segments, {} frames, {} entries, {} damaged places",
        summary.segments, summary.frames, summary.entries, summary.damaged
    )
}

/// What the program noted last, within about a second.
fn print_offsets(out: &mut impl Write, dir: &Path) -> io::Result<()> {
    let noted = fs::read(dir.join(OFFSETS_FILE))
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let Some(noted) = noted else {
        return writeln!(out, "offsets: none are noted");
    };
    let shown = |value: &Value| match value.as_u64() {
        Some(position) => position.to_string(),
        None => "has not reported".to_owned(),
    };
    writeln!(out, "noted end: {}", shown(&noted["end"]))?;
    writeln!(
        out,
        "identities indexed through: {}",
        shown(&noted["indexed"])
    )?;
    for (name, offset) in noted["consumers"].as_object().into_iter().flatten() {
        writeln!(out, "consumer {name}: {}", shown(offset))?;
    }
    Ok(())
}
