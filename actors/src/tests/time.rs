//! Our own absence, nights, and clocks that are set.

use super::*;
use crate::domain::{EndedBy, Fact, LessonId, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_hours(1);

impl Grove {
    fn facts(&self) -> Vec<Fact> {
        let records = self.journal.records().into_iter();
        records
            .filter_map(|record| match record {
                Record::Fact(fact) => Some(*fact),
                Record::Event(_) | Record::Timer(_) | Record::Rejection(_) => None,
                Record::DeadLetter(letter) => panic!("{letter:?}"),
            })
            .collect()
    }

    fn has_timers(&self) -> bool {
        let records = self.journal.records();
        records
            .iter()
            .any(|record| matches!(record, Record::Timer(_)))
    }

    /// Of every lesson that ended: its id, and how long it was.
    fn ended_lessons(&self) -> Vec<(LessonId, Duration)> {
        let lesson = |fact: Fact| match fact.kind {
            FactKind::LessonEnded {
                lesson,
                begun,
                ended,
                ..
            } => Some((lesson, ended.since(begun))),
            _ => None,
        };
        self.facts().into_iter().filter_map(lesson).collect()
    }

    /// Of every request for help that ended: when it opened and ended, and by what.
    fn ended_help(&self) -> Vec<(Timestamp, Timestamp, EndedBy)> {
        let help = |fact: Fact| match fact.kind {
            FactKind::HelpEnded {
                since,
                until,
                ended_by,
                ..
            } => Some((since, until, ended_by)),
            _ => None,
        };
        self.facts().into_iter().filter_map(help).collect()
    }

    fn status(&self, tree: &Tree, student: &str) -> Option<StudentStatus> {
        let view = tree.registry().view(&key(student))?;
        Some(view.status(self.clock.heard()))
    }

    /// One student asks for help, another works.
    async fn class(&self, tree: &Tree) {
        self.append(vec![
            event("taro", EventKind::Help, 1),
            event("hanako", EventKind::CellExecuted, 1),
        ])
        .await;
        until("help is open", || {
            self.status(tree, "taro") == Some(StudentStatus::Help)
        })
        .await;
        until("another works", || runs(tree, "hanako") == 1).await;
    }
}

fn help_of(tree: &Tree) -> Option<crate::domain::OpenHelp> {
    tree.registry().view(&key("taro"))?.help.clone()
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_40_seconds_leaves_help_open_and_the_next_beat_goes_on_with_it() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.class(&tree).await;
    let open = help_of(&tree).unwrap();
    tree.fell(Duration::from_secs(5)).await;

    grove.clock.stand_still(Duration::from_secs(40)).await;
    let tree = grove.plant().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(help_of(&tree), Some(open.clone()));
    grove.append(vec![event("taro", EventKind::Help, 2)]).await;
    let beat = grove.clock.now();
    until("it goes on", || {
        help_of(&tree).is_some_and(|help| help.last_beat.at >= beat)
    })
    .await;

    assert_eq!(help_of(&tree).unwrap().shown.id, open.shown.id);
    until("its end by silence", || !grove.ended_help().is_empty()).await;
    let [(since, end, EndedBy::Silence)] = grove.ended_help()[..] else {
        panic!("{:?}", grove.ended_help());
    };
    assert_eq!((since, end), (open.shown.since, beat));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_for_three_hours_takes_nobody_for_gone() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.class(&tree).await;

    grove.clock.stand_still(3 * HOUR).await;
    tokio::time::sleep(Duration::from_secs(20)).await;

    assert_eq!(grove.status(&tree, "taro"), Some(StudentStatus::Help));
    assert_eq!(grove.status(&tree, "hanako"), Some(StudentStatus::Active));
    assert!(!grove.has_timers());
    grove
        .append(vec![event("hanako", EventKind::CellExecuted, 2)])
        .await;
    until("the same lesson and session", || runs(&tree, "hanako") == 2).await;
    assert!(grove.ended_lessons().is_empty() && grove.ended_help().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_system_clock_set_forward_takes_nobody_for_gone() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.class(&tree).await;

    grove.clock.set_forward(24 * HOUR);
    tokio::time::sleep(Duration::from_secs(20)).await;

    assert_eq!(grove.status(&tree, "taro"), Some(StudentStatus::Help));
    assert_eq!(grove.status(&tree, "hanako"), Some(StudentStatus::Active));
    assert!(!grove.has_timers());
}

#[tokio::test(start_paused = true)]
async fn after_a_night_everything_has_ended_and_the_next_event_begins_another_lesson() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.class(&tree).await;
    tokio::time::sleep(10 * Duration::from_secs(1)).await;
    tree.fell(Duration::from_secs(5)).await;

    // a night is heard whole, see the clock
    tokio::time::advance(12 * HOUR).await;
    let tree = grove.plant().await;
    until("the lesson's end", || !grove.ended_lessons().is_empty()).await;

    assert_eq!(grove.status(&tree, "taro"), Some(StudentStatus::Offline));
    assert_eq!(grove.status(&tree, "hanako"), Some(StudentStatus::Offline));
    let sessions = |facts: Vec<Fact>| {
        let ended = |fact: &&Fact| matches!(fact.kind, FactKind::SessionEnded { .. });
        facts.iter().filter(ended).count()
    };
    until("both sessions' ends", || sessions(grove.facts()) == 2).await;
    assert_eq!(grove.ended_help().len(), 1);
    assert_eq!(runs(&tree, "hanako"), 0, "counters of no lesson");
    grove
        .append(vec![event("hanako", EventKind::CellExecuted, 2)])
        .await;
    until("counters of another lesson", || runs(&tree, "hanako") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_lesson_with_an_absence_in_it_is_one_lesson_and_as_long_as_people_saw() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.class(&tree).await;
    tree.fell(Duration::from_secs(5)).await;

    grove.clock.stand_still(100 * MINUTE).await;
    let tree = grove.plant().await;
    grove
        .append(vec![event("hanako", EventKind::CellExecuted, 2)])
        .await;
    until("the same lesson", || runs(&tree, "hanako") == 2).await;
    // the last event of the lesson ends it 90 minutes later
    tokio::time::sleep(91 * MINUTE).await;

    let ended = grove.ended_lessons();
    assert_eq!(ended.len(), 1);
    assert!(ended[0].1 >= 100 * MINUTE, "{ended:?}");
}
