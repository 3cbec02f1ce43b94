//! What tables there are: asked of a database in memory that the migrations made.

use mimamori_migrations::Migrator;
use sea_orm::SqlxSqliteConnector;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Row as _, SqlitePool};
use sea_orm_migration::MigratorTrait;

use super::{DumpError, FILED_AT};

/// Tables that PostgreSQL cuts into months.
const FILED: [&str; 2] = ["events", "executions"];
/// The migrations keep books of their own, and what is derived from executions is made
/// anew by triggers when those are read in.
const NOT_OURS: &str = "name NOT LIKE 'sqlite_%' AND name NOT LIKE 'executions\\_%' ESCAPE '\\' \
    AND name NOT IN ('seaql_migrations', 'expansions')";

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number of 64 bits.
    Number,
    /// True or false: 1 or 0.
    Flag,
    /// Text.
    Text,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Its place in the key, from 1; 0 if it is no part of it.
    pub(crate) key: i64,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// Whether PostgreSQL cuts it into months.
    pub(crate) is_filed: bool,
}

impl Table {
    /// The columns of a line in a file.
    pub(crate) fn file_columns(&self) -> impl Iterator<Item = &str> {
        let own = self.columns.iter().map(|column| column.name.as_str());
        own.chain(self.is_filed.then_some(FILED_AT))
    }

    /// The columns that name a row, in their order.
    pub(super) fn key(&self) -> Vec<&Column> {
        let mut key: Vec<_> = self
            .columns
            .iter()
            .filter(|column| column.key > 0)
            .collect();
        key.sort_by_key(|column| column.key);
        key
    }
}

/// The migrations that this program knows, in their order.
pub(crate) fn migrations() -> Vec<String> {
    let migrations = Migrator::migrations();
    migrations
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect()
}

/// All tables, in the order of their names.
pub(crate) async fn tables() -> Result<Vec<Table>, DumpError> {
    let options = SqliteConnectOptions::new()
        .in_memory(true)
        .disable_statement_logging();
    // one connection: another one would have a memory of its own
    let pool = SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await?;
    Migrator::up(
        &SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.clone()),
        None,
    )
    .await?;
    let names =
        format!("SELECT name FROM sqlite_master WHERE type = 'table' AND {NOT_OURS} ORDER BY name");
    let names = sqlx::query(AssertSqlSafe(names)).fetch_all(&pool).await?;
    let mut tables = Vec::with_capacity(names.len());
    for row in names {
        tables.push(table(&pool, row.try_get(0)?).await?);
    }
    pool.close().await;
    Ok(tables)
}

async fn table(pool: &SqlitePool, name: String) -> Result<Table, DumpError> {
    let rows = sqlx::query("SELECT name, lower(type), pk FROM pragma_table_info($1) ORDER BY cid")
        .bind(&name)
        .fetch_all(pool)
        .await?;
    let mut columns = Vec::with_capacity(rows.len());
    for row in rows {
        let column: String = row.try_get(0)?;
        let declared: String = row.try_get(1)?;
        let kind = kind_of(&declared).ok_or_else(|| {
            DumpError::Unfit(format!(
                "{name}.{column} is of a type that no backup knows: {declared}"
            ))
        })?;
        columns.push(Column {
            name: column,
            kind,
            key: row.try_get(2)?,
        });
    }
    Ok(Table {
        is_filed: FILED.contains(&name.as_str()),
        name,
        columns,
    })
}

fn kind_of(declared: &str) -> Option<Kind> {
    if declared.contains("int") {
        return Some(Kind::Number);
    }
    if declared.starts_with("bool") {
        return Some(Kind::Flag);
    }
    let is_text = declared.contains("text") || declared.contains("char");
    is_text.then_some(Kind::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_table_has_a_key_and_columns_of_known_kinds() {
        let tables = tables().await.unwrap();

        let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
        for name in [
            "classrooms",
            "events",
            "executions",
            "help",
            "offsets",
            "students",
        ] {
            assert!(names.contains(&name), "{names:?}");
        }
        for table in &tables {
            assert!(!table.key().is_empty(), "{table:?}");
        }
        let executions = tables
            .iter()
            .find(|table| table.name == "executions")
            .unwrap();
        assert_eq!(executions.file_columns().last(), Some(FILED_AT));
    }
}
