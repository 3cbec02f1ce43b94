//! A classroom that another process folds, followed by its deltas.
//!
//! Pure. It promises: after an opening and the deltas behind it, snapshot,
//! cursor and what it remembers are what the [`Feed`](super::Feed) that made
//! them would say, byte for byte, but that a feed forgets what is old; a delta
//! that does not follow changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::delta::Delta;
use super::memory::Memory;
use super::opening::Opening;
use super::{FeedLimits, Resume, is_open};
use crate::domain::{Alert, AlertId, ClassroomId, Cursor, EventBrief, Heard, Student, StudentId};

/// A classroom as it was told.
pub struct Mirror {
    classroom: ClassroomId,
    epoch: String,
    limits: FeedLimits,
    seq: u64,
    students: BTreeMap<StudentId, Arc<Student>>,
    open_alerts: BTreeMap<AlertId, Arc<Alert>>,
    recent: VecDeque<Arc<EventBrief>>,
    memory: Memory,
    /// The snapshot of the current `seq`, once somebody asked for it.
    snapshot: Option<Bytes>,
}

/// What became of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is in.
    Next,
    /// It was in already.
    Known,
    /// Something before it is missing, or it is of another epoch.
    Gap,
}

impl Mirror {
    /// Begins with this opening. Of the limits, those of a feed with this
    /// classroom's students hold; one that remembers nothing resumes nobody.
    pub fn new(opening: Opening, limits: FeedLimits) -> Self {
        let students = opening.students.into_iter();
        let alerts = opening.alerts.into_iter();
        Self {
            classroom: opening.classroom,
            epoch: opening.epoch,
            limits,
            seq: opening.seq,
            students: students.map(|it| (it.id.clone(), it)).collect(),
            open_alerts: alerts.map(|it| (it.id.clone(), it)).collect(),
            recent: opening.recent.into(),
            memory: Memory::default(),
            snapshot: None,
        }
    }

    /// Remembers deltas that are in the opening already, so that consoles that
    /// have some of them can resume. Only an unbroken run that ends where the
    /// opening stands is of use; the others are passed over.
    pub fn remember_earlier(&mut self, deltas: &[Arc<Delta>]) {
        let mut begin = deltas.len();
        let mut next = self.seq;
        while let Some(delta) = begin.checked_sub(1).map(|index| &deltas[index])
            && delta.epoch == self.epoch
            && delta.seq == next
        {
            next = delta.after;
            begin -= 1;
        }
        self.memory = Memory::default();
        for delta in &deltas[begin..] {
            self.remember(delta);
        }
    }

    /// Takes the next delta in.
    pub fn apply(&mut self, delta: &Arc<Delta>) -> Applied {
        if delta.epoch != self.epoch || delta.after > self.seq {
            return Applied::Gap;
        }
        if delta.seq <= self.seq {
            return Applied::Known;
        }
        if delta.after != self.seq {
            return Applied::Gap;
        }
        self.seq = delta.seq;
        self.snapshot = None;
        for id in &delta.removed {
            self.students.remove(id);
        }
        for student in &delta.students {
            self.students
                .insert(student.id.clone(), Arc::clone(student));
        }
        for alert in &delta.alerts {
            if is_open(alert) {
                self.open_alerts.insert(alert.id.clone(), Arc::clone(alert));
            } else {
                self.open_alerts.remove(&alert.id);
            }
        }
        self.recent.extend(delta.events.iter().cloned());
        let too_many = self.recent.len().saturating_sub(self.limits.recent);
        self.recent.drain(..too_many);
        self.remember(delta);
        Applied::Next
    }

    /// It has no clock: what it remembers is bounded by number and bytes only.
    fn remember(&mut self, delta: &Arc<Delta>) {
        let never_old = Heard::from_millis(0);
        self.memory
            .remember(Arc::clone(delta), never_old, &self.limits);
    }

    /// The classroom whole, in its parts.
    pub fn opening(&self) -> Opening {
        Opening {
            classroom: self.classroom.clone(),
            epoch: self.epoch.clone(),
            seq: self.seq,
            students: self.students.values().cloned().collect(),
            alerts: self.open_alerts.values().cloned().collect(),
            recent: self.recent.iter().cloned().collect(),
        }
    }

    /// The snapshot frame; serialised once until the next delta.
    pub fn snapshot(&mut self) -> Bytes {
        if let Some(frame) = &self.snapshot {
            return frame.clone();
        }
        let frame = self.opening().frame();
        self.snapshot = Some(frame.clone());
        frame
    }

    /// What a console missed that has everything up to `since`.
    pub fn resume(&mut self, since: &Cursor) -> Resume {
        let (cursor, max_events) = (self.cursor(), self.limits.max_events_per_delta);
        self.memory.resume(since, &cursor, max_events)
    }

    /// Where a console stands that has everything.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch.clone(),
            seq: self.seq,
        }
    }

    /// Every student, in the order of their ids.
    pub fn students(&self) -> impl Iterator<Item = &Arc<Student>> {
        self.students.values()
    }

    /// One student.
    pub fn student(&self, id: &StudentId) -> Option<&Arc<Student>> {
        self.students.get(id)
    }
}
