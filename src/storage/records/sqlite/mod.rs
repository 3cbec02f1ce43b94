//! The records in a file: one connection that writes, a few that can only read.

use std::path::Path;

use mimamori_migrations::bring_up_to_date;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
    TransactionTrait, Value,
};

use super::RecordsError;
use super::dialect::Dialect;
use super::sql::{Insert, Sql};

pub(super) mod connect;
pub(super) mod fault;
pub(super) mod format;

/// The file's name under `storage.dir`.
pub(super) const FILE: &str = "records.sqlite";

/// Makes the file if it is not there, brings its tables up to date, and opens
/// it for writing and for reading.
pub(super) async fn open(
    dir: &Path,
) -> Result<(DatabaseConnection, DatabaseConnection), RecordsError> {
    let file = dir.join(FILE);
    let writing = connect::writing(&file).await?;
    bring_up_to_date(&writing).await?;
    let reading = connect::reading(&file).await?;
    Ok((writing, reading))
}

/// A batch under way on the only connection that writes; dropped, it leaves nothing.
pub(super) struct Batch(DatabaseTransaction);

/// Rows a statement, largest first. Few sizes, so that every statement is
/// prepared once; the largest stays far under SQLite's limit of 32,766 values.
const ROWS_A_STATEMENT: [usize; 5] = [256, 64, 16, 4, 1];

impl Batch {
    pub(super) async fn begin(writing: &DatabaseConnection) -> Result<Self, RecordsError> {
        Ok(Self(writing.begin().await?))
    }

    /// Inserts the rows, in their order; how many were not there yet.
    pub(super) async fn insert<const N: usize>(
        &mut self,
        table: &Insert<'_>,
        rows: Vec<[Value; N]>,
    ) -> Result<u64, RecordsError> {
        // a file has no months: when a row is filed stands behind its columns
        let width = table.columns.len();
        let mut rows = rows.into_iter();
        let mut written = 0;
        for size in ROWS_A_STATEMENT {
            while rows.len() >= size {
                let rows = rows.by_ref().take(size);
                let values = rows.flat_map(|row| row.into_iter().take(width)).collect();
                written += self.execute(text(table, size), values).await?;
            }
        }
        Ok(written)
    }

    async fn execute(&self, text: String, values: Vec<Value>) -> Result<u64, DbErr> {
        let statement = Statement::from_sql_and_values(DbBackend::Sqlite, text, values);
        Ok(self.0.execute_raw(statement).await?.rows_affected())
    }

    /// The whole numbers in the column `position`.
    pub(super) async fn positions(&mut self, sql: &mut Sql) -> Result<Vec<i64>, RecordsError> {
        let rows = self.0.query_all_raw(sql.statement(Dialect::Sqlite)).await?;
        let numbers = rows.iter().map(|row| row.try_get("", "position"));
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    pub(super) async fn run(&mut self, sql: &mut Sql) -> Result<u64, RecordsError> {
        let done = self.0.execute_raw(sql.statement(Dialect::Sqlite)).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn commit(self) -> Result<(), RecordsError> {
        Ok(self.0.commit().await?)
    }
}

fn text(table: &Insert<'_>, rows: usize) -> String {
    let row = format!("({})", vec!["?"; table.columns.len()].join(","));
    format!(
        "INSERT INTO {} ({}) VALUES {} ON CONFLICT ({}) {}",
        table.name,
        table.columns.join(","),
        vec![row.as_str(); rows].join(","),
        table.key.join(","),
        table.when_there,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_statement_stays_under_the_limit_of_values() {
        let widest_table = 15;

        assert!(ROWS_A_STATEMENT[0] * widest_table < 32_766);
    }
}
