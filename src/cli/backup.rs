//! `mimamori backup` and `mimamori restore`.

use rustix::fs::Mode;
use rustix::process::umask;
use serde::Serialize;

use super::arguments::{Backup, Restore};
use super::lock::ServerLock;
use super::{Failure, answer, load_config, runtime, storage_dir};
use crate::backup::{self, Progress, Source, Unfinished};
use crate::config::Config;
use crate::keys::Keys;
use crate::storage::records::RecordsAt;
use crate::tools::simulate::ctrl_c;

pub(super) fn take(arguments: &Backup) -> Result<(), Failure> {
    let config = load_config(arguments.file.config.as_deref())?.config;
    let dir = &config.storage.dir;
    if !dir.join("journal").is_dir() {
        let error = anyhow::anyhow!(
            "no journal is in {}: there is nothing to back up",
            dir.display()
        );
        return Err(error.into());
    }
    Unfinished::check(dir).map_err(anyhow::Error::new)?;
    umask(Mode::RWXG | Mode::RWXO);
    let source = source(&config)?;
    let records = RecordsAt::of(&config);
    let progress = Progress::new();
    let taking = backup::take(dir, &records, &source, &arguments.dir, &progress);
    let taken = runtime()?.block_on(async {
        tokio::select! {
            biased;
            // dropped, it takes with it what it has written: the work of students, and secrets
            () = ctrl_c() => Err(anyhow::anyhow!("ended by a signal, nothing is left of the backup")),
            taken = taking => taken.map_err(anyhow::Error::new),
        }
    })?;
    say(&taken, arguments.json, || {
        format!(
            "{}: {} rows, {} sessions, everything up to position {}; {} files, {} bytes",
            taken.backup.display(),
            taken.rows,
            taken.sessions,
            taken.end,
            taken.files,
            taken.bytes
        )
    })
}

/// The server that runs, or the lock that keeps one from starting.
fn source(config: &Config) -> Result<Source, Failure> {
    let dir = &config.storage.dir;
    let Some(running) = ServerLock::read(dir).map_err(anyhow::Error::new)? else {
        let lock = ServerLock::take(dir).map_err(anyhow::Error::new)?;
        return Ok(Source::Alone(lock));
    };
    let keys = Keys::load_or_create(
        dir,
        config.auth.admin_token.clone(),
        config.auth.ingest_key.clone(),
    )
    .map_err(anyhow::Error::new)?;
    Ok(Source::Server {
        address: format!("http://{}", running.reachable()),
        token: keys.admin_token().clone(),
    })
}

pub(super) fn restore(arguments: &Restore) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    umask(Mode::RWXG | Mode::RWXO);
    storage_dir::make(&loaded)?;
    let dir = &loaded.config.storage.dir;
    // held until the end: no server may start meanwhile
    let _lock = ServerLock::take(dir).map_err(anyhow::Error::new)?;
    let records = RecordsAt::of(&loaded.config);
    let progress = Progress::new();
    let restoring = backup::restore(&arguments.dir, dir, &records, &progress);
    let restored = runtime()?.block_on(restoring).map_err(anyhow::Error::new)?;
    say(&restored, arguments.json, || {
        format!(
            "{}: {} rows in {records}, {} sessions, everything up to position {}; the journal is {} now",
            restored.storage_dir.display(),
            restored.rows,
            restored.sessions,
            restored.end,
            restored.journal
        )
    })
}

fn say(done: &impl Serialize, as_json: bool, plainly: impl Fn() -> String) -> Result<(), Failure> {
    if as_json {
        answer(serde_json::to_string(done).map_err(anyhow::Error::new)?);
    } else {
        answer(plainly());
    }
    Ok(())
}
