//! Answers of history, through the cache. Whatever is as now is put beside them.

use std::sync::Arc;

use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ApiError, Reading, to_json};
use crate::cache::{Holds, Question, Scope, Subject};
use crate::http::Viewer;
use crate::storage::records::{Edition, TimeRange};

/// Whose eyes an answer is for that this viewer, who may read the classroom, gets.
pub(super) const fn scope_of(viewer: &Viewer) -> Scope {
    match viewer {
        Viewer::Admin | Viewer::Instructor => Scope::Classroom,
    }
}

/// What an answer depends on besides what was asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum On {
    /// The rows of the classroom, whichever.
    AnyRow,
    /// Rows of this range that never change once they are there.
    RowsOf(TimeRange),
    /// The series of this range, which are written for themselves.
    SeriesOf(TimeRange),
}

impl On {
    fn holds(self, edition: Edition) -> Holds {
        match self {
            Self::AnyRow => Holds::UntilAWrite(edition),
            Self::RowsOf(range) => Holds::over(edition, range),
            Self::SeriesOf(range) if edition.is_settled(range) => Holds::ForGood(edition),
            Self::SeriesOf(_) => Holds::AMoment(edition),
        }
    }
}

/// A part of an answer that may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) classroom: &'a ClassroomId,
    pub(super) scope: Scope,
    pub(super) subject: Subject,
    pub(super) on: On,
    /// Everything that was asked, in one form only.
    pub(super) asked: &'a str,
}

impl Reading {
    /// The part as JSON: as it was kept, or as `compute` gives it.
    pub(super) async fn kept_json<T: Serialize>(
        &self,
        part: Part<'_>,
        compute: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Bytes, ApiError> {
        // before anything is read: rows of this edition or a later one are kept under its name
        let Some(edition) = self.records.edition(part.classroom).await else {
            return Ok(to_json(&compute.await?)?.into());
        };
        let question = Question {
            classroom: part.classroom,
            scope: part.scope,
            subject: part.subject,
            holds: part.on.holds(edition),
            asked: part.asked,
        };
        let json = async { to_json(&compute.await?) };
        let answer = self.cache.answer(&question, json).await;
        answer.map_err(Arc::unwrap_or_clone)
    }

    /// The part as a value.
    pub(super) async fn kept<T: Serialize, U: DeserializeOwned>(
        &self,
        part: Part<'_>,
        compute: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<U, ApiError> {
        let json = self.kept_json(part, compute).await?;
        serde_json::from_slice(&json).map_err(|error| {
            tracing::error!(%error, "what was kept is no answer");
            ApiError::internal()
        })
    }
}
