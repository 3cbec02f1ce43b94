//! The class as a whole: every student's events, in the order in which they are sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use super::random::Random;
use super::student::{Deed, Fact, Profile, Student};

/// The extension waits so long before it sends, at random (in ms).
const DELAY_MS: (u64, u64) = (200, 2_200);
/// A browser sends again on a connection that it finds dead.
const AGAIN: Duration = Duration::from_millis(2);
/// Two attempts timed out.
const LATE: Duration = Duration::from_secs(20);

/// In a class of this size two never set an address: one more person than there are students.
const CAREFUL_CLASS: usize = 10;

/// How an event comes to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// In time.
    Prompt,
    /// For the first time, 20 s late.
    Late,
    /// Again, 2 ms after the first time.
    Doubled,
    /// Again, 20 s after the first time.
    Repeated,
}

impl Arrival {
    /// Whether the server has been sent this event before.
    pub const fn is_duplicate(self) -> bool {
        matches!(self, Self::Doubled | Self::Repeated)
    }
}

/// An event, and when it is sent. Times count from the beginning of the class.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedEvent {
    /// When it is sent.
    pub at: Duration,
    /// When it happened, by the student's clock.
    pub happened: Duration,
    /// Whose it is.
    pub student: Arc<Profile>,
    /// In which notebook.
    pub notebook: &'static str,
    /// What happened.
    pub fact: Fact,
    /// How it comes to the server.
    pub arrival: Arrival,
    /// The same for every copy of the event.
    pub id: u128,
}

/// A class that never ends: an iterator of its events in the order of [`TimedEvent::at`].
#[derive(Debug)]
pub struct Class {
    students: Vec<Student>,
    agenda: BinaryHeap<Reverse<Entry>>,
    order: u64,
    deeds: Vec<Deed>,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    /// Tells apart what is at the same time: the same order every time.
    order: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Act(usize),
    Send(Box<TimedEvent>),
}

impl Class {
    /// The class of this seed: so many students by their addresses.
    pub fn new(seed: u64, students: usize) -> Self {
        let mut people: Vec<_> = (0..students)
            .map(|number| Student::new(seed, number))
            .collect();
        if students >= CAREFUL_CLASS {
            people.push(Student::new(seed, students));
            let careless = people.iter_mut().rev().take(2);
            careless.for_each(Student::keep_default_address);
        }
        let mut class = Self {
            students: people,
            agenda: BinaryHeap::new(),
            order: 0,
            deeds: Vec::new(),
        };
        for number in 0..class.students.len() {
            let arrival = class.students[number].arrival();
            class.plan(arrival, What::Act(number));
        }
        class
    }

    fn plan(&mut self, at: Duration, what: What) {
        self.order += 1;
        let order = self.order;
        self.agenda.push(Reverse(Entry { at, order, what }));
    }

    fn act(&mut self, number: usize, now: Duration) {
        let mut deeds = std::mem::take(&mut self.deeds);
        let student = &mut self.students[number];
        let pause = student.act(now, &mut deeds);
        // the pause begins when the last deed is done: a student does one thing at a time
        let done = deeds
            .iter()
            .map(|deed| deed.after)
            .max()
            .unwrap_or_default();
        let events: Vec<_> = deeds
            .drain(..)
            .flat_map(|deed| sendings(student, now, deed))
            .collect();
        self.deeds = deeds;
        for event in events {
            self.plan(event.at, What::Send(Box::new(event)));
        }
        self.plan(now + pause.max(done), What::Act(number));
    }
}

/// An event and its copies, each with the time at which it is sent.
fn sendings(student: &mut Student, now: Duration, deed: Deed) -> Vec<TimedEvent> {
    let happened = now + deed.after;
    let profile = Arc::clone(&student.profile);
    let random: &mut Random = &mut student.random;
    let prompt = happened + random.millis(DELAY_MS.0, DELAY_MS.1);
    let times: &[(Duration, Arrival)] = match random.below(200) {
        0 | 1 => &[(LATE, Arrival::Late)],
        2 | 3 => &[(Duration::ZERO, Arrival::Prompt), (AGAIN, Arrival::Doubled)],
        4 => &[(Duration::ZERO, Arrival::Prompt), (LATE, Arrival::Repeated)],
        _ => &[(Duration::ZERO, Arrival::Prompt)],
    };
    let id = random.id();
    times
        .iter()
        .map(|(after, arrival)| TimedEvent {
            at: prompt + *after,
            happened,
            student: Arc::clone(&profile),
            notebook: deed.notebook,
            fact: deed.fact.clone(),
            arrival: *arrival,
            id,
        })
        .collect()
}

impl Iterator for Class {
    type Item = TimedEvent;

    /// Nothing only if there are no students.
    fn next(&mut self) -> Option<TimedEvent> {
        loop {
            let Reverse(entry) = self.agenda.pop()?;
            match entry.what {
                What::Send(event) => return Some(*event),
                What::Act(number) => self.act(number, entry.at),
            }
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
