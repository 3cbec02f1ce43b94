//! Mimamori, a live monitor for programming classes in notebooks.
//!
//! This crate is everything that touches the outside: the command line, the
//! configuration, HTTP, the journal on disk, the stores. What an event means
//! and who is told of it is in `mimamori-actors`. The way of an event, with
//! the files it passes, is in `docs/architecture.md`.

pub mod admit;
pub mod backup;
mod breaker;
pub mod bus;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod erasure;
pub mod export;
mod files;
pub mod http;
pub mod journal;
pub mod keys;
pub mod moving;
pub mod networks;
pub mod privacy;
pub mod redis;
pub mod server;
pub mod storage;
pub mod telemetry;
pub mod tools;

// how the tests hold the real servers that they share with the tests of the whole program
#[cfg(test)]
#[path = "../tests/it/harness/spoken.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each of the two needs a part of it"
)]
mod spoken;

/// Many small allocations cross threads here: glibc's allocator took a sixth of the time of ingest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
