//! A real replica of the records' database: reading calls go there, and never tell less for it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::postgres::{PASSWORD, Postgres, ask};
use crate::harness::{
    ALWAYS, Api, PATIENCE, ROOM, Run, Server, ensure, eventually, help, program, redis, run,
};

/// A replica that hangs costs a reading call about a second (a look every 250 ms, 750 ms for its
/// answer); on a machine that is busy with other things too:
const HANGS_FOR: Duration = Duration::from_secs(5);
const SIGNING: &str = "signing-secret-not-for-logs-0123456789";

/// A database, and where its replica has it.
struct Pair {
    primary: Postgres,
    replica: Postgres,
    url: String,
    read_url: String,
}

impl Pair {
    fn start() -> Self {
        let primary = Postgres::start();
        let replica = primary.replica();
        let url = primary.database();
        let read_url = replica.same(&url);
        Self {
            primary,
            replica,
            url,
            read_url,
        }
    }

    fn env(&self) -> [(&str, &str); 2] {
        [
            ("MIMAMORI_RECORDS__URL", &self.url),
            ("MIMAMORI_RECORDS__READ_URL", &self.read_url),
        ]
    }

    /// Statements of reading calls that the server at this address was given, how often each.
    fn statements(url: &str) -> BTreeMap<String, u64> {
        let counted = ask(
            url,
            "SELECT md5(query) || ' ' || SUM(calls) FROM pg_stat_statements \
             JOIN pg_database d ON d.oid = dbid WHERE datname = current_database() \
             AND query ~ '^(SELECT|WITH)' AND query !~ 'pg_' GROUP BY md5(query)",
        );
        let lines = counted.lines().map(|line| line.split_once(' ').unwrap());
        lines
            .map(|(query, calls)| (query.to_owned(), calls.parse().unwrap()))
            .collect()
    }

    /// Has the replica's log `pause` or `resume`.
    fn say_of_log(&self, what: &str) {
        // in a database of which it takes nothing away: it would break this off
        let elsewhere = self.replica.same("/postgres");
        ask(&elsewhere, &format!("SELECT pg_wal_replay_{what}()"));
    }
}

/// Sends runs with these numbers, of five students.
async fn send(server: &Server, numbers: std::ops::Range<usize>) {
    let events: Vec<_> = numbers
        .map(|n| run(&format!("e{n}"), &format!("s{}", n % 5), "c", Run::Ok))
        .collect();
    server.api().accepted(&events).await;
}

/// Waits until reading calls go to the replica, or do no more.
async fn is_read(api: &Api, expected: bool) {
    eventually("who is read", PATIENCE, async || {
        let ready = api.get("/readyz").await;
        let degraded = ready.json["degraded"].to_string();
        let is_named = degraded.contains("records-replica");
        let answered_by = if expected { "replica" } else { "primary" };
        let before = calls(api, answered_by).await;
        api.room("/lessons").await.good();
        let after = calls(api, answered_by).await;
        let one = api.actor("records-replica").await.unwrap_or_default();
        ensure(is_named != expected && after > before, || {
            format!("{degraded}, {before} then {after} by the {answered_by}: {one}")
        })
    })
    .await;
}

async fn calls(api: &Api, side: &str) -> u64 {
    let metrics = api.get("/metrics").await.text;
    let name = format!("mimamori_records_replica_calls_total{{side=\"{side}\"}} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(&name));
    found.map_or(0, |count| count.parse().unwrap())
}

async fn has_all(api: &Api, events: usize) {
    eventually("all of it is told", PATIENCE, async || {
        let told = api.all("/events?since=0", 1_000).await.len();
        ensure(told == events, || format!("{told} of {events}"))
    })
    .await;
}

async fn student(api: &Api, name: &str) -> String {
    let overview = api.room("/overview").await.good();
    let students = overview["students"].as_array().unwrap();
    let name = format!("学生 {name}");
    let student = students.iter().find(|it| it["name"] == name.as_str());
    student.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Every reading call, each asked as nobody has asked before.
async fn every_call(api: &Api) -> Vec<String> {
    let id = student(api, "s1").await;
    let range = "from=2026-01-01T00:00:07Z&to=2200-01-01T00:00:00Z";
    let mut calls = vec!["/api/v1/classrooms".to_owned()];
    let of_room = [
        format!("/overview?{range}"),
        format!("/students/{id}?{range}"),
        format!("/students/{id}/executions?{range}"),
        format!("/executions?{range}&query=c"),
        format!("/cells?{range}"),
        format!("/help?{range}"),
        "/events?since=0&limit=7".to_owned(),
        format!("/lessons?{range}"),
        format!("/rejected?{range}"),
        format!("/dead-letters?{range}"),
    ];
    calls.extend(of_room.map(|path| format!("/api/v1/classrooms/{ROOM}{path}")));
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reading_call_is_answered_by_the_replica_as_long_as_that_is_as_fresh() {
    let pair = Pair::start();
    ask(&pair.url, "CREATE EXTENSION pg_stat_statements");
    let server = Server::with(&pair.env()).await;
    let api = server.api();
    send(&server, 0..40).await;
    api.accepted(&[help("help", "s1", true)]).await;
    has_all(&api, 41).await;
    is_read(&api, true).await;

    let paths = every_call(&api).await;
    let before = Pair::statements(&pair.read_url);
    let at_primary = Pair::statements(&pair.url);
    let mut asked = before.clone();
    for path in paths {
        api.get(&path).await.good();
        let now = Pair::statements(&pair.read_url);
        assert_ne!(now, asked, "{path} was not answered by the replica");
        asked = now;
    }
    let primary_now = Pair::statements(&pair.url);
    for query in asked.keys().filter(|it| asked.get(*it) != before.get(*it)) {
        assert_eq!(primary_now.get(query), at_primary.get(query), "{query}");
    }

    lags(&pair, &server).await;
    assert!(!server.log().contains(PASSWORD), "{}", server.log());
}

/// While the replica lags nothing is missing, and nobody is shown who was erased.
async fn lags(pair: &Pair, server: &Server) {
    let api = server.api();
    let id = student(&api, "s1").await;
    pair.say_of_log("pause");

    // at any moment of it an answer is at most 2 s old
    for round in 1..=3 {
        let sent = 40 + round * 5;
        send(server, sent - 5..sent).await;
        let begun = Instant::now();
        let newest = format!("/executions?{ALWAYS}&limit=1");
        while api.room(&newest).await.good()["items"][0]["eventId"] != format!("e{}", sent - 1) {
            assert!(begun.elapsed() < HANGS_FOR, "round {round}");
        }
    }
    is_read(&api, false).await;
    has_all(&api, 56).await;
    assert_eq!(ask(&pair.read_url, "SELECT COUNT(*) FROM events"), "41");

    let output = program(server.dir())
        .args(["erase", "--student", "s1@example.ac.jp", "--yes"])
        .envs(pair.env())
        .stdin(Stdio::null())
        .output();
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    is_nowhere(&api, &id).await;
    let rows = format!("SELECT COUNT(*) FROM events WHERE student = '{id}'");
    assert_ne!(ask(&pair.read_url, &rows), "0");
    assert_eq!(ask(&pair.url, &rows), "0");

    pair.say_of_log("resume");
    is_read(&api, true).await;
    assert_eq!(ask(&pair.read_url, &rows), "0");
    is_nowhere(&api, &id).await;
}

/// The student stands in no answer.
async fn is_nowhere(api: &Api, id: &str) {
    for path in [
        "/overview".to_owned(),
        "/events?since=0&limit=1000".to_owned(),
        "/help".to_owned(),
        format!("/executions?{ALWAYS}&limit=1000"),
    ] {
        let told = api.room(&path).await.good().to_string();
        assert!(!told.contains(id), "{path}: {told}");
    }
    assert_eq!(api.room(&format!("/students/{id}")).await.status, 404);
}

/// An answer that nobody has asked for before, and how long it took.
async fn timed(api: &Api, nth: usize) -> Duration {
    let begun = Instant::now();
    let path = format!("/executions?from=2026-01-01T00:00:00.{nth:03}Z&to=2200-01-01T00:00:00Z");
    let items = api.room(&path).await.items();
    assert!(!items.is_empty());
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_hangs_dies_or_is_not_there_at_the_start_costs_a_moment_and_comes_back() {
    let mut pair = Pair::start();
    let server = Server::with(&pair.env()).await;
    send(&server, 0..20).await;
    has_all(&server.api(), 20).await;
    is_read(&server.api(), true).await;

    let mut nth = 0;
    for (ends, begins) in [("freeze", "thaw"), ("kill", "start")] {
        pair.replica.say(ends);
        let api = server.api();
        for _ in 0..10 {
            nth += 1;
            let took = timed(&api, nth).await;
            assert!(took < HANGS_FOR, "{ends}: {took:?}");
        }
        is_read(&api, false).await;
        let begun = Instant::now();
        let one = api.actor("records-replica").await.unwrap();
        assert_eq!(one["state"], "backoff", "{one}");
        nth += 1;
        timed(&api, nth).await;
        assert!(begun.elapsed() < HANGS_FOR, "nobody waits for it any more");

        pair.replica.say(begins);
        is_read(&api, true).await;
    }

    pair.replica.say("stop");
    let server = server.start_again().await;
    let api = server.api();
    timed(&api, nth + 1).await;
    assert_eq!(calls(&api, "replica").await, 0);
    pair.replica.say("start");
    is_read(&api, true).await;
    follows_nobody(&mut pair, &api).await;
}

/// Without a primary the replica tells what it has; made a primary, it is read no more.
async fn follows_nobody(pair: &mut Pair, api: &Api) {
    pair.primary.say("stop");
    eventually("what is there is told", PATIENCE, async || {
        let answer = api.room(&format!("/executions?{ALWAYS}&query=c")).await;
        ensure(answer.status == 200, || answer.text)
    })
    .await;
    pair.primary.say("start");
    is_read(api, true).await;

    ask(&pair.read_url, "SELECT pg_promote()");

    is_read(api, false).await;
    let one = api.actor("records-replica").await.unwrap();
    let told = one["lastError"].to_string();
    assert!(told.contains("is no replica"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_consoles_reads_at_its_replica_too() {
    let pair = Pair::start();
    let bus = redis::database();
    let nodes = [
        ("MIMAMORI_BUS__URL", bus.as_str()),
        ("MIMAMORI_AUTH__SIGNING_SECRET", SIGNING),
    ];
    let records = [("MIMAMORI_RECORDS__URL", pair.url.as_str())];
    let ingest = Server::with(&[&nodes[..], &records].concat()).await;
    let role = [("MIMAMORI_SERVE__ROLE", "consoles")];
    let consoles = Server::with(&[&nodes[..], &role, &pair.env()].concat()).await;
    let api = consoles.api();
    send(&ingest, 0..20).await;
    has_all(&api, 20).await;
    is_read(&api, true).await;

    pair.say_of_log("pause");
    send(&ingest, 20..40).await;
    has_all(&api, 40).await;
    is_read(&api, false).await;
    assert_eq!(total(&api).await, json!(40));

    pair.say_of_log("resume");
    is_read(&api, true).await;
    // longer than an edition is believed, and than a replica may be behind
    sleep(Duration::from_millis(1_300)).await;
    assert_eq!(total(&api).await, json!(40));
}

async fn total(api: &Api) -> Value {
    let overview = api.room(&format!("/overview?{ALWAYS}")).await.good();
    overview["totals"]["executions"].clone()
}
