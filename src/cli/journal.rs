//! `mimamori journal inspect`.

use std::io::{Write, stdout};
use std::path::Path;

use mimamori_actors::domain::Position;

use super::arguments::Inspect;
use super::lock::ServerLock;
use super::{Failure, answer, load_config, runtime};
use crate::journal::inspect::{self, Survey};
use crate::journal::repair::Plan;
use crate::storage::records::{Records, RecordsAt};

pub(super) fn inspect(arguments: &Inspect) -> Result<(), Failure> {
    let (dir, records) = match &arguments.dir {
        Some(dir) => (dir.clone(), RecordsAt::Dir(dir.clone())),
        None => {
            let config = load_config(arguments.file.config.as_deref())?.config;
            let records = RecordsAt::of(&config);
            (config.storage.dir, records)
        }
    };
    let known = match arguments.repair {
        true => repair(&dir, &records)?,
        false => Position::ZERO,
    };
    let found = inspect::survey_knowing(&dir, known).map_err(anyhow::Error::new)?;
    print(&found, arguments.json).map_err(anyhow::Error::new)?;
    match found.damaged_places() {
        0 => Ok(()),
        many => {
            let dir = dir.display();
            Err(anyhow::anyhow!("the journal in {dir} is damaged in {many} places").into())
        }
    }
}

/// Nothing is printed half: the answer is some lines for each segment.
fn print(found: &Survey, as_json: bool) -> std::io::Result<()> {
    let mut text = Vec::new();
    if as_json {
        serde_json::to_writer(&mut text, found)?;
        text.push(b'\n');
    } else {
        inspect::show(found, &mut text)?;
    }
    // a reader that went away is no error of ours
    let _ = stdout().lock().write_all(&text);
    Ok(())
}

/// Each step is told when it is done; the lock is held until the end. Gives the
/// highest position that the records know.
fn repair(dir: &Path, records: &RecordsAt) -> Result<Position, Failure> {
    if !dir.join("journal").is_dir() {
        return Err(anyhow::anyhow!("no journal is in {}", dir.display()).into());
    }
    let _lock = ServerLock::take(dir).map_err(anyhow::Error::new)?;
    let known = known_to(records)?;
    let mut is_untouched = true;
    loop {
        let plan = Plan::of(dir, known).map_err(anyhow::Error::new)?;
        // before the entries are there: a repair that is cut short must not forget it
        read_again(records, &plan)?;
        plan.carry_out(&mut |step| {
            is_untouched = false;
            answer(step);
        })
        .map_err(anyhow::Error::new)?;
        if !plan.has_more() {
            break;
        }
    }
    if is_untouched {
        answer("nothing to repair");
    }
    Ok(known)
}

/// How far the records are: positions up to there were given, whatever is left of them.
fn known_to(at: &RecordsAt) -> Result<Position, Failure> {
    if let RecordsAt::Dir(dir) = at
        && !dir.join("records.sqlite").exists()
    {
        return Ok(Position::ZERO);
    }
    let asking = async {
        Records::check_format(at).await?;
        let records = Records::open(at).await?;
        let known = records.highest_position().await?;
        records.close().await?;
        anyhow::Ok(known)
    };
    runtime()?
        .block_on(asking)
        .map_err(|error| error.context("records").into())
}

/// The records read again what they had passed; what they have they keep once.
fn read_again(at: &RecordsAt, plan: &Plan) -> Result<(), Failure> {
    let Some((journal, after)) = plan.read_again_after() else {
        return Ok(());
    };
    if let RecordsAt::Dir(dir) = at
        && !dir.join("records.sqlite").exists()
    {
        answer(format_args!(
            "no records are in {}: those that are elsewhere do not read again what they had passed",
            dir.display()
        ));
        return Ok(());
    }
    let reading = async {
        Records::check_format(at).await?;
        let records = Records::open(at).await?;
        records.read_again_after(journal, after).await?;
        records.close().await?;
        anyhow::Ok(())
    };
    runtime()?
        .block_on(reading)
        .map_err(|error| error.context("records"))?;
    answer(format_args!(
        "the records read the journal again behind position {after}"
    ));
    Ok(())
}
