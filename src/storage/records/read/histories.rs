//! Requests for help and lessons.

use mimamori_actors::domain::{ClassroomId, Position};
use sea_orm::FromQueryResult;

use super::{Found, Records, RecordsError, Sql, TimeRange, Weigh};

/// A request for help.
#[derive(Debug, FromQueryResult)]
pub(crate) struct HelpRow {
    pub(crate) id: String,
    pub(crate) student: String,
    pub(crate) since_ms: i64,
    pub(crate) until_ms: Option<i64>,
    pub(crate) ended_by: Option<String>,
    pub(crate) claimed_by: Option<String>,
    pub(crate) cell_id: Option<String>,
}

/// Where the list of requests goes on. One that ends between two pages moves
/// behind the open ones: it may come twice, never not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HelpKey {
    pub(crate) is_open: bool,
    pub(crate) since_ms: i64,
    pub(crate) id: String,
}

/// A request for help as it opened.
#[derive(Debug, FromQueryResult)]
pub(in crate::storage::records) struct OpenedHelp {
    pub(in crate::storage::records) classroom: String,
    pub(in crate::storage::records) id: String,
    pub(in crate::storage::records) student: String,
    pub(in crate::storage::records) since_ms: i64,
    pub(in crate::storage::records) cell_id: Option<String>,
    pub(in crate::storage::records) opened: i64,
}

impl Records {
    /// Requests for help of all classrooms that opened after `after`, up to `through`.
    pub(in crate::storage::records) async fn help_opened_between(
        &self,
        after: Position,
        through: Position,
    ) -> Result<Vec<OpenedHelp>, RecordsError> {
        let number = |position: Position| i64::try_from(position.0).unwrap_or(i64::MAX);
        let mut sql = Sql::new(
            "SELECT classroom, id, student, since_ms, cell_id, opened FROM help WHERE opened > ",
        );
        sql.bind(number(after));
        sql.push(" AND opened <= ").bind(number(through));
        self.leave_out(&mut sql, "help", "student");
        sql.push(" ORDER BY opened");
        self.all(&mut sql).await
    }
}

impl HelpRow {
    pub(crate) fn key(&self) -> HelpKey {
        HelpKey {
            is_open: self.until_ms.is_none(),
            since_ms: self.since_ms,
            id: self.id.clone(),
        }
    }
}

impl Weigh for HelpRow {
    fn bytes(&self) -> usize {
        512
    }
}

/// A lesson.
#[derive(Debug, FromQueryResult)]
pub(crate) struct LessonRow {
    pub(crate) id: String,
    pub(crate) begun_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) ended_by: Option<String>,
}

/// Where the list of lessons goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LessonKey {
    pub(crate) begun_ms: i64,
    pub(crate) id: String,
}

impl LessonRow {
    pub(crate) fn key(&self) -> LessonKey {
        LessonKey {
            begun_ms: self.begun_ms,
            id: self.id.clone(),
        }
    }
}

impl Weigh for LessonRow {
    fn bytes(&self) -> usize {
        256
    }
}

impl Records {
    /// Requests for help that began in the range, open ones first, newest first.
    /// With `and_all_open` also those open ones that began outside of it.
    pub(crate) async fn help(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        and_all_open: bool,
        after: Option<HelpKey>,
        limit: usize,
    ) -> Result<Found<HelpRow>, RecordsError> {
        let mut sql = Sql::new(
            "SELECT id, student, since_ms, until_ms, ended_by, claimed_by, cell_id FROM \
             (SELECT *, CASE WHEN until_ms IS NULL THEN 1 ELSE 0 END AS is_open \
             FROM help WHERE classroom = ",
        );
        sql.bind(classroom.as_str());
        sql.push(") AS h WHERE ((since_ms >= ")
            .bind(range.begin_ms());
        sql.push(" AND since_ms < ").bind(range.end_ms()).push(")");
        if and_all_open {
            sql.push(" OR is_open = 1");
        }
        sql.push(")");
        self.leave_out(&mut sql, "h", "student");
        if let Some(key) = after {
            sql.push(" AND (is_open, since_ms, id) < (")
                .bind(i64::from(key.is_open));
            sql.push(", ").bind(key.since_ms);
            sql.push(", ").bind(key.id).push(")");
        }
        sql.push(" ORDER BY is_open DESC, since_ms DESC, id DESC");
        self.page(&mut sql, limit).await
    }

    /// Lessons that began in the range, newest first.
    pub(crate) async fn lessons(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        after: Option<LessonKey>,
        limit: usize,
    ) -> Result<Found<LessonRow>, RecordsError> {
        let mut sql =
            Sql::new("SELECT id, begun_ms, ended_ms, ended_by FROM lessons WHERE classroom = ");
        sql.bind(classroom.as_str());
        sql.push(" AND begun_ms >= ").bind(range.begin_ms());
        sql.push(" AND begun_ms < ").bind(range.end_ms());
        if let Some(key) = after {
            sql.push(" AND (begun_ms, id) < (").bind(key.begun_ms);
            sql.push(", ").bind(key.id).push(")");
        }
        sql.push(" ORDER BY begun_ms DESC, id DESC");
        self.page(&mut sql, limit).await
    }
}
