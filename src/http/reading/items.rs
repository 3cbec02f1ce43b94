//! The items of the lists as they go out (contract, section 6), each from its row.

use mimamori_actors::domain::{Event, Student, StudentStatus, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::storage::records::{
    CellRow, CellTotals, DeadLetterRow, ExecutionRow, HelpRow, KnownStudent, LessonRow,
    RejectedRow, SessionRow, StoredEvent,
};
use crate::storage::series::Bucket;

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecutionItem {
    event_id: String,
    student: String,
    notebook: Option<String>,
    cell_id: Option<String>,
    cell_index: Option<i64>,
    cell_type: Option<String>,
    status: String,
    execution_count: Option<i64>,
    code: Option<String>,
    error: Option<String>,
    result: Option<Box<RawValue>>,
    event_time: Timestamp,
    received_at: Timestamp,
    at: Timestamp,
}

impl From<ExecutionRow> for ExecutionItem {
    fn from(row: ExecutionRow) -> Self {
        Self {
            event_id: row.event_id,
            student: row.student,
            notebook: row.notebook,
            cell_id: row.cell_id,
            cell_index: row.cell_index,
            cell_type: row.cell_type,
            status: row.status,
            execution_count: row.execution_count,
            code: row.code,
            error: row.error,
            // stored as JSON by us: a text or an array of texts
            result: row.result.and_then(|json| RawValue::from_string(json).ok()),
            event_time: time(row.event_time_ms),
            received_at: time(row.received_at_ms),
            at: time(row.at_ms),
        }
    }
}

/// The wire form of the event and what the server knows besides.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventItem {
    #[serde(flatten)]
    event: Event,
    student: String,
    received_at: Timestamp,
    position: u64,
    at: Timestamp,
}

impl From<StoredEvent> for EventItem {
    fn from(stored: StoredEvent) -> Self {
        Self {
            event: stored.event,
            student: stored.student.as_str().to_owned(),
            received_at: stored.received_at,
            position: stored.position.0,
            at: stored.at,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HelpItem {
    id: String,
    student: String,
    since: Timestamp,
    until: Option<Timestamp>,
    ended_by: Option<String>,
    claimed_by: Option<String>,
    cell_id: Option<String>,
    at: Timestamp,
}

impl From<HelpRow> for HelpItem {
    fn from(row: HelpRow) -> Self {
        Self {
            id: row.id,
            student: row.student,
            since: time(row.since_ms),
            until: row.until_ms.map(time),
            ended_by: row.ended_by,
            claimed_by: row.claimed_by,
            cell_id: row.cell_id,
            at: time(row.since_ms),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LessonItem {
    id: String,
    begun: Timestamp,
    ended: Option<Timestamp>,
    ended_by: Option<String>,
    at: Timestamp,
}

impl From<LessonRow> for LessonItem {
    fn from(row: LessonRow) -> Self {
        Self {
            id: row.id,
            begun: time(row.begun_ms),
            ended: row.ended_ms.map(time),
            ended_by: row.ended_by,
            at: time(row.begun_ms),
        }
    }
}

/// A refused event. Its payload is hostile text, and a text here: nothing in it becomes JSON of ours.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RejectedItem {
    position: i64,
    index: i64,
    event_id: Option<String>,
    code: String,
    detail: String,
    pointer: String,
    payload: String,
    received_at: Timestamp,
    at: Timestamp,
}

impl From<RejectedRow> for RejectedItem {
    fn from(row: RejectedRow) -> Self {
        Self {
            position: row.position,
            index: row.item,
            event_id: row.event_id,
            code: row.code,
            detail: row.detail,
            pointer: row.pointer,
            payload: row.payload,
            received_at: time(row.received_at_ms),
            at: time(row.received_at_ms),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLetterItem {
    id: String,
    consumer: String,
    /// Of the entry that could not be stored.
    position: i64,
    reason: String,
    received_at: Timestamp,
    at: Timestamp,
}

impl From<DeadLetterRow> for DeadLetterItem {
    fn from(row: DeadLetterRow) -> Self {
        Self {
            id: row.id,
            consumer: row.consumer,
            position: row.entry,
            reason: row.reason,
            received_at: time(row.received_at_ms),
            at: time(row.received_at_ms),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionItem {
    id: String,
    begun: Timestamp,
    ended: Option<Timestamp>,
    events: i64,
}

impl From<SessionRow> for SessionItem {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            begun: time(row.begun_ms),
            ended: row.ended_ms.map(time),
            events: row.events,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CellItem {
    notebook: Option<String>,
    cell_id: Option<String>,
    cell_index: Option<i64>,
    status: String,
    tries: i64,
    last_at: Timestamp,
}

impl From<CellRow> for CellItem {
    fn from(row: CellRow) -> Self {
        Self {
            notebook: row.notebook,
            cell_id: row.cell_id,
            cell_index: row.cell_index,
            status: row.status,
            tries: row.tries,
            last_at: time(row.at_ms),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CellTotalsItem {
    notebook: Option<String>,
    cell_id: Option<String>,
    cell_index: Option<i64>,
    reached: i64,
    ok: i64,
    errors: i64,
    skipped: i64,
    median_tries: Option<f64>,
    commonest_error: Option<String>,
    at: Timestamp,
}

impl From<CellTotals> for CellTotalsItem {
    fn from(totals: CellTotals) -> Self {
        Self {
            notebook: totals.notebook,
            cell_id: totals.cell_id,
            cell_index: totals.cell_index,
            reached: totals.reached,
            ok: totals.ok,
            errors: totals.errors,
            skipped: totals.skipped,
            median_tries: totals.median_tries,
            commonest_error: totals.commonest_error,
            at: time(totals.at_ms),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BucketItem {
    at: Timestamp,
    executions: u64,
    errors: u64,
    help: u64,
    active: u64,
}

impl From<Bucket> for BucketItem {
    fn from(bucket: Bucket) -> Self {
        Self {
            at: bucket.at,
            executions: bucket.executions,
            errors: bucket.errors,
            help: bucket.help,
            active: bucket.active,
        }
    }
}

/// A student whom only the records know: has done nothing in the current lesson.
pub(super) fn offline(known: KnownStudent) -> Student {
    Student {
        id: known.student_id(),
        name: known.name.unwrap_or_default().into(),
        team: known.team.map(Into::into),
        status: StudentStatus::Offline,
        notebook: None,
        cell_id: None,
        cell_index: None,
        executions: 0,
        errors: 0,
        consecutive_errors: 0,
        // who only stood in a list of before never did anything
        last_activity: (known.last_seen_ms != 0).then(|| time(known.last_seen_ms)),
        help: None,
        is_default_address: false,
        people: Vec::new(),
    }
}
