//! `mimamori export` and `mimamori erase`: a person's rights.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mimamori_actors::domain::{ClassroomId, Position, SessionKey, StudentId};
use tokio::sync::mpsc;

use super::arguments::{Erase, Export};
use super::lock::ServerLock;
use super::{Failure, answer, load_config, runtime, storage_dir};
use crate::admit::StudentKey;
use crate::config::Config;
use crate::erasure::eraser::Progress;
use crate::erasure::list::ErasureList;
use crate::keys::Keys;
use crate::server::offline;

/// A line of progress is not longer.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Whom it is about, and where to ask.
struct Asked {
    config: Config,
    keys: Keys,
    key: SessionKey,
}

impl Asked {
    fn of(file: Option<&Path>, student: &str, classroom: &str) -> Result<Self, Failure> {
        let loaded = load_config(file)?;
        storage_dir::prepare(&loaded)?;
        let config = loaded.config;
        let classroom = ClassroomId::new(classroom);
        if config.classrooms.get(&classroom).is_none() {
            return Err(Failure::Usage(format!(
                "--classroom {classroom}: there is no such classroom"
            )));
        }
        let keys = Keys::load_or_create(
            &config.storage.dir,
            config.auth.admin_token.clone(),
            config.auth.ingest_key.clone(),
        )
        .map_err(anyhow::Error::new)?;
        let student = student_of(student, &keys);
        Ok(Self {
            config,
            keys,
            key: SessionKey { classroom, student },
        })
    }

    /// The address of a route of the server that runs; nothing if none does.
    fn route(&self, what: &str) -> Result<Option<String>, Failure> {
        let running = ServerLock::read(&self.config.storage.dir).map_err(anyhow::Error::new)?;
        Ok(running.map(|running| {
            let base = reachable(running.listening);
            let SessionKey { classroom, student } = &self.key;
            format!("http://{base}/api/v1/admin/classrooms/{classroom}/students/{student}/{what}")
        }))
    }

    async fn send(
        &self,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> anyhow::Result<reqwest::Response> {
        // it is on this machine
        let client = reqwest::Client::builder().no_proxy().build()?;
        let token = self.keys.admin_token().expose();
        let response = request(&client).bearer_auth(token).send().await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: serde_json::Value = response.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason was given");
        anyhow::bail!("the server answered {status}: {detail}")
    }
}

/// An id is taken as it is, anything else for an address.
fn student_of(text: &str, keys: &Keys) -> StudentId {
    let is_id = text.strip_prefix("stu_").is_some_and(|digits| {
        digits.len() == 24 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if is_id {
        return StudentId::new(text);
    }
    StudentKey::from_bytes(*keys.student_key()).student(text)
}

/// One that listens on every address is reached from this machine.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if !listening.ip().is_unspecified() {
        return listening;
    }
    let ip = match listening {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, listening.port())
}

pub(super) fn export(arguments: &Export) -> Result<(), Failure> {
    let asked = Asked::of(
        arguments.file.config.as_deref(),
        arguments.student.as_deref().unwrap_or_default(),
        &arguments.classroom,
    )?;
    let mut target = Target::open(arguments.output.as_deref())?;
    let exporting = async {
        match asked.route("export")? {
            Some(route) => {
                let mut response = asked.send(|client| client.get(route)).await?;
                while let Some(piece) = response.chunk().await.context("the export was cut off")? {
                    target.write(&piece)?;
                }
            }
            None => {
                let _lock = ServerLock::take(&asked.config.storage.dir)?;
                let mut pieces = offline::export(&asked.config, &asked.keys, &asked.key).await?;
                while let Some(piece) = pieces.recv().await {
                    target.write(&piece?)?;
                }
            }
        }
        anyhow::Ok(())
    };
    runtime()?.block_on(exporting)?;
    Ok(target.finish()?)
}

/// Standard output, or a file that gets its name when it is whole.
enum Target {
    Out(io::Stdout),
    File(fs::File, PathBuf, PathBuf),
}

impl Target {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Out(io::stdout()));
        };
        let mut making = path.as_os_str().to_owned();
        making.push(".part");
        let making = PathBuf::from(making);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&making)
            .with_context(|| making.display().to_string())?;
        Ok(Self::File(file, making, path.to_path_buf()))
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Out(out) => out.write_all(piece),
            Self::File(file, ..) => file.write_all(piece),
        }
    }

    fn finish(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::Out(out) => out.flush()?,
            Self::File(file, making, path) => {
                file.sync_all()?;
                fs::rename(&*making, &*path).with_context(|| path.display().to_string())?;
                *making = PathBuf::new();
            }
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File(_, making, _) = self
            && !making.as_os_str().is_empty()
        {
            // half of a document is none
            let _ = fs::remove_file(making);
        }
    }
}

pub(super) fn erase(arguments: &Erase) -> Result<(), Failure> {
    let asked = Asked::of(
        arguments.file.config.as_deref(),
        &arguments.student,
        &arguments.classroom,
    )?;
    if !arguments.yes && !is_agreed(&asked.key)? {
        answer("nothing was erased");
        return Ok(());
    }
    let erasing = async {
        match asked.route("erase")? {
            Some(route) => over_http(asked.send(|client| client.post(route)).await?).await,
            None => {
                let _lock = ServerLock::take(&asked.config.storage.dir)?;
                let (told, mut steps) = mpsc::channel(64);
                let erasing = offline::erase(asked.config.clone(), asked.key.clone(), told);
                let telling = async {
                    while let Some(step) = steps.recv().await {
                        tell(&step);
                    }
                };
                let (erased, ()) = tokio::join!(erasing, telling);
                erased
            }
        }
    };
    let erased = runtime()?.block_on(erasing);
    if let Some(dir) = &arguments.also {
        write_beside(&asked.config.storage.dir, dir)?;
    }
    erased?;
    let SessionKey { classroom, student } = &asked.key;
    answer(format_args!(
        "erased: everything of student {student} in classroom {classroom}"
    ));
    Ok(())
}

/// A restore looks there, too, for who must not come back.
fn write_beside(storage_dir: &Path, dir: &Path) -> anyhow::Result<()> {
    let all = ErasureList::of(storage_dir).read()?;
    ErasureList::of(dir).merge(&all, Position(u64::MAX))?;
    Ok(())
}

/// On a terminal the person at it is asked.
fn is_agreed(key: &SessionKey) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "--yes is needed where nobody can be asked".to_owned(),
        ));
    }
    let mut err = io::stderr().lock();
    let _ = write!(
        err,
        "Everything of student {} in classroom {} will be erased for good.\n\
         Copies in backups stay until those are removed. Type yes to go on: ",
        key.student, key.classroom
    )
    .and_then(|()| err.flush());
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(anyhow::Error::new)?;
    Ok(line.trim() == "yes")
}

async fn over_http(mut response: reqwest::Response) -> anyhow::Result<()> {
    let mut line = Vec::new();
    let mut is_done = false;
    let gone = "the server ended the answer: the erasure goes on there, or at its next start; the same command again waits for its end";
    while let Some(piece) = response.chunk().await.context(gone)? {
        for byte in piece {
            if byte != b'\n' {
                line.push(byte);
                anyhow::ensure!(line.len() <= MAX_LINE_BYTES, "the server's answer is none");
                continue;
            }
            let said: serde_json::Value = serde_json::from_slice(&line)?;
            line.clear();
            if said["step"] == "failed" {
                anyhow::bail!(
                    "not everything is erased: {}",
                    said["reason"].as_str().unwrap_or_default()
                );
            }
            let step: Progress = serde_json::from_value(said)?;
            is_done |= matches!(step, Progress::Done { .. });
            tell(&step);
        }
    }
    anyhow::ensure!(is_done, "{gone}");
    Ok(())
}

fn tell(step: &Progress) {
    let text = match step {
        Progress::Hidden { through } => {
            format!("no longer shown, up to position {through} of the journal")
        }
        Progress::Identities => "out of the index of identities".to_owned(),
        Progress::Series => "out of the series".to_owned(),
        Progress::Records { events } => format!("{events} events out of the records"),
        Progress::Scrubbing => "the records are written anew".to_owned(),
        Progress::Journal { done, of } => format!("journal: {done} of {of} segments"),
        Progress::Snapshots => "out of the snapshots".to_owned(),
        Progress::Done { .. } => return,
    };
    let _ = writeln!(io::stderr(), "mimamori: {text}");
}
