//! What the accepted events mean, counted the plain way: the expectation that consoles are held against.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// A student as the events in the order of acceptance tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Runs.
    pub executions: u64,
    /// Runs that failed.
    pub errors: u64,
    /// Errors on the current cell since its last ok.
    pub consecutive_errors: u64,
    /// The cell of the last run, or of the last cell with nothing to run.
    pub cell: Option<String>,
    /// Whether the last run failed.
    pub is_last_run_failed: bool,
    /// When the last event was received.
    pub last_activity: String,
    /// Whether a request for help is open.
    pub is_help_open: bool,
}

/// By student id, from the items of `/events`; of one notebook each, in one lesson.
pub fn recount(events: &[Value]) -> BTreeMap<String, Expected> {
    let mut students: BTreeMap<String, Expected> = BTreeMap::new();
    let mut rows: HashMap<(String, String), u64> = HashMap::new();
    for event in events {
        let id = event["student"].as_str().unwrap().to_owned();
        let student = students.entry(id.clone()).or_default();
        student.last_activity = event["receivedAt"].as_str().unwrap().to_owned();
        match event["eventType"].as_str().unwrap() {
            "help" => student.is_help_open = true,
            "help_stop" => student.is_help_open = false,
            "cell_executed" => {
                let cell = event["cellId"].as_str().unwrap();
                let row = rows.entry((id, cell.to_owned())).or_default();
                count(student, event, cell, row);
            }
            _ => {}
        }
        if let Some(cell) = &student.cell {
            let key = (event["student"].as_str().unwrap().to_owned(), cell.clone());
            student.consecutive_errors = rows.get(&key).copied().unwrap_or(0);
        }
    }
    students
}

fn count(student: &mut Expected, event: &Value, cell: &str, row: &mut u64) {
    let says_error = event["hasError"] == true;
    let is_interrupted = event["errorMessage"]
        .as_str()
        .is_some_and(|message| message.starts_with("KeyboardInterrupt"));
    let is_code = event["cellType"] == "code";
    let has_run = is_code && event["executionCount"].is_i64();
    if is_code && !has_run {
        return; // skipped: Run All never reached it
    }
    student.cell = Some(cell.to_owned());
    if !has_run {
        return;
    }
    let failed = says_error && !is_interrupted;
    student.executions += 1;
    student.errors += u64::from(failed);
    student.is_last_run_failed = failed;
    match (failed, is_interrupted) {
        (true, _) => *row += 1,
        (false, true) => {}
        (false, false) => *row = 0,
    }
}

/// Checks a Student as told by the server.
#[track_caller]
pub fn assert_is(student: &Value, expected: &Expected) {
    let status = match expected {
        Expected {
            is_help_open: true, ..
        } => "help",
        Expected {
            consecutive_errors: 3..,
            ..
        } => "stuck",
        Expected {
            is_last_run_failed: true,
            ..
        } => "error",
        _ => "active",
    };
    let told = Expected {
        executions: student["executions"].as_u64().unwrap(),
        errors: student["errors"].as_u64().unwrap(),
        consecutive_errors: student["consecutiveErrors"].as_u64().unwrap(),
        cell: student["cellId"].as_str().map(str::to_owned),
        // it shows in the status only
        is_last_run_failed: expected.is_last_run_failed,
        last_activity: student["lastActivity"].as_str().unwrap().to_owned(),
        is_help_open: student["help"].is_object(),
    };
    assert_eq!(&told, expected, "{student}");
    assert_eq!(student["status"], status, "{student}");
}
