//! The commands of the program, one file each.
//!
//! Standard output belongs to a command's answer; what went wrong is one line
//! on standard error. Exit 0 is success, 2 a wrong call or configuration, 1
//! anything else.

mod addresses;
mod announce;
mod arguments;
mod backup;
mod check_config;
mod export;
mod failure;
mod health;
mod here;
mod import;
mod journal;
mod link;
mod lock;
mod migrate;
mod research;
mod rights;
mod serve;
mod storage_dir;
mod target;
#[cfg(test)]
mod tests;
mod tools;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mimamori_actors::tree::{Nobody, Witness};

pub use announce::Announce;
use arguments::{Arguments, Command, JournalCommand, ServeRole};
pub use failure::Failure;
pub use lock::{LockError, Running, ServerLock};
pub(crate) use storage_dir::PROBE;

use crate::config::{Config, Loaded};

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    main_before(Arc::new(Nobody))
}

/// As [`main`], with a witness of every step that an actor takes: tests of
/// faults let it make them.
pub fn main_before(witness: Arc<dyn Witness>) -> ExitCode {
    // one provider for the whole process, before anything opens a TLS connection;
    // an error only says that there is one already
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Arguments::try_parse() {
        // nothing is used after a panic but this one line
        Ok(arguments) => catch_unwind(AssertUnwindSafe(|| run(arguments.command, witness)))
            .unwrap_or_else(|_| {
                Err(
                    anyhow::anyhow!("a fault of the program itself; its log names the place")
                        .into(),
                )
            }),
        Err(error) if !error.use_stderr() => {
            // --help and --version; a closed pipe is the reader's business
            let _ = error.print();
            Ok(())
        }
        Err(error) => Err(Failure::usage(&error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "mimamori: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command, witness: Arc<dyn Witness>) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments, witness),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::Link(arguments) => link::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Backup(arguments) => backup::take(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Export(arguments) if arguments.student.is_some() => rights::export(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Research(arguments) => research::run(&arguments),
        Command::Erase(arguments) => rights::erase(&arguments),
        Command::Simulate(arguments) => tools::simulate(arguments),
        Command::Replay(arguments) => tools::replay(arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Journal(arguments) => match arguments.command {
            JournalCommand::Inspect(arguments) => journal::inspect(&arguments),
        },
    }
}

/// The configuration in force: built in, file, environment.
fn load_config(file: Option<&Path>) -> Result<Loaded, Failure> {
    Ok(Config::load(file, std::env::vars_os())?)
}

/// The same, where the command line says what the node is there for.
fn load_config_for(file: Option<&Path>, role: Option<ServeRole>) -> Result<Loaded, Failure> {
    let said = role.map(|role| ("MIMAMORI_SERVE__ROLE".into(), role.name().into()));
    Ok(Config::load(file, std::env::vars_os().chain(said))?)
}

/// A command's answer on standard output. A reader that went away is no error of ours.
fn answer(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What runs a command that talks with others.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mimamori")
        .build()
        .map_err(|error| Failure::Failed(anyhow::Error::new(error).context("no threads")))
}
