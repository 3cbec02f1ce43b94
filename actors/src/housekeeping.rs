//! `housekeeping`: writes timers when silences are over, asks for checkpoints, and has deleted what is past its term.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::deadlines::Deadlines;
use crate::domain::{Heard, Record, Timer};
use crate::ports::{AppendError, Clock, Journal, NewRecord, Origin, Retention};
use crate::router::RouterMessage;
use crate::terms::Terms;
use crate::tree::{ActorState, Address, Census, Envelope, Later, Own, Step, Vitals, Witness};

/// How many messages may wait for housekeeping: it sends them to itself.
pub(crate) const MAILBOX: usize = 4;
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Silences are looked at this often.
const EVERY: Duration = Duration::from_secs(1);
/// Every so many rounds a checkpoint is asked for.
const ROUNDS_BETWEEN_CHECKPOINTS: u64 = 2;
/// So many timers are written at a time.
const TIMERS: usize = 500;

pub(crate) enum HousekeepingMessage {
    /// Do a round.
    Round,
    /// Answer once nothing that was begun before is in hand.
    Settle(oneshot::Sender<()>),
}

#[derive(Clone)]
pub(crate) struct HousekeepingArguments {
    pub(crate) address: Address<HousekeepingMessage>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) router: Address<RouterMessage>,
    pub(crate) census: Arc<Census>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) retention: Option<Arc<dyn Retention>>,
}

pub(crate) struct Housekeeping;

pub(crate) struct HousekeepingState {
    arguments: HousekeepingArguments,
    own: Own<HousekeepingMessage>,
    vitals: Arc<Vitals>,
    rounds: u64,
    terms: Option<Terms>,
    next_round: Option<Later>,
}

impl Actor for Housekeeping {
    type Msg = Envelope<HousekeepingMessage>;
    type State = HousekeepingState;
    type Arguments = HousekeepingArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: HousekeepingArguments,
    ) -> Result<HousekeepingState, ActorProcessingErr> {
        let own = arguments.address.attach(myself);
        let vitals = Arc::clone(arguments.address.vitals());
        vitals.started();
        let terms = arguments.retention.clone().map(Terms::new);
        Ok(HousekeepingState {
            arguments,
            own,
            vitals,
            rounds: 0,
            terms,
            next_round: None,
        })
    }

    async fn post_start(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut HousekeepingState,
    ) -> Result<(), ActorProcessingErr> {
        state.again_later();
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut HousekeepingState,
    ) -> Result<(), ActorProcessingErr> {
        state.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<HousekeepingMessage>,
        state: &mut HousekeepingState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.vitals);
        let _working = vitals.working();
        match envelope.open() {
            HousekeepingMessage::Round => {
                state.round().await?;
                state.again_later();
            }
            HousekeepingMessage::Settle(told) => {
                // who does not wait any more needs no answer
                let _ = told.send(());
            }
        }
        Ok(())
    }
}

/// Timers that were taken out and are not known to be journaled: dropped, also by
/// a kill while the append waits, they are due again. A timer may be written twice.
struct Taken {
    deadlines: Arc<Deadlines>,
    timers: Vec<Timer>,
    again_at: Heard,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.timers.is_empty() {
            let timers = std::mem::take(&mut self.timers);
            self.deadlines.put_back(timers, self.again_at);
        }
    }
}

impl HousekeepingState {
    async fn round(&mut self) -> Result<(), ActorProcessingErr> {
        self.rounds += 1;
        if let Some(wait) = self.arguments.witness.before(Step::Round) {
            wait.await;
        }
        if self.rounds.is_multiple_of(ROUNDS_BETWEEN_CHECKPOINTS) {
            // full or gone: the next round asks again
            let _ = self.arguments.router.try_send(RouterMessage::Checkpoint);
        }
        if let Some(terms) = &mut self.terms {
            terms.round(self.arguments.clock.now()).await;
        }
        self.write_timers().await
    }

    /// Only when the sessions have read everything: else what ends the silence may be on its way.
    async fn write_timers(&mut self) -> Result<(), ActorProcessingErr> {
        let HousekeepingArguments {
            journal,
            clock,
            deadlines,
            census,
            ..
        } = &self.arguments;
        if census.lag_of("router") != Some(0) {
            return Ok(());
        }
        let now = clock.heard();
        let due = deadlines.take_due(now, TIMERS);
        if due.is_empty() {
            return Ok(());
        }
        let records = due
            .iter()
            .map(|timer| NewRecord::repeatable(Record::Timer(timer.clone())))
            .collect();
        let mut taken = Taken {
            deadlines: Arc::clone(deadlines),
            timers: due,
            again_at: now.plus(EVERY),
        };
        match journal.append(records, Origin::Inside).await {
            Ok(_) => {
                let written = std::mem::take(&mut taken.timers).len() as u64;
                metrics::counter!("mimamori_housekeeping_timers_total").increment(written);
                Ok(())
            }
            Err(AppendError::Overloaded | AppendError::NoRoom(_)) => Ok(()),
            Err(error @ (AppendError::Closed | AppendError::Failed(_))) => Err(error.into()),
        }
    }

    fn again_later(&mut self) {
        let later = Later::send(&self.own, HousekeepingMessage::Round, EVERY);
        self.next_round = Some(later);
    }
}
