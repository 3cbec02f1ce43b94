//! Who is told only of what changed knows what those know who are told of everything.

use std::sync::Arc;

use super::*;
use crate::domain::SessionUpdate;
use crate::feed::{Feed, FeedLimits};

fn feed() -> Feed {
    Feed::new(key().classroom, "e".to_owned(), FeedLimits::default())
}

fn update(state: &SessionState, outcome: &Outcome) -> SessionUpdate {
    SessionUpdate {
        key: key(),
        position: state.position(),
        view: Arc::new(state.view()),
        event: outcome.event.clone(),
        alerts: outcome.alerts.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_entry_is_told_of_exactly_if_it_changes_what_is_seen(
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let mut state = SessionState::new(key());
        for (entry, lesson) in journal(&happenings) {
            let before = state.view();
            let outcome = state.apply(&entry, lesson.as_ref());
            let after = StudentView { position: before.position, ..state.view() };

            let is_seen = after != before || outcome.event.is_some() || !outcome.alerts.is_empty();
            prop_assert_eq!(outcome.changed, is_seen, "{:?}", entry.record);
        }
    }

    #[test]
    fn consoles_get_the_same_deltas_as_if_everything_was_told(
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let mut state = SessionState::new(key());
        let (mut all, mut changes) = (feed(), feed());
        for (entry, lesson) in journal(&happenings) {
            let outcome = state.apply(&entry, lesson.as_ref());
            let update = update(&state, &outcome);
            if outcome.changed {
                changes.apply(update.clone(), entry.heard_at);
            }
            all.apply(update, entry.heard_at);

            let told = [&mut all, &mut changes].map(|feed| {
                let delta = feed.tick(entry.heard_at);
                delta.map(|delta| delta.frame.clone())
            });
            prop_assert_eq!(&told[0], &told[1], "{:?}", entry.record);
        }
    }
}
