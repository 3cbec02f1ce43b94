//! The router, the classroom, writers and subscribers.

use super::*;
use crate::harness::{Ended, SignIn};

/// The actor, once it runs again.
async fn was_replaced(api: &Api, name: &str, within: Duration) -> Value {
    eventually("replaced", within, async || {
        let actor = actor(api, name).await;
        let runs_again = actor["restarts"].as_u64() > Some(0) && actor["state"] == "running";
        ensure(runs_again, || actor.to_string())?;
        Ok::<_, String>(actor)
    })
    .await
}

async fn a_fault_of(who: &str, name: &str, within: Duration) {
    for how in ["panic", "hang"] {
        let server = Server::faulty().await;
        let api = server.api();
        let mut hanako = Hanako::at(&server).await;

        api.accepted(&[fault("t1", "taro", &format!("{how}:{who}"))])
            .await;
        hanako
            .is_delayed_by_less_than(within, Duration::from_secs(4))
            .await;

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
    }
}

#[tokio::test]
async fn a_router_that_panics_or_waits_for_ever_is_replaced_within_3_seconds() {
    a_fault_of("router", "router", ROUTER_OR_CLASSROOM).await;
}

#[tokio::test]
async fn a_classroom_that_panics_or_waits_for_ever_is_replaced_within_3_seconds() {
    a_fault_of("classroom", "classroom/default", ROUTER_OR_CLASSROOM).await;
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
    hanako
        .is_delayed_by_less_than(NOBODY, Duration::from_secs(1))
        .await;

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
    hanako
        .is_delayed_by_less_than(NOBODY, Duration::from_secs(1))
        .await;

    assert_eq!(console.ended(PATIENCE).await, Ended::Closed(1001));
    Console::watching(&server, ROOM).await;
}

#[tokio::test]
async fn a_subscriber_that_waits_for_ever_is_served_all_the_same_and_no_other_console_notices() {
    let server = Server::faulty().await;
    let mut hanako = Hanako::at(&server).await;

    let mut console = ask_subscriber(&server, "hang").await;
    hanako
        .is_delayed_by_less_than(NOBODY, Duration::from_secs(1))
        .await;

    console
        .until(PATIENCE, "the snapshot", |console| {
            console.rooms.contains_key(ROOM)
        })
        .await;
}

#[tokio::test]
async fn a_writer_that_waits_for_ever_is_replaced_after_its_30_seconds() {
    let server = Server::faulty().await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;
    let begun = Instant::now();

    api.accepted(&[fault("t1", "taro", "hang:records")]).await;
    hanako
        .is_delayed_by_less_than(NOBODY, Duration::from_secs(3))
        .await;

    was_replaced(&api, "records", Duration::from_secs(60)).await;
    // not before: a disk may be that slow
    assert!(begun.elapsed() > Duration::from_secs(29));
    assert_all_there(&api, hanako.sent + 1).await;
}
