//! The classrooms, and one at a glance.

use std::collections::HashSet;

use mimamori_actors::domain::{ACTIVE_FOR, ClassroomId, Student, StudentId};
use serde::Serialize;

use super::cursor::Cursors;
use super::items::{BucketItem, offline};
use super::params::Params;
use super::{ApiError, Classroom, Page, Reading};

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
}

/// The classrooms of this server, in the order of their ids.
pub(super) async fn classrooms(
    reading: &Reading,
    params: &Params,
) -> Result<Page<ClassroomItem>, ApiError> {
    let limit = params.limit()?;
    let cursors = Cursors { list: "classrooms" };
    let mut known = reading.classrooms.list();
    known.sort_by(|a, b| a.id.cmp(&b.id));
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
    activity: Vec<BucketItem>,
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
    params: &Params,
) -> Result<Overview, ApiError> {
    let now = reading.clock.now();
    let range = params.range(now)?;
    let totals = reading.records.totals(classroom, range).await?;
    let activity = reading
        .series
        .activity(classroom, range.from, range.to, now, MOST_BUCKETS)
        .await?;
    let students = reading.all_students(classroom).await?;
    let recorded = reading.records.student_count(classroom).await?;
    Ok(Overview {
        totals: TotalsItem {
            students: recorded.max(students.len() as u64),
            active: totals.active,
            executions: totals.executions,
            errors: totals.errors,
            help: totals.help,
        },
        students,
        activity: activity.into_iter().map(BucketItem::from).collect(),
    })
}

impl Reading {
    async fn classroom_item(&self, classroom: Classroom) -> Result<ClassroomItem, ApiError> {
        let now = self.clock.heard();
        let views = self.registry.views(&classroom.id);
        let active = views
            .iter()
            .filter_map(|view| view.silence(now))
            .filter(|silence| *silence < ACTIVE_FOR)
            .count();
        let recorded = self.records.student_count(&classroom.id).await?;
        Ok(ClassroomItem {
            id: classroom.id,
            name: classroom.name,
            students: recorded.max(views.len() as u64),
            active: active as u64,
        })
    }

    /// Those the registry knows, as now, and those only the records know, as offline.
    async fn all_students(&self, classroom: &ClassroomId) -> Result<Vec<Student>, ApiError> {
        let mut students = self.registry.students(classroom, self.clock.heard());
        let live: HashSet<StudentId> = students.iter().map(|it| it.id.clone()).collect();
        let recorded = self.records.students(classroom).await?;
        students.extend(
            recorded
                .into_iter()
                .filter(|known| !live.contains(&known.student_id()))
                .map(offline),
        );
        students.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(students)
    }
}
