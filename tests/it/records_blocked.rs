//! Another process holds the records' database: nobody but the records' readers may notice.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Console, Hold, PATIENCE, ROOM, Run, Server, ensure, eventually, run};

/// For an answer and its way to a console: far less than the 25 s for which the records
/// are waited for, far more than it takes on a busy machine. A drill measures it exactly.
const UNNOTICED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_and_consoles_do_not_notice_that_the_records_are_blocked() {
    let server = Server::start().await;
    let api = server.api();
    let mut console = Console::watching(&server, ROOM).await;
    api.accepted(&[run("e0", "a", "c", Run::Ok)]).await;
    let hold = Hold::on(server.dir()).await;

    let began = Instant::now();
    let mut sent = 1;
    loop {
        let before = Instant::now();
        api.accepted(&[run(&format!("e{sent}"), "a", "c", Run::Ok)])
            .await;
        sent += 1;
        console
            .until(UNNOTICED, "the run", |console| {
                console.rooms[ROOM].sum("executions") == sent
            })
            .await;
        assert!(before.elapsed() < UNNOTICED, "{:?}", before.elapsed());
        let ready = api.get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        if ready.json["degraded"] == serde_json::json!(["records"]) {
            break;
        }
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "nobody is told: {}",
            ready.text
        );
    }
    hold.release().await;

    eventually("the records have caught up", PATIENCE, async || {
        let events = api.all("/events?since=0", 1000).await;
        ensure(events.len() as u64 == sent, || {
            format!("{} of {sent}", events.len())
        })
    })
    .await;
    eventually("it is told", PATIENCE, async || {
        let ready = api.get("/readyz").await;
        ensure(ready.json["degraded"] == serde_json::json!([]), || {
            ready.text
        })
    })
    .await;
}
