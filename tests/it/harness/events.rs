//! Events as the extension sends them.

use serde_json::{Value, json};

use super::Random;

/// Now, as a client's clock says.
pub fn now() -> String {
    let now =
        mimamori_actors::domain::Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    now.to_string()
}

/// An event with nothing but what every event has.
pub fn event(id: &str, kind: &str, student: &str) -> Value {
    json!({
        "eventId": id,
        "eventType": kind,
        "eventTime": now(),
        "emailAddress": format!("{student}@example.ac.jp"),
        "userName": format!("学生 {student}"),
        "teamName": "チームA",
        "sessionId": "ce8400e8-e504-4ec7-9c43-24edd79c5182",
        "notebookPath": "授業/nb1.ipynb",
    })
}

/// The id of an event, or of an execution, that the server tells of; with its student it is unique.
pub fn event_id(event: &Value) -> String {
    event["eventId"].as_str().unwrap().to_owned()
}

/// How a cell ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// To its end.
    Ok,
    /// To an error.
    Error,
    /// Until the student stopped it.
    Interrupted,
}

/// A cell that ran.
pub fn run(id: &str, student: &str, cell: &str, how: Run) -> Value {
    let mut event = event(id, "cell_executed", student);
    let fields = json!({
        "cellId": cell,
        "cellIndex": 3,
        "cellType": "code",
        "code": format!("f('{cell}')"),
        "executionCount": 7,
        "hasError": how != Run::Ok,
        "result": "42",
        "executionDurationMs": 2,
    });
    merge(&mut event, fields);
    match how {
        Run::Ok => {}
        Run::Error => event["errorMessage"] = json!("NameError: name 'f' is not defined"),
        Run::Interrupted => event["errorMessage"] = json!("KeyboardInterrupt: "),
    }
    event
}

/// A cell that Run All never reached.
pub fn skipped(id: &str, student: &str, cell: &str) -> Value {
    let mut event = run(id, student, cell, Run::Ok);
    event["executionCount"] = Value::Null;
    event
}

/// A cell with nothing to run.
pub fn markdown(id: &str, student: &str, cell: &str) -> Value {
    let mut event = skipped(id, student, cell);
    event["cellType"] = json!("markdown");
    event
}

/// `help` or `help_stop`.
pub fn help(id: &str, student: &str, is_on: bool) -> Value {
    event(id, if is_on { "help" } else { "help_stop" }, student)
}

/// In another order.
pub fn shuffled<T>(mut items: Vec<T>, random: &mut Random) -> Vec<T> {
    random.shuffle(&mut items);
    items
}

fn merge(into: &mut Value, fields: Value) {
    if let (Value::Object(into), Value::Object(fields)) = (into, fields) {
        into.extend(fields);
    }
}
