//! How the students of a classroom fared with each cell, in the order of the notebook.
//!
//! Whole quarters of a day are counted where they were written
//! (`executions_cells`), what is left at either end by an index, one notebook a
//! statement. A cell is the same in every way to write its notebook's path; one
//! without an id is named by its place.

use mimamori_actors::domain::{ClassroomId, Position, SessionKey};
use sea_orm::FromQueryResult;

use super::executions::one_of;
use super::totals::{Parts, QUARTER_MS};
use super::{Found, Records, RecordsError, Sql, TimeRange, Weigh};
use crate::storage::records::dialect::Dialect;
use crate::storage::records::forget::leave_out;
use crate::storage::records::rows::comparable;

/// The commonest error is that of so many of a cell's newest ones.
const NEWEST_ERRORS: i64 = 50;
/// So many notebooks are looked into for a page at most.
const MOST_NOTEBOOKS: i64 = 1_000;
/// What tells how a student fared. Cells that were only rendered tell nothing.
const TELLING: &str = "('ok', 'error', 'interrupted', 'skipped')";

/// How a classroom fared with a cell, within a range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CellTotals {
    /// Its path, in one of the ways in which it was written.
    pub(crate) notebook: Option<String>,
    pub(crate) cell_id: Option<String>,
    /// The first place at which anybody has it.
    pub(crate) cell_index: Option<i64>,
    /// Students who ran it.
    pub(crate) reached: i64,
    /// Those of them for whom it was ok at least once.
    pub(crate) ok: i64,
    /// Runs that failed.
    pub(crate) errors: i64,
    /// Students for whom it was skipped and who did not run it.
    pub(crate) skipped: i64,
    /// Runs of a student who ran it: as many had fewer as had more.
    pub(crate) median_tries: Option<f64>,
    /// The first line that most of its newest errors begin with.
    pub(crate) commonest_error: Option<String>,
    /// When it was run or skipped last.
    pub(crate) at_ms: i64,
}

/// Where the table goes on: behind this cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CellKey {
    /// The notebook's path; empty for none.
    pub(crate) notebook: String,
    /// Below zero for none.
    pub(crate) cell_index: i64,
    /// Empty for none.
    pub(crate) cell_id: String,
}

impl CellTotals {
    pub(crate) fn key(&self) -> CellKey {
        CellKey {
            notebook: self.notebook.clone().unwrap_or_default(),
            cell_index: self.cell_index.unwrap_or(NO_INDEX),
            cell_id: self.cell_id.clone().unwrap_or_default(),
        }
    }
}

/// Stands in the tables for a cell that does not tell its place.
const NO_INDEX: i64 = -1;

#[derive(FromQueryResult)]
struct Row {
    cell_id: String,
    cell_index: i64,
    at_ms: i64,
    reached: i64,
    ok: i64,
    errors: i64,
    skipped: i64,
    tries: Option<String>,
    commonest_error: Option<String>,
}

impl Weigh for Row {
    fn bytes(&self) -> usize {
        let texts = [&self.tries, &self.commonest_error];
        let long: usize = texts.into_iter().flatten().map(String::len).sum();
        256 + self.cell_id.len() + long
    }
}

impl Row {
    fn of(self, notebook: Option<&String>) -> CellTotals {
        let row = self;
        CellTotals {
            notebook: notebook.cloned(),
            cell_id: (!row.cell_id.is_empty()).then_some(row.cell_id),
            cell_index: (row.cell_index != NO_INDEX).then_some(row.cell_index),
            reached: row.reached,
            ok: row.ok,
            errors: row.errors,
            skipped: row.skipped,
            median_tries: row.tries.as_deref().and_then(median),
            commonest_error: row.commonest_error.map(|line| line.trim_end().to_owned()),
            at_ms: row.at_ms,
        }
    }
}

/// The median of numbers with commas between them.
fn median(numbers: &str) -> Option<f64> {
    let mut numbers: Vec<u32> = numbers.split(',').flat_map(str::parse).collect();
    numbers.sort_unstable();
    let (low, high) = (
        numbers.get(numbers.len().checked_sub(1)? / 2)?,
        numbers.get(numbers.len() / 2)?,
    );
    Some(f64::midpoint(f64::from(*low), f64::from(*high)))
}

#[derive(FromQueryResult)]
struct NotebookRow {
    key: String,
    path: String,
}

/// The paths that are one notebook; none for cells without one.
pub(in crate::storage::records) type Paths = Option<Vec<String>>;

impl Records {
    /// The cells of a notebook, or of all, that were run or skipped in the range.
    pub(crate) async fn table_of_cells(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        notebook: Option<&str>,
        after: Option<CellKey>,
        limit: usize,
    ) -> Result<Found<CellTotals>, RecordsError> {
        let notebooks = match notebook {
            Some(notebook) => match self.paths(classroom, notebook).await? {
                paths if paths.is_empty() => Vec::new(),
                paths => vec![Some(paths)],
            },
            None => self.notebooks(classroom, range, after.as_ref()).await?,
        };
        let hidden = self.pending();
        let mut rows = Vec::new();
        for paths in &notebooks {
            let table = CellTable {
                classroom,
                range,
                paths,
                after: after.as_ref().filter(|key| is_of(paths, &key.notebook)),
                dialect: self.dialect,
                hidden: &hidden,
            };
            let room = limit - rows.len();
            let mut sql = table.statement(room);
            let found: Found<Row> = self.gather(&mut sql, room).await?;
            let notebook = paths.as_ref().and_then(|paths| paths.first());
            rows.extend(found.rows.into_iter().map(|row| row.of(notebook)));
            if found.has_more {
                let has_more = true;
                return Ok(Found { rows, has_more });
            }
        }
        // each of them had a cell
        let has_more = !rows.is_empty() && notebooks.len() as i64 > MOST_NOTEBOOKS;
        Ok(Found { rows, has_more })
    }

    /// The notebooks of which something was run or skipped in the range, from that of
    /// `after` on; what has none comes first.
    async fn notebooks(
        &self,
        classroom: &ClassroomId,
        range: TimeRange,
        after: Option<&CellKey>,
    ) -> Result<Vec<Paths>, RecordsError> {
        let first = after.map_or("", |key| key.notebook.as_str());
        let mut sql = active_notebooks(classroom, range, first, &self.pending());
        let rows: Vec<NotebookRow> = self.all(&mut sql).await?;
        let mut notebooks: Vec<Paths> = Vec::new();
        if first.is_empty() {
            notebooks.push(None);
        }
        let mut last = None;
        for NotebookRow { key, path } in rows {
            match notebooks.last_mut() {
                Some(Some(paths)) if last.as_ref() == Some(&key) => paths.push(path),
                _ => notebooks.push(Some(vec![path])),
            }
            last = Some(key);
        }
        Ok(notebooks)
    }
}

/// Whether the notebook with these paths is the one of which this is a path.
fn is_of(paths: &Paths, path: &str) -> bool {
    match paths {
        None => path.is_empty(),
        Some(paths) => paths
            .first()
            .is_some_and(|first| comparable(first) == comparable(path)),
    }
}

pub(in crate::storage::records) fn active_notebooks(
    classroom: &ClassroomId,
    range: TimeRange,
    first: &str,
    hidden: &[(SessionKey, Position)],
) -> Sql {
    let mut sql = Sql::new("SELECT n.key, n.path FROM notebooks n WHERE n.classroom = ");
    sql.bind(classroom.as_str());
    sql.push(" AND n.path <> '' AND n.key >= ")
        .bind(comparable(first));
    // one look into the index a notebook, however long the range is: the newest of it, or
    // PostgreSQL collects all of the range for whether there is any
    sql.push(
        " AND (SELECT x.position FROM executions x WHERE x.classroom = n.classroom \
         AND x.notebook = n.path AND x.at_ms >= ",
    );
    sql.bind(range.begin_ms());
    sql.push(" AND x.at_ms < ").bind(range.end_ms());
    leave_out(&mut sql, hidden, "x", "student");
    sql.push(&format!(
        " AND x.status IN {TELLING} ORDER BY x.at_ms DESC, x.position DESC LIMIT 1) IS NOT NULL \
         ORDER BY n.key, n.path LIMIT "
    ));
    sql.bind(MOST_NOTEBOOKS + 1);
    sql
}

/// The cells of one notebook, as they are asked for.
pub(in crate::storage::records) struct CellTable<'a> {
    pub(in crate::storage::records) classroom: &'a ClassroomId,
    pub(in crate::storage::records) range: TimeRange,
    pub(in crate::storage::records) paths: &'a Paths,
    pub(in crate::storage::records) after: Option<&'a CellKey>,
    pub(in crate::storage::records) dialect: Dialect,
    /// Who is being erased.
    pub(in crate::storage::records) hidden: &'a [(SessionKey, Position)],
}

impl CellTable<'_> {
    /// So many cells, and one more if there is.
    pub(in crate::storage::records) fn statement(&self, limit: usize) -> Sql {
        let mut sql = Sql::new("SELECT c.*, CASE WHEN c.cell_id = '' THEN ");
        self.commonest_error(
            &mut sql,
            "x.cell_id IS NULL AND COALESCE(x.cell_index, -1) = c.cell_index",
        );
        sql.push(" ELSE ");
        self.commonest_error(&mut sql, "x.cell_id = c.cell_id");
        sql.push(
            " END AS commonest_error FROM (SELECT p.cell_id, \
             MIN(p.cell_index) AS cell_index, MAX(p.last_ms) AS at_ms, \
             COUNT(NULLIF(p.runs, 0)) AS reached, COUNT(NULLIF(p.ok, 0)) AS ok, \
             SUM(CAST(p.errors AS integer)) AS errors, \
             COUNT(CASE WHEN p.runs = 0 THEN 1 END) AS skipped, \
             string_agg(CAST(NULLIF(p.runs, 0) AS text), ',') AS tries FROM (",
        );
        self.by_student(&mut sql);
        sql.push(") AS p GROUP BY p.cell_id, p.place");
        if let Some(key) = self.after {
            sql.push(" HAVING (MIN(p.cell_index), p.cell_id) > (")
                .bind(key.cell_index);
            sql.push(", ").bind(key.cell_id.as_str()).push(")");
        }
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        sql.push(" ORDER BY MIN(p.cell_index), p.cell_id LIMIT ")
            .bind(one_more);
        sql.push(") AS c ORDER BY c.cell_index, c.cell_id");
        sql
    }

    /// What each student did to each cell. `place` tells those apart that have no id.
    fn by_student(&self, sql: &mut Sql) {
        sql.push(
            "SELECT q.cell_id, \
             CASE WHEN q.cell_id = '' THEN q.cell_index END AS place, \
             MIN(q.cell_index) AS cell_index, SUM(q.runs) AS runs, SUM(q.ok) AS ok, \
             SUM(q.errors) AS errors, MAX(q.last_ms) AS last_ms FROM (SELECT cell_id, cell_index, student, \
             runs, ok, errors, last_ms FROM executions_cells WHERE classroom = ",
        );
        sql.bind(self.classroom.as_str());
        match self.paths {
            Some(paths) => one_of(sql, "notebook", paths),
            None => {
                sql.push(" AND notebook = ''");
            }
        }
        let parts = Parts::of(self.range.begin_ms()..self.range.end_ms(), QUARTER_MS);
        sql.push(" AND quarter_ms >= ").bind(parts.whole.start);
        sql.push(" AND quarter_ms < ").bind(parts.whole.end);
        // what was counted knows no positions: what they did since shows when they are erased
        for (key, _) in self.hidden {
            if key.classroom == *self.classroom {
                sql.push(" AND student <> ").bind(key.student.as_str());
            }
        }
        for edge in parts.edges.iter().filter(|edge| !edge.is_empty()) {
            sql.push(
                " UNION ALL SELECT COALESCE(x.cell_id, ''), \
                 COALESCE(x.cell_index, -1), x.student, \
                 CASE WHEN x.status = 'skipped' THEN 0 ELSE 1 END, \
                 CASE WHEN x.status = 'ok' THEN 1 ELSE 0 END, \
                 CASE WHEN x.status = 'error' THEN 1 ELSE 0 END, x.at_ms FROM executions x",
            );
            self.narrow(sql);
            sql.push(" AND x.at_ms >= ").bind(edge.start);
            sql.push(" AND x.at_ms < ").bind(edge.end);
            sql.push(&format!(" AND x.status IN {TELLING}"));
            leave_out(sql, self.hidden, "x", "student");
        }
        sql.push(
            ") AS q GROUP BY q.cell_id, CASE WHEN q.cell_id = '' THEN q.cell_index END, q.student",
        );
    }

    fn commonest_error(&self, sql: &mut Sql, of_cell: &str) {
        sql.push("(SELECT f.line FROM (SELECT ");
        sql.push(&self.dialect.first_line("x.error"));
        sql.push(" AS line, x.at_ms FROM executions x");
        self.narrow(sql);
        sql.push(&format!(
            " AND {of_cell} AND x.status = 'error' AND x.at_ms >= "
        ))
        .bind(self.range.begin_ms());
        sql.push(" AND x.at_ms < ").bind(self.range.end_ms());
        leave_out(sql, self.hidden, "x", "student");
        sql.push(" ORDER BY x.at_ms DESC, x.position DESC LIMIT ")
            .bind(NEWEST_ERRORS);
        sql.push(
            ") AS f WHERE f.line <> '' GROUP BY f.line \
             ORDER BY COUNT(*) DESC, MAX(f.at_ms) DESC, f.line LIMIT 1)",
        );
    }

    fn narrow(&self, sql: &mut Sql) {
        sql.push(" WHERE x.classroom = ")
            .bind(self.classroom.as_str());
        match self.paths {
            Some(paths) => one_of(sql, "x.notebook", paths),
            None => {
                sql.push(" AND (x.notebook IS NULL OR x.notebook = '')");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_between_the_two_in_the_middle() {
        assert_eq!(median(""), None);
        assert_eq!(median("7"), Some(7.0));
        assert_eq!(median("9,1,2"), Some(2.0));
        assert_eq!(median("10,1,2,3"), Some(2.5));
    }
}
