//! One student.

use mimamori_actors::domain::{SessionKey, Student};
use serde::Serialize;

use super::items::{CellItem, SessionItem, offline};
use super::params::Params;
use super::{ApiError, Reading};

#[derive(Debug, Serialize)]
pub(super) struct StudentPage {
    #[serde(flatten)]
    student: Student,
    sessions: Vec<SessionItem>,
    cells: Vec<CellItem>,
}

/// The student as now, with the sessions and cells of the range.
pub(super) async fn student(
    reading: &Reading,
    key: &SessionKey,
    params: &Params,
) -> Result<StudentPage, ApiError> {
    let range = params.range(reading.clock.now())?;
    let student = match reading.registry.student(key, reading.clock.heard()) {
        Some(student) => student,
        None => offline(reading.recorded_student(key).await?),
    };
    let sessions = reading.records.sessions(key, range).await?;
    let cells = reading.records.cells(key, range).await?;
    Ok(StudentPage {
        student,
        sessions: sessions.into_iter().map(SessionItem::from).collect(),
        cells: cells.into_iter().map(CellItem::from).collect(),
    })
}
