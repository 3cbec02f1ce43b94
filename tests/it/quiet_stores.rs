//! Stores that go away while nobody sends anything: health tells it, and that they are back.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::influxdb::Influxd;
use crate::harness::postgres::Postgres;
use crate::harness::{PATIENCE, Server, ensure, eventually};

/// Health names the culprit within 5 s, on a machine that has nothing else to do.
const NAMED_WITHIN: Duration = Duration::from_secs(10);
/// A reading call waits 3 s for a store that hangs, and as above.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(8);
/// For an answer that waits for no store: less than the 3 s of one that does.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn until_degraded(server: &Server, parts: &[&str], within: Duration) -> Duration {
    let began = Instant::now();
    eventually("readiness", within, async || {
        let ready = server.api().get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        ensure(ready.json["degraded"] == json!(parts), || ready.text)
    })
    .await;
    began.elapsed()
}

async fn overview_fails_within(server: &Server, limit: Duration) {
    let began = Instant::now();
    server.api().room("/overview").await.assert_problem(503);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_stops_or_hangs_without_traffic_is_named_until_it_is_back() {
    let mut postgres = Postgres::start();
    let mut influxd = Influxd::start();
    let records = postgres.database();
    let series = influxd.database().url();
    let server = Server::with(&[
        ("MIMAMORI_RECORDS__URL", &records),
        ("MIMAMORI_SERIES__URL", &series),
    ])
    .await;
    until_degraded(&server, &[], PATIENCE).await;

    for (fault, end) in [("stop", "start"), ("freeze", "thaw")] {
        postgres.say(fault);
        let named = until_degraded(&server, &["records"], NAMED_WITHIN).await;
        postgres.say(end);
        let healed = until_degraded(&server, &[], PATIENCE).await;
        println!("  records: {fault}: named after {named:?}, healed {healed:?} after {end}");

        influxd.say(fault);
        // whoever reads first waits for an answer, but not for long; then it is known
        overview_fails_within(&server, GIVEN_UP_WITHIN).await;
        overview_fails_within(&server, AT_ONCE).await;
        let named = until_degraded(&server, &["series"], NAMED_WITHIN).await;
        overview_fails_within(&server, AT_ONCE).await;
        influxd.say(end);
        let healed = until_degraded(&server, &[], PATIENCE).await;
        println!("  series: {fault}: named after {named:?}, healed {healed:?} after {end}");
        server.api().room("/overview").await.good();
    }
}
