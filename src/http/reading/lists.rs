//! The lists: executions, help, events, lessons, what was refused, dead letters.

use std::fmt::Debug;

use bytes::Bytes;
use mimamori_actors::domain::{ClassroomId, ExecutionStatus, Position, SessionKey, StudentId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cursor::Cursors;
use super::items::{DeadLetterItem, EventItem, ExecutionItem, HelpItem, LessonItem, RejectedItem};
use super::kept::{On, Part};
use super::params::Params;
use super::{ApiError, Page, Reading};
use crate::cache::{Scope, Subject};
use crate::storage::records::{
    ExecutionFilter, Found, HelpKey, KnownStudent, LessonKey, TimeKey, TimeRange,
};

/// Which page of a list was asked for.
pub(super) struct Asked<K> {
    /// What the list is, so that no other list takes its cursors.
    pub(super) list: String,
    pub(super) range: TimeRange,
    pub(super) after: Option<K>,
    pub(super) limit: usize,
}

impl<K: DeserializeOwned + Serialize> Asked<K> {
    pub(super) fn of(reading: &Reading, list: String, params: &Params) -> Result<Self, ApiError> {
        let limit = params.limit()?;
        let mut range = params.range(reading.clock.now())?;
        let mut after = None;
        if let Some(cursor) = params.cursor() {
            let (first, key) = Cursors { list: &list }.read(cursor)?;
            // the last 24 hours are those of the first page
            if let Some(first) = first.filter(|_| !params.has_range()) {
                range = first;
            }
            after = Some(key);
        }
        Ok(Self {
            list,
            range,
            after,
            limit,
        })
    }

    /// All that tells one page from another: the list's name holds the filters.
    pub(super) fn whole(&self) -> String
    where
        K: Debug,
    {
        let Self {
            list,
            range,
            after,
            limit,
        } = self;
        format!("{list} {range:?} {after:?} {limit}")
    }

    /// The page of what was found; `key` tells where it goes on.
    pub(super) fn page<R, T: From<R>>(&self, found: Found<R>, key: impl Fn(&R) -> K) -> Page<T> {
        let last = found.rows.last().filter(|_| found.has_more);
        let next =
            last.and_then(|row| Cursors { list: &self.list }.write(Some(self.range), key(row)));
        Page {
            items: found.rows.into_iter().map(T::from).collect(),
            next,
        }
    }
}

/// The name of a list with everything that narrows it.
pub(super) fn list(name: &str, classroom: &ClassroomId, params: &Params) -> String {
    let mut list = format!("{name} {classroom:?}");
    for name in [
        "from", "to", "query", "status", "student", "notebook", "cell",
    ] {
        let mut sent = params.as_sent(name).map(str::to_owned);
        if name == "query" {
            // it is the same search: ASCII is compared case aside in every database
            sent = sent.map(|query| query.to_ascii_lowercase());
        }
        list.push_str(&format!(" {sent:?}"));
    }
    list
}

type TimeCursor = (i64, i64);

fn time_key((at_ms, position): TimeCursor) -> TimeKey {
    TimeKey { at_ms, position }
}

fn time_cursor(key: TimeKey) -> TimeCursor {
    (key.at_ms, key.position)
}

pub(super) async fn executions(
    reading: &Reading,
    classroom: &ClassroomId,
    scope: Scope,
    params: &Params,
) -> Result<Bytes, ApiError> {
    let asked = Asked::of(reading, list("executions", classroom, params), params)?;
    page_of_executions(reading, classroom, scope, &filter(params)?, asked).await
}

pub(super) async fn executions_of_student(
    reading: &Reading,
    key: &SessionKey,
    scope: Scope,
    params: &Params,
) -> Result<Bytes, ApiError> {
    let name = format!("executions of {:?}", key.student);
    let asked = Asked::of(reading, list(&name, &key.classroom, params), params)?;
    let mut filter = filter(params)?;
    filter.student = Some(key.student.clone());
    reading.check_student(key).await?;
    page_of_executions(reading, &key.classroom, scope, &filter, asked).await
}

async fn page_of_executions(
    reading: &Reading,
    classroom: &ClassroomId,
    scope: Scope,
    filter: &ExecutionFilter,
    asked: Asked<TimeCursor>,
) -> Result<Bytes, ApiError> {
    let all = asked.whole();
    let part = Part {
        classroom,
        scope,
        subject: Subject::Search,
        on: On::RowsOf(asked.range),
        asked: &all,
    };
    let page = async {
        let after = asked.after.map(time_key);
        let found = reading
            .records
            .executions(classroom, asked.range, filter, after, asked.limit)
            .await?;
        Ok(asked.page::<_, ExecutionItem>(found, |row| time_cursor(row.key())))
    };
    reading.kept_json(part, page).await
}

fn filter(params: &Params) -> Result<ExecutionFilter, ApiError> {
    Ok(ExecutionFilter {
        query: params.search()?.map(str::to_owned),
        status: params.text("status")?.map(status).transpose()?,
        student: params.text("student")?.map(StudentId::new),
        notebook: params.text("notebook")?.map(str::to_owned),
        cell: params.text("cell")?.map(str::to_owned),
    })
}

fn status(name: &str) -> Result<ExecutionStatus, ApiError> {
    ExecutionStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == name)
        .ok_or_else(|| {
            let rule = "one of ok, error, interrupted, skipped, not_run, unknown";
            ApiError::bad_parameter("status", rule)
        })
}

pub(super) async fn help(
    reading: &Reading,
    classroom: &ClassroomId,
    params: &Params,
) -> Result<Page<HelpItem>, ApiError> {
    let asked: Asked<(bool, i64, String)> =
        Asked::of(reading, list("help", classroom, params), params)?;
    let after = asked.after.clone().map(|(is_open, since_ms, id)| HelpKey {
        is_open,
        since_ms,
        id,
    });
    // who waits since yesterday still waits: only a range that was asked for leaves them out
    let and_all_open = !params.has_range();
    let found = reading
        .records
        .help(classroom, asked.range, and_all_open, after, asked.limit)
        .await?;
    Ok(asked.page(found, |row| {
        let key = row.key();
        (key.is_open, key.since_ms, key.id)
    }))
}

pub(super) async fn lessons(
    reading: &Reading,
    classroom: &ClassroomId,
    params: &Params,
) -> Result<Page<LessonItem>, ApiError> {
    let asked: Asked<(i64, String)> =
        Asked::of(reading, list("lessons", classroom, params), params)?;
    let after = asked
        .after
        .clone()
        .map(|(begun_ms, id)| LessonKey { begun_ms, id });
    let found = reading
        .records
        .lessons(classroom, asked.range, after, asked.limit)
        .await?;
    Ok(asked.page(found, |row| {
        let key = row.key();
        (key.begun_ms, key.id)
    }))
}

pub(super) async fn rejected(
    reading: &Reading,
    classroom: &ClassroomId,
    params: &Params,
) -> Result<Page<RejectedItem>, ApiError> {
    let asked = Asked::of(reading, list("rejected", classroom, params), params)?;
    let after = asked.after.map(time_key);
    let found = reading
        .records
        .rejected(classroom, asked.range, after, asked.limit)
        .await?;
    Ok(asked.page(found, |row| time_cursor(row.key())))
}

pub(super) async fn dead_letters(
    reading: &Reading,
    classroom: &ClassroomId,
    params: &Params,
) -> Result<Page<DeadLetterItem>, ApiError> {
    let asked = Asked::of(reading, list("dead letters", classroom, params), params)?;
    let after = asked.after.map(time_key);
    let found = reading
        .records
        .dead_letters(classroom, asked.range, after, asked.limit)
        .await?;
    Ok(asked.page(found, |row| time_cursor(row.key())))
}

/// All events in the order of acceptance: no range, and `since` is a cursor that clients may keep.
pub(super) async fn events(
    reading: &Reading,
    classroom: &ClassroomId,
    params: &Params,
) -> Result<Page<EventItem>, ApiError> {
    let limit = params.limit()?;
    let name = format!("events {classroom:?}");
    let cursors = Cursors { list: &name };
    let mut since = params.since()?;
    if let Some(cursor) = params.cursor() {
        since = cursors.read::<u64>(cursor)?.1;
    }
    let found = reading
        .records
        .events(classroom, Position(since), limit)
        .await?;
    let last = found.rows.last().filter(|_| found.has_more);
    Ok(Page {
        next: last.and_then(|event| cursors.write(None, event.position.0)),
        items: found.rows.into_iter().map(EventItem::from).collect(),
    })
}

impl Reading {
    /// The student as the records know them, unless the registry knows better.
    ///
    /// # Errors
    /// 404 if neither knows them.
    async fn check_student(&self, key: &SessionKey) -> Result<(), ApiError> {
        if self.present.student(key).is_some() {
            return Ok(());
        }
        self.recorded_student(key).await.map(|_| ())
    }

    pub(super) async fn recorded_student(
        &self,
        key: &SessionKey,
    ) -> Result<KnownStudent, ApiError> {
        self.records
            .student(key)
            .await?
            .ok_or_else(|| ApiError::not_found("there is no such student"))
    }
}
