//! A batch on its way into the tables: one array a column, one statement a table.

use std::collections::BTreeMap;

use sea_orm::Value;
use sea_orm::sqlx::postgres::{PgArguments, PgConnection};
use sea_orm::sqlx::query::Query;
use sea_orm::sqlx::{self, AssertSqlSafe, Postgres, Row as _};

use super::fault::unavailable;
use super::session::{Lent, Writer, answered};
use crate::storage::records::RecordsError;
use crate::storage::records::sql::{Insert, Sql};

/// A statement carries about so much text at the most: a server takes 1 GB, and has to hold it.
const STATEMENT_BYTES: usize = 8 * 1024 * 1024;

/// A batch under way; dropped, it leaves nothing.
pub(in crate::storage::records) struct Batch<'a>(Lent<'a>);

impl<'a> Batch<'a> {
    pub(in crate::storage::records) async fn begin(
        writer: &'a Writer,
    ) -> Result<Self, RecordsError> {
        Ok(Self(writer.begin().await?))
    }

    /// Inserts the rows, in their order; how many were not there yet.
    pub(in crate::storage::records) async fn insert<const N: usize>(
        &mut self,
        table: &Insert<'_>,
        rows: Vec<[Value; N]>,
    ) -> Result<u64, RecordsError> {
        let mut written = 0;
        for wave in waves(table, rows) {
            let mut rows = wave.into_iter().peekable();
            while rows.peek().is_some() {
                written += insert_some(self.0.session(), table, &mut rows).await?;
            }
        }
        Ok(written)
    }

    /// The whole numbers in the column `position`.
    pub(in crate::storage::records) async fn positions(
        &mut self,
        sql: &mut Sql,
    ) -> Result<Vec<i64>, RecordsError> {
        let query = bound(sql)?;
        let rows = answered(query.fetch_all(self.0.session())).await?;
        let numbers = rows.iter().map(|row| row.try_get("position"));
        numbers.collect::<Result<_, _>>().map_err(unavailable)
    }

    pub(in crate::storage::records) async fn run(
        &mut self,
        sql: &mut Sql,
    ) -> Result<u64, RecordsError> {
        let done = answered(bound(sql)?.execute(self.0.session())).await?;
        Ok(done.rows_affected())
    }

    pub(in crate::storage::records) async fn commit(self) -> Result<(), RecordsError> {
        self.0.commit().await
    }
}

/// A statement with its values.
fn bound(sql: &mut Sql) -> Result<Query<'static, Postgres, PgArguments>, RecordsError> {
    let (text, values) = sql.take();
    let mut query = sqlx::query(AssertSqlSafe(text));
    for value in values {
        query = match value {
            Value::BigInt(number) => query.bind(number),
            Value::String(text) => query.bind(text),
            other => return Err(no_column_for(&other)),
        };
    }
    Ok(query)
}

/// Rows of one statement must not change each other: those of one key go one
/// after the other, as they would in a statement each.
fn waves<const N: usize>(table: &Insert<'_>, rows: Vec<[Value; N]>) -> Vec<Vec<[Value; N]>> {
    if !table.changes_rows() {
        return vec![rows];
    }
    let key: Vec<usize> = table.key_indexes();
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    let mut waves: Vec<Vec<[Value; N]>> = Vec::new();
    for row in rows {
        let name = key.iter().map(|index| name_of(&row[*index])).collect();
        let times = seen.entry(name).or_default();
        if waves.len() == *times {
            waves.push(Vec::new());
        }
        waves[*times].push(row);
        *times += 1;
    }
    waves
}

fn name_of(value: &Value) -> String {
    match value {
        Value::String(Some(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// Inserts the next rows, as many as fit into a statement.
async fn insert_some<const N: usize>(
    session: &mut PgConnection,
    table: &Insert<'_>,
    rows: &mut impl Iterator<Item = [Value; N]>,
) -> Result<u64, RecordsError> {
    let mut columns: Vec<Column> = Vec::new();
    let mut bytes = 0;
    while bytes < STATEMENT_BYTES {
        let Some(row) = rows.next() else { break };
        if columns.is_empty() {
            columns = row.iter().map(Column::like).collect::<Result<_, _>>()?;
        }
        for (column, value) in columns.iter_mut().zip(row) {
            bytes += column.push(value)?;
        }
    }
    let text = text(table, &columns);
    let mut query = sqlx::query(AssertSqlSafe(text));
    for column in columns {
        query = column.bind(query);
    }
    let done = answered(query.execute(session)).await?;
    Ok(done.rows_affected())
}

/// The values of a column.
enum Column {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

impl Column {
    fn like(value: &Value) -> Result<Self, RecordsError> {
        match value {
            Value::BigInt(_) => Ok(Self::Numbers(Vec::new())),
            Value::String(_) => Ok(Self::Texts(Vec::new())),
            other => Err(no_column_for(other)),
        }
    }

    /// Adds a value; about how many bytes it has.
    fn push(&mut self, value: Value) -> Result<usize, RecordsError> {
        match (self, value) {
            (Self::Numbers(numbers), Value::BigInt(number)) => {
                numbers.push(number);
                Ok(12)
            }
            (Self::Texts(texts), Value::String(text)) => {
                let bytes = 4 + text.as_ref().map_or(0, String::len);
                texts.push(text);
                Ok(bytes)
            }
            (Self::Numbers(_) | Self::Texts(_), other) => Err(no_column_for(&other)),
        }
    }

    const fn array(&self) -> &'static str {
        match self {
            Self::Numbers(_) => "bigint[]",
            Self::Texts(_) => "text[]",
        }
    }

    fn bind(self, query: Query<'_, Postgres, PgArguments>) -> Query<'_, Postgres, PgArguments> {
        match self {
            Self::Numbers(numbers) => query.bind(numbers),
            Self::Texts(texts) => query.bind(texts),
        }
    }
}

fn no_column_for(value: &Value) -> RecordsError {
    let kind = std::mem::discriminant(value);
    RecordsError::Malformed(format!("no column holds a value like {kind:?}"))
}

/// The same text for the same table, so that it is prepared once.
fn text(table: &Insert<'_>, columns: &[Column]) -> String {
    let arrays: Vec<String> = (1..)
        .zip(columns)
        .map(|(nth, column)| format!("${nth}::{}", column.array()))
        .collect();
    let names = table.columns.join(",");
    let key = table.key.join(",");
    // exact: milliseconds are added to 1970 as whole microseconds
    let (into, from, given, key) = if table.is_filed {
        (
            format!("{names},filed_at"),
            format!("{names},timestamptz 'epoch' + filed_ms * interval '1 millisecond'"),
            format!("{names},filed_ms"),
            format!("{key},filed_at"),
        )
    } else {
        (names.clone(), names.clone(), names, key)
    };
    format!(
        "INSERT INTO {} ({into}) SELECT {from} FROM UNNEST({}) AS given ({given}) \
         ON CONFLICT ({key}) {}",
        table.name,
        arrays.join(","),
        table.when_there,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Insert<'_> = Insert {
        name: "help",
        columns: &["classroom", "id", "position"],
        key: &["classroom", "id"],
        when_there: "DO UPDATE SET position = excluded.position",
        is_filed: false,
    };

    fn row(id: &str, position: i64) -> [Value; 3] {
        ["c".into(), id.into(), position.into()]
    }

    #[test]
    fn rows_of_one_key_go_one_after_the_other() {
        let rows = vec![row("a", 1), row("b", 2), row("a", 3), row("a", 4)];

        let waves = waves(&TABLE, rows);

        let positions: Vec<Vec<Value>> = waves
            .into_iter()
            .map(|wave| wave.into_iter().map(|[_, _, position]| position).collect())
            .collect();
        assert_eq!(
            positions,
            [
                vec![1_i64.into(), 2_i64.into()],
                vec![3_i64.into()],
                vec![Value::from(4_i64)]
            ]
        );
    }

    #[test]
    fn a_table_of_months_names_its_rows_by_their_month_too() {
        let filed = Insert {
            name: "events",
            columns: &["position"],
            key: &["position"],
            when_there: "DO NOTHING",
            is_filed: true,
        };
        let columns = [Column::Numbers(Vec::new()), Column::Numbers(Vec::new())];

        assert_eq!(
            text(&filed, &columns),
            "INSERT INTO events (position,filed_at) SELECT position,timestamptz 'epoch' + filed_ms * interval '1 millisecond' \
             FROM UNNEST($1::bigint[],$2::bigint[]) AS given (position,filed_ms) ON CONFLICT (position,filed_at) DO NOTHING"
        );
    }
}
