//! `mimamori research`: whether what is kept of a student is for research.

use mimamori_actors::ports::Clock as _;
use serde_json::json;

use super::arguments::Research;
use super::here::Here;
use super::lock::ServerLock;
use super::{Failure, answer, runtime};
use crate::clock::SystemClock;
use crate::storage::records::{Records, RecordsAt};

pub(super) fn run(arguments: &Research) -> Result<(), Failure> {
    let here = Here::of(arguments.file.config.as_deref())?;
    let student = here.student(&arguments.student);
    let said = match (arguments.allow, arguments.refuse) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        (false, false) => None,
    };
    let is_allowed = runtime()?.block_on(async {
        let path = format!("/api/v1/admin/students/{student}/research");
        let Some(address) = here.address(&path) else {
            return alone(&here, &student, said).await;
        };
        let response = here.ask(|client| match said {
            None => client.get(address),
            Some(is_allowed) => {
                let word = if is_allowed { "allow" } else { "refuse" };
                client.post(address).json(&json!({ "research": word }))
            }
        });
        let told: serde_json::Value = response.await?.json().await?;
        anyhow::Ok(told["research"] == "allowed")
    })?;
    let research = if is_allowed { "for" } else { "not for" };
    answer(format_args!(
        "what is kept of student {student} is {research} research"
    ));
    Ok(())
}

async fn alone(
    here: &Here,
    student: &mimamori_actors::domain::StudentId,
    said: Option<bool>,
) -> anyhow::Result<bool> {
    // none starts meanwhile
    let _lock = ServerLock::take(&here.config.storage.dir)?;
    let at = RecordsAt::of(&here.config);
    Records::check_format(&at).await?;
    let records = Records::open(&at).await?;
    anyhow::ensure!(
        records.is_student(student).await?,
        "nothing is known of such a student"
    );
    if let Some(is_allowed) = said {
        records
            .set_for_research(student, is_allowed, SystemClock.now())
            .await?;
    }
    let is_allowed = records.is_for_research(student).await?;
    records.close().await?;
    Ok(is_allowed)
}
