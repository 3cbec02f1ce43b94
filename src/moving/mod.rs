//! Moving in: history of the service in whose place this server is.
//!
//! `source` reads that service's database, row after row and changing nothing.
//! `row` turns a row into the wire form that its extension sent then, which
//! goes through the same [`decode`](crate::decode) as today's events. What comes
//! out goes into the records beside the journal and then, from there, into the
//! series (docs/adr/0021-moving-in.md): the present, alerts and lessons never
//! hear of it. The same again adds nothing.

use std::sync::Arc;

use mimamori_actors::domain::{AcceptedEvent, ClassroomId, JournalId, Position};
use mimamori_actors::ports::{Store, StoreError};

use crate::admit::StudentKey;
use crate::cache::{Cache, ForgetError};
use crate::privacy::without_code;
use crate::storage::records::{Mode, NewPeople, Records, RecordsError};

mod people;
mod report;
mod row;
mod source;

pub use report::Report;
pub use source::{Source, SourceError, TimeZone};

/// So many events go in at a time …
const BATCH_EVENTS: usize = 500;
/// … or about so many bytes of them.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Under this name the series know how far they have counted what was before.
const FORMER: &str = "former";

/// Why moving in came to an end. What went in before stays, and is found there the next time.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The database of the former service.
    #[error("the former service's database: {0}")]
    Source(#[from] SourceError),
    /// Our records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Our series; the records have everything.
    #[error("the series: {0}; run it again")]
    Series(#[from] StoreError),
    /// What was read before may still be shown for an hour.
    #[error("{0}; run it again")]
    Forget(#[from] ForgetError),
}

/// Where to move in.
pub struct Target<'a> {
    /// Takes executions and people.
    pub records: &'a Records,
    /// Counts what happened when.
    pub series: &'a dyn Store,
    /// What it keeps of the classroom is forgotten.
    pub cache: &'a Cache,
    /// Makes of an address a student.
    pub student_key: StudentKey,
    /// Of which classroom it becomes history.
    pub classroom: ClassroomId,
    /// Whether the classroom keeps code, outputs and texts of errors.
    pub keeps_code: bool,
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
    let mode = if is_dry_run { Mode::DryRun } else { Mode::Keep };
    let brought = bring(source, target, mode, progress).await;
    if mode == Mode::Keep {
        // also when it came to an early end: what went in is to be seen
        target
            .cache
            .forget(target.records, &target.classroom)
            .await?;
    }
    let report = brought?;
    if mode == Mode::Keep {
        count_in_series(target).await?;
    }
    Ok(report)
}

async fn bring(
    source: &mut Source,
    target: &Target<'_>,
    mode: Mode,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Report, MoveError> {
    let mut report = Report::new(source.counts().await?, mode == Mode::DryRun);
    let students = people::Former::read(source, &target.student_key, &mut report).await?;
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
        match row::event(&row, &mut report) {
            Ok(event) => batch.add(accepted(target, event)),
            Err(reason) => report.skip(reason, &row.name()),
        }
        if batch.is_full() {
            batch.write(target, mode, &mut report).await?;
            progress(report.read);
        }
    }
    drop(rows);
    batch.write(target, mode, &mut report).await?;
    progress(report.read);
    if mode == Mode::Keep {
        let after = target.records.former_executions(&target.classroom).await?;
        report.compare(after.saturating_sub(before));
    }
    Ok(report)
}

fn accepted(target: &Target<'_>, event: mimamori_actors::domain::Event) -> AcceptedEvent {
    let event = if target.keeps_code {
        event
    } else {
        without_code(event)
    };
    AcceptedEvent {
        classroom: target.classroom.clone(),
        student: target.student_key.student(&event.address),
        event,
    }
}

/// Events on their way in.
#[derive(Default)]
struct Batch {
    events: Vec<AcceptedEvent>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, accepted: AcceptedEvent) {
        let event = &accepted.event;
        let texts = [&event.code, &event.error_message];
        self.bytes += 512 + texts.into_iter().flatten().map(String::len).sum::<usize>();
        self.events.push(accepted);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES
    }

    async fn write(
        &mut self,
        target: &Target<'_>,
        mode: Mode,
        report: &mut Report,
    ) -> Result<(), RecordsError> {
        let batch = std::mem::take(self);
        if batch.events.is_empty() {
            return Ok(());
        }
        let added = target
            .records
            .add_former_events(&batch.events, mode)
            .await?;
        report.added += added;
        report.there_already += batch.events.len() as u64 - added;
        Ok(())
    }
}

/// The series read what was added from the records, from where they stopped.
async fn count_in_series(target: &Target<'_>) -> Result<(), MoveError> {
    let journal = JournalId::new(FORMER);
    // makes it known: of a journal that they don't know, stores begin behind all they know
    target.series.write(&journal, &[], Position::ZERO).await?;
    let mut after = target.series.offset(&journal).await?.unwrap_or_default();
    loop {
        let entries: Vec<Arc<_>> = target.records.former_entries(after, BATCH_EVENTS).await?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        after = last.position;
        target.series.write(&journal, &entries, after).await?;
    }
}

#[cfg(test)]
mod tests;
