//! The table.

use serde_json::{Value, json};

use super::request::{
    GZIP, JSON, chunked, gzip, keyed, post, post_bytes, post_with, request, with_head,
};
use crate::harness::{ADMIN, Run, event, run};

/// Stands in what is sent, and in no answer and no log.
pub const CANARY: &str = "c4n4ry-of-the-tests";

pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub expect: Expect,
}

pub enum Expect {
    /// A problem document of this status.
    Problem(u16),
    /// 405 that names this method.
    NotAllowed(&'static str),
    /// 422: the one event was refused with this code, at this place (empty: anywhere).
    Refused(&'static str, &'static str),
    /// 202, so many accepted and so many rejected.
    Taken { accepted: usize, rejected: usize },
    /// Not HTTP: refused or cut off.
    NotServed,
}

fn case(name: impl Into<String>, bytes: Vec<u8>, expect: Expect) -> Case {
    Case {
        name: name.into(),
        bytes,
        expect,
    }
}

pub fn all() -> Vec<Case> {
    let parts = [
        routes(),
        keys(),
        encodings(),
        sizes(),
        not_json(),
        events_refused(),
        too_long(),
        strange_but_taken(),
        not_http(),
    ];
    parts.into_iter().flatten().collect()
}

fn routes() -> Vec<Case> {
    let on_events = |method: &str| request(method, "/api/v1/events", &[], b"");
    let mut cases = vec![
        case(
            "unknown path",
            request("GET", "/nothing/here", &[], b""),
            Expect::Problem(404),
        ),
        case(
            "unknown path of the API, before the key",
            request("POST", "/api/v1/nothing", &[JSON], b"[]"),
            Expect::Problem(404),
        ),
        case(
            "unknown path behind a key",
            request(
                "POST",
                &keyed().replace("events", "nothing"),
                &[JSON],
                b"[]",
            ),
            Expect::Problem(404),
        ),
        case(
            "dots in the path",
            request("GET", "/api/v1/../../etc/passwd", &[], b""),
            Expect::Problem(404),
        ),
        case(
            "POST to a place that is read",
            request("POST", "/livez", &[], b""),
            Expect::NotAllowed("GET"),
        ),
        case(
            "POST to readiness",
            request("POST", "/readyz", &[], b""),
            Expect::NotAllowed("GET"),
        ),
        case(
            "POST to the classrooms",
            request("POST", "/api/v1/classrooms", &[JSON], b"{}"),
            Expect::NotAllowed("GET"),
        ),
    ];
    // the method is looked at before the key
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        cases.push(case(
            format!("{method} of events"),
            on_events(method),
            Expect::NotAllowed("POST"),
        ));
    }
    cases
}

fn keys() -> Vec<Case> {
    let with = |path: &str, headers: &[(&str, &str)]| request("POST", path, headers, b"[]");
    let admin = format!("Bearer {ADMIN}");
    let unknown = format!("Bearer {CANARY}");
    let events = "/api/v1/events";
    vec![
        case("no key", with(events, &[JSON]), Expect::Problem(401)),
        case(
            "no key and no type: the key comes first",
            with(events, &[]),
            Expect::Problem(401),
        ),
        case(
            "unknown key in the header",
            with(events, &[JSON, ("Authorization", &unknown)]),
            Expect::Problem(401),
        ),
        case(
            "unknown key in the query",
            with(&format!("{events}?key={CANARY}"), &[JSON]),
            Expect::Problem(401),
        ),
        case(
            "empty key in the query",
            with(&format!("{events}?key="), &[JSON]),
            Expect::Problem(401),
        ),
        case(
            "unknown key in the path",
            with(&format!("/k/{CANARY}{events}"), &[JSON]),
            Expect::Problem(401),
        ),
        case(
            "another scheme",
            with(events, &[JSON, ("Authorization", "Basic Og==")]),
            Expect::Problem(401),
        ),
        case(
            "an empty bearer",
            with(events, &[JSON, ("Authorization", "Bearer ")]),
            Expect::Problem(401),
        ),
        case(
            "the admin token is no ingest key",
            with(events, &[JSON, ("Authorization", &admin)]),
            Expect::Problem(403),
        ),
        case(
            "the admin token in the query",
            with(&format!("{events}?key={ADMIN}"), &[JSON]),
            Expect::Problem(403),
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let typed = |kind: &'static str| post_with(&[("Content-Type", kind)]);
    let encoded = |coding: &'static str| post_with(&[JSON, ("Content-Encoding", coding)]);
    let zipped = gzip(b"[]");
    let in_gzip = |body: &[u8]| request("POST", &keyed(), &[JSON, GZIP], body);
    vec![
        case("no content type", post_with(&[]), Expect::Problem(415)),
        case("text", typed("text/plain"), Expect::Problem(415)),
        case(
            "a form",
            typed("application/x-www-form-urlencoded"),
            Expect::Problem(415),
        ),
        case(
            "multipart",
            typed("multipart/form-data; boundary=x"),
            Expect::Problem(415),
        ),
        case(
            "almost JSON",
            typed("application/jsonx"),
            Expect::Problem(415),
        ),
        case("brotli", encoded("br"), Expect::Problem(415)),
        case("deflate", encoded("deflate"), Expect::Problem(415)),
        case("gzip twice", encoded("gzip, gzip"), Expect::Problem(415)),
        case(
            "gzip that is none",
            in_gzip(format!("[] {CANARY}").as_bytes()),
            Expect::Problem(400),
        ),
        case(
            "gzip that ends early",
            in_gzip(&zipped[..zipped.len() - 6]),
            Expect::Problem(400),
        ),
        case(
            "JSON with a charset",
            typed("application/json; charset=utf-8"),
            Expect::Taken {
                accepted: 0,
                rejected: 0,
            },
        ),
        case(
            "good gzip",
            in_gzip(&zipped),
            Expect::Taken {
                accepted: 0,
                rejected: 0,
            },
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let big = format!("[\"{CANARY}{}\"]", "x".repeat(5 << 20));
    let many = |count: usize| {
        let events: Vec<_> = (0..count)
            .map(|nth| run(&format!("many-{count}-{nth}"), "many", "cell", Run::Ok))
            .collect();
        post(&Value::Array(events).to_string())
    };
    let bomb = gzip(format!("[\"{}\"]", " ".repeat(40 << 20)).as_bytes());
    let half = with_head(
        "POST",
        &keyed(),
        &[JSON, ("Content-Length", "100")],
        b"[{\"eventId\":",
    );
    vec![
        case("5 MiB", post(&big), Expect::Problem(413)),
        case(
            "5 MiB in chunks",
            chunked(big.as_bytes()),
            Expect::Problem(413),
        ),
        case(
            "40 MiB in a small gzip",
            request("POST", &keyed(), &[JSON, GZIP], &bomb),
            Expect::Problem(413),
        ),
        case("501 events", many(501), Expect::Problem(413)),
        case(
            "500 events",
            many(500),
            Expect::Taken {
                accepted: 500,
                rejected: 0,
            },
        ),
        case("half a body", half, Expect::Problem(408)),
        case(
            "half a chunk",
            with_head(
                "POST",
                &keyed(),
                &[JSON, ("Transfer-Encoding", "chunked")],
                b"40\r\n[{\"ev",
            ),
            Expect::Problem(408),
        ),
        case(
            "in chunks",
            chunked(b"[]"),
            Expect::Taken {
                accepted: 0,
                rejected: 0,
            },
        ),
    ]
}

fn not_json() -> Vec<Case> {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let mut cases: Vec<_> = [
        ("nothing", String::new()),
        ("half an object", format!("[{{\"eventId\":\"{CANARY}\"")),
        ("a word", CANARY.to_owned()),
        ("null", "null".to_owned()),
        ("true", "true".to_owned()),
        ("a text", format!("\"{CANARY}\"")),
        ("a number", "42".to_owned()),
        ("an empty object", "{}".to_owned()),
        (
            "events that are an object",
            format!("{{\"events\":{{\"{CANARY}\":1}}}}"),
        ),
        ("events that are null", "{\"events\":null}".to_owned()),
        (
            "one event without a list",
            event("single", "help", "s").to_string(),
        ),
        ("something behind it", format!("[] {CANARY}")),
        ("two lists", "[][]".to_owned()),
        (
            "a number out of range",
            "[{\"cellIndex\":1e999}]".to_owned(),
        ),
        ("NaN", "[{\"cellIndex\":NaN}]".to_owned()),
        ("single quotes", "[{'eventId':'a'}]".to_owned()),
        ("a comma too many", "[{},]".to_owned()),
        ("a comment", format!("[] // {CANARY}")),
        ("a line break in a text", "[\"a\nb\"]".to_owned()),
        ("200 levels", nested(200)),
        ("100,000 levels", nested(100_000)),
    ]
    .into_iter()
    .map(|(name, body)| {
        case(
            format!("not JSON: {name}"),
            post(&body),
            Expect::Problem(400),
        )
    })
    .collect();
    cases.push(case(
        "not JSON: Latin-1",
        post_bytes(b"[\"caf\xe9\"]"),
        Expect::Problem(400),
    ));
    cases.push(case(
        "not JSON: UTF-16",
        post_bytes(b"\xff\xfe[\0]\0"),
        Expect::Problem(400),
    ));
    cases
}

/// A good event with one field set; null takes it away.
fn with(field: &str, value: Value) -> Value {
    let mut event = run("one-field", "field", "cell", Run::Ok);
    event["metadata"] = json!({ "canary": CANARY });
    event[field] = value;
    event
}

fn without(field: &str) -> Value {
    let mut event = with(field, Value::Null);
    event.as_object_mut().unwrap().remove(field);
    event
}

fn events_refused() -> Vec<Case> {
    let refused = |name: &str, event: Value, code, pointer| {
        case(
            format!("refused: {name}"),
            post(&json!([event]).to_string()),
            Expect::Refused(code, pointer),
        )
    };
    let deep = (0..40).fold(json!(CANARY), |inner, _| json!([inner]));
    let kind = "/0/eventType";
    let student = "/0/emailAddress";
    let time = "/0/eventTime";
    vec![
        refused("a number", json!(1), "not_an_object", "/0"),
        refused("null", Value::Null, "not_an_object", "/0"),
        refused("a text", json!(CANARY), "not_an_object", "/0"),
        refused("a list", json!([CANARY]), "not_an_object", "/0"),
        refused(
            "unknown type",
            with("eventType", json!(CANARY)),
            "unknown_type",
            kind,
        ),
        refused(
            "type in capitals",
            with("eventType", json!("CELL_EXECUTED")),
            "unknown_type",
            kind,
        ),
        refused(
            "empty type",
            with("eventType", json!("")),
            "unknown_type",
            kind,
        ),
        refused(
            "a number as type",
            with("eventType", json!(7)),
            "unknown_type",
            kind,
        ),
        refused("no type", without("eventType"), "unknown_type", kind),
        refused(
            "no student",
            without("emailAddress"),
            "missing_student",
            student,
        ),
        refused(
            "null as student",
            with("emailAddress", Value::Null),
            "missing_student",
            student,
        ),
        refused(
            "empty student",
            with("emailAddress", json!("")),
            "missing_student",
            student,
        ),
        refused(
            "blank student",
            with("emailAddress", json!(" \t ")),
            "missing_student",
            student,
        ),
        refused("no time", without("eventTime"), "missing_time", time),
        refused(
            "null as time",
            with("eventTime", Value::Null),
            "missing_time",
            time,
        ),
        refused(
            "a word as time",
            with("eventTime", json!(CANARY)),
            "bad_time",
            time,
        ),
        refused(
            "the 13th month",
            with("eventTime", json!("2026-13-01T00:00:00Z")),
            "bad_time",
            time,
        ),
        refused(
            "the 25th hour",
            with("eventTime", json!("2026-11-21T25:00:00Z")),
            "bad_time",
            time,
        ),
        refused(
            "a date alone",
            with("eventTime", json!("2026-11")),
            "bad_time",
            time,
        ),
        refused(
            "40 levels of metadata",
            with("metadata", json!({ "deep": deep })),
            "too_deep",
            "",
        ),
    ]
}

fn too_long() -> Vec<Case> {
    let long = format!("{CANARY}{}", "x".repeat(1024));
    [
        "eventId",
        "userName",
        "teamName",
        "sessionId",
        "notebookPath",
        "cellId",
        "emailAddress",
    ]
    .into_iter()
    .map(|field| {
        let event = with(field, json!(long));
        case(
            format!("too long: {field}"),
            post(&json!([event]).to_string()),
            Expect::Refused("too_long", ""),
        )
    })
    .collect()
}

fn strange_but_taken() -> Vec<Case> {
    let taken = |name: &str, body: String, accepted, rejected| {
        case(
            format!("taken: {name}"),
            post(&body),
            Expect::Taken { accepted, rejected },
        )
    };
    let good = |id: &str| run(id, "strange", "cell", Run::Ok);
    let mut odd_types = good("odd-types");
    odd_types["cellIndex"] = json!("three");
    odd_types["hasError"] = json!({ "no": "bool" });
    odd_types["result"] = json!(7);
    odd_types["somethingNew"] = json!({ "deep": [1, 2, { "er": null }] });
    let mut large = good("large");
    large["code"] = json!("x".repeat(300 * 1024));
    let hostile = {
        let mut event = with("eventType", json!("no_such_type"));
        event["eventId"] = json!(format!("<script>{CANARY}</script>"));
        event
    };
    let surrogate = good("surrogate")
        .to_string()
        .replace("f('cell')", "\\ud800 \\u0000");
    let conflict = {
        let mut event = good("good-1");
        event["emailAddress"] = json!("good@example.ac.jp");
        event["code"] = json!(CANARY);
        event
    };
    vec![
        taken("an empty list", "[]".to_owned(), 0, 0),
        taken(
            "an empty list in an object",
            "{\"events\":[]}".to_owned(),
            0,
            0,
        ),
        taken(
            "optional fields of odd types",
            json!([odd_types]).to_string(),
            1,
            0,
        ),
        taken("300 KiB of code", json!([large]).to_string(), 1, 0),
        taken(
            "a lone surrogate and U+0000",
            format!("[{surrogate}]"),
            1,
            0,
        ),
        taken(
            "a good one beside a bad one",
            json!([good("beside"), 7]).to_string(),
            1,
            1,
        ),
        taken(
            "a good one beside a hostile id",
            json!([hostile, good("beside-2")]).to_string(),
            1,
            1,
        ),
        taken(
            "a good one beside a conflict",
            json!([conflict, good("beside-3")]).to_string(),
            1,
            1,
        ),
        case(
            "refused: the same identity with other content",
            post(&json!([conflict]).to_string()),
            Expect::Refused("conflict", ""),
        ),
    ]
}

fn not_http() -> Vec<Case> {
    let raw = |name: &str, bytes: &[u8]| {
        case(
            format!("not HTTP: {name}"),
            bytes.to_vec(),
            Expect::NotServed,
        )
    };
    let many_headers: String = (0..2000)
        .map(|nth| format!("X-{nth}: {CANARY}\r\n"))
        .collect();
    vec![
        raw(
            "noise",
            &[
                0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x0d, 0x0a, 0x0d, 0x0a,
            ],
        ),
        raw("a word", b"hello\r\n\r\n"),
        raw(
            "half a head",
            b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-",
        ),
        raw("nothing at all", b""),
        raw(
            "two lengths",
            &with_head(
                "POST",
                &keyed(),
                &[JSON, ("Content-Length", "2"), ("Content-Length", "3")],
                b"[]",
            ),
        ),
        raw(
            "a length that is none",
            &with_head("POST", &keyed(), &[JSON, ("Content-Length", "two")], b"[]"),
        ),
        raw(
            "2,000 headers",
            format!("GET /livez HTTP/1.1\r\nHost: x\r\n{many_headers}\r\n").as_bytes(),
        ),
        raw(
            "a head of 2 MiB",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(2 << 20)).as_bytes(),
        ),
    ]
}
