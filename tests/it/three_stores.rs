//! PostgreSQL, InfluxDB and Redis hang at the same time.

use std::time::Duration;

use crate::harness::influxdb::Influxd;
use crate::harness::postgres::Postgres;
use crate::harness::redis::Redis;
use crate::harness::{PATIENCE, Senders, Server, ensure, eventually};
use crate::postgres::{CLASS, NAMED_WITHIN, Watch, all_there_once, end_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stores_that_hang_at_once_are_named_and_noticed_by_nobody_but_readers() {
    let (mut postgres, mut influxd, mut redis) =
        (Postgres::start(), Influxd::start(), Redis::start());
    let (records, series) = (postgres.database(), influxd.database());
    let (bus, cache) = (redis.database(), redis.database());
    let server = Server::with(&[
        ("MIMAMORI_RECORDS__URL", &records),
        ("MIMAMORI_SERIES__URL", &series.url()),
        ("MIMAMORI_BUS__URL", &bus),
        ("MIMAMORI_CACHE__URL", &cache),
        (
            "MIMAMORI_AUTH__SIGNING_SECRET",
            "signing-secret-not-for-logs-0123456789",
        ),
    ])
    .await;
    let senders = Senders::begin(&server, "class", CLASS);
    let mut watch = Watch::on(&server).await;
    watch.go_on_for(Duration::from_millis(500)).await;

    postgres.say("freeze");
    influxd.say("freeze");
    redis.say("freeze");
    let named = watch
        .until_degraded(&["bus", "records", "series"], NAMED_WITHIN)
        .await;
    watch.go_on_for(Duration::from_secs(2)).await;
    redis.say("thaw");
    influxd.say("thaw");
    postgres.say("thaw");
    let healed = watch.until_degraded(&[], PATIENCE).await;
    println!("  named after {named:?}, healed after {healed:?}");

    let sent = usize::try_from(watch.sent).unwrap();
    let (_server, ledger) = end_of(server, senders).await;
    let events = ledger.acknowledged.len() + sent;
    all_there_once(&records, events).await;
    eventually("every event is a point, once", PATIENCE, async || {
        let counted = ["COUNT(position)", "COUNT(DISTINCT(position))"].map(|what| {
            series.count(&format!(
                "SELECT {what} FROM mimamori_events WHERE kind != 'help_opened'"
            ))
        });
        ensure(counted == [events as u64; 2], || {
            format!("{counted:?}, expected {events}")
        })
    })
    .await;
}
