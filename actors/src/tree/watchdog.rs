//! Finds actors that have a message in hand and make no progress, and sees that they are replaced.
//!
//! It reads vital signs and asks no actor, so it runs on a thread of its own.
//! What it finds frozen it kills: that ends an await which never ends, and the
//! parent starts the next incarnation. What cannot be killed, because it does
//! not come back from a computation, holds a thread for ever: of a session the
//! incarnation is written off, anything else ends the process.
//!
//! Standstill is counted in looks, none of which counts for more than twice
//! the time between two: while the whole process stood still (stopped, or its
//! machine asleep) nobody was frozen. Nor does a look count for those whose
//! threads took no turn since the one before, as on a machine that swaps or is
//! given no processor; but not for long, since threads that folds hold take none either.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{ActorCell, ActorId};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::report::Census;
use super::threads::Threads;
use super::vitals::{Frozen, InHand, Vitals};
use super::witness::Witness;

/// Between two looks.
pub(crate) const EVERY: Duration = Duration::from_millis(100);
/// After a kill an await has ended by the next look; who is still there is not at an await.
const DIES_WITHIN: Duration = Duration::from_millis(300);
/// What is no session may come back from its computation within this time.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(5);

/// What becomes of an actor that a kill did not end.
pub(crate) trait Undertaker: Send + Sync {
    /// Writes the incarnation off and has it replaced; `false` if that could not be said now.
    fn write_off(&self, actor: ActorId, reason: &str) -> bool;

    /// Nobody can replace it: the process is to end.
    fn give_up(&self, reason: String);
}

/// Someone runs a task among the actors within this time, or none of them gets a turn.
const TURNS_COME_WITHIN: Duration = Duration::from_secs(30);
/// No turn for so long may be the machine's doing and is nobody's standstill; for
/// longer, and the actors may hold all their threads.
const STARVES_FOR_AT_MOST: Duration = Duration::from_secs(1);

/// The looks of one watchdog.
pub struct Watchdog {
    census: Arc<Census>,
    undertaker: Arc<dyn Undertaker>,
    witness: Arc<dyn Witness>,
    /// Of the threads of every actor but the sessions.
    tree: Turns,
    sessions: Turns,
    last_look: Option<Instant>,
    suspects: HashMap<String, Suspect>,
}

/// Whether the actors' threads still take turns: with all of them held by what
/// never returns nobody may have a message in hand.
struct Turns {
    of: Handle,
    /// The last one that was asked for was had.
    is_had: Arc<AtomicBool>,
    waited: Duration,
}

impl Turns {
    fn of(threads: Handle) -> Self {
        Self {
            of: threads,
            is_had: Arc::new(AtomicBool::new(true)),
            waited: Duration::ZERO,
        }
    }

    /// Asks for the next turn when the last was had.
    fn ask(&mut self, since_last: Duration) {
        if self.is_had.swap(false, Ordering::AcqRel) {
            self.waited = Duration::ZERO;
            let is_had = Arc::clone(&self.is_had);
            self.of
                .spawn(async move { is_had.store(true, Ordering::Release) });
        } else {
            self.waited += since_last;
            if self.are_late() {
                metrics::counter!("mimamori_watchdog_left_out_looks_total").increment(1);
            }
        }
    }

    /// None since the last look, and not for so long that threads must be held.
    fn are_late(&self) -> bool {
        !self.waited.is_zero() && self.waited <= STARVES_FOR_AT_MOST
    }

    fn have_ended(&self, patience: Duration) -> bool {
        self.waited > patience
    }
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}

struct Suspect {
    stamp: (u64, u64),
    still_for: Duration,
    /// Since when, in its standstill, it should be dead.
    killed_at: Option<Duration>,
    is_written_off: bool,
}

impl Watchdog {
    /// Time between two looks.
    pub const EVERY: Duration = EVERY;

    pub(crate) fn new(
        census: Arc<Census>,
        undertaker: Arc<dyn Undertaker>,
        threads: Threads,
        witness: Arc<dyn Witness>,
    ) -> Self {
        Self {
            census,
            undertaker,
            witness,
            tree: Turns::of(threads.tree),
            sessions: Turns::of(threads.sessions),
            last_look: None,
            suspects: HashMap::new(),
        }
    }

    /// Looks at every actor once; to be called every [`Watchdog::EVERY`].
    pub fn look(&mut self) {
        let now = Instant::now();
        let since_last = self
            .last_look
            .replace(now)
            .map_or(EVERY, |last| now.duration_since(last))
            .min(EVERY * 2);
        self.tree.ask(since_last);
        self.sessions.ask(since_last);
        if self
            .tree
            .have_ended(self.witness.patience(TURNS_COME_WITHIN))
        {
            let reason = "every thread of the actors is held by something that does not return";
            self.undertaker.give_up(reason.to_owned());
        }
        let mut before = std::mem::take(&mut self.suspects);
        for (vitals, cell, mut in_hand) in self.census.in_hand() {
            // who waits for something outside has its time-out
            if !in_hand.is_waiting {
                in_hand.patience = self.witness.patience(in_hand.patience);
            }
            let known = before
                .remove(vitals.name())
                .filter(|known| known.stamp == in_hand.stamp);
            let mut suspect = known.unwrap_or(Suspect {
                stamp: in_hand.stamp,
                still_for: Duration::ZERO,
                killed_at: None,
                is_written_off: false,
            });
            if !self.turns_of(&vitals).are_late() {
                suspect.still_for += since_last.min(in_hand.for_so_long);
            }
            self.judge(&vitals, &cell, in_hand, &mut suspect);
            self.suspects.insert(vitals.name().to_owned(), suspect);
        }
    }

    fn turns_of(&self, vitals: &Vitals) -> &Turns {
        if vitals.kind() == "session" {
            &self.sessions
        } else {
            &self.tree
        }
    }

    fn judge(&self, vitals: &Vitals, cell: &ActorCell, in_hand: InHand, suspect: &mut Suspect) {
        if suspect.still_for <= in_hand.patience || suspect.is_written_off {
            return;
        }
        let Some(killed_at) = suspect.killed_at else {
            suspect.killed_at = Some(suspect.still_for);
            kill(vitals, cell, in_hand);
            return;
        };
        // what it waits for may be on this very thread: a disk that hangs is no computation
        if in_hand.is_waiting {
            return;
        }
        let dying_for = suspect.still_for.saturating_sub(killed_at);
        if vitals.kind() == "session" {
            if dying_for >= DIES_WITHIN {
                suspect.is_written_off = self
                    .undertaker
                    .write_off(cell.get_id(), &reason(vitals, in_hand));
            }
        } else if dying_for >= COMES_BACK_WITHIN {
            suspect.is_written_off = true;
            let reason = format!("{} does not come back from a computation", vitals.name());
            self.undertaker.give_up(reason);
        }
    }
}

fn reason(vitals: &Vitals, in_hand: InHand) -> String {
    let doing = if in_hand.is_waiting {
        "waiting"
    } else {
        "without progress"
    };
    format!(
        "frozen: {doing} for more than {} s at message {}",
        in_hand.patience.as_secs(),
        vitals.report().processed + 1
    )
}

fn kill(vitals: &Vitals, cell: &ActorCell, in_hand: InHand) {
    let reason = reason(vitals, in_hand);
    metrics::counter!("mimamori_actors_frozen_total", "kind" => vitals.kind()).increment(1);
    tracing::error!(
        actor.name = vitals.name(),
        error = reason,
        "an actor is frozen, it is ended and started again"
    );
    vitals.found_frozen(Frozen {
        reason,
        is_to_blame: !in_hand.is_waiting,
    });
    cell.kill();
}

#[cfg(test)]
#[path = "watchdog/tests.rs"]
mod tests;
