//! What a node that only serves consoles does not do itself: it says so, and who does.
//!
//! 503, because a retry may cure it: the proxy in front may send the next
//! request to the node that does; and an existing client that is told 4xx loses
//! its event (contract, section 3).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mimamori_actors::domain::{ClassroomId, JournalId, Position};
use mimamori_actors::ports::{AppendError, Batch, Journal, NewRecord, Origin, ReadError, Verdict};
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;

use super::connect;
use super::ingest::{Gate, IngestKeys};
use super::request::head;
use super::{Access, ApiError, Head, Response};

const CODE: &str = "not_at_this_node";
/// When a client should try again, at whichever node it reaches then.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Refuses every event, whatever its key.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIngest;

impl Gate for NoIngest {
    fn refuse(&self) -> Option<ApiError> {
        Some(ApiError::unavailable(
            CODE,
            "this node only serves consoles; events go to the node with serve.role = \"all\", and the proxy in front should send them there",
            TRY_AGAIN,
        ))
    }
}

impl IngestKeys for NoIngest {
    fn classroom_to_write(&self, _: &Head) -> Result<ClassroomId, ApiError> {
        // the keys are not known here: whose it is matters where it is taken
        Ok(ClassroomId::new("default"))
    }
}

/// The journal of a node that has none: nothing is ever in it.
#[derive(Debug)]
pub struct NoJournal {
    end: watch::Sender<Position>,
}

impl Default for NoJournal {
    fn default() -> Self {
        Self {
            end: watch::Sender::new(Position::ZERO),
        }
    }
}

#[async_trait]
impl Journal for NoJournal {
    fn id(&self) -> JournalId {
        JournalId::new("none")
    }

    async fn append(&self, _: Vec<NewRecord>, _: Origin) -> Result<Vec<Verdict>, AppendError> {
        Err(AppendError::Closed)
    }

    async fn read(&self, after: Position, _: usize) -> Result<Batch, ReadError> {
        Ok(Batch {
            entries: Vec::new(),
            through: after,
        })
    }

    fn end(&self) -> watch::Receiver<Position> {
        self.end.subscribe()
    }

    fn oldest(&self) -> Position {
        Position(1)
    }

    fn committed(&self, _: &'static str, _: Position) {}
}

/// `/api/v1/connect`, which shows the ingest address and what was refused, and
/// the making of links, which is done here too.
pub fn connect(access: Arc<Access>) -> BoxedFilter<(Response,)> {
    let detail = "this node only serves consoles; the node with serve.role = \"all\" knows the ingest address";
    let viewers = Arc::clone(&access);
    warp::path!("api" / "v1" / "connect")
        .and(head())
        .map(move |head: Head| refuse(&head, &viewers, detail))
        .or(connect::links(access))
        .unify()
        .boxed()
}

/// Everything under `/api/v1/classrooms`, where the records are out of reach.
pub fn reading(access: Arc<Access>) -> BoxedFilter<(Response,)> {
    let detail = "this node only serves consoles and reaches no records: records.url must be the PostgreSQL database of the node with serve.role = \"all\", or the proxy in front send this there";
    warp::path!("api" / "v1" / "classrooms" / ..)
        .and(head())
        .map(move |head: Head| refuse(&head, &access, detail))
        .boxed()
}

/// `/api/v1/admin/backup`.
pub fn backup(access: Arc<Access>) -> BoxedFilter<(Response,)> {
    let detail = "this node only serves consoles and keeps nothing; back up the node with serve.role = \"all\"";
    warp::path!("api" / "v1" / "admin" / "backup")
        .and(head())
        .map(move |head: Head| refuse(&head, &access, detail))
        .boxed()
}

/// Exports of a classroom, and who is not for research.
pub fn export(access: Arc<Access>) -> BoxedFilter<(Response,)> {
    let detail =
        "this node only serves consoles; exports are made by the node with serve.role = \"all\"";
    let of_classroom = warp::path!("api" / "v1" / "classrooms" / String / "export")
        .map(drop)
        .untuple_one();
    let research = warp::path!("api" / "v1" / "admin" / "students" / String / "research")
        .map(drop)
        .untuple_one();
    of_classroom
        .or(warp::path!("api" / "v1" / "exports"))
        .unify()
        .or(research)
        .unify()
        .and(head())
        .map(move |head: Head| refuse(&head, &access, detail))
        .boxed()
}

/// Everything under `/api/v1/admin/classrooms`.
pub fn rights(access: Arc<Access>) -> BoxedFilter<(Response,)> {
    let detail =
        "this node only serves consoles; the node with serve.role = \"all\" hands out and erases";
    warp::path!("api" / "v1" / "admin" / "classrooms" / ..)
        .and(head())
        .map(move |head: Head| refuse(&head, &access, detail))
        .boxed()
}

fn refuse(head: &Head, access: &Access, detail: &str) -> Response {
    let refused = access
        .viewer(head)
        .err()
        .unwrap_or_else(|| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, CODE, detail));
    refused.into_response(&head.context.request_id)
}
