//! `mimamori export` and `mimamori erase`: a person's rights.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::Context as _;
use mimamori_actors::domain::{Position, SessionKey};
use tokio::sync::mpsc;

use super::arguments::{Erase, Export};
use super::here::{Here, PIECE_WITHIN, in_time};
use super::lock::ServerLock;
use super::target::{Place, Target};
use super::{Failure, answer, runtime};
use crate::erasure::eraser::Progress;
use crate::erasure::list::ErasureList;
use crate::server::offline;

/// A line of progress is not longer.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Whom it is about, and where to ask.
struct Asked {
    here: Here,
    key: SessionKey,
}

impl Asked {
    fn of(file: Option<&Path>, student: &str, classroom: &str) -> Result<Self, Failure> {
        let here = Here::of(file)?;
        let classroom = here.classroom(classroom)?;
        let student = here.student(student);
        let key = SessionKey { classroom, student };
        Ok(Self { here, key })
    }

    /// The address of a route of the server that runs; nothing if none does.
    fn route(&self, what: &str) -> Option<reqwest::Url> {
        let SessionKey { classroom, student } = &self.key;
        let path = format!("/api/v1/admin/classrooms/{classroom}/students/{student}/{what}");
        self.here.address(&path)
    }

    async fn export(&self, target: &mut Target) -> anyhow::Result<()> {
        let Some(route) = self.route("export") else {
            let Here { config, keys, .. } = &self.here;
            let _lock = ServerLock::take(&config.storage.dir)?;
            let mut pieces = offline::export(config, keys, &self.key).await?;
            while let Some(piece) = pieces.recv().await {
                target.write(&piece?)?;
            }
            return Ok(());
        };
        let mut response = self.here.ask(|client| client.get(route)).await?;
        while let Some(piece) = in_time(PIECE_WITHIN, response.chunk())
            .await?
            .context("the export was cut off")?
        {
            target.write(&piece)?;
        }
        Ok(())
    }
}

pub(super) fn export(arguments: &Export) -> Result<(), Failure> {
    let asked = Asked::of(
        arguments.file.config.as_deref(),
        arguments.student.as_deref().unwrap_or_default(),
        &arguments.classroom,
    )?;
    let place = Place::of(arguments.output.as_deref())?;
    let exporting = place.written(async |target| asked.export(target).await);
    Ok(runtime()?.block_on(exporting)?)
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
        let config = &asked.here.config;
        match asked.route("erase") {
            Some(route) => over_http(asked.here.ask(|client| client.post(route)).await?).await,
            None => {
                let _lock = ServerLock::take(&config.storage.dir)?;
                let (told, mut steps) = mpsc::channel(64);
                let erasing = offline::erase(config.clone(), asked.key.clone(), told);
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
        write_beside(&asked.here.config.storage.dir, dir)?;
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
