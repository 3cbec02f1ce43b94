//! What is set for the installation's privacy, and for each classroom.

use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::domain::ClassroomId;

use super::read::{self, Reader};

const RETENTION: &str = "empty, or a number of days such as 400d, from 1d to 36500d";
const LINE: &str = "at most 200 characters on one line";
const TEXT: &str = "at most 2000 characters, none a control character but ends of lines";
const MOST_IN_A_LINE: usize = 200;
const MOST_IN_A_TEXT: usize = 2_000;

/// What holds for every classroom that says nothing else, and what people are told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Privacy {
    /// How long what came from students is kept; nothing: for ever.
    pub retention: Option<Duration>,
    /// Who answers for it: a school, a department. May be empty.
    pub controller: String,
    /// Whom to ask. May be empty.
    pub contact: String,
    /// What it is for, in the words of whoever runs the server. Empty: in ours.
    pub purpose: String,
}

/// A classroom and what is set for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classroom {
    /// What paths and keys call it.
    pub id: ClassroomId,
    /// What people call it.
    pub name: String,
    /// How long what came from its students is kept; nothing: for ever.
    pub retention: Option<Duration>,
    /// Whether code, outputs and the texts of errors are kept at all.
    pub keeps_code: bool,
    /// Whom to ask. May be empty.
    pub contact: String,
}

impl Classroom {
    /// One for which nothing is set.
    pub fn plain(id: ClassroomId) -> Self {
        Self {
            name: id.as_str().to_owned(),
            id,
            retention: None,
            keeps_code: true,
            contact: String::new(),
        }
    }
}

/// The classrooms of this server. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classrooms(Arc<[Classroom]>);

impl Classrooms {
    /// These, in the order of their ids.
    pub fn new(mut classrooms: Vec<Classroom>) -> Self {
        classrooms.sort_by(|a, b| a.id.cmp(&b.id));
        Self(classrooms.into())
    }

    /// All of them, in the order of their ids.
    pub fn all(&self) -> &[Classroom] {
        &self.0
    }

    /// The one with this id, if there is one.
    pub fn get(&self, id: &ClassroomId) -> Option<&Classroom> {
        self.0.iter().find(|classroom| classroom.id == *id)
    }

    /// Whether this classroom's code, outputs and texts of errors are kept.
    pub fn keep_code_of(&self, id: &ClassroomId) -> bool {
        self.get(id).is_none_or(|classroom| classroom.keeps_code)
    }
}

impl Default for Classrooms {
    /// The one classroom that always exists.
    fn default() -> Self {
        Self::new(vec![Classroom::plain(ClassroomId::new("default"))])
    }
}

pub(super) fn privacy(reader: &mut Reader) -> Privacy {
    Privacy {
        retention: retention(reader, "privacy.retention"),
        controller: text(reader, "privacy.controller", TEXT, MOST_IN_A_TEXT),
        contact: text(reader, "privacy.contact", TEXT, MOST_IN_A_TEXT),
        purpose: text(reader, "privacy.purpose", TEXT, MOST_IN_A_TEXT),
    }
}

/// The settings of the classrooms; what one does not say is as the installation has it.
pub(super) fn classrooms(reader: &mut Reader, privacy: &Privacy) -> Classrooms {
    const RETAINED: &str = "classrooms.default.retention";
    let own = retention(reader, RETAINED);
    if let (Some(own), Some(most)) = (own, privacy.retention)
        && own > most
    {
        let rule = "no longer than privacy.retention";
        reader.fault(RETAINED, rule, "it is longer");
    }
    let name = text(reader, "classrooms.default.name", LINE, MOST_IN_A_LINE);
    let contact = text(reader, "classrooms.default.contact", TEXT, MOST_IN_A_TEXT);
    let keeps_code = reader.read("classrooms.default.store_code", "true or false", read::flag);
    let mut classroom = Classroom {
        retention: own.or(privacy.retention),
        keeps_code,
        ..Classroom::plain(ClassroomId::new("default"))
    };
    if !name.is_empty() {
        classroom.name = name;
    }
    classroom.contact = if contact.is_empty() {
        privacy.contact.clone()
    } else {
        contact
    };
    Classrooms::new(vec![classroom])
}

fn retention(reader: &mut Reader, key: &'static str) -> Option<Duration> {
    reader.read(key, RETENTION, read::days)
}

fn text(reader: &mut Reader, key: &'static str, rule: &str, most: usize) -> String {
    reader.read(key, rule, |given| {
        let text = read::text(given)?.trim();
        let may_have_lines = most == MOST_IN_A_TEXT;
        if text.chars().count() > most {
            return Err("it is longer".to_owned());
        }
        if text
            .chars()
            .any(|c| c.is_control() && !(may_have_lines && c == '\n'))
        {
            return Err("it holds a control character".to_owned());
        }
        Ok(text.to_owned())
    })
}
