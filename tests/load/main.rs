//! The benchmarks: each prints what it compares with, and the ratio, in one run.
//!
//! `cargo bench --bench spine` (or `make bench`). Numbers from `docs/benchmarks.md`
//! are asked for again here; a target that is missed makes the program end with 1.

#![allow(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(unreachable_pub, reason = "the modules of one program")]

mod bare;
mod client;
mod consoles;
mod crowd;
mod disk;
mod fan_out;
mod figures;
mod frames;
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "written for the tests, which do more with it"
)]
#[path = "../it/harness/influxdb.rs"]
mod influxdb;
mod ingest;
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "written for the tests, which do more with it"
)]
#[path = "../it/harness/postgres.rs"]
mod postgres;
mod reading;
mod records;
mod school;
mod server;
mod sessions;
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "written for the tests, which do more with it"
)]
#[path = "../it/harness/spoken.rs"]
mod spoken;
mod students;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os(server::ROLE).is_some() {
        return server::in_its_role();
    }
    // thousands of consoles are as many files; without the right to more it says so itself
    let _ = mimamori::http::accept::raise_open_files();
    // the client that asks for lags is built with TLS, which wants a provider
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built on a machine that runs benchmarks");
    match runtime.block_on(run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            println!("the benchmarks could not run: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> anyhow::Result<bool> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    let mut all_met = true;
    if is_wanted("throughput") {
        all_met &= ingest::throughput().await?;
    }
    if is_wanted("lag") {
        all_met &= ingest::lag().await?;
    }
    if is_wanted("latency") {
        all_met &= ingest::latency().await?;
    }
    if is_wanted("records") {
        all_met &= records::beside_copy().await?;
    }
    if is_wanted("reading") {
        all_met &= reading::over_a_month().await?;
    }
    if is_wanted("fan-out") {
        all_met &= fan_out::to_200_consoles().await?;
    }
    if is_wanted("stalled") {
        all_met &= consoles::stalled().await?;
    }
    if is_wanted("consoles") {
        all_met &= consoles::two_thousand().await?;
    }
    if is_wanted("reconnect") {
        all_met &= consoles::reconnect().await?;
    }
    if is_wanted("many-consoles") {
        all_met &= consoles::ten_thousand().await?;
    }
    if is_wanted("sessions") {
        all_met &= sessions::sessions().await?;
    }
    Ok(all_met)
}
