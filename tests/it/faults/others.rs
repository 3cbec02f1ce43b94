//! The router, the classroom, writers and subscribers.

use serde_json::json;

use super::*;
use crate::harness::{Ended, SignIn};

/// The actor, once it runs again.
async fn was_replaced(api: &Api, name: &str, within: Duration) -> Value {
    eventually("replaced", within, async || {
        let actor = api.actor(name).await.unwrap_or_default();
        let runs_again = actor["restarts"].as_u64() > Some(0) && actor["state"] == "running";
        ensure(runs_again, || actor.to_string())?;
        Ok::<_, String>(actor)
    })
    .await
}

/// The actor fails once; how long consoles wait meanwhile.
pub async fn fails_once(how: &str, who: &str, name: &str) -> Delay {
    let server = Server::faulty().await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;

    api.accepted(&[fault("t1", "taro", &format!("{how}:{who}"))])
        .await;
    let delay = hanako.waits_at_most(Duration::from_secs(4)).await;

    let replaced = was_replaced(&api, name, PATIENCE).await;
    let error = replaced["lastError"].as_str().unwrap();
    // more than once: the machine gave it no turn, which is a freeze too
    if replaced["restarts"] == 1 {
        assert_eq!(error.contains("frozen"), how == "hang", "{error}");
    }
    wait_for_runs(&api, "taro", 1).await;
    assert_all_there(&api, hanako.sent + 1).await;
    let letters = api.all("/dead-letters", 10).await;
    assert!(letters.is_empty(), "{letters:?}");
    delay
}

#[tokio::test]
async fn a_router_that_panics_or_waits_for_ever_is_replaced_soon() {
    for how in ["panic", "hang"] {
        let delay = fails_once(how, "router", "router").await;

        delay.assert_less_than(ROUTER_OR_CLASSROOM);
    }
}

#[tokio::test]
async fn a_classroom_that_panics_or_waits_for_ever_is_replaced_soon() {
    for how in ["panic", "hang"] {
        let delay = fails_once(how, "classroom", "classroom/default").await;

        delay.assert_less_than(ROUTER_OR_CLASSROOM);
    }
}

#[tokio::test]
async fn a_writer_that_panics_is_replaced_and_consoles_do_not_notice() {
    for (who, name) in [("records", "records"), ("series", "series")] {
        a_fault_that_nobody_sees(who, name).await;
    }
}

async fn a_fault_that_nobody_sees(who: &str, name: &str) {
    let server = Server::faulty().await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;

    api.accepted(&[fault("t1", "taro", &format!("panic:{who}"))])
        .await;
    let delay = hanako.waits_at_most(Duration::from_secs(1)).await;
    delay.assert_less_than(NOBODY);

    assert_all_there(&api, hanako.sent + 1).await;
    was_replaced(&api, name, PATIENCE).await;
}

/// Asks for a fault of the subscriber, by the epoch that it claims to resume from.
async fn ask_subscriber(server: &Server, how: &str) -> Console {
    let mut console = Console::connect(server, &SignIn::bearer(crate::harness::ADMIN))
        .await
        .unwrap();
    console.hello().await;
    let since = json!({"epoch": format!("fault:{how}:subscriber"), "seq": 1});
    let subscribe = json!({"type": "subscribe", "classroom": ROOM, "since": since});
    console.say(&subscribe).await;
    console
}

#[tokio::test]
async fn a_subscriber_that_panics_is_closed_and_no_other_console_notices() {
    let server = Server::faulty().await;
    let mut hanako = Hanako::at(&server).await;

    let mut console = ask_subscriber(&server, "panic").await;
    let delay = hanako.waits_at_most(Duration::from_secs(1)).await;
    delay.assert_less_than(NOBODY);

    assert_eq!(console.ended(PATIENCE).await, Ended::Closed(1001));
    Console::watching(&server, ROOM).await;
}

#[tokio::test]
async fn a_subscriber_that_waits_for_ever_is_served_all_the_same_and_no_other_console_notices() {
    let server = Server::faulty().await;
    let mut hanako = Hanako::at(&server).await;

    let mut console = ask_subscriber(&server, "hang").await;
    let delay = hanako.waits_at_most(Duration::from_secs(1)).await;
    delay.assert_less_than(NOBODY);

    console
        .until(PATIENCE, "the snapshot", |console| {
            console.rooms.contains_key(ROOM)
        })
        .await;
}

/// A writer never comes back; how long consoles wait meanwhile, and how long until it is replaced.
pub async fn writer_waits_for_ever(env: &[(&str, &str)]) -> (Delay, Duration) {
    let server = Server::faulty_with(env).await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;
    let begun = Instant::now();

    api.accepted(&[fault("t1", "taro", "hang:records")]).await;
    let delay = hanako.waits_at_most(Duration::from_secs(3)).await;

    was_replaced(&api, "records", Duration::from_secs(60)).await;
    let replaced_after = begun.elapsed();
    assert_all_there(&api, hanako.sent + 1).await;
    (delay, replaced_after)
}

#[tokio::test]
async fn a_writer_that_waits_for_ever_is_replaced_when_patience_with_a_disk_is_over() {
    let (delay, replaced_after) = writer_waits_for_ever(&[SHORT_PATIENCE]).await;

    delay.assert_less_than(NOBODY);
    assert!(replaced_after >= PATIENT_FOR, "{replaced_after:?}");
}
