//! A real PostgreSQL server, and databases on it. Used by the tests of the library, too.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::spoken::{Ports, Spoken};

/// The superuser's password: it must stand in no log.
pub const PASSWORD: &str = "not-for-logs";

/// A server of its own; it ends when this is dropped, or when the process ends.
pub struct Postgres {
    server: Spoken,
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

    #[allow(dead_code, reason = "not for the library's tests")]
    /// One whose data are in this directory, which is empty.
    pub fn start_in(data: &Path) -> Self {
        Self::start_with(&[("POSTGRES_DIR", data)])
    }

    fn start_with(asked: &[(&str, &Path)]) -> Self {
        let port = Ports::Postgres.next();
        let mut script = Spoken::script("postgres.sh");
        script.arg(port.to_string()).envs(asked.iter().copied());
        Self {
            server: Spoken::start("PostgreSQL", &mut script),
            port,
        }
    }

    /// A replica of this one, which follows it by streaming replication.
    pub fn replica(&self) -> Self {
        let of = self.port.to_string();
        Self::start_with(&[("POSTGRES_REPLICA_OF", Path::new(&of))])
    }

    /// The same database at this server, whose replica, or primary, has it at that address.
    pub fn same(&self, url: &str) -> String {
        let (_, name) = url.rsplit_once('/').expect("an address ends with a name");
        self::url(self.port, name)
    }

    /// `stop` (as a crash), `kill` (-9), `start`, `freeze` or `thaw`; it is so when this returns.
    pub fn say(&mut self, word: &str) {
        self.server.say(word);
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
