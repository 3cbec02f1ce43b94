use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::harness::{Page, Server};

fn error(code: &str, reference: serde_json::Value) -> impl Fn(&serde_json::Value) -> bool {
    let code = code.to_owned();
    move |frame| frame["type"] == "error" && frame["code"] == code && frame["ref"] == reference
}

#[tokio::test]
async fn a_console_gets_the_snapshot_and_then_a_chain_of_deltas() {
    let server = Server::start().await;
    server.consoles.event("a");

    let (mut page, snapshot) = server.watching().await;
    for _ in 0..20 {
        server.consoles.event("b");
    }

    assert_eq!(snapshot["seq"], 1);
    assert_eq!(snapshot["students"][0]["id"], "a");
    let mut seq = snapshot["seq"].clone();
    while seq != 21 {
        let delta = page.hear().await;
        assert_eq!(delta["type"], "delta");
        assert_eq!(delta["after"], seq);
        seq = delta["seq"].clone();
    }
}

#[tokio::test]
async fn a_console_that_comes_back_gets_what_it_missed() {
    let server = Server::start().await;
    let (page, snapshot) = server.watching().await;
    drop(page);
    server.consoles.event("a");
    server.consoles.event("b");

    let mut page = server.console().await;
    let since = json!({"epoch": snapshot["epoch"], "seq": snapshot["seq"]});
    page.say(json!({"type": "subscribe", "classroom": "default", "since": since}))
        .await;

    let (first, second) = (page.hear().await, page.hear().await);
    assert_eq!(
        (&first["type"], &first["after"]),
        (&json!("delta"), &snapshot["seq"])
    );
    assert_eq!(second["after"], first["seq"]);
    assert_eq!(second["students"][0]["id"], "b");
}

#[tokio::test]
async fn a_console_that_cannot_resume_is_reset() {
    let server = Server::start().await;
    server.consoles.event("a");
    let mut page = server.console().await;

    for since in [
        json!({"epoch": "another", "seq": 1}),
        json!({"epoch": "epoch-1", "seq": 99}),
        json!({"epoch": "epoch-1", "seq": -1}),
        json!({"epoch": 5}),
        json!("yesterday"),
        json!([]),
    ] {
        page.say(json!({"type": "subscribe", "classroom": "default", "since": since}))
            .await;
        let reset = page.hear().await;
        assert_eq!(
            (&reset["type"], &reset["classroom"]),
            (&json!("reset"), &json!("default"))
        );
        assert!(reset["reason"].is_string());
        assert_eq!(page.hear().await["type"], "snapshot");
    }
    page.say(json!({"type": "subscribe", "classroom": "default", "since": null}))
        .await;
    assert_eq!(page.hear().await["type"], "snapshot");
}

#[tokio::test]
async fn what_cannot_be_done_is_told_and_the_connection_stays() {
    let server = Server::start().await;
    let mut page = server.console().await;
    let cases = [
        (
            r#"{"type":"subscribe","classroom":"other","ref":7}"#,
            "not_found",
            json!(7),
        ),
        (
            r#"{"type":"subscribe","ref":"r"}"#,
            "bad_message",
            json!("r"),
        ),
        (
            r#"{"type":"subscribe","classroom":5}"#,
            "bad_message",
            json!(null),
        ),
        (
            r#"{"type":"help.claim","ref":"r1","student":"a"}"#,
            "not_yet",
            json!("r1"),
        ),
        (
            r#"{"type":"help.resolve","ref":"r2"}"#,
            "not_yet",
            json!("r2"),
        ),
        (
            r#"{"type":"message","ref":"r3","to":"all"}"#,
            "not_yet",
            json!("r3"),
        ),
        (
            r#"{"type":"dance","ref":"r4"}"#,
            "unknown_type",
            json!("r4"),
        ),
        (r#"{"type":5}"#, "bad_message", json!(null)),
        (r#"{"ref":"r5"}"#, "bad_message", json!("r5")),
        (r#"["subscribe"]"#, "bad_message", json!(null)),
        ("nonsense", "bad_message", json!(null)),
        ("", "bad_message", json!(null)),
        (
            r#"{"type":"dance","ref":{"a":1}}"#,
            "unknown_type",
            json!(null),
        ),
    ];

    for (message, code, reference) in cases {
        page.send(Message::text(message)).await;
        let answer = page.hear().await;
        assert!(error(code, reference)(&answer), "{message}: {answer}");
        assert!(answer["detail"].is_string());
    }
    let deep = "[".repeat(5000);
    page.send(Message::text(deep)).await;
    assert_eq!(page.hear().await["code"], "bad_message");
}

#[tokio::test]
async fn after_unsubscribing_nothing_more_comes() {
    let server = Server::start().await;
    let (mut page, _) = server.watching().await;

    page.say(json!({"type": "unsubscribe", "classroom": "default", "ref": "u"}))
        .await;
    assert_eq!(page.hear().await, json!({"type": "ack", "ref": "u"}));
    server.consoles.event("a");
    page.say(json!({"type": "unsubscribe", "classroom": "default", "ref": 2}))
        .await;

    assert_eq!(page.hear().await, json!({"type": "ack", "ref": 2}));
}

#[tokio::test]
async fn a_classroom_that_is_not_ready_is_opened_when_it_is() {
    let settings = super::super::LiveSettings {
        heartbeat: std::time::Duration::from_millis(300),
        ..Default::default()
    };
    let server = Server::start_with(settings, 10).await;
    server.consoles.set_ready(false);
    let mut page = server.console().await;
    page.say(json!({"type": "subscribe", "classroom": "default"}))
        .await;
    page.say(json!({"type": "unsubscribe", "classroom": "none", "ref": 1}))
        .await;
    assert_eq!(page.hear().await["type"], "ack");

    server.consoles.set_ready(true);

    let snapshot = loop {
        match page.next().await {
            Some(Ok(Message::Text(text))) => break text,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(snapshot.contains("snapshot"));
}

#[tokio::test]
async fn a_ping_is_answered_and_a_close_is_echoed() {
    let server = Server::start().await;
    let (mut page, _) = server.watching().await;

    page.send(Message::Ping("beat".into())).await;
    let pong = page.next().await.unwrap().unwrap();
    page.socket.close(None).await.unwrap();

    assert_eq!(pong, Message::Pong("beat".into()));
    assert!(matches!(
        page.next().await,
        Some(Ok(Message::Close(_))) | None
    ));
    server.open.all_closed().await;
    assert_eq!(server.consoles.watching(), 0);
}

#[tokio::test]
async fn two_hundred_consoles_get_the_same_delta() {
    let server = Server::start().await;
    let mut pages: Vec<Page> = Vec::new();
    for _ in 0..200 {
        pages.push(server.watching().await.0);
    }

    let delta = server.consoles.event("a");

    for page in &mut pages {
        let Some(Ok(Message::Text(text))) = page.next().await else {
            panic!("a delta comes");
        };
        assert_eq!(text.as_bytes(), delta.frame);
    }
}

#[tokio::test]
async fn a_frame_of_any_size_arrives_whole() {
    let server = Server::start().await;
    let (mut page, _) = server.watching().await;

    for length in [10, 100, 1000, 60_000, 66_000, 200_000] {
        let delta = server.consoles.event_of("a", &"見".repeat(length / 3));
        let Some(Ok(Message::Text(text))) = page.next().await else {
            panic!("a delta comes");
        };
        assert!(text.as_bytes() == delta.frame, "{length}");
    }
}
