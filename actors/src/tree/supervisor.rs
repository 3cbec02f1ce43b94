//! A parent of named children: started in order, stopped in reverse, restarted by policy.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::policy::{Budget, Decision, RestartPolicy};
use super::report::{ActorState, Census};
use super::vitals::Vitals;

/// What a child is started with.
pub(crate) struct Start {
    /// To be linked to.
    pub(crate) supervisor: ActorCell,
}

/// Starts one incarnation of a child.
pub(crate) type StartChild = Arc<
    dyn Fn(Start) -> Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>
        + Send
        + Sync,
>;

/// A child and how it is started.
#[derive(Clone)]
pub(crate) struct ChildSpec {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) start: StartChild,
}

/// Restarts its children by policy.
pub(crate) struct Supervisor;

pub(crate) enum SupervisorMessage {
    /// The wait before a restart is over.
    RestartChild(usize),
}

pub(crate) struct SupervisorArguments {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) census: Arc<Census>,
    pub(crate) policy: RestartPolicy,
    /// In the order of starting: downstream first.
    pub(crate) children: Vec<ChildSpec>,
}

pub(crate) struct SupervisorState {
    vitals: Arc<Vitals>,
    census: Arc<Census>,
    budget: Budget,
    children: Vec<Child>,
}

struct Child {
    spec: ChildSpec,
    cell: Option<ActorCell>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: SupervisorArguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let mut state = SupervisorState {
            vitals: arguments.vitals,
            census: arguments.census,
            budget: Budget::new(arguments.policy),
            children: arguments
                .children
                .into_iter()
                .map(|spec| Child { spec, cell: None })
                .collect(),
        };
        for index in 0..state.children.len() {
            state.start(index, &myself).await?;
        }
        state.vitals.started();
        state.census.runs(state.vitals.name(), myself.get_cell());
        Ok(state)
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        for child in state.children.iter().rev() {
            if let Some(cell) = &child.cell {
                let _ = cell.stop_and_wait(None, None).await;
                child.spec.vitals.set_state(ActorState::Stopped);
            }
        }
        state.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let _working = state.vitals.working();
        match message {
            SupervisorMessage::RestartChild(index) => match state.start(index, &myself).await {
                Ok(()) => Ok(()),
                Err(error) => state.child_ended(index, &error.to_string(), &myself),
            },
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.vitals);
        let _working = vitals.working();
        let (cell, reason) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell, reason.unwrap_or_else(|| "it stopped".to_owned()))
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let ended = state.children.iter().position(|child| {
            child
                .cell
                .as_ref()
                .is_some_and(|known| known.get_id() == cell.get_id())
        });
        match ended {
            Some(index) => state.child_ended(index, &reason, &myself),
            // an earlier incarnation
            None => Ok(()),
        }
    }
}

impl SupervisorState {
    async fn start(
        &mut self,
        index: usize,
        myself: &ActorRef<SupervisorMessage>,
    ) -> Result<(), ActorProcessingErr> {
        let child = &mut self.children[index];
        child.spec.vitals.set_state(ActorState::Starting);
        let cell = (child.spec.start)(Start {
            supervisor: myself.get_cell(),
        })
        .await?;
        self.census.runs(child.spec.vitals.name(), cell.clone());
        child.cell = Some(cell);
        Ok(())
    }

    fn child_ended(
        &mut self,
        index: usize,
        reason: &str,
        myself: &ActorRef<SupervisorMessage>,
    ) -> Result<(), ActorProcessingErr> {
        let child = &mut self.children[index];
        child.cell = None;
        let vitals = Arc::clone(&child.spec.vitals);
        let ended = vitals.ended(reason);
        let reason = &ended.reason;
        match self.budget.spend(ended.is_asked_for) {
            Decision::RestartAfter(wait) => {
                tracing::warn!(
                    actor.name = vitals.name(),
                    error = reason,
                    wait_ms = wait.as_millis(),
                    "an actor ended and will be started again"
                );
                myself.send_after(wait, move || SupervisorMessage::RestartChild(index));
                Ok(())
            }
            Decision::Escalate => {
                tracing::error!(
                    actor.name = vitals.name(),
                    error = reason,
                    "an actor fails too often, its parent fails with it"
                );
                Err(format!("{} fails too often: {reason}", vitals.name()).into())
            }
        }
    }
}
