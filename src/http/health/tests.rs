use std::sync::Mutex;

use mimamori_actors::ports::Clock;
use warp::http::Response as HttpResponse;
use warp::test::RequestBuilder;

use super::*;
use crate::clock::SystemClock;
use crate::http::Context;
use crate::keys::{Keys, Secret};
use crate::telemetry::metrics::detached;

/// A tree that remembers what it was asked for.
#[derive(Default)]
struct FakeTree {
    asked: Mutex<Vec<String>>,
}

impl TreeReport for FakeTree {
    fn tree(&self) -> Value {
        json!({ "name": "root" })
    }

    fn sessions(&self, cursor: Option<&str>, limit: usize) -> Value {
        json!({ "cursor": cursor, "limit": limit })
    }

    fn restart(&self, name: &str) -> Result<(), RestartError> {
        if name == "nobody" {
            return Err(RestartError::Unknown);
        }
        self.asked.lock().unwrap().push(name.to_owned());
        Ok(())
    }
}

struct Setup {
    keys: Arc<Keys>,
    tree: Arc<FakeTree>,
    routes: BoxedFilter<(Response,)>,
}

fn setup() -> Setup {
    with_readiness(Readiness {
        is_ready: true,
        ..Readiness::default()
    })
}

fn with_readiness(now: Readiness) -> Setup {
    let keys = Arc::new(Keys::ephemeral());
    let tree = Arc::new(FakeTree::default());
    let health = Health {
        access: Arc::new(Access::new(
            Arc::clone(&keys),
            Vec::new(),
            Arc::new(SystemClock),
        )),
        readiness: Arc::new(move || now.clone()),
        metrics: detached(),
        metrics_from: Networks::loopback(),
        tree: tree.clone(),
    };
    Setup {
        keys,
        tree,
        routes: routes(health),
    }
}

fn request(method: &str, path: &str) -> RequestBuilder {
    warp::test::request()
        .method(method)
        .path(path)
        .extension(Context::for_tests())
}

fn with(token: &Secret, method: &str, path: &str) -> RequestBuilder {
    request(method, path).header("authorization", format!("Bearer {}", token.expose()))
}

fn from_afar() -> Context {
    Context {
        peer: ([192, 0, 2, 7], 5_000).into(),
        ..Context::for_tests()
    }
}

fn body<B: AsRef<[u8]>>(response: &HttpResponse<B>) -> Value {
    serde_json::from_slice(response.body().as_ref()).unwrap()
}

#[tokio::test]
async fn it_is_alive() {
    let setup = setup();

    for method in ["GET", "HEAD"] {
        let response = request(method, "/livez").reply(&setup.routes).await;
        assert_eq!(response.status(), 200);
    }
    let response = request("POST", "/livez").reply(&setup.routes).await;
    assert_eq!(response.status(), 405);
}

#[tokio::test]
async fn a_store_that_is_down_degrades_and_does_not_unready() {
    let setup = with_readiness(Readiness {
        is_ready: true,
        reason: None,
        degraded: vec!["records".to_owned()],
    });

    let response = request("GET", "/readyz").reply(&setup.routes).await;

    assert_eq!(response.status(), 200);
    assert_eq!(body(&response)["degraded"], json!(["records"]));
}

#[tokio::test]
async fn what_cannot_take_events_is_not_ready_and_says_why() {
    let setup = with_readiness(Readiness {
        is_ready: false,
        reason: Some("draining".to_owned()),
        degraded: vec!["series".to_owned()],
    });

    let response = request("GET", "/readyz").reply(&setup.routes).await;

    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(body(&response)["detail"], "draining");
    assert_eq!(body(&response)["degraded"], json!(["series"]));
}

#[tokio::test]
async fn metrics_are_read_from_this_machine_or_with_the_admin_token() {
    let setup = setup();
    let session = setup.keys.new_session(SystemClock.now()).0;

    let cases = [
        (request("GET", "/metrics"), 200),
        (request("GET", "/metrics").extension(from_afar()), 401),
        (
            with(setup.keys.admin_token(), "GET", "/metrics").extension(from_afar()),
            200,
        ),
        (
            with(&session, "GET", "/metrics").extension(from_afar()),
            403,
        ),
        (request("POST", "/metrics"), 405),
    ];

    for (request, status) in cases {
        assert_eq!(request.reply(&setup.routes).await.status(), status);
    }
}

#[tokio::test]
async fn a_proxy_on_this_machine_does_not_open_metrics_to_the_world() {
    let setup = setup();

    for header in ["x-forwarded-for", "forwarded", "via"] {
        let response = request("GET", "/metrics")
            .header(header, "203.0.113.9")
            .reply(&setup.routes)
            .await;
        assert_eq!(response.status(), 401, "{header}");
    }
}

#[tokio::test]
async fn only_the_admin_token_sees_the_actors() {
    let setup = setup();
    let path = "/api/v1/health/actors";
    let session = setup.keys.new_session(SystemClock.now()).0;

    let cases = [
        (request("GET", path), 401),
        (with(&session, "GET", path), 403),
        (with(setup.keys.ingest_key(), "GET", path), 403),
        (with(setup.keys.admin_token(), "POST", path), 405),
    ];

    for (request, status) in cases {
        assert_eq!(request.reply(&setup.routes).await.status(), status);
    }
    let response = with(setup.keys.admin_token(), "GET", path)
        .reply(&setup.routes)
        .await;
    assert_eq!(body(&response)["name"], "root");
}

#[tokio::test]
async fn sessions_are_paged() {
    let setup = setup();
    let get = async |query: &str| {
        let path = format!("/api/v1/health/actors?{query}");
        with(setup.keys.admin_token(), "GET", &path)
            .reply(&setup.routes)
            .await
    };

    assert_eq!(
        body(&get("kind=session&cursor=a%2Fb&limit=7").await),
        json!({ "cursor": "a/b", "limit": 7 })
    );
    assert_eq!(
        body(&get("kind=session").await),
        json!({ "cursor": null, "limit": 100 })
    );
    for wrong in [
        "kind=x",
        "kind=session&limit=0",
        "kind=session&limit=1001",
        "kind=session&limit=-1",
        "kind=session&limit=a",
    ] {
        assert_eq!(get(wrong).await.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn an_administrator_restarts_one_subtree_by_its_name() {
    let setup = setup();
    let post = |name: &str| {
        let path = format!("/api/v1/admin/actors/{name}/restart");
        with(setup.keys.admin_token(), "POST", &path)
    };

    let known = post("session%2Fstu_1").reply(&setup.routes).await;
    let unknown = post("nobody").reply(&setup.routes).await;

    assert_eq!(known.status(), 202);
    assert_eq!(*setup.tree.asked.lock().unwrap(), ["session/stu_1"]);
    assert_eq!(unknown.status(), 404);
    assert_eq!(body(&unknown)["code"], "not_found");
}

#[tokio::test]
async fn nobody_else_restarts_anything() {
    let setup = setup();
    let path = "/api/v1/admin/actors/router/restart";
    let session = setup.keys.new_session(SystemClock.now()).0;

    let cases = [
        (request("GET", path), 405),
        (request("POST", path), 401),
        (with(&session, "POST", path), 403),
        (
            request("POST", path)
                .header("cookie", format!("mimamori_session={}", session.expose())),
            403,
        ),
    ];

    for (request, status) in cases {
        assert_eq!(request.reply(&setup.routes).await.status(), status);
    }
    assert!(setup.tree.asked.lock().unwrap().is_empty());
}
