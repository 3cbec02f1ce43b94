//! When lessons begin and end: a pure fold over the events of a classroom.
//!
//! A lesson begins with the first event after 90 quiet minutes and ends by that
//! silence: by a timer, or, if none came, by the event that begins the next one.
//! The router asks here which lesson an event belongs to. It may ask again for a
//! position it has asked for before (a session that starts anew is replayed):
//! where lessons began is remembered for as long as that can happen.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{
    ClassroomId, EndedBy, Fact, FactId, FactKind, Heard, LessonId, Moment, Position, Timer,
    TimerCause, Timestamp,
};

/// After so long without an event of a classroom its lesson is over.
pub const LESSON_SILENCE: Duration = Duration::from_secs(90 * 60);
/// So many beginnings are remembered of a classroom: at 90 minutes each more than two months.
pub const MAX_BOUNDARIES: usize = 1_000;

/// The lessons of every classroom. Bounded by the number of classrooms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lessons {
    classrooms: BTreeMap<ClassroomId, Timetable>,
}

/// The lessons of one classroom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Timetable {
    /// The last position that is in it.
    applied: Position,
    running: Option<Running>,
    /// With which event which lesson began, in the order of positions.
    boundaries: VecDeque<(Position, LessonId)>,
}

/// A lesson that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    id: LessonId,
    begun: Timestamp,
    last_event: Moment,
}

impl Lessons {
    /// The lesson that a client's event at this position belongs to, and what is
    /// concluded by its coming: a lesson begun, one ended by silence.
    ///
    /// For a position that is in already it gives the same lesson again and concludes nothing.
    pub fn stamp(
        &mut self,
        classroom: &ClassroomId,
        position: Position,
        received: Moment,
    ) -> (LessonId, Vec<Fact>) {
        let timetable = self.classrooms.entry(classroom.clone()).or_default();
        if position <= timetable.applied
            && let Some(lesson) = timetable.lesson_at(position)
        {
            return (lesson, Vec::new());
        }
        let mut facts = Vec::new();
        timetable.applied = timetable.applied.max(position);
        if let Some(over) = timetable
            .running
            .take_if(|running| received.heard.since(running.last_event.heard) >= LESSON_SILENCE)
        {
            facts.push(over.ended(classroom, position));
        }
        let running = match timetable.running.take() {
            Some(running) => running,
            None => {
                let (begun, fact) = Running::begin(classroom, position, received);
                timetable.remember(position, begun.id.clone());
                facts.push(fact);
                begun
            }
        };
        let lesson = running.id.clone();
        timetable.running = Some(Running {
            last_event: running.last_event.max(received),
            ..running
        });
        (lesson, facts)
    }

    /// A timer came: ends the lesson it is about, unless that has had a later event.
    ///
    /// A timer of another kind, or at a position that is in already, does nothing.
    /// When it was received does not matter to it: whether the silence is over was asked by who wrote it.
    pub fn timer(&mut self, timer: &Timer, position: Position) -> Vec<Fact> {
        let TimerCause::LessonSilent { lesson, last_event } = &timer.cause else {
            return Vec::new();
        };
        let Some(timetable) = self.classrooms.get_mut(&timer.classroom) else {
            return Vec::new();
        };
        if position <= timetable.applied {
            return Vec::new();
        }
        timetable.applied = position;
        timetable
            .running
            .take_if(|running| running.id == *lesson && running.last_event.heard == *last_event)
            .map(|over| over.ended(&timer.classroom, position))
            .into_iter()
            .collect()
    }

    /// When which lesson's silence will be over, if nothing comes: which timer to write then.
    pub fn deadlines(&self) -> Vec<(Heard, Timer)> {
        let timer = |classroom: &ClassroomId| {
            let (due, cause) = self.deadline_of(classroom)?;
            let classroom = classroom.clone();
            Some((due, Timer { classroom, cause }))
        };
        self.classrooms.keys().filter_map(timer).collect()
    }

    /// When the silence of this classroom's lesson will be over.
    pub fn deadline_of(&self, classroom: &ClassroomId) -> Option<(Heard, TimerCause)> {
        let running = self.classrooms.get(classroom)?.running.as_ref()?;
        let cause = TimerCause::LessonSilent {
            lesson: running.id.clone(),
            last_event: running.last_event.heard,
        };
        Some((running.last_event.heard.plus(LESSON_SILENCE), cause))
    }

    /// The lesson that goes on in a classroom.
    pub fn current(&self, classroom: &ClassroomId) -> Option<&LessonId> {
        Some(&self.classrooms.get(classroom)?.running.as_ref()?.id)
    }

    /// Positions below this one will not be asked for again.
    pub fn forget_before(&mut self, position: Position) {
        for timetable in self.classrooms.values_mut() {
            timetable.forget_before(position);
        }
    }
}

impl Timetable {
    /// The lesson of an event that is in already; of one that is forgotten, the oldest known.
    fn lesson_at(&self, position: Position) -> Option<LessonId> {
        let begun_after = self
            .boundaries
            .partition_point(|(begun, _)| *begun <= position);
        self.boundaries
            .get(begun_after.saturating_sub(1))
            .map(|(_, lesson)| lesson.clone())
    }

    fn remember(&mut self, position: Position, lesson: LessonId) {
        if self.boundaries.len() >= MAX_BOUNDARIES {
            self.boundaries.pop_front();
        }
        self.boundaries.push_back((position, lesson));
    }

    /// Keeps the lesson that `position` itself is in.
    fn forget_before(&mut self, position: Position) {
        while self
            .boundaries
            .get(1)
            .is_some_and(|(begun, _)| *begun <= position)
        {
            self.boundaries.pop_front();
        }
    }
}

impl Running {
    fn begin(classroom: &ClassroomId, position: Position, first: Moment) -> (Self, Fact) {
        let id = LessonId::computed(&["lesson", classroom.as_str(), &position.to_string()]);
        let fact = Fact {
            id: FactId::computed(&["lesson_begun", id.as_str()]),
            classroom: classroom.clone(),
            cause: position,
            kind: FactKind::LessonBegun {
                lesson: id.clone(),
                begun: first.at,
            },
        };
        let running = Self {
            id,
            begun: first.at,
            last_event: first,
        };
        (running, fact)
    }

    fn ended(self, classroom: &ClassroomId, position: Position) -> Fact {
        Fact {
            id: FactId::computed(&["lesson_ended", self.id.as_str()]),
            classroom: classroom.clone(),
            cause: position,
            kind: FactKind::LessonEnded {
                lesson: self.id,
                begun: self.begun,
                ended: self.last_event.at,
                ended_by: EndedBy::Silence,
            },
        }
    }
}
