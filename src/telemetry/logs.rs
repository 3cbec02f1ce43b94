//! Logs: to standard error, for people on a terminal, else as JSON.
//!
//! Lines of WARN and ERROR are limited per kind. A kind is a place in the code:
//! every kind of error is one log line, written from one place.

use std::io::{IsTerminal, stderr};
use std::panic::PanicHookInfo;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogFormat;

/// Lines of one kind …
const LINES: u32 = 20;
/// … that may be written in this time.
const WINDOW: Duration = Duration::from_secs(10);
/// What is written if nobody says otherwise: libraries only when something is wrong with them.
const DIRECTIVES: &str =
    "info,fjall=warn,lsm_tree=warn,sea_orm_migration=warn,sqlx=warn,hyper=warn";
/// The target of the limiter's own lines, which it does not limit.
const TARGET: &str = "mimamori::telemetry::limit";

/// Sends every log line of this process to standard error, in this format.
///
/// `RUST_LOG`, or else `MIMAMORI_LOG`, chooses how much; by default INFO of our own.
/// Does nothing if it was done before.
pub fn install(format: LogFormat) {
    let is_terminal = stderr().is_terminal();
    let is_pretty = match format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    let lines = fmt::layer().with_writer(stderr);
    let lines = if is_pretty {
        lines.with_ansi(is_terminal).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    // the second call of a test process is told that there is one already: as it should be
    let _ = tracing_subscriber::registry()
        .with(filter())
        .with(Limiter::new(LINES, WINDOW))
        .with(lines)
        .try_init();
    std::panic::set_hook(Box::new(log_panic));
}

fn filter() -> EnvFilter {
    ["RUST_LOG", "MIMAMORI_LOG"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find_map(|directives| EnvFilter::try_new(directives).ok())
        .unwrap_or_else(|| EnvFilter::new(DIRECTIVES))
}

/// A panic is a line of the log like any other. What it quotes may be a
/// student's text, so its message ends before the first quotation.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or_default();
    let message = message.split(['`', '"', '\'']).next().unwrap_or_default();
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let thread = std::thread::current();
    metrics::counter!("mimamori_telemetry_panics_total").increment(1);
    tracing::error!(
        error = message.trim_end(),
        place,
        thread = thread.name().unwrap_or("unnamed"),
        "a panic"
    );
}

/// Passes a number of lines of each kind in each window, and counts the rest.
///
/// Its memory is bounded by the number of places in the code that log.
#[derive(Debug)]
struct Limiter {
    lines: u32,
    window: Duration,
    kinds: DashMap<Identifier, Window>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    lines: u32,
    suppressed: u64,
}

impl Limiter {
    fn new(lines: u32, window: Duration) -> Self {
        Self {
            lines,
            window,
            kinds: DashMap::new(),
        }
    }

    /// Whether a line of this kind may pass now; `Err` with how many of the last window did not.
    fn pass(&self, kind: Identifier, now: Instant) -> Verdict {
        let mut window = self.kinds.entry(kind).or_insert(Window {
            begun: now,
            lines: 0,
            suppressed: 0,
        });
        let mut suppressed = 0;
        if now.duration_since(window.begun) >= self.window {
            suppressed = window.suppressed;
            *window = Window {
                begun: now,
                lines: 0,
                suppressed: 0,
            };
        }
        if window.lines < self.lines {
            window.lines += 1;
            return Verdict::Pass { suppressed };
        }
        window.suppressed += 1;
        Verdict::Suppress
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Write it; so many like it were not written in the window before.
    Pass { suppressed: u64 },
    /// Don't.
    Suppress,
}

impl<S: Subscriber> Layer<S> for Limiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        match self.pass(metadata.callsite(), Instant::now()) {
            Verdict::Pass { suppressed: 0 } => true,
            Verdict::Pass { suppressed } => {
                let place = metadata.module_path().unwrap_or_default();
                tracing::warn!(target: TARGET, suppressed, place, "lines of one kind were not written");
                true
            }
            Verdict::Suppress => {
                metrics::counter!("mimamori_telemetry_suppressed_lines_total").increment(1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn capture(lines: &Lines) -> tracing::subscriber::DefaultGuard {
        let writer = lines.clone();
        tracing_subscriber::registry()
            .with(Limiter::new(3, WINDOW))
            .with(fmt::layer().json().with_writer(move || writer.clone()))
            .set_default()
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_a_kind_are_limited_and_those_of_another_kind_are_not() {
        let lines = Lines::default();
        let guard = capture(&lines);

        for _ in 0..100 {
            tracing::error!("the disk is slow");
        }
        tracing::error!("the disk is full");
        drop(guard);

        assert_eq!(lines.text().matches("slow").count(), 3);
        assert_eq!(lines.text().matches("full").count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_error_is_never_limited() {
        let lines = Lines::default();
        let guard = capture(&lines);

        for _ in 0..100 {
            tracing::info!("a lesson began");
        }
        drop(guard);

        assert_eq!(lines.text().lines().count(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_window_passes_again_and_knows_what_was_left_out() {
        let limiter = Limiter::new(1, WINDOW);
        let kind = || {
            static CALLSITE: tracing::callsite::DefaultCallsite = {
                static METADATA: tracing::Metadata<'static> = tracing::Metadata::new(
                    "kind",
                    "test",
                    Level::ERROR,
                    None,
                    None,
                    None,
                    tracing::field::FieldSet::new(&[], Identifier(&CALLSITE)),
                    tracing::metadata::Kind::EVENT,
                );
                tracing::callsite::DefaultCallsite::new(&METADATA)
            };
            Identifier(&CALLSITE)
        };

        let first = limiter.pass(kind(), Instant::now());
        let second = limiter.pass(kind(), Instant::now());
        tokio::time::advance(WINDOW).await;
        let third = limiter.pass(kind(), Instant::now());

        assert_eq!(first, Verdict::Pass { suppressed: 0 });
        assert_eq!(second, Verdict::Suppress);
        assert_eq!(third, Verdict::Pass { suppressed: 1 });
    }
}
