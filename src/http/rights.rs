//! `/api/v1/admin/classrooms/{classroom}/students/{student}/…`: a person's rights, for the admin token.
//!
//! People are named by their opaque ids: no address ever stands in an address.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use mimamori_actors::domain::{ClassroomId, SessionKey, StudentId};
use serde_json::json;
use tokio::sync::mpsc;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, header};
use warp::{Filter, Reply};

use super::request::head;
use super::{Access, ApiError, Head, Response};
use crate::config::Classrooms;
use crate::erasure::eraser::{EraseError, Eraser, Progress};
use crate::erasure::export;
use crate::erasure::hidden::Hidden;
use crate::storage::records::Records;

/// Steps of an erasure that may wait for whoever is told of them.
const STEPS: usize = 64;

/// What the routes are made of.
#[derive(Clone)]
pub struct Rights {
    /// Who may do this.
    pub access: Arc<Access>,
    /// The classrooms there are.
    pub classrooms: Classrooms,
    /// What is kept.
    pub records: Arc<Records>,
    /// Knows whose what is.
    pub hidden: Arc<Hidden>,
    /// Erases.
    pub eraser: Arc<Eraser>,
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rights").finish_non_exhaustive()
    }
}

/// Both paths.
pub fn routes(rights: Rights) -> BoxedFilter<(Response,)> {
    let export = warp::path!(
        "api" / "v1" / "admin" / "classrooms" / String / "students" / String / "export"
    );
    let erase =
        warp::path!("api" / "v1" / "admin" / "classrooms" / String / "students" / String / "erase");
    let exporting = rights.clone();
    let export = export
        .and(head())
        .then(move |classroom, student, head: Head| {
            let rights = exporting.clone();
            async move {
                let answer = rights.export(&key(classroom, student), &head).await;
                answer.unwrap_or_else(|error| error.into_response(&head.context.request_id))
            }
        });
    let erase = erase
        .and(head())
        .then(move |classroom, student, head: Head| {
            let rights = rights.clone();
            async move {
                let answer = rights.erase(key(classroom, student), &head);
                answer.unwrap_or_else(|error| error.into_response(&head.context.request_id))
            }
        });
    export.or(erase).unify().boxed()
}

fn key(classroom: String, student: String) -> SessionKey {
    SessionKey {
        classroom: ClassroomId::new(classroom),
        student: StudentId::new(student),
    }
}

impl Rights {
    async fn export(&self, key: &SessionKey, head: &Head) -> Result<Response, ApiError> {
        if head.method != Method::GET {
            return Err(ApiError::method_not_allowed("GET"));
        }
        self.check(key, head)?;
        let person = self.hidden.person(key);
        let row = self.records.person(key).await?;
        let document = export::document(Arc::clone(&self.records), person, row);
        tracing::info!("everything about a person is handed out to an administrator");
        Ok(streamed(pieces(document), "application/json"))
    }

    /// The work goes on if whoever asked for it goes away.
    fn erase(&self, key: SessionKey, head: &Head) -> Result<Response, ApiError> {
        if head.method != Method::POST {
            return Err(ApiError::method_not_allowed("POST"));
        }
        self.check(&key, head)?;
        let (told, steps) = mpsc::channel(STEPS);
        let (ended, outcome) = mpsc::channel(1);
        let eraser = Arc::clone(&self.eraser);
        tokio::spawn(async move {
            let outcome = eraser.erase(&key, &told).await;
            if let Err(error) = &outcome {
                tracing::error!(%error, "a person is not erased for good");
            }
            let _ = ended.send(outcome.map(drop)).await;
        });
        let lines = stream::unfold((steps, outcome), |(mut steps, mut outcome)| async move {
            let line = match steps.recv().await {
                Some(step) => line_of(&step),
                None => failure_line(outcome.recv().await?.err()?),
            };
            Some((Ok::<_, std::io::Error>(line), (steps, outcome)))
        });
        Ok(streamed(lines, "application/x-ndjson"))
    }

    fn check(&self, key: &SessionKey, head: &Head) -> Result<(), ApiError> {
        self.access.admin(head)?;
        if self.classrooms.get(&key.classroom).is_none() {
            return Err(ApiError::not_found("there is no such classroom"));
        }
        let id = key.student.as_str().strip_prefix("stu_");
        if id.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Ok(());
        }
        Err(ApiError::not_found("no student has such an id"))
    }
}

fn line_of(step: &Progress) -> Bytes {
    let mut line = serde_json::to_vec(step).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn failure_line(error: EraseError) -> Bytes {
    let mut line = json!({ "step": "failed", "reason": error.to_string() }).to_string();
    line.push('\n');
    line.into()
}

fn pieces(
    document: mpsc::Receiver<export::Piece>,
) -> impl Stream<Item = export::Piece> + Send + Sync + 'static {
    stream::unfold(document, |mut document| async move {
        let piece = document.recv().await?;
        if let Err(error) = &piece {
            tracing::error!(%error, "an export ends before its end");
        }
        Some((piece, document))
    })
}

fn streamed<E>(
    body: impl Stream<Item = Result<Bytes, E>> + Send + Sync + 'static,
    kind: &'static str,
) -> Response
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // persons' names and work: for nobody's shelf
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
