//! What may come over: nothing that would have to go again at once.

use std::collections::BTreeMap;

use mimamori_actors::domain::{ClassroomId, StudentId, Timestamp};

use super::report::Reason;
use crate::erasure::list::Erasure;
use crate::storage::BELIEVED;

/// What a classroom does not take back: what its people had erased, and what is past its term.
#[derive(Debug, Default)]
pub struct Allowed {
    erased: BTreeMap<StudentId, Timestamp>,
    before: Option<Timestamp>,
}

impl Allowed {
    /// In this classroom, by the list of erasures and by the term, which is over for what is `before`.
    #[must_use]
    pub fn new(classroom: &ClassroomId, erasures: &[Erasure], before: Option<Timestamp>) -> Self {
        let here = erasures.iter().filter(|it| it.key.classroom == *classroom);
        Self {
            erased: here.map(|it| (it.key.student.clone(), it.at)).collect(),
            before,
        }
    }

    /// What happened at this time to this student.
    pub(super) fn event(&self, student: &StudentId, at: Timestamp) -> Result<(), Reason> {
        if self.erased.get(student).is_some_and(|erased| at <= *erased) {
            return Err(Reason::Erased);
        }
        if self.before.is_some_and(|before| at < before) {
            return Err(Reason::PastTerm);
        }
        Ok(())
    }

    /// Who was seen last at this time; zero is never.
    pub(super) fn student(&self, student: &StudentId, last: Timestamp) -> bool {
        self.erased.get(student).is_none_or(|erased| last > *erased) && self.name(last)
    }

    /// What was seen last at this time, as retention judges it.
    pub(super) fn name(&self, last: Timestamp) -> bool {
        self.before
            .is_none_or(|before| last >= before.minus(BELIEVED))
    }
}
