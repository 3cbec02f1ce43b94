//! How deltas leave the classroom: in process, and over Redis to nodes that serve only consoles.

mod in_process;
pub mod redis;

pub use in_process::InProcess;
