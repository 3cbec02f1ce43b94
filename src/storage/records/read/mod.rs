//! What the reading calls ask of the records, one file per subject.
//!
//! Pages go on after a key, never by counting rows: what is added meanwhile
//! moves nothing. Every statement is bounded in rows, bytes and time.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use mimamori_actors::domain::Timestamp;
use sea_orm::{DatabaseConnection, FromQueryResult, Statement};

use super::sql::Sql;
use super::{Records, RecordsError};

mod cells;
mod events;
mod executions;
mod exports;
mod faults;
mod histories;
mod people;
mod person;
mod search;
mod totals;

pub(crate) use cells::{CellKey, CellTotals};
pub(crate) use events::StoredEvent;
pub(crate) use executions::{ExecutionFilter, ExecutionRow};
pub(crate) use exports::{ExportedEvent, ExportedSpan, History};
pub(crate) use faults::{DeadLetterRow, RejectedRow};
pub(super) use histories::OpenedHelp;
pub(crate) use histories::{HelpKey, HelpRow, LessonKey, LessonRow};
pub(crate) use people::{CellRow, KnownStudent, SessionRow};
pub(crate) use person::{AlertRow, PersonRow};
pub(crate) use totals::Totals;
#[cfg(test)]
pub(super) use {
    cells::{CellTable, Paths, active_notebooks},
    executions::List,
    totals::totals,
};

/// A reading statement that takes longer is broken off.
pub(super) const READING_LIMIT: Duration = Duration::from_secs(10);
/// A page ends when it holds more than this, however few rows it has.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// From (inclusive), to (exclusive); without an end also what a client's fast clock put into the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
}

impl TimeRange {
    fn begin_ms(self) -> i64 {
        self.from.as_millis()
    }

    fn end_ms(self) -> i64 {
        self.to.map_or(i64::MAX, Timestamp::as_millis)
    }
}

/// Where a list by time goes on: after the row at this time and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeKey {
    pub(crate) at_ms: i64,
    pub(crate) position: i64,
}

/// Rows, and whether there are more behind them.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) has_more: bool,
}

impl<T> Found<T> {
    /// The same page with other rows.
    fn map<U>(
        self,
        change: impl FnMut(T) -> Result<U, RecordsError>,
    ) -> Result<Found<U>, RecordsError> {
        Ok(Found {
            rows: self
                .rows
                .into_iter()
                .map(change)
                .collect::<Result<_, _>>()?,
            has_more: self.has_more,
        })
    }
}

/// How much a row weighs in a page.
pub(crate) trait Weigh {
    /// About its size in bytes.
    fn bytes(&self) -> usize;
}

impl Records {
    pub(super) async fn all<T: FromQueryResult>(
        &self,
        sql: &mut Sql,
    ) -> Result<Vec<T>, RecordsError> {
        let statement = sql.statement(self.dialect);
        let ask = |at, statement| async move { all(&at, statement).await };
        Box::pin(self.ask(statement, ask)).await
    }

    pub(super) async fn one<T: FromQueryResult>(
        &self,
        sql: &mut Sql,
    ) -> Result<Option<T>, RecordsError> {
        let statement = sql.statement(self.dialect);
        let ask = |at, statement| async move { one(&at, statement).await };
        Box::pin(self.ask(statement, ask)).await
    }

    /// A page of at most `limit` rows; `sql` ends where its LIMIT belongs.
    async fn page<T>(&self, sql: &mut Sql, limit: usize) -> Result<Found<T>, RecordsError>
    where
        T: FromQueryResult + Weigh + Send + Unpin,
    {
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        sql.push(" LIMIT ").bind(one_more);
        self.gather(sql, limit).await
    }

    /// As [`Self::page`] of a statement that has its limit.
    async fn gather<T>(&self, sql: &mut Sql, limit: usize) -> Result<Found<T>, RecordsError>
    where
        T: FromQueryResult + Weigh + Send + Unpin,
    {
        let statement = sql.statement(self.dialect);
        let ask = |at, statement| async move { gathered(&at, statement, limit).await };
        Box::pin(self.ask(statement, ask)).await
    }

    // boxed by its callers: the driver's futures are large, and whole calls are made of them, which
    // the stack of a thread would have to hold
    /// Has the statement answered where this is read: at the replica as long as
    /// that goes well, else where it is also written.
    async fn ask<T, F>(
        &self,
        statement: Statement,
        ask: impl Fn(DatabaseConnection, Statement) -> F,
    ) -> Result<T, RecordsError>
    where
        F: Future<Output = Result<T, RecordsError>>,
    {
        self.gate.pass()?;
        if let Some(visit) = self.visit()
            && let Some(answer) = visit.ask(ask(visit.pool(), statement.clone())).await
        {
            return answer;
        }
        in_time(ask(self.reading.clone(), statement)).await?
    }
}

pub(super) async fn all<T: FromQueryResult>(
    at: &DatabaseConnection,
    statement: Statement,
) -> Result<Vec<T>, RecordsError> {
    Ok(T::find_by_statement(statement).all(at).await?)
}

pub(super) async fn one<T: FromQueryResult>(
    at: &DatabaseConnection,
    statement: Statement,
) -> Result<Option<T>, RecordsError> {
    Ok(T::find_by_statement(statement).one(at).await?)
}

async fn gathered<T>(
    at: &DatabaseConnection,
    statement: Statement,
    limit: usize,
) -> Result<Found<T>, RecordsError>
where
    T: FromQueryResult + Weigh + Send + Unpin,
{
    let stream = T::find_by_statement(statement).stream(at).await?;
    let mut stream = pin!(stream);
    let mut rows: Vec<T> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = stream.next().await {
        let row = row?;
        bytes += row.bytes();
        if rows.len() == limit || (bytes > MAX_PAGE_BYTES && !rows.is_empty()) {
            return Ok(Found {
                rows,
                has_more: true,
            });
        }
        rows.push(row);
    }
    Ok(Found {
        rows,
        has_more: false,
    })
}

/// What takes longer than a reading call may take is broken off.
pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, RecordsError> {
    tokio::time::timeout(READING_LIMIT, work)
        .await
        .map_err(|_| RecordsError::TooSlow)
}
