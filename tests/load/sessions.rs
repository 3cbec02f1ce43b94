//! Sessions by the hundred thousand: what one that is awake weighs, what one that
//! sleeps weighs, and whether those that sleep make an event of the others dearer.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use serde::Deserialize;

use crate::figures::verdict;
use crate::ingest::settle;
use crate::school::{ACTIVE, CLASSES, FIRST_DAY, NEXT_DAY, RATE, ROUND, STUDENTS};
use crate::server::{ROLE, target_dir};

/// Everybody.
const ALL: usize = 100_000;
/// Classes of a thousand.
const MANY_CLASSES: usize = 100;
/// Those whose weight is taken awake and asleep, in classes of a thousand too.
const WEIGHED: (usize, usize) = (20_000, 20);
/// Alternating rounds.
const ROUNDS: usize = 3;

/// 100,000 students, 1,000 of them at work.
pub async fn sessions() -> anyhow::Result<bool> {
    println!(
        "{ALL} sessions in {MANY_CLASSES} classes, {ACTIVE} of them active: {ROUNDS} alternating rounds of {ROUND:?} at {RATE} events/s"
    );
    settle().await;
    let begin = |(students, classes)| Prepared::begin(students, classes);
    let all = begin((ALL, MANY_CLASSES))?;
    let (few, one) = (begin((ACTIVE, MANY_CLASSES))?, begin((ACTIVE, 1))?);
    let (few, one) = (few.end()?, one.end()?);
    let all = all.end()?;
    let is_light_awake = weigh(begin(WEIGHED)?)?;

    let mut all = School::open(NEXT_DAY, &all)?;
    let all_open = all.hear("open")?;
    let mut few = School::open(NEXT_DAY, &few)?;
    let few_open = few.hear("open")?;
    let mut one = School::open(NEXT_DAY, &one)?;
    one.hear("open")?;
    let asleep = kib_each(&few_open, &all_open, ALL - ACTIVE);
    let is_light_asleep = verdict(
        &format!("KiB a sleeping session, {ALL} of them after a restart"),
        asleep,
        asleep <= 2.0,
        "≤ 2",
    );
    println!(
        "          without an event: {:.1} ms of CPU a second, with {ACTIVE} sessions {:.1} ms",
        all.idle()?,
        few.idle()?
    );
    let spread = compare("as many of each class", "each class", &mut all, &mut few)?;
    let together = compare("all of one class", "one class", &mut all, &mut one)?;
    all.close()?;
    few.close()?;
    one.close()?;
    Ok(is_light_awake & is_light_asleep & spread & together)
}

/// What memory a session takes awake, and what is left of it when it sleeps.
fn weigh(mut some: Prepared) -> anyhow::Result<bool> {
    let empty = some.school.hear("empty")?;
    let half = some.school.hear("half awake")?;
    let awake = some.school.hear("awake")?;
    some.school.hear("all awake")?;
    let asleep = some.school.hear("asleep")?;
    some.end()?;
    let (first, all) = (
        usize::try_from(half.sessions)?,
        usize::try_from(awake.sessions)?,
    );
    let each = kib_each(&half, &awake, all - first);
    let is_light = verdict(
        &format!(
            "KiB an awake session with 50 cells, {} beside {first}",
            all - first
        ),
        each,
        each <= 16.0,
        "≤ 16",
    );
    println!(
        "          the first {first}, with what the process keeps once anybody works: {:.2} KiB each; when all sleep, without a restart: {:.2} KiB each",
        kib_each(&empty, &half, first),
        kib_each(&empty, &asleep, all)
    );
    Ok(is_light)
}

fn kib_each(before: &Figures, after: &Figures, sessions: usize) -> f64 {
    after.resident_bytes.saturating_sub(before.resident_bytes) as f64 / 1024.0 / sessions as f64
}

/// The cost of an event among all against that among the active ones alone.
fn compare(
    what: &str,
    at_work: &str,
    all: &mut School,
    alone: &mut School,
) -> anyhow::Result<bool> {
    // they wake
    alone.round(at_work)?;
    all.round(at_work)?;
    let mut costs = [0.0; 2];
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (few, many) = (alone.round(at_work)?, all.round(at_work)?);
        ratios.push(many / few);
        costs[0] += few / ROUNDS as f64;
        costs[1] += many / ROUNDS as f64;
    }
    let [few, many] = costs;
    println!(
        "          {ACTIVE} active, {what}: {few:.1} µs of CPU an event among {ACTIVE}, {many:.1} µs among {ALL}; by round {ratios:.3?}"
    );
    let ratio = many / few;
    Ok(verdict(
        &format!("CPU an event among {ALL} against among {ACTIVE}, {what}"),
        ratio,
        ratio <= 1.25,
        "≤ 1.25",
    ))
}

/// A school that is having its first day.
struct Prepared {
    school: School,
    kept: Kept,
}

/// What it keeps on disk over night.
struct Kept {
    dir: tempfile::TempDir,
    students: usize,
    classes: usize,
}

impl Prepared {
    fn begin(students: usize, classes: usize) -> anyhow::Result<Self> {
        let kept = Kept {
            dir: tempfile::tempdir_in(target_dir())?,
            students,
            classes,
        };
        let school = School::open(FIRST_DAY, &kept)?;
        Ok(Self { school, kept })
    }

    /// Waits until everybody sleeps.
    fn end(self) -> anyhow::Result<Kept> {
        self.school.close()?;
        Ok(self.kept)
    }
}

/// What a school says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    stage: String,
    resident_bytes: u64,
    cpu_micros: u64,
    events: u64,
    /// Sessions that were woken so far.
    sessions: u64,
}

/// A process of its own; ended when it is dropped.
struct School {
    child: Child,
    /// Nothing once it is to end.
    orders: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl School {
    fn open(day: &str, kept: &Kept) -> anyhow::Result<Self> {
        let dir: &Path = kept.dir.path();
        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, day)
            .env(STUDENTS, kept.students.to_string())
            .env(CLASSES, kept.classes.to_string())
            .env("MIMAMORI_STORAGE__DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = child
            .stdout
            .take()
            .context("its standard output is piped")?;
        Ok(Self {
            orders: child.stdin.take(),
            child,
            says: BufReader::new(says),
        })
    }

    /// What it says when it is so far.
    fn hear(&mut self, stage: &str) -> anyhow::Result<Figures> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        let figures: Figures =
            serde_json::from_str(&line).with_context(|| format!("{stage}: it says {line:?}"))?;
        anyhow::ensure!(figures.stage == stage, "{line} instead of {stage}");
        Ok(figures)
    }

    /// A round; gives its CPU time in microseconds, and the events in it.
    fn pass(&mut self, at_work: &str) -> anyhow::Result<(f64, f64)> {
        let orders = self
            .orders
            .as_mut()
            .context("it takes orders until it is closed")?;
        writeln!(orders, "{at_work}")?;
        let (begun, ended) = (self.hear("begun")?, self.hear("ended")?);
        let cpu_micros = ended.cpu_micros - begun.cpu_micros;
        let events = ended.events - begun.events;
        Ok((cpu_micros as f64, events as f64))
    }

    /// Microseconds of CPU time an event.
    fn round(&mut self, at_work: &str) -> anyhow::Result<f64> {
        let (cpu_micros, events) = self.pass(at_work)?;
        Ok(cpu_micros / events)
    }

    /// Milliseconds of CPU time a second.
    fn idle(&mut self) -> anyhow::Result<f64> {
        let (cpu_micros, _) = self.pass("nobody")?;
        Ok(cpu_micros / 1000.0 / ROUND.as_secs_f64())
    }

    /// No more orders: it ends by itself, and nothing is left open on disk.
    fn close(mut self) -> anyhow::Result<()> {
        self.orders = None;
        let mut rest = String::new();
        self.says.read_to_string(&mut rest)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a school ended with {status}: {rest}");
        Ok(())
    }
}

impl Drop for School {
    fn drop(&mut self) {
        // it is ours, and it may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
