//! What the program noted beside the segments: how far the journal was, and everybody who reads it.

use std::fs;
use std::path::Path;

use mimamori_actors::domain::Position;
use serde_json::Value;

use super::{Gone, SegmentFound};
use crate::journal::keeper::OFFSETS_FILE;

/// The last note; nothing if there is none that can be read.
pub(super) fn read(journal: &Path) -> Option<Value> {
    let text = fs::read(journal.join(OFFSETS_FILE)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The highest position in a note.
pub(super) fn reached(noted: Option<&Value>) -> Position {
    let Some(noted) = noted else {
        return Position::ZERO;
    };
    let of_all = noted["consumers"].as_object().into_iter().flatten();
    let offsets = of_all.map(|(_, offset)| offset);
    let highest = [&noted["end"], &noted["indexed"], &noted["reached"]];
    let all = highest.into_iter().chain(offsets);
    Position(all.filter_map(Value::as_u64).max().unwrap_or(0))
}

/// Up to where segments may have been let go; nothing if the note does not say.
pub(super) fn let_go(noted: Option<&Value>) -> Option<Position> {
    noted?["freeTo"].as_u64().map(Position)
}

/// What is gone though it was not let go. The last segment never is.
pub(super) fn gone(
    noted: Option<&Value>,
    segments: &[SegmentFound],
    reached: Position,
) -> Option<Gone> {
    let let_go = let_go(noted);
    let Some(oldest) = segments.first() else {
        let after = let_go.unwrap_or_default().min(reached);
        let before = reached.next();
        return (reached > Position::ZERO).then_some(Gone { after, before });
    };
    let (after, before) = (let_go?, oldest.segment);
    (after.next() < before).then_some(Gone { after, before })
}
