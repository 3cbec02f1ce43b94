use mimamori_actors::tree::RestartError;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use warp::http::Response as HttpResponse;
use warp::test::RequestBuilder;

use super::*;
use crate::clock::SystemClock;
use crate::http::Context;
use crate::http::accept::{AcceptOptions, serve};
use crate::http::connect::{self, Connect};
use crate::http::health::{Readiness, TreeReport};
use crate::http::refusals::Refusals;
use crate::http::service::{Front, FrontOptions};
use crate::keys::Keys;
use crate::networks::Networks;
use crate::telemetry::metrics::detached;

struct NoTree;

impl TreeReport for NoTree {
    fn tree(&self) -> Value {
        json!({})
    }

    fn sessions(&self, _: Option<&str>, _: usize) -> Value {
        json!({})
    }

    fn restart(&self, _: &str) -> Result<(), RestartError> {
        Err(RestartError::Unknown)
    }
}

/// Stands for a subject's filter: takes its own path only.
fn only_at(path: &'static str) -> BoxedFilter<(Response,)> {
    warp::path::full()
        .and_then(move |full: warp::path::FullPath| {
            std::future::ready(if full.as_str() == path {
                Ok(Response::new(path.into()))
            } else {
                Err(warp::reject::not_found())
            })
        })
        .boxed()
}

fn parts(refusals: &Arc<Refusals>) -> Parts {
    let keys = Arc::new(Keys::ephemeral());
    let access = Arc::new(Access::new(keys, Vec::new(), Arc::new(SystemClock)));
    Parts {
        backup: only_at("/api/v1/admin/backup"),
        connect: connect::routes(Connect {
            access: Arc::clone(&access),
            refusals: Arc::clone(refusals),
            last_accepted: Arc::new(|| None),
            clock: Arc::new(SystemClock),
        }),
        health: Health {
            access: Arc::clone(&access),
            readiness: Arc::new(Readiness::default),
            metrics: detached(),
            metrics_from: Networks::loopback(),
            tree: Arc::new(NoTree),
        },
        access,
        ingest: only_at("/api/v1/events"),
        live: only_at("/api/v1/live"),
        privacy: only_at("/privacy/default"),
        export: only_at("/api/v1/exports"),
        reading: only_at("/api/v1/classrooms"),
        rights: only_at("/api/v1/admin/classrooms"),
    }
}

fn request(method: &str, path: &str) -> RequestBuilder {
    warp::test::request()
        .method(method)
        .path(path)
        .extension(Context::for_tests())
}

async fn answer(method: &str, path: &str) -> HttpResponse<bytes::Bytes> {
    let routes = routes(parts(&Arc::default()));
    request(method, path).reply(&routes).await
}

#[tokio::test]
async fn every_subject_is_reached_at_its_path() {
    for (path, status) in [
        ("/api/v1/events", 200),
        ("/api/v1/live", 200),
        ("/api/v1/classrooms", 200),
        ("/api/v1/session", 401),
        ("/api/v1/connect", 401),
        ("/api/v1/health/actors", 401),
        ("/livez", 200),
        ("/livez/", 200), // a slash too many does no harm
        ("/readyz", 503),
        ("/metrics", 200),
        ("/privacy/default", 200),
        ("/api/v1/exports", 200),
        ("/", 200),
    ] {
        assert_eq!(answer("GET", path).await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_whatever_the_method_and_whoever_asks() {
    for (method, path) in [
        ("GET", "/api/v1/nothing"),
        ("POST", "/api/v1/nothing"),
        ("DELETE", "/api/v2/events"),
        ("OPTIONS", "/api"),
        ("GET", "/api/v1//session"),
        ("GET", "/api/v1/session/x"),
        ("POST", "/nothing"),
        ("GET", "/livez/x"),
    ] {
        let response = answer(method, path).await;

        assert_eq!(response.status(), 404, "{method} {path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let problem: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(problem["code"], "not_found");
        assert_eq!(problem["requestId"], "test-1");
        assert!(!problem.to_string().contains(path), "nothing is echoed");
    }
}

#[tokio::test]
async fn a_wrong_method_comes_before_the_missing_credential() {
    for (method, path, allow) in [
        ("DELETE", "/livez", "GET, HEAD"),
        ("POST", "/api/v1/connect", "GET, HEAD"),
        ("POST", "/api/v1/health/actors", "GET, HEAD"),
        ("GET", "/api/v1/admin/actors/x/restart", "POST"),
        ("PATCH", "/api/v1/session", "GET, HEAD, POST, DELETE"),
        ("OPTIONS", "/", "GET, HEAD"),
    ] {
        let response = answer(method, path).await;

        assert_eq!(response.status(), 405, "{method} {path}");
        assert_eq!(response.headers()["allow"], allow);
    }
}

#[tokio::test]
async fn the_whole_front_end_answers_over_a_socket() {
    let refusals = Arc::new(Refusals::default());
    let front = Front::new(
        routes(parts(&refusals)),
        FrontOptions::default(),
        refusals,
        Arc::new(SystemClock),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let second = std::time::Duration::from_secs(1);
    let options = AcceptOptions {
        header_timeout: second * 10,
        idle_timeout: second * 10,
        max_connections: 10,
        drain_deadline: second,
    };
    let serving = tokio::spawn(serve(listener, front, options, std::future::pending()));
    let large = "x".repeat(300_000);
    let mut socket = TcpStream::connect(address).await.unwrap();

    // a refusal with its body unread, and the next request on the same connection
    let refused = format!(
        "POST /api/v1/nothing HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{large}",
        large.len()
    );
    let next = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(refused.as_bytes()).await.unwrap();
    socket.write_all(next.as_bytes()).await.unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).await.unwrap();

    assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    assert!(said.contains("HTTP/1.1 200 "), "{said}");
    assert!(said.contains("x-request-id: "), "{said}");
    serving.abort();
}
