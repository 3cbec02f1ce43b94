//! Starts of the server while its database is away, and two servers on one database.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::harness::postgres::{PASSWORD, Postgres, ask, database};
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{Console, PATIENCE, ROOM, Run, Server, ensure, eventually, program, run};

/// A database behind a network that fails on demand: its address, and the one through the proxy.
async fn behind_a_proxy(postgres: &Postgres) -> (Proxy, String, String) {
    let url = postgres.database();
    let proxy = Proxy::before(postgres.address()).await;
    let through = proxy.instead_of(postgres.address(), &url);
    (proxy, url, through)
}

const RECORDS: &str = "MIMAMORI_RECORDS__URL";

async fn server_on(url: &str) -> Server {
    Server::with(&[(RECORDS, url)]).await
}

/// Sends runs with these numbers, and has them answered 202.
async fn send(server: &Server, numbers: std::ops::Range<usize>) {
    let events: Vec<_> = numbers
        .map(|n| run(&format!("e{n}"), &format!("s{}", n % 5), "c", Run::Ok))
        .collect();
    server.api().accepted(&events).await;
}

async fn stored(url: &str, events: usize) {
    eventually("all of it is in the database, once", PATIENCE, async || {
        let sql = "SELECT COUNT(*) || ' ' || COUNT(DISTINCT event_id) FROM events";
        let counted = ask(url, sql);
        ensure(counted == format!("{events} {events}"), || {
            format!("{counted}, expected {events}")
        })
    })
    .await;
}

async fn degraded(server: &Server, parts: serde_json::Value) {
    eventually("health tells it", PATIENCE, async || {
        let ready = server.api().get("/readyz").await;
        ensure(
            ready.status == 200 && ready.json["degraded"] == parts,
            || ready.text,
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_the_database_takes_events_and_stores_them_when_it_comes() {
    let postgres = Postgres::start();
    let (proxy, url, through) = behind_a_proxy(&postgres).await;
    let mut server = server_on(&through).await;
    send(&server, 0..10).await;
    stored(&url, 10).await;
    let mut sent = 10;

    for mode in [Mode::Refuse, Mode::Hang] {
        server.kill9().await;
        proxy.set(mode).await;
        server = server.start_again().await;

        send(&server, sent..sent + 10).await;
        sent += 10;
        degraded(&server, json!(["records"])).await;
        let refused = server.api().room("/events?since=0").await;
        refused.assert_problem(503);
        assert_ne!(refused.header("retry-after"), "", "{mode:?}");
        let mut console = Console::watching(&server, ROOM).await;
        console
            .until(PATIENCE, "what was done meanwhile", |console| {
                console.rooms[ROOM].sum("executions") == sent as u64
            })
            .await;
        // also what a start without the database was told of comes through a further one
        server.kill9().await;
        server = server.start_again().await;
        send(&server, sent..sent + 1).await;
        sent += 1;

        proxy.set(Mode::Pass).await;
        stored(&url, sent).await;
        degraded(&server, json!([])).await;
        assert_eq!(server.api().all("/events?since=0", 100).await.len(), sent);
        assert!(!server.dir().join("records-unseen.json").exists());
    }
    assert!(!server.log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_turns_out_to_be_beyond_the_journal_ends_the_server_with_one_line() {
    let postgres = Postgres::start();
    let (proxy, url, through) = behind_a_proxy(&postgres).await;
    let mut server = server_on(&through).await;
    send(&server, 0..10).await;
    stored(&url, 10).await;
    server.kill9().await;
    ask(&url, "UPDATE offsets SET position = position + 20");
    let known = ask(&url, "SELECT MAX(position) FROM offsets");
    proxy.set(Mode::Refuse).await;
    let mut server = server.start_again().await;
    // more than it is beyond: the next start would not see it by the journal's end
    send(&server, 10..50).await;

    proxy.set(Mode::Pass).await;

    let status = server.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(1));
    let told = last_line(&server.log());
    let said = format!("the records are at position {known} of a journal that ends at");
    assert!(told.contains(&said), "{told}");
    assert_eq!(
        start_that_ends(server.dir(), (RECORDS, &through)).await,
        told
    );
}

fn last_line(log: &str) -> String {
    log.trim().lines().last().unwrap_or_default().to_owned()
}

/// The last line of a start that ends by itself with 1.
pub async fn start_that_ends(dir: &std::path::Path, env: (&str, &str)) -> String {
    let starting = program(dir)
        .arg("serve")
        .env(env.0, env.1)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output();
    let output = timeout(PATIENCE, starting).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    last_line(&String::from_utf8(output.stderr).unwrap())
}

fn command(name: &str, arguments: &[&str]) {
    let output = std::process::Command::new(name).args(arguments).output();
    let output = output.expect("PostgreSQL's own tools are there: scripts/test.sh installs them");
    assert!(output.status.success(), "{name}: {output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_back_as_it_was_before_is_filled_from_the_journal() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let (server_url, name) = url.rsplit_once('/').unwrap();
    let others = format!("{server_url}/postgres");
    let server = server_on(&url).await;
    let kept = tempfile::tempdir().unwrap();
    let dump = kept.path().join("dump").to_string_lossy().into_owned();
    send(&server, 0..20).await;
    stored(&url, 20).await;
    command("pg_dump", &["-Fc", "-f", &dump, "-d", &url]);
    send(&server, 20..40).await;
    stored(&url, 40).await;

    ask(&others, &format!("DROP DATABASE {name} WITH (FORCE)"));
    ask(
        &others,
        &format!("CREATE DATABASE {name} TEMPLATE template0"),
    );
    send(&server, 40..50).await;
    eventually("what to do is told", PATIENCE, async || {
        let tree = server.api().actor("records").await.unwrap();
        let told = tree["lastError"].to_string();
        ensure(
            told.contains("restore a backup, or run `mimamori migrate`"),
            || told,
        )
    })
    .await;
    command("pg_restore", &["--single-transaction", "-d", &url, &dump]);

    stored(&url, 50).await;
    send(&server, 50..60).await;
    stored(&url, 60).await;
    degraded(&server, json!([])).await;
    let hours = ask(&url, "SELECT SUM(executions) FROM executions_hours");
    assert_eq!(hours, "60");
    assert!(server.log().contains("they were at"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_a_database_ends_and_follows_one_that_was_killed_at_once() {
    let url = database();
    let mut first = server_on(&url).await;
    send(&first, 0..10).await;
    stored(&url, 10).await;
    let second = tempfile::tempdir().unwrap();

    let told = start_that_ends(second.path(), (RECORDS, &url)).await;

    assert!(told.contains("another server writes into it"), "{told}");
    assert!(told.contains("from 127.0.0.1"), "{told}");
    // the first one did not notice, and not even a session that is ended lets another one in
    ask(
        &url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    send(&first, 10..20).await;
    stored(&url, 20).await;
    first.kill9().await;
    let began = tokio::time::Instant::now();
    let next = server_on(&url).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    send(&next, 20..30).await;
    stored(&url, 30).await;
}
