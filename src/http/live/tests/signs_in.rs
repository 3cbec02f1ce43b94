use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::super::LiveSettings;
use super::harness::{COOKIE, OWN_ORIGIN, Server, TOKEN, ends_with_close, handshake};

#[tokio::test]
async fn each_way_of_signing_in_is_greeted() {
    let server = Server::start().await;
    let bearer = format!("Bearer {TOKEN}");
    let protocol = format!("mimamori.v1, bearer.{TOKEN}");
    let ways: [&[(&'static str, &str)]; 4] = [
        &[("authorization", &bearer)],
        &[("authorization", &bearer), ("origin", OWN_ORIGIN)],
        &[("sec-websocket-protocol", &protocol)],
        &[("cookie", COOKIE), ("origin", OWN_ORIGIN)],
    ];

    for way in ways {
        let (mut page, response) = server.open(way).await;

        let selected: Vec<_> = response
            .headers()
            .get_all("sec-websocket-protocol")
            .iter()
            .collect();
        assert_eq!(selected, ["mimamori.v1"], "the token is not echoed");
        assert_eq!(
            page.hear().await,
            json!({"type": "hello", "heartbeatMs": 15000}),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn the_first_frame_may_bring_the_token() {
    let server = Server::start().await;
    let (mut page, _) = server.open(&[]).await;

    page.say(json!({"type": "auth", "token": TOKEN})).await;

    assert_eq!(page.hear().await["type"], "hello");
}

#[tokio::test]
async fn a_wrong_credential_is_told_4401() {
    let server = Server::start().await;
    let good = format!("Bearer {TOKEN}");
    let ways: [&[(&'static str, &str)]; 5] = [
        &[("authorization", "Bearer mmi_ingest-key")],
        &[("authorization", "Bearer ")],
        &[("sec-websocket-protocol", "mimamori.v1,bearer.wrong")],
        &[("cookie", "mimamori_session=old"), ("origin", OWN_ORIGIN)],
        &[
            ("authorization", "Bearer wrong"),
            ("cookie", COOKIE),
            ("origin", OWN_ORIGIN),
        ],
    ];

    for way in ways {
        let (mut page, _) = server.open(way).await;
        assert_eq!(page.end().await, Some(4401), "{way:?}");
    }
    let (mut page, _) = server.open(&[("authorization", &good)]).await;
    assert_eq!(page.hear().await["type"], "hello");
}

#[tokio::test]
async fn a_first_frame_that_brings_no_good_token_is_told_4401() {
    let server = Server::start().await;
    for first in [
        r#"{"type":"auth","token":"wrong"}"#,
        r#"{"type":"auth"}"#,
        r#"{"type":"subscribe","classroom":"default"}"#,
        "no JSON",
    ] {
        let (mut page, _) = server.open(&[]).await;
        page.send(Message::text(first)).await;
        assert_eq!(page.end().await, Some(4401), "{first}");
    }
}

#[tokio::test]
async fn who_says_nothing_in_time_is_told_4401() {
    let settings = LiveSettings {
        sign_in_within: Duration::from_millis(50),
        ..LiveSettings::default()
    };
    let server = Server::start_with(settings, 1000).await;

    // a cookie without an Origin is no credential: any page can make a browser send it
    for way in [&[][..], &[("cookie", COOKIE)][..]] {
        let (mut page, _) = server.open(way).await;
        assert_eq!(page.end().await, Some(4401), "{way:?}");
    }
}

#[tokio::test]
async fn what_is_no_good_handshake_is_refused_in_the_order_of_the_contract() {
    let server = Server::start().await;
    let live = "/api/v1/live";
    let foreign = "Origin: http://evil.example";
    let cases = [
        (handshake("GET", "/api/v1/lives", "", "X: y"), "404"),
        (handshake("POST", live, "", foreign), "405"),
        (handshake("HEAD", live, "", "X: y"), "405"),
        (handshake("GET", live, "", foreign), "403"),
        (handshake("GET", live, "", "Origin: null"), "403"),
        (
            handshake("GET", live, "Sec-WebSocket-Protocol", foreign),
            "403",
        ),
        (handshake("GET", live, "Upgrade", foreign), "403"),
        (
            handshake("GET", live, "Sec-WebSocket-Protocol", "X: y"),
            "400",
        ),
        (
            handshake(
                "GET",
                live,
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Protocol: mimamori.v2, bearer.mma_good-token",
            ),
            "400",
        ),
        (handshake("GET", live, "Sec-WebSocket-Key", "X: y"), "400"),
        (
            handshake("GET", live, "Sec-WebSocket-Key", "Sec-WebSocket-Key: short"),
            "400",
        ),
        (
            handshake(
                "GET",
                live,
                "Sec-WebSocket-Version",
                "Sec-WebSocket-Version: 8",
            ),
            "426",
        ),
        (handshake("GET", live, "Upgrade", "X: y"), "426"),
        (handshake("GET", live, "Upgrade", "Upgrade: h2c"), "426"),
        (handshake("GET", live, "", "X: y"), "101"),
    ];

    for (request, status) in cases {
        let answer = server.raw_head(&request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}\n{answer}"
        );
        assert!(!answer.contains("good-token"));
    }
}

#[tokio::test]
async fn a_refused_handshake_says_why_and_what_would_be_right() {
    let server = Server::start().await;

    let wrong_method = server
        .raw(&handshake("POST", "/api/v1/live", "", "X: y"))
        .await;
    let no_upgrade = server
        .raw(&handshake("GET", "/api/v1/live", "Upgrade", "X: y"))
        .await;

    assert!(wrong_method.contains("allow: GET\r\n"), "{wrong_method}");
    assert!(
        no_upgrade.contains("upgrade: websocket\r\n"),
        "{no_upgrade}"
    );
    assert!(no_upgrade.contains("application/problem+json"));
    assert!(no_upgrade.contains(r#""requestId":"request-1""#));
}

#[tokio::test]
async fn a_token_in_the_address_is_not_read() {
    let settings = LiveSettings {
        sign_in_within: Duration::from_millis(50),
        ..LiveSettings::default()
    };
    let server = Server::start_with(settings, 1000).await;
    let path = format!("/api/v1/live?token={TOKEN}&key={TOKEN}");

    let answer = server
        .raw_until_close(&handshake("GET", &path, "Authorization", "X: y"))
        .await;

    assert!(answer.starts_with(b"HTTP/1.1 101"));
    assert!(ends_with_close(&answer, 4401));
}
