//! Time that cannot be fooled: by its own absence, or by somebody who sets the system clock.
//!
//! [`SteadyClock`] tells the time of day, which never runs backwards and never
//! stands still, and the heard time, by which silences are measured: it stands
//! still while the server does not listen. [`SystemClock`] is the bare system
//! clock, for what other processes judge by it too.
//!
//! Why: `docs/adr/0005-heard-time.md`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mimamori_actors::domain::{Heard, Moment, Timestamp};
use mimamori_actors::ports::Clock;
use rustix::time::{ClockId, clock_gettime};

/// The clock is looked at this often, whoever else looks.
const TICK: Duration = Duration::from_millis(250);
/// Who did not look for longer than this was stopped or frozen, and heard nothing of the rest.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// An absence longer than this counts whole: overnight everybody has left.
const NIGHT: Duration = Duration::from_hours(4);
/// A difference that an operator should hear of.
const NOTICEABLE: Duration = Duration::from_secs(2);

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(to_millis(since_1970()))
    }
}

/// Where time comes from; tests set it by hand.
trait Source: Send + Sync {
    /// What the system clock says, since 1970. Anybody may set it.
    fn system(&self) -> Duration;

    /// Since some point in the past. Nobody can set it, and it goes on while the machine sleeps.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
struct Machine;

impl Source for Machine {
    fn system(&self) -> Duration {
        since_1970()
    }

    fn elapsed(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }
}

/// The server's own clock. See the module.
pub struct SteadyClock {
    source: Box<dyn Source>,
    dial: Mutex<Dial>,
}

/// What the clock shows. Nanoseconds, so that nothing is lost however often it is looked at.
#[derive(Debug, Clone, Copy)]
struct Dial {
    /// What the source said when it was looked at last.
    looked: Duration,
    /// The time of day, since 1970.
    wall: Duration,
    /// The heard time.
    heard: Duration,
    /// How long nothing was heard, up to now.
    absent: Duration,
    is_listening: bool,
    /// Whether the system clock was far behind when it was looked at last.
    is_ahead: bool,
}

impl SteadyClock {
    /// Begins at the system clock, and does not listen yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::on(Box::new(Machine)))
    }

    fn on(source: Box<dyn Source>) -> Self {
        let system = source.system();
        let dial = Dial {
            looked: source.elapsed(),
            wall: system,
            heard: system,
            absent: Duration::ZERO,
            is_listening: false,
            is_ahead: false,
        };
        Self {
            source,
            dial: Mutex::new(dial),
        }
    }

    /// Goes on where the journal ends: the time since then was nobody's
    /// silence, unless it was a night.
    pub fn go_on_from(&self, last: Moment) {
        let mut dial = self.look();
        let absent = dial.wall.saturating_sub(since_1970_of(last.at));
        dial.wall = dial.wall.max(since_1970_of(last.at));
        dial.heard = Duration::from_millis(u64::try_from(last.heard.as_millis()).unwrap_or(0));
        dial.absent = Duration::ZERO;
        if absent > NIGHT {
            dial.heard += absent;
        }
    }

    /// From now on it listens as long as `is_listening` says so; it is asked four times a second.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn listen_while(
        self: &Arc<Self>,
        is_listening: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        self.listen(is_listening());
        let clock = Arc::downgrade(self);
        thread::Builder::new()
            .name("clock".to_owned())
            .spawn(move || tick(&clock, is_listening))
            .map(drop)
    }

    fn listen(&self, is_listening: bool) {
        // what has passed belongs to what was until now
        self.look().is_listening = is_listening;
    }

    /// Moves the dial on to now.
    fn look(&self) -> MutexGuard<'_, Dial> {
        // plain numbers: whole even if a thread panicked beside them
        let mut dial = self.dial.lock().unwrap_or_else(PoisonError::into_inner);
        dial.advance(self.source.system(), self.source.elapsed());
        dial
    }
}

/// Looks at the clock until it is gone.
fn tick(clock: &Weak<SteadyClock>, is_listening: impl Fn() -> bool) {
    loop {
        thread::sleep(TICK);
        let Some(clock) = clock.upgrade() else {
            return;
        };
        clock.listen(is_listening());
    }
}

impl Dial {
    fn advance(&mut self, system: Duration, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.looked);
        self.looked = self.looked.max(elapsed);
        self.advance_wall(system, passed);
        self.advance_heard(passed);
    }

    /// Follows the system clock forward at once, and backward by running at nine tenths.
    fn advance_wall(&mut self, system: Duration, passed: Duration) {
        self.wall = system.max(self.wall + passed - passed / 10);
        let ahead = self.wall.saturating_sub(system);
        let is_ahead = ahead > NOTICEABLE;
        if is_ahead && !self.is_ahead {
            tracing::warn!(
                ahead_ms = to_millis(ahead),
                "the system clock was set back: our times run at nine tenths until it has caught up"
            );
        }
        self.is_ahead = is_ahead;
    }

    fn advance_heard(&mut self, passed: Duration) {
        let heard = if self.is_listening {
            passed.min(LONGEST_TICK)
        } else {
            Duration::ZERO
        };
        let missed = passed - heard;
        self.heard += heard;
        if missed > Duration::ZERO {
            self.miss(missed);
        } else if heard > Duration::ZERO {
            self.absent = Duration::ZERO;
        }
    }

    fn miss(&mut self, missed: Duration) {
        if self.is_listening && missed > NOTICEABLE {
            metrics::counter!("mimamori_clock_stopped_seconds_total").increment(missed.as_secs());
            tracing::warn!(
                missed_ms = to_millis(missed),
                "the process or the machine stood still: that time is nobody's silence"
            );
        }
        self.absent += missed;
        if self.absent > NIGHT {
            self.heard += self.absent;
            self.absent = Duration::ZERO;
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            at: Timestamp::from_millis(to_millis(self.wall)),
            heard: Heard::from_millis(to_millis(self.heard)),
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.moment().at
    }

    fn heard(&self) -> Heard {
        self.moment().heard
    }

    fn moment(&self) -> Moment {
        self.look().moment()
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn since_1970_of(at: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}

fn to_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
