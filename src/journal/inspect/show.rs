//! What was found, for people.

use std::io::{self, Write};

use mimamori_actors::domain::Position;
use serde_json::Value;

use super::{Gone, HeaderState, Hole, IndexFound, SegmentFound, SetAside, Survey};

/// Writes a few lines for each file, and what they come to.
///
/// # Errors
/// Those of `out`.
pub fn show(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    if let Some(gone) = &survey.gone {
        show_gone(gone, survey.segments.is_empty(), out)?;
    }
    for segment in &survey.segments {
        show_segment(segment, out)?;
        let of_it = |hole: &&Hole| hole.segment == segment.segment;
        for hole in survey.holes.iter().filter(of_it) {
            show_hole(hole, out)?;
        }
        if let Some(end) = survey.unfinished_end.iter().find(of_it) {
            writeln!(
                out,
                "  unfinished end: {} bytes at offset {}: being written now, or cut at the next start",
                end.bytes, end.offset
            )?;
        }
    }
    show_journal(survey, out)?;
    for piece in &survey.set_aside {
        show_piece(piece, out)?;
    }
    show_index(&survey.index, out)?;
    for file in &survey.left_behind {
        writeln!(
            out,
            "left behind: {}, {} bytes in the making",
            file.file, file.bytes
        )?;
    }
    show_noted(survey.noted.as_ref(), out)
}

fn show_segment(segment: &SegmentFound, out: &mut impl Write) -> io::Result<()> {
    let header = match segment.header {
        HeaderState::Whole => "",
        HeaderState::Damaged => ", its header is damaged",
        HeaderState::Later => ", of a format of the future",
    };
    write!(
        out,
        "segment {}{header}: {} frames, {} entries, {} bytes",
        segment.segment, segment.frames, segment.entries, segment.bytes
    )?;
    if let (Some(first), Some(last), Some(begun), Some(ended)) =
        (segment.first, segment.last, segment.begun, segment.ended)
    {
        write!(
            out,
            ", positions {first} to {last}, received {begun} to {ended}"
        )?;
    }
    writeln!(out)
}

fn show_gone(gone: &Gone, is_all: bool, out: &mut impl Write) -> io::Result<()> {
    let last = Position(gone.before.0.saturating_sub(1));
    if is_all {
        return writeln!(
            out,
            "every segment file is gone: positions up to {last} at least were given, and everybody had read those up to {}",
            gone.after
        );
    }
    writeln!(
        out,
        "a segment file is gone: positions {} to {last} are missing before the journal's beginning, and not everybody had read them",
        gone.after.next()
    )
}

fn show_hole(hole: &Hole, out: &mut impl Write) -> io::Result<()> {
    let missing = match hole.missing() {
        Some((first, last)) if first == last => format!("position {first} is missing"),
        Some((first, last)) => format!("positions {first} to {last} are missing"),
        None => "no position is missing for it".to_owned(),
    };
    match (hole.bytes, hole.until) {
        (0, _) => writeln!(out, "  a hole at offset {}: {missing}", hole.offset),
        (bytes, Some(_)) => writeln!(
            out,
            "  damaged: {bytes} bytes at offset {}, frames behind them: {missing}",
            hole.offset
        ),
        (bytes, None) => writeln!(
            out,
            "  damaged: {bytes} bytes at offset {}, the last of the segment: {missing}",
            hole.offset
        ),
    }
}

fn show_journal(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    let journal = survey.journal.as_ref().map_or("unknown", |id| id.as_str());
    let sum = |of: fn(&SegmentFound) -> u64| survey.segments.iter().map(of).sum::<u64>();
    writeln!(
        out,
        "journal {journal}: {} segments, {} frames, {} entries, {} damaged places, {} entries missing",
        survey.segments.len(),
        sum(|segment| segment.frames),
        sum(|segment| segment.entries),
        survey.damaged_places(),
        survey.missing_entries()
    )?;
    let kinds = &survey.entries;
    write!(
        out,
        "entries: {} events, {} rejected, {} dead letters, {} of the program itself",
        kinds.events, kinds.rejected, kinds.dead_letters, kinds.own
    )?;
    if kinds.erased > 0 {
        write!(out, ", {} erased", kinds.erased)?;
    }
    match kinds.unreadable {
        0 => writeln!(out),
        many => writeln!(out, ", {many} that this program cannot read"),
    }
}

fn show_piece(piece: &SetAside, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "set aside: journal/damaged/{}, {} bytes",
        piece.file, piece.bytes
    )?;
    if let Some(segment) = piece.segment {
        write!(out, " of segment {segment} at offset {}", piece.offset)?;
    }
    match (piece.first, piece.last) {
        (Some(first), Some(last)) => writeln!(
            out,
            ": {} whole frames, {} entries, positions {first} to {last}",
            piece.frames, piece.entries
        ),
        _ => writeln!(out, ": no whole frame"),
    }
}

fn show_index(index: &IndexFound, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "index: {} runs of {} days, {} identities",
        index.runs, index.days, index.identities
    )?;
    match index.through {
        Some(position) => writeln!(out, ", up to position {position}")?,
        None => writeln!(out, ", the next start fills it from the journal")?,
    }
    for reason in &index.damaged {
        writeln!(out, "  damaged: {reason}")?;
    }
    if index.is_marked {
        writeln!(
            out,
            "  marked: the next start looks at all of it and reads the journal from its oldest entry"
        )?;
    }
    if index.has_former {
        writeln!(
            out,
            "  the index of an earlier version is there: the next start takes it over"
        )?;
    }
    for file in &index.set_aside {
        writeln!(out, "  set aside: {}, {} bytes", file.file, file.bytes)?;
    }
    Ok(())
}

/// What the program noted last, within about a second.
fn show_noted(noted: Option<&Value>, out: &mut impl Write) -> io::Result<()> {
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
