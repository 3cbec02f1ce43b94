//! What every actor of the tree shares: mailboxes with a bound, vital signs, restart policies,
//! supervisors, a watchdog, and the threads they run on.

mod later;
mod mailbox;
mod policy;
mod report;
mod supervisor;
mod threads;
mod vitals;
mod watchdog;
mod witness;

pub(crate) use later::Later;
pub(crate) use mailbox::{Address, Envelope, Own, SendError};
pub(crate) use policy::{Budget, Decision, RestartPolicy};
pub(crate) use report::EndedOnRequest;
pub use report::{ActorReport, ActorState, Census, Part, RestartError};
pub(crate) use supervisor::{ChildSpec, Supervisor, SupervisorArguments, SupervisorMessage};
pub use threads::Threads;
pub(crate) use threads::on;
pub(crate) use vitals::Vitals;
pub(crate) use watchdog::Undertaker;
pub use watchdog::Watchdog;
pub use witness::{Nobody, Step, Wait, Witness};
