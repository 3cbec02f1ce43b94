//! Who may open a console, and for how long.

use std::time::Duration;

use super::*;

async fn cookie(server: &Server) -> String {
    let answer = server
        .stranger()
        .post("/api/v1/session", &json!({ "token": ADMIN }))
        .await;
    assert!((200..300).contains(&answer.status), "{}", answer.text);
    let cookie = answer.header("set-cookie");
    cookie.split(';').next().unwrap().to_owned()
}

async fn is_let_in(server: &Server, sign_in: &SignIn) -> bool {
    let mut console = Console::connect(server, sign_in).await.unwrap();
    let first = console.frame().await;
    first.is_ok_and(|frame| frame["type"] == "hello")
}

#[tokio::test]
async fn a_console_signs_in_by_header_subprotocol_cookie_or_first_frame() {
    let server = Server::start().await;
    let by_subprotocol = SignIn {
        subprotocol: Some(ADMIN.to_owned()),
        ..SignIn::default()
    };
    let by_cookie = SignIn {
        cookie: Some(cookie(&server).await),
        origin: Some(server.base()),
        ..SignIn::default()
    };

    assert!(is_let_in(&server, &SignIn::bearer(ADMIN)).await);
    assert!(is_let_in(&server, &by_subprotocol).await);
    assert!(is_let_in(&server, &by_cookie).await);
    let mut by_frame = Console::connect(&server, &SignIn::default()).await.unwrap();
    by_frame.say(&json!({"type": "auth", "token": ADMIN})).await;
    by_frame.hello().await;
}

#[tokio::test]
async fn a_wrong_or_missing_credential_or_an_ingest_key_is_closed_with_4401() {
    let server = Server::start().await;
    let end_of = async |sign_in: SignIn, frame: Option<Value>| {
        let mut console = Console::connect(&server, &sign_in).await.unwrap();
        if let Some(frame) = frame {
            console.say(&frame).await;
        }
        console.ended(PATIENCE).await
    };
    let auth = |token: &str| Some(json!({"type": "auth", "token": token}));
    let in_address = SignIn {
        query: Some(format!("?token={ADMIN}&access_token={ADMIN}")),
        ..SignIn::default()
    };

    let ends = tokio::join!(
        end_of(SignIn::bearer("wrong"), None),
        end_of(SignIn::bearer(INGEST_KEY), None),
        end_of(SignIn::default(), auth("wrong")),
        end_of(SignIn::default(), auth(INGEST_KEY)),
        // nothing within 5 s
        end_of(SignIn::default(), None),
        // a token is never read from the address
        end_of(in_address, None),
    );

    let all = [ends.0, ends.1, ends.2, ends.3, ends.4, ends.5];
    assert!(all.iter().all(|end| *end == Ended::Closed(4401)), "{all:?}");
}

#[tokio::test]
async fn a_foreign_origin_is_refused_and_so_is_a_console_without_the_subprotocol() {
    let server = Server::with(&[("MIMAMORI_HTTP__ORIGINS", "https://hub.example")]).await;
    let cookie = cookie(&server).await;
    let from = async |origin: &str, cookie: Option<String>| {
        let sign_in = SignIn {
            bearer: cookie.is_none().then(|| ADMIN.to_owned()),
            cookie,
            origin: Some(origin.to_owned()),
            ..SignIn::default()
        };
        Console::connect(&server, &sign_in).await.err()
    };
    let without_protocol = SignIn {
        is_without_protocol: true,
        ..SignIn::bearer(ADMIN)
    };

    for foreign in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "nonsense",
    ] {
        assert_eq!(
            from(foreign, Some(cookie.clone())).await,
            Some(Ended::Refused(403)),
            "{foreign}"
        );
        assert_eq!(
            from(foreign, None).await,
            Some(Ended::Refused(403)),
            "{foreign}"
        );
    }
    assert_eq!(from("https://hub.example", Some(cookie)).await, None);
    let refused = Console::connect(&server, &without_protocol).await.err();
    assert_eq!(refused, Some(Ended::Refused(400)));
}

#[tokio::test]
async fn a_session_that_is_signed_out_opens_no_console() {
    let server = Server::start().await;
    let cookie = cookie(&server).await;
    let stranger = server.stranger();
    let sign_out = stranger
        .request(Method::DELETE, "/api/v1/session")
        .header("Cookie", &cookie)
        .header("Origin", server.base());
    let answer = Api::send(sign_out).await.unwrap();
    assert!((200..300).contains(&answer.status), "{}", answer.text);

    let sign_in = SignIn {
        cookie: Some(cookie),
        origin: Some(server.base()),
        ..SignIn::default()
    };
    let mut console = Console::connect(&server, &sign_in).await.unwrap();

    assert_eq!(console.ended(PATIENCE).await, Ended::Closed(4401));
}

#[tokio::test]
async fn who_signs_out_while_watching_is_closed_with_4403_within_seconds() {
    let server = Server::start().await;
    let cookie = cookie(&server).await;
    let sign_in = SignIn {
        cookie: Some(cookie.clone()),
        origin: Some(server.base()),
        ..SignIn::default()
    };
    let mut console = Console::connect(&server, &sign_in).await.unwrap();
    console.hello().await;

    let request = server.stranger().request(Method::DELETE, "/api/v1/session");
    let sign_out = request
        .header("Cookie", cookie)
        .header("Origin", server.base());
    Api::send(sign_out).await.unwrap().good();

    // not only with the next heartbeat, which is 15 s away
    let soon = Duration::from_secs(10);
    assert_eq!(console.ended(soon).await, Ended::Closed(4403));
}
