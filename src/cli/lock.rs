//! One server a storage directory, and where it listens: the file `server.lock`.
//!
//! The kernel holds the lock and gives it up when the process ends, however it
//! ends; what the file says counts only while the lock is held.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The file's name under `storage.dir`.
const NAME: &str = "server.lock";
/// A command that reads holds the lock for an instant: a start asks again so often, …
const ATTEMPTS: u32 = 10;
/// … so far apart.
const PAUSE: Duration = Duration::from_millis(20);
/// No lock file of ours is longer.
const MAX_BYTES: u64 = 16 * 1024;

/// Why the lock cannot be had or read.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server runs on this directory.
    #[error("another server runs on storage.dir {dir}{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// That server's process, if it has said so already.
        pid: Option<u32>,
    },
    /// The file cannot be opened, locked, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a running server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub listening: SocketAddr,
    /// How others reach it, if that is configured.
    pub public_url: Option<String>,
}

impl Running {
    /// Where it is reached from this machine: who listens on every address, by this machine's own.
    #[must_use]
    pub fn reachable(&self) -> SocketAddr {
        let ip = match self.listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.listening.port())
    }
}

/// Holds a storage directory for one server, until it is dropped.
#[derive(Debug)]
pub struct ServerLock {
    file: File,
    path: PathBuf,
}

impl ServerLock {
    /// Takes the directory, which must be there.
    ///
    /// # Errors
    /// When another server has it, or the file cannot be used.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(NAME);
        let at = |source: io::Error| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at)?;
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(at)? {
            let pid = parse(&mut file).map_err(at)?.map(|running| running.pid);
            return Err(LockError::Held {
                dir: dir.to_owned(),
                pid,
            });
        }
        // what the last server said is no longer true
        file.set_len(0).map_err(at)?;
        Ok(Self { file, path })
    }

    /// Says where the server is.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(&self, running: &Running) -> Result<(), LockError> {
        let write = || -> io::Result<()> {
            let mut file = &self.file;
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(serde_json::to_string(running)?.as_bytes())
        };
        write().map_err(|source| LockError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// The server that runs on this directory, if one does and its socket is open.
    ///
    /// # Errors
    /// When a server holds the lock and has not said yet where it is, or the file cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Running>, LockError> {
        let path = dir.join(NAME);
        let at = |source: io::Error| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            // dropped with the file, at the end of this function
            Ok(()) => Ok(None),
            Err(Errno::WOULDBLOCK) => {
                let starting = || at(io::Error::other("the server is still starting"));
                parse(&mut file).map_err(at)?.map(Some).ok_or_else(starting)
            }
            Err(error) => Err(at(error.into())),
        }
    }
}

/// Whether the lock was free within a moment.
fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// What the file says; nothing if it says nothing, or only half of it yet.
fn parse(file: &mut File) -> io::Result<Option<Running>> {
    let mut text = String::new();
    file.rewind()?;
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Running {
        Running {
            pid: std::process::id(),
            listening: "127.0.0.1:4711".parse().unwrap(),
            public_url: Some("https://hub.example/mimamori".to_owned()),
        }
    }

    #[test]
    fn a_second_server_is_refused_and_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let lock = ServerLock::take(dir.path()).unwrap();
        lock.publish(&running()).unwrap();

        let refused = ServerLock::take(dir.path()).unwrap_err().to_string();

        assert!(
            refused.contains("another server runs on storage.dir"),
            "{refused}"
        );
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
    }

    #[test]
    fn commands_learn_where_the_running_server_is() {
        let dir = tempfile::tempdir().unwrap();
        let lock = ServerLock::take(dir.path()).unwrap();
        lock.publish(&running()).unwrap();

        let read = ServerLock::read(dir.path()).unwrap();

        assert_eq!(read, Some(running()));
    }

    #[test]
    fn a_server_that_is_gone_leaves_no_address_and_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = ServerLock::take(dir.path()).unwrap();
        lock.publish(&running()).unwrap();
        drop(lock);

        assert_eq!(ServerLock::read(dir.path()).unwrap(), None);
        assert!(ServerLock::take(dir.path()).is_ok());
    }

    #[test]
    fn a_server_that_is_starting_is_told_from_none() {
        let dir = tempfile::tempdir().unwrap();
        let none = ServerLock::read(dir.path()).unwrap();
        let _lock = ServerLock::take(dir.path()).unwrap();

        let starting = ServerLock::read(dir.path()).unwrap_err().to_string();

        assert_eq!(none, None);
        assert!(starting.contains("still starting"), "{starting}");
    }

    #[test]
    fn a_shorter_address_leaves_nothing_of_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let lock = ServerLock::take(dir.path()).unwrap();
        let shorter = Running {
            public_url: None,
            ..running()
        };

        lock.publish(&running()).unwrap();
        lock.publish(&shorter).unwrap();

        assert_eq!(ServerLock::read(dir.path()).unwrap(), Some(shorter));
    }

    #[test]
    fn who_listens_everywhere_is_reached_on_this_machine() {
        for (listening, reached) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("10.0.0.7:8000", "10.0.0.7:8000"),
        ] {
            let running = Running {
                pid: 1,
                listening: listening.parse().unwrap(),
                public_url: None,
            };
            assert_eq!(running.reachable(), reached.parse().unwrap());
        }
    }
}
