//! What the accepted events mean, counted the plain way: the expectation that consoles are held against.

use std::collections::{BTreeMap, HashMap};

use std::time::Duration;

use mimamori_actors::domain::Timestamp;
use serde_json::Value;

/// What comes later than this after something newer moves nothing.
const WINDOW: Duration = Duration::from_secs(3);

/// A student as the events tell: counted as they were accepted, placed as they happened.
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
    let mut by_student: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for event in events {
        let id = event["student"].as_str().unwrap().to_owned();
        by_student.entry(id).or_default().push(event);
    }
    by_student
        .into_iter()
        .map(|(id, events)| (id, recount_one(&events)))
        .collect()
}

fn recount_one(events: &[&Value]) -> Expected {
    let mut student = Expected::default();
    for event in events {
        student.last_activity = event["receivedAt"].as_str().unwrap().to_owned();
        let run = run_of(event);
        student.executions += u64::from(run.is_some());
        student.errors += u64::from(run == Some(Ended::Failed));
    }
    let mut rows: HashMap<String, u64> = HashMap::new();
    for event in in_order(events) {
        match event["eventType"].as_str().unwrap() {
            "help" => student.is_help_open = true,
            "help_stop" => student.is_help_open = false,
            "cell_executed" => place(&mut student, event, &mut rows),
            _ => {}
        }
    }
    let row = student.cell.as_ref().and_then(|cell| rows.get(cell));
    student.consecutive_errors = row.copied().unwrap_or(0);
    student
}

/// Those that came in time, as they happened.
fn in_order<'a>(events: &[&'a Value]) -> Vec<&'a Value> {
    let time =
        |event: &Value, field: &str| event[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    let mut in_time: Vec<(Timestamp, Timestamp, &Value)> = Vec::new();
    for event in events {
        let (happened, received) = (time(event, "eventTime"), time(event, "receivedAt"));
        let is_late = in_time
            .iter()
            .any(|(newer, earlier, _)| *newer > happened && received.since(*earlier) > WINDOW);
        if !is_late {
            in_time.push((happened, received, event));
        }
    }
    // stable: of the same time as they were accepted
    in_time.sort_by_key(|(happened, _, _)| *happened);
    in_time.into_iter().map(|(_, _, event)| event).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Well,
    Failed,
    Interrupted,
}

/// How the cell ran, if it did.
fn run_of(event: &Value) -> Option<Ended> {
    if event["cellType"] != "code" || !event["executionCount"].is_i64() {
        return None;
    }
    let is_interrupted = event["errorMessage"]
        .as_str()
        .is_some_and(|message| message.starts_with("KeyboardInterrupt"));
    Some(match event["hasError"] == true {
        false => Ended::Well,
        true if is_interrupted => Ended::Interrupted,
        true => Ended::Failed,
    })
}

fn place(student: &mut Expected, event: &Value, rows: &mut HashMap<String, u64>) {
    let run = run_of(event);
    if run.is_none() && event["cellType"] == "code" {
        return; // skipped: Run All never reached it
    }
    let cell = event["cellId"].as_str().unwrap();
    student.cell = Some(cell.to_owned());
    let Some(run) = run else {
        return;
    };
    student.is_last_run_failed = run == Ended::Failed;
    match run {
        Ended::Well => drop(rows.remove(cell)),
        Ended::Failed => *rows.entry(cell.to_owned()).or_default() += 1,
        Ended::Interrupted => {}
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
