//! What people see while they wait.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const REDRAWN_EVERY: Duration = Duration::from_millis(200);

/// A bar on standard error, if that is a terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Nothing is shown before the first step.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.enable_steady_tick(REDRAWN_EVERY);
        Self(bar)
    }

    /// Of which the length is not known.
    pub(super) fn begin(&self, what: &'static str) {
        self.show("{spinner} {msg} {bytes} {bytes_per_sec}", what);
        self.0.unset_length();
    }

    /// Of so many bytes.
    pub(super) fn begin_of(&self, what: &'static str, bytes: u64) {
        self.show("{spinner} {msg} {bar:40} {bytes}/{total_bytes} {eta}", what);
        self.0.set_length(bytes);
    }

    fn show(&self, template: &str, what: &'static str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_message(what);
        self.0.reset();
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Takes it away.
    pub(super) fn done(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
