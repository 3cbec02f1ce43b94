//! What entries add to which cells: pure, no database.

use std::collections::BTreeMap;
use std::sync::Arc;

use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, Entry, ExecutionStatus, FactKind, Position, Record, StudentId,
    Timestamp,
};
use unicode_normalization::UnicodeNormalization;

use super::keys::{Cell, Level};
use crate::storage::placed_at;
use crate::storage::series::SeriesError;
use crate::storage::series::buckets::minute_of;

/// How much happened in a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) events: u32,
    /// Runs: ok, error and interrupted.
    pub(super) executions: u32,
    pub(super) errors: u32,
    /// Requests for help that opened.
    pub(super) help: u32,
}

impl Counts {
    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            events: self.events.saturating_add(other.events),
            executions: self.executions.saturating_add(other.executions),
            errors: self.errors.saturating_add(other.errors),
            help: self.help.saturating_add(other.help),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let numbers = [self.events, self.executions, self.errors, self.help];
        for (place, number) in bytes.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, SeriesError> {
        let bytes: &[u8; 16] = bytes.try_into().map_err(|_| SeriesError::Malformed)?;
        let mut numbers = bytes.chunks_exact(4).map(|four| {
            let mut number = [0; 4];
            number.copy_from_slice(four);
            u32::from_be_bytes(number)
        });
        let mut next = || numbers.next().unwrap_or(0);
        Ok(Self {
            events: next(),
            executions: next(),
            errors: next(),
            help: next(),
        })
    }

    fn of_event(accepted: &AcceptedEvent) -> Self {
        let status = accepted.event.execution_status();
        Self {
            events: 1,
            executions: status.is_some_and(ExecutionStatus::is_run).into(),
            errors: (status == Some(ExecutionStatus::Error)).into(),
            help: 0,
        }
    }
}

/// What the entries after `known` add.
pub(super) fn of(entries: &[Arc<Entry>], known: Position) -> BTreeMap<Cell, Counts> {
    let mut cells = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.position > known) {
        match &entry.record {
            Record::Event(accepted) => {
                let at = placed_at(accepted.event.time, entry.received_at);
                let team = accepted.event.team.as_deref().unwrap_or_default();
                add(
                    &mut cells,
                    (&accepted.classroom, &accepted.student, team),
                    at,
                    Counts::of_event(accepted),
                );
            }
            Record::Fact(fact) => {
                if let FactKind::HelpOpened { student, since, .. } = &fact.kind {
                    let one = Counts {
                        help: 1,
                        ..Counts::default()
                    };
                    add(&mut cells, (&fact.classroom, student, ""), *since, one);
                }
            }
            Record::Rejection(_) | Record::Timer(_) | Record::DeadLetter(_) => {}
        }
    }
    cells
}

fn add(
    cells: &mut BTreeMap<Cell, Counts>,
    (classroom, student, team): (&ClassroomId, &StudentId, &str),
    at: Timestamp,
    added: Counts,
) {
    let minute = minute_of(at);
    for level in Level::ALL {
        let cell = Cell {
            level,
            classroom: classroom.clone(),
            begin: minute - minute.rem_euclid(level.minutes()),
            student: student.clone(),
            // teams are compared in NFKC
            team: team.nfkc().collect(),
        };
        let counts = cells.entry(cell).or_default();
        *counts = counts.plus(added);
    }
}
