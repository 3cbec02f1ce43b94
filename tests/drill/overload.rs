//! More than it can take, for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::crowd::{self, Crowd, Load, lasts, until_lag_is_below};
use crate::it::harness::{PATIENCE, Run, Server, ensure, eventually, run as execution};
use crate::report::{Drill, Figure, Outcome};

/// 400 requests of 200 KB at a time are more than the bodies and appends that may wait.
const LOAD: Load = Load {
    connections: 400,
    batch: 400,
    students: 10_000,
    rate: None,
};
/// The journal is full before the records have it: room is made again.
const JOURNAL: &[(&str, &str)] = &[("MIMAMORI_JOURNAL__MAX_BYTES", "512MiB")];
const ACCEPTS_AGAIN: Duration = Duration::from_secs(30);

pub fn drill() -> Drill {
    Drill::new(
        "overload",
        format!(
            "400 clients with batches of 400 as fast as they are answered, for {} s, on a journal of 512 MiB",
            lasts(30).as_secs()
        ),
        "503 for what is too much, nothing acknowledged lost, takes events again by itself",
        run,
    )
}

async fn run() -> Outcome {
    let server = Server::with(JOURNAL).await;
    let epoch = Instant::now();
    let crowd = Crowd::begin(server.address, LOAD, epoch, &Arc::new(()));
    let lasts = lasts(30);
    while epoch.elapsed() < lasts {
        sleep(Duration::from_secs(5)).await;
        println!(
            "  after {:.0?}: {} events acknowledged, {:.0} MiB resident",
            epoch.elapsed(),
            crowd.acknowledged(),
            crowd::resident_mib(&server)
        );
    }
    let sent = crowd.stop().await;

    let over = Instant::now();
    let api = server.api();
    eventually("events are accepted again", ACCEPTS_AGAIN * 2, async || {
        let event = execution("behind-it", "a", "c", Run::Ok);
        let answer = api.ingest(&[event]).await;
        ensure(answer.status == 202, || answer.text)
    })
    .await;
    let accepts_again = over.elapsed();
    until_lag_is_below(&api, "records", 0, Duration::from_secs(300)).await;
    let counted = crowd::count(server.dir(), &sent, accepts_again).await;
    eventually("it is ready", PATIENCE, async || {
        let ready = api.get("/readyz").await;
        ensure(ready.status == 200, || ready.text)
    })
    .await;
    let refused = counted.refused;
    Outcome::recovered(counted, ACCEPTS_AGAIN).with(Figure {
        what: "events refused with 503".to_owned(),
        value: refused.to_string(),
        target: "some: else it was no overload".to_owned(),
        is_met: refused > 0,
    })
}
