//! `/api/v1/classrooms/…`: what was and what is (contract, section 6).
//!
//! [`routes`] collects the request; [`address`] tells what was asked for; each
//! subject is a plain async function of (classroom, parameters, stores); one
//! place turns either side into an answer. What is now comes from the
//! sessions or from a mirror, what was from the records, how much from the series.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;
use mimamori_actors::ports::Clock;
use serde::Serialize;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, header};

use super::{Access, ApiError, Head, Response, request};
use crate::cache::{Cache, Scope};
use crate::config::Classrooms;
use crate::storage::records::{Records, RecordsError};
use crate::storage::series::{Series, SeriesError};

mod address;
mod cells;
mod cursor;
mod items;
mod kept;
mod lists;
mod overview;
mod params;
mod present;
mod students;

use address::Subject;
use params::Params;
pub use present::{Folded, Mirrored, Present};

/// How long a caller waits before asking stores again that did not answer.
const STORES_COME_BACK: Duration = Duration::from_secs(2);

/// What the reading calls read from.
#[derive(Clone)]
pub struct Reading {
    /// Decides who may read.
    pub access: Arc<Access>,
    /// What was.
    pub records: Arc<Records>,
    /// What was read of it before.
    pub cache: Arc<Cache>,
    /// How much happened; nothing at a node that cannot know.
    pub series: Option<Arc<Series>>,
    /// The students as they are now.
    pub present: Arc<dyn Present>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The classrooms there are.
    pub classrooms: Classrooms,
}

/// Everything under `/api/v1/classrooms`.
pub fn routes(reading: Reading) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "v1" / "classrooms" / ..)
        .and(request::head())
        .then(move |head: Head| {
            let reading = reading.clone();
            async move {
                let answer = reading.answer(&head).await;
                answer.unwrap_or_else(|error| error.into_response(&head.context.request_id))
            }
        })
        .boxed()
}

impl Reading {
    /// In the order of the contract: 404, 405, 401 or 403, then what the subject has to say.
    async fn answer(&self, head: &Head) -> Result<Response, ApiError> {
        let subject = address::subject_of(&head.path)
            .ok_or_else(|| ApiError::not_found("nothing is at this path"))?;
        let method = subject.check_method(&head.method)?;
        // a person who is signed in reads every classroom of this server
        let scope = kept::scope_of(&self.access.viewer(head)?);
        if let Some(classroom) = subject.classroom() {
            self.check_classroom(classroom)?;
        }
        let (near, params) = (self.nearest(), Params::of(&head.query));
        // a call is large, and this is polled deep in the stack of whoever serves
        Box::pin(near.tell(subject, method, scope, &params)).await
    }

    /// The same for one call, which reads at the records' replica if that will do.
    fn nearest(&self) -> Self {
        Self {
            records: self.records.nearest(),
            ..self.clone()
        }
    }

    fn check_classroom(&self, id: &ClassroomId) -> Result<(), ApiError> {
        if self.classrooms.get(id).is_some() {
            return Ok(());
        }
        Err(ApiError::not_found("there is no such classroom"))
    }

    async fn tell(
        &self,
        subject: Subject,
        method: address::Method,
        scope: Scope,
        params: &Params,
    ) -> Result<Response, ApiError> {
        if method == address::Method::Post {
            return Err(ApiError::not_yet("beginning and ending lessons"));
        }
        match subject {
            Subject::Classrooms => json(&overview::classrooms(self, params).await?),
            Subject::Overview(room) => json(&overview::overview(self, &room, scope, params).await?),
            Subject::Student(key) => json(&students::student(self, &key, scope, params).await?),
            Subject::StudentExecutions(key) => {
                let page = lists::executions_of_student(self, &key, scope, params).await?;
                Ok(private(page))
            }
            Subject::Executions(room) => Ok(private(
                lists::executions(self, &room, scope, params).await?,
            )),
            Subject::Cells(room) => Ok(private(cells::cells(self, &room, scope, params).await?)),
            Subject::Help(room) => json(&lists::help(self, &room, params).await?),
            Subject::Events(room) => json(&lists::events(self, &room, params).await?),
            Subject::Lessons(room) => json(&lists::lessons(self, &room, params).await?),
            Subject::Rejected(room) => json(&lists::rejected(self, &room, params).await?),
            Subject::DeadLetters(room) => json(&lists::dead_letters(self, &room, params).await?),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

fn to_json(body: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer has no JSON form");
        ApiError::internal()
    })
}

fn json(body: &impl Serialize) -> Result<Response, ApiError> {
    Ok(private(to_json(body)?.into()))
}

fn private(json: Bytes) -> Response {
    let mut response = Response::new(json.into());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    // persons' names and work: for nobody's shelf
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<RecordsError> for ApiError {
    fn from(error: RecordsError) -> Self {
        metrics::counter!("mimamori_reading_records_failures_total").increment(1);
        match error {
            RecordsError::Unavailable(_)
            | RecordsError::NotYet(_)
            | RecordsError::Forgot { .. }
            | RecordsError::Unfit(_)
            | RecordsError::Newer(_)
            | RecordsError::Refused(_)
            | RecordsError::TooSlow => {
                tracing::warn!(store = "records", %error, "a reading call failed");
                Self::unavailable(
                    "records_unavailable",
                    "the records do not answer, or not in time; a shorter range is quicker",
                    STORES_COME_BACK,
                )
            }
            RecordsError::Malformed(_) => {
                tracing::error!(store = "records", %error, "a row cannot be read");
                Self::internal()
            }
        }
    }
}

impl From<SeriesError> for ApiError {
    fn from(error: SeriesError) -> Self {
        metrics::counter!("mimamori_reading_series_failures_total").increment(1);
        tracing::warn!(store = "series", %error, "a reading call failed");
        Self::unavailable(
            "series_unavailable",
            "the series do not answer, or not in time; a shorter range is quicker",
            STORES_COME_BACK,
        )
    }
}

#[cfg(test)]
mod tests;
