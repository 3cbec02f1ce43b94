//! How the program starts, stops, and starts again, and its other commands.

mod commands;
mod configuration;
mod stopping;

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::time::timeout;

use crate::harness::{PATIENCE, program};

/// Runs a command to its end in this directory.
async fn command(dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let running = program(dir)
        .args(arguments)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output();
    timeout(PATIENCE, running)
        .await
        .expect("the command ends")
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
