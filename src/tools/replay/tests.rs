use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use warp::Filter;
use warp::http::{HeaderMap, StatusCode};

use super::*;

type Seen = Arc<Mutex<Vec<(String, String, HeaderMap, Bytes)>>>;

/// A server that keeps what it was sent, and refuses students' calls for help.
async fn server(seen: &Seen) -> SocketAddr {
    let seen = Arc::clone(seen);
    let route = warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .map(
            move |method: Method, path: warp::path::FullPath, headers, body: Bytes| {
                let is_help = String::from_utf8_lossy(&body).contains("\"eventType\": \"help\"");
                let entry = (method.to_string(), path.as_str().to_owned(), headers, body);
                seen.lock().unwrap().push(entry);
                if is_help {
                    StatusCode::FORBIDDEN
                } else {
                    StatusCode::ACCEPTED
                }
            },
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(warp::serve(route).incoming(listener).run());
    address
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cell-monitor")
}

fn settings(base: &str, key: Option<&str>) -> Settings {
    Settings {
        base: base.parse().unwrap(),
        key: key.map(str::to_owned),
        speed: None,
    }
}

#[tokio::test]
async fn recorded_requests_arrive_as_they_were_recorded_and_in_their_order() {
    let seen = Seen::default();
    let address = server(&seen).await;
    let requests = read(&[fixtures()]).unwrap();
    let mut lines = Vec::new();

    let settings = settings(&format!("http://{address}"), Some("KEY"));
    let refused = run(&settings, &requests, |line| lines.push(line.to_owned()))
        .await
        .unwrap();

    let seen = seen.lock().unwrap();
    assert_eq!((requests.len(), seen.len(), lines.len()), (49, 49, 49));
    assert_eq!(refused, 3);
    assert_eq!(lines[0], "202 OPTIONS /api/v1/events 01-preflight.json");
    assert_eq!(lines[26], "403 POST /api/v1/events 27-help_t0.json");
    let (method, path, headers, body) = &seen[0];
    assert_eq!(
        (method.as_str(), path.as_str()),
        ("OPTIONS", "/k/KEY/api/v1/events")
    );
    assert_eq!(headers["origin"], "http://127.0.0.1:21001");
    assert_eq!(headers["access-control-request-method"], "POST");
    assert!(body.is_empty());
    let (_, _, headers, body) = &seen[1];
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body[0]["userName"], "山田花子");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_answer() {
    let requests = read(&[fixtures().join("02-notebook_opened.json")]).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut lines = Vec::new();

    let settings = settings(&format!("http://{address}/k/SECRET"), None);
    let refused = run(&settings, &requests, |line| lines.push(line.to_owned()))
        .await
        .unwrap();

    assert_eq!(refused, 1);
    assert!(lines[0].starts_with("no answer ("), "{}", lines[0]);
    assert!(!lines[0].contains("SECRET"), "{}", lines[0]);
}

#[test]
fn an_ingest_address_is_taken_for_the_server_too() {
    let path = "/api/v1/events";
    let to = |base: &str, key| address(&settings(base, key), path).unwrap().to_string();

    assert_eq!(to("http://h:1/", None), "http://h:1/api/v1/events");
    assert_eq!(
        to("http://h:1/k/KEY/api/v1/events", None),
        "http://h:1/k/KEY/api/v1/events"
    );
    assert_eq!(
        to("http://h:1/x/", Some("K")),
        "http://h:1/x/k/K/api/v1/events"
    );
    assert_eq!(
        to("http://h:1/api/v1/events?key=K", None),
        "http://h:1/api/v1/events?key=K"
    );
}

#[test]
fn recorded_pauses_are_kept_in_proportion() {
    let requests = read(&[fixtures()]).unwrap();
    let first = requests[0].request.recorded_at;
    let at = |speed| {
        pause(
            &Settings {
                speed,
                ..settings("http://h", None)
            },
            first,
            &requests[2],
        )
    };

    assert_eq!(at(None), Duration::ZERO);
    assert_eq!(at(Some(1.0)), Duration::from_millis(7_734));
    assert_eq!(at(Some(2.0)), Duration::from_millis(3_867));
}

#[test]
fn what_holds_no_request_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let wrong = empty.path().join("wrong.json");

    let none = read(&[empty.path().to_owned()]).unwrap_err();
    std::fs::write(&wrong, "{}").unwrap();
    let other = read(&[empty.path().to_owned()]).unwrap_err();
    let missing = read(&[empty.path().join("missing.json")]).unwrap_err();

    assert!(format!("{none:#}").contains("no recorded request"));
    assert!(
        format!("{other:#}").contains("wrong.json: missing field"),
        "{other:#}"
    );
    assert!(
        format!("{missing:#}").contains("missing.json: No such file"),
        "{missing:#}"
    );
}
