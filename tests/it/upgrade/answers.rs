//! Everything that the reading calls answer, without what time alone changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::{Api, event_id};

const FROM: &str = "2026-01-01T00:00:00Z";

/// Answers by path. Lists are their items.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answers(BTreeMap<String, Value>);

impl Answers {
    /// What is answered about the time up to `until`.
    pub async fn of(api: &Api, until: &str) -> Self {
        let range = format!("from={FROM}&to={until}");
        let mut answers = BTreeMap::new();
        let mut students = Vec::new();
        for list in ["executions", "help", "lessons", "rejected", "dead-letters"] {
            let items = api.all(&format!("/{list}?{range}"), 1000).await;
            answers.insert(format!("/{list}"), Value::Array(items));
        }
        let mut events = api.all("/events?since=0", 1000).await;
        events.retain(|event| event["receivedAt"].as_str() < Some(until));
        for event in &events {
            let student = event["student"].as_str().unwrap().to_owned();
            if !students.contains(&student) {
                students.push(student);
            }
        }
        answers.insert("/events".to_owned(), Value::Array(events));
        let mut overview = api.room(&format!("/overview?{range}")).await.good();
        // those who came later are known too
        retain_students(&mut overview, &students);
        answers.insert("/overview".to_owned(), overview);
        for student in students {
            // without a range it would be the last day, and what is kept grows older
            let path = format!("/students/{student}");
            let answer = api.room(&format!("{path}?{range}")).await.good();
            answers.insert(path.clone(), answer);
            let path = format!("{path}/executions");
            let items = api.all(&format!("{path}?{range}"), 1000).await;
            answers.insert(path, Value::Array(items));
        }
        for answer in answers.values_mut() {
            settle(answer);
        }
        Self(answers)
    }

    /// `Err` with the first difference.
    pub fn agree_with(&self, kept: &Self) -> Result<(), String> {
        for (path, expected) in &kept.0 {
            let found = self.0.get(path).unwrap_or(&Value::Null);
            let mut found = found.clone();
            forget_later(&mut found, expected);
            forget_the_last_minute(&mut found, expected);
            if found != *expected {
                return Err(format!(
                    "{path}: {}",
                    difference(path, expected, &found).unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

fn retain_students(overview: &mut Value, students: &[String]) {
    let totals = overview["totals"].as_object_mut().unwrap();
    totals.remove("students");
    overview["students"]
        .as_array_mut()
        .unwrap()
        .retain(|student| students.iter().any(|known| student["id"] == known.as_str()));
}

/// Takes away what is true of now only: the status, and the counters of the lesson that is on.
fn settle(answer: &mut Value) {
    match answer {
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(fields) => {
            if fields.contains_key("consecutiveErrors") {
                for of_now in [
                    "status",
                    "executions",
                    "errors",
                    "consecutiveErrors",
                    "help",
                ] {
                    fields.remove(of_now);
                }
            }
            fields.values_mut().for_each(settle);
        }
        _ => {}
    }
}

/// Minutes are counted whole: the last one may have gone on.
fn forget_the_last_minute(found: &mut Value, expected: &Value) {
    let Some(last) = expected["activity"].as_array().and_then(|all| all.last()) else {
        return;
    };
    let Some(found) = found["activity"]
        .as_array_mut()
        .and_then(|all| all.last_mut())
    else {
        return;
    };
    let has_all = last.as_object().unwrap().iter().all(|(field, then)| {
        found[field] == *then || found[field].as_u64() >= then.as_u64().or(Some(u64::MAX))
    });
    if has_all {
        *found = last.clone();
    }
}

/// What was open then may have ended since, by silence.
fn forget_later(found: &mut Value, expected: &Value) {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            for (found, expected) in found.iter_mut().zip(expected) {
                forget_later(found, expected);
            }
        }
        (Value::Object(found), Value::Object(expected)) => {
            for (field, expected) in expected {
                let Some(found) = found.get_mut(field) else {
                    continue;
                };
                let is_an_end = ["ended", "endedBy", "until"].contains(&field.as_str());
                if is_an_end && expected.is_null() {
                    *found = Value::Null;
                } else {
                    forget_later(found, expected);
                }
            }
            // a later version may tell more
            found.retain(|field, _| expected.contains_key(field));
        }
        _ => {}
    }
}

/// The first place where two answers differ.
fn difference(path: &str, expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(nth, (a, b))| difference(&format!("{path}[{nth}]"), a, b)),
        (Value::Array(a), Value::Array(b)) => {
            Some(format!("{path}: {} items, now {}", a.len(), b.len()))
        }
        (Value::Object(a), Value::Object(b)) => a.iter().find_map(|(field, a)| {
            let missing = json!("missing");
            let b = b.get(field).unwrap_or(&missing);
            difference(&format!("{path}.{field}"), a, b)
        }),
        (a, b) => (a != b).then(|| format!("{path}: {a}, now {b}")),
    }
}

/// The ids of all of them.
pub fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(event_id).collect()
}
