//! The journal: one append-only sequence of checksummed records on disk.
