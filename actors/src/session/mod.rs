//! A student's continuous work: a pure fold over entries, and the actor around it.

pub mod fold;
