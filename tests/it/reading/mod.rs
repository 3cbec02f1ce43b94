//! The reading calls (contract, section 6) and health (section 7): shape, paging, limits, rights.

mod health;
mod lists;
mod rights;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{
    Api, PATIENCE, Run, Server, ensure, eventually, help, markdown, run, skipped,
};

/// Every list of a classroom.
const LISTS: [&str; 7] = [
    "/executions",
    "/cells",
    "/help",
    "/events?since=0",
    "/lessons",
    "/rejected",
    "/dead-letters",
];

/// A small class: two students, ten cells, a call for help, two refused events. All of it
/// is in each of the places where answers come from: sessions, records and series.
async fn small_class() -> Server {
    let server = Server::start().await;
    let api = server.api();
    let mut events: Vec<_> = (0..6)
        .map(|nth| {
            run(
                &format!("a{nth}"),
                "hanako",
                &format!("c{}", nth % 2),
                if nth % 3 == 2 { Run::Error } else { Run::Ok },
            )
        })
        .collect();
    events.push(skipped("a6", "hanako", "c9"));
    events.push(markdown("a7", "hanako", "text"));
    events.push(run("b1", "taro", "c0", Run::Interrupted));
    events.push(run("b2", "taro", "c0", Run::Ok));
    events.push(help("b3", "taro", true));
    api.accepted(&events).await;
    let refused = api
        .ingest(&[
            json!({"eventType": "no_such_type", "eventId": "bad-1"}),
            json!(7),
        ])
        .await;
    refused.assert_problem(422);
    eventually("everything can be read", PATIENCE, async || {
        let (cells, rejected, open) = (
            api.room("/executions").await.items().len(),
            api.room("/rejected").await.items().len(),
            api.room("/help").await.items().len(),
        );
        ensure((cells, rejected, open) == (10, 2, 1), || {
            format!("{cells} cells, {rejected} rejected, {open} calls for help")
        })?;
        let overview = api.room("/overview").await.good();
        let runs = ["students", "activity"].map(|part| runs_of(&overview[part]));
        ensure(runs == [8, 8], || overview.to_string())?;
        concluded(&api, &overview).await
    })
    .await;
    server
}

fn runs_of(items: &Value) -> u64 {
    let items = items.as_array().unwrap().iter();
    items.map(|it| it["executions"].as_u64().unwrap()).sum()
}

/// What the sessions and the classroom conclude is in the records behind what it is concluded from.
async fn concluded(api: &Api, overview: &Value) -> Result<(), String> {
    let lessons = api.room("/lessons").await.items();
    ensure(lessons.len() == 1, || format!("{lessons:?}"))?;
    let students = overview["students"].as_array().unwrap();
    ensure(students.len() == 2, || format!("{students:?}"))?;
    for student in students {
        let id = student["id"].as_str().unwrap();
        let student = api.room(&format!("/students/{id}")).await.good();
        let sessions = student["sessions"].as_array().unwrap();
        ensure(sessions.len() == 1, || student.to_string())?;
    }
    Ok(())
}

fn members(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[track_caller]
fn assert_has(value: &Value, expected: &[&str]) {
    let missing: Vec<_> = expected
        .iter()
        .filter(|name| !members(value).contains(**name))
        .collect();
    assert!(missing.is_empty(), "no {missing:?} in {value}");
}

async fn id_of(api: &Api, name: &str) -> String {
    let overview = api.room("/overview").await.good();
    let students = overview["students"].as_array().unwrap();
    let is_wanted = |student: &&Value| student["name"].as_str().unwrap().ends_with(name);
    students.iter().find(is_wanted).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}
