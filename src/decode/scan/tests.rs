//! The scanner against `serde_json`, and at its limits.

use proptest::prelude::*;

use super::*;
use crate::decode::loose::Kept;

fn judge(text: &str) -> Scan {
    let mut scanner = Scanner::new(text);
    scanner.space();
    scanner.value()?;
    scanner.space();
    if scanner.peek().is_some() {
        return Err(BodyFault::NotJson);
    }
    Ok(())
}

fn assert_same_judgement(text: &str) {
    let theirs = serde_json::from_str::<Kept>(&mend(text));

    assert_eq!(judge(text).is_ok(), theirs.is_ok(), "{text:?} {theirs:?}");
}

#[test]
fn nesting_is_refused_from_exactly_128_levels_on() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));

    assert_eq!(judge(&nested(127)), Ok(()));
    assert_eq!(judge(&nested(128)), Err(BodyFault::TooNested));
    assert_same_judgement(&nested(127));
    assert_same_judgement(&nested(128));
    assert_eq!(judge(&"[".repeat(4 << 20)), Err(BodyFault::TooNested));
}

#[test]
fn numbers_are_refused_when_a_double_cannot_hold_them() {
    let digits = |count: usize| "9".repeat(count);

    for good in ["1e308", "-1e308", "1e-999999999999", "0e999999999999", "-0"] {
        assert_eq!(judge(good), Ok(()), "{good}");
        assert_same_judgement(good);
    }
    for bad in ["1e309", "-1e309", "1e99999999999999999999"] {
        assert_eq!(judge(bad), Err(BodyFault::NumberOutOfRange), "{bad}");
        assert_same_judgement(bad);
    }
    assert_eq!(judge(&digits(308)), Ok(()));
    assert_eq!(judge(&digits(310)), Err(BodyFault::NumberOutOfRange));
    assert_eq!(judge(&digits(4 << 20)), Err(BodyFault::NumberOutOfRange));
}

#[test]
fn json_is_judged_as_serde_json_judges_it() {
    for text in [
        "",
        " ",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "{\"a\":}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "tru",
        "true",
        "nul",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\u+123\"",
        "\"\t\"",
        "\"\u{7f}\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "[1 2]",
        "1 2",
        "\u{feff}[]",
        "NaN",
        "{\"a\":1,\"a\":2}",
        "\"\\ud800\\u\"",
        "'a'",
    ] {
        assert_same_judgement(text);
    }
}

#[test]
fn lone_surrogates_and_nul_are_mended_and_pairs_are_not() {
    let mended = mend(r#""a\ud800b\udc00\u0000\\u0000\ud83d\ude00\ud83d\ud83d\ude00\uD800""#);

    let expected = r#""a\ufffdb\ufffd\ufffd\\u0000\ud83d\ude00\ufffd\ud83d\ude00\ufffd""#;
    assert_eq!(mended, expected);
}

#[test]
fn the_events_are_found_in_either_form() {
    let lists = [
        r#"[{"a":1},2,"x"]"#,
        r#" { "x": [[1]], "events" : [ {"a":1} ,2, "x"] } "#,
        r#"{"events":5,"\u0065vents":[{"a":1},2,"x"]}"#,
    ];
    for list in lists {
        let events = split(list.as_bytes()).unwrap();

        let texts: Vec<_> = events.elements.iter().map(Element::as_sent).collect();
        assert_eq!(texts, [r#"{"a":1}"#, "2", r#""x""#], "{list}");
        assert_eq!(events.elements[0].levels(), 1);
    }
}

#[test]
fn what_holds_no_events_is_refused_with_its_fault() {
    for (body, fault) in [
        (&b"5"[..], BodyFault::NotEvents),
        (b"{}", BodyFault::NotEvents),
        (br#"{"events":{}}"#, BodyFault::NotEvents),
        (br#"{"events":[],"events":null}"#, BodyFault::NotEvents),
        (b"", BodyFault::NotJson),
        (b"[]x", BodyFault::NotJson),
        (b"[\"\xff\"]", BodyFault::NotUtf8),
    ] {
        assert_eq!(split(body).unwrap_err(), fault);
    }
}

#[test]
fn too_many_events_are_told_before_what_is_wrong_behind_them() {
    let mut body = format!("[{}", "1,".repeat(MAX_EVENTS)).into_bytes();
    body.extend_from_slice(b"{\xff");

    assert_eq!(split(&body).unwrap_err(), BodyFault::TooManyEvents);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = split(&body);
    }

    #[test]
    fn any_text_is_judged_as_serde_json_judges_it(
        text in r#"([\[\]{},:"0-9eE.+ -]|\\u|d8|dc|00|true|null|a|\\"|é)*"#
    ) {
        assert_same_judgement(&text);
    }
}
