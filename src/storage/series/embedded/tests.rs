//! What only the embedded store does; what every store does is in the tests beside it.

use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::domain::{Entry, FactKind, HelpId, Position};
use mimamori_actors::ports::{Store, StoreError};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Bucket, EmbeddedSeries};
use crate::storage::samples::{MORNING, at, executed, fact, failed, journal, room, student};

fn series() -> (TempDir, EmbeddedSeries) {
    let dir = tempfile::tempdir().unwrap();
    let series = EmbeddedSeries::open(dir.path()).unwrap();
    (dir, series)
}

async fn first_hour(series: &EmbeddedSeries) -> Vec<Bucket> {
    series
        .activity(&room(), MORNING..at(3600), at(3600), 300)
        .await
        .unwrap()
}

fn opened(position: u64, of: u64) -> Arc<Entry> {
    fact(
        position,
        FactKind::HelpOpened {
            help: HelpId::new(format!("hlp_{position}")),
            student: student(of),
            since: at(position),
            cell_id: None,
        },
    )
}

fn batch() -> Vec<Arc<Entry>> {
    vec![
        executed(1, 1),
        failed(2, 1, "ZeroDivisionError: division by zero"),
        executed(3, 2),
        opened(4, 2),
        executed(70, 1),
    ]
}

#[tokio::test]
async fn a_damaged_database_is_set_aside_and_begun_anew() {
    let (dir, series) = series();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    drop(series);
    let path = dir.path().join("series");
    for file in std::fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            std::fs::write(file, b"not a database").unwrap();
        }
    }

    let anew = EmbeddedSeries::open(dir.path()).unwrap();

    assert_eq!(anew.offset(&journal()).await.unwrap(), None);
    anew.write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    assert_eq!(first_hour(&anew).await[0].executions, 3);
    assert!(dir.path().join("series.damaged").exists());
}

#[tokio::test]
async fn a_cell_that_cannot_be_read_is_refused_and_only_what_belongs_into_it_is_lost() {
    let (_dir, series) = series();
    series
        .write(&journal(), &[executed(1, 1)], Position(1))
        .await
        .unwrap();
    let files = series.inner.files.reading().unwrap();
    for cell in files.counts.iter() {
        let key = cell.key().unwrap();
        files.counts.insert(key, "no counts").unwrap();
    }

    let into_it = series
        .write(&journal(), &[executed(2, 1)], Position(2))
        .await;
    let past_it = series.write(&journal(), &[], Position(2)).await;
    let elsewhere = series
        .write(&journal(), &[executed(3, 2)], Position(3))
        .await;

    assert!(
        matches!(into_it, Err(StoreError::Refused(_))),
        "{into_it:?}"
    );
    past_it.unwrap();
    elsewhere.unwrap();
    let offset = series.offset(&journal()).await.unwrap();
    assert_eq!(offset, Some(Position(3)));
}

#[tokio::test]
async fn a_new_journal_is_counted_on_from_where_the_one_before_was_left() {
    let (_dir, series) = series();
    let old = mimamori_actors::domain::JournalId::new("jrn_old");
    series.write(&old, &batch(), Position(70)).await.unwrap();

    let known = series.offset(&journal()).await.unwrap();
    let mut overlapping = batch();
    overlapping.push(executed(71, 3));
    series
        .write(&journal(), &overlapping, Position(71))
        .await
        .unwrap();

    assert_eq!(known, Some(Position(70)));
    assert_eq!(series.reach(&journal()).await.unwrap(), Some(Position(71)));
    assert_eq!(first_hour(&series).await[1].executions, 2);
}

#[tokio::test]
async fn series_that_know_less_than_was_written_take_nothing_more() {
    let (_dir, series) = series();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    // as if the batch behind it had been lost with the handle that wrote it
    *series.inner.writing.lock().await = Some((journal(), Position(71)));

    let refused = series
        .write(&journal(), &[executed(72, 1)], Position(72))
        .await;

    assert!(
        matches!(&refused, Err(StoreError::Unavailable(reason)) if reason.contains("71")),
        "{refused:?}"
    );
    assert_eq!(series.offset(&journal()).await.unwrap(), Some(Position(70)));
}

#[test]
fn writes_that_wait_for_one_that_hangs_take_no_thread_from_others() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_dir, series) = series();
        let hanging = series.inner.writing.lock().await;
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let series = series.clone();
                tokio::spawn(async move { series.write(&journal(), &batch(), Position(70)).await })
            })
            .collect();
        tokio::task::yield_now().await;

        let offset = timeout(Duration::from_secs(10), series.offset(&journal())).await;
        drop(hanging);

        assert_eq!(offset.unwrap().unwrap(), None);
        for written in waiting {
            written.await.unwrap().unwrap();
        }
        assert_eq!(first_hour(&series).await[0].executions, 3);
    });
}
