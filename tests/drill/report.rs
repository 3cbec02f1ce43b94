//! What was injected, expected and counted, in one table.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::it::harness::Counted;

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A fault, and what is expected of the program.
pub struct Drill {
    pub name: &'static str,
    /// As long as it really lasts.
    injected: String,
    expected: &'static str,
    run: Box<dyn Fn() -> Running>,
}

/// A figure beside its target.
#[derive(Debug)]
pub struct Figure {
    pub what: String,
    pub value: String,
    pub target: String,
    pub is_met: bool,
}

/// What came out of a drill.
#[derive(Debug, Default)]
pub struct Outcome {
    counted: Option<Counted>,
    /// So many events may be lost, because they are truly gone.
    may_lose: usize,
    figures: Vec<Figure>,
    not_tried: Option<String>,
    failed: Option<String>,
}

impl Outcome {
    /// Counts, nothing timed.
    pub fn counted(counted: Counted) -> Self {
        Self {
            counted: Some(counted),
            ..Self::default()
        }
    }

    /// Counts, and the time until it was there again.
    pub fn recovered(counted: Counted, target: Duration) -> Self {
        let took = counted.recovered;
        Self::counted(counted).with(Figure {
            what: "time to recover".to_owned(),
            value: format!("{:.2} s", took.as_secs_f64()),
            target: format!("< {:.0} s", target.as_secs_f64()),
            is_met: took < target,
        })
    }

    /// As [`Outcome::recovered`], where data is truly gone: exactly so many events.
    pub fn with_loss(counted: Counted, target: Duration, may_lose: usize) -> Self {
        Self {
            may_lose,
            ..Self::recovered(counted, target)
        }
    }

    /// It cannot be done on this machine: told, and no fault of the program.
    pub fn not_tried(reason: &str) -> Self {
        Self {
            not_tried: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    /// One more figure.
    pub fn with(mut self, figure: Figure) -> Self {
        let word = if figure.is_met { "met" } else { "MISSED" };
        println!(
            "  {word:>6}  {}: {} (target {})",
            figure.what, figure.value, figure.target
        );
        self.figures.push(figure);
        self
    }

    /// As [`Outcome::with`], of several.
    pub fn with_all(self, figures: impl IntoIterator<Item = Figure>) -> Self {
        figures.into_iter().fold(self, Self::with)
    }

    fn is_met(&self) -> bool {
        let is_whole = self
            .counted
            .as_ref()
            .is_none_or(|counted| counted.lost <= self.may_lose && counted.doubled == 0);
        self.failed.is_none() && is_whole && self.figures.iter().all(|figure| figure.is_met)
    }

    fn verdict(&self) -> &'static str {
        match (&self.not_tried, self.is_met()) {
            (Some(_), _) => "not tried",
            (None, true) => "met",
            (None, false) => "**missed**",
        }
    }
}

/// A drill that was run.
pub struct Done {
    drill: Drill,
    outcome: Outcome,
    took: Duration,
}

impl Drill {
    /// `run` fails by a panic, or by what it counts.
    pub fn new<F>(
        name: &'static str,
        injected: impl Into<String>,
        expected: &'static str,
        run: impl Fn() -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self {
            name,
            injected: injected.into(),
            expected,
            run: Box::new(move || Box::pin(run())),
        }
    }

    /// Runs it in a task of its own.
    pub async fn run(self) -> Done {
        println!("== {}: {}", self.name, self.injected);
        println!("   expected: {}", self.expected);
        let began = Instant::now();
        let outcome = tokio::spawn((self.run)()).await.unwrap_or_else(|error| {
            let panic = error.into_panic();
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Outcome {
                failed: Some(text.unwrap_or("it panicked").to_owned()),
                ..Outcome::default()
            }
        });
        let took = began.elapsed();
        println!("   {}: {} in {took:.0?}\n", self.name, outcome.verdict());
        Done {
            drill: self,
            outcome,
            took,
        }
    }
}

/// Everything that was run.
#[derive(Default)]
pub struct Report(Vec<Done>);

impl Report {
    /// One more.
    pub fn add(&mut self, done: Done) {
        self.0.push(done);
    }

    /// Whether all is as expected.
    pub fn is_met(&self) -> bool {
        self.0.iter().all(|done| done.outcome.is_met())
    }

    /// To standard output, and to a file beside the build.
    pub fn print_and_keep(&self) {
        let text = self.table();
        println!("{text}");
        let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/drills.md");
        match std::fs::write(path, &text) {
            Ok(()) => println!("kept in {path}"),
            Err(error) => println!("{path} can't be written: {error}"),
        }
    }

    fn table(&self) -> String {
        let mut text = format!("{}\n\n", machine());
        text.push_str(
            "| drill | injected | expected | acknowledged | in the records | lost | doubled | refused | measured (target) | took | |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for done in &self.0 {
            let Drill {
                name,
                injected,
                expected,
                ..
            } = &done.drill;
            let counts = match &done.outcome.counted {
                Some(it) => format!(
                    "{} | {} | {} | {} | {}",
                    it.acknowledged, it.stored, it.lost, it.doubled, it.refused
                ),
                None => "| | | |".to_owned(),
            };
            let _ = writeln!(
                text,
                "| {name} | {injected} | {expected} | {counts} | {} | {:.0?} | {} |",
                done.outcome.measured(),
                done.took,
                done.outcome.verdict()
            );
        }
        text
    }
}

impl Outcome {
    fn measured(&self) -> String {
        let figures = self
            .figures
            .iter()
            .map(|it| format!("{}: {} ({})", it.what, it.value, it.target));
        let words = self.not_tried.iter().chain(&self.failed);
        let words = words.map(|word| word.replace(['|', '\n'], " "));
        figures.chain(words).collect::<Vec<_>>().join("; ")
    }
}

/// Where it ran.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kib: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    format!(
        "{} processors, {:.0} GiB, Linux {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        kib as f64 / f64::from(1 << 20),
        read("/proc/sys/kernel/osrelease").trim()
    )
}
