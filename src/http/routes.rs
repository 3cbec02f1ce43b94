//! All routes of the server as one filter that takes every request.
//!
//! A path decides first (404), then its method (405), then who asks (401, 403):
//! each subject's filter matches on its path alone and looks at the method as a
//! value, so that warp's rejections only ever mean "not my path".

use std::fmt;
use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;

use super::health::{self, Health};
use super::request::head;
use super::{Access, ApiError, Head, Response, page, session};

/// What the routes are made of.
pub struct Parts {
    /// Who may do what.
    pub access: Arc<Access>,
    /// The Connect page, and links.
    pub connect: BoxedFilter<(Response,)>,
    /// Health and administration.
    pub health: Health,
    /// `POST /api/v1/events`.
    pub ingest: BoxedFilter<(Response,)>,
    /// Exports of a classroom, and who is not for research; before the reading calls,
    /// whose paths that of an export is among.
    pub export: BoxedFilter<(Response,)>,
    /// `GET /privacy/…`.
    pub privacy: BoxedFilter<(Response,)>,
    /// `GET /api/v1/live`.
    pub live: BoxedFilter<(Response,)>,
    /// `POST /api/v1/admin/backup`.
    pub backup: BoxedFilter<(Response,)>,
    /// Everything under `/api/v1/classrooms`.
    pub reading: BoxedFilter<(Response,)>,
    /// A person's rights, for an administrator.
    pub rights: BoxedFilter<(Response,)>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// All routes; what is at no path is a 404.
pub fn routes(parts: Parts) -> BoxedFilter<(Response,)> {
    parts
        .ingest // the busiest first
        .or(parts.live)
        .unify()
        .boxed()
        .or(parts.export)
        .unify()
        .boxed()
        .or(parts.reading)
        .unify()
        .boxed()
        .or(session::routes(parts.access))
        .unify()
        .boxed()
        .or(parts.connect)
        .unify()
        .boxed()
        .or(parts.backup)
        .unify()
        .boxed()
        .or(parts.rights)
        .unify()
        .boxed()
        .or(health::routes(parts.health))
        .unify()
        .boxed()
        .or(parts.privacy)
        .unify()
        .boxed()
        .or(page::routes())
        .unify()
        .boxed()
        .or(nothing_here())
        .unify()
        .boxed()
}

fn nothing_here() -> BoxedFilter<(Response,)> {
    head()
        .map(|head: Head| {
            ApiError::not_found("nothing is at this address")
                .into_response(&head.context.request_id)
        })
        .boxed()
}

#[cfg(test)]
mod tests;
