//! A request for help: opens with `help`, lives on while it comes again, ends
//! with `help_stop` or with 30 s of silence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{
    EndedBy, FactKind, Heard, HelpId, Moment, OpenHelp, Position, SessionKey, StudentHelp,
    Timestamp,
};

use super::Step;
use super::brief::Brief;
use super::told::{Ended, Episode};

/// After so long without a beat a request is over; clients repeat it every 10 s.
pub const HELP_SILENCE: Duration = Duration::from_secs(30);

/// A request that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) open: OpenHelp,
    /// Its beat that was received first: names it.
    pub(super) first: Position,
}

/// A `help` came: the open request lives on, or one opens.
pub(super) fn beat(
    call: &mut Option<Call>,
    brief: &Brief,
    cell_id: Option<&str>,
    key: &SessionKey,
) {
    match call {
        Some(call) => {
            call.hear(brief.received);
            if brief.position < call.first {
                call.first = brief.position;
                call.open.shown.id = id(brief.position, key);
                call.open.shown.since = brief.received.at;
            }
        }
        None => {
            *call = Some(Call {
                open: OpenHelp {
                    shown: StudentHelp {
                        id: id(brief.position, key),
                        since: brief.received.at,
                        cell_id: cell_id.map(str::to_owned),
                        claimed_by: None,
                    },
                    last_beat: brief.received,
                },
                first: brief.position,
            });
        }
    }
}

/// A `help_stop` came; without an open request it does nothing.
pub(super) fn stop(call: &mut Option<Call>, brief: &Brief) -> Option<Ended<Call>> {
    call.take().map(|episode| Ended {
        episode,
        at: brief.received.at,
    })
}

fn id(first: Position, key: &SessionKey) -> HelpId {
    key.caused("help", first, HelpId::computed)
}

impl Call {
    /// The student still asks.
    pub(super) fn hear(&mut self, beat: Moment) {
        self.open.last_beat = self.open.last_beat.max(beat);
    }

    /// Whether its silence is over.
    pub(super) fn is_silent(&self, now: Heard) -> bool {
        now.since(self.open.last_beat.heard) >= HELP_SILENCE
    }

    /// Whether a timer is about this request, and knows of its last beat.
    pub(super) fn is_meant(&self, help: &HelpId, last_beat: Heard) -> bool {
        self.open.shown.id == *help && self.open.last_beat.heard == last_beat
    }

    pub(super) fn tell_silent(&self, step: &mut Step<'_>) {
        self.tell_end(EndedBy::Silence, self.open.last_beat.at, step);
    }

    fn tell_end(&self, ended_by: EndedBy, until: Timestamp, step: &mut Step<'_>) {
        let shown = &self.open.shown;
        step.conclude(
            "help_ended",
            shown.id.as_str(),
            FactKind::HelpEnded {
                help: shown.id.clone(),
                student: step.key.student.clone(),
                since: shown.since,
                until: until.max(shown.since),
                ended_by,
                cell_id: shown.cell_id.clone(),
            },
        );
    }
}

impl Episode for Call {
    type Id = HelpId;

    fn id(&self) -> &HelpId {
        &self.open.shown.id
    }

    fn tell_opened(&self, step: &mut Step<'_>) {
        let shown = &self.open.shown;
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
    }

    fn tell_ended(&self, at: Timestamp, step: &mut Step<'_>) {
        self.tell_end(EndedBy::Student, at, step);
    }
}
