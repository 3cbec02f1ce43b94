use std::collections::HashMap;

use http_body_util::{BodyExt, Full};
use mimamori_actors::domain::Timestamp;
use serde_json::Value;
use warp::Filter;

use super::*;
use crate::clock::SystemClock;
use crate::http::Head;
use crate::http::refusals::{Refusal, Wanted};
use crate::http::request::head;

const PEER: [u8; 4] = [192, 0, 2, 7];

struct Setup {
    front: Front,
    refusals: Arc<Refusals>,
}

/// A server whose only route tells what arrived, panics, rejects, refuses or ignores a body.
fn setup(public_url: Option<&str>, trusted: &[&str]) -> Setup {
    let routes = head()
        .and_then(async |head: Head| match head.path.as_str() {
            "/panic" | "/api/v1/events/panic" => panic!("on purpose"),
            "/rejected" => Err(warp::reject::reject()),
            "/api/v1/events" => Ok(ApiError::unauthorized("unknown_key", "no such key")
                .into_response(&head.context.request_id)),
            "/missing" | "/api/v1/K/SECRET/missing" | "/api/v1/event" => {
                Ok(ApiError::not_found("nothing").into_response(&head.context.request_id))
            }
            _ => Ok(seen(&head)),
        })
        .boxed();
    let refusals = Arc::new(Refusals::default());
    let options = FrontOptions {
        public_url: public_url.map(str::to_owned),
        trusted_proxies: Networks::parse(trusted).unwrap(),
    };
    let front = Front::new(
        routes,
        options,
        Arc::clone(&refusals),
        Arc::new(SystemClock),
    );
    Setup { front, refusals }
}

fn seen(head: &Head) -> Response {
    let text = serde_json::json!({
        "path": head.path,
        "query": head.query,
        "peer": head.context.peer.ip().to_string(),
        "key": head.context.path_key,
        "base": head.context.base_url,
        "forwarded": head.headers.contains_key("x-forwarded-for"),
        "requestId": head.context.request_id,
    });
    Response::new(text.to_string().into())
}

struct Got {
    status: u16,
    headers: HashMap<String, String>,
    body: Value,
}

impl Setup {
    async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Got {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let peer = SocketAddr::from((PEER, 5_000));
        got(self.front.call(request, peer).await).await
    }

    async fn get(&self, uri: &str) -> Got {
        self.ask("GET", uri, &[("host", "hub.example:8000")]).await
    }
}

async fn got(response: Response) -> Got {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Got {
        status,
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let setup = setup(None, &[]);

    let (one, other) = (setup.get("/").await, setup.get("/").await);

    assert_eq!(one.headers["x-request-id"], one.body["requestId"]);
    assert_ne!(one.headers["x-request-id"], other.headers["x-request-id"]);
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_and_another_is_not() {
    let setup = setup(None, &[]);
    let sent = async |id: &str| setup.ask("GET", "/", &[("x-request-id", id)]).await;

    let longest = "a".repeat(64);
    for id in ["abc-1.2_3", longest.as_str()] {
        assert_eq!(sent(id).await.headers["x-request-id"], id);
    }
    let too_long = "a".repeat(65);
    for id in ["", "a b", "<script>", "a/b", too_long.as_str()] {
        assert_ne!(sent(id).await.headers["x-request-id"], id);
    }
}

#[tokio::test]
async fn the_key_in_the_path_is_taken_off_before_routing() {
    let setup = setup(None, &[]);

    let got = setup.get("/k/ing_1%20a/some/path?x=1").await;

    assert_eq!(got.body["path"], "/some/path");
    assert_eq!(got.body["query"], "x=1");
    assert_eq!(got.body["key"], "ing_1 a");
    assert_eq!(setup.get("/k/ing_1").await.body["path"], "/");
    assert_eq!(setup.get("/kk/ing_1").await.body["key"], Value::Null);
}

#[tokio::test]
async fn the_base_address_comes_from_the_host_header() {
    let setup = setup(None, &[]);

    assert_eq!(setup.get("/").await.body["base"], "http://hub.example:8000");
    for wrong in ["a/b", "x@hub.example", "a b", ""] {
        let got = setup.ask("GET", "/", &[("host", wrong)]).await;
        assert_eq!(got.body["base"], "http://localhost", "{wrong}");
    }
}

#[tokio::test]
async fn the_public_address_counts_before_the_host_and_its_path_is_taken_off() {
    let setup = setup(Some("https://hub.example/services/mimamori/"), &[]);
    let base = "https://hub.example/services/mimamori";

    for path in [
        "/services/mimamori/livez",
        "/livez",
        "/services/mimamori/k/ing_1/livez",
        "/k/ing_1/livez",
    ] {
        let got = setup.get(path).await;
        assert_eq!(got.body["path"], "/livez", "{path}");
        assert_eq!(got.body["base"], base);
    }
    let other = setup.get("/services/mimamorix").await;
    assert_eq!(other.body["path"], "/services/mimamorix");
}

#[tokio::test]
async fn the_public_address_without_its_slash_leads_to_the_page() {
    let setup = setup(Some("https://hub.example/services/mimamori"), &[]);

    let got = setup.get("/services/mimamori").await;

    assert_eq!(got.status, 308);
    assert_eq!(
        got.headers["location"],
        "https://hub.example/services/mimamori/"
    );
}

const FORWARDED: [(&str, &str); 4] = [
    ("host", "inner:8000"),
    ("x-forwarded-for", "203.0.113.9, 198.51.100.4"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "hub.example"),
];

#[tokio::test]
async fn what_a_stranger_says_about_forwarding_is_not_believed() {
    let setup = setup(None, &["10.0.0.0/8"]);

    let got = setup.ask("GET", "/", &FORWARDED).await;

    assert_eq!(got.body["peer"], "192.0.2.7");
    assert_eq!(got.body["base"], "http://inner:8000");
    assert_eq!(got.body["forwarded"], true, "still there to be seen");
}

#[tokio::test]
async fn a_trusted_proxy_tells_who_asks_and_how() {
    let setup = setup(None, &["192.0.2.7"]);

    let got = setup.ask("GET", "/", &FORWARDED).await;

    assert_eq!(got.body["peer"], "198.51.100.4", "the hop it saw itself");
    assert_eq!(got.body["base"], "https://hub.example");
    assert_eq!(got.body["forwarded"], false);
}

#[tokio::test]
async fn a_chain_of_trusted_proxies_is_followed_to_its_end() {
    let setup = setup(None, &["192.0.2.7", "198.51.100.4"]);

    let got = setup.ask("GET", "/", &FORWARDED).await;

    assert_eq!(got.body["peer"], "203.0.113.9");
}

#[tokio::test]
async fn a_panicking_handler_costs_only_its_own_request() {
    let setup = setup(None, &[]);

    let got = setup.get("/panic").await;

    assert_eq!(got.status, 500);
    assert_eq!(got.headers["content-type"], "application/problem+json");
    assert_eq!(got.body["code"], "internal");
    assert_eq!(setup.get("/").await.status, 200);
}

#[tokio::test]
async fn a_rejection_that_slipped_through_becomes_a_problem() {
    let setup = setup(None, &[]);

    let got = setup.get("/rejected").await;

    assert_eq!(got.headers["content-type"], "application/problem+json");
    assert_eq!(got.body["requestId"], got.headers["x-request-id"]);
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let setup = setup(None, &[]);

    for path in ["/", "/missing", "/panic"] {
        let got = setup.get(path).await;
        assert_eq!(got.headers["x-content-type-options"], "nosniff");
        assert_eq!(got.headers["referrer-policy"], "no-referrer");
        assert_eq!(got.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn a_401_says_how_to_sign_in() {
    let setup = setup(None, &[]);

    let got = setup.get("/api/v1/events").await;

    assert!(got.headers["www-authenticate"].starts_with("Bearer"));
}

#[tokio::test]
async fn a_refused_request_is_remembered_without_its_secrets() {
    let setup = setup(None, &[]);

    setup
        .ask(
            "POST",
            "/k/ing_secret/api/v1/events?key=ing_other",
            &[
                ("authorization", "Bearer ing_third"),
                ("origin", "http://jupyter.example:8888"),
            ],
        )
        .await;

    let last = setup.refusals.last();
    let Refusal { at, .. } = last[0];
    assert!(at > Timestamp::default());
    assert_eq!(
        last,
        [Refusal {
            at,
            wanted: Wanted::Events,
            status: 401,
            code: "unknown_key".to_owned(),
            detail: "no such key".to_owned(),
            origin: Some("jupyter.example:8888".to_owned()),
            count: 1,
        }]
    );
}

#[tokio::test]
async fn events_sent_to_a_wrong_address_are_remembered_and_a_stray_page_is_not() {
    let setup = setup(None, &[]);

    setup.get("/missing").await;
    assert!(setup.refusals.last().is_empty());

    setup.ask("POST", "/k/ing_1/api/v1/event", &[]).await;
    assert_eq!(setup.refusals.last()[0].wanted, Wanted::NoSuchAddress);
}

#[tokio::test]
async fn an_unread_body_is_taken_off_the_wire_before_the_answer() {
    let setup = setup(None, &[]);
    let body = Full::new(Bytes::from(vec![b'x'; 1_000_000]));
    let body = Kept::new(body);
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/events")
        .body(body.share())
        .unwrap();

    let response = setup
        .front
        .call(request, SocketAddr::from((PEER, 5_000)))
        .await;

    assert_eq!(response.status(), 401);
    assert!(body.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_does_not_hold_back_a_refusal() {
    let setup = setup(None, &[]);
    let never = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<hyper::body::Frame<Bytes>, std::io::Error>,
    >());
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/events")
        .body(never)
        .unwrap();

    let response = setup.front.call(request, SocketAddr::from((PEER, 5_000)));

    let response = tokio::time::timeout(Duration::from_secs(1), response).await;
    assert_eq!(response.unwrap().status(), 401);
}

#[tokio::test]
async fn what_the_page_asks_for_is_dated_by_the_clock_that_its_times_are_of() {
    let setup = setup(None, &[]);

    let before = SystemClock.now();
    let got = setup.get("/api/v1/connect").await;

    let date = jiff::fmt::rfc2822::parse(&got.headers["date"]).unwrap();
    let late = date.timestamp().as_millisecond() - before.as_millis();
    assert!((-1_000..60_000).contains(&late), "{late} ms");
    assert!(!setup.get("/livez").await.headers.contains_key("date"));
}

#[tokio::test]
async fn odd_targets_are_answered() {
    let setup = setup(None, &[]);

    for (method, uri) in [
        ("OPTIONS", "*"),
        ("CONNECT", "hub.example:443"),
        ("GET", "http://hub.example/k/x/livez"),
        ("GET", "/%00%ff"),
        ("GET", "//"),
        ("GET", "/k/"),
        ("GET", "/k//"),
    ] {
        let got = setup.ask(method, uri, &[]).await;
        assert_eq!(got.status, 200, "{method} {uri}");
    }
}

/// What was logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_reaches_the_log_wherever_it_stands() {
    let setup = setup(None, &[]);
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || written.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);

    for uri in [
        "/k/SECRET/api/v1/events",
        "/api/v1/events?key=SECRET",
        "/api/v1/connect?token=SECRET",
        "/api/v1/K/SECRET/missing",
        "/k/SECRET/missing",
        "/k/SECRET/panic",
    ] {
        let headers = [
            ("authorization", "Bearer SECRET"),
            ("cookie", "mimamori_session=SECRET"),
        ];
        setup.ask("POST", uri, &headers).await;
    }
    drop(guard);

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("answered a request"), "{logged}");
    assert!(!logged.contains("SECRET"), "{logged}");
}
