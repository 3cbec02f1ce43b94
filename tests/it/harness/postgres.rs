//! A real PostgreSQL server, and databases on it. Used by the tests of the library, too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// The superuser's password: it must stand in no log.
pub const PASSWORD: &str = "not-for-logs";

/// A server of its own; it ends when this is dropped, or when the process ends.
pub struct Postgres {
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    port: u16,
}

impl Postgres {
    /// Makes one and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// One that also speaks TLS, with `server.crt` and `server.key` of this directory, which all may read.
    pub fn start_with_tls(certificates: &Path) -> Self {
        Self::start_with(&[("POSTGRES_TLS", certificates)])
    }

    #[allow(dead_code, reason = "for a drill")]
    /// One whose data are in this directory, which is empty.
    pub fn start_in(data: &Path) -> Self {
        Self::start_with(&[("POSTGRES_DIR", data)])
    }

    fn start_with(asked: &[(&str, &Path)]) -> Self {
        let port = free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres.sh");
        let mut child = Command::new(script)
            .arg(port.to_string())
            .envs(asked.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Self {
            words: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
            port,
        };
        server.hear("ready");
        server
    }

    /// `stop` (as a crash), `kill` (-9), `start`, `freeze` or `thaw`; it is so when this returns.
    pub fn say(&mut self, word: &str) {
        let words = self.words.as_mut().unwrap();
        writeln!(words, "{word}").unwrap();
        words.flush().unwrap();
        self.hear(word);
    }

    fn hear(&mut self, expected: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        if line.trim() != expected {
            // the script says what is wrong and ends
            for line in self.answers.by_ref().lines().map_while(Result::ok) {
                println!("{line}");
            }
            panic!("the PostgreSQL server: {line}");
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A new database, empty; its address.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        ask(
            &url(self.port, "postgres"),
            &format!("CREATE DATABASE {name} TEMPLATE template0"),
        );
        url(self.port, &name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.child.wait();
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{database}")
}

/// What the server's own client answers, a line a row.
pub fn ask(url: &str, sql: &str) -> String {
    let output = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            url,
            "-c",
            sql,
        ])
        .output()
        .expect("psql is there: scripts/test.sh installs postgresql");
    assert!(
        output.status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A new database on the server that all tests of this process share.
pub fn database() -> String {
    static SHARED: OnceLock<Mutex<Postgres>> = OnceLock::new();
    let server = SHARED.get_or_init(|| Mutex::new(Postgres::start()));
    server.lock().unwrap().database()
}

/// Below the ports that the system gives to those who ask for any: it may be left
/// for a while, and nobody comes to it meanwhile. No two of this process are the
/// same, and each process has a few of its own.
fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = 15_000 + u16::try_from(std::process::id() % 2_000).unwrap() * 8;
    loop {
        let port = first + GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "one of thousands of ports is free");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
