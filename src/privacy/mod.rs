//! What is kept of people, for how long, and what not.
//!
//! `withhold` takes out of an event what its classroom does not keep, before
//! anything is written.

mod withhold;

pub use withhold::without_code;
