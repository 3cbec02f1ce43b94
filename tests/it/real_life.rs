//! What happens in a class: events that come twice, people who share an address, runs that nobody reports.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Console, PATIENCE, ROOM, Run, Server, event, run};

/// What is certain only when an older event can no longer come: 3 s, and a round of the timers.
const SETTLED: Duration = Duration::from_secs(10);

fn counted(id: &str, student: &str, count: i64) -> Value {
    let mut event = run(id, student, "c1", Run::Ok);
    event["executionCount"] = json!(count);
    event
}

fn by(mut event: Value, name: &str, session: &str) -> Value {
    event["userName"] = json!(name);
    event["sessionId"] = json!(session);
    event
}

fn has_alert(console: &Console, kind: &str) -> bool {
    let mut alerts = console.rooms[ROOM].alerts.values();
    alerts.any(|alert| alert["kind"] == kind)
}

#[tokio::test]
async fn an_event_that_comes_again_counts_once_whatever_it_says_the_second_time() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let first = run("e1", "taro", "c1", Run::Error);
    let mut other = first.clone();
    other["code"] = json!("another");

    server.api().accepted(std::slice::from_ref(&first)).await;
    let again = server
        .api()
        .ingest(&[first.clone(), other, first])
        .await
        .good();
    server
        .api()
        .accepted(&[run("e2", "taro", "c1", Run::Error)])
        .await;

    assert_eq!(
        (&again["accepted"], &again["duplicates"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(again["rejected"][0]["code"], "conflict");
    console
        .until(PATIENCE, "the second event", |console| {
            console.rooms[ROOM].sum("executions") >= 2
        })
        .await;
    let student = console.rooms[ROOM].named("学生 taro").unwrap();
    assert_eq!(
        (&student["executions"], &student["errors"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(student["consecutiveErrors"], 2);
}

#[tokio::test]
async fn two_people_under_the_default_address_are_told_and_listed_apart() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let of = |id: &str, name: &str, session: &str| {
        let mut event = by(event(id, "notebook_saved", "x"), name, session);
        event["emailAddress"] = json!("student001@example.com");
        event["notebookPath"] = json!(format!("{name}.ipynb"));
        event
    };

    for (id, name, session) in [
        ("e1", "花子", "s1"),
        ("e2", "太郎", "s2"),
        ("e3", "花子", "s1"),
    ] {
        server.api().accepted(&[of(id, name, session)]).await;
    }
    console
        .until(SETTLED, "the alert", |console| {
            has_alert(console, "shared_identity")
        })
        .await;

    let students: Vec<_> = console.rooms[ROOM].students.values().collect();
    assert_eq!(students.len(), 1);
    assert_eq!(students[0]["isDefaultAddress"], true);
    assert_eq!(
        students[0]["status"], "active",
        "the alert changes no status"
    );
    let people = students[0]["people"].as_array().unwrap();
    let names: Vec<_> = people.iter().map(|person| &person["name"]).collect();
    assert_eq!(names, ["太郎", "花子"]);
    assert_eq!(people[0]["notebook"], "太郎.ipynb");
    assert!(people[0]["lastActivity"].is_string());
}

#[tokio::test]
async fn runs_that_nobody_reported_and_a_kernel_that_was_started_again_are_told_and_are_no_events()
{
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;

    for (id, count) in [("e1", 1), ("e2", 4), ("e3", 1)] {
        server.api().accepted(&[counted(id, "taro", count)]).await;
    }
    console
        .until(SETTLED, "a kernel that was started again", |console| {
            has_alert(console, "kernel_restarted")
        })
        .await;
    for (id, student, count) in [("f1", "jiro", 1), ("f2", "jiro", 4)] {
        server.api().accepted(&[counted(id, student, count)]).await;
    }
    console
        .until(SETTLED, "runs that nobody reported", |console| {
            has_alert(console, "runs_not_reported")
        })
        .await;

    let room = &console.rooms[ROOM];
    assert!(
        room.students
            .values()
            .all(|student| student["status"] == "active")
    );
    assert_eq!(room.sum("executions"), 5);
    let events = server.api().all("/events?since=0", 100).await;
    assert_eq!(events.len(), 5);
}
