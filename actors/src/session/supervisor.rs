//! `sessions`: the parent of the router and of every session.
//!
//! A session that fails burns nobody's budget: the router is told, and starts
//! it again from its snapshot. A router that fails takes all sessions with it:
//! the next one begins where the snapshots end.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorStatus, SupervisionEvent};
use tokio::time::Instant;

use super::lost::Member;
use crate::router::{Router, RouterArguments, RouterContext, RouterMessage};
use crate::tree::{ActorState, Address, Budget, Decision, RestartPolicy, Vitals};

/// Sessions of an earlier router that are not gone by now are folding and do not come back.
const SESSIONS_END_WITHIN: Duration = Duration::from_millis(300);
/// Between two looks whether they are gone.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
        let vitals = Arc::clone(&state.arguments.vitals);
        let _working = vitals.working();
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
        let context = &state.arguments.context;
        if let Some((_, member)) = context.roster.remove(&cell.get_id()) {
            let message = RouterMessage::SessionFailed {
                key: member.key,
                actor: cell.get_id(),
                reason,
            };
            if is_failure {
                // comes back only if the router is down: then it starts every session anew
                let _ = state.arguments.router.send(message).await;
            }
        } else {
            context.lost.came_back(cell.get_id());
        }
        Ok(())
    }
}

impl SessionsState {
    async fn start_router(
        &mut self,
        myself: &ActorRef<SessionsMessage>,
    ) -> Result<(), ActorProcessingErr> {
        self.end_sessions().await;
        let arguments = RouterArguments {
            address: self.arguments.router.clone(),
            context: Arc::clone(&self.arguments.context),
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

    /// Sessions of an earlier router must not tell of themselves any more.
    async fn end_sessions(&self) {
        let RouterContext {
            roster,
            lost,
            session,
            ..
        } = &*self.arguments.context;
        let members: Vec<Member> = roster.iter().map(|entry| entry.value().clone()).collect();
        roster.clear();
        for member in &members {
            member.cell.kill();
        }
        let progresses: Vec<_> = members
            .iter()
            .map(|member| Arc::clone(&member.progress))
            .collect();
        // waits for what is being written into the snapshots
        let closing = tokio::task::spawn_blocking(move || {
            for progress in progresses {
                progress.close();
            }
        });
        // it fails only with the runtime
        let _ = closing.await;
        let deadline = Instant::now() + SESSIONS_END_WITHIN;
        while Instant::now() < deadline && members.iter().any(is_there) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for member in members.iter().filter(|member| is_there(member)) {
            if member.progress.is_folding() {
                lost.add(member.cell.get_id());
            }
        }
        // the next router counts what the same entries do to the next incarnations
        lost.all_are_counted();
        if let Some(careful) = &session.careful {
            careful.all_are_over();
        }
    }

    fn router_ended(
        &mut self,
        reason: &str,
        myself: &ActorRef<SessionsMessage>,
    ) -> Result<(), ActorProcessingErr> {
        self.router = None;
        let ended = self.arguments.router.vitals().ended(reason);
        let reason = &ended.reason;
        match self.budget.spend(ended.is_asked_for) {
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

/// Those that are at an await end at once.
fn is_there(member: &Member) -> bool {
    member.cell.get_status() != ActorStatus::Stopped
}
