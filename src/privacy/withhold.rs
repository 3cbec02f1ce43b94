//! Takes students' code, outputs and texts of errors out of an event: pure.
//!
//! What is derived from them later must come out the same without them, so of
//! each the least stays that tells it: of an empty cell that it is empty, of an
//! error the name of an exception that is in a list of ours. No byte that a
//! student wrote or saw remains: whatever the client put into fields of its own
//! goes too, for nobody knows what is in it.

use mimamori_actors::domain::{Event, EventId, ExecutionStatus};

use crate::decode::cell_monitor::computed_id;

const INTERRUPT: &str = "KeyboardInterrupt";

/// The exceptions of which the name stays: those of Python itself, and of libraries
/// that classes use. A name that a student gave is a student's text.
const EXCEPTIONS: [&str; 72] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "CalledProcessError",
    "CancelledError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DatabaseError",
    "EmptyDataError",
    "EOFError",
    "Exception",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "GeneratorExit",
    "HTTPError",
    "ImportError",
    "IncompleteReadError",
    "IndentationError",
    "IndexError",
    "IndexingError",
    "IntegrityError",
    "InterruptedError",
    "InvalidIndexError",
    "IOError",
    "IsADirectoryError",
    "JSONDecodeError",
    "KeyError",
    "LinAlgError",
    "LookupError",
    "MemoryError",
    "MergeError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotFittedError",
    "NotImplementedError",
    "OperationalError",
    "OSError",
    "OutOfMemoryError",
    "OverflowError",
    "ParserError",
    "PermissionError",
    "ProcessLookupError",
    "ProgrammingError",
    "RecursionError",
    "ReferenceError",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "URLError",
    "UserWarning",
    "ValueError",
    "ZeroDivisionError",
];

/// The event as a classroom keeps it that stores no code.
///
/// Its status as an execution is the same as before. An id that was computed from
/// the whole event is computed again from what stays: by a hash of code a guess
/// of it could be proved.
#[must_use]
pub fn without_code(mut event: Event) -> Event {
    let had_computed_id = has_computed_id(&event);
    let is_interrupted = event.execution_status() == Some(ExecutionStatus::Interrupted);
    let kind_of_error = if is_interrupted {
        Some(INTERRUPT)
    } else {
        event.error_text().and_then(exception)
    };
    event.error_message = kind_of_error.map(str::to_owned);
    // that there was nothing to run is told by an empty text
    let had_nothing_to_run = event.code.is_some_and(|code| code.trim().is_empty());
    event.code = had_nothing_to_run.then(String::new);
    event.result = None;
    event.metadata.clear();
    event.cut.clear();
    if had_computed_id {
        event.id = EventId::new("");
        event.id = computed_id(&event);
    }
    event
}

/// Whether the client gave none.
fn has_computed_id(event: &Event) -> bool {
    if !event.id.as_str().starts_with("evt_") {
        return false;
    }
    let mut without = event.clone();
    without.id = EventId::new("");
    computed_id(&without) == event.id
}

/// The exception that an error begins with, if it is in our list.
fn exception(message: &str) -> Option<&'static str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let end = message.find(|c| !is_of_name(c)).unwrap_or(message.len());
    let (path, rest) = message.split_at(end);
    let ends_there = rest.is_empty() || rest.starts_with([':', '(', ' ', '\n', '\r', '\u{1b}']);
    let name = path.rsplit('.').next()?;
    EXCEPTIONS
        .into_iter()
        .find(|known| ends_there && *known == name)
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{CellType, Output, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{cell_monitor, split};

    fn decoded(json: &str) -> Event {
        let body = format!("[{json}]");
        let events = split(body.as_bytes()).unwrap();
        cell_monitor::decode(&events.elements[0]).unwrap()
    }

    #[test]
    fn nothing_that_a_student_wrote_or_saw_stays() {
        let event = decoded(
            r#"{"eventId":"e1","eventType":"cell_executed","eventTime":"2026-11-22T00:00:00Z",
                "emailAddress":"a@x","notebookPath":"a.ipynb","cellId":"c1","cellIndex":3,
                "code":"SECRET = 1","hasError":true,"errorMessage":"NameError: SECRET",
                "result":["SECRET"],"executionCount":4,"metadata":{"a":"SECRET"},
                "output":"SECRET","executionDurationMs":12,"cut":["code"]}"#,
        );

        let kept = without_code(event);

        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
        assert!(kept.cut.is_empty() && kept.metadata.is_empty());
        assert_eq!(kept.error_message.as_deref(), Some("NameError"));
        assert_eq!(kept.execution_status(), Some(ExecutionStatus::Error));
        assert_eq!((kept.cell_index, kept.execution_count), (Some(3), Some(4)));
        assert_eq!(kept.notebook.as_deref(), Some("a.ipynb"));
    }

    #[test]
    fn code_of_a_wrong_type_is_not_kept_among_the_rest_either() {
        let event = decoded(
            r#"{"eventId":"e1","eventType":"notebook_saved","eventTime":"2026-11-22T00:00:00Z",
                "emailAddress":"a@x","code":["SECRET"],"result":{"text":"SECRET"},"errorMessage":1}"#,
        );

        assert!(serde_json::to_string(&event).unwrap().contains("SECRET"));
        let text = serde_json::to_string(&without_code(event)).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
    }

    #[test]
    fn only_names_of_known_exceptions_stay() {
        for (message, name) in [
            ("ValueError: SECRET", Some("ValueError")),
            ("ValueError", Some("ValueError")),
            ("KeyError(SECRET)", Some("KeyError")),
            ("json.decoder.JSONDecodeError: x", Some("JSONDecodeError")),
            ("ValueErrorSECRET: x", None),
            ("SECRETError: x", None),
            ("ValueError-SECRET", None),
            ("SECRET", None),
            ("", None),
        ] {
            assert_eq!(exception(message), name, "{message}");
        }
    }

    #[test]
    fn an_id_that_was_computed_does_not_follow_from_code() {
        let event = |code: &str, id: &str| {
            decoded(&format!(
                r#"{{"eventType":"cell_executed","eventTime":"2026-11-22T00:00:00Z",
                    "emailAddress":"a@x","code":"{code}"{id}}}"#
            ))
        };

        assert_eq!(
            without_code(event("a", "")).id,
            without_code(event("b", "")).id
        );
        let own = r#","eventId":"evt_mine""#;
        assert_eq!(without_code(event("a", own)).id.as_str(), "evt_mine");
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(prop_oneof![
            Just(String::new()),
            Just(" \n".to_owned()),
            Just("KeyboardInterrupt".to_owned()),
            Just("\u{1b}[0;31mKeyboardInterruptX: y".to_owned()),
            Just("a.KeyboardInterrupt: y".to_owned()),
            Just("NameError: name 'x' is not defined".to_owned()),
            ".{0,20}",
        ])
    }

    proptest! {
        #[test]
        fn a_status_is_the_same_as_with_the_code(
            code in text(),
            error in text(),
            has_error in proptest::option::of(any::<bool>()),
            execution_count in proptest::option::of(any::<i64>()),
            cell_type in proptest::option::of(prop_oneof![
                Just(CellType::Code), Just(CellType::Markdown), Just(CellType::Raw),
            ]),
        ) {
            let mut event = decoded(
                r#"{"eventId":"e","eventType":"cell_executed","emailAddress":"a@x",
                    "eventTime":"2026-11-22T00:00:00Z"}"#,
            );
            event.time = Timestamp::from_millis(0);
            event.code = code;
            event.error_message = error;
            event.has_error = has_error;
            event.execution_count = execution_count;
            event.cell_type = cell_type;
            event.result = Some(Output::One("SECRET".to_owned()));

            let kept = without_code(event.clone());

            prop_assert_eq!(kept.execution_status(), event.execution_status());
            prop_assert_eq!(without_code(kept.clone()), kept);
        }
    }
}
