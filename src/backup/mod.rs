//! `mimamori backup` and `mimamori restore`.
//!
//! A backup is a directory of plain files with a manifest: the states of the
//! sessions, the index of identities, the records as one file a table, the keys,
//! and, copied last, the journal, which therefore reaches at least as far as
//! everything before it ([`taking`]). The command reads most of it by itself, as
//! anybody may who can read `storage.dir`; a server that runs only keeps its
//! journal from being trimmed and tells the states, which nobody else can open
//! ([`serving`], [`states`]).
//!
//! A restore looks at every byte before it writes the first one, works behind a
//! marker without which no server starts, and gives the journal a new name
//! ([`restoring`], [`marker`]). Why so: `docs/adr/0017-backup.md`.

mod erasures;
mod error;
mod files;
mod filling;
mod manifest;
mod marker;
mod progress;
mod proof;
mod restoring;
mod serving;
mod source;
mod states;
mod taking;
mod target;

pub use error::BackupError;
pub use manifest::FORMAT;
pub use marker::{UNFINISHED, Unfinished};
pub use progress::Progress;
pub use restoring::{Restored, restore};
pub use serving::{AnotherRuns, Serving};
pub use source::Source;
pub use taking::{Taken, take};

/// Where a running server tells the states of its sessions, and holds its journal meanwhile.
pub const ROUTE: &str = "/api/v1/admin/backup";
