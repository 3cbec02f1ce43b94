//! The route against a journal in memory.

mod bodies;
mod withheld;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use mimamori_actors::domain::{JournalId, Position, Record, Rejection};
use mimamori_actors::ports::{Batch, ReadError};
use tokio::sync::watch;
use warp::http::{HeaderMap, Response as HttpResponse};
use warp::test::RequestBuilder;

use super::super::Context;
use super::*;

/// A journal in memory that can be told to fail.
#[derive(Default)]
struct FakeJournal {
    records: Mutex<Vec<Record>>,
    known: Mutex<HashMap<[u8; 16], [u8; 16]>>,
    failure: Mutex<Option<AppendError>>,
}

impl FakeJournal {
    fn fail_with(&self, error: AppendError) {
        *self.failure.lock().unwrap() = Some(error);
    }

    fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    fn rejections(&self) -> Vec<Rejection> {
        self.records()
            .into_iter()
            .filter_map(|record| {
                if let Record::Rejection(rejection) = record {
                    Some(rejection)
                } else {
                    None
                }
            })
            .collect()
    }

    fn append_one(&self, new: NewRecord) -> Verdict {
        if let Some(identity) = new.identity {
            let mut known = self.known.lock().unwrap();
            match known.get(&identity.key) {
                Some(content) if *content == identity.content => return Verdict::Duplicate,
                Some(_) => return Verdict::Conflict,
                None => known.insert(identity.key, identity.content),
            };
        }
        let mut records = self.records.lock().unwrap();
        records.push(new.record);
        Verdict::Accepted(Position(records.len() as u64))
    }
}

#[async_trait]
impl Journal for FakeJournal {
    fn id(&self) -> JournalId {
        JournalId::new("fake")
    }

    async fn append(
        &self,
        batch: Vec<NewRecord>,
        origin: Origin,
    ) -> Result<Vec<Verdict>, AppendError> {
        assert_eq!(origin, Origin::Outside);
        if let Some(error) = self.failure.lock().unwrap().clone() {
            return Err(error);
        }
        Ok(batch.into_iter().map(|new| self.append_one(new)).collect())
    }

    async fn read(&self, _after: Position, _limit: usize) -> Result<Batch, ReadError> {
        unimplemented!("the route does not read")
    }

    fn end(&self) -> watch::Receiver<Position> {
        unimplemented!("the route does not read")
    }

    fn oldest(&self) -> Position {
        unimplemented!("the route does not read")
    }

    fn committed(&self, _consumer: &'static str, _offset: Position) {}
}

struct FakeKeys;

impl IngestKeys for FakeKeys {
    fn classroom_to_write(&self, head: &Head) -> Result<ClassroomId, ApiError> {
        match head.header("authorization") {
            Some("Bearer good") => Ok(ClassroomId::new("default")),
            Some("Bearer reader") => Err(ApiError::new(StatusCode::FORBIDDEN, "no_key", "")),
            _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "no_key", "")),
        }
    }
}

/// Whether it is closed, and whether it is once somebody came through.
#[derive(Default)]
struct FakeGate(AtomicBool, AtomicBool);

impl Gate for FakeGate {
    fn refuse(&self) -> Option<ApiError> {
        let closes = self.1.load(Ordering::Relaxed);
        let is_closed = self.0.fetch_or(closes, Ordering::Relaxed);
        is_closed.then(|| ApiError::unavailable("draining", "", Duration::from_secs(2)))
    }
}

struct App {
    journal: Arc<FakeJournal>,
    gate: Arc<FakeGate>,
    desk: Desk,
    routes: BoxedFilter<(Response,)>,
}

impl App {
    fn new() -> Self {
        Self::with(Classrooms::default())
    }

    fn with(classrooms: Classrooms) -> Self {
        let journal = Arc::new(FakeJournal::default());
        let gate = Arc::new(FakeGate::default());
        let parts = Ingest {
            keys: Arc::new(FakeKeys),
            journal: journal.clone(),
            gate: gate.clone(),
            student_key: StudentKey::from_bytes([7; 32]),
            classrooms,
            body_timeout: Duration::from_secs(20),
        };
        Self {
            journal,
            gate,
            desk: Desk::new(parts.clone()),
            routes: routes(parts),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        Answer(request.reply(&self.routes).await)
    }

    async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.send(post().body(body)).await
    }

    /// Sends chunks as they come, past warp's own test body, which is always whole.
    async fn stream<S>(&self, headers: &[(&'static str, String)], chunks: S) -> Answer
    where
        S: Stream<Item = Result<Bytes, Infallible>> + Send,
    {
        let mut map = HeaderMap::new();
        map.insert("authorization", HeaderValue::from_static("Bearer good"));
        map.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let head = Head {
            method: Method::POST,
            path: "/api/v1/events".to_owned(),
            query: String::new(),
            headers: map,
            context: context(),
        };
        let response = self.desk.receive(head, chunks).await;
        let (parts, body) = response.into_parts();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap();
        Answer(HttpResponse::from_parts(parts, bytes.to_bytes()))
    }
}

struct Answer(HttpResponse<Bytes>);

impl Answer {
    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(self.0.body()).unwrap()
    }

    /// It is this problem, complete, and readable by any page.
    fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status(), status, "{}", self.json());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("access-control-allow-origin"), Some("*"));
        let problem = self.json();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["requestId"], "request-1");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{problem}");
        }
        assert_eq!(self.header("retry-after").is_some(), status == 503);
    }
}

fn context() -> Context {
    Context {
        request_id: "request-1".to_owned(),
        peer: ([127, 0, 0, 1], 4000).into(),
        path_key: None,
        base_url: "http://127.0.0.1".to_owned(),
    }
}

fn request(method: &str) -> RequestBuilder {
    warp::test::request()
        .method(method)
        .path("/api/v1/events")
        .extension(context())
}

fn post() -> RequestBuilder {
    request("POST")
        .header("authorization", "Bearer good")
        .header("content-type", "application/json")
}

fn event(id: &str) -> Value {
    json!({
        "eventId": id,
        "eventType": "cell_executed",
        "eventTime": "2026-11-21T22:25:44.353Z",
        "emailAddress": "hanako@example.ac.jp",
        "code": "print(1)",
    })
}

#[tokio::test]
async fn new_events_are_accepted_and_repeated_ones_are_duplicates() {
    let app = App::new();
    let batch = json!([event("e1"), event("e2")]).to_string();

    let first = app.post(&batch).await;
    let second = app.post(&batch).await;

    assert_eq!(first.status(), 202);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("access-control-allow-origin"), Some("*"));
    let exposed = first.header("access-control-expose-headers");
    assert_eq!(exposed, Some("X-Request-Id, Retry-After"));
    assert_eq!(first.header("connection"), None);
    let expected = json!({"accepted": 2, "duplicates": 0, "rejected": []});
    assert_eq!(first.json(), expected);
    let expected = json!({"accepted": 0, "duplicates": 2, "rejected": []});
    assert_eq!((second.status(), second.json()), (202, expected));
    assert_eq!(app.journal.records().len(), 2);
}

#[tokio::test]
async fn events_are_taken_from_either_form_and_none_is_success() {
    let app = App::new();

    let object = app.post(json!({"events": [event("e1")]}).to_string()).await;
    let empty = app.post("[]").await;
    let empty_object = app.post(r#"{"events":[]}"#).await;

    assert_eq!(object.json()["accepted"], 1);
    let zeros = json!({"accepted": 0, "duplicates": 0, "rejected": []});
    assert_eq!((empty.status(), empty.json()), (202, zeros.clone()));
    assert_eq!((empty_object.status(), empty_object.json()), (202, zeros));
}

#[tokio::test]
async fn one_bad_event_costs_the_good_ones_nothing_and_is_kept() {
    let app = App::new();
    let mut other = event("e1");
    other["code"] = json!("print(2)");
    let bad = json!({"eventId": "<b>", "eventType": "nap"});
    let batch = json!([7, event("e1"), bad, other, event("e2")]);

    let answer = app.post(batch.to_string()).await;

    assert_eq!(answer.status(), 202);
    let told = answer.json();
    assert_eq!(
        (&told["accepted"], &told["duplicates"]),
        (&json!(2), &json!(0))
    );
    let rejected: Vec<_> = told["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert!(one["detail"].is_string());
            json!([one["index"], one["code"], one["pointer"], one["eventId"]])
        })
        .collect();
    let expected = [
        json!([0, "not_an_object", "/0", null]),
        json!([2, "unknown_type", "/2/eventType", null]),
        json!([3, "conflict", "/3/eventId", "e1"]),
    ];
    assert_eq!(rejected, expected);
    let mut kept: Vec<_> = app
        .journal
        .rejections()
        .into_iter()
        .map(|rejection| (rejection.index, rejection.payload))
        .collect();
    kept.sort();
    let expected = [
        (0, "7".to_owned()),
        (2, bad.to_string()),
        (3, other.to_string()),
    ];
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn a_batch_of_refused_events_only_is_a_problem_with_the_three_members() {
    let app = App::new();
    app.post(json!([event("e1")]).to_string()).await;
    let mut other = event("e1");
    other["code"] = json!("print(2)");

    let answer = app.post(json!([{}, other]).to_string()).await;

    answer.assert_problem(422, "all_rejected");
    let problem = answer.json();
    assert_eq!(
        (&problem["accepted"], &problem["duplicates"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(problem["rejected"][0]["code"], "unknown_type");
    assert_eq!(problem["rejected"][1]["code"], "conflict");
    assert_eq!(app.journal.rejections().len(), 2);
}

#[tokio::test]
async fn refused_events_are_told_even_if_they_cannot_be_kept() {
    let app = App::new();
    app.journal
        .fail_with(AppendError::NoRoom("full".to_owned()));

    app.post("[{}]").await.assert_problem(422, "all_rejected");
}

#[tokio::test]
async fn what_a_retry_may_cure_is_503_with_a_time_to_come_again() {
    let app = App::new();
    for (error, code) in [
        (AppendError::Overloaded, "overloaded"),
        (AppendError::NoRoom("full".to_owned()), "no_room"),
        (AppendError::Closed, "draining"),
        (AppendError::Failed("EIO".to_owned()), "disk_failed"),
    ] {
        app.journal.fail_with(error);

        let answer = app.post(json!([{}, event("e1")]).to_string()).await;

        answer.assert_problem(503, code);
    }
}

#[tokio::test]
async fn what_filled_up_behind_the_gate_has_the_name_that_the_gate_gives_it() {
    let app = App::new();
    app.gate.1.store(true, Ordering::Relaxed);
    app.journal
        .fail_with(AppendError::NoRoom("full".to_owned()));

    let answer = app.post(json!([event("e1")]).to_string()).await;

    answer.assert_problem(503, "draining");
}

#[tokio::test]
async fn a_preflight_needs_no_key() {
    let app = App::new();
    let preflight = request("OPTIONS")
        .header("origin", "https://hub.example")
        .header("access-control-request-method", "POST");

    let answer = app.send(preflight).await;

    assert_eq!(answer.status(), 204);
    assert_eq!(answer.0.body().len(), 0);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST, OPTIONS"),
        ("access-control-max-age", "7200"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let headers = answer.header("access-control-allow-headers").unwrap();
    for name in ["content-type", "authorization", "content-encoding"] {
        assert!(headers.contains(name));
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("access-control-allow-private-network"), None);
}

#[tokio::test]
async fn a_public_page_may_send_to_a_private_network() {
    let app = App::new();
    let preflight = request("OPTIONS").header("access-control-request-private-network", "true");

    let answer = app.send(preflight).await;

    let allowed = answer.header("access-control-allow-private-network");
    assert_eq!(allowed, Some("true"));
}

#[tokio::test]
async fn the_order_of_the_checks_is_that_of_the_contract() {
    let app = App::new();
    app.gate.0.store(true, Ordering::Relaxed);
    let too_large = vec![b' '; MAX_BODY_BYTES + 1];

    let wrong_path = request("POST").path("/api/v1/event");
    assert!(wrong_path.filter(&app.routes).await.is_err());
    let wrong_method = app.send(request("PUT")).await;
    wrong_method.assert_problem(405, "method_not_allowed");
    assert_eq!(wrong_method.header("allow"), Some("POST, OPTIONS"));
    let no_key = request("POST").body(&too_large);
    app.send(no_key).await.assert_problem(401, "no_key");
    let other_key = request("POST").header("authorization", "Bearer reader");
    app.send(other_key).await.assert_problem(403, "no_key");
    let no_type = request("POST").header("authorization", "Bearer good");
    app.send(no_type)
        .await
        .assert_problem(415, "unsupported_type");
    app.post(&too_large).await.assert_problem(503, "draining");
    app.gate.0.store(false, Ordering::Relaxed);
    app.post(&too_large).await.assert_problem(413, "too_large");
    app.post("[").await.assert_problem(400, "not_json");
}
