//! The live socket: who gets in, what is told, how one resumes, how it ends.

mod crowds;
mod sign_in;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    ADMIN, Api, Console, Ended, INGEST_KEY, PATIENCE, ROOM, Run, Server, SignIn, ensure, event,
    eventually, help, now, run,
};

/// The cookie that a console gets for its token.
#[tokio::test]
async fn a_plain_request_for_the_live_socket_is_answered_as_http() {
    let server = Server::start().await;

    let plain = server.api().get("/api/v1/live").await;
    let posted = server.api().call(Method::POST, "/api/v1/live").await;

    assert!((400..500).contains(&plain.status), "{}", plain.status);
    assert_eq!(posted.status, 405);
}

#[tokio::test]
async fn what_a_student_does_is_told_as_it_happens() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    assert!(console.rooms[ROOM].students.is_empty());

    server
        .api()
        .accepted(&[run("e1", "hanako", "c1", Run::Ok)])
        .await;
    console
        .until(PATIENCE, "the run", |console| {
            console.rooms[ROOM].sum("executions") == 1
        })
        .await;

    let room = &console.rooms[ROOM];
    let student = room.named("hanako").unwrap();
    assert_eq!(student["status"], "active");
    assert_eq!(
        (&student["cellId"], &student["cellIndex"]),
        (&json!("c1"), &json!(3))
    );
    assert_eq!(student["notebook"], "授業/nb1.ipynb");
    assert!(room.events.iter().any(|event| event.ends_with(" e1")));
    assert_eq!((console.snapshots, room.omitted), (1, 0));
}

#[tokio::test]
async fn three_errors_in_a_row_make_a_student_stuck_until_the_cell_is_ok() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let status = |console: &Console| {
        console.rooms[ROOM]
            .named("taro")
            .map(|student| student["status"].clone())
    };

    for nth in 0..3 {
        server
            .api()
            .accepted(&[run(&format!("e{nth}"), "taro", "hard", Run::Error)])
            .await;
    }
    console
        .until(PATIENCE, "stuck", |console| {
            status(console) == Some(json!("stuck"))
        })
        .await;
    console
        .until(PATIENCE, "the alert", |console| {
            console.rooms[ROOM].alerts.len() == 1
        })
        .await;
    let alert = console.rooms[ROOM].alerts.values().next().unwrap().clone();
    server
        .api()
        .accepted(&[run("e4", "taro", "hard", Run::Ok)])
        .await;
    console
        .until(PATIENCE, "active", |console| {
            status(console) == Some(json!("active")) && console.rooms[ROOM].alerts.is_empty()
        })
        .await;

    assert_eq!(alert["kind"], "errors_in_a_row");
    assert_eq!(
        (&alert["cellId"], &alert["state"]),
        (&json!("hard"), &json!("open"))
    );
    for member in ["id", "student", "since", "reason"] {
        assert!(alert[member].is_string(), "{alert}");
    }
}

#[tokio::test]
async fn help_is_told_at_once_and_so_is_its_end() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let status = |console: &Console| {
        console.rooms[ROOM]
            .named("yuki")
            .map(|student| student["status"].clone())
    };

    server.api().accepted(&[help("h1", "yuki", true)]).await;
    console
        .until(PATIENCE, "help", |console| {
            status(console) == Some(json!("help"))
        })
        .await;
    let open = console.rooms[ROOM].named("yuki").unwrap()["help"].clone();
    server.api().accepted(&[help("h2", "yuki", false)]).await;
    console
        .until(PATIENCE, "its end", |console| {
            status(console) == Some(json!("active"))
        })
        .await;

    assert!(
        open["id"].is_string() && open["since"].is_string(),
        "{open}"
    );
    assert_eq!(open["claimedBy"], Value::Null);
}

#[tokio::test]
async fn a_console_that_comes_back_gets_what_it_missed_and_no_second_snapshot() {
    let server = Server::start().await;
    let api = server.api();
    let mut gone = Console::watching(&server, ROOM).await;
    api.accepted(&[run("e1", "a", "c1", Run::Ok)]).await;
    gone.until(PATIENCE, "the first", |console| {
        console.rooms[ROOM].sum("executions") == 1
    })
    .await;
    let mut other = Console::watching(&server, ROOM).await;
    for nth in 2..7 {
        api.accepted(&[run(&format!("e{nth}"), "a", "c1", Run::Ok)])
            .await;
    }
    other
        .until(PATIENCE, "all", |console| {
            console.rooms[ROOM].sum("executions") == 6
        })
        .await;

    let mut back = gone.resume(&server, ROOM).await;
    back.until(PATIENCE, "what was missed", |console| {
        console.rooms[ROOM].sum("executions") == 6
    })
    .await;

    back.level_with(&mut other, ROOM).await;
    assert_eq!(back.snapshots, 0, "no second snapshot");
    let (back, other) = (&back.rooms[ROOM], &other.rooms[ROOM]);
    assert_eq!(back.students, other.students);
    assert_eq!(back.events.len(), 6);
}

#[tokio::test]
async fn who_resumes_from_another_epoch_is_told_by_a_reset_and_a_snapshot() {
    let server = Server::start().await;
    server
        .api()
        .accepted(&[run("e1", "a", "c1", Run::Ok)])
        .await;
    for since in [
        json!({"epoch": "no-such-epoch", "seq": 3}),
        json!({"epoch": "", "seq": 0}),
    ] {
        let mut console = Console::open(&server).await;

        console
            .say(&json!({"type": "subscribe", "classroom": ROOM, "since": since}))
            .await;

        let reset = console.other().await;
        assert_eq!(
            (&reset["type"], &reset["classroom"]),
            (&json!("reset"), &json!(ROOM))
        );
        assert!(reset["reason"].is_string(), "{reset}");
        console
            .until(PATIENCE, "the snapshot", |console| console.snapshots == 1)
            .await;
    }
}

#[tokio::test]
async fn a_classroom_that_starts_anew_tells_it_on_the_same_connection() {
    let server = Server::start().await;
    let api = server.api();
    api.accepted(&[run("e1", "a", "c1", Run::Ok)]).await;
    let mut console = Console::watching(&server, ROOM).await;
    console
        .until(PATIENCE, "the run", |console| {
            console.rooms[ROOM].sum("executions") == 1
        })
        .await;
    let epoch = console.rooms[ROOM].epoch.clone();

    let path = format!("/api/v1/admin/actors/classroom%2F{ROOM}/restart");
    let answer = api.call(Method::POST, &path).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    console
        .until(PATIENCE, "the second snapshot", |console| {
            console.snapshots == 2
        })
        .await;
    api.accepted(&[run("e2", "a", "c1", Run::Ok)]).await;
    console
        .until(PATIENCE, "goes on", |console| {
            console.rooms[ROOM].sum("executions") == 2
        })
        .await;

    assert_eq!(console.other().await["type"], "reset");
    assert_ne!(console.rooms[ROOM].epoch, epoch);
}

#[tokio::test]
async fn what_a_console_asks_wrongly_is_an_error_and_the_connection_stays() {
    let server = Server::start().await;
    let mut console = Console::open(&server).await;
    let asked = [
        (
            json!({"type": "subscribe", "classroom": "no-such-room", "ref": "r1"}),
            "not_found",
        ),
        (json!({"type": "no.such.type", "ref": "r2"}), "unknown_type"),
        (
            json!({"type": "message", "ref": "r3", "classroom": ROOM, "to": "all", "text": "x"}),
            "not_yet",
        ),
        (
            json!({"type": "help.claim", "ref": "r4", "classroom": ROOM, "student": "x"}),
            "not_yet",
        ),
    ];

    for (frame, code) in asked {
        console.say(&frame).await;
        let error = console.other().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{frame}"
        );
        assert_eq!(error["ref"], frame["ref"]);
        assert!(error["detail"].is_string(), "{error}");
    }

    console.subscribe(ROOM).await;
}

#[tokio::test]
async fn who_unsubscribes_is_told_so_and_no_more() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;

    console
        .say(&json!({"type": "unsubscribe", "classroom": ROOM, "ref": "r1"}))
        .await;
    let ack = console.other().await;
    server
        .api()
        .accepted(&[run("e1", "a", "c1", Run::Ok)])
        .await;
    let mut other = Console::watching(&server, ROOM).await;
    other
        .until(PATIENCE, "the run", |console| {
            console.rooms[ROOM].sum("executions") == 1
        })
        .await;
    // an answer that comes after everything that was told before it
    console
        .say(&json!({"type": "no.such.type", "ref": "r2"}))
        .await;
    let last = console.other().await;

    assert_eq!(ack, json!({"type": "ack", "ref": "r1"}));
    assert_eq!(last["ref"], "r2");
    assert_eq!(console.deltas, 0);
}

#[tokio::test]
async fn binary_and_too_large_frames_are_closed_with_their_codes() {
    let server = Server::start().await;
    let end_of = async |message: Message| {
        let mut console = Console::open(&server).await;
        console.send(message).await;
        console.ended(PATIENCE).await
    };

    assert_eq!(
        end_of(Message::binary(vec![1, 2, 3])).await,
        Ended::Closed(1003)
    );
    assert_eq!(
        end_of(Message::text("x".repeat(70 * 1024))).await,
        Ended::Closed(1009)
    );
}

#[tokio::test]
async fn one_console_too_many_is_closed_with_1013() {
    let server = Server::with(&[("MIMAMORI_LIVE__MAX_CONSOLES", "2")]).await;
    let first = Console::open(&server).await;
    let _second = Console::open(&server).await;

    let mut third = Console::connect(&server, &SignIn::bearer(ADMIN))
        .await
        .unwrap();
    assert_eq!(third.ended(PATIENCE).await, Ended::Closed(1013));
    drop(first);

    eventually("the place is free again", PATIENCE, async || {
        let mut console = Console::connect(&server, &SignIn::bearer(ADMIN))
            .await
            .unwrap();
        let frame = console.frame().await;
        ensure(frame.is_ok(), || format!("{frame:?}"))
    })
    .await;
}

#[tokio::test]
async fn the_snapshot_holds_at_most_the_last_fifty_events() {
    let server = Server::start().await;
    let events: Vec<_> = (0..80)
        .map(|nth| event(&format!("e{nth}"), "notebook_saved", "a"))
        .collect();
    server.api().accepted(&events).await;
    let mut first = Console::watching(&server, ROOM).await;
    first
        .until(PATIENCE, "the last", |console| {
            console.rooms[ROOM]
                .events
                .iter()
                .any(|id| id.ends_with(" e79"))
        })
        .await;

    let late = Console::watching(&server, ROOM).await;

    assert_eq!(late.rooms[ROOM].events.len(), 50);
    assert!(
        now().as_str()
            >= late.rooms[ROOM].named("a").unwrap()["lastActivity"]
                .as_str()
                .unwrap()
    );
}
