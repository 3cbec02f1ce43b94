//! A state as bytes, and how many of them.

use super::*;
use crate::session::fold::format::FORMAT;

const UUID: &str = "0bbbc1ba-4a29-4257-bea0-c9b108af06b5";
const NOTEBOOK: &str = "授業/第03回_条件分岐.ipynb";

#[test]
fn a_state_of_another_format_is_refused() {
    let mut bytes = Bench::new().state.encode();
    bytes[0] = 9;

    assert!(matches!(
        SessionState::decode(&bytes),
        Err(StateError::UnknownFormat(9))
    ));
    assert!(SessionState::decode(&[]).is_err());
    assert!(SessionState::decode(&[FORMAT, b'{']).is_err());
    assert!(SessionState::decode(&[FORMAT, 0, 0, b'{']).is_err());
}

#[test]
fn a_state_that_the_version_before_wrote_is_read() {
    // written by the code of format 1: an ok, 2 errors, 4 errors and an alert, help with one beat
    let mut state = SessionState::decode(include_bytes!("../fixtures/state-v1.bin")).unwrap();

    let view = state.view();
    let times = |seconds: i64| Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000);
    assert_eq!(
        (&*view.name, view.team.as_deref()),
        ("山田花子", Some("チームB"))
    );
    assert_eq!(view.notebook.as_deref(), Some("授業/が.ipynb"));
    assert_eq!(view.cell_id.as_deref(), Some("hard"));
    assert_eq!((view.executions, view.errors), (7, 6));
    assert_eq!(
        (view.consecutive_errors, view.is_last_run_failed),
        (4, true)
    );
    assert_eq!(view.last_activity, Some(Moment::of_wall(times(45))));
    let help = view.help.clone().unwrap();
    assert_eq!(help.shown.since, times(35));
    assert_eq!(help.last_beat, Moment::of_wall(times(45)));
    assert_eq!(view.alerts.len(), 1);
    assert_eq!(state.deadlines().len(), 2);
    let again = SessionState::decode(&state.encode()).unwrap();
    assert_eq!(again, state);

    // and it goes on: the row of the other cell is known, the alert closes
    let mut bench = Bench::new();
    let position = state.position();
    bench.position = position.0;
    bench.now = times(50);
    bench.state = state.clone();
    let outcome = bench.error("half");
    assert_eq!(said_by(&outcome), ["alert closed", "alert open"]);
    assert_eq!(outcome.alerts[0].id, view.alerts[0].id);
    assert_eq!(bench.view().consecutive_errors, 3);
    let again = bench.event(run("授業/か\u{3099}.ipynb", "hard", true));
    assert_eq!(bench.view().consecutive_errors, 5);
    assert_eq!(said_by(&again), ["alert closed", "alert open"]);
    state.apply(&bench.entry(accepted(event(EventKind::HelpStop))), None);
    assert!(state.view().help.is_none());
}

/// What a `Vec` of this state would hold, and behind its pointers: counted from above.
fn awake_bytes(state: &SessionState) -> usize {
    let briefs = state.recent.iter().count();
    let texts = state.encode().len();
    size_of::<SessionState>()
        + briefs * size_of::<Brief>()
        // the rows, their list half full
        + state.base.rows.len() * 2 * 16
        + 2 * texts
}

#[test]
fn a_session_with_fifty_cells_is_small_awake_and_asleep() {
    let mut bench = Bench::new();
    for n in 0..200 {
        let cell = format!("{UUID}{}", n % 50);
        let named = Event {
            name: text("山田花子"),
            team: text("チームB"),
            client_session: text(UUID),
            ..run(NOTEBOOK, &cell, true)
        };
        bench.wait(5).late(900, named);
    }
    let awake = awake_bytes(&bench.state);
    let asleep = bench.state.encode().len();

    assert!(awake <= 12 * 1024, "{awake}");
    assert!(asleep <= 2 * 1024, "{asleep}");
}

#[test]
fn run_all_of_fifty_cells_is_put_away_by_the_timer() {
    let mut bench = Bench::new();
    for n in 0..50 {
        bench.late(900, run(NOTEBOOK, &format!("{UUID}{n}"), true));
    }
    let just_come = (awake_bytes(&bench.state), bench.state.encode().len());
    bench.wait(4).housekeep();
    let put_away = (awake_bytes(&bench.state), bench.state.encode().len());

    assert!(just_come.0 <= 40 * 1024, "{just_come:?}");
    assert!(
        put_away.0 <= 12 * 1024 && put_away.1 <= 2 * 1024,
        "{put_away:?}"
    );
}

#[test]
fn five_thousand_cells_are_remembered_and_no_more() {
    let mut bench = Bench::new();
    for n in 0..MAX_CELLS + 1_000 {
        bench.event(run(NOTEBOOK, &format!("{UUID}{n}"), true));
    }
    bench.wait(4).ok("last");

    let kept = bench.state.encode();
    assert_eq!(bench.state.base.rows.len(), MAX_CELLS);
    assert!(kept.len() < 80 * 1024, "{}", kept.len());
    assert_eq!(SessionState::decode(&kept).unwrap(), bench.state);
}

#[test]
fn asleep_and_woken_by_an_event_a_student_is_where_it_would_be() {
    let mut awake = Bench::new();
    awake.error("a");
    awake.late(500, run("nb.ipynb", "b", true));
    awake.send(EventKind::Help, None);
    let mut woken = Bench::new();
    (woken.position, woken.now) = (awake.position, awake.now);
    woken.state = SessionState::decode(&awake.state.encode()).unwrap();

    for bench in [&mut awake, &mut woken] {
        // older than what was kept, and still in time
        bench.wait(2).late(2_800, run("nb.ipynb", "c", false));
        bench.wait(400).late(0, run("nb.ipynb", "b", true));
    }

    assert_eq!(woken.state, awake.state);
    assert_eq!(woken.view(), awake.view());
}
