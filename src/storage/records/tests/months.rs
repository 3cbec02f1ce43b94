//! Searches on a server, which go through its months.

use super::server::{ask, database};
use mimamori_actors::domain::{ClassroomId, Timestamp};

use super::*;
use crate::storage::records::ExecutionFilter;
use crate::storage::records::read::{ExecutionRow, List, TimeKey};

/// Executions by clocks that are off: each month has some of every hour, and hours are shared.
const CROSSED: &str = "\
    CREATE TABLE crossed AS SELECT n, 1793491200000 + n * 37 % 100 * 3600000 AS at_ms, \
        (ARRAY['2026-10-15', '2026-11-15', '2026-12-15', '2024-03-15'])[n % 4 + 1]::timestamptz AS filed_at \
        FROM generate_series(1::bigint, 300) n; \
    INSERT INTO events SELECT n, 'default', 'stu_1', 'e' || n, 'cell_executed', at_ms, at_ms, at_ms, '{}', filed_at FROM crossed; \
    INSERT INTO executions SELECT n, 'default', 'stu_1', at_ms, 'ok', 'nb', 'c', 1, 'code', n, \
        CASE WHEN n % 3 = 0 THEN 'nothing' ELSE 'compute(' || n || ')' END, NULL, '1', filed_at FROM crossed; \
    ANALYZE";

const EVER: TimeRange = TimeRange {
    from: Timestamp::from_millis(1),
    to: None,
};

fn searched(query: &str) -> ExecutionFilter {
    ExecutionFilter {
        query: Some(query.to_owned()),
        ..ExecutionFilter::default()
    }
}

fn list<'a>(
    filter: &'a ExecutionFilter,
    classroom: &'a ClassroomId,
    after: Option<TimeKey>,
) -> List<'a> {
    List {
        classroom,
        range: EVER,
        filter,
        paths: None,
        after,
        hidden: Vec::new(),
        dialect: Dialect::Postgres,
    }
}

#[tokio::test]
async fn what_months_share_is_found_in_order_page_by_page() {
    let url = database();
    let records = Records::open(&at_url(&url)).await.unwrap();
    ask(&url, CROSSED);
    let (filter, room) = (searched("compute("), room());
    let by_time = records.executions(&room, EVER, &filter, None, 1_000);
    let expected = by_time.await.unwrap().rows;
    assert_eq!(expected.len(), 200);

    for limit in [7, 100, 200, 1_000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let list = list(&filter, &room, after);
            let page = records.by_months(&list, limit).await.unwrap();
            assert!(page.rows.len() == limit || !page.has_more);
            after = page.rows.last().map(|row| row.key());
            found.extend(page.rows);
            if !page.has_more {
                break;
            }
        }
        let keys = |rows: &[ExecutionRow]| rows.iter().map(ExecutionRow::key).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&expected), "{limit} a page");
    }
}

#[tokio::test]
async fn months_of_which_nothing_would_be_shown_are_not_looked_into() {
    let url = database();
    let name = url.rsplit('/').next().unwrap();
    ask(
        &url,
        &format!("ALTER DATABASE {name} SET enable_seqscan = off"),
    );
    let records = Records::open(&at_url(&url)).await.unwrap();
    ask(&url, CROSSED);
    // nothing of the other months is as new as this
    ask(
        &url,
        "UPDATE executions SET at_ms = at_ms + 4000000000 WHERE filed_at = '2026-12-15'",
    );
    let (filter, room) = (searched("compute("), room());

    let page = records.by_months(&list(&filter, &room, None), 10).await;

    assert!(page.unwrap().has_more);
    records.close().await.unwrap();
    let searches = |month: &str| {
        let sql = "SELECT SUM(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname LIKE";
        ask(&url, &format!("{sql} 'executions_{month}_code_idx'"))
    };
    assert_eq!(searches("2026_12"), "1");
    assert_eq!(searches("2026_11"), "0");
    assert_eq!(searches("default"), "0");
}

#[tokio::test]
async fn a_month_that_comes_or_goes_meanwhile_takes_nothing_away() {
    let url = database();
    let records = Records::open(&at_url(&url)).await.unwrap();
    ask(&url, CROSSED);
    let (filter, room) = (searched("compute("), room());
    let list = list(&filter, &room, None);
    let before = async || records.partitions().await.unwrap();
    let mut without_the_last = before().await;
    without_the_last.pop();
    let with_one_more = before().await;

    let found = records.by_these(without_the_last, &list, 1_000).await;
    assert_eq!(found.unwrap().rows.len(), 200);

    ask(&url, "DROP TABLE executions_2026_12");
    let found = records.by_these(with_one_more, &list, 1_000).await;
    assert_eq!(found.unwrap().rows.len(), 150);
}
