//! A process with nothing but students at work: the tree on a journal and
//! snapshots on disk, events appended from within. No socket, no records, no series.
//!
//! It says how it is in lines of JSON, and does what it is told line by line.

use std::io::BufRead;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use mimamori::bus::InProcess;
use mimamori::clock::SystemClock;
use mimamori::journal::{
    Consumer, FileJournal, JournalOptions, JournalReport, RealDisk, SEGMENT_BYTES,
};
use mimamori::storage::snapshots::FjallSnapshots;
use mimamori::telemetry::metrics;
use mimamori_actors::domain::{Entry, JournalId, Position, SessionKey, StudentId, Timestamp};
use mimamori_actors::hub::Hub;
use mimamori_actors::ports::{
    Backfill, Batch, Clock, Journal, Origin, Snapshots, Store, StoreError, Verdict,
};
use mimamori_actors::root::{Parts, Tree};
use mimamori_actors::session::fold::SessionState;
use mimamori_actors::tree::{Nobody, Threads, Watchdog};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::ingest::steady;
use crate::students::{self, Students};

/// The role in which everybody works for a while and goes to sleep.
pub const FIRST_DAY: &str = "school-first-day";
/// The role in which those who slept are there again, and some work.
pub const NEXT_DAY: &str = "school-next-day";
/// How many students there are.
pub const STUDENTS: &str = "MIMAMORI_BENCH_STUDENTS";
/// How many classes they are in.
pub const CLASSES: &str = "MIMAMORI_BENCH_CLASSES";
/// Students at work in a round.
pub const ACTIVE: usize = 1_000;
/// Events a second in a round, of all of them.
pub const RATE: u64 = 2_000;
/// A round lasts so long.
pub const ROUND: Duration = Duration::from_secs(2);

/// Events that are appended together.
const TOGETHER: usize = 500;
/// Events that are on their way at a time: less for each than a session's queue takes, and as
/// many while memory is warmed up as while it is weighed.
const ON_THE_WAY: usize = 1_000;
/// A student takes so long for a cell.
const A_CELL_TAKES: Duration = Duration::from_secs(4);
/// Sessions sleep after five minutes without an event.
const SLEEPY_AFTER: Duration = Duration::from_secs(6 * 60);
/// Everything that is on its way arrives within this time, or the run is given up.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
/// A class forgets what it told a minute ago.
const CONSOLES_COME_BACK_WITHIN: Duration = Duration::from_secs(61);
/// What memory holds whoever is there (the journal's newest entries, what the
/// snapshots gather) is full after so many events of students who are not counted, …
const WARM_EVENTS: usize = 60_000;
/// … and so many states put into the snapshots, …
const WARM_STATES: usize = 162_500;
/// … some at a time: every second time they are flushed, so that what is gathered at last
/// is there while others are weighed.
const STATES_AT_A_TIME: usize = 12_500;
/// The tree commits the snapshots every second.
const A_CHECKPOINT_TAKES: Duration = Duration::from_millis(1_200);

/// The system's clock, set forward by hand.
#[derive(Default)]
struct HandClock {
    ahead_ms: AtomicI64,
}

impl HandClock {
    fn set_forward(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(SystemClock.now().as_millis() + ahead)
    }
}

/// Takes everything, keeps nothing, and has had everything that was there at the start.
struct Nothing {
    had: Position,
}

#[async_trait]
impl Store for Nothing {
    async fn offset(&self, _: &JournalId) -> Result<Option<Position>, StoreError> {
        Ok(Some(self.had))
    }

    async fn write(&self, _: &JournalId, _: &[Arc<Entry>], _: Position) -> Result<(), StoreError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Backfill for Nothing {
    async fn read(&self, _: Position, through: Position, _: usize) -> Result<Batch, StoreError> {
        Ok(Batch {
            entries: Vec::new(),
            through,
        })
    }
}

/// What the environment asks for.
struct Asked {
    dir: PathBuf,
    students: usize,
    classes: usize,
}

impl Asked {
    fn read() -> anyhow::Result<Self> {
        let number = |name| anyhow::Ok(std::env::var(name)?.parse::<usize>()?);
        Ok(Self {
            dir: PathBuf::from(std::env::var_os("MIMAMORI_STORAGE__DIR").context("storage.dir")?),
            students: number(STUDENTS)?,
            classes: number(CLASSES)?,
        })
    }
}

/// Goes through the day of `role`.
pub fn open(role: &str) -> ExitCode {
    let day = if role == FIRST_DAY {
        first_day()
    } else {
        next_day()
    };
    match day {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", json!({ "error": format!("{error:#}") }));
            ExitCode::from(2)
        }
    }
}

/// On one thread: only there can the time that actors wait by be set forward.
fn first_day() -> anyhow::Result<()> {
    let asked = Asked::read()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut school = School::open(&asked, Threads::current()).await?;
        school.warm_up().await?;
        school.say("empty", 0);
        let diligent = school.students.diligent();
        let (half, rest) = diligent.split_at(diligent.len() / 2);
        school.work_hard(half).await?;
        school.say("half awake", half.len());
        school.work_hard(rest).await?;
        school.say("awake", diligent.len());
        let others = school.students.others();
        for _ in 0..students::FEW {
            school.all_run(&others, true).await?;
        }
        school.check(&others, students::FEW).await?;
        let all = diligent.len() + others.len();
        school.say("all awake", all);
        school.go_to_sleep().await?;
        school.say("asleep", all);
        school.close().await
    })
}

/// As the program runs it; a line says who is to work, the next line of ours what it took.
fn next_day() -> anyhow::Result<()> {
    let asked = Asked::read()?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let main = workers("main", cores)?;
    let tree = workers("tree", cores.max(2))?;
    let sessions = workers("sessions", cores + Threads::MAY_BE_LOST)?;
    let threads = Threads {
        tree: tree.handle().clone(),
        sessions: sessions.handle().clone(),
    };
    let recorder = metrics::install()?;
    main.spawn(metrics::keep_up(recorder));
    let mut school = main.block_on(School::open(&asked, threads))?;
    school.watch()?;
    school.say("open", 0);
    for line in std::io::stdin().lock().lines() {
        let at_work = match line?.as_str() {
            "each class" => school.students.some_of_each(ACTIVE),
            "one class" => school.students.all_of_one(ACTIVE),
            "nobody" => Vec::new(),
            other => anyhow::bail!("nobody is called {other}"),
        };
        school.say("begun", at_work.len());
        main.block_on(school.round(&at_work))?;
        school.say("ended", at_work.len());
    }
    main.block_on(school.close())
}

fn workers(name: &str, count: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(count)
        .thread_name(name)
        .enable_all()
        .build()
}

struct School {
    tree: Tree,
    /// Nothing once it looks.
    watchdog: Option<Watchdog>,
    journal: Arc<FileJournal>,
    snapshots: Arc<FjallSnapshots>,
    clock: Arc<HandClock>,
    students: Students,
    sent: u64,
}

impl School {
    async fn open(asked: &Asked, threads: Threads) -> anyhow::Result<Self> {
        let clock = Arc::new(HandClock::default());
        let snapshots = Arc::new(FjallSnapshots::open(&asked.dir.join("snapshots"))?);
        let (journal, report) =
            open_journal(&asked.dir, snapshots.highest_position(), clock.clone())?;
        let journal = Arc::new(journal);
        if !report.is_new {
            // they left, and it is some minutes later
            let left = report.last_accepted.at.since(clock.now());
            clock.set_forward(left + SLEEPY_AFTER);
        }
        let students = Students::enrol(asked.students, asked.classes, !report.is_new);
        let hub = Arc::new(Hub::default());
        let nothing = Arc::new(Nothing { had: report.end });
        let parts = Parts {
            journal: journal.clone(),
            clock: clock.clone(),
            snapshots: snapshots.clone(),
            records: nothing.clone(),
            series: nothing.clone(),
            backfill: nothing,
            retention: None,
            bus: Arc::new(InProcess::new(Arc::clone(&hub))),
            hub,
            classrooms: students.classrooms(),
            max_consoles: 1,
            threads,
            witness: Arc::new(Nobody),
            careful: None,
        };
        let (tree, watchdog) = Tree::plant(parts).await?;
        Ok(Self {
            tree,
            watchdog: Some(watchdog),
            journal,
            snapshots,
            clock,
            students,
            sent: 0,
        })
    }

    /// As the program does it.
    fn watch(&mut self) -> std::io::Result<()> {
        let Some(mut watchdog) = self.watchdog.take() else {
            return Ok(());
        };
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                loop {
                    thread::sleep(Watchdog::EVERY);
                    watchdog.look();
                }
            })
            .map(drop)
    }

    /// How this process is: memory, CPU time, events sent, sessions that worked.
    fn say(&self, stage: &str, sessions: usize) {
        let line = json!({
            "stage": stage,
            "residentBytes": resident_bytes(),
            "cpuMicros": cpu_micros(),
            "events": self.sent,
            "sessions": sessions,
        });
        println!("{line}");
    }

    /// Fills what memory holds whoever is there.
    async fn warm_up(&mut self) -> anyhow::Result<()> {
        let visitors = self.students.visitors();
        let many: Vec<usize> = visitors.iter().copied().cycle().take(ON_THE_WAY).collect();
        for _ in 0..WARM_EVENTS / many.len() {
            self.all_run(&many, false).await?;
        }
        let key = SessionKey {
            classroom: self.students.key(0).classroom,
            student: StudentId::new("stu_ffffffffffffffffffffffff"),
        };
        let state = SessionState::new(key.clone()).encode();
        // not more at a time than is gathered before it is flushed
        for _ in 0..WARM_STATES / STATES_AT_A_TIME {
            for _ in 0..STATES_AT_A_TIME {
                self.snapshots.put_session(&key, &state)?;
            }
            self.all_run(&visitors, false).await?;
            sleep(A_CHECKPOINT_TAKES).await;
        }
        self.clock.set_forward(CONSOLES_COME_BACK_WITHIN);
        self.give_back().await
    }

    /// Each of them runs the next cell, and it is applied.
    async fn all_run(&mut self, at_work: &[usize], is_error: bool) -> anyhow::Result<()> {
        self.clock.set_forward(A_CELL_TAKES);
        for at_a_time in at_work.chunks(ON_THE_WAY) {
            let mut last = None;
            for some in at_a_time.chunks(TOGETHER) {
                last = self.append(some, is_error).await?;
            }
            self.arrived(last).await?;
        }
        Ok(())
    }

    /// Appends a run of each of them; gives the last one's student and position.
    async fn append(
        &mut self,
        some: &[usize],
        is_error: bool,
    ) -> anyhow::Result<Option<(usize, Position)>> {
        let now = self.clock.now();
        let runs = some
            .iter()
            .map(|student| self.students.run(*student, is_error, now))
            .collect();
        let verdicts = self.journal.append(runs, Origin::Inside).await?;
        self.sent += some.len() as u64;
        let last = some.last().copied().zip(verdicts.last().copied());
        Ok(last.and_then(|(student, verdict)| match verdict {
            Verdict::Accepted(position) => Some((student, position)),
            Verdict::Duplicate | Verdict::Conflict => None,
        }))
    }

    async fn arrived(&self, last: Option<(usize, Position)>) -> anyhow::Result<()> {
        let Some((student, position)) = last else {
            return Ok(());
        };
        let key = self.students.key(student);
        let registry = Arc::clone(self.tree.registry());
        let is_applied = || {
            let view = registry.view(&key);
            view.is_some_and(|view| view.position >= position)
        };
        until("an event is applied", Duration::from_millis(2), is_applied).await
    }

    /// Nobody's runs are missing, once everybody has caught up.
    async fn check(&self, students: &[usize], runs: u64) -> anyhow::Result<()> {
        let has_all = |student: &usize| {
            let view = self.tree.registry().view(&self.students.key(*student));
            view.is_some_and(|view| view.executions == runs)
        };
        let all_have = || students.iter().all(has_all);
        until("all runs are counted", Duration::from_millis(50), all_have).await
    }

    /// Lets six minutes pass.
    async fn go_to_sleep(&mut self) -> anyhow::Result<()> {
        self.clock.set_forward(SLEEPY_AFTER);
        tokio::time::pause();
        tokio::time::advance(SLEEPY_AFTER).await;
        tokio::time::resume();
        let census = Arc::clone(self.tree.census());
        let all_asleep = || census.of_kind("session", None, 1).0.is_empty();
        until("everybody sleeps", Duration::from_millis(200), all_asleep).await?;
        self.give_back().await
    }

    /// Each of them has all cells fail once.
    async fn work_hard(&mut self, students: &[usize]) -> anyhow::Result<()> {
        for _ in 0..students::CELLS {
            self.all_run(students, true).await?;
        }
        self.check(students, students::CELLS).await?;
        // what they need to be put into the snapshots is theirs, too
        sleep(Duration::from_secs(3)).await;
        // what their classes remember for consoles that come back is not
        self.clock.set_forward(CONSOLES_COME_BACK_WITHIN);
        self.give_back().await
    }

    /// What is free goes back to the system while somebody works.
    async fn give_back(&mut self) -> anyhow::Result<()> {
        for _ in 0..20 {
            let visitors = self.students.visitors();
            self.all_run(&visitors, false).await?;
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// They work for a round; nobody, and it passes without an event.
    async fn round(&mut self, at_work: &[usize]) -> anyhow::Result<()> {
        const TICK: Duration = Duration::from_millis(10);
        const A_TICK: usize = (RATE / 100) as usize;
        let mut ticks = steady(TICK);
        let mut next = at_work.iter().copied().cycle();
        let mut last = None;
        for number in 0..ROUND.as_millis() / TICK.as_millis() {
            ticks.tick().await;
            let some: Vec<usize> = next.by_ref().take(A_TICK).collect();
            if !some.is_empty() {
                // a fifth of the runs fails, each time of others
                let is_error = (number + number / 50).is_multiple_of(5);
                last = self.append(&some, is_error).await?;
            }
        }
        self.arrived(last).await
    }

    async fn close(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.tree.fell(Duration::from_secs(20)).await,
            "the actors did not stop in time"
        );
        self.journal.close().await;
        Ok(())
    }
}

fn open_journal(
    dir: &Path,
    begin_after: Position,
    clock: Arc<HandClock>,
) -> anyhow::Result<(FileJournal, JournalReport)> {
    let consumer = |name| Consumer {
        name,
        holds_back: true,
    };
    let options = JournalOptions {
        dir: dir.to_owned(),
        max_bytes: 64 << 30,
        min_free_bytes: 0,
        dedup_days: 7,
        consumers: ["sessions", "records", "series"].map(consumer).into(),
        begin_after,
        clock,
        segment_bytes: SEGMENT_BYTES,
        disk: Arc::new(RealDisk),
    };
    Ok(FileJournal::open(options, &mut |_, _| {})?)
}

async fn until(what: &str, every: Duration, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let waiting = async {
        while !is_so() {
            sleep(every).await;
        }
    };
    let is_there = tokio::time::timeout(ARRIVES_WITHIN, waiting).await;
    is_there.with_context(|| format!("not within {ARRIVES_WITHIN:?}: {what}"))
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split_whitespace().nth(1);
    resident.and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096 // the page of every Linux that we run on
}

fn cpu_micros() -> u64 {
    let used = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
    u64::try_from(used.as_micros()).unwrap_or(u64::MAX)
}
