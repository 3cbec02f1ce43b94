//! Who and what there was, each once.

use std::collections::BTreeMap;

use super::Target;
use super::report::Report;
use super::row::short;
use super::source::{NamedRow, Source, SourceError, StudentRow};
use crate::admit::StudentKey;
use crate::storage::records::{FormerName, FormerPeople, FormerStudent, SeenBefore};
use mimamori_actors::domain::{StudentId, Timestamp};

/// Held in memory: as many as a school has.
#[derive(Debug, Default)]
pub(super) struct Former {
    students: BTreeMap<StudentId, FormerStudent>,
    teams: BTreeMap<String, SeenBefore>,
    notebooks: BTreeMap<String, SeenBefore>,
}

impl Former {
    pub(super) async fn read(
        source: &mut Source,
        target: &Target<'_>,
        report: &mut Report,
    ) -> Result<Self, SourceError> {
        let mut former = Self::default();
        for student in source.students().await? {
            former.add_student(student, &target.student_key, report);
        }
        for team in source.teams().await? {
            let Some(name) = short(team.name.as_deref(), report) else {
                continue;
            };
            former.teams.entry(name).or_default();
        }
        for notebook in source.notebooks().await? {
            let seen = seen(&notebook);
            if let Some(path) = short(notebook.name.as_deref(), report) {
                join(former.notebooks.entry(path).or_default(), seen);
            }
        }
        former.keep(target, report);
        Ok(former)
    }

    /// Who is erased here, and whatever is past its term, does not come back.
    fn keep(&mut self, target: &Target<'_>, report: &mut Report) {
        let allowed = &target.allowed;
        let before = self.students.len();
        self.students
            .retain(|id, student| allowed.student(id, student.seen.last));
        report.not_allowed += (before - self.students.len()) as u64;
        self.teams.retain(|_, seen| allowed.name(seen.last));
        self.notebooks.retain(|_, seen| allowed.name(seen.last));
    }

    fn add_student(&mut self, row: StudentRow, key: &StudentKey, report: &mut Report) {
        // as an event's address is read
        let address = short(row.email.as_deref(), report);
        let address = address.unwrap_or_default().trim().to_lowercase();
        if address.is_empty() {
            report.without_address += 1;
            return;
        }
        let seen = between(row.first_ms, row.last_ms);
        let (name, team) = (
            short(row.name.as_deref(), report),
            short(row.team.as_deref(), report),
        );
        if let Some(team) = &team {
            join(self.teams.entry(team.clone()).or_default(), seen);
        }
        let id = key.student(&address);
        match self.students.get_mut(&id) {
            None => {
                let student = FormerStudent {
                    id: id.clone(),
                    address,
                    name,
                    team,
                    seen,
                };
                self.students.insert(id, student);
            }
            Some(known) => {
                report.merged += 1;
                // who did something last is the one who goes by this address now
                if seen.last > known.seen.last {
                    known.name = name.or_else(|| known.name.take());
                    known.team = team.or_else(|| known.team.take());
                } else {
                    known.name = known.name.take().or(name);
                    known.team = known.team.take().or(team);
                }
                join(&mut known.seen, seen);
            }
        }
    }

    pub(super) fn people(&self) -> FormerPeople {
        let named = |known: &BTreeMap<String, SeenBefore>| {
            let names = known.iter().map(|(name, seen)| FormerName {
                name: name.clone(),
                seen: *seen,
            });
            names.collect()
        };
        FormerPeople {
            students: self.students.values().cloned().collect(),
            teams: named(&self.teams),
            notebooks: named(&self.notebooks),
        }
    }
}

fn seen(row: &NamedRow) -> SeenBefore {
    between(row.first_ms, row.last_ms)
}

fn between(first_ms: Option<i64>, last_ms: Option<i64>) -> SeenBefore {
    SeenBefore {
        first: Timestamp::from_millis(first_ms.unwrap_or_default()),
        last: Timestamp::from_millis(last_ms.unwrap_or_default()),
    }
}

/// Who never did anything is seen at zero.
fn join(known: &mut SeenBefore, other: SeenBefore) {
    if other == SeenBefore::default() {
        return;
    }
    if *known == SeenBefore::default() {
        *known = other;
        return;
    }
    known.first = known.first.min(other.first);
    known.last = known.last.max(other.last);
}
