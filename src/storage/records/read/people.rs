//! Students, their sessions and cells.

use mimamori_actors::domain::{ClassroomId, SessionKey, StudentId};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};

use super::{Records, RecordsError, Sql, TimeRange};
use crate::storage::records::dialect::Dialect;

/// So many students of a classroom are listed, sessions and cells of a student: the newest ones.
const MOST_STUDENTS: i64 = 20_000;
const MOST_OF_STUDENT: i64 = 1_000;

/// A student as the records know them.
#[derive(Debug, FromQueryResult, Serialize, Deserialize)]
pub(crate) struct KnownStudent {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) last_seen_ms: i64,
}

/// A session; an open one has no end.
#[derive(Debug, FromQueryResult)]
pub(crate) struct SessionRow {
    pub(crate) id: String,
    pub(crate) begun_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) events: i64,
}

/// A student's work on a cell.
#[derive(Debug, FromQueryResult)]
pub(crate) struct CellRow {
    pub(crate) notebook: Option<String>,
    pub(crate) cell_id: Option<String>,
    pub(crate) cell_index: Option<i64>,
    pub(crate) status: String,
    pub(crate) tries: i64,
    pub(crate) at_ms: i64,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Records {
    /// How many students a classroom has ever had.
    pub(crate) async fn student_count(&self, classroom: &ClassroomId) -> Result<u64, RecordsError> {
        let mut sql = Sql::new("SELECT COUNT(*) AS count FROM students WHERE classroom = ");
        sql.bind(classroom.as_str());
        self.leave_out(&mut sql, "students", "id");
        let count = self.one::<Count>(&mut sql).await?.map_or(0, |it| it.count);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The students of a classroom, in the order of their ids.
    pub(crate) async fn students(
        &self,
        classroom: &ClassroomId,
    ) -> Result<Vec<KnownStudent>, RecordsError> {
        let mut sql =
            Sql::new("SELECT id, name, team, last_seen_ms FROM students WHERE classroom = ");
        sql.bind(classroom.as_str());
        self.leave_out(&mut sql, "students", "id");
        sql.push(" ORDER BY id LIMIT ").bind(MOST_STUDENTS);
        self.all(&mut sql).await
    }

    /// One student, if the records know them.
    pub(crate) async fn student(
        &self,
        key: &SessionKey,
    ) -> Result<Option<KnownStudent>, RecordsError> {
        let mut sql =
            Sql::new("SELECT id, name, team, last_seen_ms FROM students WHERE classroom = ");
        sql.bind(key.classroom.as_str());
        sql.push(" AND id = ").bind(key.student.as_str());
        self.leave_out(&mut sql, "students", "id");
        self.one(&mut sql).await
    }

    /// A student's sessions that touch the range, newest first.
    pub(crate) async fn sessions(
        &self,
        key: &SessionKey,
        range: TimeRange,
    ) -> Result<Vec<SessionRow>, RecordsError> {
        // The end tells how many events there were; until then they are counted from the one it began
        // with. `at_ms` is at most 48 h before the receipt, which keeps the count to a part of the index.
        let mut sql = Sql::new(
            "SELECT id, begun_ms, ended_ms, COALESCE(events, \
             (SELECT COUNT(*) FROM events e WHERE e.classroom = s.classroom \
             AND e.student = s.student AND e.at_ms >= s.begun_ms - 172800000 \
             AND e.position >= s.cause)) AS events \
             FROM sessions s WHERE classroom = ",
        );
        sql.bind(key.classroom.as_str());
        sql.push(" AND student = ").bind(key.student.as_str());
        sql.push(" AND begun_ms < ").bind(range.end_ms());
        sql.push(" AND (ended_ms IS NULL OR ended_ms >= ")
            .bind(range.begin_ms());
        sql.push(")");
        self.leave_out(&mut sql, "s", "student");
        sql.push(" ORDER BY begun_ms DESC, id DESC LIMIT ")
            .bind(MOST_OF_STUDENT);
        self.all(&mut sql).await
    }

    /// A student's cells in the range, with how the last execution ended, the latest first.
    pub(crate) async fn cells(
        &self,
        key: &SessionKey,
        range: TimeRange,
    ) -> Result<Vec<CellRow>, RecordsError> {
        self.all(&mut self.cells_of(key, range)).await
    }

    /// From the index alone: a year of a student is 36,000 executions.
    pub(in crate::storage::records) fn cells_of(&self, key: &SessionKey, range: TimeRange) -> Sql {
        let CellWords { before, after } = match self.dialect {
            Dialect::Sqlite => LAST_OF_A_GROUP,
            Dialect::Postgres => FIRST_OF_A_WINDOW,
        };
        let mut sql = Sql::new(before);
        sql.push(
            " FROM executions x LEFT JOIN notebooks n \
             ON n.classroom = x.classroom AND n.path = x.notebook \
             WHERE x.classroom = ",
        );
        sql.bind(key.classroom.as_str());
        sql.push(" AND x.student = ").bind(key.student.as_str());
        sql.push(" AND x.at_ms >= ").bind(range.begin_ms());
        sql.push(" AND x.at_ms < ").bind(range.end_ms());
        self.leave_out(&mut sql, "x", "student");
        sql.push(after).push(" LIMIT ").bind(MOST_OF_STUDENT);
        sql
    }
}

/// How executions become cells, each with how the last one ended.
struct CellWords {
    before: &'static str,
    after: &'static str,
}

const FIRST_OF_A_WINDOW: CellWords = CellWords {
    before: "SELECT notebook, cell_id, cell_index, status, tries, at_ms FROM \
        (SELECT x.notebook, x.cell_id, x.cell_index, x.status, x.at_ms, \
        ROW_NUMBER() OVER (PARTITION BY n.key, x.cell_id, \
        CASE WHEN x.cell_id IS NULL THEN x.cell_index END \
        ORDER BY x.at_ms DESC, x.position DESC) AS newness, \
        SUM(CASE WHEN x.status IN ('ok', 'error', 'interrupted') THEN 1 ELSE 0 END) \
        OVER (PARTITION BY n.key, x.cell_id, \
        CASE WHEN x.cell_id IS NULL THEN x.cell_index END) AS tries",
    after: ") AS known WHERE newness = 1 ORDER BY at_ms DESC",
};

/// `SQLite` takes the columns of the row that has the greatest of `MAX`: 36,000 executions are
/// grouped in 30 ms, in a window they take 110. Positions of what was before this server are
/// below zero.
const LAST_OF_A_GROUP: CellWords = CellWords {
    before: "SELECT x.notebook, x.cell_id, x.cell_index, x.status, \
        SUM(CASE WHEN x.status IN ('ok', 'error', 'interrupted') THEN 1 ELSE 0 END) AS tries, x.at_ms, \
        MAX(printf('%020d%020d', x.at_ms, x.position + 4611686018427387904)) AS newest",
    after: " GROUP BY n.key, x.cell_id, CASE WHEN x.cell_id IS NULL THEN x.cell_index END \
        ORDER BY x.at_ms DESC",
};

impl KnownStudent {
    pub(crate) fn student_id(&self) -> StudentId {
        StudentId::new(self.id.as_str())
    }
}
