//! The commands beside a running server.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::{command, complained, said};
use crate::harness::{
    ADMIN, Api, Console, INGEST_KEY, PATIENCE, ROOM, Run, Server, ensure, eventually, run,
};

#[tokio::test]
async fn link_prints_the_ingest_address_and_a_link_that_signs_in() {
    let server = Server::start().await;

    let output = command(server.dir(), &["link"], &[]).await;

    assert!(output.status.success(), "{}", complained(&output));
    let printed = said(&output);
    let words: Vec<_> = printed.split_whitespace().collect();
    let ingest = words
        .iter()
        .find(|word| word.contains(&format!("/k/{INGEST_KEY}")))
        .unwrap();
    assert!(ingest.starts_with(&server.base()), "{printed}");
    let link = words.iter().find(|word| word.contains("#token=")).unwrap();
    assert!(link.starts_with(&server.base()), "{printed}");
    let (_, token) = link.split_once("#token=").unwrap();
    assert_ne!(token, ADMIN);
    let signed_in = server
        .stranger()
        .post("/api/v1/session", &json!({ "token": token }))
        .await;
    let cookie = signed_in
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let rooms = server
        .stranger()
        .request(Method::GET, "/api/v1/classrooms")
        .header("Cookie", &cookie);
    assert_eq!(
        Api::send(rooms).await.unwrap().status,
        200,
        "{}",
        signed_in.text
    );
    let actors = server
        .stranger()
        .request(Method::GET, "/api/v1/health/actors")
        .header("Cookie", cookie);
    assert_eq!(
        Api::send(actors).await.unwrap().status,
        403,
        "a link takes no part in administration"
    );
}

#[tokio::test]
async fn secrets_are_printed_to_a_terminal_only() {
    let server = Server::start().await;
    server.api().get("/api/v1/classrooms").await.good();

    let log = server.log();

    for secret in [ADMIN, INGEST_KEY, "#token="] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn the_recorded_requests_are_replayed_by_the_tool_too() {
    let server = Server::start().await;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cell-monitor");

    let output = command(
        server.dir(),
        &[
            "replay",
            fixtures.to_str().unwrap(),
            "--url",
            &server.base(),
            "--key",
            INGEST_KEY,
        ],
        &[],
    )
    .await;

    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        complained(&output)
    );
    eventually("all of them can be read", PATIENCE, async || {
        let events = server.api().all("/events?since=0", 100).await;
        ensure(events.len() == 36, || format!("{} events", events.len()))
    })
    .await;
}

#[tokio::test]
async fn a_simulated_class_comes_alive_on_a_console() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let url = format!("{}/k/{INGEST_KEY}/api/v1/events", server.base());

    let simulate = [
        "simulate",
        "--students",
        "20",
        "--speed",
        "60",
        "--duration",
        "3",
        "--seed",
        "7",
        "--url",
        &url,
    ];
    let (output, ()) = tokio::join!(
        command(server.dir(), &simulate, &[]),
        console.until(PATIENCE, "students move", |console| {
            let room = &console.rooms[ROOM];
            room.students.len() >= 10 && room.sum("executions") >= 5
        })
    );

    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        complained(&output)
    );
    assert_eq!(
        server.api().room("/rejected").await.items(),
        Vec::<Value>::new()
    );
}

#[tokio::test]
async fn the_journal_is_inspected_beside_a_running_server() {
    let server = Server::start().await;
    server
        .api()
        .accepted(&[run("e1", "a", "c", Run::Ok), run("e2", "a", "c", Run::Ok)])
        .await;

    let dir = server.dir().to_str().unwrap();
    let output = command(server.dir(), &["journal", "inspect", dir], &[]).await;

    assert!(output.status.success(), "{}", complained(&output));
    assert!(
        !said(&output).contains("@example.ac.jp"),
        "no address is shown: {}",
        said(&output)
    );
}

#[tokio::test]
async fn health_says_whether_the_server_takes_events() {
    let mut server = Server::start().await;
    let dir = server.dir().to_owned();

    let while_it_runs = command(&dir, &["health"], &[]).await;
    server.kill9().await;
    let afterwards = command(&dir, &["health"], &[]).await;

    assert!(
        while_it_runs.status.success(),
        "{}",
        complained(&while_it_runs)
    );
    assert!(
        said(&while_it_runs).contains("ready"),
        "{}",
        said(&while_it_runs)
    );
    assert_eq!(afterwards.status.code(), Some(1));
    assert!(complained(&afterwards).contains("no server runs"));
}
