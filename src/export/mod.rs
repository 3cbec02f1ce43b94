//! A classroom's history as a file for others: CSV or Parquet, streamed.
//!
//! Rows are read page by page in the order of time, turned into cells
//! ([`table`]), written in the format asked for ([`csv`], [`parquet`]) and handed on
//! through a bounded channel: memory is that of a page and a group of rows, however
//! long the file is. Who goes away ends the job. Names and addresses are in no
//! export, and neither is a student who is not for research.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mimamori_actors::domain::{ClassroomId, Timestamp};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::storage::records::{History, Records, RecordsError, TimeKey, TimeRange};

mod csv;
mod jobs;
mod parquet;
mod table;

use jobs::Job;
pub use jobs::{Jobs, Told, TooMany};

use table::{Column, Row};

/// Rows are read so many at a time.
const PAGE_ROWS: usize = 2_000;
/// Pieces that may wait for whoever reads them.
const PIECES: usize = 2;
/// Who takes no piece for so long is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Runs of cells.
    Executions,
    /// Everything that clients sent.
    Events,
    /// Students' continuous work.
    Sessions,
    /// Requests for help.
    Help,
    /// Lessons.
    Lessons,
}

impl What {
    /// All of it.
    pub const ALL: [Self; 5] = [
        Self::Executions,
        Self::Events,
        Self::Sessions,
        Self::Help,
        Self::Lessons,
    ];

    /// As it is asked for.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Executions => "executions",
            Self::Events => "events",
            Self::Sessions => "sessions",
            Self::Help => "help",
            Self::Lessons => "lessons",
        }
    }

    fn history(self) -> Option<History> {
        match self {
            Self::Executions | Self::Events => None,
            Self::Sessions => Some(History::Sessions),
            Self::Help => Some(History::Help),
            Self::Lessons => Some(History::Lessons),
        }
    }
}

/// The forms of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text with commas, for spreadsheets.
    Csv,
    /// Columns with types, for analysis.
    Parquet,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Csv, Self::Parquet];

    /// As it is asked for, and the ending of a file's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// As HTTP names it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) classroom: ClassroomId,
    pub(crate) what: What,
    pub(crate) format: Format,
    /// By `at`, or by the beginning.
    pub(crate) range: TimeRange,
}

/// Why an export ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// The rows cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// They cannot be written in this form.
    #[error("rows do not fit into the file: {0}")]
    Format(String),
    /// Nobody took what was ready.
    #[error("nobody took the file in time")]
    NotTaken,
    /// Whoever asked is gone.
    #[error("whoever asked is gone")]
    Gone,
}

/// Why an export did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// The rows cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// There is no place for another one.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// An export that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// What the list of jobs calls it.
    pub(crate) job: u64,
    /// About how many rows it will have, those left out included.
    pub(crate) rows_at_most: u64,
    /// Students of the classroom who are not for research, and so not in it.
    pub(crate) left_out: u64,
    /// The file, piece by piece; an error is the last one.
    pub(crate) pieces: mpsc::Receiver<Result<Bytes, ExportError>>,
}

/// Begins to export. The job goes on as pieces are taken, and ends with their receiver.
pub(crate) async fn begin(
    records: &Arc<Records>,
    jobs: &Jobs,
    request: Request,
    now: Timestamp,
) -> Result<Begun, BeginError> {
    // first: to count reads for a while, too
    let job = jobs.begin(&request, now)?;
    let counted = count(records, &request).await?;
    let rows_at_most = u64::try_from(counted).unwrap_or(0);
    job.has_at_most(rows_at_most);
    let left_out = records.left_out(&request.classroom).await?;
    Ok(Begun {
        job: job.id(),
        rows_at_most,
        left_out: u64::try_from(left_out).unwrap_or(0),
        pieces: start(Arc::clone(records), request, job),
    })
}

/// About how many rows it will have: 0 if nobody can say in the time of a reading call, in
/// which each page of them can be read nevertheless.
async fn count(records: &Records, request: &Request) -> Result<i64, RecordsError> {
    let only_executions = match request.what {
        What::Executions => true,
        What::Events => false,
        // read in no time
        What::Sessions | What::Help | What::Lessons => return Ok(0),
    };
    let counted = records
        .count_to_export(&request.classroom, request.range, only_executions)
        .await;
    match counted {
        Err(RecordsError::TooSlow) => Ok(0),
        counted => counted,
    }
}

fn start(
    records: Arc<Records>,
    request: Request,
    job: Job,
) -> mpsc::Receiver<Result<Bytes, ExportError>> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let ended = run(&records, &request, &job, &sender).await;
        job.ended(ended.as_ref().err());
        if let Err(error) = ended {
            let _ = timeout(TAKEN_WITHIN, sender.send(Err(error))).await;
        }
    });
    receiver
}

async fn run(
    records: &Records,
    request: &Request,
    job: &Job,
    sender: &mpsc::Sender<Result<Bytes, ExportError>>,
) -> Result<(), ExportError> {
    let columns = table::columns(request.what);
    let mut writer = Writer::new(request.format, columns)?;
    let mut reader = Reader::new(request);
    let mut is_over = false;
    while !is_over {
        let rows = reader.next(records).await?;
        is_over = rows.is_none();
        let count = rows.as_ref().map_or(0, Vec::len);
        // a page takes milliseconds to write: others get their turn meanwhile
        let writing = tokio::task::spawn_blocking(move || {
            match rows {
                Some(rows) => writer.rows(&rows)?,
                None => writer.finish()?,
            }
            let piece = writer.take()?;
            Ok::<_, ExportError>((writer, piece))
        });
        let written = writing.await;
        let written = written.map_err(|error| ExportError::Format(error.to_string()))?;
        let piece;
        (writer, piece) = written?;
        job.moved(count, piece.len());
        send(sender, piece).await?;
    }
    Ok(())
}

async fn send(
    sender: &mpsc::Sender<Result<Bytes, ExportError>>,
    piece: Bytes,
) -> Result<(), ExportError> {
    if piece.is_empty() && !sender.is_closed() {
        return Ok(());
    }
    match timeout(TAKEN_WITHIN, sender.send(Ok(piece))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ExportError::Gone),
        Err(_) => Err(ExportError::NotTaken),
    }
}

/// Reads rows, page by page.
struct Reader<'a> {
    request: &'a Request,
    at: Option<TimeKey>,
    begun: Option<(i64, String)>,
    is_over: bool,
}

impl<'a> Reader<'a> {
    fn new(request: &'a Request) -> Self {
        Self {
            request,
            at: None,
            begun: None,
            is_over: false,
        }
    }

    /// The next rows, or nothing behind the last ones.
    async fn next(&mut self, records: &Records) -> Result<Option<Vec<Row>>, RecordsError> {
        if self.is_over {
            return Ok(None);
        }
        let Request {
            classroom,
            what,
            range,
            ..
        } = self.request;
        if let Some(history) = what.history() {
            let after = self.begun.take();
            let found = records
                .exported_spans(history, classroom, *range, after, PAGE_ROWS)
                .await?;
            self.is_over = !found.has_more;
            self.begun = found.rows.last().map(|row| row.key());
            let rows = found.rows.into_iter().map(|row| table::span(*what, row));
            return Ok(Some(rows.collect()));
        }
        let only_executions = *what == What::Executions;
        let found = records
            .exported_events(classroom, *range, only_executions, self.at, PAGE_ROWS)
            .await?;
        self.is_over = !found.has_more;
        self.at = found.rows.last().map(|row| row.key());
        let rows = found.rows.into_iter().map(|row| table::event(*what, row));
        Ok(Some(rows.collect()))
    }
}

/// Writes rows in one of the forms.
enum Writer {
    Csv(csv::Csv),
    Parquet(Box<parquet::Parquet>),
}

impl Writer {
    fn new(format: Format, columns: &'static [Column]) -> Result<Self, ExportError> {
        Ok(match format {
            Format::Csv => Self::Csv(csv::Csv::new(columns)),
            Format::Parquet => Self::Parquet(Box::new(parquet::Parquet::new(columns)?)),
        })
    }

    fn rows(&mut self, rows: &[Row]) -> Result<(), ExportError> {
        match self {
            Self::Csv(csv) => {
                csv.rows(rows);
                Ok(())
            }
            Self::Parquet(parquet) => parquet.rows(rows),
        }
    }

    fn finish(&mut self) -> Result<(), ExportError> {
        match self {
            Self::Csv(_) => Ok(()),
            Self::Parquet(parquet) => parquet.finish(),
        }
    }

    /// What is ready to go out.
    fn take(&mut self) -> Result<Bytes, ExportError> {
        match self {
            Self::Csv(csv) => Ok(csv.take()),
            Self::Parquet(parquet) => parquet.take(),
        }
    }
}

#[cfg(test)]
mod tests;
