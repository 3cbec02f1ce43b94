//! `POST /api/v1/events`: from the bytes of a request to the answer that they are on disk.
//!
//! Checked in this order: method, key, media type, room, size, time, JSON;
//! then event by event (contract, section 3). Every answer of this route, an
//! error too, may be read by a page of any origin, for students' browsers send
//! from wherever their notebooks are served; none takes a cookie.
//!
//! Bounds: a body has at most 4 MiB decoded and 500 events, must be there
//! within the body time-out, and all bodies being read and answered take at
//! most 256 MiB together, what their values take once decoded included.

mod body;
mod cors;
mod media;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use mimamori_actors::domain::ClassroomId;
use mimamori_actors::ports::{AppendError, Journal, NewRecord, Origin, Verdict};
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, StatusCode, header};

use super::request::head;
use super::{Access, ApiError, Head, Response};
use crate::admit::{Admission, Outcome, StudentKey};
use crate::config::Classrooms;
use crate::decode::{BodyFault, Events, MAX_EVENTS, cell_monitor, split};
use body::{Body, Incoming, MAX_BODY_BYTES, Room};

const ALLOW: &str = "POST, OPTIONS";
/// What all bodies in hand may take together.
const MAX_BODIES_BYTES: usize = 256 * 1024 * 1024;
/// What one value of JSON takes in memory once it is decoded, about, besides its text.
const VALUE_BYTES: usize = 48;
/// After this much decoding others get their turn.
const TURN_BYTES: usize = 64 * 1024;

/// Decides before a body is read whether the server can take events now.
pub trait Gate: Send + Sync + 'static {
    /// Why it can't: a 503 with `Retry-After`.
    fn refuse(&self) -> Option<ApiError>;
}

/// Finds the classroom behind an ingest key.
pub trait IngestKeys: Send + Sync + 'static {
    /// The classroom that the request may write to.
    ///
    /// # Errors
    /// 401 without or with an unknown key, 403 with one that may not write.
    fn classroom_to_write(&self, head: &Head) -> Result<ClassroomId, ApiError>;
}

impl IngestKeys for Access {
    fn classroom_to_write(&self, head: &Head) -> Result<ClassroomId, ApiError> {
        Access::classroom_to_write(self, head)
    }
}

/// What the route needs.
#[derive(Clone)]
pub struct Ingest {
    /// Who may write where; usually [`Access`].
    pub keys: Arc<dyn IngestKeys>,
    /// Where accepted events are on disk.
    pub journal: Arc<dyn Journal>,
    /// Whether anything can be taken now.
    pub gate: Arc<dyn Gate>,
    /// Makes students' ids of their addresses.
    pub student_key: StudentKey,
    /// Which classrooms store no code.
    pub classrooms: Classrooms,
    /// Within this time the whole body must be there.
    pub body_timeout: Duration,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest")
            .field("body_timeout", &self.body_timeout)
            .finish_non_exhaustive()
    }
}

/// The route with all its methods; every other path is rejected.
pub fn routes(parts: Ingest) -> BoxedFilter<(Response,)> {
    let desk = Desk::new(parts);
    warp::path!("api" / "v1" / "events")
        .and(head())
        .and(warp::body::stream())
        .then(move |head, body| {
            let desk = desk.clone();
            async move { desk.receive(head, body).await }
        })
        .boxed()
}

/// Where requests are received.
#[derive(Clone)]
struct Desk {
    parts: Ingest,
    room: Room,
}

impl Desk {
    fn new(parts: Ingest) -> Self {
        Self {
            parts,
            room: Room::new(MAX_BODIES_BYTES),
        }
    }

    /// Answers one request, and reads what it did not need of a refused body,
    /// so that the client sees the answer and not a reset connection.
    async fn receive<S, B, E>(&self, head: Head, body: S) -> Response
    where
        S: Stream<Item = Result<B, E>> + Send,
        B: Buf,
    {
        let body = std::pin::pin!(body);
        let mut incoming = Incoming::new(body, self.parts.body_timeout);
        let mut response = match self.answer(&head, &mut incoming).await {
            Ok(response) => {
                if head.method == Method::OPTIONS {
                    // a preflight has no body, but only its end tells: the connection is kept for the request
                    incoming.throw_away().await;
                }
                response
            }
            Err(error) => {
                if head.header("expect").is_none() {
                    incoming.throw_away().await;
                }
                error.into_response(&head.context.request_id)
            }
        };
        if !incoming.is_over() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        cors::allow_any_origin(&mut response);
        count_answer(response.status());
        response
    }

    async fn answer<S, B, E>(
        &self,
        head: &Head,
        incoming: &mut Incoming<S>,
    ) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, E>> + Send + Unpin,
        B: Buf,
    {
        if head.method == Method::OPTIONS {
            return Ok(cors::preflight(head));
        }
        if head.method != Method::POST {
            return Err(ApiError::method_not_allowed(ALLOW));
        }
        let classroom = self.parts.keys.classroom_to_write(head)?;
        let coding = media::coding(head)?;
        if let Some(refusal) = self.parts.gate.refuse() {
            return Err(refusal);
        }
        let body = body::read(head, coding, incoming, &self.room).await?;
        let outcome = self.take(&classroom, body).await?;
        tell(&outcome)
    }

    /// Brings the events of a body onto the disk.
    async fn take(&self, classroom: &ClassroomId, body: Body) -> Result<Outcome, ApiError> {
        let Body { bytes, mut held } = body;
        let events = split(&bytes).map_err(|fault| refuse_body(&fault))?;
        held.grow(bytes.len() + events.values * VALUE_BYTES)
            .map_err(|full| full.refuse())?;
        let mut admission = self.admit(classroom, &events).await;
        let records = std::mem::take(&mut admission.records);
        let verdicts = self.append(records, admission.is_all_refused()).await?;
        let (outcome, conflicts) = admission.settle(classroom, &events.elements, &verdicts);
        if !conflicts.is_empty() {
            self.append(conflicts, true).await?;
        }
        count_outcome(&outcome);
        Ok(outcome)
    }

    async fn admit(&self, classroom: &ClassroomId, events: &Events<'_>) -> Admission {
        let keeps_code = self.parts.classrooms.keep_code_of(classroom);
        let mut admission =
            Admission::with_capacity(events.elements.len()).keeping_code(keeps_code);
        let mut bytes = 0;
        for element in &events.elements {
            let decoded = cell_monitor::decode(element);
            admission.admit(classroom, &self.parts.student_key, element, decoded);
            bytes += element.as_sent().len();
            if bytes > TURN_BYTES {
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
        admission
    }

    /// One verdict a record. Records that are only kept for inspection may be
    /// lost, which is counted: the client is told of them in any case.
    async fn append(
        &self,
        records: Vec<NewRecord>,
        is_only_for_inspection: bool,
    ) -> Result<Vec<Verdict>, ApiError> {
        let count = records.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        match self.parts.journal.append(records, Origin::Outside).await {
            Ok(verdicts) if verdicts.len() == count => Ok(verdicts),
            Ok(verdicts) => {
                tracing::error!(
                    batch_len = count,
                    verdicts = verdicts.len(),
                    "the journal did not answer for every record"
                );
                Err(ApiError::internal())
            }
            Err(_) if is_only_for_inspection => {
                metrics::counter!("mimamori_ingest_unkept_rejections_total")
                    .increment(count as u64);
                Ok(Vec::new())
            }
            Err(error) => Err(self.refuse(&error)),
        }
    }
}

fn refuse_body(fault: &BodyFault) -> ApiError {
    let bad = |code| ApiError::new(StatusCode::BAD_REQUEST, code, fault.to_string());
    match fault {
        BodyFault::NotUtf8 => bad("not_utf8"),
        BodyFault::NotJson | BodyFault::TooNested | BodyFault::NumberOutOfRange => bad("not_json"),
        BodyFault::NotEvents => bad("not_events"),
        BodyFault::TooManyEvents => too_large("too_many_events"),
    }
}

/// 413, with the limits.
fn too_large(code: &'static str) -> ApiError {
    let detail = "a request must hold at most 4 MiB, decoded, and 500 events";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
        .with("maxBytes", MAX_BODY_BYTES)
        .with("maxEvents", MAX_EVENTS)
}

impl Desk {
    /// What filled up only now is called what it is called to those who are not let in for it.
    fn refuse(&self, error: &AppendError) -> ApiError {
        let told = match error {
            AppendError::NoRoom(_) => self.parts.gate.refuse(),
            AppendError::Overloaded | AppendError::Closed | AppendError::Failed(_) => None,
        };
        told.unwrap_or_else(|| refuse_append(error))
    }
}

/// 503, whatever the journal's reason: a retry may cure it, and existing clients retry on nothing else.
fn refuse_append(error: &AppendError) -> ApiError {
    let (code, detail, seconds) = match error {
        AppendError::Overloaded => ("overloaded", "the server has more to write than it can", 1),
        AppendError::NoRoom(_) => ("no_room", "the server has no room for further events", 5),
        AppendError::Closed => ("draining", "the server is stopping", 2),
        AppendError::Failed(_) => ("disk_failed", "the server could not write to its disk", 5),
    };
    ApiError::unavailable(code, detail, Duration::from_secs(seconds))
}

fn tell(outcome: &Outcome) -> Result<Response, ApiError> {
    let nothing_taken = outcome.accepted == 0 && outcome.duplicates == 0;
    if nothing_taken && !outcome.rejected.is_empty() {
        let error = ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "all_rejected",
            "every event was refused; rejected tells why",
        );
        return Err(error
            .with("accepted", outcome.accepted)
            .with("duplicates", outcome.duplicates)
            .with("rejected", json!(outcome.rejected)));
    }
    let body: Value = json!(outcome);
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

fn count_outcome(outcome: &Outcome) {
    metrics::counter!("mimamori_ingest_accepted_events_total").increment(outcome.accepted as u64);
    metrics::counter!("mimamori_ingest_duplicate_events_total")
        .increment(outcome.duplicates as u64);
    for rejected in &outcome.rejected {
        let code = rejected.code.as_str();
        metrics::counter!("mimamori_ingest_rejected_events_total", "code" => code).increment(1);
    }
}

fn count_answer(status: StatusCode) {
    let class = match status.as_u16() / 100 {
        2 => "2xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("mimamori_ingest_answered_requests_total", "status" => class).increment(1);
}
