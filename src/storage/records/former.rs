//! What was before this server: executions and people of the service in whose place it is.
//!
//! They came by no journal, so they get positions below one, which no journal
//! ever gives: nothing that reads on from a position meets them, no store's
//! offset speaks of them, and what goes by time finds them where they happened.

use std::collections::BTreeSet;

use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, Entry, Heard, Position, Record, StudentId, Timestamp,
};
use sea_orm::Value;

use super::read::StoredEvent;
use super::rows::{self, EventRows, PlacedEvent, comparable};
use super::sql::{Insert, NOTHING, Sql};
use super::write::{self, CLASSROOMS, EVENTS, EXECUTIONS};
use super::{Batch, Records, RecordsError};

/// When somebody or something was first and last seen; nothing of who never did anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SeenBefore {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// A student of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormerStudent {
    pub(crate) id: StudentId,
    pub(crate) address: String,
    pub(crate) name: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) seen: SeenBefore,
}

/// A team or a notebook of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormerName {
    pub(crate) name: String,
    pub(crate) seen: SeenBefore,
}

/// Who and what there was before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FormerPeople {
    pub(crate) students: Vec<FormerStudent>,
    pub(crate) teams: Vec<FormerName>,
    pub(crate) notebooks: Vec<FormerName>,
}

/// How many of each were not there yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NewPeople {
    pub(crate) students: u64,
    pub(crate) teams: u64,
    pub(crate) notebooks: u64,
}

/// Whether what was found out is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is.
    Keep,
    /// Everything is tried, and nothing stays.
    DryRun,
}

/// Of who is known from here, everything stays but when they were first seen.
const STUDENTS: Insert<'_> = Insert {
    when_there: "DO UPDATE SET \
        name = COALESCE(excluded.name, students.name), \
        team = COALESCE(excluded.team, students.team), \
        last_seen_ms = excluded.last_seen_ms \
        WHERE students.position <= 0 AND excluded.last_seen_ms > students.last_seen_ms",
    ..write::STUDENTS
};

const TEAMS: Insert<'_> = Insert {
    when_there: NOTHING,
    ..write::TEAMS
};

const NOTEBOOKS: Insert<'_> = Insert {
    when_there: NOTHING,
    ..write::NOTEBOOKS
};

impl Records {
    /// Adds who and what there was; those that are there stay as they are.
    ///
    /// # Errors
    /// When the database does not take them.
    pub(crate) async fn add_former_people(
        &self,
        classroom: &ClassroomId,
        people: &FormerPeople,
        mode: Mode,
    ) -> Result<NewPeople, RecordsError> {
        let mut batch = self.writing.begin().await?;
        let before = count_people(&mut batch, classroom).await?;
        let room = classroom.as_str();
        let row = [room.into(), room.into(), 0_i64.into()];
        batch.insert(&CLASSROOMS, vec![row]).await?;
        let students = people.students.iter().map(|it| it.row(room)).collect();
        batch.insert(&STUDENTS, students).await?;
        let teams = people.teams.iter().map(|it| it.row(room)).collect();
        batch.insert(&TEAMS, teams).await?;
        let notebooks = people.notebooks.iter().map(|it| it.row(room)).collect();
        batch.insert(&NOTEBOOKS, notebooks).await?;
        let after = count_people(&mut batch, classroom).await?;
        if mode == Mode::Keep {
            batch.commit().await?;
        }
        Ok(NewPeople {
            students: after.students - before.students.min(after.students),
            teams: after.teams - before.teams.min(after.teams),
            notebooks: after.notebooks - before.notebooks.min(after.notebooks),
        })
    }

    /// Adds events of before, received when they happened, at places beyond `counted`; how
    /// many were not there yet. The same again adds nothing.
    ///
    /// The series have counted up to there, be it that those rows are gone since.
    ///
    /// # Errors
    /// When the database does not take them: then none of them is there.
    pub(crate) async fn add_former_events(
        &self,
        events: &[AcceptedEvent],
        counted: Position,
        mode: Mode,
    ) -> Result<u64, RecordsError> {
        let mut batch = self.writing.begin().await?;
        let lowest = "SELECT COALESCE(MIN(position), 0) AS position FROM events";
        let lowest = batch.positions(&mut Sql::new(lowest)).await?;
        let taken = lowest
            .first()
            .map_or(0, |lowest| lowest.min(&0).unsigned_abs())
            .max(counted.0);
        let added = add(&mut batch, events, taken).await?;
        if mode == Mode::Keep {
            batch.commit().await?;
        }
        Ok(added)
    }

    /// How many executions of before a classroom has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn former_executions(
        &self,
        classroom: &ClassroomId,
    ) -> Result<u64, RecordsError> {
        let mut sql = Sql::new(
            "SELECT COUNT(*) AS position FROM executions WHERE position < 0 AND classroom = ",
        );
        sql.bind(classroom.as_str());
        let mut batch = self.writing.begin().await?;
        let counted = batch.positions(&mut sql).await?;
        Ok(counted
            .first()
            .map_or(0, |it| u64::try_from(*it).unwrap_or(0)))
    }

    /// Events of before, in the order in which they were added, as entries of a
    /// journal of their own: its first position is 1, and there may be gaps.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn former_entries(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<std::sync::Arc<Entry>>, RecordsError> {
        let found = self.former_events(after, limit).await?;
        Ok(found
            .into_iter()
            .map(|(nth, event)| entry(nth, event))
            .collect())
    }
}

fn entry(nth: Position, event: StoredEvent) -> std::sync::Arc<Entry> {
    std::sync::Arc::new(Entry {
        position: nth,
        received_at: event.received_at,
        heard_at: Heard::of_wall(event.received_at),
        record: Record::Event(Box::new(AcceptedEvent {
            classroom: event.classroom,
            student: event.student,
            event: event.event,
        })),
    })
}

async fn count_people(
    batch: &mut Batch<'_>,
    classroom: &ClassroomId,
) -> Result<NewPeople, RecordsError> {
    let mut people = NewPeople::default();
    for (table, count) in [
        ("students", &mut people.students),
        ("teams", &mut people.teams),
        ("notebooks", &mut people.notebooks),
    ] {
        let counted = batch.positions(&mut count_of(table, classroom)).await?;
        *count = counted
            .first()
            .map_or(0, |it| u64::try_from(*it).unwrap_or(0));
    }
    Ok(people)
}

fn count_of(table: &str, classroom: &ClassroomId) -> Sql {
    let mut sql = Sql::new(&format!(
        "SELECT COUNT(*) AS position FROM {table} WHERE classroom = "
    ));
    sql.bind(classroom.as_str());
    sql
}

/// Adds them at the positions below those that are taken.
async fn add(
    batch: &mut Batch<'_>,
    events: &[AcceptedEvent],
    taken: u64,
) -> Result<u64, RecordsError> {
    let (mut in_events, mut in_executions) = (Vec::new(), Vec::new());
    for (nth, accepted) in (taken + 1..).zip(events) {
        let placed = PlacedEvent {
            position: Position(nth),
            received_at: accepted.event.time,
            accepted,
        };
        let EventRows {
            event, execution, ..
        } = rows::event_rows(&placed)?;
        in_events.push(below_one(event));
        in_executions.extend(execution.map(|row| (nth, below_one(row))));
    }
    let count = in_events.len() as u64;
    let added = batch.insert(&EVENTS, in_events).await?;
    if added < count {
        let last = taken.saturating_add(count);
        let there = below(batch, taken, last).await?;
        in_executions.retain(|(nth, _)| there.contains(nth));
    }
    let executions = in_executions.into_iter().map(|(_, row)| row).collect();
    batch.insert(&EXECUTIONS, executions).await?;
    Ok(added)
}

/// A row whose first column is the position.
fn below_one<const N: usize>(mut row: [Value; N]) -> [Value; N] {
    if let Value::BigInt(Some(position)) = &mut row[0] {
        *position = -*position;
    }
    row
}

/// Which of these are in the table, counted from zero downwards.
async fn below(
    batch: &mut Batch<'_>,
    after: u64,
    last: u64,
) -> Result<BTreeSet<u64>, RecordsError> {
    let negative = |nth: u64| i64::try_from(nth).map_or(i64::MIN, |nth| -nth);
    let mut sql = Sql::new("SELECT position FROM events WHERE position >= ");
    sql.bind(negative(last));
    sql.push(" AND position < ").bind(negative(after));
    let there = batch.positions(&mut sql).await?;
    Ok(there.into_iter().map(i64::unsigned_abs).collect())
}

impl FormerStudent {
    fn row(&self, classroom: &str) -> [Value; 8] {
        [
            classroom.into(),
            self.id.as_str().into(),
            self.address.as_str().into(),
            self.name.clone().into(),
            self.team.clone().into(),
            self.seen.first.as_millis().into(),
            self.seen.last.as_millis().into(),
            // whatever is known from here is newer
            0_i64.into(),
        ]
    }
}

impl FormerName {
    fn row(&self, classroom: &str) -> [Value; 5] {
        [
            classroom.into(),
            self.name.as_str().into(),
            comparable(&self.name).into(),
            self.seen.first.as_millis().into(),
            self.seen.last.as_millis().into(),
        ]
    }
}
