//! Silence is measured by heard time, and what people see by the time of day.

use std::time::Duration;

use super::*;

const HOUR: u64 = 3_600;

#[test]
fn our_own_absence_ends_neither_help_nor_session_nor_presence() {
    let mut bench = Bench::new();
    bench.send(EventKind::Help, None);
    let open = bench.view().help.unwrap();

    bench.wait(20).be_away(3 * HOUR);
    assert!(bench.due().is_empty());
    let beat = bench.send(EventKind::Help, None);

    assert_eq!(said_by(&beat), [""; 0]);
    assert_eq!(bench.view().help.unwrap().shown, open.shown);
    let due = bench.wait(29).due();
    assert_eq!(due, []);
    bench.send(EventKind::HelpStop, None);
    assert_eq!(bench.view().status(bench.heard()), StudentStatus::Active);
}

#[test]
fn what_was_open_over_an_absence_lasted_as_long_as_people_saw() {
    let mut bench = Bench::new();
    bench.send(EventKind::Help, None);

    bench.be_away(HOUR);
    let ended = bench.send(EventKind::HelpStop, None);

    let FactKind::HelpEnded { since, until, .. } = &ended.facts[0].kind else {
        panic!("{ended:?}");
    };
    assert_eq!(until.since(*since).as_secs(), HOUR);
}

#[test]
fn silence_is_over_though_the_time_of_day_hardly_moves() {
    let mut bench = Bench::new();
    bench.send(EventKind::Help, None);
    let (begun, heard) = (bench.now, bench.heard());

    // the clock on the wall was set back: what we show of it runs slowly until it has caught up
    let late = Entry {
        position: Position(2),
        received_at: begun.plus(Duration::from_millis(1)),
        heard_at: heard.plus(SESSION_SILENCE),
        record: accepted(event(EventKind::NotebookSaved)),
    };
    let outcome = bench.state.apply(&late, bench.lesson.as_ref());

    assert_eq!(
        said_by(&outcome),
        ["help ended by silence", "session ended", "session begun"]
    );
}

#[test]
fn a_client_with_a_clock_of_another_day_is_as_silent_as_any_other() {
    for off in [-86_400_000, 86_400_000] {
        let mut bench = Bench::new();
        let send = |bench: &mut Bench, kind| {
            let time = Timestamp::from_millis(bench.now.as_millis() + off);
            bench.event(Event {
                time,
                ..event(kind)
            })
        };
        send(&mut bench, EventKind::Help);
        bench.wait(29);
        send(&mut bench, EventKind::Help);
        bench.wait(29);
        assert_eq!(bench.due(), [], "{off}");
        assert_eq!(bench.view().status(bench.heard()), StudentStatus::Help);

        let due = bench.wait(1).due();
        let outcome = bench.timer(due[0].clone());

        assert_eq!(said_by(&outcome), ["help ended by silence"], "{off}");
        assert_eq!(bench.view().status(bench.heard()), StudentStatus::Active);
    }
}

/// As the version before kept it, and a timer that it wrote.
#[test]
fn a_state_kept_before_there_was_heard_time_goes_on_and_its_timers_fit() {
    let kept = r#"{"key":{"classroom":"default","student":"stu_1"},"position":11,"name":"太郎","last_activity":"2026-11-22T03:12:29.729Z","lesson":"les_1","counters":{"executions":3,"errors":3},"present":{"notebook":"week1/課題.ipynb","cell_id":"c2","cell_index":1,"is_last_run_failed":true,"error_runs":{"week1/課題.ipynb":{"c2":{"n":3,"p":9}}}},"session":{"id":"ses_b7981b1bcd4d34f776aef1962e487aff","begun":"2026-11-22T03:12:29.707Z","last_event":"2026-11-22T03:12:29.729Z","events":4},"help":{"shown":{"id":"hlp_491301900818857a96ccb564217a00c9","since":"2026-11-22T03:12:29.729Z","cellId":"c2","claimedBy":null},"last_beat":"2026-11-22T03:12:29.729Z"}}"#;
    let timer = r#"{"cause":"help_silent","student":"stu_1","help":"hlp_491301900818857a96ccb564217a00c9","last_beat":"2026-11-22T03:12:29.729Z"}"#;
    let last = Moment::of_wall("2026-11-22T03:12:29.729Z".parse().unwrap());
    let bytes: Vec<u8> = [1].into_iter().chain(kept.bytes()).collect();
    let mut bench = Bench::new();
    bench.state = SessionState::decode(&bytes).unwrap();
    bench.position = 11;

    let due = bench.state.deadlines();
    let outcome = bench.timer(serde_json::from_str(timer).unwrap());

    assert_eq!(due[0].0, last.heard.plus(HELP_SILENCE));
    assert_eq!(due[1].0, last.heard.plus(SESSION_SILENCE));
    assert_eq!(said_by(&outcome), ["help ended by silence"]);
    assert_eq!(bench.view().last_activity, Some(last));
}
