//! What is counted and indexed where executions are written: totals and searches.

use std::ops::Range;

use super::*;
use crate::storage::records::read::TimeKey;
use crate::storage::records::{ExecutionFilter, ExecutionRow};
use crate::storage::samples::execution;

on_each!(
    totals_of_any_range_are_what_its_executions_add_up_to,
    a_rare_text_is_found_among_many_and_gone_when_it_is_erased,
    a_notebook_is_found_under_every_way_to_write_it,
);

/// Every seven minutes of a morning something was executed.
async fn a_morning(records: &Records) {
    let entries: Vec<_> = (1..=40)
        .map(|n| {
            let mut it = execution(n, n % 5);
            it.time = at(n * 420);
            if n % 4 == 0 {
                it.has_error = Some(true);
                it.error_message = Some("NameError".to_owned());
            }
            event(n, n % 5, it)
        })
        .collect();
    write(records, &entries).await;
}

async fn listed(records: &Records, range: TimeRange, query: Option<&str>) -> Vec<ExecutionRow> {
    let filter = ExecutionFilter {
        query: query.map(str::to_owned),
        ..ExecutionFilter::default()
    };
    let found = records
        .executions(&room(), range, &filter, None, 1_000)
        .await;
    found.unwrap().rows
}

async fn assert_totals_add_up(records: &Records) {
    let ends = [0, 420, 3_599, 3_600, 3_601, 7_200, 9_000, 14_399, 20_000];
    let ranges = ends
        .iter()
        .flat_map(|from| ends.iter().map(move |to| *from..*to));
    for Range { start, end } in ranges.filter(|range| !range.is_empty()) {
        let range = TimeRange {
            from: at(start),
            to: Some(at(end)),
        };

        let totals = records.totals(&room(), range).await.unwrap();

        let rows = listed(records, range, None).await;
        let errors = rows.iter().filter(|row| row.status == "error").count();
        assert_eq!(
            (totals.executions, totals.errors),
            (rows.len() as i64, errors as i64),
            "{start} to {end}"
        );
    }
}

async fn totals_of_any_range_are_what_its_executions_add_up_to(on: On) {
    let (_home, records) = records(on).await;
    a_morning(&records).await;
    assert_totals_add_up(&records).await;

    tamper(&records, "DELETE FROM executions WHERE position % 3 = 0").await;

    assert_totals_add_up(&records).await;
    let all = records.totals(&room(), ALL_DAY).await.unwrap();
    assert_eq!(all.executions, 27);
}

async fn a_rare_text_is_found_among_many_and_gone_when_it_is_erased(on: On) {
    let (_home, records) = records(on).await;
    // more than are looked through one by one
    let many = (1..=5_100).map(|n| {
        let mut it = execution(n, n % 7);
        it.code = Some(match n {
            3 | 4 => format!("Needle{n} = 課題の針"),
            _ => format!("hay = {n}"),
        });
        event(n, n % 7, it)
    });
    write(&records, &many.collect::<Vec<_>>()).await;
    let found = async |query: &str| -> Vec<i64> {
        let rows = listed(&records, ALL_DAY, Some(query)).await;
        rows.iter().map(|row| row.position).collect()
    };

    assert_eq!(found("needle").await, [4, 3]);
    assert_eq!(found("題の針").await, [4, 3]);
    assert_eq!(found("needle3").await, [3]);
    assert_eq!(found("needle 3").await, [0_i64; 0]);
    assert_eq!(found("hay").await.len(), 1_000);
    let filter = ExecutionFilter {
        query: Some("needle".to_owned()),
        ..ExecutionFilter::default()
    };
    let behind = Some(TimeKey {
        at_ms: at(4).as_millis(),
        position: 4,
    });
    let next = records
        .executions(&room(), ALL_DAY, &filter, behind, 1)
        .await;
    assert_eq!(next.unwrap().rows[0].position, 3);

    tamper(
        &records,
        "UPDATE executions SET code = NULL WHERE position = 3",
    )
    .await;
    tamper(&records, "DELETE FROM executions WHERE position = 4").await;

    assert_eq!(found("needle").await, [0_i64; 0]);
}

#[tokio::test]
async fn the_parts_in_a_file_are_those_of_its_texts_after_every_change() {
    let (_home, records) = records(On::Sqlite).await;
    a_morning(&records).await;
    tamper(&records, "DELETE FROM executions WHERE position % 3 = 0").await;
    tamper(
        &records,
        "UPDATE executions SET code = NULL WHERE position % 5 = 0",
    )
    .await;
    tamper(&records, "DELETE FROM offsets").await;
    let again: Vec<_> = (1..=40).map(|n| executed(n, n % 5)).collect();

    write(&records, &again).await;

    // an error if not
    tamper(
        &records,
        "INSERT INTO executions_parts (executions_parts, rank) VALUES ('integrity-check', 1)",
    )
    .await;
    assert_totals_add_up(&records).await;
}

async fn a_notebook_is_found_under_every_way_to_write_it(on: On) {
    let (_home, records) = records(on).await;
    let ways = ["か\u{3099}.ipynb", "が.ipynb", "other.ipynb"];
    let entries: Vec<_> = (1..)
        .zip(ways)
        .map(|(n, way)| {
            let mut it = execution(n, 1);
            it.notebook = Some(way.to_owned());
            event(n, 1, it)
        })
        .collect();
    write(&records, &entries).await;
    let count = async |notebook: &str| {
        let filter = ExecutionFilter {
            notebook: Some(notebook.to_owned()),
            ..ExecutionFilter::default()
        };
        let found = records
            .executions(&room(), ALL_DAY, &filter, None, 10)
            .await;
        found.unwrap().rows.len()
    };

    assert_eq!(count("が.ipynb").await, 2);
    assert_eq!(count("other.ipynb").await, 1);
    assert_eq!(count("nowhere.ipynb").await, 0);
}
