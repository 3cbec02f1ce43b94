//! Everything that is kept about one person, as one JSON document, written as it is read.
//!
//! However much there is, no more than a page of it is in memory.

use std::sync::Arc;

use bytes::Bytes;
use mimamori_actors::domain::{Event, Position, SessionKey, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::whose::Person;
use crate::storage::records::{
    AlertRow, DeadLetterRow, ExecutionRow, HelpRow, PersonRow, Records, RecordsError, RejectedRow,
    SessionRow, StoredEvent, TimeKey,
};

/// The format of the document.
const FORMAT: u32 = 1;
/// Rows that are read together; a page also ends at 8 MiB.
const PAGE: usize = 500;
/// So many pieces wait for whoever takes them, of a row each at the least.
const PIECES: usize = 4;
/// A piece is about so long.
const PIECE_BYTES: usize = 64 << 10;

/// Why a document ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Something that stands there has no JSON form.
    #[error("a row has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// Nobody takes it any more.
    #[error("nobody takes it any more")]
    Gone,
}

/// A piece of the document, or why it ends.
pub type Piece = Result<Bytes, ExportError>;

/// The document about a person, piece by piece. One that ends with an error is not whole.
pub(crate) fn document(
    records: Arc<Records>,
    person: Person,
    row: Option<PersonRow>,
) -> mpsc::Receiver<Piece> {
    let (pieces, taken) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let mut out = Out {
            pieces: pieces.clone(),
            text: Vec::with_capacity(PIECE_BYTES * 2),
        };
        let written = write(&mut out, &records, person, row).await;
        match written {
            Ok(()) | Err(ExportError::Gone) => {}
            Err(error) => {
                metrics::counter!("mimamori_export_failures_total").increment(1);
                let _ = pieces.send(Err(error)).await;
            }
        }
    });
    taken
}

/// What is on its way out.
struct Out {
    pieces: mpsc::Sender<Piece>,
    text: Vec<u8>,
}

impl Out {
    fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), ExportError> {
        Ok(serde_json::to_writer(&mut self.text, value)?)
    }

    async fn flush(&mut self, least: usize) -> Result<(), ExportError> {
        if self.text.len() < least || self.text.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.text));
        let sent = self.pieces.send(Ok(piece)).await;
        sent.map_err(|_| ExportError::Gone)
    }

    /// The rows of a page.
    async fn rows<T: Serialize>(
        &mut self,
        rows: impl Iterator<Item = T>,
        is_first: &mut bool,
    ) -> Result<(), ExportError> {
        for row in rows {
            self.push(if std::mem::take(is_first) {
                "\n"
            } else {
                ",\n"
            });
            self.json(&row)?;
            self.flush(PIECE_BYTES).await?;
        }
        Ok(())
    }
}

/// Writes a list page by page; `next` reads the one behind a key.
macro_rules! list {
    ($out:expr, $name:literal, $read:expr, $key:expr, $item:expr) => {{
        $out.push(concat!(",\n\"", $name, "\":["));
        let (mut after, mut is_first) = (None, true);
        loop {
            let found = $read(after).await?;
            after = found.rows.last().map($key);
            $out.rows(found.rows.into_iter().map($item), &mut is_first)
                .await?;
            if !found.has_more {
                break;
            }
        }
        $out.push("]");
    }};
}

async fn write(
    out: &mut Out,
    records: &Records,
    mut person: Person,
    row: Option<PersonRow>,
) -> Result<(), ExportError> {
    let key = person.key.clone();
    let key = &key;
    out.push(&format!("{{\"format\":{FORMAT},\n\"classroom\":"));
    out.json(&key.classroom)?;
    out.push(",\n\"student\":");
    out.json(&student(key, row))?;
    list!(
        out,
        "sessions",
        |after| records.sessions_of(key, after, PAGE),
        |row: &SessionRow| (row.begun_ms, row.id.clone()),
        session
    );
    list!(
        out,
        "executions",
        |after| records.executions_of(key, after, PAGE),
        ExecutionRow::key,
        execution
    );
    let end = Position(u64::MAX);
    list!(
        out,
        "events",
        |after| records.events_of(key, end, after, PAGE),
        |(key, _): &(TimeKey, StoredEvent)| *key,
        |(_, stored): (TimeKey, StoredEvent)| {
            person.note(stored.position);
            EventItem::from(stored)
        }
    );
    list!(
        out,
        "help",
        |after| records.help_of(key, after, PAGE),
        |row: &HelpRow| (row.since_ms, row.id.clone()),
        help
    );
    list!(
        out,
        "alerts",
        |after| records.alerts_of(key, after, PAGE),
        |row: &AlertRow| (row.since_ms, row.id.clone()),
        alert
    );
    // none are kept by this version
    out.push(",\n\"messages\":[]");
    faults(out, records, &person).await?;
    out.push("}\n");
    out.flush(0).await
}

/// What was refused of theirs, and what could not be stored.
async fn faults(out: &mut Out, records: &Records, person: &Person) -> Result<(), ExportError> {
    out.push(",\n\"rejected\":[");
    let (mut after, mut is_first) = (0, true);
    loop {
        let found = records.all_rejected(&person.key, after, PAGE).await?;
        after = found.rows.last().map_or(after, |row| row.position);
        let theirs = found.rows.iter().filter(|row| person.sent(&row.payload));
        out.rows(theirs.map(rejected), &mut is_first).await?;
        if !found.has_more {
            break;
        }
    }
    out.push("],\n\"deadLetters\":[");
    let (mut after, mut is_first) = (0, true);
    loop {
        let found = records.all_letters(after, PAGE).await?;
        after = found.rows.last().map_or(after, |row| row.position);
        let theirs = found.rows.iter();
        let theirs = theirs.filter(|row| person.is_of_letter(&row.to_letter()));
        out.rows(theirs.map(letter), &mut is_first).await?;
        if !found.has_more {
            break;
        }
    }
    out.push("]");
    Ok(())
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn student(key: &SessionKey, row: Option<PersonRow>) -> Value {
    match row {
        Some(row) => json!({
            "id": key.student,
            "address": row.address,
            "name": row.name,
            "team": row.team,
            "firstSeen": time(row.first_seen_ms),
            "lastSeen": time(row.last_seen_ms),
        }),
        None => json!({ "id": key.student }),
    }
}

fn session(row: SessionRow) -> Value {
    json!({
        "id": row.id,
        "begun": time(row.begun_ms),
        "ended": row.ended_ms.map(time),
        "events": row.events,
    })
}

/// As the list of executions has it.
fn execution(row: ExecutionRow) -> Value {
    let result = row
        .result
        .and_then(|json| serde_json::from_str::<Value>(&json).ok());
    json!({
        "eventId": row.event_id,
        "notebook": row.notebook,
        "cellId": row.cell_id,
        "cellIndex": row.cell_index,
        "cellType": row.cell_type,
        "status": row.status,
        "executionCount": row.execution_count,
        "code": row.code,
        "error": row.error,
        "result": result,
        "eventTime": time(row.event_time_ms),
        "receivedAt": time(row.received_at_ms),
        "at": time(row.at_ms),
    })
}

/// The wire form, and what the server knows besides.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventItem {
    #[serde(flatten)]
    event: Event,
    received_at: Timestamp,
    position: Position,
    at: Timestamp,
}

impl From<StoredEvent> for EventItem {
    fn from(stored: StoredEvent) -> Self {
        Self {
            event: stored.event,
            received_at: stored.received_at,
            position: stored.position,
            at: stored.at,
        }
    }
}

fn help(row: HelpRow) -> Value {
    json!({
        "id": row.id,
        "since": time(row.since_ms),
        "until": row.until_ms.map(time),
        "endedBy": row.ended_by,
        "claimedBy": row.claimed_by,
        "cellId": row.cell_id,
    })
}

fn alert(row: AlertRow) -> Value {
    json!({
        "id": row.id,
        "kind": row.kind,
        "cellId": row.cell_id,
        "since": time(row.since_ms),
        "reason": row.reason,
        "state": row.state,
        "changed": time(row.changed_ms),
    })
}

fn rejected(row: &RejectedRow) -> Value {
    json!({
        "position": row.position,
        "index": row.item,
        "eventId": row.event_id,
        "code": row.code,
        "detail": row.detail,
        "pointer": row.pointer,
        "payload": row.payload,
        "receivedAt": time(row.received_at_ms),
    })
}

fn letter(row: &DeadLetterRow) -> Value {
    json!({
        "id": row.id,
        "consumer": row.consumer,
        "position": row.entry,
        "reason": row.reason,
        "receivedAt": time(row.received_at_ms),
    })
}
