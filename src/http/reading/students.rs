//! One student.

use mimamori_actors::domain::{SessionKey, Student};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::items::{CellItem, SessionItem, offline};
use super::kept::{On, Part};
use super::params::Params;
use super::{ApiError, Reading};
use crate::cache::{Scope, Subject};

#[derive(Debug, Serialize)]
pub(super) struct StudentPage {
    #[serde(flatten)]
    student: Student,
    sessions: Box<RawValue>,
    cells: Box<RawValue>,
}

/// What the records tell of a student's work.
#[derive(Debug, Serialize)]
struct Work {
    sessions: Vec<SessionItem>,
    cells: Vec<CellItem>,
}

/// The same, as it was kept.
#[derive(Debug, Deserialize)]
struct KeptWork {
    sessions: Box<RawValue>,
    cells: Box<RawValue>,
}

/// The student as now, with the sessions and cells of the range.
pub(super) async fn student(
    reading: &Reading,
    key: &SessionKey,
    scope: Scope,
    params: &Params,
) -> Result<StudentPage, ApiError> {
    let range = params.range(reading.clock.now())?;
    let student = match reading.present.student(key) {
        Some(student) => student,
        None => offline(reading.recorded_student(key).await?),
    };
    let part = Part {
        classroom: &key.classroom,
        scope,
        subject: Subject::Cells,
        // a session that touches the range may still be going on
        on: On::AnyRow,
        asked: &format!("{:?} {range:?}", key.student),
    };
    let work = async {
        let sessions = reading.records.sessions(key, range).await?;
        let cells = reading.records.cells(key, range).await?;
        Ok(Work {
            sessions: sessions.into_iter().map(SessionItem::from).collect(),
            cells: cells.into_iter().map(CellItem::from).collect(),
        })
    };
    let KeptWork { sessions, cells } = reading.kept(part, work).await?;
    Ok(StudentPage {
        student,
        sessions,
        cells,
    })
}
