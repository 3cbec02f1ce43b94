//! Which path asks for what, and by which methods.

use mimamori_actors::domain::{ClassroomId, SessionKey, StudentId};

use super::params::segment;
use crate::http::ApiError;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Classrooms,
    Overview(ClassroomId),
    Student(SessionKey),
    StudentExecutions(SessionKey),
    Executions(ClassroomId),
    Cells(ClassroomId),
    Help(ClassroomId),
    Events(ClassroomId),
    Lessons(ClassroomId),
    Rejected(ClassroomId),
    DeadLetters(ClassroomId),
}

/// The methods that some path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// What this path asks for; nothing if it is none of the known ones.
pub(super) fn subject_of(path: &str) -> Option<Subject> {
    let below = path.strip_prefix("/api/v1/classrooms")?;
    let segments: Vec<String> = match below.strip_prefix('/') {
        None if below.is_empty() => return Some(Subject::Classrooms),
        None => return None,
        Some(rest) => rest.split('/').map(segment).collect::<Option<_>>()?,
    };
    let (room, rest) = segments.split_first()?;
    if room.is_empty() {
        return None;
    }
    let room = ClassroomId::new(room.as_str());
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match rest[..] {
        ["overview"] => Some(Subject::Overview(room)),
        ["students", student] => Some(Subject::Student(key(room, student)?)),
        ["students", student, "executions"] => {
            Some(Subject::StudentExecutions(key(room, student)?))
        }
        ["executions"] => Some(Subject::Executions(room)),
        ["cells"] => Some(Subject::Cells(room)),
        ["help"] => Some(Subject::Help(room)),
        ["events"] => Some(Subject::Events(room)),
        ["lessons"] => Some(Subject::Lessons(room)),
        ["rejected"] => Some(Subject::Rejected(room)),
        ["dead-letters"] => Some(Subject::DeadLetters(room)),
        _ => None,
    }
}

fn key(classroom: ClassroomId, student: &str) -> Option<SessionKey> {
    if student.is_empty() {
        return None;
    }
    Some(SessionKey {
        classroom,
        student: StudentId::new(student),
    })
}

impl Subject {
    /// The classroom it is about; nothing for the list of them.
    pub(super) fn classroom(&self) -> Option<&ClassroomId> {
        match self {
            Self::Classrooms => None,
            Self::Student(key) | Self::StudentExecutions(key) => Some(&key.classroom),
            Self::Overview(room)
            | Self::Executions(room)
            | Self::Cells(room)
            | Self::Help(room)
            | Self::Events(room)
            | Self::Lessons(room)
            | Self::Rejected(room)
            | Self::DeadLetters(room) => Some(room),
        }
    }

    pub(super) fn check_method(&self, method: &warp::http::Method) -> Result<Method, ApiError> {
        let takes_post = matches!(self, Self::Lessons(_));
        match *method {
            warp::http::Method::GET => Ok(Method::Get),
            warp::http::Method::POST if takes_post => Ok(Method::Post),
            _ if takes_post => Err(ApiError::method_not_allowed("GET, POST")),
            _ => Err(ApiError::method_not_allowed("GET")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_paths_ask_for_something() {
        for path in [
            "/api/v1/classrooms/",
            "/api/v1/classrooms//overview",
            "/api/v1/classroomsx",
            "/api/v1/classrooms/default",
            "/api/v1/classrooms/default/overview/",
            "/api/v1/classrooms/default/students/",
            "/api/v1/classrooms/default/students//executions",
            "/api/v1/classrooms/%ff/overview",
        ] {
            assert_eq!(subject_of(path), None, "{path}");
        }
    }

    #[test]
    fn ids_in_a_path_are_decoded_after_it_is_cut() {
        let subject = subject_of("/api/v1/classrooms/a%2Fb/overview");

        assert_eq!(subject, Some(Subject::Overview(ClassroomId::new("a/b"))));
    }
}
