//! Rows, one by one.

use mimamori_actors::domain::ExecutionStatus;

use super::super::report::{Counts, Reason, Report};
use super::super::row::{ExecutionRow, event};

fn row() -> ExecutionRow {
    ExecutionRow {
        execution_id: Some("x".to_owned()),
        has_student: true,
        email: Some("hanako@example.ac.jp".to_owned()),
        has_notebook: true,
        path: Some("a.ipynb".to_owned()),
        at_ms: Some(1_775_782_800_000),
        execution_count: Some(1),
        status: Some("success".to_owned()),
        code: Some("1".to_owned()),
        ..ExecutionRow::default()
    }
}

fn read(row: &ExecutionRow) -> Result<mimamori_actors::domain::Event, Reason> {
    event(row, &mut Report::new(Counts::default(), false))
}

#[test]
fn a_status_means_what_it_means_today() {
    for (status, error, expected) in [
        ("success", None, ExecutionStatus::Ok),
        (" SUCCESS ", None, ExecutionStatus::Ok),
        ("error", Some("NameError: x"), ExecutionStatus::Error),
        (
            "error",
            Some("KeyboardInterrupt: "),
            ExecutionStatus::Interrupted,
        ),
        ("ok", None, ExecutionStatus::Unknown),
    ] {
        let mut row = row();
        row.status = Some(status.to_owned());
        row.error_message = error.map(str::to_owned);

        let event = read(&row).unwrap();

        assert_eq!(event.execution_status(), Some(expected), "{status}");
    }
}

#[test]
fn hostile_texts_are_kept_as_they_are_within_their_limits() {
    let hostile = "a\n\"b\",'; drop table students; --\u{202E}e\u{301}";
    let mut row = row();
    row.name = Some(hostile.repeat(200));
    row.path = Some(hostile.to_owned());
    row.code = Some("ñ".repeat(300_000));
    row.execution_id = Some("i".repeat(2_000));

    let event = read(&row).unwrap();

    assert_eq!(event.notebook.as_deref(), Some(hostile));
    assert!(event.name.as_ref().is_some_and(|name| name.len() <= 1_024));
    assert!(
        event
            .code
            .as_ref()
            .is_some_and(|code| code.len() <= 256 * 1_024)
    );
    assert_eq!(event.cut, ["code"]);
    assert!(event.id.as_str().starts_with("evt_"));
    assert_eq!(
        read(&row).unwrap().id,
        event.id,
        "the same row, the same id"
    );
}

#[test]
fn a_time_that_no_clock_can_mean_is_none() {
    let mut row = row();
    row.at_ms = Some(i64::MAX);

    assert_eq!(read(&row), Err(Reason::NoTime));
}
