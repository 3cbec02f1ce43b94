//! Students by the hundred thousand, and what they send.

use mimamori::admit::StudentKey;
use mimamori_actors::domain::{
    AcceptedEvent, CellType, ClassroomId, Event, EventId, EventKind, Output, Record, SessionKey,
    StudentId, Timestamp,
};
use mimamori_actors::ports::NewRecord;

/// So many cells have those who are counted as awake; each of them failed once.
pub const CELLS: u64 = 50;
/// So many have the others.
pub const FEW: u64 = 3;
/// Students with so many cells, apart from one class.
const DILIGENT: usize = 20_000;
/// Those who are there only to warm up.
const VISITORS: usize = 100;

/// Everybody, by number; the last ones are the visitors.
pub struct Students {
    ids: Vec<StudentId>,
    classes: usize,
    /// Runs so far.
    ran: Vec<u32>,
    events: u64,
}

impl Students {
    /// So many in so many classes; `have_worked` if it is not their first day.
    pub fn enrol(count: usize, classes: usize, have_worked: bool) -> Self {
        let secret = StudentKey::from_bytes([7; 32]);
        let ids = (0..count + VISITORS).map(|number| secret.student(&address(number)));
        let mut students = Self {
            ids: ids.collect(),
            classes,
            ran: vec![0; count + VISITORS],
            events: 0,
        };
        if have_worked {
            for number in 0..count {
                let cells = if students.is_diligent(number) {
                    CELLS
                } else {
                    FEW
                };
                students.ran[number] = cells as u32;
            }
        }
        students
    }

    fn count(&self) -> usize {
        self.ids.len() - VISITORS
    }

    /// Their classes.
    pub fn classrooms(&self) -> Vec<ClassroomId> {
        (0..self.classes).map(classroom).collect()
    }

    /// Whose session. Nothing of it is shared with what is in use: each event brings its own.
    pub fn key(&self, student: usize) -> SessionKey {
        SessionKey {
            classroom: classroom(student % self.classes),
            student: StudentId::new(self.ids[student].as_str()),
        }
    }

    fn is_diligent(&self, student: usize) -> bool {
        let is_of_first_class = student.is_multiple_of(self.classes);
        student < DILIGENT || (self.classes > 1 && is_of_first_class)
    }

    /// Those with [`CELLS`] cells: everybody who is ever at work in a round is among them.
    pub fn diligent(&self) -> Vec<usize> {
        (0..self.count())
            .filter(|student| self.is_diligent(*student))
            .collect()
    }

    /// Those with [`FEW`].
    pub fn others(&self) -> Vec<usize> {
        (0..self.count())
            .filter(|student| !self.is_diligent(*student))
            .collect()
    }

    /// So many, as many from each class.
    pub fn some_of_each(&self, count: usize) -> Vec<usize> {
        (0..self.count()).take(count).collect()
    }

    /// So many of one class.
    pub fn all_of_one(&self, count: usize) -> Vec<usize> {
        (0..self.count())
            .step_by(self.classes)
            .take(count)
            .collect()
    }

    /// Those who are not counted.
    pub fn visitors(&self) -> Vec<usize> {
        (self.count()..self.ids.len()).collect()
    }

    /// The student runs the next cell; about 500 bytes.
    pub fn run(&mut self, student: usize, is_error: bool, now: Timestamp) -> NewRecord {
        self.ran[student] += 1;
        self.events += 1;
        let run = u64::from(self.ran[student]);
        let cell = run % CELLS;
        let key = self.key(student);
        let event = Event {
            id: EventId::new(format!(
                "{:08x}-0000-4000-8000-{:012x}",
                now.as_millis() & 0xffff_ffff,
                self.events
            )),
            kind: EventKind::CellExecuted,
            time: now,
            address: address(student),
            name: Some(format!("山田花子{student}")),
            team: Some(format!("チーム{}", student % 40)),
            client_session: Some(format!("{student:08x}-e504-4ec7-9c43-24edd79c5182")),
            notebook: Some("lesson/01-データの読み込み.ipynb".to_owned()),
            cell_id: Some(format!("{cell:08x}-8f52-4a0e-8d1c-5a3b0e6f9c11")),
            cell_index: i64::try_from(cell).ok(),
            cell_type: Some(CellType::Code),
            code: Some(
                "import pandas as pd\ndf = pd.read_csv('data.csv')\ndf.describe()".to_owned(),
            ),
            execution_count: i64::try_from(run).ok(),
            has_error: Some(is_error),
            error_message: is_error.then(|| "FileNotFoundError: data.csv".to_owned()),
            result: (!is_error).then(|| Output::One("count 100".to_owned())),
            execution_duration_ms: Some(2.0),
            metadata: serde_json::Map::new(),
            cut: Vec::new(),
        };
        NewRecord::repeatable(Record::Event(Box::new(AcceptedEvent {
            classroom: key.classroom,
            student: key.student,
            event,
        })))
    }
}

fn address(student: usize) -> String {
    format!("student{student:06}@example.ac.jp")
}

fn classroom(number: usize) -> ClassroomId {
    ClassroomId::new(format!("class-{number:03}"))
}
