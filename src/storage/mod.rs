//! The stores behind the ports: records, series, snapshots.

pub(crate) mod embedded;
pub mod snapshots;
