//! The program, started for one test.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{Api, PATIENCE, ensure, eventually};

/// The admin token of every server here.
pub const ADMIN: &str = "adm_0123456789abcdef0123456789abcdef";
/// The ingest key of every server here, for the classroom [`ROOM`].
pub const INGEST_KEY: &str = "ing_fedcba9876543210fedcba9876543210";
/// The classroom that the key names.
pub const ROOM: &str = "default";

/// A running server. Dropped, it is killed, and its directory goes with the last that uses it.
pub struct Server {
    child: Child,
    /// Kept open: the server may still have something to say.
    _stdout: Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    pub address: SocketAddr,
    dir: Arc<TempDir>,
    env: Vec<(String, String)>,
    binary: &'static str,
    /// Its port, from when it was killed on: nobody else who asks for any is given it.
    kept_port: Option<OwnedFd>,
}

/// The program as it is shipped.
const SHIPPED: &str = env!("CARGO_BIN_EXE_mimamori");
/// The program whose actors fail where an event asks for it.
#[cfg(feature = "faulty")]
const FAULTY: &str = env!("CARGO_BIN_EXE_mimamori-faulty");

/// The program with the environment of the tests and of this directory, and nothing else.
pub fn program(dir: &Path) -> Command {
    let mut command = Command::new(SHIPPED);
    prepare(&mut command, dir);
    command
}

/// `mimamori serve`, run by another program.
pub fn program_under(launcher: &[&str], dir: &Path) -> Command {
    serve(SHIPPED, launcher, dir)
}

fn serve(binary: &str, launcher: &[&str], dir: &Path) -> Command {
    let words: Vec<&str> = launcher.iter().copied().chain([binary, "serve"]).collect();
    let mut command = Command::new(words[0]);
    prepare(&mut command, dir);
    command.args(&words[1..]);
    command
}

fn owned(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn prepare(command: &mut Command, dir: &Path) {
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| name == "PATH" || name == "RUST_LOG"))
        .env("RUST_BACKTRACE", "1")
        .env("MIMAMORI_STORAGE__DIR", dir)
        // the disk of a test machine may be small, and it is not what is tested
        .env("MIMAMORI_STORAGE__MIN_FREE_BYTES", "1MiB")
        .env("MIMAMORI_HTTP__LISTEN", "127.0.0.1:0")
        .env("MIMAMORI_AUTH__ADMIN_TOKEN", ADMIN)
        .env("MIMAMORI_AUTH__INGEST_KEY", INGEST_KEY)
        .current_dir(dir)
        .kill_on_drop(true);
}

impl Server {
    /// A server with the defaults.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A server with these variables besides those of every test.
    pub async fn with(env: &[(&str, &str)]) -> Self {
        Self::on(TempDir::with_prefix("mimamori-it-").unwrap(), env).await
    }

    /// A server on a directory that holds something already.
    pub async fn on(dir: TempDir, env: &[(&str, &str)]) -> Self {
        Self::launch(SHIPPED, Arc::new(dir), owned(env), &[], Stdio::null()).await
    }

    /// A server on a directory that others hold too, run by another program.
    pub async fn on_under(dir: &Arc<TempDir>, launcher: &[&str], stdin: Stdio) -> Self {
        Self::launch(SHIPPED, Arc::clone(dir), Vec::new(), launcher, stdin).await
    }

    /// A server whose actors fail where an event asks for it.
    #[cfg(feature = "faulty")]
    pub async fn faulty() -> Self {
        Self::faulty_with(&[]).await
    }

    /// As [`Server::faulty`], with these variables besides those of every test.
    #[cfg(feature = "faulty")]
    pub async fn faulty_with(env: &[(&str, &str)]) -> Self {
        let dir = Arc::new(TempDir::with_prefix("mimamori-it-").unwrap());
        Self::launch(FAULTY, dir, owned(env), &[], Stdio::null()).await
    }

    /// Started again where it ends by itself before it is ready; how it ended.
    #[cfg(feature = "faulty")]
    pub async fn start_that_ends(&self, within: Duration) -> ExitStatus {
        let mut command = Command::new(FAULTY);
        prepare(&mut command, self.dir());
        let mut child = command
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(self.dir()))
            .spawn()
            .unwrap();
        timeout(within, child.wait()).await.unwrap().unwrap()
    }

    /// A server that is run by another program, such as strace.
    pub async fn under(launcher: &[&str]) -> Self {
        let dir = Arc::new(TempDir::with_prefix("mimamori-it-").unwrap());
        Self::on_under(&dir, launcher, Stdio::null()).await
    }

    async fn launch(
        binary: &'static str,
        dir: Arc<TempDir>,
        env: Vec<(String, String)>,
        launcher: &[&str],
        stdin: Stdio,
    ) -> Self {
        let mut child = serve(binary, launcher, dir.path())
            .envs(env.iter().cloned())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(log(dir.path()))
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, stdout.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            panic!(
                "no line on standard output: {line:?}; the log:\n{}",
                tail(dir.path())
            );
        };
        let said: Value = serde_json::from_str(&line).unwrap();
        let base = said["listening"].as_str().unwrap();
        let address = base.strip_prefix("http://").unwrap().parse().unwrap();
        let server = Self {
            child,
            _stdout: stdout,
            address,
            dir,
            env,
            binary,
            kept_port: None,
        };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        let api = self.api();
        eventually("the server is ready", PATIENCE, async || {
            let answer = api.get("/readyz").await;
            ensure(answer.status == 200, || {
                format!("{} {}", answer.status, answer.text)
            })
        })
        .await;
    }

    /// Started again, on the same directory and with the same variables; on a free port.
    pub async fn start_again(self) -> Self {
        let (binary, dir, env) = (self.binary, self.dir.clone(), self.env.clone());
        drop(self);
        Self::launch(binary, dir, env, &[], Stdio::null()).await
    }

    /// Started again, on the same directory, with other variables.
    pub async fn start_again_with(self, env: &[(&str, &str)]) -> Self {
        let (binary, dir) = (self.binary, self.dir.clone());
        drop(self);
        Self::launch(binary, dir, owned(env), &[], Stdio::null()).await
    }

    /// Started again where it was, after it was killed.
    pub async fn start_again_on_its_port(mut self) -> Self {
        let (binary, dir, address) = (self.binary, self.dir.clone(), self.address);
        let mut env = self.env.clone();
        let _kept_port = self.kept_port.take();
        drop(self);
        env.retain(|(name, _)| name != "MIMAMORI_HTTP__LISTEN");
        env.push(("MIMAMORI_HTTP__LISTEN".to_owned(), address.to_string()));
        Self::launch(binary, dir, env, &[], Stdio::null()).await
    }

    /// A client that holds the admin token.
    pub fn api(&self) -> Api {
        Api::new(&self.base(), Some(ADMIN))
    }

    /// A client that holds nothing.
    pub fn stranger(&self) -> Api {
        Api::new(&self.base(), None)
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The directory of this server.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process, from which signals are sent and to which strace is attached.
    pub fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id().expect("it runs")).unwrap();
        Pid::from_raw(id).unwrap()
    }

    /// The power goes out for this process: no destructor runs.
    pub async fn kill9(&mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
        self.kept_port = keep(self.address);
    }

    /// Asks it to stop.
    pub fn sigterm(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// How it ended, and that it did.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        timeout(within, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("still there after {within:?}:\n{}", tail(self.dir())))
            .unwrap()
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_of(self.dir())).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // a failed test shows what the server had to say
        if std::thread::panicking() {
            println!("the server's log, its end:\n{}", tail(self.dir()));
        }
        let _ = self.child.start_kill();
        // the directory must not be taken from under its feet, nor its lock be held when it starts again
        let deadline = std::time::Duration::from_secs(5);
        let step = std::time::Duration::from_millis(5);
        let mut waited = std::time::Duration::ZERO;
        while waited < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(step);
            waited += step;
        }
    }
}

/// Has the port and does not listen: who connects is refused, and who shares it may listen.
fn keep(address: SocketAddr) -> Option<OwnedFd> {
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    sockopt::set_socket_reuseaddr(&held, true).ok()?;
    bind(&held, &address).ok()?;
    Some(held)
}

fn log(dir: &Path) -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    options.open(log_of(dir)).unwrap()
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("test.log")
}

fn tail(dir: &Path) -> String {
    let log = std::fs::read_to_string(log_of(dir)).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(40).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
