//! What is wrong with a body, or with an event in it.

use serde_json::{Value, json};

use super::{CANARY, Case, Expect, case};
use crate::bad_input::request::{post, post_bytes};
use crate::harness::{Run, event, run};

pub fn not_json() -> Vec<Case> {
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

pub fn events_refused() -> Vec<Case> {
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

pub fn too_long() -> Vec<Case> {
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

pub fn strange_but_taken() -> Vec<Case> {
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
