//! Where the student is.

use super::*;

#[test]
fn a_run_and_a_cell_with_nothing_to_run_move_the_student() {
    let mut bench = Bench::new();
    bench.ok("a");
    bench.error("b");
    assert_eq!(bench.place(), (text("nb.ipynb"), text("b")));
    bench.event(interrupted("c"));
    assert_eq!(bench.place(), (text("nb.ipynb"), text("c")));
    bench.event(markdown("d"));
    assert_eq!(bench.place(), (text("nb.ipynb"), text("d")));
}

#[test]
fn with_run_all_the_student_stays_at_the_cell_that_failed() {
    let mut bench = Bench::new();
    bench.ok("a");
    bench.error("b");

    bench.event(skipped("c"));
    bench.event(unknown("d"));

    assert_eq!(bench.place(), (text("nb.ipynb"), text("b")));
    assert_eq!(bench.view().status(bench.heard()), StudentStatus::Error);
}

#[test]
fn opening_another_notebook_moves_there_to_no_cell_yet() {
    let mut bench = Bench::new();
    bench.ok("a");

    bench.send(EventKind::NotebookOpened, Some("other.ipynb"));

    assert_eq!(bench.place(), (text("other.ipynb"), None));
    assert_eq!(bench.view().cell_index, None);
}

#[test]
fn opening_the_same_notebook_again_keeps_the_cell() {
    let mut bench = Bench::new();
    // the first name is composed, the second decomposed: one notebook
    bench.event(run("が.ipynb", "a", false));

    bench.send(EventKind::NotebookOpened, Some("か\u{3099}.ipynb"));

    assert_eq!(bench.place(), (text("か\u{3099}.ipynb"), text("a")));
}

#[test]
fn saving_or_closing_another_notebook_does_not_move() {
    let mut bench = Bench::new();
    bench.send(EventKind::NotebookSaved, Some("first.ipynb"));
    assert_eq!(bench.place(), (text("first.ipynb"), None));
    bench.ok("a");

    bench.send(EventKind::NotebookSaved, Some("behind.ipynb"));
    bench.send(EventKind::NotebookClosed, Some("nb.ipynb"));

    assert_eq!(bench.place(), (text("nb.ipynb"), text("a")));
}

#[test]
fn an_event_that_names_no_notebook_leaves_it() {
    let mut bench = Bench::new();
    bench.ok("a");

    bench.send(EventKind::Help, None);
    bench.event(Event {
        notebook: None,
        ..run("", "b", false)
    });

    assert_eq!(bench.place(), (text("nb.ipynb"), text("b")));
}
