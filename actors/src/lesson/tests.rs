use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60;

fn room() -> ClassroomId {
    ClassroomId::new("default")
}

fn at(minutes: u64) -> Moment {
    Moment::of_wall(Timestamp::default().plus(Duration::from_secs(minutes * MINUTE)))
}

fn names(facts: &[Fact]) -> Vec<&'static str> {
    let name = |fact: &Fact| {
        if matches!(fact.kind, FactKind::LessonBegun { .. }) {
            "begun"
        } else {
            assert!(matches!(fact.kind, FactKind::LessonEnded { .. }));
            "ended"
        }
    };
    facts.iter().map(name).collect()
}

#[test]
fn a_lesson_begins_with_the_first_event() {
    let mut lessons = Lessons::default();

    let (lesson, facts) = lessons.stamp(&room(), Position(7), at(0));

    assert_eq!(names(&facts), ["begun"]);
    assert_eq!(facts[0].cause, Position(7));
    assert_eq!(lessons.current(&room()), Some(&lesson));
}

#[test]
fn less_than_ninety_quiet_minutes_leave_it_the_same_lesson() {
    let mut lessons = Lessons::default();
    let (first, _) = lessons.stamp(&room(), Position(1), at(0));

    let (second, facts) = lessons.stamp(&room(), Position(2), at(89));

    assert_eq!((first, facts), (second, Vec::new()));
}

#[test]
fn a_lesson_goes_on_over_midnight_in_every_time_zone() {
    let mut lessons = Lessons::default();
    let (first, _) = lessons.stamp(&room(), Position(1), at(0));

    // a seminar from one day into the next, and one that never stops
    for n in 1_u32..=36 {
        let (lesson, facts) = lessons.stamp(&room(), Position(n.into()), at(u64::from(n) * 40));
        assert_eq!((lesson, facts), (first.clone(), Vec::new()), "{n}");
    }

    let (_, timer) = lessons.deadlines().remove(0);
    let facts = lessons.timer(&timer, Position(99));
    let FactKind::LessonEnded { begun, ended, .. } = facts[0].kind else {
        panic!("{facts:?}");
    };
    assert_eq!((begun, ended), (at(0).at, at(24 * 60).at));
}

#[test]
fn our_own_absence_is_no_quiet_minute_and_a_set_clock_none_either() {
    let mut lessons = Lessons::default();
    let (first, _) = lessons.stamp(&room(), Position(1), at(0));

    let after_absence = Moment {
        heard: at(80).heard,
        ..at(300)
    };
    let (second, _) = lessons.stamp(&room(), Position(2), after_absence);
    let quiet = Moment {
        at: after_absence.at,
        heard: at(80 + 90).heard,
    };
    let (third, facts) = lessons.stamp(&room(), Position(3), quiet);

    assert_eq!(first, second);
    assert_ne!(second, third);
    assert_eq!(names(&facts), ["ended", "begun"]);
}

/// As the version before kept it.
#[test]
fn lessons_kept_before_there_was_heard_time_go_on() {
    let kept = r#"{"classrooms":{"default":{"applied":15,"running":{"id":"les_36c87de86d29e86a9187de7c60bb30c4","begun":"2026-11-22T03:12:29.698Z","last_event":"2026-11-22T03:13:03.740Z"},"boundaries":[[1,"les_36c87de86d29e86a9187de7c60bb30c4"]]}}}"#;
    let mut lessons: Lessons = serde_json::from_str(kept).unwrap();
    let last = Moment::of_wall("2026-11-22T03:13:03.740Z".parse().unwrap());
    let timer = r#"{"classroom":"default","cause":{"cause":"lesson_silent","lesson":"les_36c87de86d29e86a9187de7c60bb30c4","last_event":"2026-11-22T03:13:03.740Z"}}"#;

    let (due, ours) = lessons.deadlines().remove(0);
    let theirs: Timer = serde_json::from_str(timer).unwrap();

    assert_eq!(due, last.heard.plus(LESSON_SILENCE));
    assert_eq!(ours, theirs);
    assert_eq!(names(&lessons.timer(&theirs, Position(16))), ["ended"]);
}

#[test]
fn ninety_quiet_minutes_end_it_and_the_next_event_begins_another() {
    let mut lessons = Lessons::default();
    let (first, _) = lessons.stamp(&room(), Position(1), at(0));
    lessons.stamp(&room(), Position(2), at(10));

    let (second, facts) = lessons.stamp(&room(), Position(3), at(100));

    assert_ne!(first, second);
    assert_eq!(names(&facts), ["ended", "begun"]);
    let expected = FactKind::LessonEnded {
        lesson: first,
        begun: at(0).at,
        ended: at(10).at,
        ended_by: EndedBy::Silence,
    };
    assert_eq!(facts[0].kind, expected);
}

#[test]
fn a_timer_ends_it_when_the_silence_is_over() {
    let mut lessons = Lessons::default();
    let (first, _) = lessons.stamp(&room(), Position(1), at(0));
    let (due, timer) = lessons.deadlines().remove(0);

    let ended = lessons.timer(&timer, Position(2));
    let (second, begun) = lessons.stamp(&room(), Position(3), at(91));

    assert_eq!(due, at(90).heard);
    assert_eq!(
        (names(&ended), names(&begun)),
        (vec!["ended"], vec!["begun"])
    );
    assert_ne!(first, second);
}

#[test]
fn after_the_timer_there_is_no_lesson_and_no_deadline() {
    let mut lessons = Lessons::default();
    lessons.stamp(&room(), Position(1), at(0));
    let (_, timer) = lessons.deadlines().remove(0);

    lessons.timer(&timer, Position(2));

    assert_eq!(lessons.current(&room()), None);
    assert!(lessons.deadlines().is_empty());
}

#[test]
fn a_timer_does_nothing_after_a_later_event_or_at_a_position_that_is_in() {
    let mut lessons = Lessons::default();
    let (lesson, _) = lessons.stamp(&room(), Position(5), at(0));
    let (_, stale) = lessons.deadlines().remove(0);
    lessons.stamp(&room(), Position(6), at(1));
    let (_, current) = lessons.deadlines().remove(0);

    let by_stale = lessons.timer(&stale, Position(7));
    let by_replayed = lessons.timer(&current, Position(6));

    assert_eq!((by_stale, by_replayed), (Vec::new(), Vec::new()));
    assert_eq!(lessons.current(&room()), Some(&lesson));
}

#[test]
fn classrooms_have_lessons_of_their_own() {
    let mut lessons = Lessons::default();
    let other = ClassroomId::new("other");

    let (here, _) = lessons.stamp(&room(), Position(1), at(0));
    let (there, _) = lessons.stamp(&other, Position(2), at(0));

    assert_ne!(here, there);
    assert_eq!(lessons.deadlines().len(), 2);
}

#[test]
fn what_is_forgotten_does_not_touch_the_lesson_that_is_still_asked_for() {
    let mut lessons = Lessons::default();
    lessons.stamp(&room(), Position(1), at(0));
    let (second, _) = lessons.stamp(&room(), Position(10), at(200));
    let (third, _) = lessons.stamp(&room(), Position(20), at(400));

    lessons.forget_before(Position(15));

    assert_eq!(lessons.stamp(&room(), Position(15), at(201)).0, second);
    assert_eq!(lessons.stamp(&room(), Position(20), at(400)).0, third);
    assert_eq!(lessons.classrooms[&room()].boundaries.len(), 2);
}

#[test]
fn beginnings_are_bounded() {
    let mut lessons = Lessons::default();

    for n in 1..=u64::try_from(MAX_BOUNDARIES).unwrap() + 5 {
        lessons.stamp(&room(), Position(n), at(n * 90));
    }

    assert_eq!(lessons.classrooms[&room()].boundaries.len(), MAX_BOUNDARIES);
}

proptest! {
    /// Any events, timers in between, asked again in any order: the same lessons, and each fact once.
    #[test]
    fn a_replay_gives_the_same_lessons_and_no_facts(
        steps in prop::collection::vec((0_u64..120, any::<bool>()), 1..60),
        again in prop::collection::vec(0_usize..60, 0..30),
    ) {
        let mut lessons = Lessons::default();
        let mut now = 0;
        let mut stamped = Vec::new();
        let mut facts = Vec::new();
        for (position, (gap, is_timer)) in (1..).map(Position).zip(steps) {
            now += gap;
            if is_timer {
                for (_, timer) in lessons.deadlines().into_iter().filter(|(due, _)| *due <= at(now).heard) {
                    facts.extend(lessons.timer(&timer, position));
                }
            } else {
                let (lesson, concluded) = lessons.stamp(&room(), position, at(now));
                facts.extend(concluded);
                stamped.push((position, at(now), lesson));
            }
        }
        let bytes = serde_json::to_vec(&lessons).unwrap();
        let before = lessons.clone();
        let mut lessons: Lessons = serde_json::from_slice(&bytes).unwrap();

        for index in again {
            if let Some((position, received_at, lesson)) = stamped.get(index) {
                let (same, concluded) = lessons.stamp(&room(), *position, *received_at);
                prop_assert_eq!(&same, lesson);
                prop_assert!(concluded.is_empty());
            }
        }

        prop_assert_eq!(lessons, before);
        let ids: std::collections::BTreeSet<_> = facts.iter().map(|fact| fact.id.clone()).collect();
        prop_assert_eq!(ids.len(), facts.len());
        for pair in stamped.windows(2) {
            let quiet = pair[1].1.heard.since(pair[0].1.heard) >= LESSON_SILENCE;
            prop_assert_eq!(pair[0].2 != pair[1].2, quiet);
        }
    }
}
