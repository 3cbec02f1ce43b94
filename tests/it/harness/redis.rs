//! A real Redis server, and databases on it. Used by the tests of the library, too.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::spoken::{Ports, Spoken};

/// The server's password: it must stand in no log.
pub const PASSWORD: &str = "not-for-logs";

/// A server of its own; it ends when this is dropped, or when the process ends.
pub struct Redis {
    server: Spoken,
    port: u16,
}

impl Redis {
    /// Makes one and waits until it answers.
    pub fn start() -> Self {
        let port = Ports::Redis.next();
        let mut script = Spoken::script("redis.sh");
        Self {
            server: Spoken::start("Redis", script.arg(port.to_string())),
            port,
        }
    }

    /// Makes one that speaks TLS alone, with `server.crt`, `server.key` and `ours.crt` in
    /// this directory.
    pub fn start_with_tls(certificates: &Path) -> Self {
        let port = Ports::Redis.next();
        let mut script = Spoken::script("redis.sh");
        script.arg(port.to_string()).arg(certificates);
        Self {
            server: Spoken::start("Redis", &mut script),
            port,
        }
    }

    /// `stop`, `kill` (as a crash), `start`, `empty`, `freeze` or `thaw`; it is so when this returns.
    pub fn say(&mut self, word: &str) {
        self.server.say(word);
    }

    /// A database that nobody else of this process uses; its address. What is
    /// published to channels is heard in all of them.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // redis-cli signs in with what stands here only if a name stands there, too
        format!(
            "redis://default:{PASSWORD}@127.0.0.1:{}/{number}",
            self.port
        )
    }
}

/// What the server's own client answers.
pub fn ask(url: &str, words: &[&str]) -> String {
    let (_, place) = url.split_once('@').unwrap();
    let bare = format!("redis://{place}");
    let output = Command::new("redis-cli")
        .env("REDISCLI_AUTH", PASSWORD)
        .args(["-e", "-u", &bare])
        .args(words)
        .output()
        .expect("redis-cli is there: scripts/test.sh installs redis-server");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

/// A new database on the server that all tests of this process share.
pub fn database() -> String {
    static SHARED: OnceLock<Mutex<Redis>> = OnceLock::new();
    let server = SHARED.get_or_init(|| Mutex::new(Redis::start()));
    server.lock().unwrap().database()
}
