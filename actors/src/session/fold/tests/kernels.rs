//! Runs that nobody reported, and kernels that were started again.

use super::*;

fn counted(notebook: &str, count: i64) -> Event {
    Event {
        execution_count: Some(count),
        ..run(notebook, "a", false)
    }
}

impl Bench {
    fn counts(&mut self, counts: impl IntoIterator<Item = i64>) -> &mut Self {
        for count in counts {
            self.wait(5).late(500, counted("nb.ipynb", count));
        }
        self
    }

    fn reasons(&self) -> Vec<String> {
        let alerts = self.view().alerts;
        alerts.into_iter().map(|alert| alert.reason).collect()
    }
}

#[test]
fn a_jump_of_the_counter_is_told_when_the_missing_run_can_no_longer_come() {
    let mut bench = Bench::new();
    let outcome = bench.counts([4]).wait(5).late(500, counted("nb.ipynb", 7));
    assert!(said_by(&outcome).is_empty());
    assert!(bench.alert_kinds().is_empty());

    let told = bench.wait(4).housekeep();

    assert_eq!(said_by(&told), ["alert open"]);
    assert_eq!(bench.alert_kinds(), ["runs_not_reported"]);
    assert_eq!(bench.reasons(), ["2 runs in nb.ipynb were not reported"]);
    assert_eq!(bench.view().status(bench.heard()), StudentStatus::Active);
    assert_eq!(bench.view().executions, 2, "it is never an event");
    assert!(bench.wait(9).housekeep().facts.is_empty(), "told once");
}

#[test]
fn another_reason_of_an_alert_that_stands_is_told_also_by_a_timer() {
    let mut bench = Bench::new();
    bench
        .counts([1, 4, 5])
        .wait(5)
        .late(500, counted("nb.ipynb", 9));
    bench.wait(4);

    let timer = bench.due().remove(0);
    let told = bench.timer(timer.clone());
    let again = bench.timer(timer);

    assert_eq!(bench.reasons(), ["5 runs in nb.ipynb were not reported"]);
    assert_eq!(told.alerts.len(), 1);
    assert!(told.changed);
    assert_eq!(again, Outcome::default());
}

#[test]
fn runs_that_come_in_another_order_are_not_missing() {
    let mut bench = Bench::new();
    bench.counts([1]).wait(5).late(500, counted("nb.ipynb", 3));
    bench.wait(1).late(2_000, counted("nb.ipynb", 2));
    bench.counts([4]);

    assert!(bench.wait(4).housekeep().facts.is_empty());
    assert!(bench.alert_kinds().is_empty());
}

#[test]
fn what_never_ran_and_has_no_counter_says_nothing() {
    let mut bench = Bench::new();
    bench.counts([1, 2]);
    bench.wait(5).event(skipped("b"));
    bench.wait(5).event(markdown("c"));
    bench.wait(5).event(unknown("d"));
    let nothing_said = Event {
        has_error: None,
        ..counted("nb.ipynb", 3)
    };
    bench.wait(5).late(500, nothing_said);
    bench.counts([4, 4, 4]).wait(5).housekeep();

    assert!(bench.alert_kinds().is_empty());
}

#[test]
fn a_fall_of_the_counter_is_a_kernel_that_was_started_again() {
    let mut bench = Bench::new();
    bench.counts([7, 9, 1, 2]);
    assert_eq!(bench.alert_kinds(), ["kernel_restarted"]);
    assert_eq!(
        bench.reasons(),
        ["the kernel of nb.ipynb was started again"]
    );

    bench.counts([3, 1, 4]).wait(5).housekeep();

    assert_eq!(
        bench.reasons(),
        [
            "2 runs in nb.ipynb were not reported",
            "the kernel of nb.ipynb was started again 2 times"
        ]
    );
}

#[test]
fn both_close_after_ten_runs_in_their_order() {
    let mut bench = Bench::new();
    bench.counts([5, 1, 3]).counts(4..=12);
    assert_eq!(
        bench.alert_kinds(),
        ["runs_not_reported", "kernel_restarted"]
    );

    let outcome = bench
        .counts([13])
        .wait(5)
        .late(500, counted("nb.ipynb", 14));

    assert_eq!(said_by(&outcome), ["alert closed", "alert closed"]);
    assert!(bench.alert_kinds().is_empty());
}

#[test]
fn a_missing_run_that_comes_late_is_no_longer_missing() {
    let mut bench = Bench::new();
    bench.counts([1, 4, 5]);
    assert_eq!(bench.reasons(), ["2 runs in nb.ipynb were not reported"]);

    bench.wait(5).late(14_000, counted("nb.ipynb", 2));
    assert_eq!(bench.reasons(), ["1 run in nb.ipynb was not reported"]);
    let found = bench.late(13_900, counted("nb.ipynb", 3));

    assert_eq!(said_by(&found), ["alert closed"]);
    assert_eq!(bench.view().executions, 5);
}

#[test]
fn only_a_run_that_was_missing_is_found_and_only_once() {
    let mut bench = Bench::new();
    bench.counts([1, 2, 5, 6]);
    let missing = ["2 runs in nb.ipynb were not reported"];
    assert_eq!(bench.reasons(), missing);

    for reported in [1, 2, 5] {
        bench.wait(5).late(20_000, counted("nb.ipynb", reported));
    }
    let of_another = Event {
        client_session: text("another"),
        ..counted("nb.ipynb", 3)
    };
    bench.late(20_000, of_another);
    assert_eq!(bench.reasons(), missing);

    for _ in 0..2 {
        bench.late(20_000, counted("nb.ipynb", 3));
        assert_eq!(bench.reasons(), ["1 run in nb.ipynb was not reported"]);
    }
    let found = bench.late(20_000, counted("nb.ipynb", 4));
    assert_eq!(said_by(&found), ["alert closed"]);
}

#[test]
fn each_notebook_has_a_counter_of_its_own_and_so_has_each_client() {
    let mut bench = Bench::new();
    for count in 1..4 {
        bench.wait(5).late(500, counted("nb.ipynb", count));
        bench.wait(5).late(500, counted("other.ipynb", 10 + count));
    }
    let of_another = Event {
        client_session: text("another"),
        ..counted("nb.ipynb", 70)
    };
    bench.wait(5).late(500, of_another);
    bench.wait(5).housekeep();

    assert!(bench.alert_kinds().is_empty());
}

#[test]
fn a_lesson_that_ends_closes_them_and_notebooks_are_bounded() {
    let mut bench = Bench::new();
    for n in 0..MAX_NOTEBOOKS as i64 + 3 {
        let notebook = format!("nb{n}.ipynb");
        bench.wait(5).late(500, counted(&notebook, 1));
        bench.wait(5).late(500, counted(&notebook, i64::MAX));
    }
    bench.wait(5).housekeep();
    assert_eq!(bench.alert_kinds().len(), MAX_NOTEBOOKS);

    bench.lesson = Some(LessonId::new("les_2"));
    let outcome = bench.send(EventKind::NotebookSaved, None);

    assert_eq!(said_by(&outcome).len(), MAX_NOTEBOOKS);
    assert!(bench.alert_kinds().is_empty());
}
