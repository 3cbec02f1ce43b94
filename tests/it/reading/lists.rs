//! What is read, in which shape and in which pages.

use reqwest::Method;
use serde_json::{Value, json};

use super::{LISTS, assert_has, id_of, small_class};
use crate::harness::{ROOM, Server, assert_is_student};

/// The first item of a list.
async fn first(server: &Server, path: &str) -> Value {
    server.api().room(path).await.items().remove(0)
}

#[tokio::test]
async fn classrooms_overview_and_student_have_the_shape_of_the_contract() {
    let server = small_class().await;
    let api = server.api();
    let hanako = id_of(&api, "hanako").await;

    let room = api.get("/api/v1/classrooms").await.items().remove(0);
    assert_has(&room, &["id", "name", "students", "active"]);
    assert_eq!((&room["id"], &room["students"]), (&json!(ROOM), &json!(2)));

    let overview = api.room("/overview").await.good();
    let totals = &overview["totals"];
    assert_has(
        totals,
        &["students", "active", "executions", "errors", "help"],
    );
    assert_eq!(
        (&totals["executions"], &totals["errors"]),
        (&json!(8), &json!(2))
    );
    overview["students"]
        .as_array()
        .unwrap()
        .iter()
        .for_each(assert_is_student);
    let buckets = overview["activity"].as_array().unwrap();
    assert!(
        !buckets.is_empty() && buckets.len() <= 300,
        "{} buckets",
        buckets.len()
    );
    assert_has(
        &buckets[0],
        &["at", "executions", "errors", "help", "active"],
    );

    let student = api.room(&format!("/students/{hanako}")).await.good();
    assert_has(
        &student,
        &["id", "name", "status", "executions", "sessions", "cells"],
    );
    assert_has(&student["sessions"][0], &["id", "begun", "ended", "events"]);
    let cell = [
        "notebook",
        "cellId",
        "cellIndex",
        "status",
        "tries",
        "lastAt",
    ];
    assert_has(&student["cells"][0], &cell);
}

#[tokio::test]
async fn the_items_of_lists_have_the_shape_of_the_contract() {
    let server = small_class().await;
    let execution = [
        "eventId",
        "student",
        "notebook",
        "cellId",
        "cellIndex",
        "cellType",
        "status",
        "executionCount",
        "code",
        "error",
        "result",
        "eventTime",
        "receivedAt",
        "at",
    ];
    let help = [
        "id",
        "student",
        "since",
        "until",
        "endedBy",
        "claimedBy",
        "cellId",
    ];
    let event = [
        "eventId",
        "eventType",
        "eventTime",
        "student",
        "receivedAt",
        "position",
    ];

    assert_has(&first(&server, "/executions").await, &execution);
    assert_has(&first(&server, "/events?since=0").await, &event);
    let open = first(&server, "/help").await;
    assert_has(&open, &help);
    assert_eq!(open["until"], Value::Null);
    let lesson = first(&server, "/lessons").await;
    assert_has(&lesson, &["id", "begun", "ended", "endedBy"]);
    assert_eq!(lesson["ended"], Value::Null);
    for rejected in server.api().room("/rejected").await.items() {
        let code = rejected["code"].as_str().unwrap();
        assert!(
            ["unknown_type", "not_an_object"].contains(&code),
            "{rejected}"
        );
    }
    assert!(server.api().room("/dead-letters").await.items().is_empty());
}

#[tokio::test]
async fn the_address_of_a_student_is_in_no_opaque_id() {
    let server = small_class().await;
    let api = server.api();

    let id = id_of(&api, "hanako").await;

    assert!(!id.contains("hanako") && !id.contains('@'), "{id}");
    let listed = api.room("/executions").await.text;
    assert!(
        !listed.contains("@example.ac.jp"),
        "executions show no address"
    );
}

#[tokio::test]
async fn executions_are_filtered_by_what_is_asked_and_newest_first() {
    let server = small_class().await;
    let api = server.api();
    let hanako = id_of(&api, "hanako").await;
    let count = async |filter: &str| {
        api.room(&format!("/executions?{filter}"))
            .await
            .items()
            .len()
    };

    assert_eq!(count("status=ok").await, 5);
    assert_eq!(count("status=error").await, 2);
    assert_eq!(count("status=interrupted").await, 1);
    assert_eq!(count("status=skipped").await, 1);
    assert_eq!(count("status=not_run").await, 1);
    assert_eq!(count(&format!("student={hanako}")).await, 8);
    assert_eq!(count(&format!("student={hanako}&status=error")).await, 2);
    assert_eq!(count("cell=c0").await, 5);
    assert_eq!(count("query=nameerror").await, 2);
    assert_eq!(count("query=F(%27C0").await, 5);
    assert_eq!(count("query=%25").await, 0);
    assert_eq!(count("notebook=%E6%8E%88%E6%A5%AD/nb1.ipynb").await, 10);
    assert_eq!(count("notebook=other.ipynb").await, 0);
    assert_eq!(
        count("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z").await,
        0
    );

    let own = api
        .room(&format!("/students/{hanako}/executions"))
        .await
        .items();
    assert_eq!(own.len(), 8);
    let all = api.room("/executions").await.items();
    assert!(all.is_sorted_by(|a, b| a["at"].as_str() >= b["at"].as_str()));
}

#[tokio::test]
async fn the_table_of_cells_tells_of_each_cell_how_the_class_fared() {
    let server = small_class().await;
    let api = server.api();

    let cells = api
        .room("/cells?notebook=%E6%8E%88%E6%A5%AD/nb1.ipynb")
        .await
        .items();

    // c0: hanako ok, error (her third run is c0's), ok; taro interrupted, then ok
    let told: Vec<_> = cells
        .iter()
        .map(|cell| {
            let names = ["cellId", "cellIndex", "reached", "ok", "errors", "skipped"];
            let mut told: Vec<_> = names.iter().map(|name| cell[name].clone()).collect();
            told.extend(["medianTries", "commonestError"].map(|name| cell[name].clone()));
            Value::from(told)
        })
        .collect();
    let error = "NameError: name 'f' is not defined";
    assert_eq!(
        told,
        [
            json!(["c0", 3, 2, 2, 1, 0, 2.5, error]),
            json!(["c1", 3, 1, 1, 1, 0, 3.0, error]),
            json!(["c9", 3, 0, 0, 0, 1, null, null]),
        ]
    );
    assert!(cells.iter().all(|cell| cell["at"].is_string()));
    assert_eq!(api.room("/cells").await.items(), cells);
    let none = "/cells?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z";
    assert!(api.room(none).await.items().is_empty());
}

#[tokio::test]
async fn pages_put_together_are_the_whole_list() {
    let server = small_class().await;
    let api = server.api();
    let hanako = id_of(&api, "hanako").await;
    let own = format!("/students/{hanako}/executions");

    for path in LISTS.into_iter().chain([own.as_str()]) {
        let whole = api.all(path, 1000).await;
        for limit in [1, 3] {
            assert_eq!(api.all(path, limit).await, whole, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn events_go_on_after_a_position() {
    let server = small_class().await;
    let api = server.api();
    let all = api.all("/events?since=0", 1000).await;
    let fifth = all[4]["position"].as_u64().unwrap();

    let rest = api.all(&format!("/events?since={fifth}"), 2).await;

    assert_eq!(all.len(), 11);
    assert_eq!(rest, all[5..]);
}

#[tokio::test]
async fn wrong_parameters_are_problems() {
    let server = small_class().await;
    let api = server.api();
    for path in LISTS {
        let separator = if path.contains('?') { '&' } else { '?' };
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=many",
            "limit=-1",
            "cursor=no-cursor-of-ours",
        ] {
            let answer = api.room(&format!("{path}{separator}{wrong}")).await;
            assert_eq!(answer.status, 400, "{path} {wrong}: {}", answer.text);
            answer.assert_problem(400);
        }
    }
    for wrong in [
        "/executions?from=yesterday",
        "/executions?to=2026-13-01T00:00:00Z",
        "/executions?status=fine",
        "/overview?from=never",
        "/events?since=first",
        "/events?since=-1",
    ] {
        api.room(wrong).await.assert_problem(400);
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_what_is_to_come_says_so() {
    let server = small_class().await;
    let api = server.api();

    for path in [
        "overview",
        "executions",
        "cells",
        "help",
        "events?since=0",
        "lessons",
        "rejected",
        "students/x",
    ] {
        api.get(&format!("/api/v1/classrooms/no-such-room/{path}"))
            .await
            .assert_problem(404);
    }
    api.room("/students/no-such-student")
        .await
        .assert_problem(404);
    api.room("/no-such-list").await.assert_problem(404);
    api.get("/api/v1/health/actors/no")
        .await
        .assert_problem(404);
    let posted = api
        .call(
            Method::POST,
            &format!("/api/v1/classrooms/{ROOM}/executions"),
        )
        .await;
    posted.assert_problem(405);
    assert!(posted.header("allow").contains("GET"));
    let begin = api
        .post(
            &format!("/api/v1/classrooms/{ROOM}/lessons"),
            &json!({"action": "begin"}),
        )
        .await;
    assert!(
        begin.status >= 400 && begin.text.contains("not_yet"),
        "{} {}",
        begin.status,
        begin.text
    );
}
