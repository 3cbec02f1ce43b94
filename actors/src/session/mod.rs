//! A student's continuous work: a pure fold over entries, and the actor around it.

pub(crate) mod actor;
pub mod fold;
pub(crate) mod supervisor;
