//! Tables out of and into a file of SQLite.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use futures_util::StreamExt as _;
use mimamori_actors::domain::Timestamp;
use sea_orm::sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sea_orm::sqlx::{
    self, Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _,
};

use super::schema::{Column, Kind};
use super::{
    DumpError, FILED_AT, OFFSETS, Renamed, Sink, Table, TableFile, renamed_offset, tables, text,
};
use crate::storage::filed_at;
use crate::storage::records::sqlite::FILE;
use crate::storage::records::sqlite::connect::BUSY_LIMIT;

/// Text is handed on in pieces of about so many bytes.
const PIECE_BYTES: usize = 256 << 10;
/// Rows a statement: far under the limit of values.
const ROWS_A_STATEMENT: usize = 64;
/// Bytes of rows that one transaction keeps: more would only make the log longer.
const TRANSACTION_BYTES: u64 = 32 << 20;

/// All tables as they are when the first is begun.
pub(super) async fn dump(
    dir: &Path,
    is_alone: bool,
    tables: &[Table],
    sink: &mut dyn Sink,
) -> Result<(), DumpError> {
    let options = SqliteConnectOptions::new()
        .filename(dir.join(FILE))
        // whoever is alone puts the log into the tables when it closes, and leaves no other file
        .read_only(!is_alone)
        .busy_timeout(BUSY_LIMIT)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
    for table in tables {
        sink.begin(table)?;
        dump_table(&mut connection, table, sink).await?;
        sink.end()?;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn dump_table(
    connection: &mut SqliteConnection,
    table: &Table,
    sink: &mut dyn Sink,
) -> Result<(), DumpError> {
    let mut rows = sqlx::query(AssertSqlSafe(select(table))).fetch(connection);
    let mut piece = Vec::with_capacity(PIECE_BYTES + 4096);
    while let Some(row) = rows.next().await {
        put_row(&mut piece, table, &row?)?;
        if piece.len() >= PIECE_BYTES {
            sink.write(&piece)?;
            piece.clear();
        }
    }
    Ok(sink.write(&piece)?)
}

fn select(table: &Table) -> String {
    let columns = table
        .columns
        .iter()
        .map(|column| format!("t.{}", column.name));
    let mut columns: Vec<_> = columns.collect();
    let mut from = format!("{} t", table.name);
    if table.is_filed {
        // an event's own time says where it and its execution are filed
        columns.push("e.event_time_ms".to_owned());
        from.push_str(" LEFT JOIN events e ON e.position = t.position");
    }
    let key = table.key();
    let key: Vec<_> = key
        .iter()
        .map(|column| format!("t.{}", column.name))
        .collect();
    format!(
        "SELECT {} FROM {from} ORDER BY {}",
        columns.join(", "),
        key.join(", ")
    )
}

fn put_row(piece: &mut Vec<u8>, table: &Table, row: &SqliteRow) -> Result<(), sqlx::Error> {
    for (place, column) in table.columns.iter().enumerate() {
        if place > 0 {
            piece.push(b'\t');
        }
        match column.kind {
            Kind::Number | Kind::Flag => match row.try_get_unchecked::<Option<i64>, _>(place)? {
                Some(number) => piece.extend_from_slice(number.to_string().as_bytes()),
                None => piece.extend_from_slice(text::ABSENT),
            },
            Kind::Text => match row.try_get_unchecked::<Option<&str>, _>(place)? {
                Some(value) => text::put(piece, value),
                None => piece.extend_from_slice(text::ABSENT),
            },
        }
    }
    if table.is_filed {
        let time = row.try_get_unchecked::<Option<i64>, _>(table.columns.len())?;
        let filed = filed_at(Timestamp::from_millis(time.unwrap_or(0)));
        piece.push(b'\t');
        piece.extend_from_slice(filed.to_string().as_bytes());
    }
    piece.push(b'\n');
    Ok(())
}

/// Reads tables into the file, which has them and nothing in them.
pub(super) async fn load(
    dir: &Path,
    files: &[TableFile],
    renamed: &Renamed,
    moved: &mut (dyn FnMut(u64) + Send),
) -> Result<(), DumpError> {
    let options = SqliteConnectOptions::new()
        .filename(dir.join(FILE))
        .busy_timeout(BUSY_LIMIT)
        .pragma("cache_size", "-65536")
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let tables = tables().await?;
    for file in files {
        let table = tables.iter().find(|table| table.name == file.name);
        let table = table.ok_or_else(|| DumpError::Unfit(format!("no table {}", file.name)))?;
        Loading::of(&mut connection, table, file)
            .all(file, renamed, moved)
            .await?;
    }
    // what is in the log goes into the tables, and then it is on disk
    Ok(connection.close().await?)
}

/// A table on its way in.
struct Loading<'a> {
    connection: &'a mut SqliteConnection,
    table: &'a Table,
    /// For each field of a line its column; nothing for what SQLite does not keep.
    columns: Vec<Option<&'a Column>>,
    rows: Vec<Vec<u8>>,
}

impl<'a> Loading<'a> {
    fn of(connection: &'a mut SqliteConnection, table: &'a Table, file: &TableFile) -> Self {
        let column = |name: &String| {
            let known = table.columns.iter().find(|column| column.name == *name);
            known.filter(|_| name != FILED_AT)
        };
        Self {
            connection,
            table,
            columns: file.columns.iter().map(column).collect(),
            rows: Vec::with_capacity(ROWS_A_STATEMENT),
        }
    }

    async fn all(
        mut self,
        file: &TableFile,
        renamed: &Renamed,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), DumpError> {
        let mut lines = BufReader::with_capacity(PIECE_BYTES, File::open(&file.path)?);
        let mut bytes = 0;
        sqlx::raw_sql("BEGIN")
            .execute(&mut *self.connection)
            .await?;
        loop {
            let mut line = Vec::new();
            let read = lines.read_until(b'\n', &mut line)? as u64;
            line.pop();
            if read > 0 {
                self.rows.extend(match file.name == OFFSETS {
                    true => renamed_offset(&line, renamed),
                    false => Some(line),
                });
            }
            if read == 0 || self.rows.len() == ROWS_A_STATEMENT {
                self.insert().await?;
            }
            if read == 0 {
                break;
            }
            moved(read);
            bytes += read;
            if bytes >= TRANSACTION_BYTES && self.rows.is_empty() {
                bytes = 0;
                let next = sqlx::raw_sql("COMMIT; BEGIN");
                next.execute(&mut *self.connection).await?;
            }
        }
        sqlx::raw_sql("COMMIT")
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn insert(&mut self) -> Result<(), DumpError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let kept: Vec<_> = self.columns.iter().flatten().collect();
        let names: Vec<_> = kept.iter().map(|column| column.name.as_str()).collect();
        let row = format!("({})", vec!["?"; kept.len()].join(","));
        let statement = format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.table.name,
            names.join(","),
            vec![row; self.rows.len()].join(",")
        );
        let mut values = SqliteArguments::default();
        for row in &self.rows {
            self.bind(row, &mut values)?;
        }
        sqlx::query_with(AssertSqlSafe(statement), values)
            .execute(&mut *self.connection)
            .await?;
        self.rows.clear();
        Ok(())
    }

    fn bind(&self, row: &[u8], values: &mut SqliteArguments) -> Result<(), DumpError> {
        let bad = || {
            DumpError::Unfit(format!(
                "a row of the table {} is malformed",
                self.table.name
            ))
        };
        let mut fields = text::fields(row);
        for column in &self.columns {
            let field = fields.next().ok_or_else(bad)?;
            let Some(column) = column else { continue };
            let field = field.map(|field| String::from_utf8(field.into_owned()));
            let field = field.transpose().map_err(|_| bad())?;
            let added = match column.kind {
                Kind::Text => values.add(field),
                Kind::Number | Kind::Flag => {
                    let number = field.map(|field| field.parse::<i64>()).transpose();
                    values.add(number.map_err(|_| bad())?)
                }
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(())
    }
}
