use mimamori_actors::ports::Clock;
use serde_json::Value;
use warp::test::RequestBuilder;

use super::*;
use crate::clock::SystemClock;
use crate::http::Context;
use crate::http::refusals::{Refusal, Wanted};
use crate::keys::{Keys, Secret};

struct Setup {
    keys: Arc<Keys>,
    refusals: Arc<Refusals>,
    routes: BoxedFilter<(Response,)>,
}

fn setup() -> Setup {
    let keys = Arc::new(Keys::ephemeral());
    let refusals = Arc::new(Refusals::default());
    let connect = Connect {
        access: Arc::new(Access::new(
            Arc::clone(&keys),
            Vec::new(),
            Arc::new(SystemClock),
        )),
        refusals: Arc::clone(&refusals),
        last_accepted: Arc::new(|| Some(Timestamp::from_millis(1_795_000_000_000))),
        clock: Arc::new(SystemClock),
    };
    Setup {
        keys,
        refusals,
        routes: routes(connect),
    }
}

fn request(method: &str, path: &str, token: &Secret) -> RequestBuilder {
    warp::test::request()
        .method(method)
        .path(path)
        .header("authorization", format!("Bearer {}", token.expose()))
        .extension(Context::for_tests())
}

#[tokio::test]
async fn the_page_is_told_the_address_with_its_key_and_what_was_refused() {
    let setup = setup();
    setup.refusals.record(Refusal {
        at: Timestamp::from_millis(1_795_000_000_000),
        wanted: Wanted::Events,
        status: 401,
        code: "unknown_key".to_owned(),
        detail: "no such key".to_owned(),
        origin: Some("jupyter.example".to_owned()),
        count: 3,
    });
    let session = setup.keys.new_session(SystemClock.now()).0;

    let response = request("GET", "/api/v1/connect", &session)
        .reply(&setup.routes)
        .await;

    let key = setup.keys.ingest_key().expose();
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(
        body["ingestUrl"],
        format!("http://127.0.0.1:8000/k/{key}/api/v1/events")
    );
    assert_eq!(body["key"], key);
    assert_eq!(body["lastAccepted"], "2026-11-18T11:06:40.000Z");
    assert_eq!(body["lastRefusals"][0]["code"], "unknown_key");
    assert_eq!(body["lastRefusals"][0]["wanted"], "events");
    assert_eq!(body["lastRefusals"][0]["at"], "2026-11-18T11:06:40.000Z");
}

#[tokio::test]
async fn who_is_not_signed_in_learns_no_key() {
    let setup = setup();
    let nobody = warp::test::request()
        .path("/api/v1/connect")
        .extension(Context::for_tests());
    let ingest = request("GET", "/api/v1/connect", setup.keys.ingest_key());

    for (request, status) in [(nobody, 401), (ingest, 403)] {
        let response = request.reply(&setup.routes).await;

        assert_eq!(response.status(), status);
        let body = String::from_utf8_lossy(response.body()).into_owned();
        assert!(!body.contains(setup.keys.ingest_key().expose()));
    }
}

#[tokio::test]
async fn only_an_administrator_makes_links_and_they_sign_in() {
    let setup = setup();
    let session = setup.keys.new_session(SystemClock.now()).0;
    let path = "/api/v1/admin/links";

    let by_admin = request("POST", path, setup.keys.admin_token());
    let by_instructor = request("POST", path, &session);

    let response = by_admin.reply(&setup.routes).await;
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    let link = body["link"].as_str().unwrap();
    let token = link.strip_prefix("http://127.0.0.1:8000/#token=").unwrap();
    assert!(setup.keys.credential(token, SystemClock.now()).is_ok());
    let response = by_instructor.reply(&setup.routes).await;
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one_before_who_asks() {
    let setup = setup();
    let nobody = |method: &str, path: &str| {
        warp::test::request()
            .method(method)
            .path(path)
            .extension(Context::for_tests())
    };

    let connect = nobody("POST", "/api/v1/connect").reply(&setup.routes).await;
    let links = nobody("GET", "/api/v1/admin/links")
        .reply(&setup.routes)
        .await;

    assert_eq!(connect.status(), 405);
    assert_eq!(connect.headers()["allow"], "GET, HEAD");
    assert_eq!(links.status(), 405);
    assert_eq!(links.headers()["allow"], "POST");
}

#[test]
fn a_configured_key_is_written_as_an_address_can_hold_it() {
    assert_eq!(
        ingest_address("https://hub.example/m/", "a/b ü?"),
        "https://hub.example/m/k/a%2Fb%20%C3%BC%3F/api/v1/events"
    );
}
