//! What begins with an event and ends by silence: lessons, sessions, help.

use super::*;

#[test]
fn another_lesson_resets_counters_rows_and_alerts_but_not_place_and_session() {
    let mut bench = Bench::new();
    (0..3).for_each(|_| drop(bench.error("a")));
    bench.lesson = Some(LessonId::new("les_2"));

    let outcome = bench.send(EventKind::NotebookSaved, None);

    assert_eq!(said_by(&outcome), ["alert closed"]);
    let view = bench.view();
    assert_eq!((view.executions, view.errors), (0, 0));
    assert_eq!(
        (view.consecutive_errors, view.is_last_run_failed),
        (0, false)
    );
    assert_eq!(bench.place(), (text("nb.ipynb"), text("a")));
    bench.error("a");
    assert_eq!(bench.view().consecutive_errors, 1);
}

fn lesson_ended(lesson: &str) -> Record {
    Record::Fact(Box::new(Fact {
        id: FactId::new("f"),
        classroom: key().classroom,
        cause: Position(1),
        kind: FactKind::LessonEnded {
            lesson: LessonId::new(lesson),
            begun: Timestamp::default(),
            ended: Timestamp::default(),
            ended_by: EndedBy::Silence,
        },
    }))
}

#[test]
fn the_end_of_the_lesson_leaves_counters_of_no_lesson() {
    let mut bench = Bench::new();
    (0..3).for_each(|_| drop(bench.error("a")));

    let other = bench.record(lesson_ended("les_0"));
    assert_eq!((other, bench.view().executions), (Outcome::default(), 3));
    let own = bench.record(lesson_ended("les_1"));

    assert_eq!(said_by(&own), ["alert closed"]);
    assert!(own.changed);
    assert_eq!(bench.view().executions, 0);
}

#[test]
fn what_only_ends_is_not_told_to_those_who_see_nothing_of_it() {
    let mut bench = Bench::new();
    bench.send(EventKind::NotebookOpened, Some("nb.ipynb"));

    let lesson = bench.record(lesson_ended("les_1"));
    let session = bench.wait(1800).due().remove(0);
    let session = bench.timer(session);

    assert_eq!(lesson, Outcome::default());
    assert_eq!(bench.state.lesson(), None);
    assert_eq!(said_by(&session), ["session ended"]);
    assert!(!session.changed);
}

#[test]
fn the_first_event_begins_a_session_and_thirty_silent_minutes_end_it_by_timer() {
    let mut bench = Bench::new();
    let begun = bench.ok("a");
    bench.wait(1799).ok("b");
    assert_eq!(said_by(&begun), ["session begun"]);
    assert!(bench.wait(1799).due().is_empty());

    let due = bench.wait(1).due();
    let outcome = bench.timer(due[0].clone());

    assert_eq!((due.len(), said_by(&outcome)), (1, vec!["session ended"]));
    let FactKind::SessionEnded {
        ended,
        events,
        begun,
        ..
    } = &outcome.facts[0].kind
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(*events, 2);
    assert_eq!(ended.since(*begun).as_secs(), 1799);
    assert!(bench.state.deadlines().is_empty());
}

#[test]
fn without_a_timer_the_next_event_ends_the_session_and_begins_another() {
    let mut bench = Bench::new();
    let first = bench.ok("a");

    let outcome = bench.wait(1800).ok("b");

    assert_eq!(said_by(&outcome), ["session ended", "session begun"]);
    let (
        FactKind::SessionBegun {
            session: old,
            begun,
            ..
        },
        FactKind::SessionEnded { session, ended, .. },
    ) = (&first.facts[0].kind, &outcome.facts[0].kind)
    else {
        panic!("{outcome:?}");
    };
    assert_eq!((old, begun), (session, ended));
}

#[test]
fn a_timer_whose_cause_is_no_longer_current_does_nothing() {
    let mut bench = Bench::new();
    bench.send(EventKind::Help, None);
    let stale = bench.wait(2000).due();
    bench.now = bench.now.minus(std::time::Duration::from_secs(1990));
    bench.send(EventKind::Help, None);
    let student = key().student;
    let foreign = [
        TimerCause::HelpSilent {
            student: student.clone(),
            help: HelpId::new("hlp_other"),
            last_beat: bench.heard(),
        },
        TimerCause::SessionSilent {
            student,
            session: SessionId::new("ses_other"),
            last_event: bench.heard(),
        },
    ];
    let before = bench.view();

    for cause in stale.into_iter().chain(foreign) {
        assert_eq!(bench.timer(cause), Outcome::default());
    }

    assert_eq!(bench.view().help, before.help);
    assert_eq!(bench.state.deadlines().len(), 2);
}

#[test]
fn help_lives_on_while_it_comes_again_and_ends_with_help_stop() {
    let mut bench = Bench::new();
    bench.ok("a");
    let opened = bench.send(EventKind::Help, Some("nb.ipynb"));
    for _ in 0..6 {
        assert!(bench.wait(10).send(EventKind::Help, None).facts.is_empty());
    }
    assert_eq!(bench.view().status(bench.heard()), StudentStatus::Help);

    let ended = bench.wait(3).send(EventKind::HelpStop, None);

    assert_eq!(said_by(&opened), ["help opened"]);
    assert_eq!(said_by(&ended), ["help ended by student"]);
    let FactKind::HelpEnded {
        since,
        until,
        cell_id,
        ..
    } = &ended.facts[0].kind
    else {
        panic!("{ended:?}");
    };
    assert_eq!((until.since(*since).as_secs(), cell_id), (63, &text("a")));
    assert!(bench.view().help.is_none());
}

#[test]
fn help_stop_without_an_open_request_does_nothing() {
    let mut bench = Bench::new();

    let outcome = bench.send(EventKind::HelpStop, None);

    assert_eq!(said_by(&outcome), ["session begun"]);
}

#[test]
fn thirty_silent_seconds_end_help_at_its_last_beat() {
    let mut bench = Bench::new();
    bench.send(EventKind::Help, None);
    bench.wait(10).send(EventKind::Help, None);
    bench.wait(29).ok("a");
    assert!(bench.due().is_empty());

    let due = bench.wait(1).due();
    let outcome = bench.timer(due[0].clone());

    assert_eq!(said_by(&outcome), ["help ended by silence"]);
    let FactKind::HelpEnded { since, until, .. } = &outcome.facts[0].kind else {
        panic!("{outcome:?}");
    };
    assert_eq!(until.since(*since).as_secs(), 10);
    assert!(bench.view().help.is_none());
}

#[test]
fn without_a_timer_any_later_event_ends_silent_help() {
    let mut bench = Bench::new();
    bench.send(EventKind::Help, None);

    let stop = bench.wait(30).send(EventKind::HelpStop, None);

    assert_eq!(said_by(&stop), ["help ended by silence"]);
}

#[test]
fn help_after_the_silence_is_another_request() {
    let mut bench = Bench::new();
    bench.send(EventKind::Help, None);
    let first = bench.view().help.unwrap();

    let outcome = bench.wait(30).send(EventKind::Help, None);

    assert_eq!(said_by(&outcome), ["help ended by silence", "help opened"]);
    assert_ne!(bench.view().help.unwrap().shown.id, first.shown.id);
}
