//! The supervision tree as it is now, read without asking any actor.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use ractor::ActorCell;
use serde::Serialize;

use super::vitals::{InHand, Vitals};
use crate::domain::Position;

/// How an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ActorState {
    /// It is being started.
    Starting,
    /// It takes messages.
    Running,
    /// It failed and is started again after a while.
    Backoff,
    /// It ended.
    Stopped,
    /// It has a message in hand and makes no progress.
    Frozen,
}

impl ActorState {
    pub(crate) fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Starting,
            1 => Self::Running,
            2 => Self::Backoff,
            4 => Self::Frozen,
            _ => Self::Stopped,
        }
    }
}

/// One actor in the answer of `GET /api/v1/health/actors` (contract, section 7).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorReport {
    /// Unique in the tree.
    pub name: String,
    /// What it is: `router`, `session`, `writer` …
    pub kind: &'static str,
    /// How it is.
    pub state: ActorState,
    /// Since this incarnation started.
    pub uptime_ms: u64,
    /// Messages that wait.
    pub mailbox_depth: usize,
    /// How long the oldest of them, or the one in hand, has waited; never more than that.
    pub oldest_message_ms: u64,
    /// Messages handled by all incarnations.
    pub processed: u64,
    /// Incarnations after the first.
    pub restarts: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How long ago it last got something done.
    pub last_progress_ms: u64,
    /// For readers of the journal: how far behind the newest accepted event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_events: Option<u64>,
    /// The actors below it; of sessions and subscribers the worst ten.
    pub children: Vec<ActorReport>,
    /// How many there are below it.
    pub child_count: usize,
}

/// Why an actor was not restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// No actor of that name.
    #[error("no actor of that name")]
    Unknown,
    /// It has no supervisor that could start it again.
    #[error("this one can only be restarted with the program")]
    NotAlone,
}

/// How many children of a kind that is folded are shown.
const WORST: usize = 10;

/// Everyone in the tree, by name.
#[derive(Debug, Default)]
pub struct Census {
    actors: DashMap<String, Member>,
}

#[derive(Debug)]
struct Member {
    vitals: Arc<Vitals>,
    cell: Option<ActorCell>,
    task: Option<Weak<dyn EndedOnRequest>>,
}

/// A member of the tree that is a task and no actor, and ends when it is asked to.
pub(crate) trait EndedOnRequest: std::fmt::Debug + Send + Sync {
    /// Asks it to end; whoever needs it starts it anew.
    fn end(&self);
}

/// The vital signs of a part of the program that stands in the tree and is no actor.
#[derive(Debug, Clone)]
pub struct Part(Arc<Vitals>);

/// A part has nothing in hand, so this is never asked.
const PARTS_PATIENCE: Duration = Duration::from_secs(30);

impl Part {
    /// It does what it is there for.
    pub fn works(&self) {
        if self.0.state() == ActorState::Running {
            self.0.progressed();
        } else {
            self.0.started();
        }
    }

    /// It does not, and tries again.
    pub fn limps(&self, reason: &str) {
        self.0.degraded(reason);
    }

    /// It works, but a person should know of this.
    pub fn notes(&self, error: &str) {
        self.0.note_error(error);
    }
}

impl Census {
    pub(crate) fn enter(
        &self,
        name: impl Into<String>,
        kind: &'static str,
        parent: Option<&str>,
        patience: Duration,
    ) -> Arc<Vitals> {
        let name = name.into();
        let known = self.actors.entry(name.clone()).or_insert_with(|| Member {
            vitals: Vitals::new(name, kind, parent, patience),
            cell: None,
            task: None,
        });
        Arc::clone(&known.vitals)
    }

    /// The cell of the incarnation that runs now.
    pub(crate) fn runs(&self, name: &str, cell: ActorCell) {
        if let Some(mut member) = self.actors.get_mut(name) {
            member.cell = Some(cell);
        }
    }

    /// The task that runs now.
    pub(crate) fn runs_task(&self, name: &str, task: Weak<dyn EndedOnRequest>) {
        if let Some(mut member) = self.actors.get_mut(name) {
            member.task = Some(task);
        }
    }

    /// How far this reader of the journal has come.
    pub(crate) fn read_through_of(&self, name: &str) -> Option<Position> {
        let member = self.actors.get(name)?;
        Some(member.vitals.read_through())
    }

    /// The longest that anything waits for an actor of this kind, by the part of
    /// their names before the last slash; nothing for those nobody waits for.
    /// Looks at everyone.
    pub(crate) fn longest_waits_of(&self, kind: &str) -> HashMap<String, Duration> {
        let mut longest = HashMap::new();
        for member in &self.actors {
            let waits = Duration::from_millis(member.vitals.oldest_message_ms());
            if member.vitals.kind() != kind || waits.is_zero() {
                continue;
            }
            let Some((above, _)) = member.key().rsplit_once('/') else {
                continue;
            };
            match longest.get_mut(above) {
                Some(known) => *known = waits.max(*known),
                None => drop(longest.insert(above.to_owned(), waits)),
            }
        }
        longest
    }

    /// Asks every task below this parent to end.
    pub(crate) fn end_tasks_below(&self, parent: &str) {
        let is_below = |member: &Member| member.vitals.parent() == Some(parent);
        // out of the locks: who ends leaves the census
        let tasks: Vec<_> = self
            .actors
            .iter()
            .filter(|member| is_below(member))
            .filter_map(|member| member.task.as_ref()?.upgrade())
            .collect();
        for task in tasks {
            task.end();
        }
    }

    pub(crate) fn leave(&self, name: &str) {
        self.actors.remove(name);
    }

    pub(crate) fn lag_of(&self, name: &str) -> Option<u64> {
        self.actors.get(name).and_then(|member| member.vitals.lag())
    }

    /// Everyone who has a message in hand now, and its incarnation.
    pub(crate) fn in_hand(&self) -> Vec<(Arc<Vitals>, ActorCell, InHand)> {
        self.actors
            .iter()
            .filter_map(|member| {
                let in_hand = member.vitals.in_hand()?;
                Some((Arc::clone(&member.vitals), member.cell.clone()?, in_hand))
            })
            .collect()
    }

    /// The whole tree; sessions and subscribers folded to the worst ten.
    pub fn tree(&self) -> Option<ActorReport> {
        let mut all: Vec<(Option<String>, ActorReport)> = self
            .actors
            .iter()
            .map(|member| {
                (
                    member.vitals.parent().map(str::to_owned),
                    member.vitals.report(),
                )
            })
            .collect();
        all.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let mut children = HashMap::<String, Vec<ActorReport>>::new();
        let mut root = None;
        for (parent, report) in all {
            match parent {
                Some(parent) => children.entry(parent).or_default().push(report),
                None => root = Some(report),
            }
        }
        root.map(|root| grown(root, &mut children))
    }

    /// Whether everything that stands in the journal has reached the classrooms, and was told: after a start, the present.
    pub fn is_caught_up(&self) -> bool {
        let are_done = |kind| {
            let mut of_kind = self.actors.iter().filter(|it| it.vitals.kind() == kind);
            of_kind.all(|member| member.vitals.is_done())
        };
        // the way that an entry goes: what has left one of them has arrived at the next
        self.lag_of("router") == Some(0) && are_done("session") && are_done("classroom")
    }

    /// The vital signs of a part that is no actor; it enters the tree if it is not there.
    pub fn part(&self, name: &str, kind: &'static str, parent: Option<&str>) -> Part {
        Part(self.enter(name, kind, parent, PARTS_PATIENCE))
    }

    /// The names of writers whose store is not there, of a replica that nobody can read, and of
    /// a bus that does not carry.
    pub fn degraded(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .actors
            .iter()
            .filter(|member| {
                matches!(member.vitals.kind(), "writer" | "bus" | "replica")
                    && member.vitals.report().state == ActorState::Backoff
            })
            .map(|member| member.key().clone())
            .collect();
        names.sort();
        names
    }

    /// The actors of a kind by name, after `cursor`, at most `limit`; and where to go on.
    pub fn of_kind(
        &self,
        kind: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> (Vec<ActorReport>, Option<String>) {
        let mut found: Vec<Arc<Vitals>> = self
            .actors
            .iter()
            .filter(|member| {
                member.vitals.kind() == kind
                    && cursor.is_none_or(|after| member.key().as_str() > after)
            })
            .map(|member| Arc::clone(&member.vitals))
            .collect();
        found.sort_by(|a, b| a.name().cmp(b.name()));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more {
            found.last().map(|last| last.name().to_owned())
        } else {
            None
        };
        (found.iter().map(|vitals| vitals.report()).collect(), next)
    }

    #[cfg(test)]
    pub(crate) fn kill_root(&self) {
        if let Some(cell) = self
            .actors
            .get("root")
            .and_then(|member| member.cell.clone())
        {
            cell.kill();
        }
    }

    /// Ends the actor's incarnation; its supervisor starts the next, with all that is below it.
    pub fn restart(&self, name: &str) -> Result<(), RestartError> {
        let member = self.actors.get(name).ok_or(RestartError::Unknown)?;
        if let Some(task) = member.task.as_ref().and_then(Weak::upgrade) {
            drop(member);
            tracing::info!(actor.name = name, "ending a task on request");
            task.end();
            return Ok(());
        }
        // nobody stands above the root to start it again, and the journal and the bus are no actors
        let cell = member
            .vitals
            .parent()
            .and(member.cell.clone())
            .ok_or(RestartError::NotAlone)?;
        member.vitals.ask_for_restart();
        drop(member);
        tracing::info!(actor.name = name, "restarting an actor on request");
        cell.kill();
        Ok(())
    }
}

fn grown(mut report: ActorReport, children: &mut HashMap<String, Vec<ActorReport>>) -> ActorReport {
    let mut below = children.remove(&report.name).unwrap_or_default();
    report.child_count = below.len();
    let (mut folded, mut shown): (Vec<_>, Vec<_>) = below
        .drain(..)
        .partition(|child| matches!(child.kind, "session" | "subscriber"));
    folded.sort_by_key(|child| {
        let is_ill = !matches!(child.state, ActorState::Running);
        std::cmp::Reverse((
            is_ill,
            child.restarts,
            child.oldest_message_ms,
            child.mailbox_depth,
        ))
    });
    folded.truncate(WORST);
    shown.extend(folded);
    report.children = shown
        .into_iter()
        .map(|child| grown(child, children))
        .collect();
    report
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_wait_is_told_of_each_classroom_and_of_its_sessions_alone() {
        let census = Census::default();
        let enter = |name: &str, kind| census.enter(name, kind, None, Duration::from_secs(1));
        let _longer = enter("classroom/a", "classroom").working();
        advance(Duration::from_secs(1)).await;
        let _long = enter("session/a/hanako", "session").working();
        advance(Duration::from_secs(2)).await;
        let _short = enter("session/a/taro", "session").working();
        let _other = enter("session/b/taro", "session").working();
        enter("session/c/taro", "session");
        advance(Duration::from_secs(3)).await;

        let waits = census.longest_waits_of("session");

        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let of = |above: &str| waits.get(above).copied();
        assert_eq!(of("session/a"), seconds(5));
        assert_eq!(of("session/b"), seconds(3));
        assert_eq!(of("session/c"), None);
    }

    #[test]
    fn who_has_a_message_or_something_to_tell_has_not_caught_up_however_short_the_time() {
        let census = Census::default();
        let enter = |name: &str, kind| census.enter(name, kind, None, Duration::from_secs(1));
        let (router, session) = (
            enter("router", "router"),
            enter("session/a/taro", "session"),
        );
        let classroom = enter("classroom/a", "classroom");
        assert!(!census.is_caught_up(), "nobody knows how far the router is");
        router.set_lag(0);
        assert!(census.is_caught_up());

        let working = session.working();
        let while_folding = census.is_caught_up();
        drop(working);
        let queue = classroom.new_queue();
        classroom.queued(queue);
        let while_it_waits = census.is_caught_up();
        classroom.unqueued(queue);
        classroom.set_untold(true);
        let before_the_tick = census.is_caught_up();
        classroom.set_untold(false);

        assert!(!while_folding && !while_it_waits && !before_the_tick);
        assert!(census.is_caught_up());
        router.set_lag(1);
        assert!(!census.is_caught_up());
    }
}
