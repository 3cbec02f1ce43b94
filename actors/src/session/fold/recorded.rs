//! The 49 recorded requests of one real student, folded as they arrived.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::tests::{accepted, key};
use super::*;
use crate::domain::{AlertKind, EndedBy, EventId, StudentStatus};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    recorded_at: Timestamp,
    body: Option<Vec<Event>>,
}

fn requests() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cell-monitor");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect()
}

/// Every distinct event once, as the journal would hold them.
fn entries() -> Vec<Entry> {
    let mut seen: HashSet<EventId> = HashSet::new();
    let events = requests().into_iter().flat_map(|request| {
        let events = request.body.unwrap_or_default();
        events
            .into_iter()
            .map(move |event| (request.recorded_at, event))
    });
    (1..)
        .zip(events.filter(|(_, event)| seen.insert(event.id.clone())))
        .map(|(position, (received_at, event))| Entry {
            position: Position(position),
            received_at,
            heard_at: Heard::of_wall(received_at),
            record: accepted(event),
        })
        .collect()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_recorded_requests_mean_what_a_person_reads_in_them() {
    let entries = entries();
    let lesson = LessonId::new("les_1");
    let mut state = SessionState::new(key());

    let outcomes: Vec<_> = entries
        .iter()
        .map(|entry| state.apply(entry, Some(&lesson)))
        .collect();

    let with = |status| {
        let lines = outcomes.iter().filter_map(|outcome| outcome.event.as_ref());
        lines.filter(|line| line.status == Some(status)).count()
    };
    // 49 requests: one preflight, 12 of the others repeat an event
    assert_eq!(entries.len(), 36);
    assert_eq!(with(ExecutionStatus::Ok), 17);
    assert_eq!(with(ExecutionStatus::Error), 5);
    assert_eq!(with(ExecutionStatus::Interrupted), 0);
    assert_eq!(with(ExecutionStatus::Skipped), 4);
    assert_eq!(with(ExecutionStatus::NotRun), 4);
    assert_eq!(with(ExecutionStatus::Unknown), 0);

    let view = state.view();
    assert_eq!((view.executions, view.errors), (22, 5));
    assert_eq!(&*view.name, "山田花子");
    assert_eq!(view.team.as_deref(), Some("チームB"));
    assert_eq!(view.notebook.as_deref(), Some("sub/nb3.ipynb"));
    assert_eq!(view.cell_id.as_deref(), Some("n3c0"));
    assert_eq!(
        (view.consecutive_errors, view.is_last_run_failed),
        (0, false)
    );
    // the last one that is not a repeat: the first attempt at the slow one
    let last = Moment::of_wall(time("2026-11-21T22:28:08.207Z"));
    assert_eq!(view.last_activity, Some(last));
    assert_eq!(
        view.status(Heard::of_wall(time("2026-11-21T22:30:08.206Z"))),
        StudentStatus::Active
    );
}

/// The student after this many entries: notebook, cell, errors in a row.
fn after(count: usize) -> (Option<Arc<str>>, Option<Arc<str>>, u32) {
    let mut state = SessionState::new(key());
    for entry in &entries()[..count] {
        state.apply(entry, Some(&LessonId::new("les_1")));
    }
    let view = state.view();
    (view.notebook, view.cell_id, view.consecutive_errors)
}

#[test]
fn run_all_leaves_the_student_on_the_cell_that_failed_whatever_arrives_last() {
    // by their times: md, empty, print, expr, err, then display, sleep, none, unicode were skipped;
    // print, the first that ran, arrived last
    let (notebook, cell, errors) = after(25);

    assert_eq!(notebook.as_deref(), Some("nb1.ipynb"));
    assert_eq!(cell.as_deref(), Some("cell-err"));
    assert_eq!(errors, 5);
}

#[test]
fn the_recorded_requests_hold_one_session_one_call_for_help_two_times_stuck_and_a_run_not_reported()
{
    let lesson = LessonId::new("les_1");
    let mut state = SessionState::new(key());

    let facts: Vec<_> = entries()
        .iter()
        .flat_map(|entry| state.apply(entry, Some(&lesson)).facts)
        .map(|fact| (fact.cause, fact.kind))
        .collect();

    let [
        (Position(1), FactKind::SessionBegun { begun, .. }),
        // 06, 12, 13: the third error on cell-err
        (Position(12), FactKind::AlertChanged { alert: stuck, .. }),
        // 15: the student ran another cell
        (Position(14), FactKind::AlertChanged { alert: over, .. }),
        // two runs within 300 ms gave one event, 15: 11 is followed by 13; told when 12 can't come any more
        (
            Position(17),
            FactKind::AlertChanged {
                alert: unreported, ..
            },
        ),
        // 21: Run All fails on cell-err again, and there it ends
        (
            Position(20),
            FactKind::AlertChanged {
                alert: stuck_again, ..
            },
        ),
        (Position(26), FactKind::HelpOpened { since, .. }),
        (
            Position(29),
            FactKind::HelpEnded {
                help: _,
                since: opened,
                until,
                ended_by,
                ..
            },
        ),
        // 32: the student ran a cell of another notebook
        (
            Position(31),
            FactKind::AlertChanged {
                alert: over_again, ..
            },
        ),
    ] = &facts[..]
    else {
        panic!("{facts:#?}");
    };
    assert_eq!(*begun, time("2026-11-21T22:25:38.629Z"));
    assert_eq!(stuck.cell_id.as_deref(), Some("cell-err"));
    assert_eq!((&stuck.id, &stuck_again.id), (&over.id, &over_again.id));
    assert_eq!(unreported.kind, AlertKind::RunsNotReported);
    assert_eq!(unreported.reason, "1 run in nb1.ipynb was not reported");
    assert_eq!((since, opened), (opened, &time("2026-11-21T22:26:47.597Z")));
    assert_eq!(*until, time("2026-11-21T22:27:11.062Z"));
    assert_eq!(*ended_by, EndedBy::Student);
    // the counter went on in nb1.ipynb after Run All, but for less than ten runs
    assert_eq!(state.view().alerts, std::slice::from_ref(unreported));
}
