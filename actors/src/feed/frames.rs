//! The frames of a classroom as JSON text: contract, section 5.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::delta::DeltaParts;
use super::opening::Opening;
use crate::domain::{Alert, ClassroomId, EventBrief, Student, StudentId, Timestamp};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Frame<'a> {
    Snapshot {
        classroom: &'a ClassroomId,
        epoch: &'a str,
        seq: u64,
        students: &'a [Arc<Student>],
        alerts: &'a [Arc<Alert>],
        recent: &'a [Arc<EventBrief>],
    },
    #[serde(rename_all = "camelCase")]
    Delta {
        classroom: &'a ClassroomId,
        epoch: &'a str,
        after: u64,
        seq: u64,
        students: &'a [Arc<Student>],
        removed: &'a [StudentId],
        events: &'a [Arc<EventBrief>],
        events_omitted: u64,
        alerts: &'a [Arc<Alert>],
    },
    Reset {
        classroom: &'a ClassroomId,
        reason: &'a str,
    },
    Stale {
        classroom: &'a ClassroomId,
        since: Timestamp,
    },
}

/// Tells a console to forget a classroom: a snapshot follows.
pub fn reset_frame(classroom: &ClassroomId, reason: &str) -> Bytes {
    text(&Frame::Reset { classroom, reason })
}

/// Tells a console that since then nothing has come where something should.
pub(crate) fn stale_frame(classroom: &ClassroomId, since: Timestamp) -> Bytes {
    text(&Frame::Stale { classroom, since })
}

pub(super) fn snapshot_frame(snapshot: &Opening) -> Bytes {
    text(&Frame::Snapshot {
        classroom: &snapshot.classroom,
        epoch: &snapshot.epoch,
        seq: snapshot.seq,
        students: &snapshot.students,
        alerts: &snapshot.alerts,
        recent: &snapshot.recent,
    })
}

pub(super) fn delta_frame(parts: &DeltaParts) -> Bytes {
    text(&Frame::Delta {
        classroom: &parts.classroom,
        epoch: &parts.epoch,
        after: parts.after,
        seq: parts.seq,
        students: &parts.students,
        removed: &parts.removed,
        events: &parts.events,
        events_omitted: parts.events_omitted,
        alerts: &parts.alerts,
    })
}

fn text(frame: &Frame<'_>) -> Bytes {
    serde_json::to_vec(frame)
        .expect("structs of text and numbers always serialise")
        .into()
}
