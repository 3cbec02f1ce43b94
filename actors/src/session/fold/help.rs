//! A request for help: opens with `help`, lives on while it comes again, ends
//! with `help_stop` or with 30 s of silence.

use std::time::Duration;

use crate::domain::{EndedBy, FactKind, Heard, HelpId, OpenHelp, StudentHelp, Timestamp};

use super::Step;

/// After so long without a beat a request is over; clients repeat it every 10 s.
pub const HELP_SILENCE: Duration = Duration::from_secs(30);

/// A `help` came: the open request lives on, or one opens.
pub(super) fn beat(help: &mut Option<OpenHelp>, cell: Option<&String>, step: &mut Step<'_>) {
    if let Some(open) = help {
        open.last_beat = step.moment();
        return;
    }
    let shown = StudentHelp {
        id: step.cause("help", HelpId::computed),
        since: step.at,
        cell_id: cell.cloned(),
        claimed_by: None,
    };
    step.conclude(
        "help_opened",
        shown.id.as_str(),
        FactKind::HelpOpened {
            help: shown.id.clone(),
            student: step.key.student.clone(),
            since: shown.since,
            cell_id: shown.cell_id.clone(),
        },
    );
    *help = Some(OpenHelp {
        shown,
        last_beat: step.moment(),
    });
}

/// A `help_stop` came; without an open request it does nothing.
pub(super) fn stop(help: &mut Option<OpenHelp>, step: &mut Step<'_>) {
    if let Some(open) = help.take() {
        end(&open, EndedBy::Student, step.at, step);
    }
}

/// An event came, of any kind: if the silence was over before it, the request ended at its last beat.
pub(super) fn end_if_silent(help: &mut Option<OpenHelp>, step: &mut Step<'_>) {
    if let Some(open) = help.take_if(|open| step.heard.since(open.last_beat.heard) >= HELP_SILENCE)
    {
        end(&open, EndedBy::Silence, open.last_beat.at, step);
    }
}

/// A timer came; it does nothing if the request is another, or has had a later beat.
pub(super) fn end_by_timer(
    help: &mut Option<OpenHelp>,
    id: &HelpId,
    last_beat: Heard,
    step: &mut Step<'_>,
) {
    let is_current =
        |open: &mut OpenHelp| open.shown.id == *id && open.last_beat.heard == last_beat;
    if let Some(open) = help.take_if(is_current) {
        step.outcome.changed = true;
        end(&open, EndedBy::Silence, open.last_beat.at, step);
    }
}

fn end(open: &OpenHelp, ended_by: EndedBy, until: Timestamp, step: &mut Step<'_>) {
    step.conclude(
        "help_ended",
        open.shown.id.as_str(),
        FactKind::HelpEnded {
            help: open.shown.id.clone(),
            student: step.key.student.clone(),
            since: open.shown.since,
            until,
            ended_by,
            cell_id: open.shown.cell_id.clone(),
        },
    );
}
