//! What is kept of people, for how long, and what not.
//!
//! `withhold` takes out of an event what its classroom does not keep, before
//! anything is written; `retention` deletes what is past its term; `notice` is the
//! page that tells of both.

mod doubt;
mod notice;
mod retention;
mod withhold;

pub use notice::page;
pub use retention::{Retaining, Terms};
pub use withhold::without_code;
