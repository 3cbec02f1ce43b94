//! The order of the present: the last 3 s, what comes late, and clocks that jump.

use super::*;

fn stopped() -> Event {
    event(EventKind::HelpStop)
}

fn calls() -> Event {
    event(EventKind::Help)
}

#[test]
fn what_happened_before_but_arrives_after_does_not_move_the_student() {
    let mut bench = Bench::new();
    bench.late(200, run("nb.ipynb", "b", true));

    bench.wait(1).late(2_000, run("nb.ipynb", "a", false));

    assert_eq!(bench.place(), (text("nb.ipynb"), text("b")));
    assert_eq!(bench.view().status(bench.heard()), StudentStatus::Error);
    assert_eq!(bench.view().executions, 2);
}

#[test]
fn an_older_ok_that_arrives_after_the_third_error_takes_its_alert_back() {
    let mut bench = Bench::new();
    for ms in [2_000, 1_000, 900] {
        bench.late(ms, run("nb.ipynb", "a", true));
    }
    let opened = bench.view().alerts;

    let outcome = bench.late(1_500, run("nb.ipynb", "a", false));

    assert_eq!(opened.len(), 1);
    assert_eq!(said_by(&outcome), ["alert closed"]);
    assert_eq!(outcome.alerts[0].id, opened[0].id);
    assert_eq!(bench.view().consecutive_errors, 2);
}

#[test]
fn an_older_error_that_arrives_after_the_third_changes_no_alert() {
    let mut bench = Bench::new();
    for ms in [1_000, 900, 800] {
        bench.late(ms, run("nb.ipynb", "a", true));
    }
    let opened = bench.view().alerts;

    let outcome = bench.late(1_500, run("nb.ipynb", "a", true));

    assert!(said_by(&outcome).is_empty());
    assert_eq!(bench.view().consecutive_errors, 4);
    assert_eq!(bench.view().alerts[0].id, opened[0].id);
}

#[test]
fn a_call_that_opened_and_ended_before_it_was_heard_of_gives_both() {
    let mut bench = Bench::new();
    bench.late(500, stopped());

    let outcome = bench.late(1_000, calls());

    assert_eq!(said_by(&outcome), ["help opened", "help ended by student"]);
    assert!(bench.view().help.is_none());
}

#[test]
fn an_older_beat_that_arrives_after_the_first_does_not_make_another_call() {
    let mut bench = Bench::new();
    bench.late(500, calls());
    let before = bench.view().help.unwrap();

    let outcome = bench.late(1_000, calls());

    assert!(said_by(&outcome).is_empty());
    assert_eq!(bench.view().help.unwrap().shown, before.shown);
}

#[test]
fn a_stop_between_two_beats_parts_them_into_two_calls() {
    let mut bench = Bench::new();
    bench.late(1_000, calls());
    bench.late(200, calls());

    let outcome = bench.late(500, stopped());

    assert_eq!(said_by(&outcome), ["help ended by student", "help opened"]);
    assert!(bench.view().help.is_some());
}

#[test]
fn what_comes_more_than_three_seconds_late_is_counted_and_moves_nothing() {
    let mut bench = Bench::new();
    bench.late(500, run("nb.ipynb", "a", true));
    bench.late(400, calls());
    bench.wait(20).late(500, run("nb.ipynb", "b", true));
    bench.wait(4);

    for late in [run("nb.ipynb", "a", false), stopped()] {
        assert!(said_by(&bench.late(22_000, late)).is_empty());
    }

    let view = bench.view();
    assert_eq!(bench.place(), (text("nb.ipynb"), text("b")));
    assert_eq!((view.executions, view.errors), (3, 2));
    assert!(view.help.is_some() && view.is_last_run_failed);
    assert_eq!(view.last_activity.map(|last| last.at), Some(bench.now));
    bench.late(0, run("nb.ipynb", "a", true));
    assert_eq!(
        bench.view().consecutive_errors,
        2,
        "the late ok ended no row"
    );
}

#[test]
fn late_by_less_than_anything_newer_that_is_settled_is_in_time() {
    let mut bench = Bench::new();
    bench.late(500, run("nb.ipynb", "a", false));

    bench.wait(60).late(50_000, run("nb.ipynb", "b", false));

    assert_eq!(bench.place().1, text("b"), "nothing newer is known");
}

#[test]
fn a_clock_a_day_ahead_still_tells_what_came_first() {
    const DAY: i64 = 86_400_000;
    let mut bench = Bench::new();
    bench.late(500 - DAY, run("nb.ipynb", "b", true));

    bench.wait(1).late(2_000 - DAY, run("nb.ipynb", "a", false));
    assert_eq!(bench.place().1, text("b"));

    bench
        .wait(10)
        .late(20_000 - DAY, run("nb.ipynb", "a", false));
    assert_eq!(bench.place().1, text("b"), "late by that clock");
}

#[test]
fn a_clock_that_is_put_right_moves_the_student_at_once() {
    for ahead in [90_000, 3_600_000, 86_400_000] {
        let mut bench = Bench::new();
        bench.late(-ahead, run("nb.ipynb", "a", false));
        bench.late(100, run("nb.ipynb", "b", false));
        assert_eq!(bench.place().1, text("b"), "{ahead}");
        bench.wait(10).late(-ahead, run("nb.ipynb", "c", false));
        bench.wait(10).late(1_000, run("nb.ipynb", "d", false));
        assert_eq!(bench.place().1, text("d"), "{ahead}");
    }
}

#[test]
fn an_old_beat_of_a_clock_that_is_ahead_opens_nothing_when_it_comes_again() {
    for ahead in (0..60_000).step_by(1_000) {
        for late in [15_000, 20_000, 22_000] {
            let mut bench = Bench::new();
            bench.late(1_000 - ahead, calls());
            bench.wait(2).late(500 - ahead, stopped());
            bench.wait(1).late(500 - ahead, run("nb.ipynb", "a", false));

            let outcome = bench
                .wait(late / 1_000)
                .late(late as i64 + 2_000 - ahead, calls());

            assert!(said_by(&outcome).is_empty(), "{ahead} {late}");
            assert!(bench.view().help.is_none(), "{ahead} {late}");
            assert_eq!(bench.place().1, text("a"));
        }
    }
}

#[test]
fn a_student_whose_clock_was_set_back_by_less_than_a_minute_still_asks() {
    let mut bench = Bench::new();
    bench.late(500, calls());
    bench.wait(10).late(500, calls());

    for beat in 0..5 {
        let outcome = bench.wait(10).late(45_500, calls());
        assert!(said_by(&outcome).is_empty(), "{beat}");
        assert!(bench.housekeep().facts.is_empty(), "{beat}");
    }

    assert!(bench.wait(29).housekeep().facts.is_empty());
    let silent = bench.wait(1).housekeep();
    assert_eq!(said_by(&silent), ["help ended by silence"]);
}

#[test]
fn a_late_beat_moves_no_call_that_the_window_shows_as_ended() {
    let mut bench = Bench::new();
    bench.late(500, calls());
    bench.wait(10).late(500, run("nb.ipynb", "a", false));
    bench.wait(4).late(500, stopped());

    let outcome = bench.wait(1).late(14_000, calls());

    assert!(said_by(&outcome).is_empty());
    assert!(bench.view().help.is_none());
    assert!(bench.wait(5).housekeep().facts.is_empty());
    assert!(bench.view().help.is_none());
}

#[test]
fn of_calls_that_ended_no_more_are_known_than_events_are_put_in_order() {
    let mut bench = Bench::new();
    for _ in 0..MAX_RECENT + 20 {
        bench.late(500, calls());
        bench.late(500, stopped());
    }

    assert_eq!(bench.state.told_calls.len(), MAX_RECENT);
}

#[test]
fn a_clock_that_was_set_back_moves_the_student_with_its_second_event() {
    const HOUR: i64 = 3_600_000;
    let mut bench = Bench::new();
    bench.late(500, run("nb.ipynb", "a", false));

    bench
        .wait(10)
        .late(HOUR + 1_500, run("nb.ipynb", "b", false));
    assert_eq!(bench.place().1, text("a"), "it may just be late");
    bench.wait(2).late(HOUR + 500, run("nb.ipynb", "c", false));
    assert_eq!(bench.place().1, text("a"), "not yet 3 s");
    bench.wait(1).late(HOUR + 300, run("nb.ipynb", "d", false));
    assert_eq!(bench.place().1, text("d"));
    bench.wait(5).late(HOUR + 300, run("nb.ipynb", "e", false));

    assert_eq!(bench.place().1, text("e"));
    assert_eq!(bench.view().executions, 5);
}

#[test]
fn old_events_that_come_together_are_not_a_clock() {
    let mut bench = Bench::new();
    bench.late(500, run("nb.ipynb", "now", false));
    bench.wait(10);

    for n in 0..40_i64 {
        // a queue that is emptied: one happened 10 s after the other, they come half a second apart
        bench.now = bench.now.plus(std::time::Duration::from_millis(500));
        bench.late(900_000 - n * 9_500, run("nb.ipynb", "old", true));
    }

    assert_eq!(bench.place().1, text("now"));
    assert_eq!(bench.view().errors, 40);
}

#[test]
fn two_clocks_under_one_address_both_move_it() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        bench.wait(5).late(500, run("nb.ipynb", "right", false));
        bench.wait(5).late(600_500, run("nb.ipynb", "slow", false));
    }

    assert_eq!(bench.place().1, text("slow"));
    bench.wait(5).late(500, run("nb.ipynb", "right", false));
    assert_eq!(bench.place().1, text("right"));
    bench.wait(5).late(600_500, run("nb.ipynb", "slow", false));
    assert_eq!(bench.place().1, text("slow"));
}

#[test]
fn of_more_events_than_are_put_in_order_the_oldest_are_in_their_place_for_good() {
    let mut bench = Bench::new();
    for n in 0..MAX_RECENT as i64 + 1 {
        bench.late(2_000 - n, run("nb.ipynb", "a", false));
    }

    bench.late(2_001, run("nb.ipynb", "before them all", true));
    bench.late(1_999, run("nb.ipynb", "a", true));

    assert_eq!(bench.view().errors, 2);
    assert_eq!(bench.view().consecutive_errors, 0);
    assert_eq!(bench.place().1, text("a"));
    assert!(bench.state.recent.iter().count() <= MAX_RECENT);
}

#[test]
fn a_lesson_that_ends_settles_what_came_before() {
    let mut bench = Bench::new();
    bench.late(1_000, run("nb.ipynb", "a", true));
    bench.lesson = Some(LessonId::new("les_2"));

    bench.late(500, event(EventKind::NotebookSaved));
    bench.late(2_000, run("nb.ipynb", "a", true));

    let view = bench.view();
    assert_eq!((view.executions, view.errors), (1, 1));
    assert_eq!(
        (view.consecutive_errors, view.is_last_run_failed),
        (0, false)
    );
}
