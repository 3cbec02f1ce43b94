//! A person's right to be forgotten.

pub mod list;
