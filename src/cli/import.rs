//! `mimamori import`.

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use mimamori_actors::domain::ClassroomId;
use mimamori_actors::ports::Clock as _;

use super::arguments::{FromCellMonitor, Import, ImportFrom};
use super::lock::ServerLock;
use super::{Failure, answer, load_config, runtime, storage_dir};
use crate::admit::StudentKey;
use crate::cache::Cache;
use crate::clock::SystemClock;
use crate::config::{Config, Loaded};
use crate::erasure::list::ErasureList;
use crate::journal::check_formats;
use crate::keys::Keys;
use crate::moving::{Allowed, Report, Source, Target, move_in};
use crate::privacy::Terms;
use crate::storage::records::{Records, RecordsAt};
use crate::storage::series::{Series, SeriesAt};

pub(super) fn run(arguments: &Import) -> Result<(), Failure> {
    match &arguments.from {
        ImportFrom::CellMonitor(from) => from_cell_monitor(from),
    }
}

fn from_cell_monitor(from: &FromCellMonitor) -> Result<(), Failure> {
    let loaded = load_config(from.file.config.as_deref())?;
    storage_dir::prepare(&loaded)?;
    let Loaded { config, .. } = loaded;
    if config.classrooms.get(&from.classroom()).is_none() {
        let known = "--classroom must be one of the configured classrooms".to_owned();
        return Err(Failure::Usage(known));
    }
    // held until the end: the records and the series have one writer
    let _lock = ServerLock::take(&config.storage.dir)
        .map_err(anyhow::Error::new)
        .context("stop the server for as long as the import takes")?;
    let report = runtime()?.block_on(import(from, &config))?;
    answer(&report);
    if report.adds_up() {
        return Ok(());
    }
    Err(anyhow::anyhow!("what was read and what is in the records does not add up").into())
}

async fn import(from: &FromCellMonitor, config: &Config) -> anyhow::Result<Report> {
    let mut source = Source::open(&from.source, from.time_zone.clone())
        .await
        .context("the former service's database")?;
    let dir = &config.storage.dir;
    check_formats(dir)?;
    let at = RecordsAt::of(config);
    Records::check_format(&at).await?;
    let keys = Keys::load_or_create(
        dir,
        config.auth.admin_token.clone(),
        config.auth.ingest_key.clone(),
    )?;
    let series = Series::at(&SeriesAt::of(config)).context("the series can't be opened")?;
    let opened = Records::open(&at).await;
    let records = opened.with_context(|| format!("the records ({at}) can't be opened"))?;
    let classroom = from.classroom();
    let target = Target {
        records: &records,
        series: &series,
        cache: &Cache::open(&config.cache)?,
        student_key: StudentKey::from_bytes(*keys.student_key()),
        keeps_code: config.classrooms.keep_code_of(&classroom),
        allowed: allowed(config, &classroom)?,
        classroom,
    };
    let bar = progress(source.execution_count().await?);
    let moved = move_in(&mut source, &target, from.dry_run, &mut |read| {
        bar.set_position(read);
    })
    .await;
    bar.finish_and_clear();
    records.close().await?;
    Ok(moved?)
}

/// Who was erased stays erased, and what is past its term need not come first.
fn allowed(config: &Config, classroom: &ClassroomId) -> anyhow::Result<Allowed> {
    let erasures = ErasureList::of(&config.storage.dir).read()?;
    let terms = Terms::new(&config.privacy, config.classrooms.clone());
    let before = terms.before(classroom, SystemClock.now());
    Ok(Allowed::new(classroom, &erasures, before))
}

/// Shown only on a terminal.
fn progress(executions: u64) -> ProgressBar {
    let style = "reading executions {bar:40} {pos}/{len} {per_sec} {eta}";
    ProgressBar::new(executions).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}
