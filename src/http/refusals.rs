//! The last requests that were refused: an empty console must be told from a broken one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use mimamori_actors::domain::Timestamp;
use serde::Serialize;

/// How many are remembered.
const REMEMBERED: usize = 20;

/// What a request wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// To hand over events.
    Events,
    /// To watch a classroom.
    Live,
    /// It carried a key or a body to an address where nothing is.
    NoSuchAddress,
}

/// One refusal, or several of the same kind in a row. Holds no secret and nothing of the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// When it was refused last.
    pub at: Timestamp,
    /// What it wanted.
    pub wanted: Wanted,
    /// The status of the answer.
    pub status: u16,
    /// The code of the problem.
    pub code: String,
    /// The problem, for a person.
    pub detail: String,
    /// Host and port of the page that sent it, if a page did.
    pub origin: Option<String>,
    /// How many in a row.
    pub count: u64,
}

/// The last refusals, newest first; bounded.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<VecDeque<Refusal>>);

impl Refusals {
    /// Remembers a refusal; one that is like the last only counts it up.
    pub fn record(&self, refusal: Refusal) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = all.front_mut()
            && last.is_like(&refusal)
        {
            last.at = refusal.at;
            last.count += refusal.count;
            return;
        }
        all.push_front(refusal);
        all.truncate(REMEMBERED);
    }

    /// What is remembered, newest first.
    pub fn last(&self) -> Vec<Refusal> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().cloned().collect()
    }
}

impl Refusal {
    fn is_like(&self, other: &Self) -> bool {
        self.wanted == other.wanted
            && self.status == other.status
            && self.code == other.code
            && self.origin == other.origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(at: i64, code: &str) -> Refusal {
        Refusal {
            at: Timestamp::from_millis(at),
            wanted: Wanted::Events,
            status: 401,
            code: code.to_owned(),
            detail: String::new(),
            origin: None,
            count: 1,
        }
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_are_forgotten() {
        let refusals = Refusals::default();

        for number in 0..30 {
            refusals.record(refusal(number, &number.to_string()));
        }

        let last = refusals.last();
        assert_eq!(last.len(), REMEMBERED);
        assert_eq!(last[0].code, "29");
        assert_eq!(last[19].code, "10");
    }

    #[test]
    fn a_class_with_a_wrong_key_is_one_entry() {
        let refusals = Refusals::default();

        for number in 0..200 {
            refusals.record(refusal(number, "unknown_key"));
        }

        let last = refusals.last();
        assert_eq!(last.len(), 1);
        assert_eq!((last[0].count, last[0].at.as_millis()), (200, 199));
    }
}
