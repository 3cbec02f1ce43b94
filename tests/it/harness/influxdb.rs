//! A real InfluxDB server, and databases on it. Used by the tests of the library, too.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::spoken::{Ports, Spoken};

/// A server of its own; it ends when this is dropped, or when the process ends.
pub struct Influxd {
    server: Spoken,
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
        let port = Ports::Influx.next();
        let mut script = Spoken::script("influxdb.sh");
        Self {
            server: Spoken::start("InfluxDB", script.args([&port.to_string(), users])),
            port,
        }
    }

    /// `stop` (kill -9), `start`, `freeze`, `thaw` or `forget`; it is so when this returns.
    pub fn say(&mut self, word: &str) {
        self.server.say(word);
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
