//! InfluxDB is away while people are erased.

use super::*;
use crate::harness::influxdb::Influxd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_series_are_away_everything_else_goes_and_the_points_when_they_are_back() {
    let mut influxd = Influxd::start();
    let database = influxd.database();
    let server = Server::with(&[("MIMAMORI_SERIES__URL", &database.url())]).await;
    leave_traces(&server, "first").await;
    others(&server, "before", 7).await;
    all_in_the_records(&server, 13).await;
    let erika = person_id(&server).await;
    let points = async |expected: u64| {
        eventually("the points are as they should", PATIENCE, async || {
            let all = "SELECT COUNT(position) FROM mimamori_events WHERE kind != 'help_opened'";
            let found = database.count(all);
            ensure(found == expected, || format!("{found} of {expected}"))
        })
        .await;
    };
    points(13).await;

    influxd.say("stop");
    let first = erase(&server, None).await;
    let other = ["erase", "--student", "other0@example.ac.jp", "--yes"];
    let second = call(&server, None, &other).await;

    for output in [first, second] {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("not everything is erased: "), "{said}");
    }
    assert_eq!(found_in(server.dir(), &MARKS), [""; 0]);
    // the next start tries both: one that cannot be is in nobody's way
    let server = server.start_again().await;
    eventually("both were tried", PATIENCE, async || {
        let metrics = server.api().get("/metrics").await.text;
        let tried = metrics.contains("mimamori_erasure_failures_total 2\n");
        ensure(tried, || metrics)
    })
    .await;
    influxd.say("start");
    let server = server.start_again().await;
    points(6).await;
    nothing_is_left(&server, None, &erika).await;
    nothing_is_shown(&server, &erika).await;
}
