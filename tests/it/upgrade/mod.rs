//! What an earlier version wrote is read, and goes on. What a later one wrote stops the start.
//!
//! `tests/fixtures/formats/<n>/` holds storage directories as the program left
//! them when the formats were those of generation n, and what its reading calls
//! answered then. They are never written again; a new generation is added (see
//! the README there) before a format changes.

mod answers;
mod fixture;
mod newer;

use serde_json::json;

use crate::harness::{PATIENCE, Run, Server, ensure, event_id, eventually, run};
use answers::{Answers, ids};
use fixture::{Kept, generations};

/// Starts the present program on what was kept and holds its answers against the answers of then.
async fn check(kept: &Kept) -> Server {
    let server = Server::on(kept.unpack(), &[]).await;
    let api = server.api();
    let events = eventually("every acknowledged event", PATIENCE, async || {
        let events = ids(&api.all("/events?since=0", 1000).await);
        let lost: Vec<_> = kept
            .acknowledged
            .iter()
            .filter(|id| !events.contains(id))
            .collect();
        ensure(lost.is_empty(), || format!("{lost:?} are not there"))?;
        Ok::<_, String>(events)
    })
    .await;
    let once: std::collections::BTreeSet<_> = events.iter().collect();
    assert_eq!(once.len(), events.len(), "an event is there twice");

    eventually("the answers of then", PATIENCE, async || {
        let now = Answers::of(&api, &kept.until).await;
        now.agree_with(&kept.answers)
    })
    .await;
    server
}

/// New events get places behind the old ones, of the same students; old ones stay there once.
async fn check_that_it_goes_on(server: &Server, kept: &Kept) {
    let api = server.api();
    let before = api.all("/events?since=0", 1000).await;
    let last = before.last().unwrap();
    let highest = last["position"].as_u64().unwrap();
    // the address is that of a student who was there before
    let mut fresh = run("after-the-upgrade", "x", "cell-1", Run::Ok);
    fresh["emailAddress"] = last["emailAddress"].clone();
    fresh["userName"] = last["userName"].clone();

    api.accepted(&[fresh]).await;
    for repeated in kept.acknowledged.iter().rev().take(5) {
        let old = before
            .iter()
            .find(|event| &event_id(event) == repeated)
            .unwrap();
        let said = api.ingest(&[sent(old)]).await.good();
        assert_eq!(said["rejected"], json!([]), "{said}");
    }

    eventually("the new event once, the others too", PATIENCE, async || {
        let after = api.all("/events?since=0", 1000).await;
        ensure(after.len() == before.len() + 1, || {
            format!("{} events after {}", after.len(), before.len())
        })?;
        let new = after.last().unwrap();
        ensure(new["eventId"] == "after-the-upgrade", || new.to_string())?;
        assert!(new["position"].as_u64().unwrap() > highest, "{new}");
        assert_eq!(new["student"], last["student"], "the same person");
        Ok::<_, String>(())
    })
    .await;
}

/// The wire form of an item of `/events`.
fn sent(item: &serde_json::Value) -> serde_json::Value {
    let mut event = item.clone();
    let fields = event.as_object_mut().unwrap();
    for ours in ["student", "receivedAt", "position", "at"] {
        fields.remove(ours);
    }
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_earlier_version_left_after_a_stop_or_a_kill_is_read_and_goes_on() {
    for kept in generations() {
        println!("{}", kept.name);

        let mut server = check(&kept).await;
        check_that_it_goes_on(&server, &kept).await;

        // what it writes now is what it reads next
        server.sigterm();
        assert!(server.ended(PATIENCE).await.success());
        let server = server.start_again().await;
        let events = ids(&server.api().all("/events?since=0", 1000).await);
        assert_eq!(events.last().map(String::as_str), Some("after-the-upgrade"));
        for id in &kept.acknowledged {
            assert!(events.contains(id), "{id}");
        }
    }
}
