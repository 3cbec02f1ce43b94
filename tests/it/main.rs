//! The real program as a black box, held against the contract.
//!
//! Each test starts a server of its own on a free port and a temporary
//! directory; when the test ends, so does the server. Nothing of the program's
//! inside is used but the types of time: what is checked here, anyone can check
//! from outside. Several drills (`tests/drill`, `make drill`) are these tests'
//! own code in its long form.

// a panic is how a test fails, and there is no one to read these docs by rustdoc
#![allow(clippy::unwrap_used, unreachable_pub)]
// seeds and figures of drills are printed; cargo shows them when a test fails or is asked to
#![allow(clippy::print_stdout)]

mod backup;
mod bad_input;
mod bus;
mod cache;
mod crash;
mod disk_flip;
mod disk_fsync;
mod disk_full;
#[cfg(feature = "faulty")]
mod faults;
mod fsync_order;
mod harness;
mod influxdb;
mod ingest;
mod inspect;
mod interleaving;
mod lifecycle;
mod live;
mod lost_files;
mod moving;
mod postgres;
mod postgres_away;
mod postgres_batch;
mod postgres_tls;
mod power;
mod privacy;
mod quiet_stores;
mod reading;
mod real_life;
mod recorded;
mod records_blocked;
mod replica;
mod rights;
mod silence;
mod takeover;
mod three_stores;
mod time;
mod upgrade;
