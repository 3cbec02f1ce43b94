//! What holds for any entries whatsoever.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::format::FORMAT;
use super::tests::{accepted, event, key, run};
use super::*;
use crate::domain::{AlertState, CellType, EventKind, StudentView};
use crate::lesson::Lessons;

mod order;
mod told;

/// What happens next in a made-up journal.
#[derive(Debug, Clone)]
enum Happening {
    Ran {
        notebook: u8,
        cell: u8,
        end: u8,
        how: How,
    },
    Other {
        kind: u8,
        notebook: Option<u8>,
        how: How,
    },
    /// Housekeeping writes the timers that are due.
    TimersDue,
    /// A timer that was right once, or never.
    Timer {
        of_earlier: prop::sample::Index,
        is_mangled: bool,
    },
    /// What the session itself concluded comes by.
    OwnFact { of_earlier: prop::sample::Index },
}

/// How an event comes: so long after it happened by its client's clock, from whom, counted so.
#[derive(Debug, Clone)]
struct How {
    lag_ms: i64,
    by: u8,
    count: u8,
}

fn how() -> impl Strategy<Value = How> {
    let lag_ms = prop_oneof![
        8 => 0..3_000_i64,
        2 => 18_000..22_000_i64,
        // clocks: a day ahead, half a day ahead, an hour back
        1 => prop::sample::select(vec![-86_400_000, -43_200_000, 3_600_000, 3_601_000]),
    ];
    (lag_ms, 0..3_u8, 0..12_u8).prop_map(|(lag_ms, by, count)| How { lag_ms, by, count })
}

fn happening() -> impl Strategy<Value = (u64, Happening)> {
    let what = prop_oneof![
        6 => (0..2_u8, 0..3_u8, 0..8_u8, how())
            .prop_map(|(notebook, cell, end, how)| Happening::Ran { notebook, cell, end, how }),
        4 => (0..6_u8, prop::option::of(0..2_u8), how())
            .prop_map(|(kind, notebook, how)| Happening::Other { kind, notebook, how }),
        2 => Just(Happening::TimersDue),
        1 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(of_earlier, is_mangled)| Happening::Timer { of_earlier, is_mangled }),
        1 => any::<prop::sample::Index>().prop_map(|of_earlier| Happening::OwnFact { of_earlier }),
    ];
    let gap = prop_oneof![
        4 => 0..1_000_u64,
        4 => 0..15_000_u64,
        2 => prop::sample::select(vec![29_999, 30_000, 1_799_999, 1_800_000, 5_399_999, 5_400_000]),
        1 => 0..20_000_000_u64,
    ];
    (gap, what)
}

fn event_of(happening: &Happening, now: Timestamp) -> Option<Event> {
    let (event, how) = plain_event_of(happening)?;
    Some(how.of(event, now))
}

impl How {
    fn of(&self, event: Event, now: Timestamp) -> Event {
        Event {
            time: Timestamp::from_millis(now.as_millis() - self.lag_ms),
            client_session: Some(format!("s{}", self.by / 2)),
            name: Some(format!("n{}", self.by)),
            execution_count: event.execution_count.map(|_| i64::from(self.count)),
            ..event
        }
    }
}

fn plain_event_of(happening: &Happening) -> Option<(Event, &How)> {
    match happening {
        Happening::Ran {
            notebook,
            cell,
            end,
            how,
        } => {
            let has_error = matches!(end, 3..=5);
            let ran = run(&format!("nb{notebook}"), &format!("c{cell}"), has_error);
            let ran = match end {
                5 => Event {
                    error_message: Some("KeyboardInterrupt".to_owned()),
                    ..ran
                },
                6 => Event {
                    execution_count: None,
                    ..ran
                },
                7 => Event {
                    cell_type: Some(CellType::Markdown),
                    ..ran
                },
                _ => ran,
            };
            Some((ran, how))
        }
        Happening::Other {
            kind,
            notebook,
            how,
        } => {
            let other = Event {
                notebook: notebook.map(|notebook| format!("nb{notebook}")),
                ..event(EventKind::ALL[usize::from(*kind)])
            };
            Some((other, how))
        }
        Happening::TimersDue | Happening::Timer { .. } | Happening::OwnFact { .. } => None,
    }
}

fn mangle(cause: TimerCause) -> TimerCause {
    match cause {
        TimerCause::HelpSilent {
            student,
            help,
            last_beat,
        } => TimerCause::HelpSilent {
            student,
            help,
            last_beat: last_beat.plus(Duration::from_millis(1)),
        },
        TimerCause::SessionSilent {
            student,
            last_event,
            ..
        } => TimerCause::SessionSilent {
            student,
            session: crate::domain::SessionId::new("ses_other"),
            last_event,
        },
        TimerCause::OrderSettled { .. } | TimerCause::LessonSilent { .. } => cause,
    }
}

/// A journal of one student, each entry with the lesson that the router would stamp.
fn journal(happenings: &[(u64, Happening)]) -> Vec<(Entry, Option<LessonId>)> {
    let mut written: Vec<(Entry, Option<LessonId>)> = Vec::new();
    let mut state = SessionState::new(key());
    let mut lessons = Lessons::default();
    let mut now = Timestamp::from_millis(1_800_000_000_000);
    let mut deadlines: Vec<TimerCause> = Vec::new();
    let mut facts: Vec<Fact> = Vec::new();
    for (gap, happening) in happenings {
        now = now.plus(Duration::from_millis(*gap));
        let timer = |cause| {
            Record::Timer(Timer {
                classroom: key().classroom,
                cause,
            })
        };
        let records: Vec<Record> = match happening {
            Happening::TimersDue => {
                let due = state
                    .deadlines()
                    .into_iter()
                    .filter(|(at, _)| *at <= Heard::of_wall(now));
                due.map(|(_, cause)| timer(cause)).collect()
            }
            Happening::Timer {
                of_earlier,
                is_mangled,
            } if !deadlines.is_empty() => {
                let cause = of_earlier.get(&deadlines).clone();
                vec![timer(if *is_mangled { mangle(cause) } else { cause })]
            }
            Happening::OwnFact { of_earlier } if !facts.is_empty() => {
                vec![Record::Fact(Box::new(of_earlier.get(&facts).clone()))]
            }
            Happening::Ran { .. }
            | Happening::Other { .. }
            | Happening::Timer { .. }
            | Happening::OwnFact { .. } => {
                event_of(happening, now).map(accepted).into_iter().collect()
            }
        };
        for record in records {
            let position = Position(written.len() as u64 + 1);
            let lesson = matches!(record, Record::Event(_)).then(|| {
                lessons
                    .stamp(&key().classroom, position, Moment::of_wall(now))
                    .0
            });
            let entry = Entry {
                position,
                received_at: now,
                heard_at: Heard::of_wall(now),
                record,
            };
            facts.extend(state.apply(&entry, lesson.as_ref()).facts);
            deadlines.extend(state.deadlines().into_iter().map(|(_, cause)| cause));
            written.push((entry, lesson));
        }
    }
    written
}

fn fold(entries: &[(Entry, Option<LessonId>)]) -> (SessionState, Vec<Outcome>) {
    let mut state = SessionState::new(key());
    let outcomes = entries
        .iter()
        .map(|(entry, lesson)| state.apply(entry, lesson.as_ref()))
        .collect();
    (state, outcomes)
}

fn of_event(entry: &Entry) -> Option<&Event> {
    if let Record::Event(accepted) = &entry.record {
        return Some(&accepted.event);
    }
    None
}

/// Runs of the last lesson, counted the plain way: notebook, cell, how it ended.
fn runs_of_last_lesson(
    entries: &[(Entry, Option<LessonId>)],
) -> Vec<(Option<&str>, Option<&str>, ExecutionStatus)> {
    let last = entries.iter().rev().find_map(|(_, lesson)| lesson.as_ref());
    entries
        .iter()
        .filter(|(_, lesson)| lesson.as_ref() == last)
        .filter_map(|(entry, _)| of_event(entry))
        .filter_map(|event| {
            let status = event.execution_status().filter(|status| status.is_run())?;
            Some((event.notebook.as_deref(), event.cell_id.as_deref(), status))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn applied_twice_is_applied_once(
        happenings in prop::collection::vec(happening(), 0..120),
        back in 0_usize..120,
    ) {
        let entries = journal(&happenings);
        let (once, _) = fold(&entries);
        let mut twice = once.clone();

        for (entry, lesson) in entries.iter().skip(back) {
            prop_assert_eq!(twice.apply(entry, lesson.as_ref()), Outcome::default());
        }

        prop_assert_eq!(twice, once);
    }

    #[test]
    fn a_state_kept_and_read_again_anywhere_changes_nothing(
        happenings in prop::collection::vec(happening(), 0..120),
        cut in any::<prop::sample::Index>(),
    ) {
        let entries = journal(&happenings);
        let (expected, outcomes) = fold(&entries);
        let cut = cut.index(entries.len() + 1);
        let (first, _) = fold(&entries[..cut]);

        let mut state = SessionState::decode(&first.encode()).unwrap();
        prop_assert_eq!(&state, &first);
        for ((entry, lesson), outcome) in entries[cut..].iter().zip(&outcomes[cut..]) {
            prop_assert_eq!(&state.apply(entry, lesson.as_ref()), outcome);
        }

        prop_assert_eq!(state, expected);
    }

    #[test]
    fn within_a_lesson_nothing_that_counts_ever_falls(
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let mut state = SessionState::new(key());
        for (entry, lesson) in journal(&happenings) {
            let (before, lesson_before) = (state.view(), state.lesson().cloned());
            state.apply(&entry, lesson.as_ref());
            let after = state.view();

            let at = |view: &StudentView| view.last_activity.map(|last| (last.at, last.heard));
            prop_assert!(at(&after) >= at(&before));
            prop_assert!(after.position > before.position);
            if state.lesson() == lesson_before.as_ref() {
                prop_assert!(after.executions >= before.executions);
                prop_assert!(after.errors >= before.errors);
            }
        }
    }

    #[test]
    fn counters_are_what_a_plain_count_gives(
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let entries = journal(&happenings);
        let view = fold(&entries).0.view();

        let runs = runs_of_last_lesson(&entries);
        let failed = |status: &ExecutionStatus| *status == ExecutionStatus::Error;
        prop_assert_eq!(view.executions, runs.len() as u64);
        prop_assert_eq!(view.errors, runs.iter().filter(|(_, _, status)| failed(status)).count() as u64);
    }

    #[test]
    fn what_is_concluded_has_an_id_of_its_own_and_opens_before_it_ends(
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let entries = journal(&happenings);
        let (state, outcomes) = fold(&entries);
        let (_, again) = fold(&entries);
        prop_assert_eq!(&outcomes, &again);

        let mut ids = BTreeSet::new();
        let mut open = BTreeSet::new();
        for fact in outcomes.iter().flat_map(|outcome| &outcome.facts) {
            prop_assert!(ids.insert(fact.id.clone()), "{:?}", fact);
            match &fact.kind {
                FactKind::SessionBegun { session, .. } => prop_assert!(open.insert(session.to_string())),
                FactKind::SessionEnded { session, events, .. } => {
                    prop_assert!(open.remove(session.as_str()) && *events > 0);
                }
                FactKind::HelpOpened { help, .. } => prop_assert!(open.insert(help.to_string())),
                FactKind::HelpEnded { help, since, until, .. } => {
                    prop_assert!(open.remove(help.as_str()) && until >= since);
                }
                FactKind::AlertChanged { alert, .. } => match alert.state {
                    AlertState::Open => prop_assert!(open.insert(alert.id.to_string())),
                    AlertState::Closed | AlertState::Snoozed => {
                        prop_assert!(open.remove(alert.id.as_str()));
                    }
                },
                FactKind::LessonBegun { .. } | FactKind::LessonEnded { .. } => prop_assert!(false),
            }
        }
        let view = state.view();
        let still_open = usize::from(view.help.is_some())
            + view.alerts.len()
            + usize::from(state.deadlines().iter().any(|(_, cause)| matches!(cause, TimerCause::SessionSilent { .. })));
        prop_assert_eq!(open.len(), still_open);
    }

    #[test]
    fn every_event_is_in_exactly_one_session(
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let mut entries = journal(&happenings);
        let events = entries.iter().filter(|(entry, _)| of_event(entry).is_some()).count() as u64;
        let (mut state, outcomes) = fold(&entries);
        let facts = outcomes.into_iter().flat_map(|outcome| outcome.facts);
        let mut counted: u64 = facts.filter_map(|fact| events_of(&fact)).sum();

        // and the last one, by its timer
        for (due, cause) in state.deadlines() {
            let received_at = Timestamp::from_millis(due.as_millis());
            let record = Record::Timer(Timer { classroom: key().classroom, cause });
            let position = Position(entries.len() as u64 + 1);
            entries.push((Entry { position, received_at, heard_at: due, record }, None));
            let facts = state.apply(&entries[entries.len() - 1].0, None).facts;
            counted += facts.iter().filter_map(events_of).sum::<u64>();
        }

        prop_assert_eq!(counted, events);
        prop_assert!(state.deadlines().is_empty());
    }

    #[test]
    fn no_bytes_whatsoever_break_the_reading_of_a_state(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut versioned = vec![FORMAT];
        versioned.extend(&bytes);

        prop_assert!(SessionState::decode(&versioned).is_err());
        drop(SessionState::decode(&bytes));
    }
}

fn events_of(fact: &Fact) -> Option<u64> {
    if let FactKind::SessionEnded { events, .. } = &fact.kind {
        return Some(*events);
    }
    None
}
