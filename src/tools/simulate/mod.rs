//! A simulated class: what its notebooks would send, and a sender.
//!
//! [`Class`] is a pure model: the same seed gives the same events at the same
//! times. [`run`] posts them to any server's ingest address, one event a
//! request, as the real extension does.

mod class;
mod material;
mod random;
mod send;
mod student;
#[cfg(test)]
mod tests;
mod wire;

pub use class::{Arrival, Class, TimedEvent};
pub use send::{Settings, Tally, ctrl_c, fresh_seed, ingest_address, run};
pub use student::{Execution, Fact, Outcome, Profile};
