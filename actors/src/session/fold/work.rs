//! A student's continuous work: from the first event to 30 minutes of silence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{FactKind, Heard, IDLE_FOR, Moment, SessionId, Timestamp};

use super::Step;

/// After so long without an event a session is over, and the student is offline.
pub const SESSION_SILENCE: Duration = IDLE_FOR;

/// A session that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenSession {
    pub(super) id: SessionId,
    begun: Timestamp,
    pub(super) last_event: Moment,
    events: u64,
}

/// An event came: it belongs to the open session, or ends that by its silence and begins one.
pub(super) fn continue_or_begin(session: &mut Option<OpenSession>, step: &mut Step<'_>) {
    if let Some(open) =
        session.take_if(|open| step.heard.since(open.last_event.heard) >= SESSION_SILENCE)
    {
        end(&open, step);
    }
    let open = session.get_or_insert_with(|| begin(step));
    open.last_event = step.moment();
    open.events += 1;
}

/// A timer came; it does nothing if the session is another, or has had a later event.
pub(super) fn end_by_timer(
    session: &mut Option<OpenSession>,
    id: &SessionId,
    last_event: Heard,
    step: &mut Step<'_>,
) {
    if let Some(open) =
        session.take_if(|open| open.id == *id && open.last_event.heard == last_event)
    {
        end(&open, step);
    }
}

fn begin(step: &mut Step<'_>) -> OpenSession {
    let id = step
        .key
        .caused("session", step.position, SessionId::computed);
    step.conclude(
        "session_begun",
        id.as_str(),
        FactKind::SessionBegun {
            session: id.clone(),
            student: step.key.student.clone(),
            begun: step.at,
        },
    );
    OpenSession {
        id,
        begun: step.at,
        last_event: step.moment(),
        events: 0,
    }
}

fn end(open: &OpenSession, step: &mut Step<'_>) {
    step.conclude(
        "session_ended",
        open.id.as_str(),
        FactKind::SessionEnded {
            session: open.id.clone(),
            student: step.key.student.clone(),
            begun: open.begun,
            ended: open.last_event.at,
            events: open.events,
        },
    );
}
