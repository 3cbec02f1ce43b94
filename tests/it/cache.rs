//! History that is kept is never older than the contract says, whatever Redis does.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::harness::redis::{Redis, ask, database};
use crate::harness::{
    Api, PATIENCE, Run, Server, ensure, event, eventually, influxdb, now, postgres, run,
};

/// What was answered 202 is in every reading call by then.
const WITHIN: Duration = Duration::from_secs(2);

/// Whether the event is in every answer that may be kept.
async fn is_everywhere(api: &Api, id: &str, executions: u64) -> bool {
    let found = api.room(&format!("/executions?query={id}")).await.good();
    let Some(student) = found["items"][0]["student"].as_str() else {
        return false;
    };
    let overview = api.room("/overview").await.good();
    let buckets = overview["activity"].as_array().unwrap().iter();
    let counted: u64 = buckets.map(|it| it["executions"].as_u64().unwrap()).sum();
    let of_student = api.room(&format!("/students/{student}")).await.good();
    overview["totals"]["executions"] == executions
        && counted == executions
        && of_student["cells"][0]["tries"] == executions
}

#[tokio::test]
async fn what_was_acknowledged_is_in_every_kept_answer_within_two_seconds_whatever_redis_does() {
    let mut redis = Redis::start();
    let url = redis.database();
    let server = Server::with(&[("MIMAMORI_CACHE__URL", &url)]).await;
    let api = server.api();
    let mut executions = 0;

    for word in ["as it is", "freeze", "thaw", "kill", "start"] {
        match word {
            "as it is" => {}
            "start" => {
                redis.say("empty");
                redis.say(word);
            }
            word => redis.say(word),
        }
        for _ in 0..3 {
            executions += 1;
            let id = format!("run-{executions}");
            let mut event = run(&id, "hanako", "cell", Run::Ok);
            event["code"] = id.clone().into();
            api.accepted(&[event]).await;
            let begun = Instant::now();
            let seen = async { while !is_everywhere(&api, &id, executions).await {} };
            let in_time = timeout(WITHIN, seen).await;
            assert!(in_time.is_ok(), "{word}: {id} after {:?}", begun.elapsed());
            // asked again, nothing is older
            assert!(is_everywhere(&api, &id, executions).await, "{word}: {id}");
        }
    }
    let metrics = api.get("/metrics").await.text;
    let counts = |found: &str| {
        metrics.lines().any(|line| {
            line.starts_with("mimamori_cache_reads_total")
                && line.contains(&format!("found=\"{found}\""))
        })
    };
    assert!(counts("memory") && counts("miss"), "{metrics}");
    assert!(metrics.contains("mimamori_cache_redis_failures_total"));
    eventually("redis is used again", PATIENCE, async || {
        api.room(&format!("/executions?query={}", now()))
            .await
            .good();
        ensure(ask(&url, &["DBSIZE"]) != "0", || "it is empty".to_owned())
    })
    .await;
}

#[tokio::test]
async fn it_is_so_at_a_node_of_consoles_too() {
    let (bus, kept) = (database(), database());
    let (records, series) = (postgres::database(), influxdb::database().url());
    let env = [
        ("MIMAMORI_BUS__URL", bus.as_str()),
        ("MIMAMORI_CACHE__URL", &kept),
        ("MIMAMORI_RECORDS__URL", &records),
        ("MIMAMORI_SERIES__URL", &series),
        (
            "MIMAMORI_AUTH__SIGNING_SECRET",
            "0123456789abcdef0123456789abcdef",
        ),
    ];
    let server = Server::with(&env).await;
    // what is never written has no edition that could be believed
    let before = event("before", "notebook_opened", "hanako");
    server.api().accepted(&[before]).await;
    eventually("it is in the records", PATIENCE, async || {
        let found = server.api().room("/events").await.items();
        ensure(found.len() == 1, || format!("{} events", found.len()))
    })
    .await;
    let role = [("MIMAMORI_SERVE__ROLE", "consoles")];
    let node = Server::with(&[&env[..], &role].concat()).await;

    for executions in 1..=5 {
        let id = format!("run-{executions}");
        let mut event = run(&id, "hanako", "cell", Run::Ok);
        event["code"] = id.clone().into();
        server.api().accepted(&[event]).await;
        let begun = Instant::now();
        for api in [node.api(), server.api()] {
            let seen = async { while !is_everywhere(&api, &id, executions).await {} };
            assert!(
                timeout(WITHIN, seen).await.is_ok(),
                "{id} after {:?}",
                begun.elapsed()
            );
        }
    }
}
