//! The console's files, embedded into the binary.
