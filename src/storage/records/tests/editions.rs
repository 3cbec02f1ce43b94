//! Editions of a classroom's rows, on either database.

use std::time::Duration;

use mimamori_actors::domain::ClassroomId;

use super::*;

on_either!(
    every_write_makes_another_edition_of_its_classroom_alone,
    another_process_learns_of_a_write_within_a_second,
    a_renewal_takes_back_what_was_settled,
    a_start_renews_every_classroom_it_knows,
    an_edition_is_known_while_the_database_is_away,
);

async fn every_write_makes_another_edition_of_its_classroom_alone(on: On) {
    let (_home, records) = records(on).await;
    let other = ClassroomId::new("other");
    assert_eq!(records.edition(&room()).await, None);

    write(&records, &[executed(1, 1)]).await;
    let first = records.edition(&room()).await.unwrap();
    write(&records, &[executed(2, 1)]).await;
    let second = records.edition(&room()).await.unwrap();
    // known already: nothing of it goes in
    write(&records, &[executed(2, 1)]).await;
    let third = records.edition(&room()).await.unwrap();

    assert_ne!(first.written, second.written);
    assert_eq!((second.anew, second.through), (first.anew, at(2)));
    assert_eq!(second, third);
    assert_eq!(records.edition(&other).await, None);
}

async fn another_process_learns_of_a_write_within_a_second(on: On) {
    let (home, records) = records(on).await;
    let other = Records::open(&home.at).await.unwrap();
    write(&records, &[executed(1, 1)]).await;
    let before = other.edition(&room()).await.unwrap();

    write(&records, &[executed(2, 1)]).await;
    let written = records.edition(&room()).await.unwrap();

    let learns = async {
        while other.edition(&room()).await != Some(written) {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(1), learns).await;
    assert!(in_time.is_ok());
    assert_ne!(before, written);
}

async fn a_renewal_takes_back_what_was_settled(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &[executed(1, 1)]).await;
    let before = records.edition(&room()).await.unwrap();
    let settled = |to: u64| TimeRange {
        from: MORNING.minus(Duration::from_secs(1_000_000)),
        to: Some(at(to).minus(Duration::from_secs(48 * 3_600))),
    };
    assert!(before.is_settled(settled(1)) && !before.is_settled(settled(2)));
    assert!(!before.is_settled(ALL_DAY));

    records.renew(&room()).await.unwrap();

    let after = records.edition(&room()).await.unwrap();
    assert_ne!((after.written, after.anew), (before.written, before.anew));
    assert_eq!(after.through, before.through);
}

async fn a_start_renews_every_classroom_it_knows(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &[executed(1, 1)]).await;
    let before = records.edition(&room()).await.unwrap();
    // a version before this one has written it
    tamper(&records, "DELETE FROM editions").await;

    records.renew_all().await.unwrap();
    let made = records.edition(&room()).await.unwrap();
    records.renew_all().await.unwrap();
    let renewed = records.edition(&room()).await.unwrap();

    assert_ne!(before.anew, made.anew);
    assert_ne!(made.anew, renewed.anew);
    assert_ne!(made.written, renewed.written);
}

async fn an_edition_is_known_while_the_database_is_away(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &[executed(1, 1)]).await;
    let before = records.edition(&room()).await;
    records.close().await.unwrap();

    // past the time for which nobody asks the database
    tokio::time::sleep(Duration::from_millis(260)).await;

    assert_eq!(records.edition(&room()).await, before);
}
