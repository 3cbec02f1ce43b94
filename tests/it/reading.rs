//! The reading calls (contract, section 6) and health (section 7): shape, paging, limits, rights.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    ADMIN, Answer, Api, INGEST_KEY, READABLE, ROOM, Run, Server, assert_is_student, ensure,
    eventually, help, markdown, now, run, skipped,
};

/// Every list of a classroom.
const LISTS: [&str; 6] = [
    "/executions",
    "/help",
    "/events?since=0",
    "/lessons",
    "/rejected",
    "/dead-letters",
];

/// A small class: two students, ten cells, a call for help, two refused events.
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
    eventually("everything can be read", READABLE, async || {
        let (cells, rejected, open) = (
            api.room("/executions").await.items().len(),
            api.room("/rejected").await.items().len(),
            api.room("/help").await.items().len(),
        );
        let students = api.room("/overview").await.good()["students"]
            .as_array()
            .unwrap()
            .len();
        ensure((cells, rejected, open, students) == (10, 2, 1, 2), || {
            format!(
                "{cells} cells, {rejected} rejected, {open} calls for help, {students} students"
            )
        })
    })
    .await;
    server
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

#[tokio::test]
async fn every_reading_call_has_the_shape_of_the_contract() {
    let server = small_class().await;
    let api = server.api();
    let hanako = id_of(&api, "hanako").await;

    let classrooms = api.get("/api/v1/classrooms").await.good();
    let room = classrooms["items"]
        .as_array()
        .or(classrooms.as_array())
        .unwrap()[0]
        .clone();
    assert_has(&room, &["id", "name", "students", "active"]);
    assert_eq!((&room["id"], &room["students"]), (&json!(ROOM), &json!(2)));

    let overview = api.room("/overview").await.good();
    assert_has(
        &overview["totals"],
        &["students", "active", "executions", "errors", "help"],
    );
    assert_eq!(overview["totals"]["executions"], 8);
    assert_eq!(overview["totals"]["errors"], 2);
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
    assert_has(
        &student["cells"][0],
        &[
            "notebook",
            "cellId",
            "cellIndex",
            "status",
            "tries",
            "lastAt",
        ],
    );

    let execution = &api.room("/executions").await.items()[0];
    let expected = [
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
    assert_has(execution, &expected);

    let help = &api.room("/help").await.items()[0];
    assert_has(
        help,
        &[
            "id",
            "student",
            "since",
            "until",
            "endedBy",
            "claimedBy",
            "cellId",
        ],
    );
    assert_eq!(help["until"], Value::Null);

    let event = &api.room("/events?since=0").await.items()[0];
    assert_has(
        event,
        &[
            "eventId",
            "eventType",
            "eventTime",
            "student",
            "receivedAt",
            "position",
        ],
    );

    let lesson = &api.room("/lessons").await.items()[0];
    assert_has(lesson, &["id", "begun", "ended", "endedBy"]);
    assert_eq!(lesson["ended"], Value::Null);

    for rejected in api.room("/rejected").await.items() {
        let code = rejected["code"].as_str().unwrap();
        assert!(
            ["unknown_type", "not_an_object"].contains(&code),
            "{rejected}"
        );
    }
    assert!(api.room("/dead-letters").await.items().is_empty());
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

#[tokio::test]
async fn nothing_is_read_without_the_right_to() {
    let server = small_class().await;
    let rooms: Vec<_> = LISTS
        .iter()
        .map(|list| format!("/api/v1/classrooms/{ROOM}{list}"))
        .collect();
    let others = ["/api/v1/classrooms", "/api/v1/health/actors"].map(str::to_owned);
    for path in rooms.iter().chain(&others) {
        server.stranger().get(path).await.assert_problem(401);
        server
            .stranger()
            .holding("no-such-token")
            .get(path)
            .await
            .assert_problem(401);
        server
            .stranger()
            .holding(INGEST_KEY)
            .get(path)
            .await
            .assert_problem(403);
        let keyed = server
            .stranger()
            .get(&format!("{path}?key={INGEST_KEY}"))
            .await;
        assert!(
            [401, 403].contains(&keyed.status),
            "{path}: {}",
            keyed.status
        );
    }
    let restart = "/api/v1/admin/actors/router/restart";
    server
        .stranger()
        .call(Method::POST, restart)
        .await
        .assert_problem(401);
}

// signing in

async fn sign_in(server: &Server, token: &str) -> Answer {
    server
        .stranger()
        .post("/api/v1/session", &json!({ "token": token }))
        .await
}

async fn with_cookie(server: &Server, method: Method, path: &str, cookie: &str) -> Answer {
    let request = server
        .stranger()
        .request(method, path)
        .header("Cookie", cookie);
    Api::send(request.header("Origin", server.base()))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_token_is_changed_for_a_cookie_that_reads_until_it_is_signed_out() {
    let server = small_class().await;
    let rooms = "/api/v1/classrooms";

    let answer = sign_in(&server, ADMIN).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text);
    let set = answer.header("set-cookie").to_owned();
    let cookie = set.split(';').next().unwrap();
    let before = with_cookie(&server, Method::GET, rooms, cookie).await;
    let out = with_cookie(&server, Method::DELETE, "/api/v1/session", cookie).await;
    let after = with_cookie(&server, Method::GET, rooms, cookie).await;

    assert!(set.starts_with("mimamori_session="), "{set}");
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax"),
        "{set}"
    );
    assert!(!set.contains(ADMIN), "the cookie is not the token");
    assert_eq!(before.status, 200, "{}", before.text);
    assert!((200..300).contains(&out.status), "{}", out.text);
    after.assert_problem(401);
}

#[tokio::test]
async fn a_wrong_token_signs_nobody_in() {
    let server = Server::start().await;

    for token in ["", "wrong", INGEST_KEY] {
        let answer = sign_in(&server, token).await;
        assert!(
            [401, 403].contains(&answer.status),
            "{token:?}: {}",
            answer.status
        );
        assert_eq!(answer.header("set-cookie"), "");
    }
    let odd = server
        .stranger()
        .post("/api/v1/session", &json!({"token": 7}))
        .await;
    assert!((400..500).contains(&odd.status), "{}", odd.status);
}

// health

#[tokio::test]
async fn health_is_told() {
    let server = small_class().await;
    let stranger = server.stranger();

    assert_eq!(stranger.get("/livez").await.status, 200);
    let ready = stranger.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    let metrics = stranger.get("/metrics").await;
    assert_eq!(metrics.status, 200, "loopback may");
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(metrics.text.contains("mimamori_"), "{}", metrics.text);
    for secret in ["hanako", "taro", INGEST_KEY, ADMIN] {
        assert!(!metrics.text.contains(secret), "{secret} in the metrics");
    }
}

#[tokio::test]
async fn metrics_are_for_whom_the_configuration_names_and_for_the_admin() {
    let server = Server::with(&[("MIMAMORI_HTTP__METRICS_FROM", "192.0.2.1")]).await;

    let stranger = server.stranger().get("/metrics").await;
    let admin = server.api().get("/metrics").await;

    assert!([401, 403].contains(&stranger.status), "{}", stranger.status);
    assert_eq!(admin.status, 200, "{}", admin.text);
}

fn walk<'a>(actor: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(actor);
    for child in actor["children"].as_array().into_iter().flatten() {
        walk(child, found);
    }
}

#[tokio::test]
async fn the_tree_of_actors_is_told_with_its_sessions_folded() {
    let server = small_class().await;
    let tree = server.api().get("/api/v1/health/actors").await.good();
    let mut actors = Vec::new();
    walk(&tree, &mut actors);

    for actor in &actors {
        let expected = [
            "name",
            "kind",
            "state",
            "uptimeMs",
            "mailboxDepth",
            "oldestMessageMs",
            "processed",
            "restarts",
            "lastError",
            "lastProgressMs",
            "children",
            "childCount",
        ];
        assert_has(actor, &expected);
        let state = actor["state"].as_str().unwrap();
        assert!(["starting", "running"].contains(&state), "{actor}");
    }
    let names: BTreeSet<_> = actors
        .iter()
        .map(|actor| actor["name"].as_str().unwrap())
        .collect();
    for name in [
        "root",
        "journal",
        "sessions",
        "router",
        "classrooms",
        "writers",
        "records",
        "series",
        "consoles",
        "bus",
        "housekeeping",
    ] {
        assert!(names.contains(name), "no {name} in {names:?}");
    }
    let sessions = actors
        .iter()
        .find(|actor| actor["name"] == "sessions")
        .unwrap();
    assert!(sessions["childCount"].as_u64().unwrap() >= 2, "{sessions}");

    let page = server
        .api()
        .get("/api/v1/health/actors?kind=session")
        .await
        .items();
    assert_eq!(page.len(), 2);
    assert!(
        page.iter().all(|actor| actor["kind"] == "session"),
        "{page:?}"
    );
}

#[tokio::test]
async fn a_subtree_is_restarted_on_demand_and_nothing_is_lost() {
    let server = small_class().await;
    let api = server.api();
    let before = api.room("/overview").await.good()["students"].clone();

    for name in ["router", "records"] {
        let answer = api
            .call(
                Method::POST,
                &format!("/api/v1/admin/actors/{name}/restart"),
            )
            .await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.text);
    }
    api.call(Method::POST, "/api/v1/admin/actors/no-such-actor/restart")
        .await
        .assert_problem(404);
    api.accepted(&[run("after", "jiro", "c1", Run::Ok)]).await;

    eventually(
        "the third student is there, the others as before",
        READABLE * 3,
        async || {
            let students = api.room("/overview").await.good()["students"].clone();
            let students = students.as_array().unwrap();
            let cells = api.room("/executions").await.items().len();
            let is_kept = before.as_array().unwrap().iter().all(|old| {
                let same =
                    |new: &&Value| new["id"] == old["id"] && new["executions"] == old["executions"];
                students.iter().any(|new| same(&new))
            });
            ensure(students.len() == 3 && is_kept && cells == 11, || {
                format!("{students:?}, {cells} cells")
            })
        },
    )
    .await;
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let server = Server::start().await;
    let stranger = server.stranger();
    let with_id = async |id: &str| {
        let request = stranger
            .request(Method::GET, "/livez")
            .header("X-Request-Id", id);
        Api::send(request)
            .await
            .unwrap()
            .header("x-request-id")
            .to_owned()
    };

    assert_eq!(with_id("req-42.a:b_c").await, "req-42.a:b_c");
    let replaced = with_id("<script>alert(1)</script>").await;
    assert!(
        !replaced.is_empty() && !replaced.contains('<'),
        "{replaced}"
    );
    let own = stranger.get("/no/such/path").await;
    own.assert_problem(404);
    assert_ne!(own.header("x-request-id"), with_id("").await);
    assert!(now() > String::new());
}
