//! A student's continuous work: a pure fold over entries, and the actor around it.

pub(crate) mod actor;
pub mod careful;
pub mod fold;
pub(crate) mod lost;
pub(crate) mod progress;
pub(crate) mod supervisor;
