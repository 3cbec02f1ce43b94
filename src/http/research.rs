//! `/api/v1/admin/students/{student}/research`: whether what is kept of a student may be exported.
//!
//! People are named by their opaque ids: no address ever stands in an address.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use mimamori_actors::domain::StudentId;
use mimamori_actors::ports::Clock;
use serde::Deserialize;
use serde_json::json;
use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::{Buf, Filter};

use super::body::read_small;
use super::request::head;
use super::session::json_answer;
use super::{Access, ApiError, Head, Response};
use crate::storage::records::Records;

const MAX_BODY_BYTES: usize = 4 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the route is made of.
#[derive(Clone)]
pub struct Research {
    /// Who may do this.
    pub access: Arc<Access>,
    /// Where it is kept.
    pub records: Arc<Records>,
    /// When it was said.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Research {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Research").finish_non_exhaustive()
    }
}

/// What the student said.
#[derive(Deserialize)]
struct Said {
    research: Choice,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Allow,
    Refuse,
}

/// `GET` tells, `POST {"research":"allow"|"refuse"}` sets.
pub fn routes(research: Research) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "v1" / "admin" / "students" / String / "research")
        .and(head())
        .and(warp::body::stream())
        .then(move |student: String, head: Head, body| {
            let research = research.clone();
            async move {
                let answer = research.answer(&StudentId::new(student), &head, body).await;
                answer.unwrap_or_else(|error| error.into_response(&head.context.request_id))
            }
        })
        .boxed()
}

impl Research {
    async fn answer<S, B>(
        &self,
        student: &StudentId,
        head: &Head,
        body: S,
    ) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let is_set = match head.method {
            Method::GET | Method::HEAD => false,
            Method::POST => true,
            _ => return Err(ApiError::method_not_allowed("GET, HEAD, POST")),
        };
        self.access.admin(head)?;
        if !self.records.is_student(student).await? {
            return Err(ApiError::not_found("nothing is known of such a student"));
        }
        if is_set {
            let body = read_small(body, MAX_BODY_BYTES, BODY_TIMEOUT).await?;
            let said: Said = serde_json::from_slice(&body)
                .map_err(|_| ApiError::bad_parameter("research", "allow or refuse"))?;
            let is_allowed = said.research == Choice::Allow;
            let now = self.clock.now();
            self.records
                .set_for_research(student, is_allowed, now)
                .await?;
            tracing::info!(student.id = %student, is_allowed, "a student said whether what is kept is for research");
        }
        let is_allowed = self.records.is_for_research(student).await?;
        let research = if is_allowed { "allowed" } else { "refused" };
        Ok(json_answer(
            &json!({ "student": student, "research": research }),
        ))
    }
}
