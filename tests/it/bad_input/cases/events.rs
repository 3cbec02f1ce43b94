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

fn refused(name: &str, event: &Value, code: &'static str, pointer: &'static str) -> Case {
    let body = json!([event]).to_string();
    let name = format!("refused: {name}");
    case(name, post(&body), Expect::Refused(code, pointer))
}

pub fn events_refused() -> Vec<Case> {
    let mut cases = no_objects();
    cases.extend(wrong_needed_fields());
    let deep = (0..40).fold(json!(CANARY), |inner, _| json!([inner]));
    let event = with("metadata", json!({ "deep": deep }));
    cases.push(refused("40 levels of metadata", &event, "too_deep", ""));
    cases
}

fn no_objects() -> Vec<Case> {
    [
        ("a number", json!(1)),
        ("null", Value::Null),
        ("a text", json!(CANARY)),
        ("a list", json!([CANARY])),
    ]
    .iter()
    .map(|(name, event)| refused(name, event, "not_an_object", "/0"))
    .collect()
}

/// Of the three fields that every event needs.
fn wrong_needed_fields() -> Vec<Case> {
    let (unknown, student, none, bad) = (
        "unknown_type",
        "missing_student",
        "missing_time",
        "bad_time",
    );
    let wrong = [
        ("unknown type", "eventType", json!(CANARY), unknown),
        (
            "type in capitals",
            "eventType",
            json!("CELL_EXECUTED"),
            unknown,
        ),
        ("empty type", "eventType", json!(""), unknown),
        ("a number as type", "eventType", json!(7), unknown),
        ("null as type", "eventType", Value::Null, unknown),
        ("null as student", "emailAddress", Value::Null, student),
        ("empty student", "emailAddress", json!(""), student),
        ("blank student", "emailAddress", json!(" \t "), student),
        ("null as time", "eventTime", Value::Null, none),
        ("a word as time", "eventTime", json!(CANARY), bad),
        (
            "the 13th month",
            "eventTime",
            json!("2026-13-01T00:00:00Z"),
            bad,
        ),
        (
            "the 25th hour",
            "eventTime",
            json!("2026-11-21T25:00:00Z"),
            bad,
        ),
        ("half a date", "eventTime", json!("2026-11"), bad),
    ];
    let missing = [
        ("no type", "eventType", unknown),
        ("no student", "emailAddress", student),
        ("no time", "eventTime", none),
    ];
    let wrong = wrong.into_iter().map(|(name, field, value, code)| {
        refused(name, &with(field, value), code, place_of(field))
    });
    let missing = missing
        .into_iter()
        .map(|(name, field, code)| refused(name, &without(field), code, place_of(field)));
    wrong.chain(missing).collect()
}

fn place_of(field: &str) -> &'static str {
    match field {
        "eventType" => "/0/eventType",
        "emailAddress" => "/0/emailAddress",
        _ => "/0/eventTime",
    }
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

fn taken(name: &str, body: &Value, accepted: usize, rejected: usize) -> Case {
    let expect = Expect::Taken { accepted, rejected };
    case(format!("taken: {name}"), post(&body.to_string()), expect)
}

fn good(id: &str) -> Value {
    run(id, "strange", "cell", Run::Ok)
}

pub fn strange_but_taken() -> Vec<Case> {
    let mut odd_types = good("odd-types");
    odd_types["cellIndex"] = json!("three");
    odd_types["hasError"] = json!({ "no": "bool" });
    odd_types["result"] = json!(7);
    odd_types["somethingNew"] = json!({ "deep": [1, 2, { "er": null }] });
    let mut large = good("large");
    large["code"] = json!("x".repeat(300 * 1024));
    let surrogate = good("surrogate")
        .to_string()
        .replace("f('cell')", "\\ud800 \\u0000");
    let one = Expect::Taken {
        accepted: 1,
        rejected: 0,
    };
    let mut cases = vec![
        taken("an empty list", &json!([]), 0, 0),
        taken("an empty list in an object", &json!({"events": []}), 0, 0),
        taken("optional fields of odd types", &json!([odd_types]), 1, 0),
        taken("300 KiB of code", &json!([large]), 1, 0),
        case(
            "taken: a lone surrogate and U+0000",
            post(&format!("[{surrogate}]")),
            one,
        ),
    ];
    cases.extend(good_beside_bad());
    cases
}

/// One bad event never costs the good ones their place.
fn good_beside_bad() -> Vec<Case> {
    let mut hostile = with("eventType", json!("no_such_type"));
    hostile["eventId"] = json!(format!("<script>{CANARY}</script>"));
    // the good request after the second case had this identity
    let mut conflict = good("good-1");
    conflict["emailAddress"] = json!("good@example.ac.jp");
    conflict["code"] = json!(CANARY);
    vec![
        taken(
            "a good one beside a number",
            &json!([good("beside"), 7]),
            1,
            1,
        ),
        taken(
            "a good one beside a hostile id",
            &json!([hostile, good("beside-2")]),
            1,
            1,
        ),
        taken(
            "a good one beside a conflict",
            &json!([conflict, good("beside-3")]),
            1,
            1,
        ),
        refused(
            "the same identity with other content",
            &conflict,
            "conflict",
            "",
        ),
    ]
}
