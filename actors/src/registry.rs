//! Every student as last published, by classroom: read without asking an actor.

use std::collections::BTreeMap;
use std::sync::Arc;

use dashmap::DashMap;

use crate::domain::{ClassroomId, Heard, SessionKey, Student, StudentId, StudentView};

/// Every known student of every classroom.
///
/// Sessions publish here after each change; a classroom that starts anew and
/// the reading calls take from here. Bounded by the number of students.
#[derive(Debug, Default)]
pub struct Registry {
    classrooms: DashMap<ClassroomId, BTreeMap<StudentId, Arc<StudentView>>>,
}

impl Registry {
    /// Publishes a view, unless a newer one is known.
    pub fn publish(&self, key: &SessionKey, view: Arc<StudentView>) {
        let mut students = self.classrooms.entry(key.classroom.clone()).or_default();
        match students.get(&key.student) {
            Some(known) if known.position > view.position => {}
            Some(_) | None => {
                students.insert(key.student.clone(), view);
            }
        }
    }

    /// Takes a student out, until something is published of them again.
    pub(crate) fn remove(&self, key: &SessionKey) {
        if let Some(mut students) = self.classrooms.get_mut(&key.classroom) {
            students.remove(&key.student);
        }
    }

    /// The classrooms that have had a student, in no order.
    pub fn classrooms(&self) -> Vec<ClassroomId> {
        self.classrooms
            .iter()
            .map(|entry| entry.key().clone())
            .collect()
    }

    /// All students of a classroom, ordered by id; empty if the classroom is unknown.
    pub fn views(&self, classroom: &ClassroomId) -> Vec<Arc<StudentView>> {
        self.classrooms
            .get(classroom)
            .map(|students| students.values().cloned().collect())
            .unwrap_or_default()
    }

    /// One student.
    pub fn view(&self, key: &SessionKey) -> Option<Arc<StudentView>> {
        self.classrooms
            .get(&key.classroom)?
            .get(&key.student)
            .cloned()
    }

    /// All students of a classroom as consoles see them at `now`.
    pub fn students(&self, classroom: &ClassroomId, now: Heard) -> Vec<Student> {
        self.views(classroom)
            .iter()
            .map(|view| view.to_student(now))
            .collect()
    }

    /// One student as consoles see them at `now`.
    pub fn student(&self, key: &SessionKey, now: Heard) -> Option<Student> {
        self.view(key).map(|view| view.to_student(now))
    }
}
