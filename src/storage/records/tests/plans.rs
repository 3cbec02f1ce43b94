//! Which indexes the reading calls are answered from, by what the databases say themselves.

use mimamori_actors::domain::{ClassroomId, ExecutionStatus, SessionKey, StudentId, Timestamp};
use sea_orm::{ConnectionTrait, Statement};

use super::server::{ask, database};
use super::*;
use crate::storage::records::ExecutionFilter;
use crate::storage::records::read::{CellTable, List, Paths, active_notebooks, totals};

/// A month of a busy school.
const BUSY_MONTH: &str = "\
    INSERT INTO events SELECT n, 'default', 'stu_' || n % 200, 'e' || n, 'cell_executed', \
        1793491200000 + n * 40000, 1793491200000 + n * 40000, 1793491200000 + n * 40000, '{}', \
        timestamptz '2026-11-01' + n * interval '40 s' FROM generate_series(1::bigint, 60000) n; \
    INSERT INTO executions SELECT n, 'default', 'stu_' || n % 200, 1793491200000 + n * 40000, CASE WHEN n % 7 = 0 THEN 'error' ELSE 'ok' END, \
        'nb' || n % 10, 'c' || n % 70, 1, 'code', n, 'for i in range(' || n || '):' || repeat(' x = compute(x)', 25), NULL, '1', \
        timestamptz '2026-11-01' + n * interval '40 s' FROM generate_series(1::bigint, 60000) n; \
    INSERT INTO students SELECT 'default', 'stu_' || n, 'a', 'n', NULL, 0, 0, n FROM generate_series(0, 199) n";

/// Several processes for a statement, wherever that is allowed.
const EAGER: &str = "DO $$ BEGIN \
        EXECUTE format('ALTER DATABASE %I SET parallel_setup_cost = 0', current_database()); \
        EXECUTE format('ALTER DATABASE %I SET parallel_tuple_cost = 0', current_database()); \
        EXECUTE format('ALTER DATABASE %I SET min_parallel_table_scan_size = 0', current_database()); \
        EXECUTE format('ALTER DATABASE %I SET min_parallel_index_scan_size = 0', current_database()); \
    END $$";

/// A list as it is asked for.
fn list<'a>(filter: &'a ExecutionFilter, classroom: &'a ClassroomId, on: Dialect) -> List<'a> {
    List {
        classroom,
        range: TimeRange {
            from: Timestamp::from_millis(1),
            to: Some(Timestamp::from_millis(9_000_000_000_000)),
        },
        filter,
        paths: filter.notebook.clone().map(|path| vec![path]),
        after: None,
        hidden: Vec::new(),
        dialect: on,
    }
}

/// Each way to narrow a list, and the columns of the index that it is to be read from.
fn filters() -> [(ExecutionFilter, &'static str); 5] {
    let all = ExecutionFilter::default;
    [
        (all(), "classroom_at_ms_position_status"),
        (
            ExecutionFilter {
                student: Some(StudentId::new("stu_7")),
                ..all()
            },
            "classroom_student_at_ms_position",
        ),
        (
            ExecutionFilter {
                status: Some(ExecutionStatus::Interrupted),
                ..all()
            },
            "classroom_status_at_ms_position",
        ),
        (
            ExecutionFilter {
                notebook: Some("nb3".to_owned()),
                ..all()
            },
            "classroom_notebook_at_ms_position",
        ),
        (
            ExecutionFilter {
                cell: Some("c7".to_owned()),
                ..all()
            },
            "classroom_cell_id_at_ms_position",
        ),
    ]
}

/// The cells of a notebook, as they are asked for.
fn table(classroom: &ClassroomId, range: TimeRange, paths: &Paths, dialect: Dialect) -> Sql {
    let after = None;
    CellTable {
        classroom,
        range,
        paths,
        after,
        dialect,
        hidden: &[],
    }
    .statement(100)
}

async fn plan_of(records: &Records, mut sql: Sql) -> String {
    let (explain, column) = match records.dialect {
        Dialect::Sqlite => ("EXPLAIN QUERY PLAN ", "detail"),
        Dialect::Postgres => ("EXPLAIN ", "QUERY PLAN"),
    };
    let (text, values) = sql.take();
    let text = format!("{explain}{text}");
    let statement = Statement::from_sql_and_values(records.dialect.backend(), text, values);
    let rows = records.reading.query_all_raw(statement).await.unwrap();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| row.try_get("", column).unwrap())
        .collect();
    lines.join("\n")
}

#[tokio::test]
async fn a_server_answers_every_call_over_a_month_from_an_index() {
    let (url, room) = (database(), room());
    ask(&url, EAGER);
    let records = Records::open(&at_url(&url)).await.unwrap();
    ask(&url, BUSY_MONTH);
    ask(&url, "VACUUM ANALYZE");

    let mut plans = Vec::new();
    for (filter, index) in filters() {
        let mut sql = list(&filter, &room, records.dialect).newest_first();
        sql.push(" LIMIT ").bind(51_i64);
        plans.push((
            plan_of(&records, sql).await,
            format!("executions_2026_11_{index}"),
        ));
    }
    let search = rare();
    let search = list(&search, &room, records.dialect);
    let parts = search.parts().unwrap();
    for (sql, index) in [
        (
            search.with_parts(parts, "executions_2026_11", 50),
            "executions_2026_11_code_idx",
        ),
        (totals(&room, search.range), "executions_hours"),
    ] {
        plans.push((plan_of(&records, sql).await, index.to_owned()));
    }
    let of_a_notebook = Some(vec!["nb3".to_owned()]);
    let within = TimeRange {
        from: Timestamp::from_millis(1_793_491_200_000 + 100_000_000),
        to: Some(Timestamp::from_millis(1_793_491_200_000 + 2_000_000_000)),
    };
    let cells = plan_of(
        &records,
        table(&room, within, &of_a_notebook, records.dialect),
    )
    .await;
    for index in [
        "executions_cells_pkey",
        "executions_2026_11_classroom_notebook_at_ms_position_idx",
        // PostgreSQL cuts its name here
        "executions_2026_11_classroom_notebook_cell_id_at_ms",
    ] {
        plans.push((cells.clone(), index.to_owned()));
    }
    plans.push((
        plan_of(&records, active_notebooks(&room, within, "", &[])).await,
        "executions_2026_11_classroom_notebook_at_ms_position_idx".to_owned(),
    ));
    let mut events = records.all_events();
    events.push(" WHERE e.classroom = 'default' AND e.position > 7 ORDER BY e.position LIMIT 1001");
    plans.push((
        plan_of(&records, events).await,
        "events_2026_11_classroom_position_idx".to_owned(),
    ));

    for (plan, index) in plans {
        is_from(&index, &plan);
    }
    let of_student = plan_of(&records, records.cells_of(&person(7), within)).await;
    is_from(STUDENTS_CELLS, &of_student);
}

/// PostgreSQL cuts its name, too.
const STUDENTS_CELLS: &str =
    "Index Only Scan using executions_2026_11_classroom_student_at_ms_position_noteboo";

fn rare() -> ExecutionFilter {
    ExecutionFilter {
        query: Some("range(2345)".to_owned()),
        ..ExecutionFilter::default()
    }
}

fn person(of: u64) -> SessionKey {
    SessionKey {
        classroom: room(),
        student: StudentId::new(format!("stu_{of}")),
    }
}

fn is_from(index: &str, plan: &str) {
    assert!(plan.contains(index), "{index} is missing in\n{plan}");
    assert!(!plan.contains("Seq Scan on events_2026_11"), "{plan}");
    assert!(!plan.contains("Seq Scan on executions_2026_11"), "{plan}");
    assert!(!plan.contains("Gather"), "{plan}");
}

#[tokio::test]
async fn a_file_answers_every_call_from_an_index_in_its_order() {
    let (_home, records) = records(On::Sqlite).await;
    let room = room();

    for (filter, _) in filters() {
        let plan = plan_of(
            &records,
            list(&filter, &room, records.dialect).newest_first(),
        )
        .await;
        assert!(
            !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"),
            "{plan}"
        );
    }
    let search = rare();
    let search = list(&search, &room, records.dialect);
    let parts = search.parts().unwrap();
    let plan = plan_of(&records, search.with_parts(parts, "executions", 50)).await;
    assert!(plan.contains("VIRTUAL TABLE INDEX"), "{plan}");
    assert!(!plan.contains("executions_by_time"), "{plan}");
    let plan = plan_of(&records, totals(&room, search.range)).await;
    assert!(plan.contains("executions_hours"), "{plan}");
    assert!(!plan.contains("SCAN executions"), "{plan}");
    let of_a_notebook = Some(vec!["nb3".to_owned()]);
    let plan = plan_of(
        &records,
        table(&room, search.range, &of_a_notebook, records.dialect),
    )
    .await;
    for step in [
        "SEARCH executions_cells USING PRIMARY KEY (classroom=? AND notebook=?)",
        "SEARCH x USING INDEX executions_by_notebook (classroom=? AND notebook=? AND at_ms>? AND at_ms<?)",
        "SEARCH x USING INDEX executions_failed (classroom=? AND notebook=? AND cell_id=? AND at_ms>? AND at_ms<?)",
    ] {
        assert!(plan.contains(step), "{step} is missing in\n{plan}");
    }
    let plan = plan_of(&records, active_notebooks(&room, search.range, "", &[])).await;
    assert!(plan.contains("executions_by_notebook"), "{plan}");
    let plan = plan_of(&records, records.cells_of(&person(7), search.range)).await;
    let index = "SEARCH x USING COVERING INDEX executions_of_students_cells";
    assert!(plan.contains(index), "{plan}");
}
