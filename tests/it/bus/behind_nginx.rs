//! The real nginx with the configuration that is shipped: a node is drained while its consoles move on.

use super::*;
use crate::harness::{Api, Nginx, SignIn};

async fn watching_through(nginx: &Nginx) -> Console {
    let sign_in = SignIn::bearer(ADMIN);
    let mut console = Console::connect_at(nginx.address, &sign_in, None)
        .await
        .unwrap();
    console.hello().await;
    console.subscribe(ROOM).await;
    console
}

#[tokio::test]
async fn consoles_of_a_drained_node_go_on_at_the_other_without_losing_anything() {
    const CONSOLES: usize = 8;
    let url = database();
    let trust = [("MIMAMORI_HTTP__TRUSTED_PROXIES", "127.0.0.1")];
    let ingest = ingest_on(&url, &trust).await;
    class_runs(&ingest, 0, 3).await;
    let mut first = consoles_on(&url, &trust).await;
    let second = consoles_on(&url, &trust).await;
    let nginx = Nginx::before([ingest.address, first.address, second.address]);
    let mut consoles = Vec::new();
    for _ in 0..CONSOLES {
        consoles.push(watching_through(&nginx).await);
    }

    first.sigterm();
    let mut moved = Vec::new();
    for (nth, mut console) in consoles.into_iter().enumerate() {
        class_runs(&ingest, 1 + nth, 3).await;
        // those of the other node never notice
        let is_drained = console
            .try_until(PATIENCE, "the runs", |console| {
                console.rooms[ROOM].events.len() >= 3 * (2 + nth)
            })
            .await;
        if is_drained == Err(Ended::Closed(1001)) {
            console = console.resume_at(nginx.address, ROOM).await;
            console.snapshots = 0;
            moved.push(nth);
        }
        shows_the_present(&mut console, &ingest).await;
        let events = console.rooms[ROOM].events.len();
        assert_eq!(events, 3 * (2 + nth), "console {nth}");
        assert!(console.other.is_empty(), "{:?}", console.other);
    }

    assert!((1..CONSOLES).contains(&moved.len()), "{moved:?}");
    assert!(first.ended(Duration::from_secs(6)).await.success());
}

#[tokio::test]
async fn through_the_proxy_events_go_to_the_node_that_keeps_them_and_pages_open_consoles() {
    let url = database();
    let trust = [("MIMAMORI_HTTP__TRUSTED_PROXIES", "127.0.0.1")];
    let ingest = ingest_on(&url, &trust).await;
    let nodes = [
        consoles_on(&url, &trust).await,
        consoles_on(&url, &trust).await,
    ];
    let nginx = Nginx::before([ingest.address, nodes[0].address, nodes[1].address]);
    let api = Api::new(&nginx.base(), Some(ADMIN));

    api.accepted(&[run("e1", "taro", "c1", Run::Ok)]).await;
    let signed_in = Api::new(&nginx.base(), None)
        .post("/api/v1/session", &json!({ "token": ADMIN }))
        .await;
    let cookie = signed_in.header("set-cookie").to_owned();
    let by_page = SignIn {
        cookie: cookie.split(';').next().map(str::to_owned),
        origin: Some(nginx.base()),
        ..SignIn::default()
    };
    let mut console = Console::connect_at(nginx.address, &by_page, None)
        .await
        .unwrap();
    console.hello().await;
    console.subscribe(ROOM).await;
    shows_the_present(&mut console, &ingest).await;

    assert_eq!(console.rooms[ROOM].students.len(), 1);
    let connect = api.get("/api/v1/connect").await.good();
    let address = connect["ingestUrl"].as_str().unwrap();
    assert!(address.starts_with(&nginx.base()), "{address}");
    assert_eq!(api.room("/overview").await.status, 200);
    for hidden in [
        "/metrics",
        "/readyz/",
        "/livez",
        "/k/x/readyz",
        "/k/x/metrics/",
        "//readyz",
    ] {
        assert_eq!(api.get(hidden).await.status, 404, "{hidden}");
    }
    let foreign = SignIn {
        origin: Some("https://evil.example".to_owned()),
        ..by_page
    };
    let refused = Console::connect_at(nginx.address, &foreign, None).await;
    assert_eq!(refused.err(), Some(Ended::Refused(403)));
}

#[tokio::test]
async fn the_key_in_an_address_stands_in_no_log_of_the_proxy_whatever_goes_wrong() {
    let url = database();
    let mut ingest = ingest_on(&url, &[]).await;
    let node = consoles_on(&url, &[]).await;
    let nginx = Nginx::before([ingest.address, node.address, node.address]);
    let path = format!("/k/{INGEST_KEY}/api/v1/events");
    let in_query = format!("/api/v1/events?key={INGEST_KEY}");
    let api = Api::new(&nginx.base(), None);
    let event = json!([run("e1", "taro", "c1", Run::Ok)]);
    assert_eq!(api.post(&path, &event).await.status, 202);

    // somebody mistyped it
    let mistyped = format!("/api/v1/event?key={INGEST_KEY}");
    assert_eq!(api.post(&mistyped, &event).await.status, 404);
    ingest.kill9().await;
    for path in [&path, &in_query] {
        assert_eq!(api.post(path, &event).await.status, 502, "{path}");
    }
    let too_large = json!({ "events": [], "more": "x".repeat(17 << 20) });
    assert_eq!(api.post(&path, &too_large).await.status, 413);
    // it is a log: what has no key in it is there
    assert_eq!(api.get("/api/v1/connect").await.status, 502);

    let logs = nginx.logs();
    assert!(!logs.contains(INGEST_KEY), "{logs}");
    assert!(logs.contains("/api/v1/connect"), "{logs}");
}
