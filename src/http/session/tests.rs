use mimamori_actors::ports::Clock;
use serde_json::Value;
use warp::http::Response as HttpResponse;
use warp::test::RequestBuilder;

use super::*;
use crate::clock::SystemClock;
use crate::http::Context;
use crate::keys::Keys;

struct Setup {
    access: Arc<Access>,
    keys: Arc<Keys>,
    routes: BoxedFilter<(Response,)>,
}

fn setup() -> Setup {
    let keys = Arc::new(Keys::ephemeral());
    let access = Arc::new(Access::new(
        Arc::clone(&keys),
        Vec::new(),
        Arc::new(SystemClock),
    ));
    Setup {
        routes: routes(Arc::clone(&access)),
        access,
        keys,
    }
}

fn request(method: &str) -> RequestBuilder {
    warp::test::request()
        .method(method)
        .path("/api/v1/session")
        .extension(Context::for_tests())
}

fn sign_in_with(token: &str) -> RequestBuilder {
    request("POST").json(&json!({ "token": token }))
}

fn code<B: AsRef<[u8]>>(response: &HttpResponse<B>) -> String {
    let body: Value = serde_json::from_slice(response.body().as_ref()).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

fn set_cookie_of<B>(response: &HttpResponse<B>) -> String {
    response.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned()
}

impl Setup {
    fn link(&self) -> String {
        self.keys.new_link(SystemClock.now()).expose().to_owned()
    }

    /// Signs in and gives what a browser would send from then on.
    async fn cookie(&self) -> String {
        let response = sign_in_with(&self.link()).reply(&self.routes).await;
        let cookie = set_cookie_of(&response);
        cookie.split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_link_becomes_a_cookie_that_no_script_reads() {
    let setup = setup();

    let response = sign_in_with(&setup.link()).reply(&setup.routes).await;

    assert_eq!(response.status(), 200);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["viewer"], "instructor");
    assert!(body["expires"].as_str().unwrap().ends_with('Z'));
    let cookie = set_cookie_of(&response);
    assert!(cookie.starts_with("mimamori_session=ses_"), "{cookie}");
    for part in [
        "; HttpOnly",
        "; SameSite=Lax",
        "; Path=/;",
        "; Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{part} is not in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "the address has no TLS");
}

#[tokio::test]
async fn behind_tls_and_a_path_the_cookie_is_kept_to_them() {
    let setup = setup();
    let mut context = Context::for_tests();
    context.base_url = "https://hub.example/services/mimamori".to_owned();

    let response = sign_in_with(&setup.link())
        .extension(context)
        .reply(&setup.routes)
        .await;

    let cookie = set_cookie_of(&response);
    assert!(cookie.contains("; Path=/services/mimamori;"), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn even_the_admin_token_gives_an_instructors_cookie() {
    let setup = setup();

    let admin = setup.keys.admin_token().expose();
    let response = sign_in_with(admin).reply(&setup.routes).await;

    assert_eq!(response.status(), 200);
    assert!(set_cookie_of(&response).starts_with("mimamori_session=ses_"));
}

#[tokio::test]
async fn the_cookie_says_who_one_is() {
    let setup = setup();
    let cookie = setup.cookie().await;

    let signed_in = request("GET").header("cookie", &cookie);
    let nobody = request("GET");

    let signed_in = signed_in.reply(&setup.routes).await;
    assert_eq!(signed_in.status(), 200);
    let body: Value = serde_json::from_slice(signed_in.body()).unwrap();
    assert_eq!(body["viewer"], "instructor");
    assert_eq!(nobody.reply(&setup.routes).await.status(), 401);
}

#[tokio::test]
async fn a_wrong_token_signs_nobody_in() {
    let setup = setup();

    let unknown = sign_in_with("lnk_0").reply(&setup.routes).await;
    let ingest = sign_in_with(setup.keys.ingest_key().expose())
        .reply(&setup.routes)
        .await;

    assert_eq!(
        (unknown.status().as_u16(), code(&unknown)),
        (401, "unknown_token".into())
    );
    assert_eq!(
        (ingest.status().as_u16(), code(&ingest)),
        (403, "forbidden".into())
    );
    assert!(!unknown.headers().contains_key("set-cookie"));
    assert!(!ingest.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn a_foreign_page_signs_nobody_in_or_out() {
    let setup = setup();
    let cookie = setup.cookie().await;
    let foreign = "https://evil.example";

    let sign_in = sign_in_with(&setup.link())
        .header("origin", foreign)
        .reply(&setup.routes)
        .await;
    let sign_out = request("DELETE")
        .header("cookie", &cookie)
        .header("origin", foreign)
        .reply(&setup.routes)
        .await;

    assert_eq!(
        (sign_in.status().as_u16(), code(&sign_in)),
        (403, "foreign_origin".into())
    );
    assert_eq!(sign_out.status(), 403);
    let still_in = request("GET").header("cookie", &cookie);
    assert_eq!(still_in.reply(&setup.routes).await.status(), 200);
}

#[tokio::test]
async fn the_servers_own_page_signs_in() {
    let setup = setup();

    let response = sign_in_with(&setup.link())
        .header("origin", "http://127.0.0.1:8000")
        .reply(&setup.routes)
        .await;

    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn who_signed_out_is_out_even_with_the_old_cookie() {
    let setup = setup();
    let cookie = setup.cookie().await;

    let response = request("DELETE")
        .header("cookie", &cookie)
        .reply(&setup.routes)
        .await;

    assert_eq!(response.status(), 204);
    let cleared = set_cookie_of(&response);
    assert!(cleared.starts_with("mimamori_session=;"), "{cleared}");
    assert!(cleared.contains("Max-Age=0"), "{cleared}");
    let again = request("GET").header("cookie", &cookie);
    assert_eq!(again.reply(&setup.routes).await.status(), 401);
    let value = cookie.split_once('=').unwrap().1;
    assert!(setup.access.viewer_of_token(value).is_err());
}

#[tokio::test]
async fn signing_out_twice_or_without_a_cookie_is_no_fault() {
    let setup = setup();

    assert_eq!(request("DELETE").reply(&setup.routes).await.status(), 204);
}

#[tokio::test]
async fn what_is_no_sign_in_is_told_what_is() {
    let setup = setup();
    let json = |body: &str| {
        request("POST")
            .header("content-type", "application/json; charset=utf-8")
            .body(body)
    };

    let cases = [
        (request("PUT"), 405, "method_not_allowed"),
        (request("POST").body("{}"), 415, "not_json"),
        (json("{"), 400, "bad_json"),
        (json("{\"token\":7}"), 400, "bad_json"),
        (json("\u{0}"), 400, "bad_json"),
        (json(&"x".repeat(5_000)), 413, "too_large"),
    ];

    for (request, status, expected) in cases {
        let response = request.reply(&setup.routes).await;
        assert_eq!(response.status(), status);
        assert_eq!(code(&response), expected);
    }
    let response = request("PUT").reply(&setup.routes).await;
    assert_eq!(response.headers()["allow"], "GET, HEAD, POST, DELETE");
}

#[tokio::test]
async fn an_answer_never_repeats_the_token() {
    let setup = setup();

    let response = sign_in_with("lnk_my-secret").reply(&setup.routes).await;

    let body = String::from_utf8_lossy(response.body()).into_owned();
    assert!(!body.contains("my-secret"), "{body}");
}
