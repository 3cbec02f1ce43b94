//! `mimamori export --classroom …`: a classroom's history as a file.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use mimamori_actors::domain::{ClassroomId, Timestamp};
use mimamori_actors::ports::Clock as _;

use super::arguments::Export;
use super::here::{Here, PIECE_WITHIN, in_time};
use super::lock::ServerLock;
use super::target::{Place, Target};
use super::{Failure, runtime};
use crate::clock::SystemClock;
use crate::export::{self, Format, Jobs, Request, What};
use crate::storage::records::{Records, RecordsAt, TimeRange};

/// What came until then is no whole file.
const CUT_OFF: &str =
    "the export was cut off and is not whole, the server's log says why; run it again";

pub(super) fn run(arguments: &Export) -> Result<(), Failure> {
    let here = Here::of(arguments.file.config.as_deref())?;
    let classroom = here.classroom(&arguments.classroom)?;
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && to < from
    {
        let fault = format!("--to {to}: no earlier than --from {from}");
        return Err(Failure::Usage(fault));
    }
    let place = Place::of(arguments.output.as_deref())?;
    let exported = place.written(async |target| {
        match here.address(&format!("/api/v1/classrooms/{classroom}/export")) {
            Some(address) => from_server(&here, address, arguments, target).await,
            None => from_records(&here, classroom, arguments, target).await,
        }
    });
    let left_out = runtime()?.block_on(exported)?;
    if left_out > 0 {
        let note = format!(
            "mimamori: {left_out} students are left out: what is kept of them is not for research"
        );
        let _ = writeln!(io::stderr(), "{note}");
    }
    Ok(())
}

/// How many students are left out.
async fn from_server(
    here: &Here,
    mut address: reqwest::Url,
    arguments: &Export,
    target: &mut Target,
) -> anyhow::Result<u64> {
    {
        let mut query = address.query_pairs_mut();
        query.append_pair("what", &arguments.what);
        query.append_pair("format", &arguments.format);
        for (name, time) in [("from", arguments.from), ("to", arguments.to)] {
            if let Some(time) = time {
                query.append_pair(name, &time.to_string());
            }
        }
    }
    let mut response = here.ask(|client| client.get(address)).await?;
    let number = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        value.parse::<u64>().ok()
    };
    let (job, rows) = (
        number("mimamori-export-job"),
        number("mimamori-rows-at-most"),
    );
    let left_out = number("mimamori-left-out-students").unwrap_or(0);
    let bar = bar(rows.unwrap_or(0));
    let writing = async {
        while let Some(piece) = in_time(PIECE_WITHIN, response.chunk())
            .await?
            .context(CUT_OFF)?
        {
            target.write(&piece)?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = writing => done?,
        () = follow(here, job, &bar) => {}
    }
    bar.finish_and_clear();
    Ok(left_out)
}

/// Shows how far the server is, for as long as it is polled.
async fn follow(here: &Here, job: Option<u64>, bar: &ProgressBar) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (false, Some(address)) = (bar.is_hidden(), here.address("/api/v1/exports")) else {
            continue;
        };
        let Ok(answer) = here.ask(|client| client.get(address)).await else {
            continue;
        };
        let told: serde_json::Value = answer.json().await.unwrap_or_default();
        let items = told["items"].as_array().into_iter().flatten();
        for item in items.filter(|item| item["id"].as_u64() == job) {
            bar.set_position(item["rows"].as_u64().unwrap_or(0));
        }
    }
}

async fn from_records(
    here: &Here,
    classroom: ClassroomId,
    arguments: &Export,
    target: &mut Target,
) -> anyhow::Result<u64> {
    let config = &here.config;
    // none starts meanwhile
    let _lock = ServerLock::take(&config.storage.dir)?;
    let at = RecordsAt::of(config);
    Records::check_format(&at).await?;
    let records = Arc::new(Records::open(&at).await?);
    let request = request(classroom, arguments)?;
    let now = SystemClock.now();
    let jobs = Jobs::default();
    let mut begun = export::begin(&records, &jobs, request, now).await?;
    let bar = bar(begun.rows_at_most);
    while let Some(piece) = begun.pieces.recv().await {
        target.write(&piece?)?;
        bar.set_position(jobs.rows_of(begun.job).unwrap_or(begun.rows_at_most));
    }
    bar.finish_and_clear();
    records.close().await?;
    Ok(begun.left_out)
}

fn request(classroom: ClassroomId, arguments: &Export) -> anyhow::Result<Request> {
    // clap has looked at both words
    let what = What::ALL
        .into_iter()
        .find(|known| known.as_str() == arguments.what);
    let format = Format::ALL
        .into_iter()
        .find(|known| known.as_str() == arguments.format);
    Ok(Request {
        classroom,
        what: what.context("--what is unknown")?,
        format: format.context("--format is unknown")?,
        range: TimeRange {
            from: arguments.from.unwrap_or(Timestamp::from_millis(i64::MIN)),
            to: arguments.to,
        },
    })
}

fn bar(rows: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("exporting {bar:40} {pos} of {len} rows {eta}");
    ProgressBar::new(rows).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
