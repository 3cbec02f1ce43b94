//! What was found, brought and left out.

use std::collections::BTreeMap;
use std::fmt;

use crate::storage::records::NewPeople;

/// So many of what was left out are named for each reason.
const NAMED: usize = 20;

/// Why an execution is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Its student is not in the table of students.
    NoStudent,
    /// Its student has no address.
    NoAddress,
    /// Its notebook is not in the table of notebooks.
    NoNotebook,
    /// It has no time, or none that a clock can mean.
    NoTime,
    /// It cannot be read as an event at all.
    Unreadable,
    /// Its student was erased here since.
    Erased,
    /// It would be deleted again at once.
    PastTerm,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::NoStudent => "their student is missing",
            Self::NoAddress => "their student has no address",
            Self::NoNotebook => "their notebook is missing",
            Self::NoTime => "they have no time",
            Self::Unreadable => "they cannot be read as events",
            Self::Erased => "their student was erased here since",
            Self::PastTerm => "they are past the term for which the classroom keeps them",
        }
    }
}

/// How many rows the former service has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// In `students`.
    pub(super) students: u64,
    /// In `teams`.
    pub(super) teams: u64,
    /// In `notebooks`.
    pub(super) notebooks: u64,
    /// In `cell_executions`.
    pub(super) executions: u64,
}

/// What moving in did, or would do.
#[derive(Debug)]
pub struct Report {
    is_dry_run: bool,
    there: Counts,
    new: NewPeople,
    /// Executions that were read.
    pub(super) read: u64,
    /// Executions that went in.
    pub(super) added: u64,
    /// Executions that were there.
    pub(super) there_already: u64,
    /// Students that are one: their addresses differ in case or blanks.
    pub(super) merged: u64,
    /// Students without an address.
    pub(super) without_address: u64,
    /// Students who were erased here, or whose term is over.
    pub(super) not_allowed: u64,
    /// Executions that are in the records and that the series refuse for good.
    pub(super) uncounted: u64,
    /// Names and paths that were cut at 1 KiB.
    pub(super) names_cut: u64,
    /// Executions whose status was none of success and error.
    pub(super) other_statuses: u64,
    left_out: BTreeMap<Reason, (u64, Vec<String>)>,
    /// How many the records have more than before, if that was counted.
    counted: Option<u64>,
}

impl Report {
    pub(super) fn new(there: Counts, is_dry_run: bool) -> Self {
        Self {
            is_dry_run,
            there,
            new: NewPeople::default(),
            read: 0,
            added: 0,
            there_already: 0,
            merged: 0,
            without_address: 0,
            not_allowed: 0,
            uncounted: 0,
            names_cut: 0,
            other_statuses: 0,
            left_out: BTreeMap::new(),
            counted: None,
        }
    }

    pub(super) fn skip(&mut self, reason: Reason, name: &str) {
        let (count, named) = self.left_out.entry(reason).or_default();
        *count += 1;
        if named.len() < NAMED {
            named.push(name.to_owned());
        }
    }

    pub(super) fn people_added(&mut self, new: NewPeople) {
        self.new = new;
    }

    pub(super) fn compare(&mut self, counted: u64) {
        self.counted = Some(counted);
    }

    fn all_left_out(&self) -> u64 {
        self.left_out.values().map(|(count, _)| count).sum()
    }

    /// Whether every row of the source went in, was there, or was left out with a
    /// reason, and the records have just what went in.
    pub fn adds_up(&self) -> bool {
        let told = self.added + self.there_already + self.all_left_out();
        self.read == self.there.executions
            && told == self.read
            && self.counted.is_none_or(|counted| counted == self.added)
    }

    /// Executions that went in, or would.
    pub fn added(&self) -> u64 {
        self.added
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell_counts(f)?;
        self.tell_left_out(f)?;
        self.tell_quirks(f)?;
        match (self.is_dry_run, self.counted, self.adds_up()) {
            (true, _, _) => write!(f, "a dry run: nothing was kept"),
            (false, Some(counted), true) => {
                write!(
                    f,
                    "counted in the records: {counted} more than before; all adds up"
                )
            }
            (false, counted, _) => write!(
                f,
                "counted in the records: {} more than before; IT DOES NOT ADD UP",
                counted.unwrap_or_default()
            ),
        }
    }
}

impl Report {
    fn tell_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goes = if self.is_dry_run {
            "would be new"
        } else {
            "new"
        };
        writeln!(f, "{:<11}{:>12}{goes:>14}", "", "there")?;
        for (name, there, new) in [
            ("students", self.there.students, self.new.students),
            ("teams", self.there.teams, self.new.teams),
            ("notebooks", self.there.notebooks, self.new.notebooks),
            ("executions", self.there.executions, self.added),
        ] {
            writeln!(f, "{name:<11}{there:>12}{new:>14}")?;
        }
        writeln!(
            f,
            "executions that were here before: {}",
            self.there_already
        )
    }

    fn tell_left_out(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "executions left out: {}", self.all_left_out())?;
        for (reason, (count, named)) in &self.left_out {
            let names = named.join(", ");
            let is_all = usize::try_from(*count).is_ok_and(|count| count == named.len());
            let more = if is_all { "" } else { ", …" };
            writeln!(f, "  {count} because {}: {names}{more}", reason.text())?;
        }
        Ok(())
    }

    fn tell_quirks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, what) in [
            (
                self.merged,
                "students are one with another: their addresses differ in case only",
            ),
            (
                self.without_address,
                "students have no address and are left out",
            ),
            (
                self.not_allowed,
                "students were erased here or are past their term, and are left out",
            ),
            (
                self.uncounted,
                "executions are in the records, and in no chart: the series refuse them for good",
            ),
            (
                self.names_cut,
                "times a name, team, path or id was cut at 1024 bytes",
            ),
            (
                self.other_statuses,
                "executions have a status other than success and error",
            ),
        ] {
            if count > 0 {
                writeln!(f, "{count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven of ten went in, two were there, one was left out.
    fn report() -> Report {
        let there = Counts {
            executions: 10,
            ..Counts::default()
        };
        let mut report = Report::new(there, false);
        (report.read, report.added, report.there_already) = (10, 7, 2);
        report.skip(Reason::NoTime, "x-1");
        report.compare(7);
        report
    }

    #[test]
    fn what_does_not_add_up_is_told_wherever_it_does_not() {
        type Change = fn(&mut Report);
        let wrong: [Change; 4] = [
            // rows came or went between counting and reading
            |report| report.there.executions = 11,
            // one was read, and nobody says what became of it
            |report| (report.read, report.there.executions) = (11, 11),
            |report| report.there_already = 3,
            // the records have fewer than they took
            |report| report.compare(6),
        ];
        assert!(report().adds_up());

        for change in wrong {
            let mut report = report();
            change(&mut report);
            let told = report.to_string();
            assert!(told.ends_with("IT DOES NOT ADD UP"), "{told}");
        }
    }
}
