//! Who may read, and how one signs in.

use reqwest::Method;
use serde_json::json;

use super::{LISTS, small_class};
use crate::harness::{ADMIN, Answer, Api, INGEST_KEY, ROOM, Server};

#[tokio::test]
async fn nothing_is_read_without_the_right_to() {
    let server = small_class().await;
    let rooms: Vec<_> = LISTS
        .iter()
        .map(|list| format!("/api/v1/classrooms/{ROOM}{list}"))
        .collect();
    let others = ["/api/v1/classrooms", "/api/v1/health/actors"].map(str::to_owned);
    for path in rooms.iter().chain(&others) {
        server.stranger().get(path).await.assert_problem(401);
        server
            .stranger()
            .holding("no-such-token")
            .get(path)
            .await
            .assert_problem(401);
        server
            .stranger()
            .holding(INGEST_KEY)
            .get(path)
            .await
            .assert_problem(403);
        let keyed = server
            .stranger()
            .get(&format!("{path}?key={INGEST_KEY}"))
            .await;
        assert!(
            [401, 403].contains(&keyed.status),
            "{path}: {}",
            keyed.status
        );
    }
    let restart = "/api/v1/admin/actors/router/restart";
    server
        .stranger()
        .call(Method::POST, restart)
        .await
        .assert_problem(401);
}

async fn sign_in(server: &Server, token: &str) -> Answer {
    server
        .stranger()
        .post("/api/v1/session", &json!({ "token": token }))
        .await
}

async fn with_cookie(server: &Server, method: Method, path: &str, cookie: &str) -> Answer {
    let request = server
        .stranger()
        .request(method, path)
        .header("Cookie", cookie);
    Api::send(request.header("Origin", server.base()))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_token_is_changed_for_a_cookie_that_reads_until_it_is_signed_out() {
    let server = small_class().await;
    let rooms = "/api/v1/classrooms";

    let answer = sign_in(&server, ADMIN).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text);
    let set = answer.header("set-cookie").to_owned();
    let cookie = set.split(';').next().unwrap();
    let before = with_cookie(&server, Method::GET, rooms, cookie).await;
    let out = with_cookie(&server, Method::DELETE, "/api/v1/session", cookie).await;
    let after = with_cookie(&server, Method::GET, rooms, cookie).await;

    assert!(set.starts_with("mimamori_session="), "{set}");
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax"),
        "{set}"
    );
    assert!(!set.contains(ADMIN), "the cookie is not the token");
    assert_eq!(before.status, 200, "{}", before.text);
    assert!((200..300).contains(&out.status), "{}", out.text);
    after.assert_problem(401);
}

#[tokio::test]
async fn a_wrong_token_signs_nobody_in() {
    let server = Server::start().await;

    for token in ["", "wrong", INGEST_KEY] {
        let answer = sign_in(&server, token).await;
        assert!(
            [401, 403].contains(&answer.status),
            "{token:?}: {}",
            answer.status
        );
        assert_eq!(answer.header("set-cookie"), "");
    }
    let odd = server
        .stranger()
        .post("/api/v1/session", &json!({"token": 7}))
        .await;
    assert!((400..500).contains(&odd.status), "{}", odd.status);
}
