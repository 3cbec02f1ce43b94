//! Why Redis did not do what it was asked for.

use ::redis::RedisError;

/// Why Redis did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisFault {
    /// It is not there, too slow, starting or full: the same may work later.
    /// Whether a command that was sent took effect is not known.
    #[error("redis is away: {0}")]
    Away(String),
    /// It answered that it will not: a wrong password, a right that is missing, a wrong call.
    #[error("redis refused: {0}")]
    Refused(String),
}

/// What a server answers that will take the same command later.
const PASSING: [&str; 9] = [
    "LOADING",
    "BUSY",
    "TRYAGAIN",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "READONLY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
];

impl From<RedisError> for RedisFault {
    fn from(error: RedisError) -> Self {
        match error.code() {
            Some(code) if PASSING.contains(&code) => Self::Away(code.to_owned()),
            Some(code) => Self::Refused(without_arguments(code, error.detail())),
            None if error.is_timeout() => Self::Away("no answer in time".to_owned()),
            None if error.is_io_error() => Self::Away(error.to_string()),
            None => Self::Refused(without_arguments(&error.to_string(), None)),
        }
    }
}

/// A server repeats the arguments of a command that it does not know.
fn without_arguments(code: &str, detail: Option<&str>) -> String {
    let text = [code, detail.unwrap_or_default()].join(" ");
    let end = text.find("with args").unwrap_or(text.len());
    text[..end].trim_end_matches([' ', ',', ':']).to_owned()
}
