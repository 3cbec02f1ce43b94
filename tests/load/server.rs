//! The programs under measurement, each a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use mimamori::admit::StudentKey;
use mimamori::clock::SystemClock;
use mimamori::config::Classrooms;
use mimamori::http::accept::{self, AcceptOptions};
use mimamori::http::ingest::{self, Gate, Ingest};
use mimamori::http::refusals::Refusals;
use mimamori::http::service::{Front, FrontOptions};
use mimamori::http::{Access, ApiError};
use mimamori::journal::{FileJournal, JournalOptions, RealDisk, SEGMENT_BYTES};
use mimamori::keys::{Keys, Secret};
use mimamori::networks::Networks;
use mimamori_actors::domain::{JournalId, Position};
use mimamori_actors::ports::{AppendError, Batch, Journal, NewRecord, Origin, ReadError, Verdict};
use tokio::sync::watch;

use crate::school;

/// Set in the environment of a process that is to be measured: what it does.
pub const ROLE: &str = "MIMAMORI_BENCH_ROLE";
/// The ingest route with the journal, and no consumer behind it.
const WITH_JOURNAL: &str = "journal";
/// Ready bytes written to bare sockets.
const BARE_WRITER: &str = "bare-writer";
/// The ingest route with decode and admit, and nothing behind it: not even identities are remembered.
const WITHOUT_JOURNAL: &str = "nothing";
/// The ingest key of every server here.
pub const KEY: &str = "ing_benchmark-benchmark-benchmark";
/// The admin token of every server here.
pub const TOKEN: &str = "adm_benchmark-benchmark-benchmark";

/// A server process; ended when it is dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it keeps on disk.
    pub dir: PathBuf,
    _storage: tempfile::TempDir,
}

impl Server {
    /// The real program on the embedded default.
    pub fn real() -> anyhow::Result<Self> {
        Self::start(Command::new(env!("CARGO_BIN_EXE_mimamori")).arg("serve"))
    }

    /// The real program with these variables, on a directory that is filled before it starts.
    pub async fn real_on(
        env: &[(&str, &str)],
        fill: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let storage = tempfile::tempdir_in(target_dir())?;
        fill(storage.path()).await?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_mimamori"));
        command.arg("serve").envs(env.iter().copied());
        Self::start_on(storage, &mut command)
    }

    /// The ingest route with the journal on disk, but no consumer behind it.
    pub fn with_journal_alone() -> anyhow::Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).env(ROLE, WITH_JOURNAL))
    }

    /// The same route with decode and admit, but no journal: not even identities are remembered.
    pub fn without_journal() -> anyhow::Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).env(ROLE, WITHOUT_JOURNAL))
    }

    /// A program that writes ready bytes to bare sockets, as the environment says.
    pub fn bare_writer(settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, BARE_WRITER);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        Self::start(&mut command)
    }

    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_on(tempfile::tempdir_in(target_dir())?, command)
    }

    fn start_on(storage: tempfile::TempDir, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .env("MIMAMORI_STORAGE__DIR", storage.path())
            .env("MIMAMORI_HTTP__LISTEN", "127.0.0.1:0")
            .env("MIMAMORI_AUTH__ADMIN_TOKEN", TOKEN)
            .env("MIMAMORI_AUTH__INGEST_KEY", KEY)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .context("its standard output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said: serde_json::Value =
            serde_json::from_str(&line).context("the server did not start")?;
        let address = said["listening"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("http://")
            .parse()?;
        Ok(Self {
            child,
            address,
            dir: storage.path().to_owned(),
            _storage: storage,
        })
    }

    /// How many events each consumer of the journal is behind.
    pub async fn lags(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let tree = reqwest::Client::new()
            .get(format!("http://{}/api/v1/health/actors", self.address))
            .bearer_auth(TOKEN)
            .send()
            .await?
            .json::<serde_json::Value>()
            .await?;
        let mut lags = Vec::new();
        let mut open = vec![&tree];
        while let Some(actor) = open.pop() {
            if let (Some(name), Some(lag)) = (actor["name"].as_str(), actor["lagEvents"].as_u64()) {
                lags.push((name.to_owned(), lag));
            }
            open.extend(actor["children"].as_array().into_iter().flatten());
        }
        Ok(lags)
    }

    /// What it holds in memory.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let pages = std::fs::read_to_string(path).unwrap_or_default();
        let resident = pages.split_whitespace().nth(1);
        let resident: u64 = resident.and_then(|pages| pages.parse().ok()).unwrap_or(0);
        resident * 4096 // the page of every Linux that we run on
    }

    /// CPU seconds it has used so far.
    pub fn cpu_seconds(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let ticks: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        ticks.iter().sum::<f64>() / 100.0 // USER_HZ is 100 on every Linux that we run on
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // it is ours, and it may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where measurements keep their files: beside the build, not in /tmp, which may be no disk at all.
pub fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_mimamori"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// Does what the environment says.
pub fn in_its_role() -> ExitCode {
    match std::env::var(ROLE).unwrap_or_default().as_str() {
        BARE_WRITER => crate::bare::write_alone(),
        role @ (school::FIRST_DAY | school::NEXT_DAY) => school::open(role),
        _ => ingest_alone(),
    }
}

/// Serves `POST /api/v1/events` alone, until it is ended.
fn ingest_alone() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built on a machine that runs benchmarks");
    match runtime.block_on(serve_ingest_alone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::from(2)
        }
    }
}

async fn serve_ingest_alone() -> anyhow::Result<()> {
    let dir = PathBuf::from(std::env::var_os("MIMAMORI_STORAGE__DIR").context("storage.dir")?);
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let keys = Arc::new(Keys::load_or_create(&dir, secret(TOKEN), secret(KEY))?);
    let access = Arc::new(Access::new(
        Arc::clone(&keys),
        Vec::new(),
        Arc::new(SystemClock),
    ));
    let routes = ingest::routes(Ingest {
        keys: access,
        journal: journal(&dir)?,
        gate: Arc::new(Open),
        student_key: StudentKey::from_bytes(*keys.student_key()),
        classrooms: Classrooms::default(),
        body_timeout: Duration::from_secs(20),
    });
    let options = FrontOptions {
        public_url: None,
        trusted_proxies: Networks::loopback(),
    };
    let front = Front::new(
        routes,
        options,
        Arc::new(Refusals::default()),
        Arc::new(SystemClock),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    // as the real program: 256 that connect at once all find a place
    rustix::net::listen(&listener, 4096)?;
    println!("{{\"listening\":\"http://{}\"}}", listener.local_addr()?);
    let options = AcceptOptions {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(30),
        max_connections: 10_000,
        drain_deadline: Duration::from_secs(1),
    };
    accept::serve(listener, front, options, std::future::pending()).await;
    Ok(())
}

fn journal(dir: &Path) -> anyhow::Result<Arc<dyn Journal>> {
    if std::env::var(ROLE).is_ok_and(|role| role == WITHOUT_JOURNAL) {
        return Ok(Arc::new(NoJournal::default()));
    }
    let options = JournalOptions {
        dir: dir.to_owned(),
        max_bytes: 64 << 30,
        min_free_bytes: 0,
        dedup_days: 7,
        consumers: Vec::new(),
        begin_after: Position::ZERO,
        clock: Arc::new(SystemClock),
        segment_bytes: SEGMENT_BYTES,
        disk: Arc::new(RealDisk),
    };
    let (journal, _report) = FileJournal::open(options, &mut |_, _| {})?;
    Ok(Arc::new(journal))
}

struct Open;

impl Gate for Open {
    fn refuse(&self) -> Option<ApiError> {
        None
    }
}

/// Takes everything and keeps nothing.
#[derive(Default)]
struct NoJournal {
    positions: AtomicU64,
}

#[async_trait]
impl Journal for NoJournal {
    fn id(&self) -> JournalId {
        JournalId::new("none")
    }

    async fn append(&self, batch: Vec<NewRecord>, _: Origin) -> Result<Vec<Verdict>, AppendError> {
        let first = self
            .positions
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok((1..=batch.len() as u64)
            .map(|nth| Verdict::Accepted(Position(first + nth)))
            .collect())
    }

    async fn read(&self, after: Position, _: usize) -> Result<Batch, ReadError> {
        Ok(Batch {
            entries: Vec::new(),
            through: after,
        })
    }

    fn end(&self) -> watch::Receiver<Position> {
        watch::channel(Position::ZERO).1
    }

    fn oldest(&self) -> Position {
        Position(1)
    }

    fn committed(&self, _: &'static str, _: Position) {}
}
