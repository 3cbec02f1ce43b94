//! The wire form of the cell-monitor extension: its fields, in its order.

use std::time::Duration;

use mimamori_actors::domain::Timestamp;
use serde::Serialize;

use super::class::TimedEvent;
use super::student::{Execution, Fact, Outcome};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event_id: String,
    event_type: &'static str,
    event_time: Timestamp,
    email_address: &'a str,
    team_name: &'a str,
    user_name: &'a str,
    session_id: String,
    notebook_path: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    cell: Option<Cell<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cell<'a> {
    cell_id: &'a str,
    cell_index: usize,
    cell_type: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_count: Option<u32>,
    has_error: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    result: &'a str,
    execution_duration_ms: u64,
}

impl TimedEvent {
    /// The event as the extension puts it, in a class that began at `start` and
    /// runs `speed` times as fast as a real one.
    ///
    /// The ids differ between classes that began at different times: the same
    /// seed can be sent to the same server twice.
    pub fn to_json(&self, start: Timestamp, speed: f64) -> String {
        let event = Event {
            event_id: uuid(self.id ^ mixed(start)),
            event_type: self.fact.event_type(),
            event_time: start.plus(faster(self.happened, speed)),
            email_address: &self.student.address,
            team_name: self.student.team,
            user_name: &self.student.name,
            session_id: uuid(self.student.client_session ^ mixed(start)),
            notebook_path: self.notebook,
            cell: match &self.fact {
                Fact::Executed(execution) => Some(cell(execution)),
                Fact::Opened | Fact::Help | Fact::HelpStop => None,
            },
        };
        serde_json::to_string(&event).expect("texts and numbers are always JSON")
    }
}

impl Fact {
    fn event_type(&self) -> &'static str {
        match self {
            Self::Opened => "notebook_opened",
            Self::Executed(_) => "cell_executed",
            Self::Help => "help",
            Self::HelpStop => "help_stop",
        }
    }
}

fn cell(execution: &Execution) -> Cell<'_> {
    let (execution_count, error_message) = match execution.outcome {
        Outcome::Ok(count) => (Some(count), None),
        Outcome::Error(count, error) => (Some(count), Some(error)),
        // the extension sees no error and no count: it takes this for a success
        Outcome::Skipped | Outcome::NotRun => (None, None),
    };
    Cell {
        cell_id: execution.cell_id,
        cell_index: execution.cell_index,
        cell_type: execution.cell_type,
        code: execution.code,
        execution_count,
        has_error: error_message.is_some(),
        error_message,
        result: execution.result,
        execution_duration_ms: execution.duration_ms,
    }
}

/// A time of the class as it passes when the class runs so many times faster.
pub(super) fn faster(time: Duration, speed: f64) -> Duration {
    time.div_f64(speed)
}

fn mixed(start: Timestamp) -> u128 {
    let millis = start.as_millis().unsigned_abs();
    u128::from(millis.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 40
}

/// A version 4 UUID of these bits.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xF000_u128 << 64) | (0x4000_u128 << 64);
    let bits = bits & !(0b11_u128 << 62) | (0b10_u128 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
