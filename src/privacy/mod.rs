//! What is kept of people, for how long, and what not.
//!
//! `withhold` takes out of an event what its classroom does not keep, before
//! anything is written; `notice` is the page that tells of it.

mod notice;
mod withhold;

pub use notice::page;
pub use withhold::without_code;
