//! A real Redis server, and databases on it. Used by the tests of the library, too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// The server's password: it must stand in no log.
pub const PASSWORD: &str = "not-for-logs";

/// A server of its own; it ends when this is dropped, or when the process ends.
pub struct Redis {
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    port: u16,
}

impl Redis {
    /// Makes one and waits until it answers.
    pub fn start() -> Self {
        let port = free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis.sh");
        let mut child = Command::new(script)
            .arg(port.to_string())
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

    /// `stop`, `kill` (as a crash), `start`, `empty`, `freeze` or `thaw`; it is so when this returns.
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
            panic!("the Redis server: {line}");
        }
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

impl Drop for Redis {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.child.wait();
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

/// Below the ports that the system gives to those who ask for any: it may be left
/// for a while, and nobody comes to it meanwhile. No two of this process are the
/// same, and each process has a few of its own, beside those of other servers.
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
