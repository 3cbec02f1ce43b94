//! Health, metrics, the tree of actors, request ids.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use super::{assert_has, small_class};
use crate::harness::{ADMIN, Api, INGEST_KEY, PATIENCE, Run, Server, ensure, eventually, run};

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

#[tokio::test]
async fn the_tree_of_actors_is_told_with_its_sessions_folded() {
    let server = small_class().await;
    let actors = server.api().actors().await;

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
        PATIENCE,
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

    assert_eq!(with_id("req-42.a_b").await, "req-42.a_b");
    let replaced = with_id("<script>alert(1)</script>").await;
    assert!(
        !replaced.is_empty() && !replaced.contains('<'),
        "{replaced}"
    );
    let own = stranger.get("/no/such/path").await;
    own.assert_problem(404);
    assert_ne!(own.header("x-request-id"), with_id("").await);
}
