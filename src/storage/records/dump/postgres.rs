//! Tables out of and into a database of PostgreSQL, by `COPY`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use futures_util::StreamExt as _;
use mimamori_actors::domain::{JournalId, Timestamp};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::schema::Kind;
use super::{DumpError, FILED_AT, OFFSETS, Renamed, Sink, Table, TableFile, renamed_offset};
use crate::storage::records::postgres::{Address, months, session};

/// Bytes sent at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Much is read and written here: it takes what it takes.
const WITHOUT_LIMITS: &str =
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";
/// As the other database writes it.
const FILED_AT_AS_TEXT: &str =
    r#"to_char(filed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;

async fn connect(address: &Address) -> Result<PgConnection, DumpError> {
    let mut session = session::connect(&address.options()?).await?;
    sqlx::raw_sql(WITHOUT_LIMITS).execute(&mut session).await?;
    Ok(session)
}

/// All tables as they are at one moment.
pub(super) async fn dump(
    address: &Address,
    tables: &[Table],
    sink: &mut dyn Sink,
) -> Result<(), DumpError> {
    let mut session = connect(address).await?;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut session)
        .await?;
    for table in tables {
        sink.begin(table)?;
        let mut copied = session.copy_out_raw(&copy_out(table)).await?;
        while let Some(piece) = copied.next().await {
            sink.write(&piece?)?;
        }
        drop(copied);
        sink.end()?;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await?;
    Ok(session.close().await?)
}

fn copy_out(table: &Table) -> String {
    let columns = table.columns.iter().map(|column| match column.kind {
        Kind::Number | Kind::Text => column.name.clone(),
        Kind::Flag => format!("{}::int", column.name),
    });
    let filed = table.is_filed.then(|| FILED_AT_AS_TEXT.to_owned());
    let columns: Vec<_> = columns.chain(filed).collect();
    let key = table.key();
    // in the order of bytes, as SQLite has it
    let key = key.iter().map(|column| match column.kind {
        Kind::Text => format!("{} COLLATE \"C\"", column.name),
        Kind::Number | Kind::Flag => column.name.clone(),
    });
    let key: Vec<_> = key.collect();
    format!(
        "COPY (SELECT {} FROM {} ORDER BY {}) TO STDOUT",
        columns.join(", "),
        table.name,
        key.join(", ")
    )
}

pub(super) async fn is_empty(address: &Address, tables: &[Table]) -> Result<bool, DumpError> {
    let mut session = connect(address).await?;
    for table in tables {
        if has_table(&mut session, &table.name).await? {
            let any = format!("SELECT EXISTS (SELECT 1 FROM {})", table.name);
            let row = sqlx::query(AssertSqlSafe(any))
                .fetch_one(&mut session)
                .await?;
            if row.try_get(0)? {
                return Ok(false);
            }
        }
    }
    let _ = session.close().await;
    Ok(true)
}

pub(super) async fn know(address: &Address, journal: &JournalId) -> Result<bool, DumpError> {
    let mut session = connect(address).await?;
    if !has_table(&mut session, OFFSETS).await? {
        return Ok(false);
    }
    let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM offsets WHERE journal = $1)")
        .bind(journal.as_str())
        .fetch_one(&mut session)
        .await?;
    let _ = session.close().await;
    Ok(row.try_get(0)?)
}

async fn has_table(session: &mut PgConnection, name: &str) -> Result<bool, DumpError> {
    let row = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .bind(name)
        .fetch_one(session)
        .await?;
    Ok(row.try_get(0)?)
}

/// Reads tables into the database, which has them and nothing in them: all or nothing.
pub(super) async fn load(
    address: &Address,
    files: &[TableFile],
    renamed: &Renamed,
    moved: &mut (dyn FnMut(u64) + Send),
) -> Result<(), DumpError> {
    let mut session = connect(address).await?;
    for file in files {
        make_months(&mut session, file).await?;
    }
    let mut transaction = session.begin().await?;
    for file in files {
        load_table(&mut transaction, file, renamed, moved).await?;
    }
    transaction.commit().await?;
    // or the first questions are answered without knowing what is there
    sqlx::raw_sql("ANALYZE").execute(&mut session).await?;
    Ok(session.close().await?)
}

/// The months of which there are so many rows that they would be moved out of
/// the default partition later.
async fn make_months(session: &mut PgConnection, file: &TableFile) -> Result<(), DumpError> {
    if file.columns.last().is_none_or(|column| column != FILED_AT) {
        return Ok(());
    }
    let mut months: BTreeMap<months::Month, i64> = BTreeMap::new();
    for line in BufReader::with_capacity(PIECE_BYTES, File::open(&file.path)?).split(b'\n') {
        let line = line?;
        let filed = line.rsplit(|byte| *byte == b'\t').next();
        let filed = filed.and_then(|filed| str::from_utf8(filed).ok()?.parse::<Timestamp>().ok());
        let filed = filed.ok_or_else(|| {
            DumpError::Unfit(format!(
                "a row of the table {} says not where it is filed",
                file.name
            ))
        })?;
        *months.entry(months::Month::of(filed)).or_default() += 1;
    }
    for (month, rows) in months {
        if rows > months::LEFT_IN_DEFAULT {
            months::make(session, &file.name, month).await?;
        }
    }
    Ok(())
}

async fn load_table(
    session: &mut PgConnection,
    file: &TableFile,
    renamed: &Renamed,
    moved: &mut (dyn FnMut(u64) + Send),
) -> Result<(), DumpError> {
    let statement = format!(
        "COPY {} ({}) FROM STDIN",
        file.name,
        file.columns.join(", ")
    );
    let mut copy = session.copy_in_raw(&statement).await?;
    let source = File::open(&file.path)?;
    let fed = async {
        if file.name == OFFSETS {
            copy.send(offsets(source, renamed)?).await?;
            return Ok(());
        }
        let mut source = source;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = source.read(&mut piece)?;
            if read == 0 {
                return Ok::<_, DumpError>(());
            }
            copy.send(&piece[..read]).await?;
            moved(read as u64);
        }
    }
    .await;
    if let Err(error) = fed {
        let _ = copy.abort("the file could not be read").await;
        return Err(error);
    }
    copy.finish().await?;
    Ok(())
}

/// A few lines.
fn offsets(source: File, renamed: &Renamed) -> Result<Vec<u8>, DumpError> {
    let mut lines = Vec::new();
    for line in BufReader::new(source).split(b'\n') {
        if let Some(line) = renamed_offset(&line?, renamed) {
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::records::dump::tables;

    #[tokio::test]
    async fn rows_are_copied_in_the_order_of_their_key() {
        let tables = tables().await.unwrap();
        let of = |name: &str| copy_out(tables.iter().find(|table| table.name == name).unwrap());

        assert_eq!(
            of("offsets"),
            "COPY (SELECT journal, consumer, position FROM offsets \
             ORDER BY journal COLLATE \"C\", consumer COLLATE \"C\") TO STDOUT"
        );
        assert!(
            of("events").contains("to_char(filed_at"),
            "{}",
            of("events")
        );
    }
}
