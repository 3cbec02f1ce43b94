//! Where the students come from as they are now.

use std::sync::Arc;

use mimamori_actors::domain::{ACTIVE_FOR, ClassroomId, SessionKey, Student};
use mimamori_actors::mirrors::Mirrors;
use mimamori_actors::ports::Clock;
use mimamori_actors::registry::Registry;

/// The students of the classrooms, now. Read without waiting for anyone.
pub trait Present: Send + Sync + 'static {
    /// All of a classroom, ordered by id; empty if it is unknown.
    fn students(&self, classroom: &ClassroomId) -> Vec<Student>;

    /// One of them.
    fn student(&self, key: &SessionKey) -> Option<Student>;

    /// How many there are, and how many had an event within [`ACTIVE_FOR`].
    fn counts(&self, classroom: &ClassroomId) -> (usize, usize);
}

/// At the node that folds: as the sessions published them last.
pub struct Folded {
    /// Where they publish.
    pub registry: Arc<Registry>,
    /// What silences are measured by.
    pub clock: Arc<dyn Clock>,
}

impl Present for Folded {
    fn students(&self, classroom: &ClassroomId) -> Vec<Student> {
        self.registry.students(classroom, self.clock.heard())
    }

    fn student(&self, key: &SessionKey) -> Option<Student> {
        self.registry.student(key, self.clock.heard())
    }

    fn counts(&self, classroom: &ClassroomId) -> (usize, usize) {
        let now = self.clock.heard();
        let views = self.registry.views(classroom);
        let silences = views.iter().filter_map(|view| view.silence(now));
        let active = silences.filter(|silence| *silence < ACTIVE_FOR).count();
        (views.len(), active)
    }
}

/// At a node that mirrors: as consoles were told last.
pub struct Mirrored {
    /// The classrooms.
    pub mirrors: Arc<Mirrors>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl Present for Mirrored {
    fn students(&self, classroom: &ClassroomId) -> Vec<Student> {
        self.mirrors.students(classroom)
    }

    fn student(&self, key: &SessionKey) -> Option<Student> {
        self.mirrors.student(&key.classroom, &key.student)
    }

    fn counts(&self, classroom: &ClassroomId) -> (usize, usize) {
        let now = self.clock.now();
        let students = self.students(classroom);
        let times = students.iter().filter_map(|student| student.last_activity);
        let active = times.filter(|at| now.since(*at) < ACTIVE_FOR).count();
        (students.len(), active)
    }
}
