//! Where the data is: with the server that runs on this storage.dir, or in the stores themselves.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use mimamori_actors::domain::{ClassroomId, StudentId};
use reqwest::RequestBuilder;
use tokio::time::timeout;

use super::lock::ServerLock;
use super::{Failure, load_config, storage_dir};
use crate::admit::StudentKey;
use crate::config::Config;
use crate::keys::Keys;
use crate::storage::records::RecordsAt;

/// It is on this machine.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// Until it says what will become of a request.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Between two pieces of a file lie a few pages of rows, of which each has 10 s.
pub(super) const PIECE_WITHIN: Duration = Duration::from_secs(120);

/// A configuration, its keys, and the server that runs with it, if one does.
pub(super) struct Here {
    pub(super) config: Config,
    pub(super) keys: Keys,
    /// `http://address`
    running: Option<String>,
    client: reqwest::Client,
}

impl Here {
    pub(super) fn of(file: Option<&Path>) -> Result<Self, Failure> {
        let loaded = load_config(file)?;
        let at = RecordsAt::of(&loaded.config);
        if !at.may_be_there() {
            // with another directory than the server's there would be a file, and nothing in it
            let fault = anyhow::anyhow!(
                "no records are kept at {at}: name the server's own storage.dir (--config, MIMAMORI_STORAGE__DIR)"
            );
            return Err(fault.into());
        }
        storage_dir::prepare(&loaded)?;
        let config = loaded.config;
        let dir = &config.storage.dir;
        let (admin, ingest) = (
            config.auth.admin_token.clone(),
            config.auth.ingest_key.clone(),
        );
        let keys = Keys::load_or_create(dir, admin, ingest).map_err(anyhow::Error::new)?;
        let running = ServerLock::read(dir).map_err(anyhow::Error::new)?;
        let running = running.map(|running| format!("http://{}", running.reachable()));
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECTS_WITHIN)
            .build()
            .map_err(anyhow::Error::new)?;
        Ok(Self {
            config,
            keys,
            running,
            client,
        })
    }

    /// The address of a path of the server that runs.
    pub(super) fn address(&self, path: &str) -> Option<reqwest::Url> {
        let address = format!("{}{path}", self.running.as_ref()?);
        address.parse().ok()
    }

    /// Asks the server with the admin token, and waits 30 s; an answer that is no success is an error in a line.
    pub(super) async fn ask(
        &self,
        request: impl FnOnce(&reqwest::Client) -> RequestBuilder,
    ) -> anyhow::Result<reqwest::Response> {
        let token = self.keys.admin_token().expose();
        let answered = in_time(
            ANSWERS_WITHIN,
            request(&self.client).bearer_auth(token).send(),
        );
        let response = answered.await?.map_err(reqwest::Error::without_url);
        let response = response.context("the server that runs on storage.dir does not answer")?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: serde_json::Value = response.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason was given");
        anyhow::bail!("the server answered {}: {detail}", status.as_u16())
    }

    /// One that is configured.
    pub(super) fn classroom(&self, named: &str) -> Result<ClassroomId, Failure> {
        let classroom = ClassroomId::new(named);
        if self.config.classrooms.get(&classroom).is_some() {
            return Ok(classroom);
        }
        let named = classroom.as_str().escape_debug();
        let fault = format!("--classroom {named}: there is no such classroom");
        Err(Failure::Usage(fault))
    }

    /// An id is taken as it is, anything else for an address.
    pub(super) fn student(&self, text: &str) -> StudentId {
        let is_id = text.strip_prefix("stu_").is_some_and(|digits| {
            digits.len() == 24 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if is_id {
            return StudentId::new(text);
        }
        StudentKey::from_bytes(*self.keys.student_key()).student(text)
    }
}

/// What the server that runs here does in so much time; an error in a line if it does not.
pub(super) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let done = timeout(limit, work).await;
    done.map_err(|_| {
        anyhow::anyhow!(
            "the server that runs on storage.dir says nothing for {} s: it hangs, see its log",
            limit.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_is_not_waited_for() {
        let hanging = in_time(ANSWERS_WITHIN, std::future::pending::<()>()).await;
        let slow = in_time(ANSWERS_WITHIN, tokio::time::sleep(ANSWERS_WITHIN / 2)).await;

        let told = hanging.unwrap_err().to_string();
        assert!(told.contains("says nothing for 30 s"), "{told}");
        assert!(slow.is_ok());
    }
}
