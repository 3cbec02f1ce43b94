//! What real clients send, what nobody should, and whatever a generator thinks of.

use std::path::Path;

use mimamori_actors::domain::{Event, Output};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cell_monitor::decode;
use super::{Code, MAX_NAME_BYTES, MAX_TEXT_BYTES, Refused, split};

#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The recorded requests: their names, and the files as they are.
fn recorded() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cell-monitor");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn decode_all(body: &str) -> Vec<Result<Event, Refused>> {
    let events = split(body.as_bytes()).unwrap();
    events.elements.iter().map(decode).collect()
}

fn decode_one(event: &Value) -> Result<Event, Refused> {
    decode_text(&event.to_string())
}

fn decode_text(event: &str) -> Result<Event, Refused> {
    decode_all(&format!("[{event}]")).remove(0)
}

/// An event that is taken, with these members in addition or instead.
fn event_with(members: &Value) -> Value {
    let mut event = json!({
        "eventId": "e1",
        "eventType": "cell_executed",
        "eventTime": "2026-11-21T22:25:44.353Z",
        "emailAddress": "hanako@example.ac.jp",
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    event
}

fn taken(members: &Value) -> Event {
    decode_one(&event_with(members)).unwrap()
}

fn assert_is_given_back(event: &Event) {
    let json = serde_json::to_string(event).unwrap();

    assert_eq!(decode_text(&json).as_ref(), Ok(event), "decoded again");
    assert_eq!(
        serde_json::from_str::<Event>(&json).as_ref().ok(),
        Some(event),
        "read from the journal"
    );
}

#[test]
fn every_recorded_request_becomes_the_events_of_its_snapshot() {
    let recorded = recorded();

    assert_eq!(recorded.len(), 49);
    for (name, file) in recorded {
        let request: Recorded<'_> = serde_json::from_str(&file).unwrap();
        if request.body.get() == "null" {
            // the preflight has no body
            assert_eq!(name, "01-preflight");
            insta::assert_json_snapshot!(name, Value::Null);
            continue;
        }
        let events: Vec<_> = decode_all(request.body.get())
            .into_iter()
            .map(|event| {
                let event = event.unwrap();
                assert_is_given_back(&event);
                json!({"status": event.execution_status(), "event": event})
            })
            .collect();
        insta::assert_json_snapshot!(name, events);
    }
}

#[test]
fn what_is_needed_is_told_by_code_and_field() {
    let cases = [
        (json!({"eventType": null}), Code::UnknownType, "eventType"),
        (json!({"eventType": "Help"}), Code::UnknownType, "eventType"),
        (json!({"eventType": 1}), Code::UnknownType, "eventType"),
        (
            json!({"emailAddress": null}),
            Code::MissingStudent,
            "emailAddress",
        ),
        (
            json!({"emailAddress": " \t"}),
            Code::MissingStudent,
            "emailAddress",
        ),
        (
            json!({"emailAddress": 7}),
            Code::MissingStudent,
            "emailAddress",
        ),
        (json!({"eventTime": null}), Code::MissingTime, "eventTime"),
        (json!({"eventTime": "soon"}), Code::BadTime, "eventTime"),
        (json!({"eventTime": ""}), Code::BadTime, "eventTime"),
        (
            json!({"eventTime": 1_700_000_000}),
            Code::BadTime,
            "eventTime",
        ),
        (
            json!({"eventTime": "1".repeat(200)}),
            Code::BadTime,
            "eventTime",
        ),
    ];
    for (members, code, field) in cases {
        let refused = decode_one(&event_with(&members)).unwrap_err();

        assert_eq!(
            (refused.code, refused.field),
            (code, Some(field)),
            "{members}"
        );
        assert_eq!(refused.event_id.as_deref(), Some("e1"));
    }
}

#[test]
fn what_is_no_object_is_refused_as_a_whole() {
    for text in ["null", "1", "\"{}\"", "[{}]", "true"] {
        let refused = decode_text(text).unwrap_err();

        assert_eq!((refused.code, refused.field), (Code::NotAnObject, None));
    }
}

#[test]
fn names_are_taken_up_to_1_kib_and_refused_beyond() {
    for field in [
        "eventId",
        "emailAddress",
        "userName",
        "teamName",
        "sessionId",
        "notebookPath",
        "cellId",
    ] {
        let longest = "é".repeat(MAX_NAME_BYTES / 2);
        let too_long = format!("{longest}x");

        assert!(decode_one(&event_with(&json!({field: longest}))).is_ok());
        let refused = decode_one(&event_with(&json!({field: too_long}))).unwrap_err();
        assert_eq!((refused.code, refused.field), (Code::TooLong, Some(field)));
        if field != "eventId" {
            assert_eq!(refused.event_id.as_deref(), Some("e1"));
        }
    }
}

#[test]
fn nesting_is_taken_up_to_31_levels_inside_an_event() {
    let nested = |field: &str, levels: usize| {
        let inside = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        event_with(&json!({}))
            .to_string()
            .replacen('{', &format!("{{\"{field}\":{inside},"), 1)
    };

    for (field, levels) in [("metadata", 31), ("unknown", 30)] {
        assert_is_given_back(&decode_text(&nested(field, levels)).unwrap());
    }
    for (field, levels, told) in [
        ("metadata", 32, Some("metadata")),
        ("unknown", 31, None),
        ("code", 31, Some("code")),
        ("code", 120, Some("code")),
    ] {
        let refused = decode_text(&nested(field, levels)).unwrap_err();
        assert_eq!((refused.code, refused.field), (Code::TooDeep, told));
        assert_eq!(refused.event_id.as_deref(), Some("e1"));
    }
}

#[test]
fn texts_over_256_kib_are_cut_between_characters_and_marked() {
    let long = format!("x{}", "é".repeat(MAX_TEXT_BYTES / 2));
    let event = taken(&json!({"code": long, "errorMessage": long, "result": long}));

    let cut = Some(MAX_TEXT_BYTES - 1);
    assert_eq!(event.code.as_ref().map(String::len), cut);
    assert_eq!(event.error_message.as_ref().map(String::len), cut);
    assert_eq!(event.cut, ["code", "errorMessage", "result"]);
    assert_is_given_back(&event);
}

#[test]
fn an_array_of_outputs_is_cut_at_256_kib_in_all() {
    let half = "x".repeat(MAX_TEXT_BYTES / 2);
    let event = taken(&json!({"result": [half, "", half, half]}));

    let Some(Output::Many(texts)) = &event.result else {
        panic!("{:?}", event.result);
    };
    let lengths: Vec<_> = texts.iter().map(String::len).collect();
    assert_eq!(lengths, [half.len(), 0, half.len() - 3]);
    assert_eq!(event.cut, ["result"]);
    assert_is_given_back(&event);

    let many_empty = taken(&json!({"result": vec![""; MAX_TEXT_BYTES + 1]}));
    assert_eq!(many_empty.cut, ["result"]);
    assert_is_given_back(&many_empty);
}

#[test]
fn optional_fields_of_another_type_and_unknown_ones_are_kept_in_metadata() {
    let strays = json!({
        "userName": 1, "teamName": [], "sessionId": {}, "notebookPath": true, "cellId": 1.5,
        "cellIndex": "3", "cellType": "sql", "code": ["a"], "executionCount": 1.5,
        "hasError": "true", "errorMessage": {}, "result": ["a", 1], "executionDurationMs": "2",
        "cut": ["everything"], "kernel": "python3",
    });
    let event = taken(&strays);

    assert_eq!(Value::Object(event.metadata.clone()), strays);
    assert_eq!(event.code, None);
    assert_is_given_back(&event);
}

#[test]
fn null_is_the_same_as_absent() {
    let nulls = json!({
        "userName": null, "code": null, "result": null, "metadata": null, "cut": null,
        "kernel": null, "userId": null,
    });

    assert_eq!(taken(&nulls), taken(&json!({})));
}

#[test]
fn the_clients_own_metadata_keeps_its_names_beside_stray_fields() {
    let event = taken(&json!({
        "metadata": {"kernel": "a", "kernel#2": "b", "null": null},
        "kernel": "c",
        "os": "linux",
    }));

    let expected = json!({
        "kernel": "a", "kernel#2": "b", "kernel#3": "c", "null": null, "os": "linux",
    });
    assert_eq!(Value::Object(event.metadata.clone()), expected);
    assert_is_given_back(&event);

    let event = taken(&json!({"metadata": [1]}));
    assert_eq!(Value::Object(event.metadata), json!({"metadata": [1]}));
}

#[test]
fn of_two_fields_with_the_same_name_the_last_one_counts() {
    let base = event_with(&json!({})).to_string();
    let event = base.replacen(
        '}',
        r#","cellIndex":1,"cellIndex":"x","code":[],"code":"1/0","os":1,"os":null}"#,
        1,
    );
    let event = decode_text(&event).unwrap();

    assert_eq!(event.cell_index, None);
    assert_eq!(event.code.as_deref(), Some("1/0"));
    assert_eq!(Value::Object(event.metadata), json!({"cellIndex": "x"}));
}

#[test]
fn the_student_is_trimmed_and_in_lower_case_and_may_come_as_user_id() {
    let by_address = taken(&json!({"emailAddress": "\u{3000}Hanako@Example.AC.jp "}));
    let by_user_id = taken(&json!({"emailAddress": null, "userId": "Taro@example.ac.jp"}));
    let by_both = taken(&json!({"userId": "u1"}));
    let by_second = taken(&json!({"emailAddress": " ", "userId": "u1"}));

    assert_eq!(by_address.address, "hanako@example.ac.jp");
    assert_eq!(by_user_id.address, "taro@example.ac.jp");
    assert!(by_user_id.metadata.is_empty());
    assert_eq!(by_both.address, "hanako@example.ac.jp");
    assert_eq!(by_both.metadata["userId"], "u1");
    assert_eq!(by_second.address, "u1");
}

#[test]
fn an_event_without_a_usable_id_gets_one_from_its_content() {
    let ids: Vec<_> = [json!(null), json!(""), json!(17)]
        .iter()
        .map(|id| taken(&json!({"eventId": id})).id)
        .collect();

    assert!(ids[0].as_str().starts_with("evt_"));
    assert_eq!(ids[0].as_str().len(), 36);
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2], "the number is content");
    assert_eq!(ids[0], taken(&json!({"eventId": null, "os": null})).id);
    assert_ne!(ids[0], taken(&json!({"eventId": null, "code": "1"})).id);
}

#[test]
fn nul_and_lone_surrogates_are_read_as_the_replacement_character() {
    let base = event_with(&json!({})).to_string();
    let odd = r#"{"code":"a\ud800b\u0000","k\udc00":"\ud83d\ude00","#;
    let event = decode_text(&base.replacen('{', odd, 1)).unwrap();

    assert_eq!(event.code.as_deref(), Some("a\u{fffd}b\u{fffd}"));
    assert_eq!(event.metadata["k\u{fffd}"], "😀");
    assert_is_given_back(&event);
}

#[test]
fn a_key_that_serde_json_keeps_for_itself_is_a_key_like_any_other() {
    let deep = "[".repeat(100) + &"]".repeat(100);
    let event = taken(&json!({
        "metadata": {"a": {"$serde_json::private::RawValue": deep}},
        "kernel": {"$serde_json::private::RawValue": "not json"},
        "$serde_json::private::RawValue": 1,
        "code": {"$serde_json::private::Number": "1"},
    }));

    assert_eq!(
        event.metadata["a"]["\u{fffd}serde_json::private::RawValue"],
        deep
    );
    assert_is_given_back(&event);
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    let event = taken(&json!({"cellIndex": 3.0, "executionCount": -0.0, "executionDurationMs": 2}));

    assert_eq!(event.cell_index, Some(3));
    assert_eq!(event.execution_count, Some(0));
    assert_eq!(event.execution_duration_ms, Some(2.0));
    assert_is_given_back(&event);
}

/// Any JSON, with texts and numbers that have hurt before.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any_text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "",
        " ",
        "\u{0}",
        "code",
        "result",
        "metadata",
        "help",
        "cell_executed",
        "markdown",
        "2026-11-21T22:25:44.353Z",
        "2026-11-21",
        "0000-01-01T00:00:00Z",
        "İSTANBUL",
        "ΑΣ",
        "a#2",
        "a",
        "チームＡ",
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "KeyboardInterrupt",
        "\u{1f600}",
        "\u{feff}",
    ])
    .prop_map(str::to_owned)
}

fn any_field() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "eventId",
        "userId",
        "emailAddress",
        "userName",
        "teamName",
        "sessionId",
        "notebookPath",
        "cellId",
        "cellIndex",
        "cellType",
        "code",
        "executionCount",
        "hasError",
        "errorMessage",
        "result",
        "executionDurationMs",
        "metadata",
        "cut",
        "a",
        "a#2",
        "$serde_json::private::RawValue",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn any_json_is_decoded_or_refused(value in any_json()) {
        if let Ok(event) = decode_one(&value) {
            assert_is_given_back(&event);
        }
    }

    #[test]
    fn what_is_taken_can_be_given_back(
        members in proptest::collection::vec((any_field(), any_json()), 0..12)
    ) {
        let event = event_with(&Value::Object(members.into_iter().collect()));
        if let Ok(event) = decode_one(&event) {
            assert_is_given_back(&event);
        }
    }

    #[test]
    fn a_damaged_request_is_decoded_or_refused(
        which in 1_usize..49,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let file = &recorded()[which].1;
        let request: Recorded<'_> = serde_json::from_str(file).unwrap();
        let mut body = request.body.get().as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(events) = split(&body) {
            for event in events.elements.iter().map(decode).filter_map(Result::ok) {
                assert_is_given_back(&event);
            }
        }
    }
}
