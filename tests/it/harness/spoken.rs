//! A real server of another make: a script holds it, says `ready`, and obeys words.
//!
//! The scripts stand beside this (`tests/*.sh`). Each answers a word with itself once it is
//! so; when its standard input ends, however that comes about, it ends its server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// The script and its server; both end when this is dropped, or when the process ends.
pub struct Spoken {
    name: &'static str,
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Spoken {
    /// The script in `tests/` of this file's name, to be given arguments and to be started.
    pub fn script(file: &str) -> Command {
        Command::new(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests")
                .join(file),
        )
    }

    /// Starts it and waits until its server answers.
    pub fn start(name: &'static str, script: &mut Command) -> Self {
        let mut child = script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Self {
            name,
            words: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        server.hear("ready");
        server
    }

    /// Says a word; it is so when this returns.
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
            self.answers.read_to_string(&mut line).unwrap();
            panic!("{}: {line}", self.name);
        }
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.child.wait();
    }
}

/// Which ports a make of server has: one that is stopped for a while must find its own free
/// again, so no two makes share any, and the system gives them to nobody who asks for any.
#[derive(Debug, Clone, Copy)]
pub enum Ports {
    /// From 15,000 on.
    Postgres,
    /// From 20,000 on.
    Redis,
    /// From 25,000 on.
    Influx,
}

impl Ports {
    /// A port that no other server of this process has had; each process begins at another place.
    pub fn next(self) -> u16 {
        static GIVEN: AtomicU16 = AtomicU16::new(0);
        let first = 15_000 + self as u16 * 5_000;
        let begin = u16::try_from(std::process::id() % 600).unwrap() * 8;
        loop {
            let nth = begin + GIVEN.fetch_add(1, Ordering::Relaxed);
            assert!(nth < 5_000, "one of thousands of ports is free");
            let port = first + nth;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    }
}
