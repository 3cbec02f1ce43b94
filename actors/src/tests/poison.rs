//! Entries that fail their sessions.

use std::sync::Mutex;

use super::*;
use crate::domain::{Entry, JournalId};
use crate::ports::Attempt;
use crate::session::careful::{Flight, Flights};
use crate::testing::Fault;

fn dead_letters(grove: &Grove) -> Vec<Position> {
    let records = grove.journal.records().into_iter();
    let letters = records.filter_map(|record| match record {
        Record::DeadLetter(letter) => Some(letter.position),
        _ => None,
    });
    letters.collect()
}

fn attempts(grove: &Grove) -> Vec<u32> {
    let attempts = grove.snapshots.attempts(&grove.journal.id()).unwrap();
    attempts.iter().map(|attempt| attempt.count).collect()
}

fn offset(grove: &Grove) -> u64 {
    let router = grove.snapshots.router.lock().unwrap();
    router.as_ref().map_or(0, |(_, offset)| offset.0)
}

fn poison(grove: &Grove, position: u64, fault: Fault) {
    let mut poison = grove.faults.poison.lock().unwrap();
    poison.insert(Position(position), fault);
}

/// taro's second entry fails his session; hanako has one too.
async fn poisoned(fault: Fault) -> Grove {
    let grove = Grove::new();
    poison(&grove, 2, fault);
    grove
        .append(vec![
            event("taro", EventKind::CellExecuted, 1),
            event("taro", EventKind::Help, 2),
            event("taro", EventKind::CellExecuted, 3),
            event("hanako", EventKind::CellExecuted, 1),
        ])
        .await;
    grove
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_fails_its_session_three_times_is_a_dead_letter_and_the_session_goes_on() {
    for fault in [Fault::Panic, Fault::Hang] {
        let grove = poisoned(fault).await;

        let tree = grove.plant().await;

        until("others never noticed", || runs(&tree, "hanako") == 1).await;
        until("the session goes on", || runs(&tree, "taro") == 2).await;
        assert_eq!(dead_letters(&grove), [Position(2)]);
        let tries = grove.faults.folded.lock().unwrap().clone();
        assert_eq!(tries.iter().filter(|at| **at == Position(2)).count(), 3);
        let view = tree.registry().view(&key("taro")).unwrap();
        assert_ne!(view.status(grove.clock.heard()), StudentStatus::Help);
        let end = grove.journal.end().borrow().0;
        until("committed past it", || offset(&grove) >= end).await;
        until("forgotten", || attempts(&grove).is_empty()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_on_disk_before_the_next_one_and_outlive_the_process() {
    let grove = poisoned(Fault::Panic).await;
    let tree = grove.plant().await;
    until("tried once", || attempts(&grove) == [1]).await;
    // the process ends: nothing of the tree is left
    tree.census().kill_root();
    drop(tree);
    let before = grove.faults.folded.lock().unwrap().len();

    let tree = grove.plant().await;

    until("the session goes on", || runs(&tree, "taro") == 2).await;
    let tries = grove.faults.folded.lock().unwrap()[before..].to_vec();
    assert_eq!(tries.iter().filter(|at| **at == Position(2)).count(), 2);
    assert_eq!(dead_letters(&grove), [Position(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_a_crash_kept_from_the_journal_is_written_by_the_next_start() {
    let grove = poisoned(Fault::Panic).await;
    let attempt = Attempt {
        key: key("taro"),
        position: Position(2),
        count: 3,
    };
    let journal = grove.journal.id();
    grove.snapshots.put_attempts(&journal, &attempt).unwrap();

    let tree = grove.plant().await;

    until("passed over", || runs(&tree, "taro") == 2).await;
    assert_eq!(dead_letters(&grove), [Position(2)]);
    assert!(!grove.faults.folded.lock().unwrap().contains(&Position(2)));
}

#[tokio::test(start_paused = true)]
async fn ten_students_with_the_same_poison_cost_nobody_elses_budget() {
    let grove = Grove::new();
    let names: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    for (name, position) in names.iter().zip(1..) {
        poison(&grove, position, Fault::Panic);
        grove.append(vec![event(name, EventKind::Help, 1)]).await;
    }
    let tree = grove.plant().await;

    let after = names
        .iter()
        .map(|name| event(name, EventKind::CellExecuted, 2));
    grove.append(after.collect()).await;
    grove
        .append(vec![event("hanako", EventKind::CellExecuted, 1)])
        .await;

    until("hanako", || runs(&tree, "hanako") == 1).await;
    for name in &names {
        until("goes on", || runs(&tree, name) == 1).await;
    }
    assert_eq!(dead_letters(&grove).len(), 10);
    for name in ["router", "sessions"] {
        assert_eq!(report(&tree, name)["restarts"], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_a_person_asks_for_is_no_attempt() {
    let grove = poisoned(Fault::Hang).await;
    let tree = grove.plant().await;
    let is_tried = || grove.faults.folded.lock().unwrap().contains(&Position(2));
    until("in hand", is_tried).await;

    tree.census().restart("session/default/taro").unwrap();

    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(attempts(&grove), [0; 0]);
}

/// What a process that ended in the middle of a fold leaves behind.
struct Noted {
    snapshots: Arc<MemorySnapshots>,
    flights: Mutex<Vec<Flight>>,
    /// How often an entry was counted when its note was struck out.
    ended: Mutex<Vec<(Position, u32)>>,
}

impl Noted {
    fn of(grove: &Grove) -> Arc<Self> {
        Arc::new(Self {
            snapshots: grove.snapshots.clone(),
            flights: Mutex::default(),
            ended: Mutex::default(),
        })
    }

    fn positions(&self) -> Vec<Position> {
        let flights = self.flights.lock().unwrap();
        flights.iter().map(|flight| flight.position).collect()
    }
}

impl Flights for Noted {
    fn begin(&self, flight: &Flight) {
        let mut flights = self.flights.lock().unwrap();
        flights.retain(|noted| noted.position != flight.position);
        flights.push(flight.clone());
    }

    fn end(&self, flight: &Flight) {
        let attempts = self.snapshots.attempts(&JournalId::new("test")).unwrap();
        let mut counted = attempts.iter().filter(|it| it.position == flight.position);
        let count = counted.next().map_or(0, |attempt| attempt.count);
        self.ended.lock().unwrap().push((flight.position, count));
        self.flights.lock().unwrap().retain(|noted| noted != flight);
    }
}

/// As careful as a start after an unclean stop is with everything that is there.
fn careful(grove: &Grove, noted: &Arc<Noted>) -> Careful {
    let journal = &grove.journal;
    let counted = grove.snapshots.attempts(&journal.id()).unwrap();
    let through = *journal.end().borrow();
    Careful::new(noted.clone(), through, &counted)
}

#[tokio::test(start_paused = true)]
async fn who_was_folded_beside_the_poison_in_three_ends_of_the_process_is_not_buried_with_it() {
    let grove = Grove::new();
    let ends_it = Position(6);
    for number in 1..=11 {
        let fault = [Fault::Slow, Fault::Hang][usize::from(Position(number) == ends_it)];
        poison(&grove, number, fault);
        let run = event(&format!("s{number}"), EventKind::CellExecuted, 1);
        grove.append(vec![run]).await;
    }
    let mut blamed = Vec::new();
    for _ in 0..3 {
        let noted = Noted::of(&grove);
        grove.faults.folded.lock().unwrap().clear();
        let tree = grove.plant_with(Some(careful(&grove, &noted))).await;
        let folds = || grove.faults.folded.lock().unwrap().contains(&ends_it);
        until("the poison is folded", folds).await;

        // the process ends here, and the next start counts what is noted
        let flights = noted.flights.lock().unwrap().clone();
        tree.census().kill_root();
        drop(tree);
        blamed.push(flights.len());
        for flight in flights {
            count(&grove, &flight);
        }
    }
    assert_eq!(blamed, [11, 11, 1], "the last one was alone");

    let noted = Noted::of(&grove);
    let tree = grove.plant_with(Some(careful(&grove, &noted))).await;

    for number in (1..=11).filter(|number| *number != ends_it.0) {
        until("goes on", || runs(&tree, &format!("s{number}")) == 1).await;
    }
    assert_eq!(dead_letters(&grove), [ends_it]);
}

/// One more attempt, as a start counts it.
fn count(grove: &Grove, flight: &Flight) {
    let Flight { key, position, .. } = flight.clone();
    let journal = grove.journal.id();
    let known = grove.snapshots.attempts(&journal).unwrap();
    let mut known = known.iter().filter(|attempt| attempt.position == position);
    let count = known.next().map_or(0, |attempt| attempt.count) + 1;
    let attempt = Attempt {
        key,
        position,
        count,
    };
    grove.snapshots.put_attempts(&journal, &attempt).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fold_that_fails_stays_noted_until_its_attempt_is_on_disk() {
    for fault in [Fault::Panic, Fault::Hang] {
        let grove = poisoned(fault).await;
        let noted = Noted::of(&grove);

        let tree = grove.plant_with(Some(careful(&grove, &noted))).await;

        until("the session goes on", || runs(&tree, "taro") == 2).await;
        let ended = noted.ended.lock().unwrap().clone();
        let of_poison = ended
            .iter()
            .filter(|(position, _)| *position == Position(2));
        let counts: Vec<_> = of_poison.map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 2, 3]);
        assert_eq!(noted.positions(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_unclean_stop_what_was_there_at_the_start_is_noted_while_it_is_folded() {
    let grove = poisoned(Fault::Hang).await;
    let noted = Noted::of(&grove);
    let careful = careful(&grove, &noted);
    let _tree = grove.plant_with(Some(careful)).await;
    let in_flight = || noted.positions();

    until("noted", || in_flight() == [Position(2)]).await;
    until("counted", || attempts(&grove) == [1]).await;
    until("no longer", || !in_flight().contains(&Position(2))).await;

    // what comes later is not looked at so closely
    let next = grove.journal.end().borrow().0 + 1;
    poison(&grove, next, Fault::Hang);
    grove.append(vec![event("jiro", EventKind::Help, 1)]).await;
    let position = |entry: &Arc<Entry>| entry.position;
    let last = grove.journal.all().last().map(position).unwrap();
    until("jiro's", || {
        grove.faults.folded.lock().unwrap().contains(&last)
    })
    .await;
    assert!(!in_flight().contains(&last));
}
