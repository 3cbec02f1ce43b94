//! Moving in: history of the service in whose place this server is.
//!
//! `source` reads that service's database, row after row and changing nothing.
//! `row` turns a row into the wire form that its extension sent then, which
//! goes through the same [`decode`](crate::decode) as today's events. What comes
//! out goes into the records beside the journal and then, from there, into the
//! series ([`charts`], docs/adr/0021-moving-in.md): the present, alerts and lessons
//! never hear of it. The same again adds nothing. What was erased here and what is
//! past its term stays where it is ([`allowed`]).

use mimamori_actors::domain::{AcceptedEvent, ClassroomId, Event, Output, Position};
use mimamori_actors::ports::StoreError;

use crate::admit::StudentKey;
use crate::cache::{Cache, ForgetError};
use crate::privacy::without_code;
use crate::storage::records::{Mode, NewPeople, Records, RecordsError};
use crate::storage::series::Series;

mod allowed;
mod charts;
mod people;
mod report;
mod row;
mod source;

pub use allowed::Allowed;
use report::Reason;
pub use report::Report;
pub use source::{Source, SourceError, TimeZone};

/// So many events go in at a time …
const BATCH_EVENTS: usize = 500;
/// … or about so many bytes of them.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Why moving in came to an end. What went in before stays, and is found there the next time.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The database of the former service.
    #[error("the former service's database: {0}")]
    Source(#[from] SourceError),
    /// Our records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Our series, before anything was brought.
    #[error("{0}; nothing was brought over")]
    SeriesAway(StoreError),
    /// Our series; the records have everything.
    #[error(
        "the records have all of it ({added} executions are new), the series do not: {error}; run it again"
    )]
    Series {
        /// How many are new.
        added: u64,
        /// Why.
        error: StoreError,
    },
    /// What was read before may still be shown for an hour.
    #[error("{0}; run it again")]
    Forget(#[from] ForgetError),
}

/// Where to move in.
pub struct Target<'a> {
    /// Takes executions and people.
    pub records: &'a Records,
    /// Counts what happened when.
    pub series: &'a Series,
    /// What it keeps of the classroom is forgotten.
    pub cache: &'a Cache,
    /// Makes of an address a student.
    pub student_key: StudentKey,
    /// Of which classroom it becomes history.
    pub classroom: ClassroomId,
    /// Whether the classroom keeps code, outputs and texts of errors.
    pub keeps_code: bool,
    /// What may come over at all.
    pub allowed: Allowed,
}

/// Brings everything over, or finds out what would be brought. `progress` hears
/// how many executions were read so far.
///
/// # Errors
/// When a database does not answer, or is none of the former service.
pub async fn move_in(
    source: &mut Source,
    target: &Target<'_>,
    is_dry_run: bool,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Report, MoveError> {
    if is_dry_run {
        return bring(source, target, Position::ZERO, Mode::DryRun, progress).await;
    }
    let counted = target.series.reach_of_former().await;
    let counted = counted.map_err(|error| MoveError::SeriesAway(error.into()))?;
    let above = counted.unwrap_or_default();
    let brought = bring(source, target, above, Mode::Keep, progress).await;
    // also when it came to an early end: what went in is to be seen
    let forgotten = target.cache.forget(target.records, &target.classroom).await;
    let mut report = brought?;
    forgotten?;
    let charted = charts::count(target.records, target.series, counted).await;
    report.uncounted = charted.map_err(|error| error.after(report.added()))?;
    Ok(report)
}

async fn bring(
    source: &mut Source,
    target: &Target<'_>,
    counted: Position,
    mode: Mode,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Report, MoveError> {
    let mut report = Report::new(source.counts().await?, mode == Mode::DryRun);
    let students = people::Former::read(source, target, &mut report).await?;
    let before = target.records.former_executions(&target.classroom).await?;
    let new: NewPeople = target
        .records
        .add_former_people(&target.classroom, &students.people(), mode)
        .await?;
    report.people_added(new);
    let mut rows = source.executions().await?;
    let mut batch = Batch::default();
    while let Some(row) = rows.next().await? {
        report.read += 1;
        match row::event(&row, &mut report).and_then(|event| accepted(target, event)) {
            Ok(accepted) => batch.add(accepted),
            Err(reason) => report.skip(reason, &row.name()),
        }
        if batch.is_full() {
            batch.write(target, counted, mode, &mut report).await?;
            progress(report.read);
        }
    }
    drop(rows);
    batch.write(target, counted, mode, &mut report).await?;
    progress(report.read);
    if mode == Mode::Keep {
        let after = target.records.former_executions(&target.classroom).await?;
        report.compare(after.saturating_sub(before));
    }
    Ok(report)
}

fn accepted(target: &Target<'_>, event: Event) -> Result<AcceptedEvent, Reason> {
    let student = target.student_key.student(&event.address);
    target.allowed.event(&student, event.time)?;
    let event = if target.keeps_code {
        event
    } else {
        without_code(event)
    };
    Ok(AcceptedEvent {
        classroom: target.classroom.clone(),
        student,
        event,
    })
}

/// About how much memory it takes.
fn weight(event: &Event) -> usize {
    let texts = [&event.code, &event.error_message];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let outputs = match &event.result {
        None => 0,
        Some(Output::One(text)) => text.len(),
        Some(Output::Many(texts)) => texts.iter().map(String::len).sum(),
    };
    512 + texts + outputs
}

/// Events on their way in.
#[derive(Default)]
struct Batch {
    events: Vec<AcceptedEvent>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, accepted: AcceptedEvent) {
        self.bytes += weight(&accepted.event);
        self.events.push(accepted);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES
    }

    async fn write(
        &mut self,
        target: &Target<'_>,
        counted: Position,
        mode: Mode,
        report: &mut Report,
    ) -> Result<(), RecordsError> {
        let batch = std::mem::take(self);
        if batch.events.is_empty() {
            return Ok(());
        }
        let added = target
            .records
            .add_former_events(&batch.events, counted, mode)
            .await?;
        report.added += added;
        report.there_already += batch.events.len() as u64 - added;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
