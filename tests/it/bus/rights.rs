//! Who is signed in, is so at every node; who signed out, is so at every node too.

use std::process::Stdio;

use reqwest::Method;

use super::*;
use crate::harness::{Api, SignIn, program};

async fn status_of(node: &Server, cookie: &str) -> u16 {
    let ask = node
        .stranger()
        .request(Method::GET, "/api/v1/session")
        .header("cookie", cookie);
    Api::send(ask).await.unwrap().status
}

#[tokio::test]
async fn a_link_of_one_node_signs_in_at_another_and_signing_out_there_is_known_here() {
    let url = database();
    let ingest = ingest_on(&url, &[]).await;
    let node = consoles_on(&url, &[]).await;

    let link = ingest
        .api()
        .post("/api/v1/admin/links", &json!({}))
        .await
        .good();
    let (_, token) = link["link"]
        .as_str()
        .unwrap()
        .split_once("#token=")
        .unwrap();
    let signed_in = node
        .stranger()
        .post("/api/v1/session", &json!({ "token": token }))
        .await;
    let cookie = signed_in.header("set-cookie");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(status_of(&ingest, &cookie).await, 200);
    let by_cookie = SignIn {
        cookie: Some(cookie.clone()),
        origin: Some(ingest.base()),
        ..SignIn::default()
    };
    let mut console = Console::connect(&ingest, &by_cookie).await.unwrap();
    console.hello().await;

    let sign_out = node
        .stranger()
        .request(Method::DELETE, "/api/v1/session")
        .header("cookie", &cookie);
    assert_eq!(Api::send(sign_out).await.unwrap().status, 204);

    assert_eq!(console.ended(SOON).await, Ended::Closed(4403));
    assert_eq!(status_of(&ingest, &cookie).await, 401);
}

#[tokio::test]
async fn who_signed_out_while_redis_was_away_is_out_everywhere_when_it_is_back() {
    let mut redis = Redis::start();
    let url = redis.database();
    let ingest = ingest_on(&url, &[]).await;
    let node = consoles_on(&url, &[]).await;
    let signed_in = ingest
        .stranger()
        .post("/api/v1/session", &json!({ "token": ADMIN }))
        .await;
    let cookie = signed_in.header("set-cookie");
    let cookie = cookie.split(';').next().unwrap().to_owned();

    redis.say("kill");
    redis.say("empty");
    let sign_out = ingest
        .stranger()
        .request(Method::DELETE, "/api/v1/session")
        .header("cookie", &cookie);
    assert_eq!(Api::send(sign_out).await.unwrap().status, 204);
    assert_eq!(status_of(&node, &cookie).await, 200, "it cannot know");
    redis.say("start");

    eventually("it is known", SOON, async || {
        let status = status_of(&node, &cookie).await;
        ensure(status == 401, || status.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_node_of_consoles_makes_no_secrets_and_starts_without_none() {
    let dir = tempfile::tempdir().unwrap();
    let started_with = async |env: &[(&str, &str)]| {
        let mut command = program(dir.path());
        command.args(["serve", "--role", "consoles"]);
        command.envs(env.iter().copied()).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        (output.status.code(), said)
    };

    let without_bus = started_with(&[]).await;
    let bus = ("MIMAMORI_BUS__URL", "redis://127.0.0.1:1/0");
    let without_secret = started_with(&[bus]).await;

    assert_eq!(without_bus.0, Some(2));
    assert!(without_bus.1.contains("bus.url"), "{}", without_bus.1);
    assert_eq!(without_secret.0, Some(1));
    let said = &without_secret.1;
    assert!(said.contains("auth.signing_secret is not set"), "{said}");
    assert!(!dir.path().join("keys/signing-key").exists());
}

#[tokio::test]
async fn a_node_that_signs_with_another_secret_says_so() {
    let url = database();
    let ingest = ingest_on(&url, &[]).await;
    let another = "another-secret-not-for-logs-0123456789";
    let node = consoles_on(&url, &[("MIMAMORI_AUTH__SIGNING_SECRET", another)]).await;

    is_degraded(&node, &json!(["bus"])).await;

    let said = bus_of(&node).await["lastError"].to_string();
    assert!(said.contains("auth.signing_secret"), "{said}");
    let log = node.log();
    assert!(
        log.contains("\"ERROR\"") && log.contains("auth.signing_secret"),
        "{log}"
    );
    assert!(!log.contains(another) && !log.contains(SIGNING), "{log}");
    is_degraded(&ingest, &json!([])).await;
}
