//! What every actor of the tree shares: mailboxes with a bound, vital signs, restart policies, supervisors.

mod later;
mod mailbox;
mod policy;
mod report;
mod supervisor;
mod vitals;

pub(crate) use later::Later;
pub(crate) use mailbox::{Address, Envelope, SendError};
pub(crate) use policy::{Budget, Decision, RestartPolicy};
pub use report::{ActorReport, ActorState, Census, RestartError};
pub(crate) use supervisor::{ChildSpec, Supervisor, SupervisorArguments, SupervisorMessage};
pub(crate) use vitals::Vitals;
