//! Nodes that serve only consoles, over a real Redis: the same class at every node, whatever fails.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::proxy::{Mode, Proxy};
use crate::harness::redis::{PASSWORD, Redis, database};
use crate::harness::{
    ADMIN, Console, Ended, INGEST_KEY, PATIENCE, ROOM, Run, Server, ensure, eventually, run,
};

mod behind_nginx;
mod faults;
mod rights;
mod tls;

/// What all nodes sign with: it must stand in no log.
const SIGNING: &str = "signing-secret-not-for-logs-0123456789";
/// Long enough for what is promised within 5 s, on a machine that is busy.
const SOON: Duration = Duration::from_secs(15);

/// A node that takes events in.
async fn ingest_on(url: &str, env: &[(&str, &str)]) -> Server {
    let bus = [
        ("MIMAMORI_BUS__URL", url),
        ("MIMAMORI_AUTH__SIGNING_SECRET", SIGNING),
    ];
    Server::with(&[&bus, env].concat()).await
}

/// A node that serves consoles of the same Redis.
async fn consoles_on(url: &str, env: &[(&str, &str)]) -> Server {
    let role = [("MIMAMORI_SERVE__ROLE", "consoles")];
    ingest_on(url, &[&role, env].concat()).await
}

/// A run of each of so many students.
async fn class_runs(ingest: &Server, round: usize, students: usize) {
    let runs: Vec<_> = (0..students)
        .map(|nth| {
            let how = if (round + nth).is_multiple_of(3) {
                Run::Error
            } else {
                Run::Ok
            };
            run(
                &format!("r{round}-{nth}"),
                &format!("s{nth}"),
                &format!("c{}", round % 4),
                how,
            )
        })
        .collect();
    ingest.api().accepted(&runs).await;
}

/// Students by id, as the node that takes events in knows them.
async fn present(ingest: &Server) -> Value {
    let mut overview = ingest.api().room("/overview").await.good();
    overview["students"].take()
}

/// The console shows what the node that takes events in shows, after it has
/// taken in whatever comes until then.
async fn shows_the_present(console: &mut Console, ingest: &Server) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        console.listen(Duration::from_millis(100)).await;
        let present = present(ingest).await;
        let shown: Vec<_> = console.rooms[ROOM].students.values().cloned().collect();
        if present == json!(shown) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "shown: {shown:#?}\npresent: {present:#}"
        );
    }
}

/// Until a frame of this type came; it is taken out.
async fn is_told(console: &mut Console, kind: &str, within: Duration) -> Value {
    let is = |frame: &Value| frame["type"] == kind;
    console
        .until(within, kind, |console| console.other.iter().any(is))
        .await;
    let place = console.other.iter().position(is).unwrap();
    console.other.remove(place).unwrap()
}

/// What health says of the bus at this node.
async fn bus_of(node: &Server) -> Value {
    let tree = node.api().get("/api/v1/health/actors").await.good();
    let children = tree["children"].as_array().unwrap();
    let bus = children.iter().find(|child| child["name"] == "bus");
    bus.unwrap().clone()
}

/// Until `/readyz` names exactly these.
async fn is_degraded(node: &Server, names: &Value) {
    eventually("what limps is named", SOON, async || {
        let ready = node.stranger().get("/readyz").await;
        ensure(ready.json["degraded"] == *names, || ready.text.clone())
    })
    .await;
}

#[tokio::test]
async fn consoles_of_two_nodes_are_told_the_same_and_each_can_resume_at_the_other() {
    let url = database();
    let ingest = ingest_on(&url, &[]).await;
    class_runs(&ingest, 0, 5).await;
    let node = consoles_on(&url, &[]).await;
    let mut here = Console::watching(&ingest, ROOM).await;
    let mut there = Console::watching(&node, ROOM).await;

    for round in 1..10 {
        class_runs(&ingest, round, 5).await;
    }
    shows_the_present(&mut here, &ingest).await;
    shows_the_present(&mut there, &ingest).await;
    here.level_with(&mut there, ROOM).await;
    // of the events before it came it knows the recent ones only
    there.rooms.get_mut(ROOM).unwrap().events = here.rooms[ROOM].events.clone();
    assert_eq!(here.rooms, there.rooms);

    class_runs(&ingest, 10, 5).await;
    let mut here = here.resume(&node, ROOM).await;
    let mut there = there.resume(&ingest, ROOM).await;
    class_runs(&ingest, 11, 5).await;
    shows_the_present(&mut here, &ingest).await;
    shows_the_present(&mut there, &ingest).await;
    here.level_with(&mut there, ROOM).await;

    assert_eq!(
        (here.snapshots, there.snapshots),
        (0, 0),
        "nothing was lost"
    );
    assert!(here.other.is_empty(), "{:?}", here.other);
    assert_eq!(here.rooms, there.rooms);
    assert_eq!(here.rooms[ROOM].events.len(), 12 * 5);
    assert_eq!(bus_of(&ingest).await["state"], "running");
    assert_eq!(bus_of(&node).await["state"], "running");
}

#[tokio::test]
async fn a_node_that_is_started_again_has_what_its_consoles_missed() {
    let url = database();
    let ingest = ingest_on(&url, &[]).await;
    class_runs(&ingest, 0, 5).await;
    let mut node = consoles_on(&url, &[]).await;
    let mut console = Console::watching(&node, ROOM).await;
    class_runs(&ingest, 1, 5).await;
    shows_the_present(&mut console, &ingest).await;

    node.kill9().await;
    assert_eq!(console.ended(PATIENCE).await, Ended::Gone);
    for round in 2..30 {
        class_runs(&ingest, round, 5).await;
    }
    let node = node.start_again().await;
    let mut console = console.resume(&node, ROOM).await;

    shows_the_present(&mut console, &ingest).await;
    assert_eq!(console.snapshots, 0, "the stream remembers");
    assert!(console.other.is_empty(), "{:?}", console.other);
}

#[tokio::test]
async fn a_node_of_consoles_says_what_it_does_not_do_and_who_does() {
    let url = database();
    let ingest = ingest_on(&url, &[]).await;
    class_runs(&ingest, 0, 1).await;
    let node = consoles_on(&url, &[]).await;
    let api = node.api();

    let event = [run("e", "s", "c", Run::Ok)];
    let refused = [
        api.ingest(&event).await,
        api.get("/api/v1/classrooms/default/overview").await,
        api.get("/api/v1/connect").await,
    ];

    for answer in &refused {
        answer.assert_problem(503);
        assert_eq!(answer.json["code"], "not_at_this_node", "{}", answer.text);
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.contains("serve.role = \"all\""), "{detail}");
    }
    // existing clients try again on it, and a proxy may send them elsewhere then
    assert!(!refused[0].header("retry-after").is_empty());
    let stranger = node.stranger().get("/api/v1/classrooms").await;
    stranger.assert_problem(401);
    assert_eq!(node.stranger().get("/").await.status, 200);
    assert_eq!(node.stranger().get("/metrics").await.status, 200);
    let files: Vec<_> = std::fs::read_dir(node.dir())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["keys", "server.lock", "test.log"].contains(&name.as_str()))
        .collect();
    assert_eq!(files, [""; 0], "it keeps nothing");
    for log in [ingest.log(), node.log()] {
        for secret in [PASSWORD, SIGNING, ADMIN, INGEST_KEY] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[tokio::test]
async fn where_the_records_are_a_server_history_is_read_at_every_node() {
    let url = database();
    let records = crate::harness::postgres::database();
    let env = [("MIMAMORI_RECORDS__URL", records.as_str())];
    let ingest = ingest_on(&url, &env).await;
    class_runs(&ingest, 0, 3).await;
    let node = consoles_on(&url, &env).await;

    eventually("all runs are there", PATIENCE, async || {
        let runs = node.api().all("/executions", 100).await;
        ensure(runs.len() == 3, || format!("{} runs", runs.len()))
    })
    .await;

    // what students do now comes to the other node by another way than their history
    let there = eventually("both tell the same", PATIENCE, async || {
        let here = ingest.api().room("/overview").await.good();
        let there = node.api().room("/overview").await.good();
        let is_same = |part: &str| there[part] == here[part];
        ensure(is_same("students") && is_same("totals"), || {
            format!("{there}, not {here}")
        })?;
        Ok::<_, String>(there)
    })
    .await;
    assert_eq!(there["totals"]["executions"], 3);
    assert_eq!(there["activity"], json!([]));
}

#[tokio::test]
async fn where_the_series_are_a_server_too_the_chart_is_the_same_at_every_node() {
    let url = database();
    let records = crate::harness::postgres::database();
    let series = crate::harness::influxdb::database().url();
    let env = [
        ("MIMAMORI_RECORDS__URL", records.as_str()),
        ("MIMAMORI_SERIES__URL", series.as_str()),
    ];
    let ingest = ingest_on(&url, &env).await;
    class_runs(&ingest, 0, 3).await;
    let node = consoles_on(&url, &env).await;

    eventually("all runs are in both charts", PATIENCE, async || {
        let mut charts = Vec::new();
        for api in [ingest.api(), node.api()] {
            let mut overview = api.room("/overview").await.good();
            charts.push(overview["activity"].take());
        }
        let buckets = charts[1].as_array().unwrap().iter();
        let runs: u64 = buckets.map(|it| it["executions"].as_u64().unwrap()).sum();
        ensure(charts[0] == charts[1] && runs == 3, || {
            format!("{charts:?}")
        })
    })
    .await;
}

#[tokio::test]
async fn a_node_of_consoles_names_the_stores_that_it_cannot_read() {
    let url = database();
    let (records, series) = (
        crate::harness::postgres::database(),
        crate::harness::influxdb::database(),
    );
    let place = |url: &str| url.split(['@', '/']).find_map(|part| part.parse().ok());
    let at_records = place(&records).unwrap();
    let at_series = place(&series.url()).unwrap();
    let (to_records, to_series) = (
        Proxy::before(at_records).await,
        Proxy::before(at_series).await,
    );
    let _ingest = ingest_on(&url, &[("MIMAMORI_RECORDS__URL", &records)]).await;
    let through = [
        (
            "MIMAMORI_RECORDS__URL",
            to_records.instead_of(at_records, &records),
        ),
        (
            "MIMAMORI_SERIES__URL",
            to_series.instead_of(at_series, &series.url()),
        ),
    ];
    let env: Vec<_> = through
        .iter()
        .map(|(name, url)| (*name, url.as_str()))
        .collect();
    let node = consoles_on(&url, &env).await;
    is_degraded(&node, &json!([])).await;

    // nobody reads, and one of them hangs
    to_records.set(Mode::Refuse).await;
    to_series.set(Mode::Hang).await;
    is_degraded(&node, &json!(["records", "series"])).await;
    to_records.set(Mode::Pass).await;
    to_series.set(Mode::Pass).await;

    is_degraded(&node, &json!([])).await;
    // it is told a moment after it is shown
    eventually("it is told that they are back", PATIENCE, async || {
        let back = node.log().matches("the store answers again").count();
        ensure(back == 2, || node.log())
    })
    .await;
}
