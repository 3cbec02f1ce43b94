//! Why a command did not succeed, on one line, and the exit code that says of which kind it is.

use std::process::ExitCode;

use crate::config::Faults;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command was called in a wrong way.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong: a heading, then a line for each fault.
    #[error(transparent)]
    Configuration(#[from] Faults),
    /// Anything else.
    #[error("{}", one_line(&with_causes(_0)))]
    Failed(#[from] anyhow::Error),
}

impl Failure {
    /// What clap says in a paragraph, on one line.
    pub(super) fn usage(error: &clap::Error) -> Self {
        use clap::error::ErrorKind;
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::Usage("a command is missing; see --help".to_owned());
        }
        if let Some(text) = without_the_value(error) {
            return Self::Usage(format!("{text}; see --help"));
        }
        let text = error.to_string();
        let text = text.split("\n\nUsage:").next().unwrap_or_default();
        let text = text.split("\n\nFor more").next().unwrap_or_default();
        let text = one_line(text.trim_start_matches("error: "));
        Self::Usage(format!("{text}; see --help"))
    }

    /// The code that the program ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Configuration(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// What clap says of a value that may be an address with a password or a key in it: which
/// argument, and why, without the value.
fn without_the_value(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg)?;
    match error.kind() {
        ErrorKind::ValueValidation if may_be_secret(text(ContextKind::InvalidValue)?) => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = one_line(&reason.unwrap_or_default());
            Some(format!("invalid value for '{argument}': {reason}"))
        }
        ErrorKind::UnknownArgument if may_be_secret(argument) => {
            Some("an address more than is expected".to_owned())
        }
        _ => None,
    }
}

fn may_be_secret(value: &str) -> bool {
    ["@", "//", "/k/", "key="]
        .iter()
        .any(|part| value.contains(part))
}

/// The error and its causes; many an error's own text says its cause already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
