//! The domain of Mimamori and its tree of actors.
//!
//! This crate knows what an event means ([`domain`]), who is told of it and in
//! which order (the actors), and what it needs from the outside ([`ports`]).
//! It opens no socket, no file and no database: `mimamori` does, and hands the
//! results in through the ports.

mod classroom;
mod consoles;
mod deadlines;
pub mod domain;
pub mod feed;
pub mod forgetting;
mod housekeeping;
pub mod hub;
mod inside;
pub mod lesson;
pub mod live;
pub mod mirrors;
pub mod outbox;
mod pace;
pub mod ports;
pub mod registry;
pub mod root;
mod router;
pub mod session;
mod silence;
mod terms;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tree;
mod writer;

pub use router::{ROUTER_FORMAT, router_format};
