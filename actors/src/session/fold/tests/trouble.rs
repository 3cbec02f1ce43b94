//! Errors in a row, and the alerts that come of them.

use super::*;

#[test]
fn errors_in_a_row_are_kept_for_each_cell_and_end_with_its_ok() {
    let mut bench = Bench::new();
    bench.error("a");
    bench.error("a");
    bench.ok("b");
    assert_eq!(bench.view().consecutive_errors, 0);
    bench.event(interrupted("a"));
    assert_eq!(bench.view().consecutive_errors, 2);
    bench.ok("a");
    assert_eq!(bench.view().consecutive_errors, 0);
    bench.error("a");
    assert_eq!(bench.view().consecutive_errors, 1);
}

#[test]
fn the_same_cell_id_in_another_notebook_is_another_cell() {
    let mut bench = Bench::new();
    bench.error("a");

    bench.event(run("copy.ipynb", "a", true));

    assert_eq!(bench.view().consecutive_errors, 1);
}

#[test]
fn a_cell_without_an_id_has_no_row_of_errors() {
    let mut bench = Bench::new();
    let nameless = || Event {
        cell_id: None,
        ..run("nb.ipynb", "", true)
    };

    for _ in 0..4 {
        bench.event(nameless());
    }

    let view = bench.view();
    assert_eq!((view.errors, view.consecutive_errors), (4, 0));
    assert_eq!(view.status(bench.heard()), StudentStatus::Error);
}

#[test]
fn an_interrupted_run_is_not_a_failed_one() {
    let mut bench = Bench::new();
    bench.error("a");

    bench.event(interrupted("b"));

    assert!(!bench.view().is_last_run_failed);
}

#[test]
fn of_too_many_cells_the_one_that_failed_longest_ago_is_forgotten() {
    let mut bench = Bench::new();
    bench.error("first");
    bench.error("second");
    bench.error("first");
    for n in 0..MAX_CELLS - 1 {
        bench.error(&format!("cell-{n}"));
    }

    bench.wait(4).error("second");
    assert_eq!(bench.view().consecutive_errors, 1, "second was forgotten");
    bench.wait(4).error("first");
    bench.wait(4).error("first");
    assert_eq!(
        bench.view().consecutive_errors,
        2,
        "then first was the oldest"
    );
    bench.error(&format!("cell-{}", MAX_CELLS - 2));
    assert_eq!(bench.view().consecutive_errors, 2, "the newest is known");
}

#[test]
fn the_third_error_in_a_row_opens_an_alert_and_the_fourth_no_other() {
    let mut bench = Bench::new();
    bench.error("a");
    assert!(bench.error("a").alerts.is_empty());

    let third = bench.error("a");
    let fourth = bench.error("a");

    assert_eq!(said_by(&third), ["alert open"]);
    assert_eq!(third.alerts[0].cell_id, text("a"));
    assert_eq!(third.alerts[0].state, AlertState::Open);
    assert!(fourth.alerts.is_empty());
    assert_eq!(bench.view().alerts, third.alerts);
    assert_eq!(bench.view().status(bench.heard()), StudentStatus::Stuck);
}

#[test]
fn an_alert_closes_with_an_ok_on_its_cell() {
    let mut bench = Bench::new();
    (0..3).for_each(|_| drop(bench.error("a")));

    let outcome = bench.ok("a");

    assert_eq!(said_by(&outcome), ["alert closed"]);
    assert_eq!(outcome.alerts[0].state, AlertState::Closed);
    assert!(bench.view().alerts.is_empty());
}

#[test]
fn an_alert_closes_when_the_student_runs_another_cell_but_not_by_reading_one() {
    let mut bench = Bench::new();
    (0..3).for_each(|_| drop(bench.error("a")));

    let read = bench.event(markdown("text"));
    let skipped_one = bench.event(skipped("b"));
    let interrupted_one = bench.event(interrupted("a"));
    let moved_on = bench.error("b");

    assert_eq!((said_by(&read).len(), said_by(&skipped_one).len()), (0, 0));
    assert!(said_by(&interrupted_one).is_empty());
    assert_eq!(said_by(&moved_on), ["alert closed"]);
}

#[test]
fn who_comes_back_and_fails_again_is_stuck_again() {
    let mut bench = Bench::new();
    (0..2).for_each(|_| drop(bench.error("a")));
    let first = bench.error("a");
    bench.ok("b");

    let again = bench.error("a");

    assert_eq!(said_by(&again), ["alert open"]);
    assert_ne!(again.alerts[0].id, first.alerts[0].id);
}
