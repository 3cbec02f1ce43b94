use mimamori_actors::domain::Cursor;

use super::super::tests::{delta, opening, room};
use super::*;

fn begun() -> HandOver {
    let hand_over = HandOver::default();
    hand_over.begin(opening("e"));
    hand_over.take(&room()).unwrap();
    hand_over
}

/// The seq of what is handed over: of the deltas, and of the snapshot.
fn taken(hand_over: &HandOver) -> Option<(Vec<u64>, Option<u64>)> {
    let work = hand_over.take(&room())?;
    let deltas = work.deltas.iter().map(|delta| delta.seq).collect();
    Some((deltas, work.snapshot.map(|opening| opening.seq)))
}

#[test]
fn an_epoch_begins_with_a_snapshot_and_goes_on_with_deltas() {
    let hand_over = HandOver::default();
    hand_over.begin(opening("e"));
    hand_over.put(&delta("e", 1, 10));

    assert_eq!(taken(&hand_over), Some((vec![], Some(1))));
    assert_eq!(taken(&hand_over), None);
    hand_over.put(&delta("e", 2, 10));
    hand_over.put(&delta("e", 3, 10));
    assert_eq!(taken(&hand_over), Some((vec![2, 3], None)));
}

#[test]
fn what_waits_is_bounded_and_a_snapshot_takes_its_place() {
    let hand_over = begun();
    for seq in 1..=20 {
        hand_over.put(&delta("e", seq, 1024 * 1024));
        let rooms = hand_over.lock();
        assert!(rooms[&room()].waiting_bytes <= MOST_WAITING_BYTES);
    }

    assert_eq!(taken(&hand_over), Some((vec![], Some(20))));
    hand_over.put(&delta("e", 21, 10));
    assert_eq!(taken(&hand_over), Some((vec![21], None)));
}

#[test]
fn small_deltas_are_bounded_by_their_number() {
    let hand_over = begun();
    for seq in 1..=MOST_WAITING as u64 + 1 {
        hand_over.put(&delta("e", seq, 1));
    }

    let last = MOST_WAITING as u64 + 1;
    assert_eq!(taken(&hand_over), Some((vec![], Some(last))));
}

#[test]
fn a_snapshot_is_put_down_anew_behind_so_much_that_a_node_must_not_read_more() {
    let hand_over = begun();
    let mut renewed = Vec::new();
    for seq in 1..=10 {
        hand_over.put(&delta("e", seq, 300 * 1024));
        let (_, snapshot) = taken(&hand_over).unwrap();
        renewed.extend(snapshot);
    }

    assert_eq!(renewed, [4, 8]);
}

#[test]
fn a_large_snapshot_is_put_down_anew_only_behind_deltas_that_weigh_four_times_as_much() {
    let hand_over = begun();
    hand_over.put_down(&room(), "e", 600 * 1024);
    let mut renewed = Vec::new();
    for seq in 1..=10 {
        hand_over.put(&delta("e", seq, 300 * 1024));
        let (_, snapshot) = taken(&hand_over).unwrap();
        renewed.extend(snapshot);
    }

    assert_eq!(renewed, [8]);
}

#[test]
fn what_an_incarnation_that_was_written_off_still_says_is_not_handed_over() {
    let hand_over = begun();
    hand_over.begin(opening("later"));
    taken(&hand_over);

    hand_over.put(&delta("e", 1, 10));

    assert_eq!(taken(&hand_over), None);
    let stand = hand_over.stand()[&room()].cursor.clone();
    let epoch = "later".to_owned();
    assert_eq!(stand, Cursor { epoch, seq: 0 });
}

#[test]
fn what_stands_before_an_epoch_goes_with_its_first_snapshot_that_is_put_down() {
    let hand_over = HandOver::default();
    hand_over.begin(opening("e"));

    let is_new = || hand_over.take(&room()).unwrap().is_new_epoch;
    let first = is_new();
    hand_over.lost(&room());
    let again = is_new();
    hand_over.put_down(&room(), "e", 10);
    hand_over.lost(&room());
    let later = is_new();

    assert_eq!((first, again, later), (true, true, false));
}

#[test]
fn a_silence_that_consoles_were_told_of_is_over_with_the_next_delta() {
    let hand_over = begun();
    let since = Timestamp::from_millis(5);

    hand_over.tell_stale(&room(), since);
    let silent = hand_over.stand()[&room()].stale_since;
    hand_over.put(&delta("e", 1, 10));
    let after = hand_over.stand()[&room()].stale_since;

    assert_eq!((silent, after), (Some(since), None));
}
