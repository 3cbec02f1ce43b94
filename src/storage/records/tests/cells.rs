//! The table of cells: what is counted where executions are written, and what is read from it.

use std::collections::BTreeMap;

use mimamori_actors::domain::{ClassroomId, Event};

use super::*;
use crate::storage::records::{CellKey, CellTotals, ExecutionFilter, ExecutionRow};
use crate::storage::samples::execution;

on_each!(
    a_cell_tells_who_ran_it_how_it_ended_and_what_went_wrong,
    the_table_of_any_range_is_what_its_executions_add_up_to,
    pages_of_cells_put_together_are_the_table,
    a_name_is_data_however_long_and_hostile,
    a_cell_is_the_same_in_every_way_to_write_its_notebook;
    what_was_there_before_is_counted_when_the_tables_are_brought_up_to_date,
);

/// How an execution ended.
#[derive(Clone, Copy)]
enum Ended {
    Ok,
    Error(&'static str),
    Interrupted,
    Skipped,
    NotRun,
}

fn ran(position: u64, of: u64, cell: &str, ended: Ended) -> Event {
    let mut it = execution(position, of);
    it.cell_id = Some(cell.to_owned());
    it.cell_index = Some(3);
    match ended {
        Ended::Ok => {}
        Ended::Error(text) => {
            it.has_error = Some(true);
            it.error_message = Some(text.to_owned());
        }
        Ended::Interrupted => {
            it.has_error = Some(true);
            it.error_message = Some("KeyboardInterrupt: ".to_owned());
        }
        Ended::Skipped => it.execution_count = None,
        Ended::NotRun => it.code = Some(String::new()),
    }
    it
}

async fn write_all(records: &Records, events: impl IntoIterator<Item = (u64, u64, Event)>) {
    let entries: Vec<_> = events
        .into_iter()
        .map(|(position, of, it)| event(position, of, it))
        .collect();
    write(records, &entries).await;
}

pub(super) async fn table(
    records: &Records,
    range: TimeRange,
    notebook: Option<&str>,
) -> Vec<CellTotals> {
    let found = records
        .table_of_cells(&room(), range, notebook, None, 1_000)
        .await
        .unwrap();
    assert!(!found.has_more);
    found.rows
}

/// What is counted is what would be counted anew, row by row.
pub(super) async fn assert_cells_are_counted(records: &Records) {
    let anew = "SELECT classroom, COALESCE(notebook, '') AS notebook, COALESCE(cell_id, '') AS cell_id, \
         COALESCE(cell_index, -1) AS cell_index, student, at_ms - at_ms % 21600000 AS quarter_ms, \
         COUNT(CASE WHEN status <> 'skipped' THEN 1 END) AS runs, COUNT(CASE WHEN status = 'ok' THEN 1 END) AS ok, \
         COUNT(CASE WHEN status = 'error' THEN 1 END) AS errors, \
         COUNT(CASE WHEN status = 'skipped' THEN 1 END) AS skipped, MAX(at_ms) AS last_ms \
         FROM executions WHERE status IN ('ok', 'error', 'interrupted', 'skipped') GROUP BY 1, 2, 3, 4, 5, 6";
    let kept = "SELECT classroom, notebook, cell_id, cell_index, student, quarter_ms, \
         runs, ok, errors, skipped, last_ms FROM executions_cells";
    for (one, other) in [(anew, kept), (kept, anew)] {
        let mut sql = Sql::new(&format!(
            "SELECT COUNT(*) AS position FROM (SELECT * FROM ({one}) AS a EXCEPT SELECT * FROM ({other}) AS b) AS c"
        ));
        let reading = reading(records);
        let row = reading.query_one_raw(sql.statement(records.dialect));
        let differ: i64 = row.await.unwrap().unwrap().try_get("", "position").unwrap();
        assert_eq!(differ, 0, "rows of {one} are not in {other}");
    }
}

async fn a_cell_tells_who_ran_it_how_it_ended_and_what_went_wrong(on: On) {
    let (_home, records) = records(on).await;
    let name = |text| Ended::Error(text);
    let runs = [
        (1, "a", name("NameError: name 'x' is not defined\n  line 2")),
        (1, "a", name("NameError: name 'x' is not defined")),
        (1, "a", Ended::Ok),
        (1, "a", name("\n ValueError: no")),
        (2, "a", Ended::Ok),
        (2, "a", Ended::Skipped),
        (3, "a", Ended::Interrupted),
        (3, "a", Ended::Interrupted),
        (4, "a", Ended::Skipped),
        (4, "b", Ended::Skipped),
        (4, "text", Ended::NotRun),
    ];
    let events = (1..)
        .zip(runs)
        .map(|(n, (of, cell, ended))| (n, of, ran(n, of, cell, ended)));
    write_all(&records, events).await;

    let cells = table(&records, ALL_DAY, None).await;

    let a = CellTotals {
        notebook: Some("week1/課題.ipynb".to_owned()),
        cell_id: Some("a".to_owned()),
        cell_index: Some(3),
        reached: 3,
        ok: 2,
        errors: 3,
        skipped: 1,
        median_tries: Some(2.0),
        commonest_error: Some("NameError: name 'x' is not defined".to_owned()),
        at_ms: at(9).as_millis(),
    };
    let b = CellTotals {
        cell_id: Some("b".to_owned()),
        reached: 0,
        ok: 0,
        errors: 0,
        median_tries: None,
        commonest_error: None,
        at_ms: at(10).as_millis(),
        ..a.clone()
    };
    assert_eq!(cells, [a, b]);
    let of_other = records
        .table_of_cells(&ClassroomId::new("other"), ALL_DAY, None, None, 10)
        .await;
    assert_eq!(of_other.unwrap().rows, []);
}

/// Two days of a few students, a cell every 19 minutes: every way to end, cells without
/// an id, without a place, that move, and two notebooks and none.
pub(super) fn two_days() -> impl Iterator<Item = (u64, u64, Event)> {
    (1..=150).map(|n| {
        let ended = match n % 8 {
            0 | 3 => Ended::Error("TypeError: t"),
            1 => Ended::Skipped,
            2 => Ended::Interrupted,
            6 => Ended::NotRun,
            _ => Ended::Ok,
        };
        let mut it = ran(n, n % 4, &format!("c{}", n % 5), ended);
        it.time = at(n * 19 * 60);
        it.cell_index = Some((n % 5 + n / 60).cast_signed());
        if n % 5 == 4 {
            it.cell_id = None;
        }
        if n % 25 == 9 {
            it.cell_index = None;
        }
        it.notebook = [Some("a.ipynb"), Some("b.ipynb"), None][(n % 3) as usize].map(str::to_owned);
        (n, n % 4, it)
    })
}

/// The notebook, the id and the place of a cell.
type Cell = (String, String, i64);

/// The table as it is added up from a list of executions: who reached it, tries, errors, skipped.
fn added_up(rows: &[ExecutionRow]) -> BTreeMap<Cell, (i64, i64, i64, i64, String, i64)> {
    let mut cells: BTreeMap<(String, String, Option<i64>), Vec<&ExecutionRow>> = BTreeMap::new();
    let tells = ["ok", "error", "interrupted", "skipped"];
    for row in rows
        .iter()
        .filter(|row| tells.contains(&row.status.as_str()))
    {
        let id = row.cell_id.clone().unwrap_or_default();
        let place = id.is_empty().then(|| row.cell_index.unwrap_or(-1));
        let notebook = row.notebook.clone().unwrap_or_default();
        cells.entry((notebook, id, place)).or_default().push(row);
    }
    let of_cell = |((notebook, id, _), rows): ((String, String, _), Vec<&ExecutionRow>)| {
        let place = rows.iter().map(|row| row.cell_index.unwrap_or(-1)).min();
        let mut students: BTreeMap<&str, (i64, bool)> = BTreeMap::new();
        for row in &rows {
            let student = students.entry(&row.student).or_default();
            student.0 += i64::from(row.status != "skipped");
            student.1 |= row.status == "ok";
        }
        let mut tries: Vec<i64> = students
            .values()
            .map(|it| it.0)
            .filter(|n| *n > 0)
            .collect();
        tries.sort_unstable();
        let of = |nth: usize| tries.get(nth).copied().unwrap_or_default() as f64;
        let median = match tries.len() {
            0 => "none".to_owned(),
            n => format!("{}", (of((n - 1) / 2) + of(n / 2)) / 2.0),
        };
        let totals = (
            tries.len() as i64,
            students.values().filter(|it| it.1).count() as i64,
            rows.iter().filter(|row| row.status == "error").count() as i64,
            students.values().filter(|it| it.0 == 0).count() as i64,
            median,
            rows.iter().map(|row| row.at_ms).max().unwrap_or_default(),
        );
        ((notebook, id, place.unwrap_or(-1)), totals)
    };
    cells.into_iter().map(of_cell).collect()
}

/// Ranges that begin and end on a whole quarter of a day, on a whole hour and in between.
pub(super) fn ranges() -> impl Iterator<Item = TimeRange> {
    // MORNING is a whole quarter of a day
    const ENDS: [u64; 9] = [
        0, 3_600, 21_599, 21_600, 30_000, 43_200, 90_000, 172_800, 300_000,
    ];
    ENDS.iter().enumerate().flat_map(|(nth, from)| {
        let ends = ENDS[nth..].iter().map(|to| Some(at(*to)));
        ends.chain([None]).map(|to| TimeRange {
            from: at(*from),
            to,
        })
    })
}

async fn assert_tables_add_up(records: &Records) {
    for range in ranges() {
        let cells = table(records, range, None).await;

        let filter = ExecutionFilter::default();
        let room = room();
        let list = records.executions(&room, range, &filter, None, 1_000);
        let expected = added_up(&list.await.unwrap().rows);
        let told: BTreeMap<_, _> = cells
            .iter()
            .map(|it| {
                let CellKey {
                    notebook,
                    cell_index,
                    cell_id,
                } = it.key();
                let median = it
                    .median_tries
                    .map_or("none".to_owned(), |it| it.to_string());
                let totals = (it.reached, it.ok, it.errors, it.skipped, median, it.at_ms);
                ((notebook, cell_id, cell_index), totals)
            })
            .collect();
        assert_eq!(
            (told, cells.len()),
            (expected.clone(), expected.len()),
            "{range:?}"
        );
        let has_errors = |it: &CellTotals| it.errors > 0;
        let failed = cells.iter().filter(|it| has_errors(it));
        // a place alone does not name what failed
        assert!(
            failed
                .clone()
                .all(|it| it.commonest_error.as_deref() == Some("TypeError: t")),
            "{cells:?}"
        );
    }
    assert_cells_are_counted(records).await;
}

async fn the_table_of_any_range_is_what_its_executions_add_up_to(on: On) {
    let (_home, records) = records(on).await;
    write_all(&records, two_days()).await;
    assert_tables_add_up(&records).await;

    for gone in ["position % 3 = 0", "position % 7 < 3", "student LIKE '%1'"] {
        tamper(&records, &format!("DELETE FROM executions WHERE {gone}")).await;
        assert_tables_add_up(&records).await;
    }
    // what comes again adds what is not there, and nothing else
    tamper(&records, "DELETE FROM offsets").await;
    write_all(&records, two_days()).await;
    tamper(&records, "DELETE FROM events").await;
    tamper(&records, "DELETE FROM offsets").await;
    write_all(&records, two_days()).await;

    assert_tables_add_up(&records).await;
    tamper(&records, "DELETE FROM executions").await;
    assert_tables_add_up(&records).await;
}

async fn put_together(records: &Records, notebook: Option<&str>, limit: usize) -> Vec<CellTotals> {
    let mut all: Vec<CellTotals> = Vec::new();
    loop {
        let after = all.last().map(CellTotals::key);
        let page = records
            .table_of_cells(&room(), ALL_DAY, notebook, after, limit)
            .await
            .unwrap();
        assert!(page.rows.len() <= limit);
        all.extend(page.rows);
        if !page.has_more {
            return all;
        }
        assert!(all.len() < 1_000, "pages without an end");
    }
}

async fn pages_of_cells_put_together_are_the_table(on: On) {
    let (_home, records) = records(on).await;
    write_all(&records, two_days()).await;

    for notebook in [None, Some("b.ipynb"), Some("nowhere.ipynb")] {
        let whole = table(&records, ALL_DAY, notebook).await;
        let cells = match notebook {
            None => 24,
            Some("b.ipynb") => 8,
            Some(_) => 0,
        };
        assert_eq!(whole.len(), cells, "{whole:?}");
        assert!(whole.is_sorted_by_key(|it| {
            let key = it.key();
            (key.notebook, key.cell_index, key.cell_id)
        }));
        for limit in [1, 2, 3, 7, 8, 9, 23, 24, 25] {
            assert_eq!(
                put_together(&records, notebook, limit).await,
                whole,
                "{limit}"
            );
        }
    }
}

async fn a_name_is_data_however_long_and_hostile(on: On) {
    let (_home, records) = records(on).await;
    // a tree of PostgreSQL takes entries of 2,700 bytes: of signs that no compression helps
    let long = |seed: u32| -> String {
        let mut state = seed;
        let sign = std::iter::repeat_with(move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'!' + (state >> 24) as u8 % 94)
        });
        sign.take(1_024).collect()
    };
    let names = [
        "'; DROP TABLE executions_cells; --".to_owned(),
        "100%_\\ \"quoted\" $1 ?".to_owned(),
        "\u{202e}右から左\u{0007}\n\t".to_owned(),
        "か\u{3099}".to_owned(),
        long(1),
    ];
    let events = (1..).zip(&names).map(|(n, name)| {
        let mut it = ran(n, n, name, Ended::Error("E"));
        it.notebook = Some(name.clone());
        it.error_message = Some(format!(
            "{}: {}",
            &name[..name.len().min(9)],
            "x".repeat(5_000)
        ));
        (n, n, it)
    });
    write_all(&records, events).await;

    for name in &names {
        let cells = table(&records, ALL_DAY, Some(name)).await;
        let ids: Vec<_> = cells.iter().map(|it| it.cell_id.as_deref()).collect();
        assert_eq!(ids, [Some(name.as_str())]);
        assert_eq!(cells[0].notebook.as_deref(), Some(name.as_str()));
        let error = cells[0].commonest_error.as_deref().unwrap();
        assert!(error.chars().count() <= 200, "{error}");
    }
    assert_eq!(put_together(&records, None, 1).await.len(), names.len());
    assert_cells_are_counted(&records).await;
}

async fn a_cell_is_the_same_in_every_way_to_write_its_notebook(on: On) {
    let (_home, records) = records(on).await;
    let ways = ["か\u{3099}.ipynb", "が.ipynb", "other.ipynb"];
    let events = (1..).zip(ways).map(|(n, way)| {
        let mut it = ran(n, n, "a", Ended::Error("E: e"));
        it.notebook = Some(way.to_owned());
        (n, n, it)
    });
    write_all(&records, events).await;

    let one = table(&records, ALL_DAY, Some("が.ipynb")).await;
    let all = table(&records, ALL_DAY, None).await;

    assert_eq!((one.len(), one[0].reached), (1, 2));
    assert_eq!(all.len(), 2);
    assert!(all.contains(&one[0]), "{all:?}");
    assert_eq!(put_together(&records, None, 1).await, all);
}

async fn what_was_there_before_is_counted_when_the_tables_are_brought_up_to_date(on: On) {
    let (home, before) = records(on).await;
    let undo = match on {
        On::Sqlite => "DROP TRIGGER executions_cells_add; DROP TRIGGER executions_cells_take;",
        On::Postgres | On::Replica => {
            "DROP FUNCTION executions_cells_add CASCADE; DROP FUNCTION executions_cells_take CASCADE;"
        }
    };
    let undo = format!(
        "{undo} DROP TABLE executions_cells; DROP INDEX executions_failed; \
         DELETE FROM seaql_migrations WHERE version = 'm0010_cells'"
    );
    tamper(&before, &undo).await;
    write_all(&before, two_days()).await;
    before.close().await.unwrap();

    let after = Records::open(&home.at).await.unwrap();

    assert_tables_add_up(&after).await;
    write_all(&after, [(151, 9, ran(151, 9, "new", Ended::Ok))]).await;
    assert_tables_add_up(&after).await;
}
