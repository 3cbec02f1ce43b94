//! Segments of which the file is gone and a backup is in `journal/damaged`.
//!
//! Only the file with its header is made; then its entries are a hole like any
//! other, and the next plan fills it. One at a time, so that no more than one
//! segment is held in memory.

use std::ops::ControlFlow;

use super::{Plan, Step};
use crate::journal::inspect::{SegmentFound, SetAside, Survey};

impl Plan {
    /// Makes the file of the first segment that is gone and of which there is a backup.
    pub(super) fn make_segment(&mut self, survey: &Survey) {
        let found = survey.set_aside.iter().try_for_each(|piece| {
            let header = piece.header.as_ref();
            match header.filter(|header| Some(&header.journal) == self.journal.as_ref()) {
                Some(header) if is_gone(piece, survey) => ControlFlow::Break(header.clone()),
                Some(_) | None => ControlFlow::Continue(()),
            }
        });
        let ControlFlow::Break(header) = found else {
            return;
        };
        self.has_more = true;
        // told by the plan that finds it still missing
        self.steps
            .retain(|step| !matches!(step, Step::Lost { .. } | Step::LeaveEnd { .. }));
        let path = self.path_of(header.first);
        self.steps.push(Step::MakeSegment { path, header });
    }
}

/// Whether the segment of this backup is missing, and stood between those that are there.
fn is_gone(piece: &SetAside, survey: &Survey) -> bool {
    let (Some(first), Some(last), Some((begun, ended))) = (piece.segment, piece.last, piece.times)
    else {
        return false;
    };
    let place = survey.segments.partition_point(|it| it.segment < first);
    let (before, behind) = survey.segments.split_at(place);
    let fits_behind = |it: &SegmentFound| {
        it.last.is_none_or(|last| last < first) && it.ended.is_none_or(|at| at <= begun)
    };
    let fits_before =
        |it: &SegmentFound| it.segment != first && it.begun.is_none_or(|at| ended <= at);
    let fits = before.iter().all(fits_behind) && behind.iter().all(fits_before);
    // what everybody has read was trimmed
    let is_wanted = !before.is_empty() || survey.gone.is_some_and(|gone| last > gone.after);
    fits && is_wanted
}
