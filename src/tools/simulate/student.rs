//! One student: what they do, and when they do the next thing.

use std::sync::Arc;
use std::time::Duration;

use super::material::{Cell, FAMILY_NAMES, GIVEN_NAMES, NOTEBOOKS, Notebook, TEAMS};
use super::random::Random;

/// The extension repeats a call for help so often.
const BEAT: Duration = Duration::from_secs(10);

/// Who a student is, as the extension is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The student's address; each student has another one.
    pub address: String,
    /// The name.
    pub name: String,
    /// The team.
    pub team: &'static str,
    /// The session of JupyterLab.
    pub client_session: u128,
}

/// What happened in a notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The notebook was opened.
    Opened,
    /// A cell was executed, or so the extension thinks.
    Executed(Execution),
    /// The student asks for help, or still does.
    Help,
    /// The student no longer does.
    HelpStop,
}

/// What the extension tells of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The cell's id.
    pub cell_id: &'static str,
    /// Its place.
    pub cell_index: usize,
    /// `code` or `markdown`.
    pub cell_type: &'static str,
    /// Its source.
    pub code: &'static str,
    /// What it put out.
    pub result: &'static str,
    /// How it really ended.
    pub outcome: Outcome,
    /// What the extension takes for the run time.
    pub duration_ms: u64,
}

/// How an execution really ended; the extension does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end, as the kernel's n-th.
    Ok(u32),
    /// It raised this, as the kernel's n-th.
    Error(u32, &'static str),
    /// Run All never reached it: a cell before it failed.
    Skipped,
    /// There was nothing to run.
    NotRun,
}

#[derive(Debug)]
enum Mood {
    Arriving,
    Working,
    Asking {
        until: Duration,
    },
    /// The tab is closed; the student will be back.
    Away,
}

/// One student at work.
#[derive(Debug)]
pub(super) struct Student {
    pub(super) profile: Arc<Profile>,
    pub(super) random: Random,
    mood: Mood,
    notebook: usize,
    cell: usize,
    kernel_count: u32,
    errors_in_a_row: u32,
    /// How often a first try is right, from 0 to 1.
    skill: f64,
}

/// What a student did.
#[derive(Debug)]
pub(super) struct Deed {
    /// How long after the beginning of the act.
    pub(super) after: Duration,
    pub(super) notebook: &'static str,
    pub(super) fact: Fact,
}

impl Student {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        let mut random = Random::new(seed, number as u64 + 1);
        Self {
            profile: Arc::new(profile(number, &mut random)),
            mood: Mood::Arriving,
            notebook: 0,
            cell: 0,
            kernel_count: 0,
            errors_in_a_row: 0,
            // the square root: most do well, some hardly
            skill: 0.2 + 0.75 * random.share().sqrt(),
            random,
        }
    }

    /// This one never set an address: the extension sends the one it has at first.
    pub(super) fn keep_default_address(&mut self) {
        self.profile = Arc::new(Profile {
            address: "student001@example.com".to_owned(),
            ..(*self.profile).clone()
        });
    }

    /// When the student opens the notebook: most at once, nearly all in the first half minute.
    pub(super) fn arrival(&mut self) -> Duration {
        if self.random.chance(0.85) {
            let share = self.random.share();
            Duration::from_secs(25).mul_f64(share * share)
        } else {
            self.random.seconds(25, 240)
        }
    }

    fn notebook(&self) -> &'static Notebook {
        &NOTEBOOKS[self.notebook]
    }

    /// Does the next thing, and tells how long until the one after it.
    pub(super) fn act(&mut self, now: Duration, deeds: &mut Vec<Deed>) -> Duration {
        match self.mood {
            Mood::Arriving | Mood::Away => {
                self.mood = Mood::Working;
                deeds.push(self.deed(Duration::ZERO, Fact::Opened));
                self.random.seconds(3, 25)
            }
            Mood::Working => self.work(now, deeds),
            Mood::Asking { until } => self.ask(now >= until, deeds),
        }
    }

    fn deed(&self, after: Duration, fact: Fact) -> Deed {
        Deed {
            after,
            notebook: self.notebook().path,
            fact,
        }
    }

    fn work(&mut self, now: Duration, deeds: &mut Vec<Deed>) -> Duration {
        let roll = self.random.share();
        if roll < 0.02 {
            return self.random.seconds(120, 300);
        }
        if roll < 0.03 {
            self.kernel_count = 0; // restarted: everything is run anew
            self.run_all(deeds);
        } else if roll < 0.09 {
            self.run_all(deeds);
        } else if roll < 0.14 && self.cell > 0 {
            let earlier = self.random.below(self.cell);
            let again = self.right(earlier);
            deeds.push(self.deed(Duration::ZERO, Fact::Executed(again)));
        } else {
            self.try_current(deeds);
        }
        if self.errors_in_a_row >= 3 && self.random.chance(0.35) {
            let patience = self.random.seconds(15, 180);
            self.mood = Mood::Asking {
                until: now + patience,
            };
            return self.random.seconds(3, 15);
        }
        if self.errors_in_a_row > 0 {
            self.random.seconds(4, 20)
        } else {
            self.random.seconds(6, 45)
        }
    }

    fn try_current(&mut self, deeds: &mut Vec<Deed>) {
        let execution = self.attempt(self.cell);
        let is_error = matches!(execution.outcome, Outcome::Error(..));
        deeds.push(self.deed(Duration::ZERO, Fact::Executed(execution)));
        if is_error {
            self.errors_in_a_row += 1;
        } else {
            self.go_on(Duration::from_secs(2), deeds);
        }
    }

    /// To the next cell; after the last one to the next notebook, which is opened so much later.
    fn go_on(&mut self, after: Duration, deeds: &mut Vec<Deed>) {
        self.errors_in_a_row = 0;
        self.cell += 1;
        if self.cell == self.notebook().cells.len() {
            self.cell = 0;
            self.kernel_count = 0; // each notebook has a kernel of its own
            self.notebook = (self.notebook + 1) % NOTEBOOKS.len();
            deeds.push(self.deed(after, Fact::Opened));
        }
    }

    /// Every cell in its order, a few ms apart; after the first that fails, none is run.
    fn run_all(&mut self, deeds: &mut Vec<Deed>) {
        let mut has_failed = false;
        for index in 0..self.notebook().cells.len() {
            let execution = if has_failed {
                self.never_reached(index)
            } else if index < self.cell {
                self.right(index)
            } else {
                self.attempt(index)
            };
            has_failed |= matches!(execution.outcome, Outcome::Error(..));
            let after = Duration::from_millis(7 * index as u64);
            deeds.push(self.deed(after, Fact::Executed(execution)));
        }
        if has_failed {
            self.errors_in_a_row += 1;
        }
    }

    fn ask(&mut self, is_over: bool, deeds: &mut Vec<Deed>) -> Duration {
        if !is_over {
            deeds.push(self.deed(Duration::ZERO, Fact::Help));
            if self.random.chance(0.25) {
                let execution = self.attempt(self.cell);
                deeds.push(self.deed(Duration::from_secs(4), Fact::Executed(execution)));
            }
            return BEAT;
        }
        if self.random.chance(0.25) {
            // the tab is closed: nobody says that the call is over
            self.mood = Mood::Away;
            return self.random.seconds(60, 180);
        }
        deeds.push(self.deed(Duration::ZERO, Fact::HelpStop));
        self.mood = Mood::Working;
        let helped = self.right(self.cell);
        deeds.push(self.deed(Duration::from_secs(6), Fact::Executed(helped)));
        self.go_on(Duration::from_secs(8), deeds);
        self.random.seconds(15, 40)
    }

    /// The cell as this student has it now.
    fn attempt(&mut self, index: usize) -> Execution {
        let cell = &self.notebook().cells[index];
        if cell.mistakes.is_empty() || self.random.chance(self.skill) {
            return self.right(index);
        }
        let (code, error) = *self.random.pick(cell.mistakes);
        let count = self.next_count();
        self.execution(index, cell, code, error, Outcome::Error(count, error))
    }

    /// The cell as it should be.
    fn right(&mut self, index: usize) -> Execution {
        let cell = &self.notebook().cells[index];
        let outcome = if has_nothing_to_run(cell) {
            Outcome::NotRun
        } else {
            Outcome::Ok(self.next_count())
        };
        self.execution(index, cell, cell.code, cell.result, outcome)
    }

    fn never_reached(&mut self, index: usize) -> Execution {
        let cell = &self.notebook().cells[index];
        let outcome = if has_nothing_to_run(cell) {
            Outcome::NotRun
        } else {
            Outcome::Skipped
        };
        self.execution(index, cell, cell.code, "", outcome)
    }

    fn execution(
        &mut self,
        index: usize,
        cell: &Cell,
        code: &'static str,
        result: &'static str,
        outcome: Outcome,
    ) -> Execution {
        Execution {
            cell_id: cell.id,
            cell_index: index,
            cell_type: cell.kind,
            code,
            result,
            outcome,
            duration_ms: self.random.next() % 6,
        }
    }

    /// Now and then a run is not reported (two within 300 ms give one event), and the count jumps.
    fn next_count(&mut self) -> u32 {
        self.kernel_count += if self.random.chance(0.03) { 2 } else { 1 };
        self.kernel_count
    }
}

fn has_nothing_to_run(cell: &Cell) -> bool {
    cell.kind != "code" || cell.code.is_empty()
}

fn profile(number: usize, random: &mut Random) -> Profile {
    // 24 and 17 have no common factor: the pair repeats only after 408 students
    let (family, family_latin) = FAMILY_NAMES[number % FAMILY_NAMES.len()];
    let (given, given_latin) = GIVEN_NAMES[number % GIVEN_NAMES.len()];
    Profile {
        address: format!(
            "{given_latin}.{family_latin}.{:03}@example.ac.jp",
            number + 1
        ),
        name: format!("{family}{given}"),
        team: TEAMS[number % TEAMS.len()],
        client_session: random.id(),
    }
}
