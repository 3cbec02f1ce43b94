//! Several deltas of one classroom as one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::delta::{Delta, DeltaParts};
use crate::domain::{Alert, AlertId, ClassroomId, EventBrief, Person, Student, StudentId};

/// What a student, an alert or a line weighs besides its texts: its struct and its place in a map, rounded up.
const FIXED_WEIGHT_BYTES: usize = 256;

/// Consecutive deltas of one classroom and epoch, folded: the latest of each student and alert wins.
pub(crate) struct Merged {
    classroom: ClassroomId,
    epoch: String,
    after: u64,
    seq: u64,
    students: BTreeMap<StudentId, Arc<Student>>,
    removed: BTreeSet<StudentId>,
    alerts: BTreeMap<AlertId, Arc<Alert>>,
    events: VecDeque<Arc<EventBrief>>,
    /// So many events are kept, the newest; the others are counted.
    max_events: usize,
    events_omitted: u64,
    weight_bytes: usize,
}

impl Merged {
    /// A fold that begins with this delta.
    pub(crate) fn of(delta: &Delta, max_events: usize) -> Self {
        let mut merged = Self {
            classroom: delta.classroom.clone(),
            epoch: delta.epoch.clone(),
            after: delta.after,
            seq: delta.after,
            students: BTreeMap::new(),
            removed: BTreeSet::new(),
            alerts: BTreeMap::new(),
            events: VecDeque::new(),
            max_events,
            events_omitted: 0,
            weight_bytes: FIXED_WEIGHT_BYTES,
        };
        merged.add(delta);
        merged
    }

    /// Folds the next one in: its `after` is the `seq` of the one before.
    pub(crate) fn add(&mut self, delta: &Delta) {
        self.seq = delta.seq;
        for id in &delta.removed {
            self.remove(id);
        }
        for student in &delta.students {
            self.put_student(student);
        }
        for alert in &delta.alerts {
            self.put_alert(alert);
        }
        self.events_omitted += delta.events_omitted;
        for line in &delta.events {
            self.put_event(line);
        }
    }

    /// About how many bytes it holds, as if it shared them with nobody: an upper bound.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// The one delta.
    pub(crate) fn into_delta(self) -> Delta {
        Delta::new(DeltaParts {
            classroom: self.classroom,
            epoch: self.epoch,
            after: self.after,
            seq: self.seq,
            students: self.students.into_values().collect(),
            removed: self.removed.into_iter().collect(),
            events: self.events.into(),
            events_omitted: self.events_omitted,
            alerts: self.alerts.into_values().collect(),
        })
    }

    fn remove(&mut self, id: &StudentId) {
        if let Some(student) = self.students.remove(id) {
            self.weight_bytes -= weigh_student(&student);
        }
        if self.removed.insert(id.clone()) {
            self.weight_bytes += weigh_id(id);
        }
    }

    fn put_student(&mut self, student: &Arc<Student>) {
        if self.removed.remove(&student.id) {
            self.weight_bytes -= weigh_id(&student.id);
        }
        self.weight_bytes += weigh_student(student);
        if let Some(old) = self
            .students
            .insert(student.id.clone(), Arc::clone(student))
        {
            self.weight_bytes -= weigh_student(&old);
        }
    }

    fn put_alert(&mut self, alert: &Arc<Alert>) {
        self.weight_bytes += weigh_alert(alert);
        if let Some(old) = self.alerts.insert(alert.id.clone(), Arc::clone(alert)) {
            self.weight_bytes -= weigh_alert(&old);
        }
    }

    fn put_event(&mut self, line: &Arc<EventBrief>) {
        self.weight_bytes += weigh_event(line);
        self.events.push_back(Arc::clone(line));
        while self.events.len() > self.max_events
            && let Some(oldest) = self.events.pop_front()
        {
            self.weight_bytes -= weigh_event(&oldest);
            self.events_omitted += 1;
        }
    }
}

fn weigh_id(id: &StudentId) -> usize {
    FIXED_WEIGHT_BYTES / 4 + id.as_str().len()
}

fn weigh_student(student: &Student) -> usize {
    let help = student.help.as_ref().map_or(0, |help| {
        FIXED_WEIGHT_BYTES / 2 + weigh_text(&help.cell_id) + weigh_text(&help.claimed_by)
    });
    FIXED_WEIGHT_BYTES
        + student.id.as_str().len()
        + student.name.len()
        + weigh_text(&student.team)
        + weigh_text(&student.notebook)
        + weigh_text(&student.cell_id)
        + help
        + student.people.iter().map(weigh_person).sum::<usize>()
}

fn weigh_person(person: &Person) -> usize {
    FIXED_WEIGHT_BYTES / 2
        + person.name.len()
        + weigh_text(&person.team)
        + weigh_text(&person.notebook)
        + weigh_text(&person.cell_id)
}

fn weigh_alert(alert: &Alert) -> usize {
    FIXED_WEIGHT_BYTES
        + alert.id.as_str().len()
        + alert.student.as_str().len()
        + alert.reason.len()
        + weigh_text(&alert.cell_id)
}

fn weigh_event(line: &EventBrief) -> usize {
    FIXED_WEIGHT_BYTES
        + line.event_id.as_str().len()
        + line.student.as_str().len()
        + weigh_text(&line.notebook)
        + weigh_text(&line.cell_id)
}

fn weigh_text(text: &Option<impl AsRef<str>>) -> usize {
    text.as_ref().map_or(0, |text| text.as_ref().len())
}
