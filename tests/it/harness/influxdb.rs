//! A real InfluxDB server, and databases on it. Used by the tests of the library, too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// A server of its own; it ends when this is dropped, or when the process ends.
pub struct Influxd {
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    port: u16,
}

impl Influxd {
    /// Makes one without users and waits until it answers.
    pub fn start() -> Self {
        Self::start_with("false")
    }

    /// Makes one that asks everybody who it is, and has one user.
    pub fn start_with_a_user(name: &str, password: &str) -> Self {
        let server = Self::start_with("true");
        let first = format!("CREATE USER {name} WITH PASSWORD '{password}' WITH ALL PRIVILEGES");
        server.database().ask(&first);
        server
    }

    fn start_with(users: &str) -> Self {
        let port = free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/influxdb.sh");
        let mut child = Command::new(script)
            .args([&port.to_string(), users])
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

    /// `stop` (kill -9), `start`, `freeze`, `thaw` or `forget`; it is so when this returns.
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
            panic!("the InfluxDB server: {line}");
        }
    }

    /// A database that nobody has used, not made yet.
    pub fn database(&self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Database {
            port: self.port,
            name: format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.child.wait();
    }
}

/// A database on one of these servers.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where its server listens.
    pub port: u16,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Its address, as it is configured.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/?db={}", self.port, self.name)
    }

    /// What the server's own client answers, a line a row, the columns with commas between.
    pub fn ask(&self, statement: &str) -> Vec<String> {
        let output = Command::new("influx")
            .args(["-host", "127.0.0.1", "-port", &self.port.to_string()])
            .args(["-database", &self.name, "-format", "csv"])
            .args(["-execute", statement])
            .env("HOME", "/nonexistent")
            .output()
            .expect("influx is there: scripts/test.sh installs influxdb-client");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        // nothing has been written yet
        if text.contains("database not found") {
            return Vec::new();
        }
        assert!(output.status.success(), "{statement}: {text}");
        // the first line names the columns
        text.lines().skip(1).map(str::to_owned).collect()
    }

    /// The last column of the only row of an answer; 0 where there is nothing.
    pub fn count(&self, statement: &str) -> u64 {
        let rows = self.ask(statement);
        let Some(row) = rows.first() else { return 0 };
        row.rsplit(',').next().unwrap().parse().unwrap()
    }
}

/// A new database on the server that all tests of this process share.
pub fn database() -> Database {
    static SHARED: OnceLock<Mutex<Influxd>> = OnceLock::new();
    let server = SHARED.get_or_init(|| Mutex::new(Influxd::start()));
    server.lock().unwrap().database()
}

/// As the ports of the other servers: below those that the system gives to whoever asks
/// for any, no two of this process the same, and a few for each process.
fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(4);
    let first = 15_000 + u16::try_from(std::process::id() % 2_000).unwrap() * 8;
    loop {
        let port = first + GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "one of thousands of ports is free");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
