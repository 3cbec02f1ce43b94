//! All rows of the records as files, one a table, the same from either database.
//!
//! The form is that of PostgreSQL's `COPY` in text ([`text`]): a line a row, in
//! the order of the table's key, so that equal tables give equal files. What was
//! written out of one database can be read into the other: the columns are those
//! that the migrations make in SQLite ([`schema`]), and, last, where a row is
//! filed (`filed_at`), which SQLite does not keep and PostgreSQL needs.

mod postgres;
pub(crate) mod schema;
mod sqlite;
mod text;

use std::io::{self, BufRead};
use std::path::PathBuf;

use mimamori_actors::domain::{JournalId, Position};
use sea_orm::{DbErr, sqlx};

use super::{CONSUMER, Records, RecordsAt, RecordsError};
pub(crate) use schema::{Table, migrations, tables};

/// The table that says how far each consumer is with each journal.
const OFFSETS: &str = "offsets";
/// Where a row is filed, behind the columns of its table.
const FILED_AT: &str = "filed_at";

/// Why rows could not be written out or read in.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The database.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// What was said by the driver, without the records' reading of it.
    #[error(transparent)]
    Driver(#[from] sqlx::Error),
    /// The migrations, run to see what tables there are.
    #[error(transparent)]
    Schema(#[from] DbErr),
    /// The files.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file says something that no table of this program takes.
    #[error("{0}")]
    Unfit(String),
}

/// Where tables are written to, one after the other.
pub(crate) trait Sink: Send {
    /// The rows of this table follow.
    fn begin(&mut self, table: &Table) -> io::Result<()>;
    /// Some more of its text.
    fn write(&mut self, text: &[u8]) -> io::Result<()>;
    /// That was all of it.
    fn end(&mut self) -> io::Result<()>;
}

/// A table in a file.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    /// Its name.
    pub(crate) name: String,
    /// The columns of a line, in their order.
    pub(crate) columns: Vec<String>,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// By which name the journal was known where the files come from, and by which it is now.
#[derive(Debug, Clone)]
pub(crate) struct Renamed {
    pub(crate) old: JournalId,
    pub(crate) new: JournalId,
}

/// Writes all tables out as they are at one moment. `is_alone`: nobody else has
/// the records open, nor may open them meanwhile.
pub(crate) async fn dump(
    at: &RecordsAt,
    is_alone: bool,
    sink: &mut dyn Sink,
) -> Result<(), DumpError> {
    let tables = tables().await?;
    match at {
        RecordsAt::Dir(dir) => sqlite::dump(dir, is_alone, &tables, sink).await,
        RecordsAt::Postgres(address) => postgres::dump(address, &tables, sink).await,
    }
}

/// Whether nothing is in the tables, if there are any. Changes nothing.
pub(crate) async fn is_empty(at: &RecordsAt) -> Result<bool, DumpError> {
    match at {
        RecordsAt::Dir(dir) => Ok(!dir.join(super::sqlite::FILE).exists()),
        RecordsAt::Postgres(address) => postgres::is_empty(address, &tables().await?).await,
    }
}

/// Whether the records know this journal. Changes nothing.
pub(crate) async fn know(at: &RecordsAt, journal: &JournalId) -> Result<bool, DumpError> {
    match at {
        RecordsAt::Dir(_) => Ok(false),
        RecordsAt::Postgres(address) => postgres::know(address, journal).await,
    }
}

/// Reads tables into records that are empty: with PostgreSQL all or nothing.
/// The journal has its new name then. `moved` is told how many bytes were read.
pub(crate) async fn load(
    at: &RecordsAt,
    files: &[TableFile],
    renamed: &Renamed,
    moved: &mut (dyn FnMut(u64) + Send),
) -> Result<(), DumpError> {
    let tables = tables().await?;
    for file in files {
        fits(file, &tables)?;
    }
    Records::check_format(at).await?;
    // makes what is missing
    Records::open(at).await?.close().await?;
    match at {
        RecordsAt::Dir(dir) => sqlite::load(dir, files, renamed, moved).await,
        RecordsAt::Postgres(address) => postgres::load(address, files, renamed, moved).await,
    }
}

fn fits(file: &TableFile, tables: &[Table]) -> Result<(), DumpError> {
    let unfit = |what: String| Err(DumpError::Unfit(what));
    let Some(table) = tables.iter().find(|table| table.name == file.name) else {
        return unfit(format!("there is no table {} here", file.name));
    };
    let known = |column: &&String| table.file_columns().any(|known| known == **column);
    match file.columns.iter().find(|column| !known(column)) {
        Some(column) => unfit(format!("the table {} has no column {column}", file.name)),
        None => Ok(()),
    }
}

/// How far the records were, by the lines of their offsets.
pub(crate) fn offset_in(lines: impl BufRead, journal: &JournalId) -> io::Result<Option<Position>> {
    for line in lines.split(b'\n') {
        let line = line?;
        let mut fields = text::fields(&line);
        let of = fields.next().flatten();
        let consumer = fields.next().flatten();
        if of.as_deref() == Some(journal.as_str().as_bytes())
            && consumer.as_deref() == Some(CONSUMER.as_bytes())
        {
            let position = fields.next().flatten();
            let position = position.and_then(|text| str::from_utf8(&text).ok()?.parse().ok());
            return Ok(position.map(Position));
        }
    }
    Ok(None)
}

/// A line of the offsets under the journal's new name; nothing for what does not
/// go with it: only the records themselves are where they were.
fn renamed_offset(line: &[u8], renamed: &Renamed) -> Option<Vec<u8>> {
    let fields: Vec<_> = text::fields(line).collect();
    let is = |place: usize, text: &str| {
        let field = fields.get(place).and_then(Option::as_deref);
        field == Some(text.as_bytes())
    };
    if !is(0, renamed.old.as_str()) {
        return Some(line.to_vec());
    }
    if !is(1, CONSUMER) {
        return None;
    }
    let mut out = Vec::with_capacity(line.len());
    text::put(&mut out, renamed.new.as_str());
    for field in &fields[1..] {
        out.push(b'\t');
        match field {
            Some(field) => text::put(&mut out, &String::from_utf8_lossy(field)),
            None => out.extend_from_slice(text::ABSENT),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_records_goes_with_the_journal_and_no_other_does() {
        let renamed = Renamed {
            old: JournalId::new("jrn_a"),
            new: JournalId::new("jrn_b"),
        };
        let line = |text: &str| renamed_offset(text.as_bytes(), &renamed);

        assert_eq!(
            line("jrn_a\trecords\t7"),
            Some(b"jrn_b\trecords\t7".to_vec())
        );
        assert_eq!(line("jrn_a\tseries\t7"), None);
        assert_eq!(
            line("jrn_0\trecords\t3"),
            Some(b"jrn_0\trecords\t3".to_vec())
        );
        let lines = &b"jrn_0\trecords\t3\njrn_a\trecords\t7\n"[..];
        assert_eq!(offset_in(lines, &renamed.old).unwrap(), Some(Position(7)));
        assert_eq!(offset_in(lines, &renamed.new).unwrap(), None);
    }
}
