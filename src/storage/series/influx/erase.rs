//! Takes points out: a person's, and those whose term is over.
//!
//! InfluxDB deletes by time and tags only, and the person is in neither. So a person's
//! points are asked for first, with their tags and times, and deleted one by one:
//! by classroom and time alone that would be twenty times as slow in a class with
//! many teams.

use std::collections::HashSet;
use std::time::Duration;

use influxdb::WriteQuery;
use mimamori_actors::domain::{ClassroomId, Position, SessionKey, Timestamp};

use super::super::SeriesError;
use super::client::{Client, NOT_EXECUTED, Table, quoted_name, quoted_text};
use super::points::{EVENTS, Side, nanoseconds};
use super::tags::{self, Label, VALUES, of_classroom};

/// Points of one series of the database that are asked for at once.
const AT_ONCE: usize = 1_000;
/// Points that are deleted with one request.
const DELETED_AT_ONCE: usize = 100;
/// A field has no index: whatever a classroom ever did is looked through.
const LOOKS_WITHIN: Duration = Duration::from_secs(120);
/// For one request that deletes.
const DELETES_WITHIN: Duration = Duration::from_secs(60);
/// So often the same points are deleted that are still there.
const TRIES: u32 = 5;
const TAGS: [&str; 4] = ["classroom", "kind", "notebook", "team"];

pub(super) async fn erase(
    client: &Client,
    person: &SessionKey,
    through: Position,
) -> Result<(), SeriesError> {
    let classroom = quoted_text(&of_classroom(&person.classroom));
    let student = quoted_text(person.student.as_str());
    let question = format!(
        "SELECT position FROM {} WHERE classroom = {classroom} \
         AND (student = {student} OR helped = {student}) AND position <= {} \
         GROUP BY {} LIMIT {AT_ONCE}",
        quoted_name(EVENTS),
        Side::Journal.place(through),
        TAGS.join(", "),
    );
    let mut before = Vec::new();
    let mut tries = 0;
    loop {
        let found = client.ask(&question, LOOKS_WITHIN).await?;
        let statements: Vec<_> = found.iter().flat_map(deletions).collect();
        if statements.is_empty() {
            return Ok(());
        }
        tries = if statements == before { tries + 1 } else { 1 };
        if tries > TRIES {
            return Err(SeriesError::Away("it does not delete points".to_owned()));
        }
        delete(client, &statements).await?;
        before = statements;
    }
}

/// What takes the place of a classroom's values that no point has any more: a name of a
/// team or a notebook may say who had it.
pub(super) async fn unused_values(
    client: &Client,
    classroom: &ClassroomId,
) -> Result<Vec<WriteQuery>, SeriesError> {
    let room = quoted_text(&of_classroom(classroom));
    let mut unused = Vec::new();
    for label in Label::ALL {
        let name = label.as_str();
        let used = format!(
            "SELECT FIRST(position) FROM {} WHERE classroom = {room} GROUP BY {name}",
            quoted_name(EVENTS),
        );
        let kept = format!(
            "SELECT value FROM {} WHERE classroom = {room} AND label = {}",
            quoted_name(VALUES),
            quoted_text(name),
        );
        let used = client.ask(&used, LOOKS_WITHIN).await?;
        let used: HashSet<_> = used
            .iter()
            .filter_map(|table| table.tags.get(name))
            .collect();
        for row in (client.ask(&kept, LOOKS_WITHIN).await?.iter()).flat_map(|it| &it.values) {
            let time = row.first().and_then(serde_json::Value::as_i64);
            let value = row.get(1).and_then(serde_json::Value::as_str);
            if let (Some(time), Some(value)) = (time, value)
                && !used.iter().any(|used| *used == value)
                && !tags::is_unused(value)
            {
                unused.push(tags::unused(classroom, label, time));
            }
        }
    }
    Ok(unused)
}

/// All of a classroom's points before this time go; whether there were any.
pub(super) async fn expire(
    client: &Client,
    classroom: &ClassroomId,
    before: Timestamp,
) -> Result<bool, SeriesError> {
    let past = format!(
        "FROM {} WHERE classroom = {} AND time < {}",
        quoted_name(EVENTS),
        quoted_text(&of_classroom(classroom)),
        nanoseconds(before, Position::ZERO),
    );
    // to delete looks into every series, whether there is anything or not
    let first = format!("SELECT FIRST(position) {past}");
    if client.ask(&first, LOOKS_WITHIN).await?.is_empty() {
        return Ok(false);
    }
    let delete = format!("DELETE {past}");
    client.order(&delete, DELETES_WITHIN).await?;
    Ok(true)
}

/// What is not executed is found again.
async fn delete(client: &Client, statements: &[String]) -> Result<(), SeriesError> {
    for part in statements.chunks(DELETED_AT_ONCE) {
        match client.order(&part.join(";"), DELETES_WITHIN).await {
            Err(SeriesError::Refused(reason)) if reason.contains(NOT_EXECUTED) => {}
            done => done?,
        }
    }
    Ok(())
}

/// One statement for each of these points.
fn deletions(table: &Table) -> Vec<String> {
    let tags: String = TAGS
        .iter()
        .filter_map(|name| {
            let value = table.tags.get(*name).filter(|value| !value.is_empty())?;
            Some(format!("{name} = {} AND ", quoted_text(value)))
        })
        .collect();
    let times = table.values.iter().filter_map(|row| row.first()?.as_i64());
    let all = times.map(|time| {
        format!(
            "DELETE FROM {} WHERE {tags}time = {time}",
            quoted_name(EVENTS)
        )
    });
    all.collect()
}
