use std::sync::Arc;

use mimamori_actors::domain::{
    EndedBy, Entry, FactKind, HelpId, LessonId, Moment, SessionKey, StudentView, Timestamp,
};
use mimamori_actors::ports::Store;
use mimamori_actors::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use warp::http::StatusCode;
use warp::http::header::{ALLOW, RETRY_AFTER};

use super::*;
use crate::http::Context;
use crate::keys::Keys;
use crate::storage::records::RecordsAt;
use crate::storage::samples::{
    at, dead_letter, event, executed, execution, fact, failed, help_beat, journal, rejection, room,
    student,
};

mod cells;
mod kept;

/// Long after everything in the samples, well within 24 hours.
const NOW_SECONDS: u64 = 3_600;

struct LaterThatMorning;

impl Clock for LaterThatMorning {
    fn now(&self) -> Timestamp {
        at(NOW_SECONDS)
    }
}

/// The real routes over real stores, asked with the admin token.
struct House {
    _dir: TempDir,
    token: String,
    registry: Arc<Registry>,
    reading: Reading,
    routes: BoxedFilter<(Response,)>,
}

impl House {
    async fn with(entries: &[Arc<Entry>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&RecordsAt::Dir(dir.path().to_owned()))
            .await
            .unwrap();
        let series = Series::open(dir.path()).unwrap();
        if let Some(last) = entries.last() {
            records
                .write(&journal(), entries, last.position)
                .await
                .unwrap();
            series
                .write(&journal(), entries, last.position)
                .await
                .unwrap();
        }
        let keys = Arc::new(Keys::ephemeral());
        let token = keys.admin_token().expose().to_owned();
        let registry = Arc::new(Registry::default());
        let reading = Reading {
            access: Arc::new(Access::new(keys, Vec::new(), Arc::new(LaterThatMorning))),
            records: Arc::new(records),
            cache: Arc::new(Cache::new(1 << 20)),
            series: Some(Arc::new(series)),
            present: Arc::new(Folded {
                registry: Arc::clone(&registry),
                clock: Arc::new(LaterThatMorning),
            }),
            clock: Arc::new(LaterThatMorning),
            classrooms: Classrooms::default(),
        };
        Self {
            _dir: dir,
            token,
            registry,
            routes: routes(reading.clone()),
            reading,
        }
    }

    async fn ask(&self, method: &str, path: &str) -> warp::http::Response<bytes::Bytes> {
        warp::test::request()
            .method(method)
            .path(path)
            .header("authorization", format!("Bearer {}", self.token))
            .extension(Context::for_tests())
            .reply(&self.routes)
            .await
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.ask("GET", path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(response.body()).unwrap()
    }

    /// Of a path below the classroom.
    async fn list(&self, path: &str) -> Vec<Value> {
        let page = self
            .get(&format!("/api/v1/classrooms/default/{path}"))
            .await;
        page["items"].as_array().unwrap().clone()
    }

    async fn refusal(&self, method: &str, path: &str) -> (u16, String) {
        let response = self.ask(method, path).await;
        let problem: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(problem["requestId"], "test-1");
        let code = problem["code"].as_str().unwrap().to_owned();
        (response.status().as_u16(), code)
    }
}

fn view(of: u64) -> Arc<StudentView> {
    Arc::new(StudentView {
        position: mimamori_actors::domain::Position(3),
        id: student(of),
        name: "山田花子".into(),
        team: None,
        is_default_address: false,
        people: Vec::new(),
        notebook: None,
        cell_id: Some("cell-1".into()),
        cell_index: None,
        executions: 2,
        errors: 1,
        consecutive_errors: 1,
        is_last_run_failed: true,
        last_activity: Some(Moment::of_wall(at(NOW_SECONDS - 10))),
        help: None,
        alerts: Vec::new(),
    })
}

fn key(of: u64) -> SessionKey {
    SessionKey {
        classroom: room(),
        student: student(of),
    }
}

fn help(position: u64, until: Option<u64>) -> Arc<Entry> {
    let (help, student, since) = (HelpId::new("hlp_1"), student(2), at(3));
    let cell_id = Some("cell-3".to_owned());
    let kind = match until {
        None => FactKind::HelpOpened {
            help,
            student,
            since,
            cell_id,
        },
        Some(until) => FactKind::HelpEnded {
            help,
            student,
            since,
            until: at(until),
            ended_by: EndedBy::Student,
            cell_id,
        },
    };
    fact(position, kind)
}

fn class() -> Vec<Arc<Entry>> {
    vec![
        executed(1, 1),
        failed(2, 1, "ZeroDivisionError: division by zero"),
        event(3, 2, help_beat(3, 2)),
        help(4, None),
        rejection(5, "<script>alert(1)</script>"),
        dead_letter(6, 2),
        fact(
            7,
            FactKind::LessonBegun {
                lesson: LessonId::new("les_1"),
                begun: at(1),
            },
        ),
    ]
}

#[tokio::test]
async fn an_execution_has_exactly_what_the_contract_says() {
    let house = House::with(&class()).await;

    let items = house.list("executions").await;

    assert_eq!(
        items,
        [
            json!({
                "eventId": "5c1a8d6e-0000-4000-8000-000000000002",
                "student": student(1), "notebook": "week1/課題.ipynb", "cellId": "cell-2",
                "cellIndex": 2, "cellType": "code", "status": "error", "executionCount": 2,
                "code": "for i in range(2):\n    print(i)",
                "error": "ZeroDivisionError: division by zero", "result": ["0", "1"],
                "eventTime": at(2), "receivedAt": at(2), "at": at(2),
            }),
            json!({
                "eventId": "5c1a8d6e-0000-4000-8000-000000000001",
                "student": student(1), "notebook": "week1/課題.ipynb", "cellId": "cell-1",
                "cellIndex": 1, "cellType": "code", "status": "ok", "executionCount": 1,
                "code": "for i in range(1):\n    print(i)",
                "error": null, "result": ["0", "1"],
                "eventTime": at(1), "receivedAt": at(1), "at": at(1),
            }),
        ]
    );
}

#[tokio::test]
async fn events_are_the_wire_form_in_the_order_of_acceptance() {
    let house = House::with(&class()).await;

    let all = house.list("events").await;
    let later = house.list("events?since=1").await;

    let mut first = serde_json::to_value(execution(1, 1)).unwrap();
    for (name, value) in [
        ("student", json!(student(1))),
        ("receivedAt", json!(at(1))),
        ("position", json!(1)),
        ("at", json!(at(1))),
    ] {
        first[name] = value;
    }
    assert_eq!(all[0], first);
    let positions: Vec<_> = later.iter().map(|it| it["position"].as_u64()).collect();
    assert_eq!(positions, [Some(2), Some(3)]);
    assert_eq!(later[1]["eventType"], "help");
}

#[tokio::test]
async fn histories_have_exactly_what_the_contract_says() {
    let house = House::with(&class()).await;

    assert_eq!(
        house.list("help").await,
        [json!({
            "id": "hlp_1", "student": student(2), "since": at(3), "until": null,
            "endedBy": null, "claimedBy": null, "cellId": "cell-3", "at": at(3),
        })]
    );
    assert_eq!(
        house.list("lessons").await,
        [json!({"id": "les_1", "begun": at(1), "ended": null, "endedBy": null, "at": at(1)})]
    );
    assert_eq!(
        house.list("rejected").await,
        [json!({
            "position": 5, "index": 3, "eventId": "e-3", "code": "unknown_type",
            "detail": "the type is none of the known ones", "pointer": "/3/eventType",
            "payload": "<script>alert(1)</script>", "receivedAt": at(5), "at": at(5),
        })]
    );
    let letters = house.list("dead-letters").await;
    assert_eq!(letters[0]["reason"], "a rule of the tables was broken");
    assert_eq!(letters[0]["position"], 2);
}

#[tokio::test]
async fn an_ended_request_tells_by_whom() {
    let mut entries = class();
    entries.push(help(8, Some(6)));
    let house = House::with(&entries).await;

    let ended = house.list("help").await;

    assert_eq!(ended[0]["until"], json!(at(6)));
    assert_eq!(ended[0]["endedBy"], "student");
}

#[tokio::test]
async fn an_overview_joins_who_is_here_with_who_was() {
    let house = House::with(&class()).await;
    house.registry.publish(&key(1), view(1));

    let overview = house.get("/api/v1/classrooms/default/overview").await;

    assert_eq!(
        overview["totals"],
        json!({"students": 2, "active": 2, "executions": 2, "errors": 1, "help": 1})
    );
    let students = overview["students"].as_array().unwrap();
    assert_eq!(students.len(), 2);
    assert_eq!(students[0]["status"], "error");
    assert_eq!(students[0]["executions"], 2);
    assert_eq!(students[1]["status"], "offline");
    assert_eq!(students[1]["lastActivity"], json!(at(3)));
    let activity = overview["activity"].as_array().unwrap();
    let runs: u64 = activity
        .iter()
        .map(|it| it["executions"].as_u64().unwrap())
        .sum();
    assert!(activity.len() <= 300);
    assert_eq!(runs, 2);
}

#[tokio::test]
async fn a_classroom_tells_how_many_it_knows_and_who_is_active() {
    let house = House::with(&class()).await;
    house.registry.publish(&key(1), view(1));

    let page = house.get("/api/v1/classrooms").await;

    assert_eq!(
        page,
        json!({
            "items": [{"id": "default", "name": "default", "students": 2, "active": 1, "storesCode": true}],
            "next": null,
        })
    );
}

#[tokio::test]
async fn a_student_has_sessions_and_cells() {
    let house = House::with(&class()).await;
    let path = format!("/api/v1/classrooms/default/students/{}", student(1));

    let offline = house.get(&path).await;
    house.registry.publish(&key(1), view(1));
    let here = house.get(&path).await;

    assert_eq!(offline["status"], "offline");
    assert_eq!(offline["name"], "山田花子1");
    assert_eq!(here["status"], "error");
    assert_eq!(here["sessions"], json!([]));
    assert_eq!(
        here["cells"][0],
        json!({
            "notebook": "week1/課題.ipynb", "cellId": "cell-2", "cellIndex": 2,
            "status": "error", "tries": 1, "lastAt": at(2),
        })
    );
    let executions = house
        .list(&format!("students/{}/executions", student(1)))
        .await;
    assert_eq!(executions.len(), 2);
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let entries: Vec<_> = (1..=7).map(|n| executed(n, n % 2)).collect();
    let house = House::with(&entries).await;

    for list in ["executions?limit=3", "events?limit=3"] {
        let path = format!("/api/v1/classrooms/default/{list}");
        let mut seen = Vec::new();
        let mut page = house.get(&path).await;
        while let Some(next) = page["next"].as_str() {
            seen.extend(page["items"].as_array().unwrap().clone());
            page = house.get(&format!("{path}&cursor={next}")).await;
        }
        seen.extend(page["items"].as_array().unwrap().clone());

        let ids: std::collections::BTreeSet<_> =
            seen.iter().map(|it| it["eventId"].to_string()).collect();
        assert_eq!((seen.len(), ids.len()), (7, 7), "{list}");
    }
}

#[tokio::test]
async fn a_cursor_goes_with_its_list_and_its_filters_only() {
    let entries: Vec<_> = (1..=3).map(|n| executed(n, 1)).collect();
    let house = House::with(&entries).await;
    let page = house
        .get("/api/v1/classrooms/default/executions?limit=1")
        .await;
    let cursor = page["next"].as_str().unwrap();

    for path in [
        format!("executions?cursor={cursor}&status=ok"),
        format!("lessons?cursor={cursor}"),
        format!("executions?cursor=00{}", &cursor[2..]),
        "executions?cursor=x".to_owned(),
    ] {
        let path = format!("/api/v1/classrooms/default/{path}");
        let refusal = house.refusal("GET", &path).await;
        assert_eq!(refusal, (400, "bad_parameter".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn what_is_wrong_has_its_status_and_code() {
    let house = House::with(&class()).await;

    for (method, path, status, code) in [
        ("GET", "default", 404, "not_found"),
        ("GET", "default/nothing", 404, "not_found"),
        ("GET", "other/overview", 404, "not_found"),
        ("GET", "default/students/nobody", 404, "not_found"),
        (
            "GET",
            "default/students/nobody/executions",
            404,
            "not_found",
        ),
        ("POST", "default/overview", 405, "method_not_allowed"),
        ("DELETE", "default/lessons", 405, "method_not_allowed"),
        ("POST", "default/cells", 405, "method_not_allowed"),
        ("GET", "default/cells?limit=0", 400, "bad_parameter"),
        ("GET", "default/cells?from=now", 400, "bad_parameter"),
        ("GET", "other/cells", 404, "not_found"),
        ("POST", "default/lessons", 501, "not_yet"),
        ("GET", "default/executions?limit=0", 400, "bad_parameter"),
        ("GET", "default/executions?limit=1001", 400, "bad_parameter"),
        (
            "GET",
            "default/executions?status=fine",
            400,
            "bad_parameter",
        ),
        ("GET", "default/executions?from=now", 400, "bad_parameter"),
        ("GET", "default/overview?to=never", 400, "bad_parameter"),
        ("GET", "default/events?since=x", 400, "bad_parameter"),
    ] {
        let path = format!("/api/v1/classrooms/{path}");
        let refusal = house.refusal(method, &path).await;
        assert_eq!(refusal, (status, code.to_owned()), "{method} {path}");
    }
    let response = house.ask("PUT", "/api/v1/classrooms/default/lessons").await;
    assert_eq!(response.headers()[ALLOW], "GET, POST");
}

#[tokio::test]
async fn a_range_narrows_and_unknown_parameters_do_not_matter() {
    let house = House::with(&class()).await;
    let range = format!("executions?from={}&to={}&colour=red", at(2), at(3));

    let within = house.list(&range).await;
    let after = house.list(&format!("executions?from={}", at(3))).await;
    let found = house.list("executions?query=ZERODIVISION").await;

    assert_eq!(within.len(), 1);
    assert_eq!(after.len(), 0);
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn without_a_range_what_is_older_than_a_day_is_not_there() {
    let mut old = execution(1, 1);
    old.time = at(NOW_SECONDS).minus(Duration::from_secs(24 * 3600 + 1));
    let house = House::with(&[event(1, 1, old), executed(2, 1)]).await;

    let last_day = house.list("executions").await;
    let longer = house.list("executions?from=2026-11-01T00:00:00Z").await;

    assert_eq!((last_day.len(), longer.len()), (1, 2));
}

#[tokio::test]
async fn who_may_not_read_learns_no_more_than_the_path() {
    let mut house = House::with(&class()).await;
    house.token = "a guess".to_owned();

    for (path, status) in [
        ("/api/v1/classrooms", 401),
        ("/api/v1/classrooms/other/overview", 401),
        ("/api/v1/classrooms/default/executions?limit=0", 401),
        ("/api/v1/classrooms/default/nothing", 404),
    ] {
        assert_eq!(house.refusal("GET", path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn records_that_do_not_answer_are_503_with_a_time_to_come_again() {
    let house = House::with(&class()).await;
    house.reading.records.close().await.unwrap();

    let response = house
        .ask("GET", "/api/v1/classrooms/default/executions")
        .await;

    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "2");
    let problem: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["code"], "records_unavailable");
}

#[tokio::test]
async fn a_student_id_in_a_path_is_data_whatever_it_looks_like() {
    let house = House::with(&class()).await;

    for id in ["%27%20OR%201%3D1%20--", "%2e%2e", "a%2Fb", "%00"] {
        let path = format!("/api/v1/classrooms/default/students/{id}");
        assert_eq!(house.refusal("GET", &path).await.0, 404, "{id}");
    }
    let filtered = house.list("executions?student=%27%20OR%201%3D1%20--").await;
    assert_eq!(filtered.len(), 0);
}
