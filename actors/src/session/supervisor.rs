//! `sessions`: the parent of the router and of every session.
//!
//! A session that fails burns nobody's budget: the router is told, and starts
//! it again from its snapshot. A router that fails takes all sessions with it:
//! the next one begins where the snapshots end.

use std::sync::Arc;

use dashmap::DashMap;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::domain::SessionKey;
use crate::router::{Router, RouterArguments, RouterContext, RouterMessage};
use crate::tree::{ActorState, Address, Budget, Decision, RestartPolicy, Vitals};

/// Which session an actor is; written by the router, read when one ends.
pub(crate) type Roster = DashMap<ActorId, SessionKey>;

pub(crate) struct Sessions;

pub(crate) enum SessionsMessage {
    /// The wait before the router's restart is over.
    RestartRouter,
}

#[derive(Clone)]
pub(crate) struct SessionsArguments {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) router: Address<RouterMessage>,
    pub(crate) context: Arc<RouterContext>,
}

pub(crate) struct SessionsState {
    arguments: SessionsArguments,
    roster: Arc<Roster>,
    budget: Budget,
    router: Option<ActorCell>,
}

impl Actor for Sessions {
    type Msg = SessionsMessage;
    type State = SessionsState;
    type Arguments = SessionsArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: SessionsArguments,
    ) -> Result<SessionsState, ActorProcessingErr> {
        let mut state = SessionsState {
            arguments,
            roster: Arc::new(Roster::new()),
            budget: Budget::new(RestartPolicy::DEFAULT),
            router: None,
        };
        state.start_router(&myself).await?;
        state.arguments.vitals.started();
        Ok(state)
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut SessionsState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(router) = state.router.take() {
            let _ = router.stop_and_wait(None, None).await;
        }
        state.arguments.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: SessionsMessage,
        state: &mut SessionsState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.arguments.vitals);
        let _working = vitals.working();
        match message {
            SessionsMessage::RestartRouter => match state.start_router(&myself).await {
                Ok(()) => Ok(()),
                Err(error) => state.router_ended(&error.to_string(), &myself),
            },
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut SessionsState,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, reason, is_failure) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string(), true),
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let is_failure = reason.is_some();
                (
                    cell,
                    reason.unwrap_or_else(|| "it stopped".to_owned()),
                    is_failure,
                )
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        if state
            .router
            .as_ref()
            .is_some_and(|router| router.get_id() == cell.get_id())
        {
            return state.router_ended(&reason, &myself);
        }
        if let Some((_, key)) = state.roster.remove(&cell.get_id())
            && is_failure
        {
            let message = RouterMessage::SessionFailed {
                key,
                actor: cell.get_id(),
                reason,
            };
            // comes back only if the router is down: then it starts every session anew
            let _ = state.arguments.router.send(message).await;
        }
        Ok(())
    }
}

impl SessionsState {
    async fn start_router(
        &mut self,
        myself: &ActorRef<SessionsMessage>,
    ) -> Result<(), ActorProcessingErr> {
        // sessions of an earlier router must not tell of themselves any more
        self.roster.clear();
        myself.get_cell().stop_children_and_wait(None, None).await;
        let arguments = RouterArguments {
            address: self.arguments.router.clone(),
            context: Arc::clone(&self.arguments.context),
            roster: Arc::clone(&self.roster),
            sessions: myself.get_cell(),
        };
        let (router, _) = Actor::spawn_linked(None, Router, arguments, myself.get_cell()).await?;
        self.arguments
            .context
            .census
            .runs("router", router.get_cell());
        self.router = Some(router.get_cell());
        Ok(())
    }

    fn router_ended(
        &mut self,
        reason: &str,
        myself: &ActorRef<SessionsMessage>,
    ) -> Result<(), ActorProcessingErr> {
        self.router = None;
        self.arguments.router.vitals().failed(reason);
        metrics::counter!("mimamori_actors_restarts_total", "kind" => "router").increment(1);
        let is_asked_for = self.arguments.router.vitals().take_restart_asked_for();
        match self.budget.spend(is_asked_for) {
            Decision::RestartAfter(wait) => {
                tracing::warn!(
                    actor.name = "router",
                    error = reason,
                    "the router ended and will be started again"
                );
                myself.send_after(wait, || SessionsMessage::RestartRouter);
                Ok(())
            }
            Decision::Escalate => Err(format!("router fails too often: {reason}").into()),
        }
    }
}
