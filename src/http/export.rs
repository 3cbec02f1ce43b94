//! `GET /api/v1/classrooms/{id}/export`: a classroom's history as a file; `GET /api/v1/exports`: how far each is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use mimamori_actors::domain::{ClassroomId, Timestamp};
use mimamori_actors::ports::Clock;
use percent_encoding::percent_decode_str;
use serde_json::json;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, StatusCode, header};
use warp::{Filter, Reply};

use super::request::head;
use super::session::json_answer;
use super::{Access, ApiError, Head, Response};
use crate::config::Classrooms;
use crate::export::{self, BeginError, Begun, Format, Jobs, Request, What};
use crate::storage::records::{Records, TimeRange};

/// When a place may be free again.
const COME_AGAIN: Duration = Duration::from_secs(10);

/// What the routes are made of.
#[derive(Clone)]
pub struct Exports {
    /// Who may read.
    pub access: Arc<Access>,
    /// What is read.
    pub records: Arc<Records>,
    /// The classrooms there are.
    pub classrooms: Classrooms,
    /// Those under way.
    pub jobs: Jobs,
    /// When they began.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exports").finish_non_exhaustive()
    }
}

/// Both paths.
pub fn routes(exports: Exports) -> BoxedFilter<(Response,)> {
    let list = exports.clone();
    let export = warp::path!("api" / "v1" / "classrooms" / String / "export")
        .and(head())
        .then(move |classroom: String, head: Head| {
            let exports = exports.clone();
            async move {
                let answer = exports.export(&classroom, &head).await;
                answer.unwrap_or_else(|error| error.into_response(&head.context.request_id))
            }
        });
    let list = warp::path!("api" / "v1" / "exports")
        .and(head())
        .map(move |head: Head| {
            list.told(&head)
                .unwrap_or_else(|error| error.into_response(&head.context.request_id))
        });
    export.or(list).unify().boxed()
}

impl Exports {
    async fn export(&self, classroom: &str, head: &Head) -> Result<Response, ApiError> {
        if head.method != Method::GET {
            return Err(ApiError::method_not_allowed("GET"));
        }
        self.access.viewer(head)?;
        let nothing = || ApiError::not_found("there is no such classroom");
        let id = percent_decode_str(classroom).decode_utf8();
        let classroom = ClassroomId::new(id.map_err(|_| nothing())?);
        self.classrooms.get(&classroom).ok_or_else(nothing)?;
        let request = request(classroom, head)?;
        let name = file_name(&request);
        let media_type = request.format.media_type();
        let begun = export::begin(&self.records, &self.jobs, request, self.clock.now()).await?;
        Ok(streamed(begun, media_type, &name))
    }

    fn told(&self, head: &Head) -> Result<Response, ApiError> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(ApiError::method_not_allowed("GET, HEAD"));
        }
        self.access.viewer(head)?;
        Ok(json_answer(
            &json!({ "items": self.jobs.told(), "next": null }),
        ))
    }
}

fn request(classroom: ClassroomId, head: &Head) -> Result<Request, ApiError> {
    let what = head.parameter("what").unwrap_or_default();
    let what = What::ALL
        .into_iter()
        .find(|known| known.as_str() == what)
        .ok_or_else(|| {
            ApiError::bad_parameter("what", "one of executions, events, sessions, help, lessons")
        })?;
    let format = head.parameter("format").unwrap_or_default();
    let format = Format::ALL
        .into_iter()
        .find(|known| known.as_str() == format)
        .ok_or_else(|| ApiError::bad_parameter("format", "csv or parquet"))?;
    let from = time(head, "from")?;
    let to = time(head, "to")?;
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        return Err(ApiError::bad_parameter("to", "no earlier than from"));
    }
    let range = TimeRange {
        from: from.unwrap_or(Timestamp::from_millis(i64::MIN)),
        to,
    };
    Ok(Request {
        classroom,
        what,
        format,
        range,
    })
}

fn time(head: &Head, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = head.parameter(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // a plus that was not escaped has become a space: `…T09:00:00+09:00`
    let time = text.parse().or_else(|_| text.replace(' ', "+").parse());
    time.map(Some).map_err(|_| {
        ApiError::bad_parameter(name, "an ISO 8601 time, for example 2026-04-01T09:00:00Z")
    })
}

/// Only what is a name on every system.
fn file_name(request: &Request) -> String {
    let classroom: String = request
        .classroom
        .as_str()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(64)
        .collect();
    let (what, format) = (request.what.as_str(), request.format.as_str());
    format!("{classroom}-{what}.{format}")
}

fn streamed(begun: Begun, media_type: &str, name: &str) -> Response {
    let Begun {
        job,
        rows_at_most,
        left_out,
        pieces,
    } = begun;
    // an error ends the connection: half a file is not taken for a whole one
    let pieces = stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let mut response = warp::reply::stream(pieces).into_response();
    let headers = [
        (header::CONTENT_TYPE.as_str(), media_type.to_owned()),
        (
            header::CONTENT_DISPOSITION.as_str(),
            format!("attachment; filename=\"{name}\""),
        ),
        (header::CACHE_CONTROL.as_str(), "no-store".to_owned()),
        ("mimamori-export-job", job.to_string()),
        ("mimamori-rows-at-most", rows_at_most.to_string()),
        ("mimamori-left-out-students", left_out.to_string()),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

impl From<BeginError> for ApiError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Records(error) => error.into(),
            BeginError::TooMany(error) => {
                let mut refused = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_exports",
                    error.to_string(),
                );
                refused.retry_after = Some(COME_AGAIN);
                refused
            }
        }
    }
}

#[cfg(test)]
mod tests;
