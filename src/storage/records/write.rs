//! Writes a batch of entries within a transaction.

use std::collections::BTreeSet;

use mimamori_actors::domain::{Entry, Fact, FactKind, JournalId, Position, Record};
use sea_orm::Value;

use super::rows::{self, EventRows, People, PlacedEvent, number};
use super::sql::{Insert, NOTHING, Sql};
use super::{Batch, CONSUMER, RecordsError};

/// Writes entries that are not known to be there, in the order of their positions.
pub(super) async fn entries(batch: &mut Batch<'_>, entries: &[&Entry]) -> Result<(), RecordsError> {
    if entries.is_empty() {
        return Ok(());
    }
    batch.insert(&CLASSROOMS, rows::classrooms(entries)).await?;
    write_events(batch, entries).await?;
    write_faults(batch, entries).await?;
    write_facts(batch, entries).await
}

/// How far this store is with this journal; never goes back.
pub(super) async fn offset(
    batch: &mut Batch<'_>,
    journal: &JournalId,
    through: Position,
) -> Result<(), RecordsError> {
    let row = [journal.as_str().into(), CONSUMER.into(), number(through)?];
    batch.insert(&OFFSETS, vec![row]).await?;
    Ok(())
}

/// What tells how far this store is with this journal, in the column `position`.
pub(super) fn offset_of(journal: &JournalId) -> Sql {
    let mut sql = Sql::new("SELECT position FROM offsets WHERE journal = ");
    sql.bind(journal.as_str());
    sql.push(" AND consumer = ").bind(CONSUMER);
    sql
}

/// How far this store is with any other journal, in the column `position`.
pub(super) fn offset_of_others(journal: &JournalId) -> Sql {
    let mut sql =
        Sql::new("SELECT COALESCE(MAX(position), 0) AS position FROM offsets WHERE journal <> ");
    sql.bind(journal.as_str());
    sql
}

async fn write_events(batch: &mut Batch<'_>, entries: &[&Entry]) -> Result<(), RecordsError> {
    let mut placed = placed_events(entries);
    let mut executions = Vec::new();
    let mut events = Vec::with_capacity(placed.len());
    for one in &placed {
        let EventRows {
            position,
            event,
            execution,
        } = rows::event_rows(one)?;
        events.push(event);
        executions.extend(execution.map(|row| (position, row)));
    }
    let inserted = batch.insert(&EVENTS, events).await?;
    if inserted < placed.len() as u64 {
        // repetitions that came too late for the journal to know them
        let there = positions_there(batch, &placed).await?;
        metrics::counter!("mimamori_records_repeated_events_total")
            .increment(placed.len() as u64 - inserted);
        placed.retain(|one| there.contains(&one.position));
        executions.retain(|(position, _)| there.contains(position));
    }
    let executions = executions.into_iter().map(|(_, row)| row).collect();
    batch.insert(&EXECUTIONS, executions).await?;
    write_people(batch, &placed).await
}

fn placed_events<'a>(entries: &[&'a Entry]) -> Vec<PlacedEvent<'a>> {
    entries
        .iter()
        .filter_map(|entry| match &entry.record {
            Record::Event(accepted) => Some(PlacedEvent {
                position: entry.position,
                received_at: entry.received_at,
                accepted,
            }),
            Record::Rejection(_) | Record::Timer(_) | Record::Fact(_) | Record::DeadLetter(_) => {
                None
            }
        })
        .collect()
}

/// Which of the events' positions are in the table.
async fn positions_there(
    batch: &mut Batch<'_>,
    placed: &[PlacedEvent<'_>],
) -> Result<BTreeSet<Position>, RecordsError> {
    let (Some(first), Some(last)) = (placed.first(), placed.last()) else {
        return Ok(BTreeSet::new());
    };
    let mut sql = Sql::new("SELECT position FROM events WHERE position BETWEEN ");
    sql.bind(number(first.position)?);
    sql.push(" AND ").bind(number(last.position)?);
    let there = batch.positions(&mut sql).await?;
    Ok(there.into_iter().map(super::position).collect())
}

async fn write_people(
    batch: &mut Batch<'_>,
    placed: &[PlacedEvent<'_>],
) -> Result<(), RecordsError> {
    let mut people = People::default();
    for one in placed {
        people.add(one);
    }
    batch.insert(&STUDENTS, people.students()?).await?;
    batch.insert(&TEAMS, people.teams()).await?;
    batch.insert(&NOTEBOOKS, people.notebooks()).await?;
    Ok(())
}

async fn write_faults(batch: &mut Batch<'_>, entries: &[&Entry]) -> Result<(), RecordsError> {
    let mut rejected = Vec::new();
    let mut letters = Vec::new();
    for entry in entries {
        match &entry.record {
            Record::Rejection(it) => rejected.push(rows::rejection(entry, it)?),
            Record::DeadLetter(it) => letters.push(rows::dead_letter(entry, it)?),
            Record::Event(_) | Record::Timer(_) | Record::Fact(_) => {}
        }
    }
    batch.insert(&REJECTED, rejected).await?;
    batch.insert(&DEAD_LETTERS, letters).await?;
    Ok(())
}

/// The rows of the facts of a batch, by table.
#[derive(Debug, Default)]
struct FactRows {
    lessons: Vec<[Value; 6]>,
    sessions: Vec<[Value; 8]>,
    help: Vec<[Value; 10]>,
    alerts: Vec<[Value; 10]>,
}

async fn write_facts(batch: &mut Batch<'_>, entries: &[&Entry]) -> Result<(), RecordsError> {
    let mut facts = FactRows::default();
    for entry in entries {
        if let Record::Fact(fact) = &entry.record {
            facts.add(fact, number(entry.position)?)?;
        }
    }
    batch.insert(&LESSONS, facts.lessons).await?;
    batch.insert(&SESSIONS, facts.sessions).await?;
    batch.insert(&HELP, facts.help).await?;
    batch.insert(&ALERTS, facts.alerts).await?;
    Ok(())
}

impl FactRows {
    fn add(&mut self, fact: &Fact, position: Value) -> Result<(), RecordsError> {
        let classroom = Value::from(fact.classroom.as_str());
        let none_number = || Value::from(None::<i64>);
        let none_text = || Value::from(None::<String>);
        match &fact.kind {
            FactKind::LessonBegun { lesson, begun } => self.lessons.push([
                classroom,
                lesson.as_str().into(),
                begun.as_millis().into(),
                none_number(),
                none_text(),
                position,
            ]),
            FactKind::LessonEnded {
                lesson,
                begun,
                ended,
                ended_by,
            } => self.lessons.push([
                classroom,
                lesson.as_str().into(),
                begun.as_millis().into(),
                ended.as_millis().into(),
                ended_by.as_str().into(),
                position,
            ]),
            FactKind::SessionBegun { .. } | FactKind::SessionEnded { .. } => {
                self.add_session(fact, position)?;
            }
            FactKind::HelpOpened { .. } | FactKind::HelpEnded { .. } => {
                self.add_help(fact, &position);
            }
            FactKind::AlertChanged { alert, at } => self.alerts.push([
                classroom,
                alert.id.as_str().into(),
                alert.kind.as_str().into(),
                alert.student.as_str().into(),
                alert.cell_id.clone().into(),
                alert.since.as_millis().into(),
                alert.reason.as_str().into(),
                alert.state.as_str().into(),
                at.as_millis().into(),
                position,
            ]),
        }
        Ok(())
    }

    fn add_session(&mut self, fact: &Fact, position: Value) -> Result<(), RecordsError> {
        let (session, student, begun, end) = match &fact.kind {
            FactKind::SessionBegun {
                session,
                student,
                begun,
            } => (session, student, begun, None),
            FactKind::SessionEnded {
                session,
                student,
                begun,
                ended,
                events,
            } => (session, student, begun, Some((ended, events))),
            FactKind::HelpOpened { .. }
            | FactKind::HelpEnded { .. }
            | FactKind::AlertChanged { .. }
            | FactKind::LessonBegun { .. }
            | FactKind::LessonEnded { .. } => return Ok(()),
        };
        self.sessions.push([
            fact.classroom.as_str().into(),
            session.as_str().into(),
            student.as_str().into(),
            begun.as_millis().into(),
            end.map(|(ended, _)| ended.as_millis()).into(),
            end.map(|(_, events)| i64::try_from(*events).unwrap_or(i64::MAX))
                .into(),
            number(fact.cause)?,
            position,
        ]);
        Ok(())
    }

    fn add_help(&mut self, fact: &Fact, position: &Value) {
        let (help, student, since, cell_id, end) = match &fact.kind {
            FactKind::HelpOpened {
                help,
                student,
                since,
                cell_id,
            } => (help, student, since, cell_id, None),
            FactKind::HelpEnded {
                help,
                student,
                since,
                until,
                ended_by,
                cell_id,
            } => (help, student, since, cell_id, Some((until, ended_by))),
            FactKind::SessionBegun { .. }
            | FactKind::SessionEnded { .. }
            | FactKind::AlertChanged { .. }
            | FactKind::LessonBegun { .. }
            | FactKind::LessonEnded { .. } => return,
        };
        self.help.push([
            fact.classroom.as_str().into(),
            help.as_str().into(),
            student.as_str().into(),
            since.as_millis().into(),
            end.map(|(until, _)| until.as_millis()).into(),
            end.map(|(_, by)| by.as_str().to_owned()).into(),
            None::<String>.into(),
            cell_id.clone().into(),
            position.clone(),
            match end {
                None => position.clone(),
                Some(_) => None::<i64>.into(),
            },
        ]);
    }
}

pub(super) const CLASSROOMS: Insert<'_> = Insert {
    name: "classrooms",
    columns: &["id", "name", "first_seen_ms"],
    key: &["id"],
    when_there: NOTHING,
    is_filed: false,
};

// the target is named: two different events at one position are a fault to be told, not skipped
pub(super) const EVENTS: Insert<'_> = Insert {
    name: "events",
    columns: &rows::EVENT_COLUMNS,
    key: &["classroom", "student", "event_id"],
    when_there: NOTHING,
    is_filed: true,
};

pub(super) const EXECUTIONS: Insert<'_> = Insert {
    name: "executions",
    columns: &rows::EXECUTION_COLUMNS,
    key: &["position"],
    when_there: NOTHING,
    is_filed: true,
};

pub(super) const STUDENTS: Insert<'_> = Insert {
    name: "students",
    columns: &[
        "classroom",
        "id",
        "address",
        "name",
        "team",
        "first_seen_ms",
        "last_seen_ms",
        "position",
    ],
    key: &["classroom", "id"],
    when_there: "DO UPDATE SET \
        address = excluded.address, \
        name = COALESCE(excluded.name, students.name), \
        team = COALESCE(excluded.team, students.team), \
        last_seen_ms = excluded.last_seen_ms, \
        position = excluded.position \
        WHERE excluded.position > students.position",
    is_filed: false,
};

pub(super) const TEAMS: Insert<'_> = Insert {
    name: "teams",
    columns: &["classroom", "name", "key", "first_seen_ms", "last_seen_ms"],
    key: &["classroom", "name"],
    when_there: "DO UPDATE SET \
        last_seen_ms = excluded.last_seen_ms \
        WHERE excluded.last_seen_ms > teams.last_seen_ms",
    is_filed: false,
};

pub(super) const NOTEBOOKS: Insert<'_> = Insert {
    name: "notebooks",
    columns: &["classroom", "path", "key", "first_seen_ms", "last_seen_ms"],
    key: &["classroom", "path"],
    when_there: "DO UPDATE SET \
        last_seen_ms = excluded.last_seen_ms \
        WHERE excluded.last_seen_ms > notebooks.last_seen_ms",
    is_filed: false,
};

const REJECTED: Insert<'_> = Insert {
    name: "rejected",
    columns: &[
        "position",
        "classroom",
        "received_at_ms",
        "item",
        "code",
        "detail",
        "pointer",
        "event_id",
        "payload",
    ],
    key: &["position"],
    when_there: NOTHING,
    is_filed: false,
};

const DEAD_LETTERS: Insert<'_> = Insert {
    name: "dead_letters",
    columns: &[
        "position",
        "id",
        "classroom",
        "received_at_ms",
        "consumer",
        "entry",
        "reason",
    ],
    key: &["position"],
    when_there: NOTHING,
    is_filed: false,
};

// what ended stays ended, whichever of the two entries comes last

const LESSONS: Insert<'_> = Insert {
    name: "lessons",
    columns: &[
        "classroom",
        "id",
        "begun_ms",
        "ended_ms",
        "ended_by",
        "position",
    ],
    key: &["classroom", "id"],
    when_there: "DO UPDATE SET \
        ended_ms = excluded.ended_ms, \
        ended_by = excluded.ended_by, \
        position = excluded.position \
        WHERE excluded.ended_ms IS NOT NULL AND excluded.position > lessons.position",
    is_filed: false,
};

const SESSIONS: Insert<'_> = Insert {
    name: "sessions",
    columns: &[
        "classroom",
        "id",
        "student",
        "begun_ms",
        "ended_ms",
        "events",
        "cause",
        "position",
    ],
    key: &["classroom", "id"],
    when_there: "DO UPDATE SET \
        ended_ms = excluded.ended_ms, \
        events = excluded.events, \
        position = excluded.position \
        WHERE excluded.ended_ms IS NOT NULL AND excluded.position > sessions.position",
    is_filed: false,
};

const HELP: Insert<'_> = Insert {
    name: "help",
    columns: &[
        "classroom",
        "id",
        "student",
        "since_ms",
        "until_ms",
        "ended_by",
        "claimed_by",
        "cell_id",
        "position",
        "opened",
    ],
    key: &["classroom", "id"],
    when_there: "DO UPDATE SET \
        until_ms = excluded.until_ms, \
        ended_by = excluded.ended_by, \
        position = excluded.position \
        WHERE excluded.until_ms IS NOT NULL AND excluded.position > help.position",
    is_filed: false,
};

const ALERTS: Insert<'_> = Insert {
    name: "alerts",
    columns: &[
        "classroom",
        "id",
        "kind",
        "student",
        "cell_id",
        "since_ms",
        "reason",
        "state",
        "changed_ms",
        "position",
    ],
    key: &["classroom", "id"],
    when_there: "DO UPDATE SET \
        state = excluded.state, \
        reason = excluded.reason, \
        changed_ms = excluded.changed_ms, \
        position = excluded.position \
        WHERE excluded.position > alerts.position",
    is_filed: false,
};

const OFFSETS: Insert<'_> = Insert {
    name: "offsets",
    columns: &["journal", "consumer", "position"],
    key: &["journal", "consumer"],
    when_there: "DO UPDATE SET \
        position = excluded.position \
        WHERE excluded.position > offsets.position",
    is_filed: false,
};
