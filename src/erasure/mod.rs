//! A person's rights: to have everything that is kept about them, and to have it erased.
//!
//! An erasure goes up to a position of the journal. It is on the list
//! ([`list`]) before anything is rewritten; from then on the person is hidden
//! from every read ([`hidden`]), and nothing of them is left when it is done.

pub mod eraser;
pub mod export;
pub mod hidden;
pub mod list;
pub(crate) mod whose;
