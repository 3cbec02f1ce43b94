//! `mimamori link`: without a connection to the server, because links are signed
//! with a key that lies in storage.dir.

use std::io::Write;

use mimamori_actors::domain::Timestamp;

use super::arguments::Link;
use super::lock::ServerLock;
use super::{Failure, addresses, answer, load_config, storage_dir};
use crate::config::{Config, PublicUrl, Role};
use crate::keys::Keys;

/// Its key is not known here.
const NO_INGEST_HERE: &str = "this node only serves consoles: the ingest address is that of the node with serve.role = \"all\"";

pub(super) fn run(arguments: &Link) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    storage_dir::prepare(&loaded)?;
    let config = &loaded.config;
    let keys = Keys::of(config).map_err(anyhow::Error::new)?;
    if arguments.ingest && config.serve.role == Role::Consoles {
        return Err(anyhow::anyhow!(NO_INGEST_HERE).into());
    }
    let bases = bases(config)?;
    let link = keys.new_link(now());
    for base in &bases {
        let console = addresses::sign_in(base, &link);
        let ingest = addresses::ingest(base, keys.ingest_key());
        if arguments.ingest || arguments.console {
            // one address, so that it can stand in another command
            answer(if arguments.ingest { ingest } else { console });
            break;
        }
        answer(format_args!("console: {console}"));
        if config.serve.role == Role::All {
            answer(format_args!("ingest:  {ingest}"));
        }
    }
    Ok(())
}

/// The running server's addresses, or else those that the configuration says.
fn bases(config: &Config) -> Result<Vec<String>, Failure> {
    let dir = &config.storage.dir;
    if let Some(running) = ServerLock::read(dir).map_err(anyhow::Error::new)? {
        let public_url: Option<PublicUrl> = running.public_url.and_then(|url| url.parse().ok());
        return Ok(addresses::bases(running.listening, public_url.as_ref()));
    }
    if config.http.listen.port() == 0 && config.http.public_url.is_none() {
        let error = anyhow::anyhow!(
            "no server runs on storage.dir {}, and http.listen leaves its port open",
            dir.display()
        );
        return Err(error.into());
    }
    let note = format!(
        "mimamori: no server runs on storage.dir {} now",
        dir.display()
    );
    let _ = writeln!(std::io::stderr(), "{note}");
    Ok(addresses::bases(
        config.http.listen,
        config.http.public_url.as_ref(),
    ))
}

fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
