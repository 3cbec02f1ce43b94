//! The former service's database, read and never written.
//!
//! All of it is read in one transaction that sees one moment, so that what is
//! counted is what is brought. Executions are streamed: a row is in memory, not
//! the table. Which of its columns there are is asked first; those that only add
//! something may be missing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::str::FromStr;

use futures_util::{Stream, StreamExt};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgRow};
use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _,
};

use super::report::Counts;
use super::row::ExecutionRow;
use crate::config::PostgresUrl;
use crate::decode::{MAX_NAME_BYTES, MAX_TEXT_BYTES};

/// Why it could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It does not answer, lets us not in, or broke off.
    #[error("{0}")]
    Unavailable(String),
    /// It is not the database of that service.
    #[error(
        "it has no table {table} with a column {column}; is it the database of cell-monitor's server?"
    )]
    Missing {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The zone of times without one is not known to that server.
    #[error("it knows no time zone of the name given")]
    TimeZone,
}

impl From<sqlx::Error> for SourceError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // a name of a zone is all of ours that it can refuse
            sqlx::Error::Database(refusal) if refusal.code().as_deref() == Some("22023") => {
                Self::TimeZone
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// In which zone times stand that carry none, such as `Asia/Tokyo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(String);

impl FromStr for TimeZone {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
            return Err("not the name of a time zone such as UTC or Asia/Tokyo");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A student as that service knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StudentRow {
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    pub(super) team: Option<String>,
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
}

/// A team or a notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedRow {
    pub(super) name: Option<String>,
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
}

/// The database, seen as at one moment.
pub struct Source {
    session: PgConnection,
    shape: Shape,
}

/// What there must be.
const NEEDED: [(&str, &str); 10] = [
    ("students", "id"),
    ("students", "email"),
    ("teams", "id"),
    ("teams", "team_name"),
    ("notebooks", "id"),
    ("notebooks", "path"),
    ("cell_executions", "student_id"),
    ("cell_executions", "notebook_id"),
    ("cell_executions", "executed_at"),
    ("cell_executions", "status"),
];

/// Which columns there are, and of which type.
#[derive(Debug)]
struct Shape {
    columns: BTreeMap<(String, String), String>,
    zone: TimeZone,
}

impl Source {
    /// Connects, and looks whether it is the database of that service.
    ///
    /// # Errors
    /// When it does not answer, or has not its tables.
    pub async fn open(url: &PostgresUrl, zone: TimeZone) -> Result<Self, SourceError> {
        // the driver's own words repeat the address, and with it the password
        let options = PgConnectOptions::from_str(url.expose())
            .map_err(|_| SourceError::Unavailable("its address can't be used".to_owned()))?
            .disable_statement_logging();
        let mut session = PgConnection::connect_with(&options).await?;
        for statement in [
            "SET timezone = 'UTC'",
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        ] {
            sqlx::raw_sql(statement).execute(&mut session).await?;
        }
        let shape = Shape {
            columns: columns(&mut session).await?,
            zone,
        };
        for (table, column) in NEEDED {
            if !shape.has(table, column) {
                return Err(SourceError::Missing { table, column });
            }
        }
        Ok(Self { session, shape })
    }

    pub(super) async fn counts(&mut self) -> Result<Counts, SourceError> {
        Ok(Counts {
            students: self.count("students").await?,
            teams: self.count("teams").await?,
            notebooks: self.count("notebooks").await?,
            executions: self.count("cell_executions").await?,
        })
    }

    async fn count(&mut self, table: &'static str) -> Result<u64, SourceError> {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let row = sqlx::query(AssertSqlSafe(sql))
            .fetch_one(&mut self.session)
            .await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }

    /// How many executions there are, for whoever shows progress.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn execution_count(&mut self) -> Result<u64, SourceError> {
        self.count("cell_executions").await
    }

    pub(super) async fn students(&mut self) -> Result<Vec<StudentRow>, SourceError> {
        let at = self.shape.millis("x.executed_at");
        let name = self.shape.text("s", "students", "name", MAX_NAME_BYTES + 1);
        let email = self
            .shape
            .text("s", "students", "email", MAX_NAME_BYTES + 1);
        let team = self
            .shape
            .text("t", "teams", "team_name", MAX_NAME_BYTES + 1);
        let team_of = self.shape.text("s", "students", "team_id", MAX_NAME_BYTES);
        let sql = format!(
            "SELECT {email} AS email, {name} AS name, {team} AS team, seen.first_ms, seen.last_ms \
             FROM students s LEFT JOIN teams t ON t.id::text = {team_of} \
             LEFT JOIN (SELECT x.student_id::text AS id, MIN({at}) AS first_ms, \
             MAX({at}) AS last_ms FROM cell_executions x GROUP BY 1) AS seen \
             ON seen.id = s.id::text ORDER BY s.id"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(&mut self.session)
            .await?;
        let read = |row: &PgRow| {
            Ok(StudentRow {
                email: row.try_get("email")?,
                name: row.try_get("name")?,
                team: row.try_get("team")?,
                first_ms: row.try_get("first_ms")?,
                last_ms: row.try_get("last_ms")?,
            })
        };
        rows.iter().map(read).collect()
    }

    pub(super) async fn teams(&mut self) -> Result<Vec<NamedRow>, SourceError> {
        let name = self
            .shape
            .text("t", "teams", "team_name", MAX_NAME_BYTES + 1);
        let sql = format!(
            "SELECT {name} AS name, NULL::bigint AS first_ms, NULL::bigint AS last_ms \
             FROM teams t ORDER BY t.id"
        );
        self.named(sql).await
    }

    pub(super) async fn notebooks(&mut self) -> Result<Vec<NamedRow>, SourceError> {
        let at = self.shape.millis("x.executed_at");
        let path = self
            .shape
            .text("n", "notebooks", "path", MAX_NAME_BYTES + 1);
        let sql = format!(
            "SELECT {path} AS name, seen.first_ms, seen.last_ms FROM notebooks n \
             LEFT JOIN (SELECT x.notebook_id::text AS id, MIN({at}) AS first_ms, \
             MAX({at}) AS last_ms FROM cell_executions x GROUP BY 1) AS seen \
             ON seen.id = n.id::text ORDER BY n.id"
        );
        self.named(sql).await
    }

    async fn named(&mut self, sql: String) -> Result<Vec<NamedRow>, SourceError> {
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(&mut self.session)
            .await?;
        let read = |row: &PgRow| {
            Ok(NamedRow {
                name: row.try_get("name")?,
                first_ms: row.try_get("first_ms")?,
                last_ms: row.try_get("last_ms")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Every execution, oldest first, as they come.
    pub(super) async fn executions(&mut self) -> Result<Executions<'_>, SourceError> {
        let sql = self.shape.executions();
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.session);
        Ok(Executions { rows })
    }
}

async fn columns(
    session: &mut PgConnection,
) -> Result<BTreeMap<(String, String), String>, SourceError> {
    let rows = sqlx::query(
        "SELECT table_name::text, column_name::text, data_type::text \
         FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))",
    )
    .fetch_all(session)
    .await?;
    let read = |row: &PgRow| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?));
    rows.iter().map(read).collect()
}

impl Shape {
    fn type_of(&self, table: &str, column: &str) -> Option<&str> {
        let key = (table.to_owned(), column.to_owned());
        self.columns.get(&key).map(String::as_str)
    }

    fn has(&self, table: &str, column: &str) -> bool {
        self.type_of(table, column).is_some()
    }

    /// A column as text of at most so many characters, or nothing where there is no such column.
    fn text(&self, alias: &str, table: &str, column: &str, longest: usize) -> String {
        if self.has(table, column) {
            format!("left({alias}.{column}::text, {longest})")
        } else {
            "NULL::text".to_owned()
        }
    }

    fn number(&self, column: &str, kind: &str) -> String {
        if self.has("cell_executions", column) {
            format!("x.{column}::{kind}")
        } else {
            format!("NULL::{kind}")
        }
    }

    /// A time in milliseconds since 1970; nothing for infinities.
    fn millis(&self, column: &str) -> String {
        let has_zone = self
            .type_of("cell_executions", "executed_at")
            .is_some_and(|kind| kind == "timestamp with time zone");
        let time = match has_zone {
            true => column.to_owned(),
            // only letters, digits and / _ + - are in the name of a zone
            false => format!("({column} AT TIME ZONE '{}')", self.zone.0),
        };
        format!(
            "(CASE WHEN isfinite({column}) \
             THEN floor(EXTRACT(EPOCH FROM {time}) * 1000)::bigint END)"
        )
    }

    /// The notebook's own name of a cell: a text is that already, a number names a row of `cells`.
    fn cell(&self) -> (String, &'static str) {
        let kind = self.type_of("cell_executions", "cell_id");
        let is_number = kind.is_some_and(|kind| kind.contains("int"));
        if is_number && self.has("cells", "cell_id") && self.has("cells", "id") {
            let cell = self.text("c", "cells", "cell_id", MAX_NAME_BYTES + 1);
            return (cell, " LEFT JOIN cells c ON c.id::text = x.cell_id::text");
        }
        let cell = self.text("x", "cell_executions", "cell_id", MAX_NAME_BYTES + 1);
        (cell, "")
    }

    fn executions(&self) -> String {
        let x = |column| self.text("x", "cell_executions", column, MAX_TEXT_BYTES + 1);
        let (cell, cells) = self.cell();
        let name = MAX_NAME_BYTES + 1;
        format!(
            "SELECT {id} AS execution_id, s.id IS NOT NULL AS has_student, {email} AS email, \
             {student} AS name, {team} AS team, n.id IS NOT NULL AS has_notebook, {path} AS path, \
             {cell} AS cell_id, {at} AS at_ms, {count} AS execution_count, {status} AS status, \
             {duration} AS duration, {error} AS error_message, {output} AS output, \
             {code} AS code, {index} AS cell_index, {kind} AS cell_type \
             FROM cell_executions x \
             LEFT JOIN students s ON s.id::text = x.student_id::text \
             LEFT JOIN teams t ON t.id::text = {team_of} \
             LEFT JOIN notebooks n ON n.id::text = x.notebook_id::text{cells} \
             ORDER BY x.executed_at, 1",
            id = x("execution_id"),
            email = self.text("s", "students", "email", name),
            student = self.text("s", "students", "name", name),
            team = self.text("t", "teams", "team_name", name),
            team_of = self.text("s", "students", "team_id", name),
            path = self.text("n", "notebooks", "path", name),
            at = self.millis("x.executed_at"),
            count = self.number("execution_count", "bigint"),
            status = x("status"),
            duration = self.number("duration", "float8"),
            error = x("error_message"),
            output = x("output"),
            code = x("code_content"),
            index = self.number("cell_index", "bigint"),
            kind = x("cell_type"),
        )
    }
}

/// Executions as they come.
pub(super) struct Executions<'a> {
    rows: Pin<Box<dyn Stream<Item = Result<PgRow, sqlx::Error>> + Send + 'a>>,
}

impl Executions<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<ExecutionRow>, SourceError> {
        match self.rows.next().await {
            None => Ok(None),
            Some(row) => Ok(Some(execution(&row?)?)),
        }
    }
}

fn execution(row: &PgRow) -> Result<ExecutionRow, sqlx::Error> {
    Ok(ExecutionRow {
        execution_id: row.try_get("execution_id")?,
        has_student: row.try_get("has_student")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        team: row.try_get("team")?,
        has_notebook: row.try_get("has_notebook")?,
        path: row.try_get("path")?,
        cell_id: row.try_get("cell_id")?,
        at_ms: row.try_get("at_ms")?,
        execution_count: row.try_get("execution_count")?,
        status: row.try_get("status")?,
        duration: row.try_get("duration")?,
        error_message: row.try_get("error_message")?,
        output: row.try_get("output")?,
        code: row.try_get("code")?,
        cell_index: row.try_get("cell_index")?,
        cell_type: row.try_get("cell_type")?,
    })
}
