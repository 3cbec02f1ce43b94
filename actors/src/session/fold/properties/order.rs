//! The present is what it would be had the last 3 s arrived in the order of `eventTime`.

use super::*;
use crate::domain::OpenHelp;

/// An event: so long after the one before, and so long on its way.
#[derive(Debug, Clone)]
struct Sent {
    /// In ms; a pause much longer than help, or two people at the same time, can be in.
    gap: u64,
    delay: u64,
    happening: Happening,
}

fn sent() -> impl Strategy<Value = Sent> {
    let what = prop_oneof![
        6 => (0..2_u8, 0..3_u8, 0..8_u8, how())
            .prop_map(|(notebook, cell, end, how)| Happening::Ran { notebook, cell, end, how }),
        4 => (0..6_u8, prop::option::of(0..2_u8), how())
            .prop_map(|(kind, notebook, how)| Happening::Other { kind, notebook, how }),
    ];
    // no silence comes near its end, whatever the delays
    let gap = prop_oneof![9 => 1..300_u64, 1 => Just(200_000_u64)];
    (gap, 0..=3_000_u64, what).prop_map(|(gap, delay, happening)| Sent {
        gap,
        delay,
        happening,
    })
}

/// When each happened by the server's clock, and the event with the time by its client's.
fn timed(sent: &[Sent], skew_ms: i64) -> Vec<(u64, &Sent, Event)> {
    let mut now = 1_800_000_000_000;
    sent.iter()
        .filter_map(|sent| {
            now += sent.gap;
            let how = How {
                lag_ms: skew_ms,
                ..plain_event_of(&sent.happening)?.1.clone()
            };
            let (event, _) = plain_event_of(&sent.happening)?;
            let at = Timestamp::from_millis(now as i64);
            Some((now, sent, how.of(event, at)))
        })
        .collect()
}

/// Folds the events as they arrive, and something at the end that shows what was settled.
fn fold_as_they_arrive(mut arrivals: Vec<(u64, Event)>) -> (SessionState, Vec<Outcome>) {
    arrivals.sort_by_key(|(at, _)| *at);
    let last = arrivals.last().map_or(0, |(at, _)| *at);
    let entries: Vec<_> = (1..)
        .zip(arrivals)
        .map(|(position, (at, event))| entry(position, at, accepted(event)))
        .collect();
    let lesson = LessonId::new("les_1");
    let mut state = SessionState::new(key());
    let mut outcomes: Vec<_> = entries
        .iter()
        .map(|entry| state.apply(entry, Some(&lesson)))
        .collect();
    let cause = TimerCause::OrderSettled {
        student: key().student,
        due: Heard::default(),
    };
    let settled = Record::Timer(Timer {
        classroom: key().classroom,
        cause,
    });
    let position = entries.len() as u64 + 1;
    outcomes.push(state.apply(&entry(position, last + 4_000, settled), None));
    (state, outcomes)
}

fn entry(position: u64, at_ms: u64, record: Record) -> Entry {
    let received_at = Timestamp::from_millis(at_ms as i64);
    Entry {
        position: Position(position),
        received_at,
        heard_at: Heard::of_wall(received_at),
        record,
    }
}

/// All that is seen of a student, but for ids, positions and times: those come from the arrival.
fn seen(state: &SessionState) -> String {
    let mut view = state.view();
    view.position = Position::ZERO;
    view.last_activity = None;
    for alert in &mut view.alerts {
        alert.id = AlertId::new("");
        alert.since = Timestamp::default();
    }
    for person in &mut view.people {
        person.last_activity = Timestamp::default();
    }
    let help = view.help.take().map(|open| open.shown.cell_id);
    format!("{view:#?} {help:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_order_of_arrival_inside_three_seconds_gives_the_same_present(
        sent in prop::collection::vec(sent(), 0..60),
        skew_ms in prop::sample::select(vec![0_i64, 700, -2_500, -30_000, -86_400_000, 3_600_000]),
    ) {
        let timed = timed(&sent, skew_ms);
        let in_order = timed.iter().map(|(at, _, event)| (*at, event.clone())).collect();
        let as_sent = timed.iter().map(|(at, sent, event)| (at + sent.delay, event.clone())).collect();

        let (expected, _) = fold_as_they_arrive(in_order);
        let (state, _) = fold_as_they_arrive(as_sent);

        prop_assert_eq!(seen(&state), seen(&expected));
    }

    #[test]
    fn counters_and_activity_are_the_same_in_any_order_however_late(
        events in prop::collection::vec(sent(), 1..40),
        order in any::<u64>(),
    ) {
        let timed = timed(&events, 0);
        let as_sent: Vec<_> = timed.iter().map(|(_, _, event)| event.clone()).collect();
        let mut shuffled = as_sent.clone();
        // any order will do
        shuffled.sort_by_key(|event| event.time.as_millis().wrapping_mul(order as i64 | 1));
        let at_any_time = |events: Vec<Event>| {
            let slowly = (1_800_000_000_000_u64..).step_by(2_000);
            fold_as_they_arrive(slowly.zip(events).collect()).0.view()
        };

        let (one, other) = (at_any_time(as_sent), at_any_time(shuffled));

        prop_assert_eq!((one.executions, one.errors), (other.executions, other.errors));
        prop_assert_eq!(one.last_activity, other.last_activity);
    }

    #[test]
    fn what_is_late_is_counted_and_moves_nothing(
        sent in prop::collection::vec(sent(), 1..40),
        late in sent(),
        age in 20_000..40_000_i64,
        skew_ms in -100_000..100_000_i64,
    ) {
        let timed = timed(&sent, skew_ms);
        let arrivals: Vec<_> = timed.iter().map(|(at, _, event)| (*at, event.clone())).collect();
        let (mut state, _) = fold_as_they_arrive(arrivals);
        let before = state.view();
        let last = timed.last().map_or(0, |(at, ..)| *at) + 5_000;
        let event = Event {
            // before the newest of what is settled
            time: Timestamp::from_millis(timed[timed.len() - 1].0 as i64 - skew_ms - age),
            ..event_of(&late.happening, Timestamp::default()).unwrap()
        };
        // a beat is a sign of life of the request that is open
        let is_beat = event.kind == EventKind::Help;
        let is_run = event.execution_status().is_some_and(ExecutionStatus::is_run);

        let entry = entry(timed.len() as u64 + 2, last, accepted(event));
        let outcome = state.apply(&entry, Some(&LessonId::new("les_1")));

        let after = state.view();
        prop_assert!(outcome.event.is_some());
        prop_assert_eq!(after.executions, before.executions + u64::from(is_run));
        prop_assert!(after.last_activity.map(|last| last.at) > before.last_activity.map(|last| last.at));
        prop_assert_eq!(
            (&after.notebook, &after.cell_id, after.cell_index, after.consecutive_errors, after.is_last_run_failed),
            (&before.notebook, &before.cell_id, before.cell_index, before.consecutive_errors, before.is_last_run_failed)
        );
        prop_assert_eq!(&after.name, &before.name);
        let heard = |help: Option<OpenHelp>| help.map(|open| if is_beat { open.shown.since } else { open.last_beat.at });
        prop_assert_eq!(heard(after.help), heard(before.help));
    }

    #[test]
    fn no_clock_whatsoever_holds_a_student_for_more_than_a_minute(
        jumps in prop::collection::vec((-100_000_000..100_000_000_i64, 1..40_u8), 1..6),
    ) {
        let mut clocks = Clocks::default();
        let mut base = Base::default();
        let mut now = 1_800_000_000_000_i64;
        for (skew_ms, events) in jumps {
            let mut moved_ms = now;
            for _ in 0..events {
                now += 2_000;
                let received = Moment::of_wall(Timestamp::from_millis(now));
                let order = clocks.order(Timestamp::from_millis(now + skew_ms), received);
                if !base.is_late(order) {
                    base.see(order);
                    moved_ms = now;
                }
                prop_assert!(now - moved_ms <= 62_000, "stood still for {} ms", now - moved_ms);
            }
        }
    }
}
