//! Erasing a person, while the writer goes on.

use mimamori_actors::domain::SessionKey;

use super::*;
use crate::admit::StudentKey;
use crate::erasure::hidden::Hidden;

on_either!(
    what_is_left_is_what_would_be_there_without_the_person,
    a_batch_that_was_read_before_the_person_was_hidden_does_not_bring_them_back,
);

/// Everything of the first student up to here is erased.
const THROUGH: Position = Position(65);

fn person() -> SessionKey {
    SessionKey {
        classroom: room(),
        student: student(1),
    }
}

fn hiding(series: &Series) -> Arc<Hidden> {
    let hidden = Arc::new(Hidden::nobody(StudentKey::from_bytes([7; 32])));
    series.hide(Arc::clone(&hidden));
    hidden
}

/// Both students' runs and requests for help, on both sides of the position.
fn of_both() -> Vec<Arc<Entry>> {
    let mut entries: Vec<_> = (1..=70)
        .filter(|n| n % 10 != 0)
        .map(|n| executed(n, n % 2 + 1))
        .collect();
    entries.extend([10, 20, 70].map(|n| opened(n, 1)));
    entries.extend([30, 40].map(|n| opened(n, 2)));
    entries.sort_by_key(|entry| entry.position);
    entries
}

fn is_left(entry: &Entry) -> bool {
    let is_theirs = match &entry.record {
        Record::Event(accepted) => accepted.student == student(1),
        Record::Fact(_) => [10, 20, 70].contains(&entry.position.0),
        Record::Rejection(_) | Record::Timer(_) | Record::DeadLetter(_) => false,
    };
    !is_theirs || entry.position > THROUGH
}

/// The chart without what was erased.
async fn expected(on: On) -> Vec<Bucket> {
    let home = Home::new(on);
    let without = home.open();
    let left: Vec<_> = (of_both().into_iter().filter(|entry| is_left(entry))).collect();
    without
        .write(&journal(), &left, Position(70))
        .await
        .unwrap();
    first_hour(&without).await
}

async fn erase(series: &Series) {
    let recount = |after, through| {
        let mut entries = of_both();
        entries.retain(|entry| entry.position > after && entry.position <= through);
        entries
    };
    let (journal, person) = (journal(), person());
    let erased = series.erase(&journal, &person, THROUGH, recount);
    erased.await.unwrap();
}

async fn what_is_left_is_what_would_be_there_without_the_person(on: On) {
    let home = Home::new(on);
    let series = home.open();
    let all = of_both();
    series.write(&journal(), &all, Position(70)).await.unwrap();

    hiding(&series).hide(&person(), THROUGH);
    for _ in 0..2 {
        erase(&series).await;
    }

    assert_eq!(first_hour(&series).await, expected(on).await);
    assert_eq!(series.reach(&journal()).await.unwrap(), Some(Position(70)));
}

async fn a_batch_that_was_read_before_the_person_was_hidden_does_not_bring_them_back(on: On) {
    let home = Home::new(on);
    let series = home.open();
    let all = of_both();
    let (written, in_hand) = all.split_at(30);
    let reached = written.last().unwrap().position;
    series.write(&journal(), written, reached).await.unwrap();

    hiding(&series).hide(&person(), THROUGH);
    erase(&series).await;
    series
        .write(&journal(), in_hand, Position(70))
        .await
        .unwrap();

    assert_eq!(first_hour(&series).await, expected(on).await);
}
