//! The classrooms, and one at a glance.

use std::collections::HashSet;

use mimamori_actors::domain::{ClassroomId, Student, StudentId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cursor::Cursors;
use super::items::{BucketItem, offline};
use super::kept::{On, Part};
use super::params::{Params, whole_minute};
use super::{ApiError, Page, Reading};
use crate::cache::{Scope, Subject};
use crate::config::Classroom;
use crate::storage::records::{KnownStudent, TimeRange, Totals};

/// Buckets of an overview at most.
const MOST_BUCKETS: usize = 300;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClassroomItem {
    id: ClassroomId,
    name: String,
    /// All that were ever seen.
    students: u64,
    /// Those with an event within the last two minutes.
    active: u64,
    /// Whether code, outputs and the texts of errors are kept.
    stores_code: bool,
}

/// The classrooms of this server, in the order of their ids.
pub(super) async fn classrooms(
    reading: &Reading,
    params: &Params,
) -> Result<Page<ClassroomItem>, ApiError> {
    let limit = params.limit()?;
    let cursors = Cursors { list: "classrooms" };
    let mut known = reading.classrooms.all().to_vec();
    if let Some(cursor) = params.cursor() {
        let (_, last) = cursors.read::<ClassroomId>(cursor)?;
        known.retain(|classroom| classroom.id > last);
    }
    let has_more = known.len() > limit;
    known.truncate(limit);
    let last = known.last().filter(|_| has_more);
    let next = last.and_then(|classroom| cursors.write(None, &classroom.id));
    let mut items = Vec::with_capacity(known.len());
    for classroom in known {
        items.push(reading.classroom_item(classroom).await?);
    }
    Ok(Page { items, next })
}

#[derive(Debug, Serialize)]
pub(super) struct Overview {
    totals: TotalsItem,
    students: Vec<Student>,
    activity: Box<RawValue>,
}

#[derive(Debug, Serialize)]
struct TotalsItem {
    students: u64,
    active: i64,
    executions: i64,
    errors: i64,
    help: i64,
}

/// All known students as now; totals and activity of the range.
pub(super) async fn overview(
    reading: &Reading,
    classroom: &ClassroomId,
    scope: Scope,
    params: &Params,
) -> Result<Overview, ApiError> {
    let range = params.range(reading.clock.now())?;
    let totals = reading.totals(classroom, scope, range).await?;
    let activity = reading.activity(classroom, scope, range).await?;
    let (students, recorded) = reading.all_students(classroom, scope).await?;
    Ok(Overview {
        totals: TotalsItem {
            students: recorded.max(students.len() as u64),
            active: totals.active,
            executions: totals.executions,
            errors: totals.errors,
            help: totals.help,
        },
        students,
        activity,
    })
}

fn no_buckets() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).expect("an empty list is JSON")
}

/// The students that the records know, and how many there are, should not all be listed.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    students: Vec<KnownStudent>,
    count: u64,
}

impl Reading {
    async fn classroom_item(&self, classroom: Classroom) -> Result<ClassroomItem, ApiError> {
        let (known, active) = self.present.counts(&classroom.id);
        let recorded = self.records.student_count(&classroom.id).await?;
        Ok(ClassroomItem {
            id: classroom.id,
            name: classroom.name,
            students: recorded.max(known as u64),
            active: active as u64,
            stores_code: classroom.keeps_code,
        })
    }

    async fn totals(
        &self,
        classroom: &ClassroomId,
        scope: Scope,
        range: TimeRange,
    ) -> Result<Totals, ApiError> {
        let part = Part {
            classroom,
            scope,
            subject: Subject::Totals,
            on: On::RowsOf(range),
            asked: &format!("{range:?}"),
        };
        let totals = async { Ok(self.records.totals(classroom, range).await?) };
        self.kept(part, totals).await
    }

    /// A list of buckets; what is empty until now is among them.
    async fn activity(
        &self,
        classroom: &ClassroomId,
        scope: Scope,
        range: TimeRange,
    ) -> Result<Box<RawValue>, ApiError> {
        let Some(series) = &self.series else {
            // another node counts: no bucket says more than empty ones would
            return Ok(no_buckets());
        };
        let now = self.clock.now();
        let until = range.to.unwrap_or(now).min(whole_minute(now));
        let part = Part {
            classroom,
            scope,
            subject: Subject::Activity,
            on: On::SeriesOf(range),
            asked: &format!("{range:?} {until:?}"),
        };
        let buckets = async {
            let buckets = series
                .activity(classroom, range.from, range.to, now, MOST_BUCKETS)
                .await?;
            Ok(buckets
                .into_iter()
                .map(BucketItem::from)
                .collect::<Vec<_>>())
        };
        self.kept(part, buckets).await
    }

    /// Those the registry knows, as now, and those only the records know, as
    /// offline; and how many the records have.
    async fn all_students(
        &self,
        classroom: &ClassroomId,
        scope: Scope,
    ) -> Result<(Vec<Student>, u64), ApiError> {
        let part = Part {
            classroom,
            scope,
            subject: Subject::Students,
            on: On::AnyRow,
            asked: "",
        };
        let recorded = async {
            Ok(Recorded {
                students: self.records.students(classroom).await?,
                count: self.records.student_count(classroom).await?,
            })
        };
        let recorded: Recorded = self.kept(part, recorded).await?;
        let mut students = self.present.students(classroom);
        let live: HashSet<StudentId> = students.iter().map(|it| it.id.clone()).collect();
        students.extend(
            recorded
                .students
                .into_iter()
                .filter(|known| !live.contains(&known.student_id()))
                .map(offline),
        );
        students.sort_by(|a, b| a.id.cmp(&b.id));
        Ok((students, recorded.count))
    }
}
